"""What every part of `benchmarks/gpu.py` is given, and what it measures time and memory with."""

from __future__ import annotations

import gc
import resource
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil
import torch
from gpu_results import Goal
from random_models import save_random_llama


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a part works.

    Attributes:
        tiny: with shapes for tests.
        work: a directory that the parts share, for checkpoints.
        deadline: by `time.monotonic`, when the part is ended.
    """

    tiny: bool
    work: Path
    deadline: float

    @property
    def device(self) -> torch.device:
        """The GPU, where there is one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def choose(self, real: Any, tiny: Any) -> Any:
        """The first of the two, or the second with shapes for tests."""
        return tiny if self.tiny else real

    def checkpoint(self) -> str:
        """A checkpoint of the shape that is trained, in bfloat16, with a tokenizer; made by the first that asks.

        Of 8B weights in float32, gradients and averages take more than the card has.
        """
        shape = self.choose("1b", "tiny")
        return str(save_random_llama(shape, self.device, self.work / shape))


@dataclass(frozen=True, slots=True)
class Measured:
    """What a part found: figures by name, and how they stand to their goals."""

    figures: dict[str, Any] = field(default_factory=dict)
    goals: tuple[Goal, ...] = ()


class NotMeasuredError(Exception):
    """What a part needs is not there; the text says what."""


class PeakMemory:
    """The most bytes that are allocated on a device from here on; on a CPU, by which this process has grown."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = device.type == "cuda"
        self._before = 0 if self._gpu else psutil.Process().memory_info().rss
        free_memory()
        if self._gpu:
            torch.cuda.reset_peak_memory_stats()

    def read(self) -> int:
        """Bytes; on a CPU of a process whose peak was not higher before."""
        if self._gpu:
            return torch.cuda.max_memory_allocated()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return peak - self._before


def free_memory() -> None:
    """Hands back what nothing refers to any more."""
    gc.collect()
    torch.cuda.empty_cache()


def read_clock() -> float:
    """Seconds, when all that was asked of the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter()
