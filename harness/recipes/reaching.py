"""How a recipe's endpoint is reached: an address that is asked, or a command that serves a checkpoint meanwhile."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.models.paths import ModelPath
from harness.models.served.answering import KEY_VARIABLE
from harness.models.served.journal import JOURNAL_NAME, AnswerJournal
from harness.models.served.serving import serve_checkpoint
from harness.models.served.settings import EndpointSettings
from harness.recipes.schema import Endpoint
from harness.support import artifacts
from harness.support.errors import HarnessError


@dataclass(frozen=True, slots=True)
class ReachedModel:
    """A model that answers: where, the answers that it gave so far, and what a results file says that it is."""

    use: EndpointSettings
    journal: AnswerJournal
    model_args: Mapping[str, str]


@contextmanager
def reach_model(endpoint: Endpoint, model: ModelPath, keep: Path) -> Iterator[ReachedModel]:
    """The model behind the endpoint, for as long as the block lasts.

    Args:
        endpoint: an address, or what serves `model`.
        model: the checkpoint that is served; what an address is asked for is in the endpoint.
        keep: directory for the answers as they come, and for what the server prints.

    Raises HarnessError where the key is none, or the server does not start.
    """
    use, journal = _patience(endpoint), keep / JOURNAL_NAME
    if endpoint.serve is None:
        told = {"model": use.model, "base_url": f"{use.url}/chat/completions"}
        yield ReachedModel(use, AnswerJournal(journal, use.url), told)
        return
    identity = artifacts.json_fingerprint([model.content, endpoint.serve])
    with serve_checkpoint(endpoint.serve, model.directory, use, keep / "server.log") as reached:
        told = {"pretrained": model.directory, "serve": endpoint.serve}
        yield ReachedModel(reached, AnswerJournal(journal, identity), told)


def _patience(endpoint: Endpoint) -> EndpointSettings:
    """The endpoint with its key, which is for an address alone: what the harness serves itself needs none."""
    key = os.environ.get(KEY_VARIABLE, "") if endpoint.serve is None else ""
    if not key.isascii() or not key.isprintable():
        raise HarnessError("holds a character no key has", place=KEY_VARIABLE, hint="Copy the key again.")
    return EndpointSettings(
        (endpoint.base_url or "").rstrip("/").removesuffix("/chat/completions"),
        endpoint.model or "",
        key,
        attempts=endpoint.attempts,
        concurrency=endpoint.concurrency,
        timeout=endpoint.timeout,
    )


def check_serving(endpoint: Endpoint) -> None:
    """Raises HarnessError where nothing serves a checkpoint, or the command that would is not there."""
    if endpoint.serve is None:
        raise HarnessError(
            "an address serves one model, and a run has trained ones to evaluate",
            place="endpoint.base_url",
            hint="Give endpoint.serve, a command that serves a checkpoint; or run `harness preferences` and "
            "`harness evaluate`, which ask one model.",
        )
    program = shlex.split(endpoint.serve)[0]
    if shutil.which(program) is None:
        raise HarnessError(f"{program}: no such command", place="endpoint.serve", hint="Install it, or give its path.")
