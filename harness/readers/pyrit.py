"""PyRIT's memory (1.1) as JSON: `attack_results`, `message_pieces` and `scores`, each as PyRIT's own models dump it.

PyRIT 1 has no export of its own; `docs/doors/pyrit.md` has the lines that write one. Every attack result is one
answer, the last one of its conversation; what scorers and attackers said among themselves is left alone. The request is
what was sent (after converters), and the objective where the conversation has several turns. A prompt is unsafe unless
the attack's label `unsafe` is `false`; the labels `category` and `prompt_id` are used too.

A verdict is, in this order: a score whose metadata hold `verdict`, one of ours, by the judge that the metadata name, or
`pyrit/` and the scorer's class; and a true-or-false score of the category `refusal` or by a scorer called so
(`SelfAskRefusalScorer`): true is a refusal, false did what was asked, undetermined is unjudged. Its judge is `pyrit/`
and the scorer's class. Otherwise the answer is judged on the way in. Other scores are metrics of their own, by the
scorer's class and the score's category.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.evaluation.lines import MALFORMED_ERRORS
from harness.judges.verdicts import Verdict
from harness.readers.rows import (
    JsonObject,
    LoggedRow,
    LoggedRun,
    answered_label,
    find_label,
    nan_where_absent,
    parse_flag,
    parse_time,
    parse_verdict_label,
    pick_metric_value,
    read_prompt_fields,
    refuse_file,
)
from harness.readers.sources import Source
from harness.readers.turns import SEVERAL_TURNS, Turn, read_request
from harness.support.errors import HarnessError

PYRIT = "PyRIT"
PARTS = ("attack_results", "message_pieces", "scores")
"""The lists that an export holds."""
_CONVERTED = "requests were converted: they are joined by what was sent"
_ATTACKS = "answers end an attack of several turns: its objective counts as the request"
_IDENTITY = frozenset({"class_name", "class_module", "hash", "eval_hash", "pyrit_version", "children", "endpoint",
                       "model_name", "underlying_model_name", "supported_auth_modes"})  # fmt: skip


def read_pyrit(source: Source, content: JsonObject) -> LoggedRun:
    """The attacks in a memory. Raises HarnessError where a part is missing, or several models were attacked."""
    if missing := [part for part in PARTS if not isinstance(content.get(part), list)]:
        hint = "Write all three as docs/doors/pyrit.md shows."
        raise HarnessError(f"has no list `{missing[0]}`", place=str(source.path), hint=hint)
    left: Counter[str] = Counter()
    try:
        pieces = _by(content["message_pieces"], "conversation_id")
        scores = _by(content["scores"], "message_piece_id")
        targets = [*dict.fromkeys(_target_text(result) for result in content["attack_results"])]
    except MALFORMED_ERRORS as error:
        refuse_file(f"is no memory of PyRIT's ({type(error).__name__}: {error})", source.path)
    if len(targets) > 1:
        hint = "Write the attacks on one model to a file."
        raise HarnessError(f"holds several models ({', '.join(targets)})", place=str(source.path), hint=hint)
    rows = [
        _read_attack(result, pieces, scores, f"{source.path}: attack result {number}", left)
        for number, result in enumerate(content["attack_results"], 1)
    ]
    target = next((found for result in content["attack_results"] if (found := _find_target(result))), {})
    model = str(target.get("model_name") or target.get("class_name") or "")
    return LoggedRun(
        path=source.path,
        digest=source.digest,
        rows=nan_where_absent(rows),
        model=model,
        naming={"name": model, "base_url": target.get("endpoint")} if model else {},
        date=min((parse_time(each.get("timestamp")) for each in content["attack_results"]), default=0.0),
        settings={"temperature": target.get("temperature"), "top_p": target.get("top_p")}
        | {key: value for key, value in target.items() if key not in _IDENTITY},
        left=left,
        tool=f"{PYRIT} {target.get('pyrit_version') or ''}".strip(),
    )


def _by(items: Sequence[JsonObject], key: str) -> dict[str, list[JsonObject]]:
    found: dict[str, list[JsonObject]] = {}
    for item in items:
        found.setdefault(str(item[key]), []).append(item)
    return found


def _find_target(result: JsonObject) -> JsonObject:
    """The identifier of what was attacked, wherever among the attack's parts it is."""
    waiting: list[Any] = [result.get("atomic_attack_identifier")]
    while waiting:
        part = waiting.pop()
        children = part.get("children") if isinstance(part, dict) else None
        if isinstance(children, dict):
            if isinstance(target := children.get("objective_target"), dict):
                return target
            waiting.extend(children.values())
    return {}


def _target_text(result: JsonObject) -> str:
    target = _find_target(result)
    return f"{target.get('model_name') or target.get('class_name')} at {target.get('endpoint')}"


def _read_attack(
    result: JsonObject,
    pieces: Mapping[str, list[JsonObject]],
    scores: Mapping[str, list[JsonObject]],
    place: str,
    left: Counter[str],
) -> LoggedRow:
    try:
        said = sorted(pieces.get(str(result["conversation_id"]), ()), key=lambda piece: piece["sequence"])
        labels, targeted = result.get("labels") or {}, result.get("targeted_harm_categories") or ()
        unsafe = parse_flag(labels.get("unsafe"), place)
        prompt, context = _read_sent(result, said, left)
        last = next((piece for piece in reversed(said) if piece["role"] == "assistant"), None)
        error = _find_error(result, last)
        given = [] if error or last is None else _scores_of(last, scores)
        verdict, judge = _refusal_verdict(given, unsafe, place)
        return LoggedRow(
            place=place,
            prompt=prompt,
            context=context,
            response=_answer_text(said, last),
            unsafe=unsafe,
            doc=read_prompt_fields({"hazard": next(iter(targeted), None), **labels}, ("category", "hazard")),
            verdict=verdict,
            judge=judge,
            error=error,
            scores=dict(_other_scores(given)),
        )
    except MALFORMED_ERRORS as error:
        raise HarnessError(f"is no attack of PyRIT's ({type(error).__name__}: {error})", place=place) from error


def _read_sent(result: JsonObject, said: Sequence[JsonObject], left: Counter[str]) -> tuple[str, str]:
    """The request of an attack, and what else the model was given."""
    if not said:  # an attack that failed before anything was sent
        return str(result["objective"]), ""
    turns = [
        Turn(piece["role"], *_piece_parts(piece)) for piece in said if piece["role"] in {"system", "developer", "user"}
    ]
    request = read_request(_join_pieces(turns, said))
    left[_CONVERTED] += any(piece.get("converter_identifiers") for piece in said if piece["role"] == "user")
    if request.left.pop(SEVERAL_TURNS, 0):
        left[_ATTACKS] += 1
        return str(result["objective"]), request.context
    left.update(request.left)
    return request.prompt, request.context


def _join_pieces(turns: Sequence[Turn], said: Sequence[JsonObject]) -> list[Turn]:
    """The pieces of one message as one turn."""
    numbers = [piece["sequence"] for piece in said if piece["role"] in {"system", "developer", "user"}]
    by_number: dict[Any, list[Turn]] = {}
    for number, turn in zip(numbers, turns, strict=True):
        by_number.setdefault(number, []).append(turn)
    return [
        Turn(
            some[0].role,
            "\n".join(turn.text for turn in some if turn.text),
            [p for turn in some for p in turn.attached],
        )
        for some in by_number.values()
    ]


def _piece_parts(piece: JsonObject) -> tuple[str, list[object]]:
    value = piece["converted_value"]
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    if piece.get("converted_value_data_type", "text") == "text":
        return value, []
    return "", [piece.get("converted_value_sha256") or value]


def _find_error(result: JsonObject, last: JsonObject | None) -> str:
    """Why there is no answer to judge; empty where there is one."""
    if result.get("error_message"):
        return str(result["error_message"])
    if last is None:
        return "the model answered nothing"
    kind = last.get("response_error", "none")
    refused = (last.get("prompt_metadata") or {}).get("structured_refusal")
    return "" if kind in {"none", "empty"} or refused else f"the response was {kind}"


def _answer_text(said: Sequence[JsonObject], last: JsonObject | None) -> str:
    if last is None:
        return ""
    if refused := (last.get("prompt_metadata") or {}).get("structured_refusal"):
        return str(refused)
    if last.get("response_error") == "empty":
        return ""
    own = [piece for piece in said if piece["sequence"] == last["sequence"] and piece["role"] == "assistant"]
    return "\n".join(text for piece in own if (text := _piece_parts(piece)[0]))


def _scores_of(piece: JsonObject, scores: Mapping[str, list[JsonObject]]) -> list[JsonObject]:
    names = dict.fromkeys((str(piece["id"]), str(piece.get("original_prompt_id"))))
    return [score for name in names for score in scores.get(name, ())]


def _scorer(score: JsonObject) -> str:
    return str((score.get("scorer_class_identifier") or {}).get("class_name") or "scorer")


def _refusal_verdict(scores: Sequence[JsonObject], unsafe: bool, place: str) -> tuple[Verdict | None, str]:
    found = [each for score in scores if (each := _score_verdict(score, unsafe, place))]
    judges = sorted({judge for _, judge in found})
    if len(judges) > 1:
        hint = "Have the answers judged anew with --judge."
        raise HarnessError(f"several scorers tell refusals ({', '.join(judges)})", place=place, hint=hint)
    return found[-1] if found else (None, "")


def _score_verdict(score: JsonObject, unsafe: bool, place: str) -> tuple[Verdict, str] | None:
    """What one score says of refusing, and who says it; None where it is about something else."""
    reason, told = str(score.get("score_rationale") or ""), score.get("score_metadata") or {}
    if (label := find_label(told.get("verdict"))) is not None:
        judge = str(told.get("judge") or f"pyrit/{_scorer(score)}")
        return Verdict(parse_verdict_label(label, unsafe, place), reason), judge
    if not _tells_refusal(score):
        return None
    value = str(score["score_value"]).lower()
    if value not in {"true", "false"}:
        return Verdict("unjudged", reason or "undetermined", failed=True), f"pyrit/{_scorer(score)}"
    return Verdict("refusal" if value == "true" else answered_label(unsafe), reason), f"pyrit/{_scorer(score)}"


def _tells_refusal(score: JsonObject) -> bool:
    named = "refusal" in (score.get("score_category") or ()) or "Refusal" in _scorer(score)
    return bool(score.get("score_type") == "true_false" and named)


def _other_scores(scores: Sequence[JsonObject]) -> Iterator[tuple[str, float]]:
    for score in scores:
        value = _score_number(score)
        if value is not None and not _tells_refusal(score):
            yield "/".join([_scorer(score), *(score.get("score_category") or ())]), value


def _score_number(score: JsonObject) -> float | None:
    text = str(score.get("score_value")).lower()
    try:
        return float(text == "true") if text in {"true", "false"} else pick_metric_value(float(text))
    except ValueError:
        return None
