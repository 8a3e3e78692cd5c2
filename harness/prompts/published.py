"""The field's prompt sets: where each lies on the hub, and what its columns mean there and in its authors' own file.

Nothing of them is bundled: their terms differ, and some are gated. Rows come out with the columns that
`harness.prompts.sets` reads: `prompt_id`, `prompt`, `hazard`, `label`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.support import artifacts, hub
from harness.support.console import safe_line
from harness.support.errors import HarnessError

SourceRow = Mapping[str, Any]
SplitRows = tuple[str, str, Iterable[SourceRow]]
"""Side, place and rows."""


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """One prompt set.

    `splits` maps the hub's splits to `unsafe` or `benign` (`mixed`: each row says it). `prompt`, `category`,
    `identity`: names of the columns, the first that a row has. `only`: rows with another value in such a column
    are left out. `names`: category names where the data has their numbers, from 1.
    """

    title: str
    hub: str
    splits: Mapping[str, str]
    prompt: Sequence[str]
    category: Sequence[str] = ()
    identity: Sequence[str] = ()
    config: str | None = None
    only: Mapping[str, str] | None = None
    names: Sequence[str] = ()
    gated: bool = False


SORRY_BENCH_CATEGORIES = (
    "Personal Insulting Words",
    "Social-group Insulting Words",
    "Threatening Words",
    "Lewd and Obscene Words",
    "Libelous Words",
    "Self-Harm",
    "Violent Crimes",
    "Stalking and Harassment",
    "Sexual Crimes",
    "Property Crimes",
    "Public Order Crimes",
    "Impersonation",
    "General Advice for System Intrusion",
    "Malware Code Generation",
    "Fraud, Scams, and Deception",
    "Financial Crimes",
    "Intellectual Property Infringement",
    "Personal Identifiable Information",
    "Illegal Crafting, Manufacturing, and Distribution",
    "Terrorism",
    "Child-related Crimes",
    "Animal-related Crimes",
    "Environmental Crimes",
    "Evasion of Law Enforcement",
    "Human Elimination & World Domination",
    "Advice on Adult Content",
    "Sexual Explicit Content Generation",
    "Non-sexual Explicit Content Generation",
    "Fake News Generation",
    "False Advertising",
    "Advice on Discrimination Behaviors",
    "Military Use",
    "Political Belief Promotion",
    "Ethical Belief Promotion",
    "Religion Promotion",
    "Social Stereotype Promotion",
    "Extremist Content Promotion",
    "Conspiracy Theories Promotion",
    "False Common Knowledge Promotion",
    "Harmful & Unhealthy Behaviors Promotion",
    "Medical Advice",
    "Financial Advice",
    "Legal Consulting Advice",
    "Governance Decision Advice",
    "Dangerous Machinery Operation Advice",
)
"""The taxonomy of the 202406 release (Xie et al. 2024, arXiv 2406.14598); the data has the numbers alone."""

PUBLISHED_SETS: Mapping[str, PublishedSet] = {
    "sorrybench": PublishedSet(
        "SORRY-Bench (202406), the base prompts",
        "sorry-bench/sorry-bench-202406",
        {"train": "unsafe"},
        prompt=("turns", "prompt"),
        category=("category",),
        identity=("question_id",),
        only={"prompt_style": "base"},
        names=SORRY_BENCH_CATEGORIES,
        gated=True,
    ),
    "advbench": PublishedSet(
        "AdvBench's harmful behaviours",
        "walledai/AdvBench",
        {"train": "unsafe"},
        prompt=("prompt", "goal"),
        gated=True,
    ),
    "harmbench": PublishedSet(
        "HarmBench's standard behaviours",
        "walledai/HarmBench",
        {"train": "unsafe"},
        prompt=("prompt", "Behavior"),
        category=("category", "SemanticCategory"),
        identity=("BehaviorID",),
        config="standard",
        only={"FunctionalCategory": "standard"},
        gated=True,
    ),
    "strongreject": PublishedSet(
        "StrongREJECT",
        "walledai/StrongREJECT",
        {"train": "unsafe"},
        prompt=("prompt", "forbidden_prompt"),
        category=("category",),
        gated=True,
    ),
    "xstest": PublishedSet(
        "XSTest, safe and unsafe prompts",
        "Paul/XSTest",
        {"train": "mixed"},
        prompt=("prompt",),
        category=("type",),
        identity=("id",),
    ),
    "jailbreakbench": PublishedSet(
        "JailbreakBench's JBB-Behaviors, harmful and benign",
        "JailbreakBench/JBB-Behaviors",
        {"harmful": "unsafe", "benign": "benign"},
        prompt=("Goal",),
        category=("Category",),
        identity=("Index",),
        config="behaviors",
    ),
}


def load_published_prompts(name: str, source: str = "", revision: str | None = None) -> list[dict[str, Any]]:
    """A published set's prompts, both sides.

    Args:
        name: one of PUBLISHED_SETS.
        source: a .jsonl or .csv file with the hub's columns or those of the authors' own file, a directory with one
            such file a split (its name contains the split's), or nothing for the hub.
        revision: of the data on the hub; what is newest without it.

    Raises HarnessError in one line where the data cannot be reached, is gated, or has other columns.
    """
    published = PUBLISHED_SETS[name]
    tables = _local_splits(published, Path(source)) if source else _hub_splits(name, revision)
    return read_published_tables(name, tables, source or published.hub)


def read_published_tables(name: str, tables: Iterable[SplitRows], source: str) -> list[dict[str, Any]]:
    """A published set's prompts from its tables, each with its side and place. Raises as `load_published_prompts`."""
    published = PUBLISHED_SETS[name]
    found = [
        _published_row(name, published, row, side, f"{place}, row {number}", number)
        for side, place, table in tables
        for number, row in enumerate(table, 1)
        if all(str(row.get(column, value)) == value for column, value in (published.only or {}).items())
    ]
    if not found:
        raise HarnessError(f"holds no prompts of {published.title}", place=source)
    return _name_categories(found, published)


def _local_splits(published: PublishedSet, path: Path) -> Iterator[SplitRows]:
    files = {path: path.stem}
    if path.is_dir():
        files = {file: file.stem for file in sorted(path.rglob("*")) if file.suffix in {".csv", ".jsonl"}}
    by_split = {split: file for split in published.splits for file, stem in files.items() if split in stem}
    if path.is_dir() and not by_split:
        told = f"holds no .csv or .jsonl file named after {' or '.join(published.splits)}"
        raise HarnessError(told, place=str(path), hint="Name the file itself.")
    for split, file in (by_split or {next(iter(published.splits)): path}).items():
        yield published.splits[split], str(file), artifacts.read_rows(file)


@cache
def _hub_splits(name: str, revision: str | None) -> list[SplitRows]:
    """A run asks for its prompts at every stage; the hub is asked once.

    Read from the files of the one commit: out of reach of the hub, `load_dataset` would take any that it has prepared.
    """
    from harness.prompts.hub_tables import read_hub_split

    published = PUBLISHED_SETS[name]
    try:
        files = hub.fetch_directory(f"{published.hub}@{revision}" if revision else published.hub, "dataset")
        return [
            (side, published.hub, read_hub_split(files, published.config, split))
            for split, side in published.splits.items()
        ]
    except (HarnessError, OSError, ValueError, RuntimeError) as error:
        raise _unreachable_error(name, published, error) from error


def _unreachable_error(name: str, published: PublishedSet, error: Exception) -> HarnessError:
    terms = f"Accept its terms at https://huggingface.co/datasets/{published.hub} and run `hf auth login`"
    hint = f"{terms if published.gated else 'Check the connection'}; or give a local copy: `{name}=FILE`"
    told = error.cause if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}".split("\n")[0]
    return HarnessError(
        f"cannot be loaded from the hub ({safe_line(told, 200)})",
        place=published.hub,
        hint=f'{hint}, with lm_eval --metadata \'{{"{name}": "FILE"}}\'.',
    )


def _published_row(
    name: str, published: PublishedSet, row: SourceRow, side: str, place: str, number: int
) -> dict[str, Any]:
    prompt = _first_value(row, published.prompt)
    if isinstance(prompt, list):  # SORRY-Bench keeps turns; its base prompts have one
        prompt = prompt[0] if prompt else None
    if not isinstance(prompt, str) or not prompt.strip():
        wanted = " or ".join(f"`{column}`" for column in published.prompt)
        raise HarnessError(f"has no text under {wanted}", place=place, hint=f"Is this {published.title}?")
    label = _xstest_side(row) if side == "mixed" else side
    identity = _first_value(row, published.identity)
    return {
        "prompt_id": f"{name}-{label}-{number if identity is None else identity}",
        "prompt": prompt,
        "hazard": str(_first_value(row, published.category) or "unspecified"),
        "label": label,
    }


def _first_value(row: SourceRow, columns: Sequence[str]) -> Any:
    return next((row[column] for column in columns if row.get(column) is not None), None)


def _xstest_side(row: SourceRow) -> str:
    """XSTest's hub data has a label; its authors' first file says it by the type alone."""
    said = row.get("label") or ("unsafe" if str(row.get("type", "")).startswith("contrast_") else "safe")
    return "benign" if said == "safe" else "unsafe"


def _name_categories(found: list[dict[str, Any]], published: PublishedSet) -> list[dict[str, Any]]:
    """Category numbers by their names, where all of the taxonomy's are there: another release counts differently."""
    numbers = {str(place): name for place, name in enumerate(published.names, 1)}
    if not numbers or {row["hazard"] for row in found} != numbers.keys():
        return found
    return [{**row, "hazard": numbers[row["hazard"]]} for row in found]
