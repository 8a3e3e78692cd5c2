"""Language models and their tokenizers from a directory or the hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import artifacts
from harness.console import safe
from harness.errors import HarnessError

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def load_model(
    path: str, *, chat: bool = True, spread: bool = False, chat_template: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer from a checkpoint directory or the hub.

    Args:
        path: the directory, or the hub id.
        chat: whether a chat template is needed; without, one may be set later.
        chat_template: for a tokenizer that has none, as base models' often have.
        spread: over all accelerators, and in float32 where there is none; otherwise on one, in the model's own type.

    Raises HarnessError where either cannot be loaded, or a chat template is needed and there is none.
    """
    with _told(path):
        model, tokenizer = _loaded(path, _spread() if spread else {})
    tokenizer.chat_template = tokenizer.chat_template or chat_template
    if chat and not tokenizer.chat_template:
        raise HarnessError(
            "the tokenizer has no chat template",
            place=path,
            mend="Use an instruction-tuned model, or set tokenizer.chat_template and save it again.",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model if spread else model.to(_device()), tokenizer


def load_tokenizer(path: str) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    """A model's configuration and tokenizer, without its weights. Raises HarnessError where they cannot be loaded."""
    with _told(path):
        return _config_and_tokenizer(path)


def weights_are_here(path: str) -> bool:
    """Whether a model's weights are in its directory, or in the hub's cache: nothing would be downloaded."""
    from huggingface_hub import try_to_load_from_cache

    if Path(path).is_dir():
        return any(Path(path).glob("*.safetensors"))
    index = try_to_load_from_cache(path, "model.safetensors.index.json")
    if not isinstance(index, str):
        return isinstance(try_to_load_from_cache(path, "model.safetensors"), str)
    shards = set(artifacts.read_json(Path(index))["weight_map"].values())
    return all(isinstance(try_to_load_from_cache(path, shard), str) for shard in shards)


def empty_model(config: PretrainedConfig) -> PreTrainedModel:
    """A model of this configuration on torch's `meta` device: all its parameters, and no memory behind them."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def positions(config: PretrainedConfig) -> int | None:
    """How many tokens, prompt and answer together, the model was made for; None where it does not say."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def generation_config(path: str, config: PretrainedConfig) -> GenerationConfig:
    """How the model was published to generate; what its configuration says where it has no such file."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(path)
    except OSError:
        return GenerationConfig.from_model_config(config)


def stop_options(generation: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    """What `generate` needs so that an answer also ends where the tokenizer's end of text stands, as on vLLM.

    transformers heeds the published tokens alone and runs past the end of a turn that is not among them.
    """
    published = generation.eos_token_id
    ends = published if isinstance(published, list) else [published]
    if tokenizer.eos_token_id in (None, *ends):
        return {}
    return {"eos_token_id": [end for end in (*ends, tokenizer.eos_token_id) if end is not None]}


def refuse_encoder_decoder(config: PretrainedConfig) -> None:
    """Raises HarnessError where the model is no decoder alone."""
    if config.is_encoder_decoder:
        raise HarnessError("is an encoder-decoder", place=config.name_or_path, mend="Give a decoder-only model.")


def attention_options(config: PretrainedConfig) -> dict[str, str]:
    """What a model with capped attention logits (Gemma-2) must be loaded with: other kernels leave the cap out."""
    return {"attn_implementation": "eager"} if getattr(config, "attn_logit_softcapping", None) else {}


def _loaded(path: str, options: dict[str, Any]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from transformers import AutoModelForCausalLM

    config, tokenizer = _config_and_tokenizer(path)
    # Pickled weights can run code when they are loaded; so can a repository's own modules, which are never loaded.
    model = AutoModelForCausalLM.from_pretrained(path, use_safetensors=True, **options, **attention_options(config))
    return model, tokenizer


def _config_and_tokenizer(path: str) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(path)
    refuse_encoder_decoder(config)
    return config, AutoTokenizer.from_pretrained(path)


@contextmanager
def _told(path: str) -> Iterator[None]:
    """What keeps a model from loading, as one line."""
    if path.startswith((".", "/", "~")) and not Path(path).expanduser().is_dir():
        raise HarnessError("no such model directory", place=path, mend="Give a checkpoint directory or a hub id.")
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        said = safe(f"{type(error).__name__}: {error}", 160)
        raise HarnessError(
            f"cannot be loaded as a causal language model ({said})",
            place=path,
            mend="Give a directory written by save_pretrained, or a hub id.",
        ) from error


def _spread() -> dict[str, Any]:
    import torch

    return {"dtype": "auto", "device_map": "auto"} if torch.accelerator.is_available() else {"dtype": torch.float32}


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
