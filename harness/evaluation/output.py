"""A directory of lm-eval's output: whole and unedited, or refused.

Reads what `lm_eval --log_samples --output_path DIR` writes (0.4.9 to 0.4.13) without importing lm_eval:
`results_<time>.json` and one `samples_<task>_<time>.jsonl` a task, anywhere below a directory. Nothing is
guessed: half a file, a missing one, or one that disagrees with its neighbours raises HarnessError.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from harness.evaluation.finding import EvaluationFiles, find_evaluations
from harness.evaluation.lines import (
    REEVALUATE_HINT,
    KnownDocuments,
    LineReader,
    is_same_rate,
    numbered_rows,
)
from harness.evaluation.manifest import RunManifest
from harness.evaluation.results_file import ResultsFile, loading_settings, parse_results
from harness.evaluation.samples import (
    JUDGED_METRICS,
    VERDICT_OF,
    Answer,
    Evaluation,
    PromptCount,
    TaskSettings,
    metric_names,
)
from harness.support.artifacts import float_or_nan
from harness.support.errors import HarnessError
from harness.support.layout import ARMS, SEED_PREFIX


def read_evaluations(
    root: Path, metrics: Collection[str] = (), documents: KnownDocuments | None = None
) -> list[Evaluation]:
    """Every evaluation below a directory, in the order of their paths.

    Args:
        root: the directory.
        metrics: where given, tasks that measure none of these, and no verdict either, are left alone.
        documents: those of another side, which are not checked and kept again.

    Raises HarnessError where there is none, one is unfinished, broken or edited (by the hashes of a run
    directory's manifest, by lm-eval's own counts and hashes), or two are the same run twice.
    """
    if not root.is_dir():
        raise HarnessError("no such directory", place=str(root), hint="Name a directory that lm_eval wrote.")
    if (root / ARMS).is_dir():
        raise HarnessError("is a whole run", place=str(root), hint="Name one arm of it, such as arms/baseline.")
    manifest, known = RunManifest.find_around(root), documents or KnownDocuments()
    wanted = {*metrics, *VERDICT_OF} if metrics else None
    found = find_evaluations(root, manifest)
    evaluations = [_read_evaluation(root, files, manifest, wanted, known) for files in found]
    refuse_repeated_runs(root, evaluations)
    return evaluations


_READ_EVALUATIONS: dict[tuple[str, ...], Evaluation] = {}
"""Evaluations by their files and the hashes of these: a run's results, its gate and its report read the same ones."""


def _read_evaluation(
    root: Path, files: EvaluationFiles, manifest: RunManifest, wanted: set[str] | None, documents: KnownDocuments
) -> Evaluation:
    data, digest = manifest.read_file(files.results)
    results = parse_results(data, files.results)
    if absent := sorted(results.tasks - files.samples.keys()):
        raise HarnessError(
            f"names the task {absent[0]}, whose samples are not beside it",
            place=str(files.results),
            hint=REEVALUATE_HINT,
        )
    samples = {
        task: path
        for task, path in files.samples.items()
        if wanted is None or task not in results.tasks or results.guard_names(task) & wanted
    }
    contents = {task: manifest.read_file(path) for task, path in samples.items()}
    key = (str(files.results), digest, *(f"{samples[task]} {sha}" for task, (_, sha) in contents.items()))
    if key not in _READ_EVALUATIONS:
        reader = _EvaluationReader(files.results, results, digest, documents)
        reader.files |= {samples[task]: sha for task, (_, sha) in contents.items()}
        for task in samples:
            reader.read_task(task, samples[task], contents.pop(task)[0])
        _READ_EVALUATIONS[key] = reader.evaluation()
    return replace(_READ_EVALUATIONS[key], folder=seed_directory(root, files.results))


class _EvaluationReader:
    """One evaluation, task by task."""

    def __init__(self, path: Path, results: ResultsFile, digest: str, documents: KnownDocuments) -> None:
        self.path, self.results, self.digest = path, results, digest
        self.documents, self.files = documents, {path: digest}
        self.settings: dict[str, TaskSettings] = {}
        self.counts: dict[str, PromptCount] = {}
        self.measured: dict[str, frozenset[str]] = {}
        self.metrics: dict[str, tuple[str, ...]] = {}
        self.scopes: dict[str, Sequence[str]] = {}
        self.directions: dict[str, set[bool | None]] = {}
        self.answers: list[Answer] = []

    def read_task(self, task: str, path: Path, data: bytes) -> None:
        """Reads a task's samples. Raises HarnessError where they are not those the results were computed from."""
        results, scopes = self.results, self.results.scopes(task)
        likelihoods = results.gives_likelihoods(task)
        lines = LineReader(task, results.task_metrics(task), self.documents, scopes, likelihoods=likelihoods)
        answers = [
            answer
            for number, row in numbered_rows(data, path)
            for answer in lines.read_answers(row, f"{path}:{number}")
        ]
        _check_lines(lines, self.results.task_hashes.get(task), path)
        _check_aggregates(task, lines, self.results, self.path)
        self.metrics[task] = tuple(lines.name_outcomes())
        self.scopes[task] = scopes
        self._keep_directions(task, lines, scopes)
        self.settings[task] = _task_settings(task, self.results, answers, self.path)
        self.counts[task] = self.results.prompt_count(task, lines.lines)
        self.measured[task] = frozenset.intersection(*{frozenset(answer.outcomes) for answer in answers})
        self.answers.extend(answers)

    def _keep_directions(self, task: str, lines: LineReader, scopes: Sequence[str]) -> None:
        """Whether higher is better, by every name of each metric; verdicts are known without."""
        filters = [*lines.filters]
        for metric in () if lines.judged else lines.metrics:
            for each in {name for one in filters for name in metric_names(scopes, metric, filters, one)}:
                self.directions.setdefault(each, set()).add(self.results.better(task, metric))

    def evaluation(self) -> Evaluation:
        """What was read; `folder` is told by who reads."""
        results = self.results
        return Evaluation(
            path=self.path,
            model=results.model_name,
            model_told=results.model_told,
            weights=results.weights,
            is_named=results.is_named,
            folder="",
            seeds=_seed_settings(results, self.path),
            cached=bool(results.config.get("use_cache")),
            predicts_only=results.predicts_only,
            date=results.date,
            digest=self.digest,
            settings=self.settings,
            counts=self.counts,
            measured=self.measured,
            answers=self.answers,
            metrics=self.metrics,
            scopes=self.scopes,
            directions={
                name: better
                for name, found in self.directions.items()
                if len(found) == 1 and (better := next(iter(found))) is not None
            },
            tool=f"lm-eval {results.lm_eval_version}" if results.lm_eval_version else "lm-eval",
            files=self.files,
        )


def _check_lines(lines: LineReader, digest: str | None, path: Path) -> None:
    """The file must hold the documents, in number and kind, that the results file was made from."""
    if len(lines.filters) > 1 and lines.judged:
        raise HarnessError(
            f"was judged through several filters ({', '.join(sorted(lines.filters))})",
            place=str(path),
            hint="Evaluate a copy of the task's YAML file that has one of them.",
        )
    if lines.digest != digest or len({*lines.filters.values()}) > 1:
        told = "does not hold the samples that its results file was made from"
        raise HarnessError(told, place=str(path), hint=REEVALUATE_HINT)


def _check_aggregates(task: str, lines: LineReader, results: ResultsFile, path: Path) -> None:
    """Rates in the results file must be the means of the samples: neither file was edited alone."""
    for metric in sorted(results.averaged_metrics(task)):
        for name in lines.filters:
            expected = lines.sums[name][metric].mean
            known = results.stated_rates(task, metric, name if len(lines.filters) > 1 else None)
            stated = [float_or_nan(value) for value in known]
            if math.isnan(expected) or _is_mean_of_gaps(lines, metric, name, stated):
                continue
            if not stated or not all(is_same_rate(expected, value) for value in stated):
                told = f"says {metric} of {task} is {stated}, its samples make it {expected}"
                raise HarnessError(told, place=str(path), hint=REEVALUATE_HINT)


def _is_mean_of_gaps(lines: LineReader, metric: str, name: str, stated: Sequence[float]) -> bool:
    """Whether a task's own metric has no mean because it has no number on some line; our rates leave such out."""
    gaps = lines.sums[name][metric].lines < lines.lines
    return metric not in JUDGED_METRICS and gaps and all(map(math.isnan, stated))


def _task_settings(task: str, results: ResultsFile, answers: Sequence[Answer], path: Path) -> TaskSettings:
    if missing := {task} - (results.configs.keys() & results.versions.keys() & results.shots.keys()):
        raise HarnessError(f"lacks the settings of {missing.pop()}", place=str(path), hint=REEVALUATE_HINT)
    judges = {answer.judge for answer in answers}
    if "" in judges and len(judges) > 1:
        raise HarnessError(f"{task} has answers with and without a verdict", place=str(path), hint=REEVALUATE_HINT)
    config = results.configs[task]
    generation = {
        "generation_kwargs": config.get("generation_kwargs"),
        "loading": loading_settings(results, path),
        "repeats": config.get("repeats", 1),
        "samples": max((answer.doc.get("sample", 0) for answer in answers), default=0) + 1,
    }
    template = {
        "chat template": results.chat_template_sha,
        "system": results.system_instruction,
        "shots": results.shots[task],
    }
    return TaskSettings(
        str(results.versions[task]),
        json.dumps(generation, sort_keys=True),
        json.dumps(template, sort_keys=True),
        ", ".join(sorted(judges)),
        results.rejudged.judge_version if results.rejudged and task in results.rejudged.tasks else "",
    )


def _seed_settings(results: ResultsFile, path: Path) -> str:
    seeds = {key: value for key, value in results.config.items() if key.endswith("_seed")}
    if not seeds:
        raise HarnessError("does not say its seeds", place=str(path), hint=REEVALUATE_HINT)
    return json.dumps(seeds, sort_keys=True)


def refuse_repeated_runs(root: Path, evaluations: Sequence[Evaluation]) -> None:
    """Raises HarnessError on two models on a side (outside `seed-*` directories), and on a run that is there twice."""
    seen: dict[tuple[str, ...], Path] = {}
    for evaluation in evaluations:
        keys = [(evaluation.folder, evaluation.weights, evaluation.seeds, task) for task in evaluation.settings]
        for key in [*keys, (evaluation.digest,)]:
            if key in seen:
                told = f"evaluates {key[-1]} with the same model and seeds as" if len(key) > 1 else "is a copy of"
                raise HarnessError(
                    f"{told} {seen[key]}",
                    place=str(evaluation.path),
                    hint="Keep one of them, or evaluate with another --seed.",
                )
            seen[key] = evaluation.path
    models = {(each.folder, each.weights): each.model_told for each in evaluations}
    if len(models) > len({folder for folder, _ in models}):
        raise HarnessError(
            f"holds several models ({', '.join(sorted(set(models.values())))})",
            place=str(root),
            hint="Name the directory of one.",
        )


def seed_directory(root: Path, path: Path) -> str:
    """The `seed-<n>` folder that holds an evaluation, which stands for one trained model."""
    below = path.absolute().parts[len(root.absolute().parts) :]
    return next((part for part in below if part.startswith(SEED_PREFIX)), "")
