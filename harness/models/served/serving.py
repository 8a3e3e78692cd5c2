"""A checkpoint served by a command of the user's for as long as it is asked, and ended with all that it started."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from httpx2 import Client

from harness.models.served import guard
from harness.models.served.posting import AttemptError, post_chat
from harness.models.served.settings import EndpointSettings
from harness.support.console import print_note, safe_line
from harness.support.errors import HarnessError

LONGEST_START = 1800.0
"""Seconds that a server may take until it answers."""
_POLL_SECONDS = 0.5
_TOLD_CHARACTERS = 300


@contextmanager
def serve_checkpoint(template: str, directory: str, use: EndpointSettings, log: Path) -> Iterator[EndpointSettings]:
    """The command's server, which answers when the block begins and is gone when it has ended.

    Args:
        template: the command; `{model}` and `{port}` in its words are replaced.
        directory: the checkpoint.
        use: how patient to be; the address and, where it names none, the model's name are filled in.
        log: where the command's output goes.

    Raises HarnessError where the command cannot be run, ends, or does not answer.
    """
    port = _free_port()
    words = [word.replace("{model}", directory).replace("{port}", str(port)) for word in shlex.split(template)]
    reached = replace(use, url=f"http://127.0.0.1:{port}/v1", model=use.model or directory)
    print_note(f"Serving {directory}: {shlex.join(words)}")
    with _running(words, log) as server:
        _wait_until_ready(server, reached, log)
        yield reached


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def _running(words: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command under a guard, which ends it when its standard input closes: here, or as this process is killed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-I", str(guard.__file__), *words]
    with log.open("wb") as output:
        server = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield server
    finally:
        if server.stdin is not None:
            server.stdin.close()
        server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], reached: EndpointSettings, log: Path) -> None:
    """Returns once the server has answered a completion of one token."""
    trial = {"model": reached.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    end, told = time.monotonic() + LONGEST_START, "nobody listens"
    with Client(timeout=reached.timeout) as client:
        while time.monotonic() < end:
            if server.poll() is not None:
                raise HarnessError(f"the server ended: {_last_line(log)}", place="endpoint.serve", hint=f"See {log}.")
            try:
                post_chat(client, trial, reached)
                return
            except AttemptError as error:
                told = safe_line(str(error), _TOLD_CHARACTERS)
                if error.wait is None:
                    break
            time.sleep(_POLL_SECONDS)
    raise HarnessError(f"the server does not answer: {told}", place="endpoint.serve", hint=f"See {log}.")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return safe_line(lines[-1], _TOLD_CHARACTERS) if lines else "it printed nothing"
