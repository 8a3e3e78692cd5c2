"""Where the model judges' weights are, what runs them and what that needs; loads nothing.

HARNESS_JUDGE_WEIGHTS names a local copy, HARNESS_JUDGE_BACKEND=vllm runs them on vLLM instead of transformers.
"""

from __future__ import annotations

import importlib.util
import os
from typing import cast, get_args

from harness.judges.formats import MODEL_JUDGES
from harness.models.backends import Backend, require_vllm
from harness.support import hub
from harness.support.errors import HarnessError


def weights_source(name: str) -> str:
    """Where the weights of the judge `NAME` or `NAME@REVISION` are: a directory, or a hub id with that revision."""
    name, revision = hub.split_revision(name)
    source = os.environ.get("HARNESS_JUDGE_WEIGHTS") or MODEL_JUDGES[name].model
    return f"{source}@{revision}" if revision else source


def judge_backend() -> Backend:
    """What runs the model judges, as HARNESS_JUDGE_BACKEND says. Raises HarnessError where it says neither."""
    name = os.environ.get("HARNESS_JUDGE_BACKEND") or "hf"
    if name not in get_args(Backend):
        raise HarnessError(f"{name!r} is no backend", place="HARNESS_JUDGE_BACKEND", hint="hf or vllm")
    return cast(Backend, name)


def check_judge_installed(name: str) -> None:
    """Raises HarnessError where what the model judge `name` needs is not installed; loads nothing."""
    if judge_backend() == "vllm":
        require_vllm("HARNESS_JUDGE_BACKEND")
        if MODEL_JUDGES[name].grades:
            raise HarnessError(f"{name} runs on transformers only", hint="Unset HARNESS_JUDGE_BACKEND.")
    if name == "strongreject" and importlib.util.find_spec("peft") is None:
        raise HarnessError("strongreject is an adapter, which needs peft", hint="pip install peft")
