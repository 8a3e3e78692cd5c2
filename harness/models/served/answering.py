"""Answers of a model behind an OpenAI-compatible API: each asked for once, kept as it arrives, all or none returned."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import cache
from typing import Any

from httpx2 import Client

from harness.models.served.journal import AnswerJournal, ServedAnswer
from harness.models.served.posting import (
    TOLD_CHARACTERS,
    AttemptError,
    EndpointUsage,
    ask_with_retries,
    open_client,
    reply_choice,
)
from harness.models.served.settings import EndpointSettings
from harness.support import artifacts, console
from harness.support.console import print_note, safe_line
from harness.support.errors import HarnessError

KEY_VARIABLE = "HARNESS_ENDPOINT_KEY"
"""The environment variable that holds the endpoint's key; no other place does."""
_TURNED_AWAY: Mapping[int, str] = {
    401: f"Set {KEY_VARIABLE} to the endpoint's key.",
    403: f"Check {KEY_VARIABLE}, and what it may use.",
    404: "Check the address, which ends in /v1 for most servers, and the model's name.",
}
_GIVEN_UP_HINT = "See that the endpoint answers; what was answered is kept, and the same command asks for the rest."

FILTERED = "content_filter"
"""Why an answer ended that a filter before or behind the model blocked, in the words of OpenAI's API."""
_FILTER_CODES = frozenset({FILTERED, "content_policy_violation", "ResponsibleAIPolicyViolation"})
"""What endpoints call the error of a request that their filter blocks."""

Request = dict[str, Any]
"""The body of a chat completion."""


def sample_served(
    use: EndpointSettings,
    journal: AnswerJournal,
    prompts: Sequence[str],
    *,
    temperature: float,
    max_new_tokens: int,
    seed: int,
) -> list[str]:
    """One answer a prompt, in order, each prompt one user turn, drawn at `temperature` with top-p 1.

    Raises HarnessError as `answer_requests`.
    """
    settings = {"model": use.model, "max_tokens": max_new_tokens, "temperature": temperature, "top_p": 1.0}
    asked = [{"messages": [{"role": "user", "content": prompt}], **settings} for prompt in prompts]
    return answer_requests(seed_requests(asked, seed), use, journal)


def seed_requests(requests: Iterable[Request], seed: int) -> list[Request]:
    """The requests with a seed each, in place of any: with one for all, a prompt would get one answer ever again.

    It follows from `seed`, the request, and how many like it came before: the same call gives the same seeds.
    """
    seen: Counter[str] = Counter()
    seeded = []
    for request in requests:
        content = artifacts.json_fingerprint({key: value for key, value in request.items() if key != "seed"})
        drawn = int(artifacts.json_fingerprint([seed, content, seen[content]])[:8], 16) >> 1  # some know int32 alone
        seen[content] += 1
        seeded.append({**request, "seed": drawn})
    return seeded


def answer_requests(requests: Sequence[Request], use: EndpointSettings, journal: AnswerJournal) -> list[str]:
    """The answer to each request, in order, `use.concurrency` at a time; those in the journal are not asked for again.

    A request that the endpoint's filter blocks has an empty answer, and how many there are is told.

    Raises HarnessError where the endpoint turns us away (401, 403, 404), fails on too many requests in a row, or has
    failed on any for good when all were asked; what was answered is in the journal.
    """
    missing = {journal.request_key(request): request for request in requests if journal.find(request) is None}
    if missing:
        _ask_all(list(missing.values()), use, journal, len(requests))
    found = [answer for request in requests if (answer := journal.find(request)) is not None]
    if filtered := sum(answer.finish_reason == FILTERED for answer in found):
        print_note(f"{filtered} of {len(found)} answers were blocked by the endpoint's filter, not given by the model")
    return [answer.text for answer in found]


def _ask_all(requests: Sequence[Request], use: EndpointSettings, journal: AnswerJournal, total: int) -> None:
    """Asks for all of them, and keeps what is answered."""
    started, usage = time.monotonic(), EndpointUsage(use.url, use.failures)
    failures: list[str] = []
    if len(requests) < total:
        print_note(f"{total - len(requests)} of {total} answers were kept before")
    pool = ThreadPoolExecutor(use.concurrency)
    with open_client(use) as client:
        try:
            waiting = [pool.submit(_ask_one, client, request, use, usage, journal) for request in requests]
            failures = _collect_failures(waiting)
        finally:  # also on Ctrl-C: nobody waits for requests that are under way
            usage.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
    print_note(f"{safe_line(use.model)} at {use.url}: {usage.told(time.monotonic() - started)}")
    for other in sorted(usage.models - {use.model}):
        _note_other_name(use.model, other)
    if usage.given_up:
        raise usage.given_up
    if failures:
        told = f"{len(failures)} of {len(requests)} requests failed, the first: {failures[0]}"
        raise HarnessError(told, place=use.url, hint=_GIVEN_UP_HINT)


def _collect_failures(waiting: Sequence[Future[str | None]]) -> list[str]:
    with console.progress_bar("Asking the model", len(waiting), "answers") as advance:
        failures = []
        for done in as_completed(waiting):
            failure = done.result()
            advance(1)
            if failure is not None:
                failures.append(failure)
    return failures


@cache
def _note_other_name(asked: str, answered: str) -> None:
    """Says once by which name the replies call the model."""
    print_note(f"{asked} was asked for, and the replies say that {answered} answered")


def _ask_one(
    client: Client, request: Request, use: EndpointSettings, usage: EndpointUsage, journal: AnswerJournal
) -> str | None:
    """Asks and keeps the answer; None, or why there is none."""
    if usage.stopped.is_set():
        return "not asked"
    try:
        answer = ask_with_retries(client, request, use, usage, read_answer)
    except AttemptError as failure:
        if failure.code in _FILTER_CODES:
            journal.add(request, ServedAnswer("", FILTERED))
            usage.count_outcome(None, _GIVEN_UP_HINT)
            return None
        told = safe_line(use.hide_key(str(failure)), 2 * TOLD_CHARACTERS)
        if usage.stopped.is_set():
            return told
        if failure.status in _TURNED_AWAY:
            usage.give_up(told, _TURNED_AWAY[failure.status])
        else:
            usage.count_outcome(told, _GIVEN_UP_HINT)
        return told
    journal.add(request, answer)
    usage.count_outcome(None, _GIVEN_UP_HINT)
    return None


def read_answer(reply: Mapping[str, Any]) -> ServedAnswer:
    """The answer in a reply: the message's `content`, or where that is null its `refusal`, or nothing.

    Raises AttemptError where there is no message.
    """
    choice, message = reply_choice(reply)
    content = message.get("content", False) if message else False
    if message is None or not isinstance(content, str | None):
        raise AttemptError(f"the reply holds no answer: {json.dumps(reply)[:TOLD_CHARACTERS]}")
    refusal = message.get("refusal")
    text = content if content is not None else refusal if isinstance(refusal, str) else ""
    ended, model = choice.get("finish_reason"), reply.get("model")
    return ServedAnswer(text, str(ended) if ended is not None else None, model if isinstance(model, str) else None)
