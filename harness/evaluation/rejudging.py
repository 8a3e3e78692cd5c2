"""lm-eval's output with another judge's verdicts: a new directory, as lm-eval would have written it with that judge.

Verdicts, each line's metrics, the rates and their standard errors, and the judge in documents, hashes and settings are
exchanged; answers, prompts, dates and models stay. `rejudged` in the new results files says who judged, and instead
of whom. lm_eval itself is not needed.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from harness.evaluation.finding import EvaluationFiles, find_evaluations
from harness.evaluation.lines import MALFORMED_ERRORS, REEVALUATE_HINT, document_digest, numbered_rows
from harness.evaluation.manifest import RunManifest
from harness.evaluation.output import read_evaluations
from harness.evaluation.samples import JUDGED_METRICS, MEASURED_LABELS, VERDICT_OF, Evaluation
from harness.evaluation.saved_answers import sample_rows
from harness.evaluation.tasks import TASK_VERSION, verdict_metrics, verdict_text
from harness.evaluation.verdict_counts import VerdictCounts
from harness.judges.normalizing import ReasoningTags
from harness.judges.registry import JudgeTally, judge_identity, judges_version
from harness.judges.verdicts import Verdict
from harness.support.artifacts import atomic_directory
from harness.support.console import print_note
from harness.support.errors import HarnessError
from harness.support.layout import MANIFEST


@dataclass(frozen=True, slots=True)
class LoggedTask:
    """One samples file with verdicts, the name of its task, and the evaluation it belongs to."""

    task: str
    samples: Path
    evaluation: Evaluation


def logged_tasks(root: Path) -> list[LoggedTask]:
    """What was judged in the evaluations below a directory.

    Raises HarnessError as `read_evaluations` does, and where nothing was judged.
    """
    samples = {files.results: files.samples for files in _evaluation_files(root)}
    found = [
        LoggedTask(task, samples[evaluation.path][task], evaluation)
        for evaluation in read_evaluations(root, VERDICT_OF)
        for task, settings in evaluation.settings.items()
        if settings.judge
    ]
    if not found:
        hint = "Evaluate a task of refusal_displacement with --log_samples."
        raise HarnessError("holds no answers with verdicts", place=str(root), hint=hint)
    return found


def refuse_taken_place(root: Path, out: Path) -> None:
    """Raises HarnessError where `out` is taken, holds or is held by `root`, or is inside a run."""
    first, second = root.resolve(), out.resolve()
    if first.is_relative_to(second) or second.is_relative_to(first):
        raise HarnessError("lies in the evaluation, or around it", place=str(out), hint="Choose another --out.")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise HarnessError("is there already", place=str(out), hint="Choose another --out, or remove it.")
    if inside := next((parent for parent in second.parents if (parent / MANIFEST).is_file()), None):
        raise HarnessError(f"is inside the run {inside}", place=str(out), hint="Choose an --out beside it.")


def write_rejudged(
    root: Path,
    tasks: Sequence[LoggedTask],
    out: Path,
    name: str,
    verdicts: Iterator[Verdict],
    reasoning_tags: ReasoningTags | None = None,
) -> VerdictCounts:
    """Writes the evaluations below `root` to `out` with these verdicts, whole or not at all; counts them.

    Args:
        root: the directory that was read; it stays as it is.
        tasks: from `logged_tasks`.
        out: a place that `refuse_taken_place` allows.
        name: of the judge.
        verdicts: one for each answer, in the order of the tasks' files.
        reasoning_tags: with which they were given, where a document names none of its own; it does afterwards.

    Raises HarnessError where a line cannot be rejudged, or the judge gave no verdict on any answer.
    """
    counted = _CountedVerdicts(verdicts, VerdictCounts(), JudgeTally(name))
    with atomic_directory(out) as temporary:
        for files in _evaluation_files(root):
            folder = temporary / files.results.parent.relative_to(root)
            folder.mkdir(parents=True, exist_ok=True)
            judged = [logged for logged in tasks if logged.evaluation.path == files.results]
            _copy_others(folder, files, {logged.task for logged in judged})
            if judged:
                _write_judged(folder, judged, name, counted, reasoning_tags)
        counted.tally.refuse_nothing_judged()
        read_evaluations(temporary, VERDICT_OF)
    return counted.counts


@dataclass(frozen=True, slots=True)
class _CountedVerdicts:
    """Verdicts as they come, and what came so far."""

    verdicts: Iterator[Verdict]
    counts: VerdictCounts
    tally: JudgeTally

    def take_for(self, responses: Sequence[str]) -> list[Verdict]:
        """The next verdicts, one an answer."""
        said = list(islice(self.verdicts, len(responses)))
        for response, verdict in zip(responses, said, strict=True):
            self.tally.count_verdict(response, verdict)
            self.counts.count_verdict(verdict)
        return said


def _evaluation_files(root: Path) -> list[EvaluationFiles]:
    return find_evaluations(root, RunManifest.find_around(root))


def _copy_others(folder: Path, files: EvaluationFiles, judged: Collection[str]) -> None:
    """Copies what no judge has said anything of: the samples of other tasks, and the results where all are such."""
    others = [path for task, path in files.samples.items() if task not in judged]
    for path in others if judged else [*others, files.results]:
        shutil.copyfile(path, folder / path.name)


def _write_judged(
    folder: Path,
    tasks: Sequence[LoggedTask],
    name: str,
    counted: _CountedVerdicts,
    reasoning_tags: ReasoningTags | None,
) -> None:
    """Writes the samples of one evaluation's tasks with the next verdicts, and its results."""
    path = tasks[0].evaluation.path
    results = _Rejudged(json.loads(path.read_bytes()), name, judge_identity(name), reasoning_tags)
    for logged in tasks:
        _write_lines(folder / logged.samples.name.removesuffix(".gz"), _rejudge_samples(logged, results, counted))
    text = json.dumps(results.finished(tasks), indent=2, ensure_ascii=False)
    (folder / path.name).write_text(text, encoding="utf-8", errors="backslashreplace")


def _rejudge_samples(logged: LoggedTask, results: _Rejudged, counted: _CountedVerdicts) -> Iterator[dict[str, Any]]:
    """The lines of a samples file anew; what they come to goes into the results."""
    for number, row in numbered_rows(logged.samples.read_bytes(), logged.samples):
        place = f"{logged.samples}:{number}"
        said = counted.take_for([answer["response"] for answer in sample_rows(row, place)])
        try:
            line = _rejudged_line(row, said, results)
            results.add_line(logged.task, line)
        except MALFORMED_ERRORS as error:
            told = f"cannot be rejudged ({type(error).__name__}: {error})"
            raise HarnessError(told, place=place, hint=REEVALUATE_HINT) from error
        yield line


def _rejudged_line(row: Mapping[str, Any], said: Sequence[Verdict], results: _Rejudged) -> dict[str, Any]:
    """One line of a samples file with other verdicts, as lm-eval logs it. Raises ValueError at metrics of others."""
    logged = list(row["metrics"])
    if foreign := [metric for metric in logged if metric.partition("/")[0] not in JUDGED_METRICS]:
        raise ValueError(f"nothing is known of what a verdict means for {foreign[0]}")
    doc = row["doc"] | (results.told_judge(row["doc"]) if "judge" in row["doc"] else {})
    texts = [verdict_text(verdict, results.identity) for verdict in said]
    metrics = verdict_metrics(MEASURED_LABELS[doc["unsafe"]], {**doc, "judge": results.name}, [texts])
    changed = {
        "doc": doc,
        "filtered_resps": [texts],
        "metrics": list(metrics),
        "doc_hash": document_digest(doc),
    }
    return {key: value for key, value in row.items() if key not in logged} | changed | metrics


class _Rejudged:
    """A results file whose tasks are judged anew."""

    def __init__(self, results: dict[str, Any], name: str, identity: str, reasoning_tags: ReasoningTags | None) -> None:
        self.results, self.name, self.identity, self.reasoning_tags = results, name, identity, reasoning_tags
        self._columns: dict[str, dict[str, list[float]]] = defaultdict(dict)
        self._hashes: dict[str, list[str]] = defaultdict(list)

    def told_judge(self, doc: Mapping[str, Any]) -> dict[str, Any]:
        """What a document, or a task's metadata, says of the judging, anew; tags of its own stay."""
        own = doc.get("reasoning_tags") or self.reasoning_tags
        return {"judge": self.name, **({"reasoning_tags": list(own)} if own else {})}

    def add_line(self, task: str, line: Mapping[str, Any]) -> None:
        """Takes in what one line of a task's samples measures."""
        for metric in line["metrics"]:
            self._columns[task].setdefault(f"{metric},{line['filter']}", []).append(line[metric])
        self._hashes[task].append(line["doc_hash"] + line["prompt_hash"] + line["target_hash"])

    def finished(self, tasks: Sequence[LoggedTask]) -> dict[str, Any]:
        """The whole results file, with what these tasks' lines come to."""
        results = self.results
        for task, columns in self._columns.items():
            kept = {key: value for key, value in results["results"][task].items() if "," not in key}
            results["results"][task] = kept | self._aggregates(columns)
            results["task_hashes"][task] = hashlib.sha256(
                "".join(self._hashes[task]).encode(errors="replace")
            ).hexdigest()
            if isinstance(metadata := results["configs"][task].get("metadata"), dict):
                metadata |= self.told_judge(metadata)
            _raise_version(results, task)
        _drop_group_rates(results, set(self._columns))
        results["rejudged"] = {
            "judge": self.identity,
            "judge_version": judges_version(),
            "instead_of": sorted({logged.evaluation.settings[logged.task].judge for logged in tasks}),
            "tasks": sorted(self._columns),
            "results_sha256": tasks[0].evaluation.digest,
        }
        return results

    def _aggregates(self, columns: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        """Means and standard errors under lm-eval's names for them."""
        wanted = self.results["config"].get("bootstrap_iters", 1)
        found: dict[str, Any] = {}
        for key, values in columns.items():
            metric, _, filtered = key.rpartition(",")
            known = bool(wanted) and len(values) > 1
            found[key] = sum(values) / len(values)
            found[f"{metric}_stderr,{filtered}"] = _standard_error(values) if known else "N/A"
        return found


def _standard_error(values: Sequence[float]) -> float:
    """Of a mean, summed in the order in which lm-eval sums (`lm_eval.api.metrics.mean_stderr`)."""
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return deviation / math.sqrt(len(values))


def _raise_version(results: dict[str, Any], task: str) -> None:
    """Verdicts given today mean what they mean in today's tasks; a later version is that of a task of one's own."""
    version, metadata = results["versions"][task], results["configs"][task].get("metadata")
    if isinstance(version, int | float) and version < TASK_VERSION:
        results["versions"][task] = TASK_VERSION
        if isinstance(metadata, dict) and "version" in metadata:
            metadata["version"] = TASK_VERSION


def _drop_group_rates(results: dict[str, Any], tasks: set[str]) -> None:
    """Takes out rates that a group of one's own had over tasks judged anew: they were another judge's."""
    members = {group: set(names) for group, names in (results.get("group_subtasks") or {}).items()}
    stale = set(tasks)
    while grown := {group for group, names in members.items() if names & stale} - stale:
        stale |= grown
    for group in sorted(stale - tasks):
        for table in ("results", "groups"):
            entry = (results.get(table) or {}).get(group, {})
            if rates := [key for key in entry if "," in key]:
                print_note(f"the rates of the group {group} are left out: they were another judge's")
                for key in rates:
                    del entry[key]


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
