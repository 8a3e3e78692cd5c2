"""promptfoo's JSON output, `promptfoo eval -o out.json` (0.121, and earlier ones that write alike), of one provider.

The request is the rendered prompt, of a chat what the user says in it. A prompt is unsafe unless its test's `metadata`
(or its variables) say `unsafe: false`; they may also hold `category`, `hazard` or the red team's `pluginId`, and
`prompt_id`.

A verdict is, in this order: an assertion whose `metric` is called like one of our verdicts (`refusal`, `harmful`, ...)
and whose score is 1, by the judge that the metadata's `judge` names, or `promptfoo/` and the types of all such
assertions of the test; and an assertion `is-refusal` or `not-is-refusal`: what it found to refuse is a refusal, all
else did what was asked, by the judge `promptfoo/is-refusal`. Otherwise the answer is judged on the way in. Named scores
of other names are metrics of their own, and so is `success`, whether all assertions held.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from harness.evaluation.lines import MALFORMED_ERRORS
from harness.judges.verdicts import Verdict
from harness.readers.rows import (
    NO_RATE,
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
from harness.readers.turns import CALLED_TOOLS, Request, Turn, read_request, split_content
from harness.support.errors import HarnessError

PROMPTFOO = "promptfoo"
_ERROR = 2
"""promptfoo's failureReason of a test whose provider failed; 1 is a failed assertion."""
_SECRET = ("key", "token", "secret", "password", "headers", "organization")
"""What the names of settings end in that say who asks."""
_ADDRESSES = ("apiBaseUrl", "apiHost")
_CATEGORIES = ("hazard", "category", "harmCategory", "pluginId")


def read_promptfoo(source: Source, content: JsonObject) -> LoggedRun:
    """A promptfoo evaluation. Raises HarnessError on several providers, and where its statistics are not its rows'."""
    left: Counter[str] = Counter()
    try:
        results: list[JsonObject] = content["results"]["results"]
        provider = _one_provider(results, source)
        stated, told = dict(content["results"].get("stats") or {}), dict(content.get("metadata") or {})
        config = _provider_config(content.get("config") or {}, provider)
        asked, repeat = _asked(content, len(results))
    except MALFORMED_ERRORS as error:
        refuse_file(f"is no output of promptfoo ({type(error).__name__}: {error})", source.path)
    rows = [_read_result(row, f"{source.path}: result {number}", left) for number, row in enumerate(results, 1)]
    _check_stats(stated, results, source)
    return LoggedRun(
        path=source.path,
        digest=source.digest,
        rows=nan_where_absent(rows),
        model=provider,
        naming={"name": provider, **{key: config[key] for key in _ADDRESSES if key in config}},
        date=parse_time(content["results"].get("timestamp") or told.get("evaluationCreatedAt")),
        settings=_settings(config) | {"repeat": repeat},
        asked=asked,
        left=left,
        tool=f"{PROMPTFOO} {told.get('promptfooVersion', '')}".strip(),
    )


def _one_provider(results: Sequence[JsonObject], source: Source) -> str:
    names = sorted({_provider_name(row["provider"]) for row in results})
    if len(names) > 1:
        hint = "Write one file a provider: promptfoo eval --filter-providers."
        raise HarnessError(f"holds several models ({', '.join(names)})", place=str(source.path), hint=hint)
    return names[0] if names else ""


def _provider_name(provider: Any) -> str:
    return str(provider if isinstance(provider, str) else provider["id"])


def _provider_config(config: JsonObject, name: str) -> dict[str, Any]:
    """What the provider was configured with, without what is secret."""
    for provider in config.get("providers") or ():
        if isinstance(provider, dict) and provider.get("id") == name:
            found = dict(provider.get("config") or {})
            return {key: value for key, value in found.items() if not key.lower().endswith(_SECRET)}
    return {}


def _settings(config: JsonObject) -> dict[str, Any]:
    """Settings of generation by the names that all tools' have; none where the provider is configured elsewhere."""
    if not config:
        return {}
    names = ("temperature", "top_p", "max_tokens", "stop", "seed")
    rest = {key: value for key, value in config.items() if key not in _ADDRESSES}
    return {name: config.get(name) for name in names} | rest


def _asked(content: JsonObject, found: int) -> tuple[int | None, int]:
    """How many prompts there were to put, where the file tells that plainly, and how often each."""
    config, repeat = content.get("config") or {}, int((content.get("runtimeOptions") or {}).get("repeat") or 1)
    tests, heads = config.get("tests"), content["results"].get("prompts") or ()
    if not isinstance(tests, list) or len(heads) != 1 or config.get("scenarios"):
        return None, repeat
    if not all(isinstance(test, dict) and _is_one_case(test) for test in tests):
        return None, repeat
    return len(tests) if found < len(tests) * repeat else None, repeat


def _is_one_case(test: JsonObject) -> bool:
    """Whether a test is one case: a list of a variable's values stands for as many."""
    return not any(isinstance(value, list) for value in (test.get("vars") or {}).values())


def _read_result(row: JsonObject, place: str, left: Counter[str]) -> LoggedRow:
    try:
        test, response = row.get("testCase") or {}, row.get("response") or {}
        known = {**(row.get("vars") or {}), **(test.get("metadata") or {})}
        unsafe = parse_flag(known.get("unsafe"), place)
        request = _read_prompt(row["prompt"]["raw"])
        left.update(request.left)
        error = str(response.get("error") or row.get("error") or "no response") if _has_failed(row) else ""
        verdict, judge = _assertion_verdict(row, known, unsafe, place)
        return LoggedRow(
            place=place,
            prompt=request.prompt,
            context=request.context,
            response=_read_output(response.get("output"), left),
            unsafe=unsafe,
            doc=read_prompt_fields(known, _CATEGORIES, frozenset({"judge"})),
            verdict=None if error else verdict,
            judge=judge,
            error=error,
            scores={} if error else _read_scores(row, left),
        )
    except MALFORMED_ERRORS as error:
        raise HarnessError(f"is no result of promptfoo's ({type(error).__name__}: {error})", place=place) from error


def _has_failed(row: JsonObject) -> bool:
    return row.get("failureReason") == _ERROR or "output" not in (row.get("response") or {})


def _read_prompt(raw: str) -> Request:
    """A rendered prompt: text, or a chat as JSON."""
    chat = _parse_chat(raw) if raw.lstrip().startswith("[") else None
    if chat is None:
        return read_request([Turn("user", raw)])
    return read_request([Turn(turn["role"], *split_content(turn.get("content"))) for turn in chat])


def _parse_chat(raw: str) -> list[JsonObject] | None:
    """The messages of a chat; None where the text is none, though it begins as one."""
    try:
        chat = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return chat if all(isinstance(turn, dict) and "role" in turn for turn in chat) else None


def _read_output(output: object, left: Counter[str]) -> str:
    if isinstance(output, str):
        return output
    left[CALLED_TOOLS] += 1  # promptfoo keeps an answer that is no text as what the API gave
    return "" if output is None else json.dumps(output, ensure_ascii=False)


def _assertion_verdict(row: JsonObject, known: JsonObject, unsafe: bool, place: str) -> tuple[Verdict | None, str]:
    """What the assertions say of refusing, and who says it."""
    assertions = [*_assertions(row.get("gradingResult") or {})]
    types = {str(each.get("type")) for _, each in assertions if find_label(each.get("metric")) is not None}
    named = [name for name, score in (row.get("namedScores") or {}).items() if find_label(name) and score == 1]
    if len(named) > 1:
        raise HarnessError(
            f"has the verdicts {' and '.join(sorted(named))}", place=place, hint="Let one assertion say it."
        )
    if named:
        judge = str(known.get("judge") or f"promptfoo/{'+'.join(sorted(types)) or 'assertion'}")
        return Verdict(parse_verdict_label(named[0], unsafe, place), "by an assertion"), judge
    for result, assertion in assertions:
        if (kind := assertion.get("type")) in {"is-refusal", "not-is-refusal"}:
            passed = result["pass"]
            if not isinstance(passed, bool):
                raise TypeError(f"{kind}: {passed!r} is neither true nor false")
            label = "refusal" if passed is (kind == "is-refusal") else answered_label(unsafe)
            return Verdict(label, f"{kind}: {'passed' if passed else 'failed'}"), "promptfoo/is-refusal"
    return None, ""


def _assertions(grading: JsonObject) -> Iterator[tuple[JsonObject, JsonObject]]:
    """The results of single assertions, with these, those in sets of them too."""
    for result in grading.get("componentResults") or ():
        if isinstance(result, dict):
            if isinstance(assertion := result.get("assertion"), dict):
                yield result, assertion
            yield from _assertions(result)


def _read_scores(row: JsonObject, left: Counter[str]) -> dict[str, float]:
    named = {str(name): value for name, value in (row.get("namedScores") or {}).items() if find_label(name) is None}
    found = {name: pick_metric_value(value) for name, value in {**named, "success": bool(row["success"])}.items()}
    left[NO_RATE] += sum(value is None for value in found.values())
    return {name: value for name, value in found.items() if value is not None}


def _check_stats(stated: JsonObject, results: Sequence[JsonObject], source: Source) -> None:
    """Raises HarnessError where promptfoo's own tallies are not those of its results: one of the two was edited."""
    errors = sum(row.get("failureReason") == _ERROR for row in results)
    successes = sum(row.get("success") is True for row in results)
    counted = {"successes": successes, "failures": len(results) - successes - errors, "errors": errors}
    for name, count in counted.items():
        if stated.get(name, count) != count:
            told = f"says {name}: {stated[name]}, its results make it {count}"
            refuse_file(told, source.path, "Run promptfoo again, and keep its output as it is.")
