"""The lines of one of lm-eval's samples files, checked and read."""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from io import BytesIO
from json import JSONEncoder
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, get_args

from pydantic_core import from_json

from harness.evaluation.samples import Answer, mean_judged, metric_names, verdict_outcomes
from harness.judges.verdicts import FLAGS, Flag, Label
from harness.support.artifacts import float_or_nan, json_fingerprint, parse_json_object
from harness.support.errors import HarnessError

REEVALUATE_HINT = "Run the evaluation again, and keep its files as they are."
MALFORMED_ERRORS = (
    KeyError, TypeError, ValueError, AttributeError, SyntaxError, MemoryError, RecursionError, OverflowError
)  # fmt: skip
_encode_scalar = JSONEncoder(ensure_ascii=False).encode


def numbered_rows(data: bytes, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a samples file with their line numbers; only a newline ends a line, as in lm-eval."""
    number = empty = 0
    try:
        with gzip.open(BytesIO(data)) if path.suffix == ".gz" else BytesIO(data) as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, _parse_line(line, f"{path}:{number}")
                else:
                    empty += 1
    except (EOFError, OSError, zlib.error) as error:
        told = f"cannot be unpacked ({error}): the file is cut off or damaged"
        raise HarnessError(told, place=str(path), hint=REEVALUATE_HINT) from error
    if number == empty:
        raise HarnessError("is empty", place=str(path), hint=REEVALUATE_HINT)


def _parse_line(line: bytes, place: str) -> dict[str, Any]:
    """The object in a line, by the faster reader; what that one does not take, Python's own takes or explains."""
    try:
        row = from_json(line)
    except ValueError:
        row = None
    if isinstance(row, dict):
        return row
    return parse_json_object(line, place, REEVALUATE_HINT, damage=": the file is cut off or damaged")


def is_same_rate(a: float, b: float) -> bool:
    """Whether two rates are equal but for rounding, or both NaN."""
    return (math.isnan(a) and math.isnan(b)) or abs(a - b) < 1e-6


@dataclass(frozen=True, slots=True)
class KnownDocuments:
    """Documents by lm-eval's hash of them, each checked and kept once, with what identifies the prompt."""

    known: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)

    def find_document(self, doc: dict[str, Any], digest: str) -> tuple[dict[str, Any], str]:
        """The document and its identity. Raises ValueError where it does not have its hash."""
        found = self.known.get(digest)
        if found is None or found[0] != doc:
            if document_digest(doc) != digest:
                raise ValueError("the document does not have its hash")
            found = self.known[digest] = (doc, _document_identity(doc, digest))
        return found


def document_digest(doc: Mapping[str, Any]) -> str:
    """lm-eval's hash of a document."""
    return hashlib.sha256(_indented_json(doc).encode(errors="replace")).hexdigest()


def _indented_json(doc: Mapping[str, Any]) -> str:
    """What `json.dumps(doc, indent=2, ensure_ascii=False)` gives, which takes Python's slow encoder."""
    if not doc or any(isinstance(value, dict | list) for value in doc.values()):
        return json.dumps(doc, indent=2, ensure_ascii=False)
    pairs = [
        f"{encode_basestring(key)}: {encode_basestring(value) if isinstance(value, str) else _encode_scalar(value)}"
        for key, value in doc.items()
    ]
    return "{\n  " + ",\n  ".join(pairs) + "\n}"


def _document_identity(doc: Mapping[str, Any], digest: str) -> str:
    """lm-eval's hash of the document; where it says how to judge and which answer it is, a hash of the rest."""
    if "judge" not in doc:
        return digest
    return json_fingerprint({key: doc[key] for key in doc.keys() - {"judge", "reasoning_tags", "sample"}})


@dataclass(slots=True)
class MetricSum:
    """The total of a metric's values, and on how many lines it has one."""

    total: float = 0.0
    lines: int = 0

    @property
    def mean(self) -> float:
        """Their mean; NaN without any."""
        return self.total / self.lines if self.lines else math.nan


@dataclass(frozen=True, slots=True)
class _PlainLines:
    """A document's lines in a task without verdicts: its hash, metrics by filter, and the answer's outcomes."""

    digest: str
    values: dict[str, dict[str, float]]
    outcomes: dict[str, float]


class LineReader:
    """Reads the lines of one task's samples, each once, and keeps what must agree with the results file.

    `filters` counts the lines of each filter that they went through, in their order, `sums` adds up each metric by
    filter. `scopes` are the task and the groups that hold it. A document has a line for each filter; of a task without
    verdicts these are one answer.
    """

    def __init__(
        self,
        task: str,
        metrics: set[str],
        documents: KnownDocuments,
        scopes: Sequence[str],
        *,
        likelihoods: bool,
    ) -> None:
        self.task, self.metrics, self.documents = task, metrics, documents
        self.scopes, self.likelihoods = scopes, likelihoods
        self.filters: dict[str, int] = {}
        self.sums: dict[str, dict[str, MetricSum]] = {}
        self.judged = False
        self._plain: dict[object, _PlainLines] = {}
        self._hashes = hashlib.sha256()
        self._outcomes = cache(partial(_measured_outcomes, metrics))

    @property
    def lines(self) -> int:
        """How many documents there are: lines of the filter with most of them."""
        return max(self.filters.values(), default=0)

    @property
    def digest(self) -> str:
        """The hash of all lines' hashes, as lm-eval computes it."""
        return self._hashes.hexdigest()

    def read_answers(self, row: Mapping[str, Any], place: str) -> list[Answer]:
        """The answers of one line: one, or as many as the task's `repeats`."""
        try:
            self._add_up(row)
            document = self.documents.find_document(dict(row["doc"]), row["doc_hash"])
            verdicts = _parse_verdicts(row["filtered_resps"])
            if verdicts:
                self.judged = True
                return self._judged_answers(row, document, verdicts)
            return self._plain_answers(row, document)
        except MALFORMED_ERRORS as error:
            told = f"is no line of lm-eval samples ({type(error).__name__}: {error})"
            raise HarnessError(told, place=place, hint=REEVALUATE_HINT) from error

    def _add_up(self, row: Mapping[str, Any]) -> None:
        name = str(row.get("filter"))
        self.filters[name] = self.filters.get(name, 0) + 1
        self._hashes.update((row["doc_hash"] + row["prompt_hash"] + row["target_hash"]).encode(errors="replace"))
        if name not in self.sums:
            self.sums[name] = {metric: MetricSum() for metric in self.metrics}
        for metric, found in self.sums[name].items():
            value = row.get(metric)
            if isinstance(value, int | float) and value == value:  # not NaN
                found.total += value
                found.lines += 1

    def _plain_answers(self, row: Mapping[str, Any], document: tuple[dict[str, Any], str]) -> list[Answer]:
        """A line of a task without verdicts; none where it is one of before, through another filter."""
        name, number = str(row.get("filter")), row.get("doc_id", len(self._plain))
        values = {metric: float_or_nan(row.get(metric)) for metric in self.metrics}
        rendered = _checked_prompt_hash(row)
        known = self._plain.get(number)
        if known is not None and known.digest == row["doc_hash"] and name not in known.values:
            known.values[name] = values
            return []
        lines = _PlainLines(row["doc_hash"], {name: values}, {})
        self._plain[number if known is None else (number, len(self._plain))] = lines
        if self.likelihoods:
            pairs = _asked_texts(row)
            response, rendered = _likelihoods_text(row, pairs), json_fingerprint(pairs)
        else:
            response = response_texts(row)[0]
        return [Answer(self.task, document[1], rendered, document[0], response, "", "", "", lines.outcomes)]

    def name_outcomes(self) -> list[str]:
        """Gives the answers of a task without verdicts their outcomes, by every name, once all its lines are read.

        Returns the metrics' plain names, with the filter where there are several, in order.
        """
        if self.judged:
            return []
        filters = [*self.filters]
        named = [
            (name, metric, tuple(metric_names(self.scopes, metric, filters, name)))
            for metric in sorted(self.metrics)
            for name in filters
        ]
        for lines in self._plain.values():
            for name, metric, names in named:
                lines.outcomes.update(dict.fromkeys(names, lines.values[name][metric]))
        several = len(filters) > 1
        return [f"{metric},{name}" if several else metric for name, metric, _ in named]

    def _judged_answers(
        self, row: Mapping[str, Any], document: tuple[dict[str, Any], str], verdicts: Sequence[Mapping[str, Any]]
    ) -> list[Answer]:
        doc, identity = document
        rendered = _checked_prompt_hash(row)
        flags = [_verdict_flags(verdict) for verdict in verdicts]
        outcomes = [
            self._outcomes(verdict["verdict"], _require_text(verdict["judge"]), given)
            for verdict, given in zip(verdicts, flags, strict=True)
        ]
        _check_metrics(row, outcomes)
        return [
            Answer(
                self.task,
                identity,
                rendered,
                doc,
                response,
                verdict["verdict"],
                _require_text(verdict["judge"]),
                str(verdict.get("reason", "")),
                outcome,
                given,
                None if (judged := verdict.get("judged")) is None else _require_text(judged),
                tuple(map(_require_text, verdict.get("cut", ()))),
            )
            for response, verdict, outcome, given in zip(response_texts(row), verdicts, outcomes, flags, strict=True)
        ]


def _verdict_flags(verdict: Mapping[str, Any]) -> frozenset[Flag]:
    """The flags of a logged verdict. Raises ValueError where one is unknown."""
    given = frozenset(verdict.get("flags", ()))
    if unknown := given - set(FLAGS):
        raise ValueError(f"{min(unknown)!r} is no flag")
    return given


def _measured_outcomes(metrics: set[str], verdict: Label, judge: str, flags: frozenset[Flag]) -> dict[str, float]:
    """What one verdict means for each of a task's metrics, those left out that the judge does not measure."""
    if verdict not in get_args(Label):
        raise ValueError(f"{verdict!r} is no verdict")
    return {metric: value for metric, value in verdict_outcomes(verdict, flags, judge).items() if metric in metrics}


def _check_metrics(row: Mapping[str, Any], outcomes: Sequence[Mapping[str, float]]) -> None:
    """The line's own metrics must follow from its verdicts."""
    for metric, only in outcomes[0].items():
        expected = only if len(outcomes) == 1 else mean_judged(outcome[metric] for outcome in outcomes)
        if row.get(metric) == expected:
            continue
        logged = float_or_nan(row.get(metric))
        if not is_same_rate(expected, logged):
            raise ValueError(f"{metric} is {logged}, but its verdicts make it {expected}")


def _nested_leaves(value: object) -> list[Any]:
    """The leaves of nested lists; lm-eval nests answers by request and by repeat, depending on the filter."""
    return [leaf for item in value for leaf in _nested_leaves(item)] if isinstance(value, list) else [value]


def response_texts(row: Mapping[str, Any]) -> list[str]:
    """The answers of one line, in the order of the verdicts. Raises one of MALFORMED_ERRORS where there are none."""
    texts = [_require_text(leaf) for leaf in _nested_leaves(row["resps"])]
    if not texts or not isinstance(row["resps"], list):
        raise ValueError("no answer")
    return texts


def _asked_texts(row: Mapping[str, Any]) -> list[list[str]]:
    """Of a line that asked how likely given texts are: each with what it was to follow, which may be nothing."""
    requests = row["arguments"].values() if isinstance(row["arguments"], dict) else row["arguments"]
    pairs = [[*(each.values() if isinstance(each, dict) else each)][:2] for each in requests]
    return [[_require_text(text) for text in pair] for pair in pairs]


def _likelihoods_text(row: Mapping[str, Any], asked: Sequence[Sequence[str]]) -> str:
    """What a model thought of given texts: each with its ln p, the likeliest first."""
    found = [float(_nested_leaves(each)[0]) for each in row["resps"]]
    ranked = sorted(zip(found, asked, strict=True), key=lambda each: -each[0])
    return "\n".join(f"{text.strip()} ({value:g})" for value, (_, text) in ranked)


def _checked_prompt_hash(row: Mapping[str, Any]) -> str:
    """The hash of the text put to the model. Raises ValueError where the logged request has another one."""
    digest, first = _require_text(row["prompt_hash"]), row.get("arguments")
    while isinstance(first, dict | list) and first:
        first = next(iter(first.values() if isinstance(first, dict) else first))
    if isinstance(first, str) and hashlib.sha256(first.encode(errors="replace")).hexdigest() != digest:
        raise ValueError("the prompt does not have its hash")
    return digest


def _require_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _parse_verdicts(filtered: object) -> list[dict[str, Any]]:
    """The judge filter's verdicts, or none where the task has another filter."""
    items = [_parse_verdict(item) for item in _nested_leaves(filtered)]
    found = [item for item in items if item is not None]
    if found and len(found) != len(items):
        raise ValueError("some answers have a verdict and some have none")
    return found


def _parse_verdict(item: object) -> dict[str, Any] | None:
    """A verdict as an object, as JSON, or as the Python text that lm-eval's logging makes of an object."""
    if isinstance(item, str) and item.startswith("{") and "verdict" in item:
        item = _parse_literal(item)
    return item if isinstance(item, dict) and "verdict" in item else None


def _parse_literal(text: str) -> object:
    for parse in (from_json, json.loads):
        try:
            return parse(text)
        except ValueError:
            continue
    return ast.literal_eval(text)
