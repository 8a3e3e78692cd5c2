"""Which tool wrote a side's files, and what they hold: evaluations, whatever the tool."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.evaluation.finding import is_written_by_lm_eval, walk_folders
from harness.evaluation.lines import KnownDocuments
from harness.evaluation.output import read_evaluations, refuse_repeated_runs, seed_directory
from harness.evaluation.samples import Evaluation
from harness.readers import garak, inspect_logs, plain, promptfoo, pyrit
from harness.readers.rows import LoggedRun, build_evaluation
from harness.readers.sources import Source, file_kind, find_files, read_source
from harness.support.errors import HarnessError
from harness.support.layout import ARMS, run_of_path

LM_EVAL = "lm-eval"
_KNOWN = "an lm-eval directory, a log of Inspect's, promptfoo's JSON, garak's report, PyRIT's memory, or plain answers"


@dataclass(frozen=True, slots=True)
class ReadSide:
    """The evaluations of one side, the tool that made them, and what of its files could not be taken over."""

    tool: str
    evaluations: Sequence[Evaluation]
    remarks: tuple[str, ...] = ()


def read_side(
    path: Path, metrics: Collection[str], documents: KnownDocuments | None = None, judge: str | None = None
) -> ReadSide:
    """Every evaluation in a file or below a directory, of one tool.

    Args:
        path: what lm-eval or a run left, as `read_evaluations` takes it, or files of one other tool.
        metrics: as `read_evaluations` takes them.
        documents: those of another side.
        judge: who judges the answers of other tools than lm-eval anew; None: their own verdicts count, where they have
            any.

    Raises HarnessError where nothing is there, or it is broken, unfinished, edited, of several tools or models.
    """
    if not path.exists():
        raise HarnessError("no such file or directory", place=str(path), hint=f"Give {_KNOWN}.")
    if _is_lm_eval(path):
        return ReadSide(LM_EVAL, read_evaluations(path, metrics, documents))
    files = [path] if path.is_file() else find_files(path)
    if not files:
        return ReadSide(LM_EVAL, read_evaluations(path, metrics, documents))
    read = [(file, *_read_file(file)) for file in files]
    tools = sorted({tool for _, tool, _ in read})
    if len(tools) > 1:
        told = f"holds files of several tools ({', '.join(tools)})"
        raise HarnessError(told, place=str(path), hint="Name the directory of one, or one file.")
    runs = [(seed_directory(path, file), run) for file, _, found in read for run in found]
    evaluations = _number_repeats([build_evaluation(run, judge, folder) for folder, run in runs])
    refuse_repeated_runs(path, evaluations)
    return ReadSide(tools[0], evaluations, _remarks([run for _, run in runs], judge))


def _is_lm_eval(path: Path) -> bool:
    """Whether a path is read as lm-eval's output or an arm of a run: all that is no file, nor a directory of others."""
    if path.is_file():
        return False
    if not path.is_dir() or (path / ARMS).is_dir() or run_of_path(path) is not None:
        return True
    names = [(folder, name) for folder, names in walk_folders(path) for name in names]
    written = [folder / name for folder, name in names if is_written_by_lm_eval(folder / name)]
    others = [folder / name for folder, name in names if name.endswith((".eval", ".report.jsonl"))]
    if written and others:
        told = f"holds files of several tools ({written[0].name} and {others[0].name})"
        raise HarnessError(told, place=str(path), hint="Name the directory of one.")
    return bool(written)


def _read_file(path: Path) -> tuple[str, list[LoggedRun]]:
    """The tool that wrote a file, and the runs in it."""
    source = read_source(path)
    match source.kind:
        case ".eval":
            return inspect_logs.INSPECT, [inspect_logs.read_inspect(source)]
        case ".csv":
            return plain.PLAIN, plain.read_plain(source)
        case ".json":
            return _read_json(source)
        case ".jsonl" | ".ndjson":
            return _read_lines(source)
    told = f"ends in {file_kind(path) or 'nothing'}, by which no tool's file is known"
    raise HarnessError(told, place=str(path), hint=f"Give {_KNOWN}.")


def _read_json(source: Source) -> tuple[str, list[LoggedRun]]:
    content = source.parse_json()
    known = content.keys() if isinstance(content, dict) else frozenset[str]()
    if {"eval", "status"} <= known:
        return inspect_logs.INSPECT, [inspect_logs.read_inspect(source)]
    if isinstance(content, dict) and isinstance(content.get("results"), dict) and "results" in content["results"]:
        return promptfoo.PROMPTFOO, [promptfoo.read_promptfoo(source, content)]
    if known & {*pyrit.PARTS}:
        return pyrit.PYRIT, [pyrit.read_pyrit(source, content)]
    raise HarnessError("is JSON of no tool that is known", place=str(source.path), hint=f"Give {_KNOWN}.")


def _read_lines(source: Source) -> tuple[str, list[LoggedRun]]:
    first = _first_object(source)
    if "entry_type" in first:
        return garak.GARAK, [garak.read_garak(source)]
    if {"doc", "resps"} <= first.keys():
        hint = "Give the directory that lm_eval wrote, with the results file in it."
        raise HarnessError("is one of lm-eval's samples files", place=str(source.path), hint=hint)
    return plain.PLAIN, plain.read_plain(source)


def _first_object(source: Source) -> dict[str, Any]:
    """The object in the first line that holds anything; empty where it is none, which the reader explains."""
    line = next(line for line in source.data.split(b"\n") if line.strip())
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _number_repeats(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The evaluations, those told apart that answer the same tasks with one model and the same seeds: repeats.

    A model that no file names is one on the whole side: who puts the files together says so.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    numbered = []
    for each in evaluations:
        keys = [(each.folder, each.weights if each.is_named else "", each.seeds, task) for task in each.settings]
        number = max(seen[key] for key in keys)
        seen.update(keys)
        told = json.dumps({**json.loads(each.seeds), "repeat": number + 1}) if number else each.seeds
        weights = each.weights if each.is_named else json.dumps({"name": f"that of {evaluations[0].path}"})
        numbered.append(replace(each, seeds=told, weights=weights))
    return numbered


def _remarks(runs: Sequence[LoggedRun], judge: str | None) -> tuple[str, ...]:
    """What of the files could not be taken over, each once with how often."""
    left: Counter[str] = sum((run.left for run in runs), Counter())
    told = [f"{count} {what}" for what, count in left.items() if count > 0]
    own = sum(row.verdict is not None for run in runs for row in run.rows)
    if judge is not None and own:
        told.append(f"{own} verdicts of the files' own were not used: --judge {judge} judged all")
    if failed := sum(bool(row.error) for run in runs for row in run.rows):
        told.append(f"{failed} prompts got no answer, and count as unjudged")
    return tuple(told)
