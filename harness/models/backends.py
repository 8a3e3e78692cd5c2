"""What generates text: transformers (`hf`), vLLM where it is installed, or an API; nothing of them is loaded here."""

from __future__ import annotations

import importlib.util
from typing import Literal

from harness.support.errors import HarnessError
from harness.support.versions import install_hint

Backend = Literal["hf", "vllm"]
"""What loads a checkpoint in this process."""
AnyBackend = Literal["hf", "vllm", "api"]


def require_vllm(place: str) -> None:
    """Raises HarnessError, found in `place`, where vLLM is not installed; loads nothing."""
    if importlib.util.find_spec("vllm") is None:
        raise HarnessError(
            "vLLM is not installed",
            place=place,
            hint=f"{install_hint('vllm')}; docs/backends.md says how without a GPU.",
        )
