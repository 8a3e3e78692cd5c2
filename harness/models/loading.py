"""Language models and their tokenizers from a directory or the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.support import artifacts, hub
from harness.support.console import safe_line
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class ModelPath:
    """Which model: the directory that holds it, and whether code that lies there may run.

    `name` is what people call it and what its stages depend on: a hub id with its commit, or nothing for a directory of
    one's own. Usable wherever a path is.
    """

    directory: str
    name: str = ""
    trust_remote_code: bool = False

    def __fspath__(self) -> str:
        return self.directory

    def __str__(self) -> str:
        return self.name or self.directory

    @property
    def content(self) -> str:
        """What changes with the model: the id with its commit, or the directory's hash."""
        return self.name or str(artifacts.hash_if_local(self.directory))

    @property
    def manifest_entry(self) -> dict[str, Any]:
        """What a manifest says of the model, and its stages depend on."""
        known = {"path": str(self), "sha256": None if self.name else self.content}
        return known | ({"trust_remote_code": True} if self.trust_remote_code else {})

    @property
    def loading_options(self) -> dict[str, Any]:
        """What transformers, lm-eval and vLLM are told; never left out, as transformers would ask on the terminal."""
        return {"trust_remote_code": self.trust_remote_code}


def locate_model(path: str | ModelPath, *, weights: bool = True) -> ModelPath:
    """A model's directory, or the one that a hub id's files are fetched to; its own code does not run.

    Args:
        path: the directory, or the hub id.
        weights: whether a hub id's weights are fetched too.

    Raises HarnessError where there is none.
    """
    if isinstance(path, ModelPath):
        return path
    if hub.is_on_hub(path):
        return ModelPath(hub.fetch_directory(path, weights=weights), path)
    if not Path(path).is_dir():
        raise HarnessError("no such model directory", place=path, hint="Give a checkpoint directory or a hub id.")
    return ModelPath(path)


def load_model(
    path: str | ModelPath,
    *,
    chat: bool = True,
    spread: bool = False,
    placed: bool = True,
    chat_template: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer from a checkpoint directory or the hub, its weights from safetensors.

    Args:
        path: the directory, or the hub id (`org/name`, `org/name@revision`); a `ModelPath` may let its code run.
        chat: whether a chat template is needed; without, one may be set later.
        chat_template: for a tokenizer that has none, as base models' often have.
        placed: on a device; a trainer wants to do that itself.
        options: further arguments of `from_pretrained`.
        spread: over all accelerators, and in float32 where there is none; otherwise on one, in the model's own type.

    Raises HarnessError where either cannot be loaded, or a chat template is needed and there is none.
    """
    place = locate_model(path)
    with _explain_load_failure(place):
        model, tokenizer = _load_checkpoint(place, {**(_spread_options() if spread else {}), **(options or {})})
    tokenizer.chat_template = tokenizer.chat_template or chat_template
    if chat and not tokenizer.chat_template:
        raise HarnessError(
            "the tokenizer has no chat template",
            place=str(place),
            hint="Use an instruction-tuned model, or set tokenizer.chat_template and save it again.",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to(_default_device()) if placed and not spread else model, tokenizer


def load_tokenizer(path: str | ModelPath) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    """A model's configuration and tokenizer, without its weights. Raises HarnessError where they cannot be loaded."""
    place = locate_model(path)
    with _explain_load_failure(place):
        return _config_and_tokenizer(place)


def has_weights(path: ModelPath) -> bool:
    """Whether all of a model's weights lie in its directory."""
    index = Path(path) / "model.safetensors.index.json"
    if not index.is_file():
        return any(Path(path).glob("*.safetensors"))
    return all((Path(path) / shard).is_file() for shard in artifacts.read_json(index)["weight_map"].values())


def empty_model(config: PretrainedConfig) -> PreTrainedModel:
    """A model of this configuration on torch's `meta` device: all its parameters, and no memory behind them."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def max_positions(config: PretrainedConfig) -> int | None:
    """How many tokens, prompt and answer together, the model was made for; None where it does not say."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def generation_config(path: ModelPath, config: PretrainedConfig) -> GenerationConfig:
    """How the model was published to generate; what its configuration says where it has no such file."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(path.directory)
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
        raise HarnessError("is an encoder-decoder", place=config.name_or_path, hint="Give a decoder-only model.")


def attention_options(config: PretrainedConfig) -> dict[str, str]:
    """What a model with capped attention logits (Gemma-2) must be loaded with: other kernels leave the cap out."""
    return {"attn_implementation": "eager"} if getattr(config, "attn_logit_softcapping", None) else {}


def _load_checkpoint(path: ModelPath, options: dict[str, Any]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from transformers import AutoModelForCausalLM

    config, tokenizer = _config_and_tokenizer(path)
    options = {**options, **path.loading_options, **attention_options(config)}
    # Pickled weights can run code when they are loaded.
    model = AutoModelForCausalLM.from_pretrained(path.directory, use_safetensors=True, **options)
    return model, tokenizer


def _config_and_tokenizer(path: ModelPath) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(path.directory, **path.loading_options)
    refuse_encoder_decoder(config)
    return config, AutoTokenizer.from_pretrained(path.directory, **path.loading_options)


@contextmanager
def _explain_load_failure(path: ModelPath) -> Iterator[None]:
    """What keeps a model from loading, as one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        if not path.trust_remote_code and "trust_remote_code" in str(error):
            raise _untrusted_code_error(path) from error
        said = safe_line(f"{type(error).__name__}: {error}", 160)
        raise HarnessError(
            f"cannot be loaded as a causal language model ({said})",
            place=str(path),
            hint="Give a directory written by save_pretrained, or a hub id.",
        ) from error


def _untrusted_code_error(path: ModelPath) -> HarnessError:
    return HarnessError(
        "loads only by running the Python code in its repository, which is not allowed",
        place=str(path),
        hint="Read that code; if you trust it, a recipe's key allows it: `trust_remote_code: true`, "
        "or `harness run ... --set trust_remote_code=true`.",
    )


def _spread_options() -> dict[str, Any]:
    import torch

    return {"dtype": "auto", "device_map": "auto"} if torch.accelerator.is_available() else {"dtype": torch.float32}


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
