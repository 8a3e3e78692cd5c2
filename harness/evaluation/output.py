"""A directory of lm-eval's output: whole and unedited, or refused.

Reads what `lm_eval --log_samples --output_path DIR` writes (0.4.9 to 0.4.13) without importing lm_eval:
`results_<time>.json` and one `samples_<task>_<time>.jsonl` a task, anywhere below a directory. Nothing is
guessed: half a file, a missing one, or one that disagrees with its neighbours raises HarnessError.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from harness.evaluation.lines import (
    MALFORMED_ERRORS,
    REEVALUATE_HINT,
    KnownDocuments,
    LineReader,
    is_same_rate,
    logged_number,
    numbered_rows,
)
from harness.evaluation.samples import VERDICT_OF, Answer, Evaluation, TaskSettings, mean_judged
from harness.support.artifacts import read_json
from harness.support.errors import HarnessError
from harness.support.layout import ARMS, MANIFEST, SEED_PREFIX
from harness.support.schema_errors import first_problem

_TIME_STAMP = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?"
_SAMPLES_NAME = re.compile(rf"samples_(?P<task>.+)_(?P<stamp>{_TIME_STAMP})\.jsonl")
_RESULTS_NAME = re.compile(rf".+_(?P<stamp>{_TIME_STAMP})\.json")


class _ResultsFile(BaseModel):
    """The parts of results_*.json that are used."""

    results: dict[str, dict[str, Any]]
    configs: dict[str, dict[str, Any]]
    versions: dict[str, Any]
    config: dict[str, Any]
    shots: dict[str, int | None] = Field(alias="n-shot")
    task_hashes: dict[str, str]
    date: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    model_name: Annotated[str, Field(min_length=1)]
    chat_template_sha: str | None = None
    system_instruction: str | None = None

    def task_metrics(self, task: str) -> set[str]:
        """Names of the task's metrics, as configured and as computed."""
        listed = self.configs.get(task, {}).get("metric_list") or []
        computed = (key.split(",")[0] for key in self.results.get(task, {}) if "," in key)
        names = {str(entry["metric"]) for entry in listed if isinstance(entry, dict) and "metric" in entry}
        return {name for name in names.union(computed) if not name.endswith("_stderr")}


def read_evaluations(root: Path) -> list[Evaluation]:
    """Every evaluation below a directory, in the order of their paths.

    Raises HarnessError where there is none, one is unfinished, broken or edited (by the hashes of a run
    directory's manifest, by lm-eval's own counts and hashes), or two are the same run twice.
    """
    if not root.is_dir():
        raise HarnessError("no such directory", place=str(root), hint="Name a directory that lm_eval wrote.")
    if (root / ARMS).is_dir():
        raise HarnessError("is a whole run", place=str(root), hint="Name one arm of it, such as arms/baseline.")
    manifest, documents = _Manifest.find_around(root), KnownDocuments({})
    evaluations = [
        _read_evaluation(files, results, manifest, documents) for results, files in _group_files(root, manifest)
    ]
    _refuse_repeated_runs(root, evaluations)
    return evaluations


@dataclass(frozen=True, slots=True)
class _Manifest:
    """The hashes of a run directory's files, by path relative to it; empty outside a run directory."""

    root: Path
    files: Mapping[str, str]

    @classmethod
    def find_around(cls, directory: Path) -> _Manifest:
        for parent in (directory.resolve(), *directory.resolve().parents):
            if (parent / MANIFEST).is_file():
                manifest = read_json(parent / MANIFEST)
                if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict):
                    return cls(parent, manifest["files"])
        return cls(directory.resolve(), {})

    def read_recorded(self, path: Path) -> bytes:
        """A file's bytes. Raises HarnessError where they are not those that the run recorded."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise HarnessError(f"cannot be read ({error.strerror})", place=str(path)) from error
        if self.files:
            self._check_digest(path, hashlib.sha256(data).hexdigest())
        return data

    def _check_digest(self, path: Path, digest: str) -> None:
        recorded = self.files.get(path.resolve().relative_to(self.root).as_posix())
        if recorded is None:
            raise HarnessError(
                "is not in the run's manifest.json: the arm did not finish, or the file was added later",
                place=str(path),
                hint="Finish the run with `harness run`, or move the file out of it.",
            )
        if recorded != digest:
            raise HarnessError(
                "was edited after the run (its hash is not the one in manifest.json)",
                place=str(path),
                hint=REEVALUATE_HINT,
            )

    def missing_files(self, root: Path) -> list[str]:
        """Evaluation files below `root` that the run recorded and that are gone."""
        inside = root.resolve()
        paths = [
            self.root / name
            for name in self.files
            if _SAMPLES_NAME.fullmatch(Path(name).name) or _RESULTS_NAME.fullmatch(Path(name).name)
        ]
        return sorted(str(path) for path in paths if path.is_relative_to(inside) and not path.is_file())


def _group_files(root: Path, manifest: _Manifest) -> list[tuple[Path, dict[str, Path]]]:
    """Each results file with its samples files by task."""
    if gone := manifest.missing_files(root):
        raise HarnessError("is recorded in the run's manifest.json but gone", place=gone[0], hint=REEVALUATE_HINT)
    samples = {
        path: match for path in _files_below(root, "samples_*.jsonl") if (match := _SAMPLES_NAME.fullmatch(path.name))
    }
    if not samples:
        raise HarnessError(
            "holds no samples_*.jsonl: nothing was evaluated here, or the evaluation did not finish",
            place=str(root),
            hint="Run lm_eval with --log_samples and --output_path.",
        )
    _refuse_unfinished_seeds(root, list(samples))
    found: dict[Path, dict[str, Path]] = {}
    for path, match in samples.items():
        found.setdefault(_results_beside(path, match["stamp"]), {})[match["task"]] = path
    for path in _files_below(root, "results_*.json"):
        if _RESULTS_NAME.fullmatch(path.name) and path not in found:
            raise HarnessError("has no samples beside it", place=str(path), hint="Run lm_eval with --log_samples.")
    return list(found.items())


def _files_below(root: Path, pattern: str) -> Iterator[Path]:
    """Matching files in order, leaving out hidden folders (what a killed run left behind)."""
    for path in sorted(root.rglob(pattern)):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
            yield path


def _refuse_unfinished_seeds(root: Path, samples: Sequence[Path]) -> None:
    for seed in sorted(root.glob(f"{SEED_PREFIX}*")):
        if seed.is_dir() and not any(path.is_relative_to(seed) for path in samples):
            raise HarnessError(
                "holds no evaluation: this seed did not finish",
                place=str(seed),
                hint="Finish it with `harness run`, or remove the directory.",
            )


def _results_beside(samples: Path, stamp: str) -> Path:
    beside = [path for path in samples.parent.glob(f"*_{stamp}.json") if _RESULTS_NAME.fullmatch(path.name)]
    if len(beside) != 1:
        raise HarnessError(
            f"has {len(beside)} results files of its time stamp beside it, not one: "
            "the evaluation did not finish, or files were moved",
            place=str(samples),
            hint=REEVALUATE_HINT,
        )
    return beside[0]


_READ_EVALUATIONS: dict[tuple[str, ...], Evaluation] = {}
"""Evaluations by their files and the hashes of these: a run's results, its gate and its report read the same ones."""


def _read_evaluation(
    files: Mapping[str, Path], path: Path, manifest: _Manifest, documents: KnownDocuments
) -> Evaluation:
    data, lines = manifest.read_recorded(path), {task: manifest.read_recorded(file) for task, file in files.items()}
    key = (
        str(path),
        *map(str, files.values()),
        *(hashlib.sha256(content).hexdigest() for content in (data, *lines.values())),
    )
    if key not in _READ_EVALUATIONS:
        _READ_EVALUATIONS[key] = _parse_evaluation(files, lines, path, data, documents)
    return _READ_EVALUATIONS[key]


def _parse_evaluation(
    files: Mapping[str, Path], contents: Mapping[str, bytes], path: Path, data: bytes, documents: KnownDocuments
) -> Evaluation:
    results = _parse_results(data, path)
    rows = {task: numbered_rows(contents[task], file) for task, file in files.items()}
    answers: list[Answer] = []
    settings: dict[str, TaskSettings] = {}
    for task, lines in rows.items():
        reader = LineReader(task, results.task_metrics(task), documents)
        read = [answer for number, row in lines for answer in reader.read_answers(row, f"{files[task]}:{number}")]
        _check_sample_hashes([row for _, row in lines], results.task_hashes.get(task), files[task])
        _check_aggregates(task, [row for _, row in lines], results, path)
        settings[task] = _task_settings(task, results, read, path)
        answers.extend(read)
    return Evaluation(
        path,
        results.model_name,
        _seed_settings(results, path),
        results.date,
        hashlib.sha256(data).hexdigest(),
        settings,
        answers,
    )


def _parse_results(data: bytes, path: Path) -> _ResultsFile:
    try:
        return _ResultsFile.model_validate(json.loads(data))
    except ValidationError as error:
        where, problem = first_problem(error)
        told = f"is no lm-eval results file ({where or 'the file'}: {problem})"
        raise HarnessError(told, place=str(path), hint=REEVALUATE_HINT) from error
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"is not JSON ({error})", place=str(path), hint=REEVALUATE_HINT) from error


def _check_sample_hashes(rows: Sequence[Mapping[str, Any]], digest: str | None, path: Path) -> None:
    """The file must hold the documents, in number and kind, that the results file was made from."""
    filters = {str(row.get("filter")) for row in rows}
    if len(filters) > 1:
        told = f"was scored through several filters ({', '.join(sorted(filters))})"
        raise HarnessError(told, place=str(path), hint="Evaluate with one filter.")
    try:
        joined = "".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in rows)
    except MALFORMED_ERRORS as error:
        raise HarnessError(f"lacks a hash ({error})", place=str(path), hint=REEVALUATE_HINT) from error
    if hashlib.sha256(joined.encode(errors="replace")).hexdigest() != digest:
        told = "does not hold the samples that its results file was made from"
        raise HarnessError(told, place=str(path), hint=REEVALUATE_HINT)


def _check_aggregates(task: str, rows: Sequence[Mapping[str, Any]], results: _ResultsFile, path: Path) -> None:
    """Rates in the results file must be the means of the samples: neither file was edited alone."""
    for metric in results.task_metrics(task) & VERDICT_OF.keys():
        expected = mean_judged(logged_number(row.get(metric)) for row in rows)
        stated = [logged_number(x) for key, x in results.results.get(task, {}).items() if key.split(",")[0] == metric]
        if not math.isnan(expected) and not (stated and all(is_same_rate(expected, x) for x in stated)):
            told = f"says {metric} of {task} is {stated}, its samples make it {expected}"
            raise HarnessError(told, place=str(path), hint=REEVALUATE_HINT)


def _task_settings(task: str, results: _ResultsFile, answers: Sequence[Answer], path: Path) -> TaskSettings:
    if missing := {task} - (results.configs.keys() & results.versions.keys() & results.shots.keys()):
        raise HarnessError(f"lacks the settings of {missing.pop()}", place=str(path), hint=REEVALUATE_HINT)
    judges = {answer.judge for answer in answers}
    if "" in judges and len(judges) > 1:
        raise HarnessError(f"{task} has answers with and without a verdict", place=str(path), hint=REEVALUATE_HINT)
    config = results.configs[task]
    generation = {
        "generation_kwargs": config.get("generation_kwargs"),
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
    )


def _seed_settings(results: _ResultsFile, path: Path) -> str:
    seeds = {key: value for key, value in results.config.items() if key.endswith("_seed")}
    if not seeds:
        raise HarnessError("does not say its seeds", place=str(path), hint=REEVALUATE_HINT)
    return json.dumps(seeds, sort_keys=True)


def _refuse_repeated_runs(root: Path, evaluations: Sequence[Evaluation]) -> None:
    """One model a side (or one a `seed-*` directory), and no run counted twice."""
    seen: dict[tuple[str, str, str, str], Path] = {}
    for evaluation in evaluations:
        seed = _seed_directory(root, evaluation.path)
        for task in evaluation.settings:
            key = (seed, evaluation.model, evaluation.seeds, task)
            if key in seen:
                raise HarnessError(
                    f"evaluates {task} with the same model and seeds as {seen[key].name}",
                    place=str(evaluation.path),
                    hint="Keep one of them, or evaluate with another --seed.",
                )
            seen[key] = evaluation.path
    models = {(seed, model) for seed, model, *_ in seen}
    if len(models) > len({seed for seed, _ in models}):
        raise HarnessError(
            f"holds several models ({', '.join(sorted({model for _, model in models}))})",
            place=str(root),
            hint="Name the directory of one.",
        )


def _seed_directory(root: Path, path: Path) -> str:
    """The `seed-<n>` folder that holds an evaluation, which stands for one trained model."""
    below = path.absolute().parts[len(root.absolute().parts) :]
    return next((part for part in below if part.startswith(SEED_PREFIX)), "")
