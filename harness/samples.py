"""lm-eval's output directories as typed rows: every answer with its verdict, every evaluation with its settings.

Reads what `lm_eval --log_samples --output_path DIR` writes (0.4.9 to 0.4.13) without importing lm_eval:
`results_<time>.json` and one `samples_<task>_<time>.jsonl` a task, anywhere below a directory. Nothing is
guessed: half a file, a missing one, or one that disagrees with its neighbours raises HarnessError.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, Field, ValidationError

from harness.artifacts import fingerprint, read_json, read_rows
from harness.errors import HarnessError
from harness.judges import Label, never_says

VERDICT_OF: Mapping[str, Label] = {
    "refusal_rate": "refusal",
    "harmful_completion_rate": "harmful",
    "benign_compliance_rate": "compliance",
}
"""The verdict that each of our metrics counts."""

_STAMP = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?"
_SAMPLES = re.compile(rf"samples_(?P<task>.+)_(?P<stamp>{_STAMP})\.jsonl")
_RESULTS = re.compile(rf".+_(?P<stamp>{_STAMP})\.json")
_RERUN = "Run the evaluation again, and keep its files as they are."
_BROKEN = (KeyError, TypeError, ValueError, AttributeError, SyntaxError, MemoryError, RecursionError)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to one prompt, and what was made of it.

    `outcomes` maps a metric to 0..1, NaN where the answer was not judged; `document` identifies the prompt
    (lm-eval's hash of the document), `rendered` the text the model was given; `reason` is the judge's.
    """

    task: str
    document: str
    rendered: str
    doc: Mapping[str, Any]
    response: str
    verdict: str
    judge: str
    reason: str
    outcomes: Mapping[str, float]

    @property
    def prompt_id(self) -> str:
        """The document's own id, or the start of its hash."""
        return str(self.doc.get("prompt_id", self.document[:12]))

    @property
    def prompt(self) -> str:
        """The request as a person would read it."""
        named = self.doc.get("prompt", self.doc.get("question"))
        return named if isinstance(named, str) else json.dumps(self.doc, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """What must be the same on two sides for their rates to be comparable, for one task."""

    version: str
    generation: str
    template: str
    judge: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One run of lm-eval: one model, one set of seeds, one or more tasks."""

    path: Path
    model: str
    seeds: str
    date: float
    digest: str
    settings: Mapping[str, Settings]
    answers: Sequence[Answer]

    def metrics(self) -> set[str]:
        """Metrics that at least one answer could have an outcome for."""
        return {metric for answer in self.answers for metric in answer.outcomes}


class _Results(BaseModel):
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

    def metrics(self, task: str) -> set[str]:
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
        raise HarnessError("no such directory", place=str(root), mend="Name a directory that lm_eval wrote.")
    if (root / "arms").is_dir():
        raise HarnessError("is a whole run", place=str(root), mend="Name one arm of it, such as arms/baseline.")
    manifest, documents = _Manifest.around(root), _Documents({})
    evaluations = [_evaluation(files, results, manifest, documents) for results, files in _files(root, manifest)]
    _refuse_repeats(root, evaluations)
    return evaluations


def mean_outcome(answers: Sequence[Answer], metric: str) -> float:
    """Mean of a metric over judged answers; NaN where there is none."""
    return _mean(answer.outcomes.get(metric, math.nan) for answer in answers)


@dataclass(frozen=True, slots=True)
class _Manifest:
    """The hashes of a run directory's files, by path relative to it; empty outside a run directory."""

    root: Path
    files: Mapping[str, str]

    @classmethod
    def around(cls, directory: Path) -> _Manifest:
        for parent in (directory.resolve(), *directory.resolve().parents):
            if (parent / "manifest.json").is_file():
                manifest = read_json(parent / "manifest.json")
                if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict):
                    return cls(parent, manifest["files"])
        return cls(directory.resolve(), {})

    def read(self, path: Path) -> bytes:
        """A file's bytes. Raises HarnessError where they are not those that the run recorded."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise HarnessError(f"cannot be read ({error.strerror})", place=str(path)) from error
        if self.files:
            self._check(path, hashlib.sha256(data).hexdigest())
        return data

    def _check(self, path: Path, digest: str) -> None:
        recorded = self.files.get(path.resolve().relative_to(self.root).as_posix())
        if recorded is None:
            raise HarnessError(
                "is not in the run's manifest.json: the arm did not finish, or the file was added later",
                place=str(path),
                mend="Finish the run with `harness run`, or move the file out of it.",
            )
        if recorded != digest:
            raise HarnessError(
                "was edited after the run (its hash is not the one in manifest.json)", place=str(path), mend=_RERUN
            )

    def missing(self, root: Path) -> list[str]:
        """Evaluation files below `root` that the run recorded and that are gone."""
        inside = root.resolve()
        paths = [
            self.root / name
            for name in self.files
            if _SAMPLES.fullmatch(Path(name).name) or _RESULTS.fullmatch(Path(name).name)
        ]
        return sorted(str(path) for path in paths if path.is_relative_to(inside) and not path.is_file())


def _files(root: Path, manifest: _Manifest) -> list[tuple[Path, dict[str, Path]]]:
    """Each results file with its samples files by task."""
    if gone := manifest.missing(root):
        raise HarnessError("is recorded in the run's manifest.json but gone", place=gone[0], mend=_RERUN)
    samples = {path: match for path in _below(root, "samples_*.jsonl") if (match := _SAMPLES.fullmatch(path.name))}
    if not samples:
        raise HarnessError(
            "holds no samples_*.jsonl: nothing was evaluated here, or the evaluation did not finish",
            place=str(root),
            mend="Run lm_eval with --log_samples and --output_path.",
        )
    _refuse_unfinished_seeds(root, list(samples))
    found: dict[Path, dict[str, Path]] = {}
    for path, match in samples.items():
        found.setdefault(_results_of(path, match["stamp"]), {})[match["task"]] = path
    for path in _below(root, "results_*.json"):
        if _RESULTS.fullmatch(path.name) and path not in found:
            raise HarnessError("has no samples beside it", place=str(path), mend="Run lm_eval with --log_samples.")
    return list(found.items())


def _below(root: Path, pattern: str) -> Iterator[Path]:
    """Matching files in order, leaving out hidden folders (what a killed run left behind)."""
    for path in sorted(root.rglob(pattern)):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
            yield path


def _refuse_unfinished_seeds(root: Path, samples: Sequence[Path]) -> None:
    for seed in sorted(root.glob("seed-*")):
        if seed.is_dir() and not any(path.is_relative_to(seed) for path in samples):
            raise HarnessError(
                "holds no evaluation: this seed did not finish",
                place=str(seed),
                mend="Finish it with `harness run`, or remove the directory.",
            )


def _results_of(samples: Path, stamp: str) -> Path:
    beside = [path for path in samples.parent.glob(f"*_{stamp}.json") if _RESULTS.fullmatch(path.name)]
    if len(beside) != 1:
        raise HarnessError(
            f"has {len(beside)} results files of its time stamp beside it, not one: "
            "the evaluation did not finish, or files were moved",
            place=str(samples),
            mend=_RERUN,
        )
    return beside[0]


_READ: dict[tuple[str, ...], Evaluation] = {}
"""Evaluations by their files and the hashes of these: a run's results, its gate and its report read the same ones."""


def _evaluation(files: Mapping[str, Path], path: Path, manifest: _Manifest, documents: _Documents) -> Evaluation:
    data, lines = manifest.read(path), {task: manifest.read(file) for task, file in files.items()}
    key = (
        str(path),
        *map(str, files.values()),
        *(hashlib.sha256(content).hexdigest() for content in (data, *lines.values())),
    )
    if key not in _READ:
        _READ[key] = _parsed(files, lines, path, data, documents)
    return _READ[key]


def _parsed(
    files: Mapping[str, Path], contents: Mapping[str, bytes], path: Path, data: bytes, documents: _Documents
) -> Evaluation:
    results = _parse_results(data, path)
    rows = {task: _rows(contents[task], file) for task, file in files.items()}
    answers: list[Answer] = []
    settings: dict[str, Settings] = {}
    for task, lines in rows.items():
        reader = _Reader(task, results.metrics(task), documents)
        read = [answer for number, row in lines for answer in reader.answers(row, f"{files[task]}:{number}")]
        _check_whole([row for _, row in lines], results.task_hashes.get(task), files[task])
        _check_aggregates(task, [row for _, row in lines], results, path)
        settings[task] = _settings(task, results, read, path)
        answers.extend(read)
    return Evaluation(
        path,
        results.model_name,
        _seeds(results, path),
        results.date,
        hashlib.sha256(data).hexdigest(),
        settings,
        answers,
    )


def _parse_results(data: bytes, path: Path) -> _Results:
    try:
        return _Results.model_validate(json.loads(data))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise HarnessError(
            f"is no lm-eval results file ({where}: {first['msg']})", place=str(path), mend=_RERUN
        ) from error
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"is not JSON ({error})", place=str(path), mend=_RERUN) from error


def _rows(data: bytes, path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a samples file with their line numbers; only a newline ends a line, as in lm-eval."""
    rows = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            rows.append((number, _row(line, f"{path}:{number}")))
    if not rows:
        raise HarnessError("is empty", place=str(path), mend=_RERUN)
    return rows


def _row(line: bytes, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise HarnessError(
            f"is not JSON ({error}): the file is cut off or damaged", place=place, mend=_RERUN
        ) from error
    if not isinstance(row, dict):
        raise HarnessError("is not a JSON object", place=place, mend=_RERUN)
    return row


@dataclass(frozen=True, slots=True)
class _Documents:
    """Documents by lm-eval's hash of them, each checked once, with what identifies the prompt."""

    known: dict[str, tuple[dict[str, Any], str]]

    def find(self, doc: dict[str, Any], digest: str) -> tuple[dict[str, Any], str]:
        """The document and its identity. Raises ValueError where it does not have its hash."""
        found = self.known.get(digest)
        if found is None or found[0] != doc:
            text = json.dumps(doc, indent=2, ensure_ascii=False)
            if hashlib.sha256(text.encode(errors="replace")).hexdigest() != digest:
                raise ValueError("the document does not have its hash")
            found = self.known[digest] = (doc, _identity(doc, digest))
        return found


def _identity(doc: Mapping[str, Any], digest: str) -> str:
    """lm-eval's hash of the document; where it also names the judge and the answer's number, a hash of the rest."""
    return fingerprint({key: doc[key] for key in doc.keys() - {"judge", "sample"}}) if "judge" in doc else digest


class _Reader:
    """Reads the lines of one task's samples."""

    def __init__(self, task: str, metrics: set[str], documents: _Documents) -> None:
        self.task, self.metrics, self.documents = task, metrics, documents
        self.outcomes = cache(lambda verdict, judge: _outcomes(verdict, judge, metrics))

    def answers(self, row: Mapping[str, Any], place: str) -> list[Answer]:
        """The answers of one line: one, or as many as the task's `repeats`."""
        try:
            verdicts = _verdicts(row["filtered_resps"])
            return self._judged(row, verdicts) if verdicts else [self._plain(row)]
        except _BROKEN as error:
            told = f"is no line of lm-eval samples ({type(error).__name__}: {error})"
            raise HarnessError(told, place=place, mend=_RERUN) from error

    def _plain(self, row: Mapping[str, Any]) -> Answer:
        """A line of a task without verdicts: its metrics as logged."""
        outcomes = {metric: _number(row.get(metric)) for metric in self.metrics}
        document, rendered = _text(row["doc_hash"]), _text(row["prompt_hash"])
        return Answer(self.task, document, rendered, dict(row["doc"]), _responses(row)[0], "", "", "", outcomes)

    def _judged(self, row: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]]) -> list[Answer]:
        doc, document = self.documents.find(dict(row["doc"]), row["doc_hash"])
        rendered = _text(row["prompt_hash"])
        outcomes = [self.outcomes(verdict["verdict"], _text(verdict["judge"])) for verdict in verdicts]
        _check_metrics(row, outcomes)
        return [
            Answer(
                self.task,
                document,
                rendered,
                doc,
                response,
                verdict["verdict"],
                _text(verdict["judge"]),
                str(verdict.get("reason", "")),
                outcome,
            )
            for response, verdict, outcome in zip(_responses(row), verdicts, outcomes, strict=True)
        ]


def _outcomes(verdict: str, judge: str, metrics: set[str]) -> dict[str, float]:
    """What one verdict means for each of a task's metrics, those left out that the judge does not measure."""
    if verdict not in get_args(Label):
        raise ValueError(f"{verdict!r} is no verdict")
    unjudged = verdict == "unjudged"
    rates = {
        metric: math.nan if unjudged else float(verdict == VERDICT_OF[metric])
        for metric in metrics & VERDICT_OF.keys()
        if VERDICT_OF[metric] not in never_says(judge)
    }
    return rates | ({"unjudged_rate": float(unjudged)} if "unjudged_rate" in metrics else {})


def _check_metrics(row: Mapping[str, Any], outcomes: Sequence[Mapping[str, float]]) -> None:
    """The line's own metrics must follow from its verdicts."""
    for metric in outcomes[0]:
        expected, logged = _mean(outcome[metric] for outcome in outcomes), _number(row.get(metric))
        if not _same(expected, logged):
            raise ValueError(f"{metric} is {logged}, but its verdicts make it {expected}")


def _flat(value: object) -> list[Any]:
    """The leaves of nested lists; lm-eval nests answers by request and by repeat, depending on the filter."""
    return [leaf for item in value for leaf in _flat(item)] if isinstance(value, list) else [value]


def _responses(row: Mapping[str, Any]) -> list[str]:
    texts = [_text(leaf) for leaf in _flat(row["resps"])]
    if not texts or not isinstance(row["resps"], list):
        raise ValueError("no answer")
    return texts


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _verdicts(filtered: object) -> list[dict[str, Any]]:
    """The judge filter's verdicts, or none where the task has another filter."""
    items = [_verdict(item) for item in _flat(filtered)]
    found = [item for item in items if item is not None]
    if found and len(found) != len(items):
        raise ValueError("some answers have a verdict and some have none")
    return found


def _verdict(item: object) -> dict[str, Any] | None:
    """A verdict as an object, as JSON, or as the Python text that lm-eval's logging makes of an object."""
    if isinstance(item, str) and item.startswith("{") and "verdict" in item:
        item = _literal(item)
    return item if isinstance(item, dict) and "verdict" in item else None


def _literal(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text)


def _mean(values: Iterable[float]) -> float:
    """The mean of what is not NaN; NaN where nothing is left."""
    judged = [value for value in values if not math.isnan(value)]
    return sum(judged) / len(judged) if judged else math.nan


def _number(value: object) -> float:
    """A logged metric as a number; NaN where it is absent, null or no number."""
    return float(value) if isinstance(value, int | float) else math.nan


def _same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or abs(a - b) < 1e-6


def _check_whole(rows: Sequence[Mapping[str, Any]], digest: str | None, path: Path) -> None:
    """The file must hold the documents, in number and kind, that the results file was made from."""
    filters = {str(row.get("filter")) for row in rows}
    if len(filters) > 1:
        told = f"was scored through several filters ({', '.join(sorted(filters))})"
        raise HarnessError(told, place=str(path), mend="Evaluate with one filter.")
    try:
        joined = "".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in rows)
    except _BROKEN as error:
        raise HarnessError(f"lacks a hash ({error})", place=str(path), mend=_RERUN) from error
    if hashlib.sha256(joined.encode(errors="replace")).hexdigest() != digest:
        told = "does not hold the samples that its results file was made from"
        raise HarnessError(told, place=str(path), mend=_RERUN)


def _check_aggregates(task: str, rows: Sequence[Mapping[str, Any]], results: _Results, path: Path) -> None:
    """Rates in the results file must be the means of the samples: neither file was edited alone."""
    for metric in results.metrics(task) & VERDICT_OF.keys():
        expected = _mean(_number(row.get(metric)) for row in rows)
        stated = [_number(x) for key, x in results.results.get(task, {}).items() if key.split(",")[0] == metric]
        if not math.isnan(expected) and not (stated and all(_same(expected, x) for x in stated)):
            told = f"says {metric} of {task} is {stated}, its samples make it {expected}"
            raise HarnessError(told, place=str(path), mend=_RERUN)


def _settings(task: str, results: _Results, answers: Sequence[Answer], path: Path) -> Settings:
    if missing := {task} - (results.configs.keys() & results.versions.keys() & results.shots.keys()):
        raise HarnessError(f"lacks the settings of {missing.pop()}", place=str(path), mend=_RERUN)
    judges = {answer.judge for answer in answers}
    if "" in judges and len(judges) > 1:
        raise HarnessError(f"{task} has answers with and without a verdict", place=str(path), mend=_RERUN)
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
    return Settings(
        str(results.versions[task]),
        json.dumps(generation, sort_keys=True),
        json.dumps(template, sort_keys=True),
        ", ".join(sorted(judges)),
    )


def _seeds(results: _Results, path: Path) -> str:
    seeds = {key: value for key, value in results.config.items() if key.endswith("_seed")}
    if not seeds:
        raise HarnessError("does not say its seeds", place=str(path), mend=_RERUN)
    return json.dumps(seeds, sort_keys=True)


def _refuse_repeats(root: Path, evaluations: Sequence[Evaluation]) -> None:
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
                    mend="Keep one of them, or evaluate with another --seed.",
                )
            seen[key] = evaluation.path
    models = {(seed, model) for seed, model, *_ in seen}
    if len(models) > len({seed for seed, _ in models}):
        raise HarnessError(
            f"holds several models ({', '.join(sorted({model for _, model in models}))})",
            place=str(root),
            mend="Name the directory of one.",
        )


def _seed_directory(root: Path, path: Path) -> str:
    """The `seed-<n>` folder that holds an evaluation, which stands for one trained model."""
    return next((part for part in path.absolute().parts[len(root.absolute().parts) :] if part.startswith("seed-")), "")


HUMAN_VERDICTS = ("refusal", "harmful", "compliance", "other")


def read_labels(path: Path) -> dict[tuple[str, str], str]:
    """People's verdicts on answers, keyed by prompt (or its id) and answer, from a CSV or JSON-lines file.

    Columns: `prompt` or `prompt_id`, `response`, and `verdict` (or `label`): refusal, harmful, compliance or
    other. Raises HarnessError naming the row that is wrong.
    """
    rows = read_rows(path)
    if not rows:
        raise HarnessError("holds no labels", place=str(path))
    return dict(_label(row, f"{path}: row {number}") for number, row in enumerate(rows, 1))


def _label(row: Mapping[str, Any], place: str) -> tuple[tuple[str, str], str]:
    prompt, response = row.get("prompt_id") or row.get("prompt"), row.get("response")
    verdict = row.get("verdict") or row.get("label")
    if not isinstance(prompt, str) or not isinstance(response, str) or verdict not in HUMAN_VERDICTS:
        raise HarnessError(
            "is no label",
            place=place,
            mend=f"Give prompt or prompt_id, response, and verdict: {', '.join(HUMAN_VERDICTS)}.",
        )
    return (prompt, response), verdict
