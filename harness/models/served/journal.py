"""Answers kept as they arrive, so that a killed batch asks for none of them again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.support import artifacts
from harness.support.errors import HarnessError

JOURNAL_NAME = "answers.jsonl"


@dataclass(frozen=True, slots=True)
class ServedAnswer:
    """What a model said, why it ended, and what the reply calls the model."""

    text: str
    finish_reason: str | None = None
    model: str | None = None


class AnswerJournal:
    """A file to which each answer is added as one JSON line under the hash of its request.

    The request holds model, messages, settings and seed, and `identity` what stands behind the address: an answer that
    is found was given to the very same question. A line that a kill cut off is taken away. Threads may share it.

    Raises HarnessError where the file is broken or cannot be written.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self.identity = path, identity
        self._lock = threading.Lock()
        with artifacts.explain_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _cut_torn_line(path)
        self._answers = dict(_parse_entry(row, path) for row in artifacts.read_jsonl(path))

    def request_key(self, request: Mapping[str, Any]) -> str:
        """The hash that an answer to the request is kept under."""
        text = json.dumps([self.identity, request], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def find(self, request: Mapping[str, Any]) -> ServedAnswer | None:
        """The answer that was given to the request before."""
        return self._answers.get(self.request_key(request))

    def add(self, request: Mapping[str, Any], answer: ServedAnswer) -> None:
        """Keeps an answer: it is in the file when this returns."""
        key = self.request_key(request)
        line = json.dumps({"key": key, **asdict(answer)}) + "\n"
        with self._lock, artifacts.explain_write_errors(self.path), self.path.open("ab") as stream:
            stream.write(line.encode())
            self._answers[key] = answer


def _cut_torn_line(path: Path) -> None:
    """Ends the file with its last whole line."""
    with path.open("a+b") as stream:
        stream.seek(0)
        whole = stream.read().rfind(b"\n") + 1
        stream.truncate(whole)


def _parse_entry(row: Mapping[str, Any], path: Path) -> tuple[str, ServedAnswer]:
    try:
        key = row["key"]
        answer = ServedAnswer(**{name: value for name, value in row.items() if name != "key"})
    except (KeyError, TypeError):
        key = answer = None
    if not isinstance(key, str) or answer is None or not isinstance(answer.text, str):
        raise HarnessError(
            "holds a line that is no answer", place=str(path), hint="Remove the file; all is asked anew."
        )
    return key, answer
