"""Where a command's work runs: in this process, or on workers of a Ray cluster."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from harness.support.errors import HarnessError
from harness.support.versions import install_hint

Engine = Literal["local", "ray"]


def refuse_missing_ray() -> None:
    """Raises HarnessError where Ray is not installed."""
    if find_spec("ray") is None:
        raise HarnessError("Ray is not installed", hint=f"{install_hint('ray')}.")
