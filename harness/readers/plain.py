"""Plain tables of answers: JSON lines or CSV with `prompt` and `response`, and what else is known of each.

`prompt_id`, `category` (or `hazard`), `unsafe` (true without it), `seed`, `model` and `verdict` are used where they
are there; beside a verdict also `judge`, `reason`, `flags`, `cut` and `judged`, as `harness judge` writes them. `error`
says why there is no answer. Any other column is a field of the prompt that a policy may name. A verdict is one of ours,
in whatever case, by the judge that `judge` names, or by nobody named.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from harness.judges.verdicts import FLAGS, Flag, Verdict
from harness.readers.rows import LoggedRow, LoggedRun, parse_flag, parse_verdict_label, read_prompt_fields, refuse_file
from harness.readers.sources import Source
from harness.support.errors import HarnessError

PLAIN = "plain files"
_OF_THE_ANSWER = frozenset(
    {"prompt", "response", "unsafe", "seed", "model", "verdict", "judge", "reason", "flags", "cut", "judged", "error"}
)
"""Columns that say nothing of the prompt but its text."""
_NAMES = _OF_THE_ANSWER | {"prompt_id", "category", "hazard"}
_HINT = "Each row needs `prompt` and `response`."
_LONGEST_CELL = 1 << 27


def read_plain(source: Source) -> list[LoggedRun]:
    """The answers of a table, those of each seed as a run. Raises HarnessError naming the line that is broken."""
    rows = _csv_rows(source) if source.kind == ".csv" else source.json_rows(constants=False, repeats=False)
    by_run: dict[tuple[str, str], list[LoggedRow]] = {}
    for place, cells in rows:
        run = _text(cells, "model", place), _text(cells, "seed", place)
        by_run.setdefault(run, []).append(_read_row(cells, place))
    if not by_run:
        refuse_file("holds no rows", source.path, _HINT)
    return [
        LoggedRun(
            path=source.path,
            digest=source.digest if len(by_run) == 1 else f"{source.digest} {model} {seed}",
            rows=rows,
            model=model,
            naming={"name": model} if model else {},
            seeds={"seed": seed} if seed else {},
        )
        for (model, seed), rows in by_run.items()
    ]


def _csv_rows(source: Source) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        text = source.data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = source.data[: error.start].count(b"\n") + 1
        place = f"{source.path}:{line}"
        raise HarnessError(f"is not UTF-8 ({error.reason})", place=place, hint="Save it as UTF-8.") from error
    head = text.split("\n", 1)[0]
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    try:
        names = [name or "" for name in reader.fieldnames or ()]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise HarnessError(f"has the column {twice!r} twice", place=f"{source.path}:1", hint="Keep one of them.")
        _refuse_nearly_named(names, f"{source.path}:1")
        if missing := {"prompt", "response"} - set(names):
            told = f"has no column {' and no column '.join(sorted(missing))}"
            raise HarnessError(told, place=f"{source.path}:1", hint=_HINT)
        for cells in reader:
            place = f"{source.path}:{reader.line_num}"
            if None in cells or None in cells.values():
                raise HarnessError("has more or fewer cells than the head has columns", place=place)
            yield place, cells
    except csv.Error as error:
        place = f"{source.path}:{reader.line_num + 1}"  # of the last line that could be read, it says
        raise HarnessError(f"cannot be read as CSV ({error})", place=place) from error


def _refuse_nearly_named(names: Iterable[str], place: str) -> None:
    """Raises HarnessError where a column is called as one that is known but for case and blanks: it would not count."""
    for name in names:
        if name not in _NAMES and (meant := name.strip().lower()) in _NAMES:
            hint = f"Call it {meant!r}, or by another name where it is something else."
            raise HarnessError(f"has the column {name!r}, which is not {meant!r}", place=place, hint=hint)


def _read_row(cells: Mapping[str, Any], place: str) -> LoggedRow:
    _refuse_nearly_named(cells, place)
    prompt, error = cells.get("prompt"), _text(cells, "error", place)
    response = cells.get("response")
    if not isinstance(prompt, str) or not prompt.strip():
        raise HarnessError("`prompt` is no text", place=place, hint=_HINT)
    if not isinstance(response, str) and not (error and response is None):
        hint = 'Say "" where the model said nothing, and why in `error` where it was not asked.'
        raise HarnessError("`response` is no text", place=place, hint=hint)
    unsafe = parse_flag(cells.get("unsafe"), place)
    return LoggedRow(
        place=place,
        prompt=prompt,
        response=response or "",
        unsafe=unsafe,
        doc=_prompt_fields(cells, place),
        verdict=None if error else _cell_verdict(cells, unsafe, place),
        judge=_text(cells, "judge", place),
        error=error,
    )


def _prompt_fields(cells: Mapping[str, Any], place: str) -> dict[str, Any]:
    known = {key: value for key, value in cells.items() if key not in _OF_THE_ANSWER}
    if odd := next((key for key, value in known.items() if isinstance(value, dict | list)), None):
        raise HarnessError(f"`{odd}` is no text or number", place=place)
    return read_prompt_fields(known)


def _cell_verdict(cells: Mapping[str, Any], unsafe: bool, place: str) -> Verdict | None:
    said = cells.get("verdict")
    if said is None or said == "":
        return None
    label = parse_verdict_label(said, unsafe, place)
    flags, cut = _names(cells, "flags", place), _names(cells, "cut", place)
    if unknown := set(flags) - set(FLAGS):
        raise HarnessError(f"{min(unknown)!r} is no flag", place=place, hint=f"Flags are {', '.join(FLAGS)}.")
    known: tuple[Flag, ...] = tuple(flag for flag in FLAGS if flag in flags)
    judged = _text(cells, "judged", place) or None
    return Verdict(label, _text(cells, "reason", place), flags=known, cut=cut, judged=judged)


def _names(cells: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    """A list of words, in CSV with spaces or commas between them."""
    value = cells.get(key) or ()
    words = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise HarnessError(f"`{key}` is no list of words", place=place)
    return tuple(words)


def _text(cells: Mapping[str, Any], key: str, place: str) -> str:
    """A cell as text; empty where there is none."""
    value = cells.get(key)
    if isinstance(value, dict | list):
        raise HarnessError(f"`{key}` is no text or number", place=place)
    return "" if value is None else str(value)
