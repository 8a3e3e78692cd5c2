"""Which model: the directory that holds it, or a hub id; nothing of it is loaded here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.support import artifacts, hub
from harness.support.errors import HarnessError


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


def has_weights(path: ModelPath) -> bool:
    """Whether all of a model's weights lie in its directory."""
    index = Path(path) / "model.safetensors.index.json"
    if not index.is_file():
        return any(Path(path).glob("*.safetensors"))
    return all((Path(path) / shard).is_file() for shard in artifacts.read_json(index)["weight_map"].values())
