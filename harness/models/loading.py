"""Language models and their tokenizers from a directory or the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from harness.models.intact import load_weights
from harness.models.paths import ModelPath, base_of, locate_model
from harness.models.templates import TEMPLATE_HINT, refuse_runaway_template
from harness.support.console import safe_line
from harness.support.errors import HarnessError


def load_model(
    path: str | ModelPath,
    *,
    chat: bool = True,
    spread: bool = False,
    float32: bool = False,
    placed: bool = True,
    chat_template: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer from a checkpoint directory or the hub, its weights from safetensors.

    A PEFT adapter's directory is loaded on the base model that it names, as unmerged weights beside the base's.

    Args:
        path: the directory, or the hub id (`org/name`, `org/name@revision`); a `ModelPath` may let its code run.
        chat: whether a chat template is needed; without, one may be set later.
        chat_template: for a tokenizer that has none, as base models' often have.
        placed: on a device; a trainer wants to do that itself.
        options: further arguments of `from_pretrained`.
        spread: over all accelerators, and in float32 where there is none; otherwise on one, in the model's own type.
        float32: whatever type the weights were saved in, as where ln p is compared with a trained model's: weights are
            trained in float32, and bfloat16 moves a margin by up to 2 nats.

    Raises HarnessError where either cannot be loaded, the weights are not those of the configuration or not numbers,
    or a chat template is needed and there is none.
    """
    place = locate_model(path)
    where = {**(_spread_options() if spread else {}), **({"dtype": torch.float32} if float32 else {})}
    with explain_load_failure(place):
        model, tokenizer = _load_checkpoint(place, {**where, **(options or {})}, finite=placed)
    tokenizer.chat_template = tokenizer.chat_template or chat_template
    if chat:
        require_chat_template(tokenizer, str(place))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to(default_device()) if placed and not spread else model, tokenizer


def load_tokenizer(path: str | ModelPath) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    """A model's configuration and tokenizer, without its weights. Raises HarnessError where they cannot be loaded."""
    place = locate_model(path, weights=False)
    with explain_load_failure(place):
        return _config_and_tokenizer(place, base_of(place, weights=False))


@contextmanager
def explain_load_failure(path: ModelPath, what: str = "a causal language model") -> Iterator[None]:
    """Whatever keeps a model from loading as `what`, as one line."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:  # transformers and the libraries below it raise dozens of kinds here
        if not path.trust_remote_code and "trust_remote_code" in str(error):
            raise _untrusted_code_error(path) from error
        said = safe_line(f"{type(error).__name__}: {error}", 160)
        raise HarnessError(
            f"cannot be loaded as {what} ({said})",
            place=str(path),
            hint="Give a directory written by save_pretrained, or a hub id.",
        ) from error


def require_chat_template(tokenizer: PreTrainedTokenizerBase, place: str) -> None:
    """Raises HarnessError, found in `place`, where a tokenizer has no chat template, or one that runs away."""
    if not tokenizer.chat_template:
        raise HarnessError("the tokenizer has no chat template", place=place, hint=TEMPLATE_HINT)
    refuse_runaway_template(tokenizer.chat_template, place)


def default_device() -> str:
    """Where a model that fits on one device goes: the GPU, where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients in the block; the mode that the model was in comes back."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def empty_model(config: PretrainedConfig) -> PreTrainedModel:
    """A model of this configuration on torch's `meta` device: all its parameters, and no memory behind them."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def max_positions(config: PretrainedConfig) -> int | None:
    """How many tokens, prompt and answer together, the model was made for; None where it does not say."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def generation_config(path: ModelPath, config: PretrainedConfig) -> GenerationConfig:
    """How the model was published to generate; what its configuration says where it has no such file."""
    try:
        return GenerationConfig.from_pretrained(path.directory)
    except OSError:
        return GenerationConfig.from_model_config(config)


def stop_options(generation: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    """What `generate` needs so that an answer also ends where the tokenizer's end of text stands, as on vLLM.

    transformers heeds the published tokens alone and runs past the end of a turn that is not among them.
    """
    published = _published_ends(generation)
    if tokenizer.eos_token_id in (None, *published):
        return {}
    return {"eos_token_id": [*published, tokenizer.eos_token_id]}


def end_tokens(generation: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end an answer, by the model's own generation settings and by the tokenizer."""
    return {*_published_ends(generation), tokenizer.eos_token_id} - {None}


def _published_ends(generation: GenerationConfig | None) -> list[int]:
    published = getattr(generation, "eos_token_id", None)
    ends = published if isinstance(published, list) else [published]
    return [end for end in ends if end is not None]


def refuse_encoder_decoder(config: PretrainedConfig) -> None:
    """Raises HarnessError where the model is no decoder alone."""
    if config.is_encoder_decoder:
        raise HarnessError("is an encoder-decoder", place=config.name_or_path, hint="Give a decoder-only model.")


def attention_options(config: PretrainedConfig) -> dict[str, str]:
    """What a model with capped attention logits (Gemma-2) must be loaded with: other kernels leave the cap out."""
    return {"attn_implementation": "eager"} if getattr(config, "attn_logit_softcapping", None) else {}


def _load_checkpoint(
    path: ModelPath, options: dict[str, Any], *, finite: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    config, tokenizer = _config_and_tokenizer(path, base_of(path))
    return load_weights(AutoModelForCausalLM, path, finite=finite, **options, **attention_options(config)), tokenizer


def _config_and_tokenizer(path: ModelPath, base: ModelPath) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    """The base's configuration, and the model's own tokenizer; an adapter may have been saved without one."""
    config = AutoConfig.from_pretrained(base.directory, **base.loading_options)
    refuse_encoder_decoder(config)
    place = path if (Path(path) / "tokenizer_config.json").is_file() else base
    tokenizer = AutoTokenizer.from_pretrained(place.directory, **place.loading_options)
    refuse_runaway_template(tokenizer.chat_template, str(path))
    return config, tokenizer


def _untrusted_code_error(path: ModelPath) -> HarnessError:
    return HarnessError(
        "loads only by running the Python code in its repository, which is not allowed",
        place=str(path),
        hint="Read that code; if you trust it, a recipe's key allows it: `trust_remote_code: true`, "
        "or `harness run ... --set trust_remote_code=true`.",
    )


def _spread_options() -> dict[str, Any]:
    return {"dtype": "auto", "device_map": "auto"} if torch.accelerator.is_available() else {"dtype": torch.float32}
