"""Work in a process of its own, with a time limit: what crashes, hangs or breaks the GPU's context ends that alone."""

from __future__ import annotations

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import psutil
import torch

_SHOWN = 2000
"""Characters of an error that are kept, from its end."""

_LEAVING = 5
"""Seconds that a process has to leave when it has answered."""


class ChildError(Exception):
    """Work in a child process that failed, crashed or took too long; the text says which."""


def run_in_child(work: Callable[..., Any], *arguments: Any, limit: float) -> Any:
    """What `work` returns, a module's function called in a process of its own; both ways are pickled.

    Raises ChildError where it raises, ends without an answer, or has none after `limit` seconds. No process that it
    started is left.
    """
    context = _choose_context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(sender, work, arguments))
    process.start()
    sender.close()
    try:
        if not receiver.poll(limit):
            raise ChildError(f"not done after {limit:.0f} s")
        done, answer = receiver.recv()
        process.join(_LEAVING)
    except EOFError:
        process.join()
        raise ChildError(f"its process ended with exit code {process.exitcode} and no answer") from None
    finally:
        _end_tree(process)
    if not done:
        raise ChildError(answer)
    return answer


def _choose_context() -> Any:
    """Copies of a process that has everything imported; beside a GPU fresh ones, as CUDA does not survive a copy."""
    if torch.cuda.is_available():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gpu_parts"])
    return context


def _report(sender: Connection, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        answer = True, work(*arguments)
    except BaseException:  # whatever it is, the parent tells it
        answer = False, traceback.format_exc()[-_SHOWN:]
    sender.send(answer)


def _exit_with_parent() -> None:
    """For a copy, whose parent by the system's account is another process than the one that asked for it."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _end_tree(process: Any) -> None:
    """Ends a process, where it is still there, and all that it started."""
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(process.pid)
        for each in [*found.children(recursive=True), found]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
    process.join()
