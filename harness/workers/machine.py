"""What the machine has: GPUs, cores, and the threads that torch works with."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

_PLANNED: ContextVar[int | None] = ContextVar("threads", default=None)


def thread_count() -> int:
    """Torch's threads where a stage works: their number changes the sums, and so a run's numbers."""
    planned = _PLANNED.get()
    return int(_load_torch().get_num_threads()) if planned is None else planned


def set_thread_count(number: int) -> None:
    """Lets torch work with so many threads from now on."""
    _load_torch().set_num_threads(number)


@contextmanager
def planned_threads(number: int) -> Iterator[None]:
    """The stages in the block work with so many of torch's threads; torch is loaded by the first that works."""
    token = _PLANNED.set(number)
    try:
        yield
    finally:
        _PLANNED.reset(token)


@contextmanager
def use_planned_threads() -> Iterator[None]:
    """Sets torch's threads to those planned, where there is a plan, for the block."""
    planned = _PLANNED.get()
    if planned is None:
        yield
        return
    before = int(_load_torch().get_num_threads())
    set_thread_count(planned)
    try:
        yield
    finally:
        set_thread_count(before)


def describe_machine() -> dict[str, Any]:
    """What the numbers were computed on."""
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpus": gpu_names(),
        "threads": thread_count(),
    }


def gpu_names() -> list[str]:
    """The GPUs that torch can use; it takes seconds to load, and a build for CPUs alone tells by its version."""
    if metadata.version("torch").endswith("+cpu"):
        return []
    cuda = _load_torch().cuda
    return [cuda.get_device_name(place) for place in range(cuda.device_count())]


def _load_torch() -> ModuleType:
    """Torch, where its threads or GPUs are counted: it takes seconds to load, and a run that is done needs none."""
    import torch

    return torch


def _cpu_name() -> str:
    """The processor's name as its maker gives it, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "not known")
