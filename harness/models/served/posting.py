"""Requests to an OpenAI-compatible endpoint: patient with what passes, bounded in time and length, given up in the end.

The key is blotted out of every reply before anything of it is kept or shown.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from httpx2 import Client, RequestError, Response

from harness.models.served.settings import EndpointSettings
from harness.support.console import safe_line
from harness.support.errors import HarnessError

T = TypeVar("T")

LONGEST_REPLY = 1_000_000
"""A reply longer than this many bytes is a failure."""

TOLD_CHARACTERS = 200
"""So many characters of a reply are told."""

MOST_MODELS = 10
"""So many different models are kept of what the replies name."""


@dataclass(slots=True)
class EndpointUsage:
    """What a batch took, which models answered, and whether the endpoint was given up; threads add to it."""

    place: str
    most_failures: int
    requests: int = 0
    repeated: int = 0
    sent: int = 0
    received: int = 0
    failures: int = 0
    models: set[str] = field(default_factory=set)
    given_up: HarnessError | None = None
    stopped: threading.Event = field(default_factory=threading.Event, repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count_request(self, *, again: bool) -> None:
        """Counts one request."""
        with self.lock:
            self.requests += 1
            self.repeated += again

    def count_reply(self, reply: Mapping[str, Any]) -> None:
        """Adds a reply's own count of tokens and its model, where it gives them."""
        usage = reply.get("usage")
        counts = [usage.get(key) if isinstance(usage, dict) else 0 for key in ("prompt_tokens", "completion_tokens")]
        sent, received = (count if type(count) is int and count > 0 else 0 for count in counts)
        model = reply.get("model")
        with self.lock:
            self.sent += sent
            self.received += received
            if isinstance(model, str) and len(self.models) < MOST_MODELS:
                self.models.add(safe_line(model, TOLD_CHARACTERS))

    def count_outcome(self, failure: str | None, hint: str) -> None:
        """Counts failures one after another, and gives the endpoint up, with this hint, after too many."""
        with self.lock:
            self.failures = 0 if failure is None else self.failures + 1
            reached = self.failures >= self.most_failures
        if reached:
            self.give_up(f"{self.failures} answers failed one after another, the last: {failure}", hint)

    def give_up(self, cause: str, hint: str) -> None:
        """Ends the batch with this error, unless another one has already; waiting threads wake."""
        with self.lock:
            self.given_up = self.given_up or HarnessError(cause, place=self.place, hint=hint)
        self.stopped.set()

    def told(self, seconds: float) -> str:
        """What it took, in words."""
        return (
            f"{self.requests} requests ({self.repeated} repeated), {self.sent} tokens sent, "
            f"{self.received} received, {seconds:.1f} s"
        )


class AttemptError(Exception):
    """An attempt that gave nothing: why, and how long to wait before the next (None: it would not help).

    `status` is HTTP's, `code` the error's own name where the endpoint gives one.
    """

    def __init__(self, cause: str, wait: float | None = 0.0, status: int = 0, code: str = "") -> None:
        self.wait, self.status, self.code = wait, status, code
        super().__init__(cause)


def open_client(use: EndpointSettings) -> Client:
    """A client whose requests carry the key."""
    headers = {"Authorization": f"Bearer {use.key}"} if use.key else {}
    return Client(headers=headers, timeout=use.timeout)


def ask_with_retries(
    client: Client,
    content: Mapping[str, Any],
    use: EndpointSettings,
    usage: EndpointUsage,
    read: Callable[[Mapping[str, Any]], T],
) -> T:
    """What `read` makes of the reply to a chat completion.

    Args:
        client: of `use.open_client()`.
        content: the request.
        use: where, and how often at most.
        usage: counts the requests, and ends the waiting where the batch is given up.
        read: raises AttemptError where the reply is none; then it is asked for again.

    Raises AttemptError, the last one, where no attempt gave anything.
    """
    failure = AttemptError("no attempt was made")
    for attempt in range(use.attempts):
        if usage.stopped.wait(_pause_seconds(failure, attempt, use) if attempt else 0):
            break
        usage.count_request(again=attempt > 0)
        try:
            reply = post_chat(client, content, use)
            usage.count_reply(reply)
            return read(reply)
        except AttemptError as error:
            failure = error
        except Exception as error:  # a request that fails in any way leaves its neighbours alone
            failure = AttemptError(f"{type(error).__name__}: {error}", None)
        if failure.wait is None:
            break
    raise failure


def _pause_seconds(failure: AttemptError, attempt: int, use: EndpointSettings) -> float:
    """Doubling, with jitter so that a crowd of requests does not come back at once; never less than was asked for."""
    grown = use.backoff * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
    return float(min(max(grown, failure.wait or 0.0), use.longest_wait))


def post_chat(client: Client, content: Mapping[str, Any], use: EndpointSettings) -> Mapping[str, Any]:
    """The reply to one chat completion. Raises AttemptError where there is none, or it is no JSON object."""
    try:
        with client.stream("POST", f"{use.url}/chat/completions", json=dict(content)) as response:
            text = _reply_text(response, use)
    except RequestError as error:
        raise AttemptError(f"{type(error).__name__}: {error}") from error
    if response.status_code != 200:
        told = f"HTTP {response.status_code}: {text[:TOLD_CHARACTERS]}"
        raise AttemptError(told, retry_after(response), response.status_code, _error_code(text))
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AttemptError(f"the reply is not JSON: {text[:TOLD_CHARACTERS]!r}") from error
    if not isinstance(reply, dict):
        raise AttemptError(f"the reply is not a JSON object: {text[:TOLD_CHARACTERS]!r}")
    return reply


def _error_code(text: str) -> str:
    """What an endpoint calls its error (`error.code`); nothing where it does not."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    error = content.get("error") if isinstance(content, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else ""


def reply_choice(reply: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The first choice of a reply, empty where there is none, and its message."""
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    return choice, message if isinstance(message, dict) else None


def _reply_text(response: Response, use: EndpointSettings) -> str:
    """The whole reply, within the time for one request however slowly it drips, and of bounded length."""
    parts, size, end = [], 0, time.monotonic() + use.timeout
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > LONGEST_REPLY:
            raise AttemptError(f"the reply is longer than {LONGEST_REPLY} bytes", None)
        if time.monotonic() > end:
            raise AttemptError(f"no whole reply within {use.timeout:g} s")
    return use.hide_key(b"".join(parts).decode("utf-8", "replace"))  # before anything is cut


def retry_after(response: Response) -> float | None:
    """Seconds a refused request should wait, as Retry-After says (a number or a date); None: it will not help."""
    if response.status_code not in {408, 409, 429} and response.status_code < 500:
        return None
    asked = response.headers.get("retry-after", "")
    try:
        seconds = float(asked)
    except ValueError:
        seconds = _seconds_until(asked)
    return seconds if 0 <= seconds < float("inf") else 0.0


def _seconds_until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return 0.0
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
