"""garak's report, `*.report.jsonl` (0.17, and earlier ones that write alike): every attempt that was evaluated.

A prompt is unsafe unless the attempt's `notes` say `unsafe: false`; they may also hold `category` and `prompt_id`. The
task is the probe.

A verdict is what a detector of garak's module `mitigation` says: under the run's threshold (`eval_threshold`) the model
refused, else it did what was asked. Its judge is `garak/` and the detector's name. Scores of other detectors are
metrics of their own, by the detector's name (`dan.DAN`, where 1 is a hit: higher is worse); where no detector of
`mitigation` ran, the answers are judged on the way in. A report does not say what temperature the model was given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from harness.evaluation.lines import MALFORMED_ERRORS
from harness.judges.verdicts import Verdict
from harness.readers.rows import (
    NO_RATE,
    JsonObject,
    LoggedRow,
    LoggedRun,
    answered_label,
    nan_where_absent,
    parse_flag,
    parse_time,
    pick_metric_value,
    read_prompt_fields,
    refuse_file,
)
from harness.readers.sources import Source
from harness.readers.turns import Turn, read_request
from harness.support.errors import HarnessError

GARAK = "garak"
_EVALUATED = 2


def read_garak(source: Source) -> LoggedRun:
    """A garak run. Raises HarnessError where it did not end, or its own tallies are not those of its attempts."""
    setup: JsonObject = {}
    init: JsonObject = {}
    attempts: list[tuple[str, JsonObject]] = []
    evals: list[tuple[str, JsonObject]] = []
    ended = False
    for place, entry in source.json_rows():
        match entry.get("entry_type"):
            case "start_run setup":
                setup = entry
            case "init":
                init = entry
            case "attempt" if entry.get("status") == _EVALUATED:
                attempts.append((place, entry))
            case "eval":
                evals.append((place, entry))
            case "completion":
                ended = True
    if not ended:
        refuse_file("has no completion entry: garak did not end", source.path, "Let garak run to its end.")
    threshold = _threshold(setup, source)
    left: Counter[str] = Counter()
    rows = [row for place, attempt in attempts for row in _read_attempt(attempt, place, threshold, left)]
    _check_evals(evals, attempts, threshold)
    model, kind = (str(setup.get(f"plugins.target_{key}") or setup.get(f"plugins.model_{key}") or "")
                   for key in ("name", "type"))  # fmt: skip
    return LoggedRun(
        path=source.path,
        digest=source.digest,
        rows=nan_where_absent(rows),
        model=model or kind,
        naming={"name": model, "generator": kind} if model or kind else {},
        seeds={} if setup.get("run.seed") is None else {"seed": setup["run.seed"]},
        date=parse_time(init.get("start_time")),
        version=str(init.get("garak_version", "")),
        settings={key: setup.get(f"run.{key}") for key in ("deprefix", "generations", "system_prompt")},
        left=left,
        tool=f"{GARAK} {init.get('garak_version', '')}".strip(),
    )


def _threshold(setup: JsonObject, source: Source) -> float:
    found = pick_metric_value(setup.get("run.eval_threshold", 0.5))
    if found is None:
        refuse_file(f"has the threshold {setup.get('run.eval_threshold')!r}", source.path)
    return found


def _read_attempt(attempt: JsonObject, place: str, threshold: float, left: Counter[str]) -> list[LoggedRow]:
    """One row an output. Raises HarnessError where the attempt is none of garak's."""
    try:
        outputs = attempt["outputs"]
        scores = {name: list(each) for name, each in attempt["detector_results"].items()}
        if any(len(each) != len(outputs) for each in scores.values()):
            raise ValueError("a detector has not one score an output")
        notes = attempt.get("notes") or {}
        request = read_request(_turns(attempt["prompt"]))
        left.update({said: count * len(outputs) for said, count in request.left.items()})
        unsafe = parse_flag(notes.get("unsafe"), place)
        known = {key: notes.get(key) for key in ("prompt_id", "category")} | {"intent": attempt.get("intent")}
        judge, verdicts = _verdicts(scores, unsafe, threshold, place)
        return [
            LoggedRow(
                place=place,
                prompt=request.prompt,
                context=request.context,
                response=_message_text(output) or "",
                unsafe=unsafe,
                doc=read_prompt_fields(known),
                task=str(attempt["probe_classname"]),
                verdict=verdicts[number] if verdicts else None,
                judge=judge,
                error="" if _message_text(output) is not None else "garak got no output",
                scores=_detector_scores(scores, number, left),
            )
            for number, output in enumerate(outputs)
        ]
    except MALFORMED_ERRORS as error:
        raise HarnessError(f"is no attempt of garak's ({type(error).__name__}: {error})", place=place) from error


def _turns(prompt: object) -> list[Turn]:
    if not isinstance(prompt, dict) or "turns" not in prompt:
        return [Turn("user", _message_text(prompt) or "", _attached(prompt))]
    return [
        Turn(turn["role"], _message_text(turn["content"]) or "", _attached(turn["content"])) for turn in prompt["turns"]
    ]


def _message_text(message: object) -> str | None:
    """The text of a message; None where there is no message."""
    text = message.get("text") if isinstance(message, dict) else message
    if text is not None and not isinstance(text, str):
        raise TypeError(f"{text!r} is no text")
    return text


def _attached(message: object) -> list[object]:
    found = message.get("data_checksum") or message.get("data_path") if isinstance(message, dict) else None
    return [found] if found else []


def _verdicts(
    scores: Mapping[str, list[Any]], unsafe: bool, threshold: float, place: str
) -> tuple[str, list[Verdict] | None]:
    """Who said whether the outputs are refusals, and what; nobody where no detector of `mitigation` ran."""
    names = sorted(name for name in scores if name.startswith("mitigation."))
    if not names:
        return "", None
    if len(names) > 1:
        hint = "Have the answers judged anew with --judge."
        raise HarnessError(f"several detectors tell refusals ({', '.join(names)})", place=place, hint=hint)
    return f"garak/{names[0]}", [_verdict(score, unsafe, threshold, names[0]) for score in scores[names[0]]]


def _verdict(score: object, unsafe: bool, threshold: float, detector: str) -> Verdict:
    value = pick_metric_value(score)
    if value is None:
        return Verdict("unjudged", f"{detector} gave no score", failed=True)
    return Verdict("refusal" if value < threshold else answered_label(unsafe), f"{detector} {value:g}")


def _detector_scores(scores: Mapping[str, list[Any]], number: int, left: Counter[str]) -> dict[str, float]:
    found = {name: pick_metric_value(each[number]) for name, each in scores.items()}
    left[NO_RATE] += sum(value is None and scores[name][number] is not None for name, value in found.items())
    return {name: value for name, value in found.items() if value is not None}


def _check_evals(evals: list[tuple[str, JsonObject]], attempts: list[tuple[str, JsonObject]], threshold: float) -> None:
    """Raises HarnessError where garak's own tallies are not those of its attempts: one of the two was edited."""
    passed: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    for _, attempt in attempts:
        for detector, scores in attempt["detector_results"].items():
            given = [score for score in scores if isinstance(score, int | float)]
            key = (str(attempt["probe_classname"]), detector)
            passed[key] += sum(score < threshold for score in given)
            total[key] += len(given)
    for place, entry in evals:
        key = (str(entry.get("probe")), str(entry.get("detector")).removeprefix("detector."))
        stated = entry.get("passed"), entry.get("total_evaluated", entry.get("total"))
        if stated != (passed[key], total[key]):
            told = (
                f"says that {stated[0]} of {stated[1]} passed {key[1]}, its attempts say {passed[key]} of {total[key]}"
            )
            raise HarnessError(told, place=place, hint="Run garak again, and keep its report as it is.")
