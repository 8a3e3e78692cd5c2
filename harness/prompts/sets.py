"""Prompt sets, bundled, published or people's own, as rows of `prompt_id`, `prompt`, `hazard`, `split`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib import util
from pathlib import Path
from typing import Any, Literal, get_args

from harness.prompts.labelled import GOLD_PROMPTS, load_gold_prompts
from harness.prompts.published import PUBLISHED_SETS, load_published_prompts
from harness.prompts.variants import split_variants
from harness.support import artifacts, hub
from harness.support.errors import HarnessError
from harness.support.versions import install_hint

PromptKind = Literal["unsafe", "benign"]
PROMPT_KINDS: tuple[PromptKind, ...] = get_args(PromptKind)
PromptRow = dict[str, str]
_HAZARD_COLUMNS = ("hazard", "category", "type")
_SAFE_LABELS = {"safe", "benign", "harmless"}
_TEST_SHARE = 0.15


@cache
def tasks_directory() -> Path:
    """Where the lm-eval task files and prompt sets lie: inside lm_eval once installed, else in the source tree."""
    source = Path(__file__).parents[2] / "tasks"
    if (source / "unsafe.jsonl").is_file():
        return source
    spec = util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise HarnessError("lm_eval is not installed", hint=f"{install_hint()}.")
    return Path(spec.origin).parent / "tasks" / "refusal_displacement"


def load_prompts(source: str, kind: PromptKind) -> list[PromptRow]:
    """The unsafe or the benign prompts of a source: `bundled`, a JSONL or CSV file, or a published set's name.

    A published set comes from the hub, as `NAME@REVISION` from that revision of it, or as `NAME=FILE` from a local copy
    (`harness.prompts.published`); `sorrybench_gold` are those of SORRY-Bench that the paper had
    (`harness.prompts.labelled`). A file needs a `prompt` column; `prompt_id` or `id`, `hazard`, `category` or `type`,
    and `split` (`train`, `test`) are used where they are there. Rows whose `label` is `safe` or `benign` are benign,
    all others unsafe. Without a `split` column 15 % of the prompts, drawn by their ids, are `test`. Raises HarnessError
    naming the row.

    A source with a number after it, as `bundled:200`, is at most so many of its unsafe prompts and the same share of
    its benign ones, each hazard and split in its share. Variants that a source names, as `bundled+attacks`, are left
    out: `harness.prompts.asked` has them.
    """
    name, most = split_limit(split_variants(source)[0])
    if most is None:
        return _read_prompts(name)[kind]
    sides = _read_prompts(name)
    share = min(1.0, most / max(1, len(sides["unsafe"])))
    kept = {row["prompt_id"] for row in _spread_share(sides[kind], share)}
    return [row for row in sides[kind] if row["prompt_id"] in kept]


def _spread_share(rows: Sequence[PromptRow], share: float) -> list[PromptRow]:
    """So large a share of the rows and, to the nearest row, of those of each split; spread over the hazards.

    At least one of each split that there is: without any nothing would be measured, and nothing would say so.
    """
    test = [row for row in rows if row["split"] == "test"]
    train = [row for row in rows if row["split"] != "test"]
    tested = max(1, round(share * len(test))) if test else 0
    trained = max(1, round(share * len(rows)) - tested)
    return [*spread_rows(train)[:trained], *spread_rows(test)[:tested]]


def split_limit(source: str) -> tuple[str, int | None]:
    """A prompt source, and how many of its unsafe prompts it is limited to. Raises HarnessError for none at all."""
    name, colon, most = source.rpartition(":")
    if not colon or not most.isascii() or not most.isdigit() or Path(source).exists():
        return source, None
    if int(most) == 0:
        raise HarnessError("is limited to no prompts", place=source, hint="Give a number above 0.")
    return name, int(most)


def with_limit(source: str, most: int) -> str:
    """The source limited to so many unsafe prompts, and to no more than by a limit of its own."""
    base, variants = split_variants(source)
    name, own = split_limit(base)
    return f"{name}:{most if own is None else min(own, most)}{variants}"


def spread_rows(rows: Sequence[PromptRow]) -> list[PromptRow]:
    """Rows so ordered that every category, and every split in it, is spread evenly over them."""
    by_split = _interleave(rows, lambda row: (row["hazard"], row["split"]))
    return _interleave(by_split, lambda row: row["hazard"])


def _interleave(rows: Sequence[PromptRow], group_of: Callable[[PromptRow], Hashable]) -> list[PromptRow]:
    """Rows so ordered that each group's are spread evenly over them; in a group they keep their order."""
    sizes = Counter(map(group_of, rows))
    seen: Counter[Hashable] = Counter()
    places = []
    for row in rows:
        group = group_of(row)
        places.append((seen[group] + 0.5) / sizes[group])
        seen[group] += 1
    return [row for _, row in sorted(zip(places, rows, strict=True), key=lambda placed: placed[0])]


def _read_prompts(source: str) -> dict[PromptKind, list[PromptRow]]:
    if source == "bundled":
        return {kind: artifacts.read_jsonl(tasks_directory() / f"{kind}.jsonl") for kind in PROMPT_KINDS}
    digest = artifacts.sha256_of(Path(source)) if Path(source).is_file() else None
    found = _read_prompt_set(source) if digest is None else _read_prompt_file(source, digest)
    return {kind: list(rows) for kind, rows in found.items()}


@lru_cache(maxsize=2)
def _read_prompt_file(source: str, digest: str) -> dict[PromptKind, list[PromptRow]]:  # noqa: ARG001 - of what it read
    """A file's prompts, read once while its content stays: a run asks for them again and again."""
    return _read_prompt_set(source)


def _read_prompt_set(source: str) -> dict[PromptKind, list[PromptRow]]:
    rows = [
        _prompt_row(row, f"{source}, row {number}", number) for number, row in enumerate(_prompt_set_rows(source), 1)
    ]
    _refuse_repeated_ids(rows, source)
    return {kind: [row for own, row in rows if own == kind] for kind in ("unsafe", "benign")}


def _prompt_set_rows(source: str) -> Iterable[Mapping[str, Any]]:
    named, _, file = source.partition("=")
    name, revision = hub.split_revision(named)
    if name == GOLD_PROMPTS:
        return load_gold_prompts(file, revision)
    if name in PUBLISHED_SETS:
        return load_published_prompts(name, file, revision)
    if Path(source).suffix not in {".jsonl", ".ndjson", ".csv"}:
        known = ", ".join([*PUBLISHED_SETS, GOLD_PROMPTS])
        hint = (
            f"Give `bundled`, a .jsonl or .csv file, or one of {known} (or NAME=FILE for a local copy), with +attacks "
            "behind it or without."
        )
        raise HarnessError("is no prompt set", place=source, hint=hint)
    return artifacts.read_rows(Path(source))


def _prompt_row(row: Mapping[str, Any], place: str, number: int) -> tuple[PromptKind, PromptRow]:
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise HarnessError("has no text under `prompt`", place=place, hint="Give each row a prompt.")
    prompt_id = str(row.get("prompt_id") or row.get("id") or f"row-{number:06d}")
    split = str(row.get("split") or ("test" if random.Random(prompt_id).random() < _TEST_SHARE else "train"))
    if split not in {"train", "test"}:
        raise HarnessError(f"has split {split!r}", place=place, hint="A split is `train` or `test`.")
    hazard = next((str(row[column]) for column in _HAZARD_COLUMNS if row.get(column)), "unspecified")
    kind: PromptKind = "benign" if str(row.get("label", "")).lower() in _SAFE_LABELS else "unsafe"
    return kind, {"prompt_id": prompt_id, "prompt": prompt, "hazard": hazard, "split": split}


def _refuse_repeated_ids(rows: Iterable[tuple[PromptKind, PromptRow]], source: str) -> None:
    seen: set[str] = set()
    for _, row in rows:
        if row["prompt_id"] in seen:
            raise HarnessError(f"prompt_id {row['prompt_id']!r} comes twice", place=source, hint="Give each its own.")
        seen.add(row["prompt_id"])
    if not seen:
        raise HarnessError("holds no prompts", place=source)
