"""Which model: the directory that holds it, or a hub id; nothing of it is loaded here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.models.files import (
    ADAPTER_CONFIG,
    check_model_files,
    is_adapter,
    is_gguf,
    missing_shards,
    refuse_no_directory,
)
from harness.support import artifacts, hub
from harness.support.errors import HarnessError

_BASE_KEY = "base_model_name_or_path"
_CONVERSION = 2
"""Part of a converted file's key: higher by one with each change of what `convert_gguf` makes."""
MERGE_HINT = (
    "merge it: AutoPeftModelForCausalLM.from_pretrained(ADAPTER, dtype='float32').merge_and_unload()"
    ".save_pretrained(MERGED), and save the tokenizer there too."
)


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
    def source(self) -> str:
        """What it is loaded by again, in a process elsewhere: the hub id with its commit, or the directory."""
        return self.name if hub.is_on_hub(self.name) else self.directory

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
    """A model's directory, or the one that a hub id's files are fetched to or a GGUF file is converted into.

    Args:
        path: the directory, the hub id, or a GGUF file. The model's own code does not run.
        weights: whether a hub id's weights are fetched too, and have to be there.

    Raises HarnessError where there is none, or a file of it is not whole (`check_model_files`).
    """
    if isinstance(path, ModelPath):
        return path
    if hub.is_on_hub(path):
        found = ModelPath(hub.fetch_directory(path, weights=weights), path)
    elif is_gguf(Path(path)):
        found = _convert(Path(path))
    else:
        refuse_no_directory(path)
        found = ModelPath(path)
    check_model_files(Path(found), weights=weights)
    return found


def _convert(file: Path) -> ModelPath:
    """A GGUF file's checkpoint, from the cache or converted now, under the file's name and its content's."""
    content = artifacts.sha256_of(file)
    key = artifacts.json_fingerprint([content, metadata.version("transformers"), _CONVERSION])

    def convert(out: Path) -> None:
        from harness.models.gguf import convert_gguf

        convert_gguf(file, out)

    directory = artifacts.make_once(artifacts.cache_directory() / f"{file.stem}-{key}", convert)
    return ModelPath(str(directory), f"{file.name}@{content[:16]}")


def has_weights(path: ModelPath) -> bool:
    """Whether all of a model's weights lie in its directory."""
    return any(Path(path).glob("*.safetensors")) and not missing_shards(Path(path))


def _locate_base(adapter: ModelPath, *, weights: bool = True) -> ModelPath:
    """The model that an adapter was trained on, as its configuration names it: on the hub, at one commit.

    Raises HarnessError where it names none, or what it names cannot be had.
    """
    told = artifacts.read_json(Path(adapter) / ADAPTER_CONFIG)
    base, revision = (told.get(key) if isinstance(told, dict) else None for key in (_BASE_KEY, "revision"))
    hint = f"Put the base's directory or hub id into its {ADAPTER_CONFIG}, as {_BASE_KEY}; or {MERGE_HINT}"
    if not isinstance(base, str) or not base:
        raise HarnessError("is an adapter that does not name its base model", place=str(adapter), hint=hint)
    try:
        if hub.is_on_hub(base):
            base = hub.pin_to_commit(f"{base}@{revision}" if isinstance(revision, str) else base, "model")
        found = locate_model(base, weights=weights)
        refuse_adapter(found)
    except HarnessError as error:
        cause = f"is an adapter of {base}, which cannot be used ({error.cause})"
        raise HarnessError(cause, place=str(adapter), hint=hint) from error
    return found


def base_of(path: ModelPath, *, weights: bool = True) -> ModelPath:
    """Where a model's configuration and weights lie: its own directory, or that of an adapter's base."""
    return _locate_base(path, weights=weights) if is_adapter(Path(path)) else path


def refuse_adapter(path: ModelPath) -> None:
    """Raises HarnessError, saying how to merge it, where a model is an adapter and a whole one is needed."""
    if is_adapter(Path(path)):
        hint = MERGE_HINT[0].upper() + MERGE_HINT[1:]
        raise HarnessError("is a PEFT adapter, and a whole model is needed", place=str(path), hint=hint)
