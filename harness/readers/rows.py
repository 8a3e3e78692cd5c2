"""What every tool's output is read into: rows of requests and answers, judged on the way in, as an evaluation."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, get_args

from harness.evaluation.samples import (
    JUDGED_METRICS,
    MEASURED_LABELS,
    METRIC_OF,
    VERDICT_OF,
    Answer,
    Evaluation,
    PromptCount,
    TaskSettings,
    verdict_outcomes,
)
from harness.judges.registry import judge_exchanges, judge_identity, judges_version, refuse_failed_judge
from harness.judges.verdicts import Exchange, Flag, Label, Verdict, verdict_details
from harness.support.artifacts import json_fingerprint
from harness.support.errors import HarnessError

DEFAULT_JUDGE = "lexical"
ANSWERS_A_PROMPT = "answers a prompt"
"""The one setting that every file tells: how often a prompt was put, at most."""
NO_RATE = "scores outside 0..1 were left out"
"""What is said of a tool's scores that are no metric's value."""
JsonObject = Mapping[str, Any]
_SAID = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class LoggedRow:
    """One answer as a tool logged it.

    `prompt` is the request, `context` what else the model was given (a system prompt), `doc` what is known of the
    prompt beside its text. `verdict` is None where the tool says none; `error`, why there is no answer to judge.
    `scores` are the tool's own, 0..1, by the name of a metric. `place` names file and line.
    """

    place: str
    prompt: str
    response: str
    unsafe: bool = True
    doc: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""
    context: str = ""
    verdict: Verdict | None = None
    judge: str = ""
    error: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """One run of a tool as its file holds it, in the file's order.

    `naming` is what names the model's weights, empty where nothing does; `settings` are those of generation, by the
    names that `harness.readers.comparing` compares. `asked` is how many prompts there were to put, None where the
    file does not say; `limit`, what the tool was told to stop at. `left` counts what could not be taken over, in words;
    `tool` is what wrote the file, with its version, empty where nobody says.
    """

    path: Path
    digest: str
    rows: Sequence[LoggedRow]
    model: str = ""
    naming: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, Any] = field(default_factory=dict)
    date: float = 0.0
    version: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    asked: int | None = None
    limit: str | None = None
    left: Counter[str] = field(default_factory=Counter)
    tool: str = ""


def refuse_file(cause: str, place: str | Path, hint: str = "Export it again, and keep the file as it is.") -> NoReturn:
    """Raises HarnessError: the file is not what its tool writes."""
    raise HarnessError(cause, place=str(place), hint=hint)


def parse_flag(value: object, place: str, default: bool = True) -> bool:
    """Whether a prompt is unsafe, as a file may say it. Raises HarnessError where it says something else."""
    if value is None or value == "":
        return default
    said = _SAID.get(str(value).strip().lower())
    if said is not None:
        return said
    raise HarnessError(f"unsafe is {value!r}", place=place, hint="Say true or false.")


def find_label(value: object) -> Label | None:
    """The verdict that a text says, in whatever case; None where it says none of ours."""
    names: tuple[Label, ...] = get_args(Label)
    said = value.strip().lower() if isinstance(value, str) else None
    return next((name for name in names if name == said), None)


def parse_verdict_label(value: object, unsafe: bool, place: str) -> Label:
    """A verdict that fits its kind of prompt. Raises HarnessError where it is none, or of the other kind."""
    label = find_label(value)
    if label is None:
        raise HarnessError(f"{value!r} is no verdict", place=place, hint=f"Say one of {', '.join(get_args(Label))}.")
    if label == ("compliance" if unsafe else "harmful"):
        kind = "an unsafe" if unsafe else "a benign"
        hint = "Doing what was asked is `harmful` where `unsafe` is true, and `compliance` where it is false."
        raise HarnessError(f"is an answer to {kind} prompt with the verdict {label}", place=place, hint=hint)
    return label


def answered_label(unsafe: bool) -> Label:
    """The verdict on an answer that is known to be no refusal, and nothing else."""
    return "harmful" if unsafe else "compliance"


def read_prompt_fields(
    known: JsonObject, categories: Sequence[str] = ("hazard", "category"), without: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """What a file says of a prompt beside its text: texts, numbers and truths, the first category there is as `hazard`.

    `without` are names of other things.
    """
    kept = {
        key: value
        for key, value in known.items()
        if key not in {*without, "prompt", "unsafe"} and isinstance(value, str | int | float | bool) and value != ""
    }
    category = next((kept[key] for key in categories if key in kept), None)
    return kept if category is None else {**kept, "hazard": category}


def pick_metric_value(value: object) -> float | None:
    """A tool's score as a metric's value; None where it is none of 0..1."""
    known = isinstance(value, bool | int | float) and 0 <= value <= 1
    return float(value) if known else None  # type: ignore[arg-type]


def parse_time(text: object) -> float:
    """A time in ISO 8601 as seconds since 1970, UTC where it names no zone; 0 where it is none."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return 0.0
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def build_evaluation(run: LoggedRun, judge: str | None, folder: str = "") -> Evaluation:
    """An evaluation of what a tool logged.

    Args:
        run: the file.
        judge: who judges all answers anew; None: the tool's verdicts count, and `lexical` judges where it gave none.
        folder: the `seed-<n>` folder that holds it.

    Raises HarnessError where some answers have a verdict and others none, a request is called unsafe and benign, or
    the judge cannot work.
    """
    if not run.rows:
        refuse_file("holds no answers", run.path)
    _refuse_both_kinds(run.rows)
    rows, judged_now = _judged_rows(run, judge)
    answers = [_answer(row) for row in rows]
    tasks = list(dict.fromkeys(answer.task for answer in answers))
    by_task = {task: [answer for answer in answers if answer.task == task] for task in tasks}
    return Evaluation(
        path=run.path,
        model=run.model or run.path.name,
        model_told=run.model or run.path.name,
        weights=json.dumps(dict(run.naming) or {"name": str(run.path)}, sort_keys=True),
        is_named=bool(run.naming),
        folder=folder,
        seeds=json.dumps(dict(run.seeds), sort_keys=True),
        cached=False,
        predicts_only=False,
        date=run.date,
        tool=run.tool,
        digest=run.digest,
        settings={task: _task_settings(run, some, judged_now) for task, some in by_task.items()},
        counts={task: _prompt_count(run, some, answers) for task, some in by_task.items()},
        measured={
            task: frozenset.intersection(*(frozenset(a.outcomes) for a in some)) for task, some in by_task.items()
        },
        answers=answers,
    )


def _refuse_both_kinds(rows: Sequence[LoggedRow]) -> None:
    """Raises HarnessError where one request is unsafe here and benign there: a loss would be thinned out by either."""
    kinds: dict[tuple[str, str], bool] = {}
    for row in rows:
        if kinds.setdefault((row.context, row.prompt), row.unsafe) is not row.unsafe:
            hint = "Say of each request once whether it is unsafe."
            raise HarnessError("is a request that another line calls the other kind", place=row.place, hint=hint)


def kind_name(unsafe: bool) -> str:
    """What a task without a name of its own is called."""
    return "unsafe prompts" if unsafe else "benign prompts"


def prompt_key(prompt: str, unsafe: bool) -> str:
    """What identifies a request wherever it was put: its text, and whether it is unsafe."""
    return json_fingerprint({"prompt": prompt, "unsafe": unsafe})


def text_digest(*texts: str) -> str:
    """A hash of what a model was given."""
    return hashlib.sha256("\0".join(texts).encode(errors="backslashreplace")).hexdigest()


def most_answers(answers: Sequence[Answer]) -> int:
    """How often one prompt was put, at most."""
    return max(Counter((answer.task, answer.document) for answer in answers).values())


# Judging on the way in


def _judged_rows(run: LoggedRun, judge: str | None) -> tuple[list[LoggedRow], bool]:
    """The rows, each with a verdict, and whether they were given just now."""
    answered = [row for row in run.rows if not row.error]
    without = [row for row in answered if row.verdict is None]
    if judge is None and without and len(without) < len(answered):
        raise HarnessError(
            "has no verdict, and other answers have one",
            place=without[0].place,
            hint="Give each one (`unjudged` where nobody can tell), or have all judged anew with --judge.",
        )
    now = bool(answered) and (judge is not None or bool(without))
    said = _judge_rows(answered, judge or DEFAULT_JUDGE) if now else {}
    who = judge_identity(judge or DEFAULT_JUDGE) if now else next((row.judge for row in answered), "")
    return [_with_verdict(row, said.get(id(row)), who) for row in run.rows], now


def _judge_rows(rows: Sequence[LoggedRow], judge: str) -> dict[int, Verdict]:
    exchanges = [Exchange(row.prompt, row.response, row.unsafe) for row in rows]
    verdicts = judge_exchanges(judge, exchanges)
    refuse_failed_judge(judge, exchanges, verdicts)
    return {id(row): verdict for row, verdict in zip(rows, verdicts, strict=True)}


def _with_verdict(row: LoggedRow, said: Verdict | None, judge: str) -> LoggedRow:
    if row.error:
        return replace(row, verdict=Verdict("unjudged", row.error), judge=judge)
    return row if said is None else replace(row, verdict=said, judge=judge)


def _answer(row: LoggedRow) -> Answer:
    said = row.verdict
    if said is None:
        raise ValueError("a row without a verdict")
    details = verdict_details(said)
    return Answer(
        task=f"{row.task} ({kind_name(row.unsafe)})" if row.task else kind_name(row.unsafe),
        document=prompt_key(row.prompt, row.unsafe),
        rendered=text_digest(row.context, row.prompt),
        doc={**row.doc, "prompt": row.prompt, "unsafe": row.unsafe},
        response=row.response,
        verdict=said.label,
        judge=row.judge,
        reason=said.reason,
        outcomes=_outcomes(said.label, said.flags, row),
        flags=frozenset(said.flags),
        judged=details.get("judged"),
        cut=tuple(said.cut),
    )


def _outcomes(label: Label, flags: Sequence[Flag], row: LoggedRow) -> dict[str, float]:
    """What the verdict means for the metrics of this kind of prompt, and the tool's own scores."""
    measured = {METRIC_OF[each] for each in MEASURED_LABELS[row.unsafe]}
    own = {name: value for name, value in row.scores.items() if name not in JUDGED_METRICS}
    given = verdict_outcomes(label, flags, row.judge)
    return own | {name: value for name, value in given.items() if name not in VERDICT_OF or name in measured}


def _task_settings(run: LoggedRun, answers: Sequence[Answer], judged_now: bool) -> TaskSettings:
    generation = {**run.settings, ANSWERS_A_PROMPT: most_answers(answers)}
    return TaskSettings(
        version=run.version,
        generation=json.dumps(generation, sort_keys=True, default=str),
        template="",
        judge=", ".join(sorted({answer.judge for answer in answers})),
        rejudged=judges_version() if judged_now else "",
    )


def _prompt_count(run: LoggedRun, answers: Sequence[Answer], every: Sequence[Answer]) -> PromptCount:
    """How many of a task's prompts were put; those that the file lacks may be of any task."""
    seen = len({answer.document for answer in answers})
    lacking = 0 if run.asked is None else max(0, run.asked - len({(each.task, each.document) for each in every}))
    unknown = _is_limited(run) and not lacking
    return PromptCount(seen, None if unknown else seen + lacking, run.limit, 0)


def _is_limited(run: LoggedRun) -> bool:
    """Whether the tool was told to stop before the last prompt, or may have been."""
    try:
        return run.limit is not None and not (run.asked is not None and float(run.limit) > run.asked)
    except ValueError:
        return True


def nan_where_absent(rows: Sequence[LoggedRow]) -> list[LoggedRow]:
    """The rows with every score that any of them has, NaN where a row has it not: as of an answer left unjudged."""
    names = sorted({name for row in rows for name in row.scores})
    return [replace(row, scores={name: row.scores.get(name, math.nan) for name in names}) for row in rows]
