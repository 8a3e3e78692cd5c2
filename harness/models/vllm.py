"""vLLM: a model takes most of a GPU's memory, so one at a time; the only module that imports vllm itself."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from transformers import PretrainedConfig

from harness.models.loading import max_positions
from harness.support.console import safe_line
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput


_held: dict[object, LLM] = {}
"""The model in use, by what it was made from; one at most."""


def llm_options(config: PretrainedConfig, longest: int, new_tokens: int) -> dict[str, Any]:
    """How vLLM loads a model so that it answers as transformers does.

    Args:
        config: the checkpoint's configuration.
        longest: tokens of the longest prompt.
        new_tokens: tokens of the longest answer.

    `max_model_len` is what prompts and answers need, so that a long context does not claim the memory, and never more
    than the model has positions.
    """
    needed = longest + new_tokens
    return {
        "dtype": vllm_dtype(config),
        "max_model_len": min(max_positions(config) or needed, needed),
        **_common_options(),
    }


def vllm_dtype(config: PretrainedConfig) -> str:
    """The checkpoint's own number type: vLLM's `auto` makes float32 half as wide."""
    return str(config.dtype).removeprefix("torch.") if config.dtype else "auto"


def _common_options() -> dict[str, Any]:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    # A forked worker could not use a GPU that training or scoring has used before.
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    # vLLM would also stop at the tokenizer's model_max_length, which transformers does not heed.
    os.environ.setdefault("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1")
    # Without a GPU, compiling takes longer than it saves.
    return {"enforce_eager": not torch.cuda.is_available(), "load_format": "safetensors"}


def load_vllm(path: str, **chosen: Any) -> LLM:
    """The model in a checkpoint directory with these options of vLLM's; the one in use where it is the same.

    Raises HarnessError where vLLM cannot load it.
    """
    key = (path, *sorted(chosen.items()))
    if key not in _held:
        free_vllm()
        with explain_vllm_failure(path):
            settings = _common_options() | chosen  # before vLLM is imported: it reads its variables then
            _held[key] = _import_vllm().LLM(model=path, **settings)
    return _held[key]


def _import_vllm() -> Any:
    """The package itself, which may be missing."""
    import vllm

    return vllm


def free_vllm() -> None:
    """Ends the model in use, if there is one."""
    while _held:
        shut_down_vllm(_held.popitem()[1])


def shut_down_vllm(llm: LLM) -> None:
    """Ends a model and gives its memory back."""
    llm.llm_engine.engine_core.shutdown()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def explain_vllm_failure(path: str) -> Iterator[None]:
    """What keeps vLLM from loading a model, as the one line it comes down to."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError, AssertionError) as error:
        raise HarnessError(
            f"vLLM cannot load the model ({safe_line(f'{type(error).__name__}: {error}', 300)})",
            place=path,
            hint="Set backend=hf, or VLLM_LOGGING_LEVEL=INFO to see what vLLM says.",
        ) from error


def vllm_answers(
    llm: LLM, prompts: Sequence[Sequence[int]], *, temperature: float, max_new_tokens: int, seed: int
) -> list[str]:
    """One answer a prompt (token ids), in order, drawn at `temperature` with top-p 1.

    The same seed gives the same draws, however vLLM puts the requests together.
    """
    sampling_params = _import_vllm().SamplingParams
    settings = [
        sampling_params(temperature=temperature, max_tokens=max_new_tokens, seed=each)
        for each, _ in zip(request_seeds(seed), prompts, strict=False)
    ]
    outputs = llm.generate([{"prompt_token_ids": list(ids)} for ids in prompts], settings)
    return [decode_output(output, llm.get_tokenizer()) for output in outputs]


def request_seeds(seed: int) -> Iterator[int]:
    """A seed for each request: with one for all, every prompt would be answered on the same draws."""
    draw = random.Random(seed)
    while True:
        yield draw.getrandbits(63)


def decode_output(output: RequestOutput, tokenizer: Any) -> str:
    """An answer's text as transformers decodes it: vLLM's own keeps the space that a first token may begin with."""
    decoded: str = tokenizer.decode(output.outputs[0].token_ids, skip_special_tokens=True)
    return decoded
