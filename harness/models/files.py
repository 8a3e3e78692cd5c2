"""What lies in a model's directory, told from the beginnings of its files; nothing of it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.support import artifacts
from harness.support.errors import HarnessError
from harness.support.hub import MODEL_FILE, MODEL_FILES

ADAPTER_CONFIG = "adapter_config.json"
WEIGHTS_INDEX = "model.safetensors.index.json"
_LFS_POINTER = b"version https://git-lfs"
_PAGE_STARTS = (b"<!doctype", b"<html")
_LONGEST_HEADER = 100_000_000
"""Bytes; what the safetensors library takes."""
_FETCH_AGAIN = "Fetch it again: with `hf download`, or `git lfs pull` in a clone."
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")


def is_adapter(directory: Path) -> bool:
    """Whether a directory holds a PEFT adapter, which transformers would load on the base that it names."""
    return (directory / ADAPTER_CONFIG).is_file()


def is_gguf(path: Path) -> bool:
    """Whether a path is a GGUF file, by its name."""
    return path.suffix.lower() == MODEL_FILE and path.is_file()


def check_model_files(directory: Path, *, weights: bool = True) -> None:
    """Raises HarnessError naming the file where a model's directory lacks one, or holds one that is not whole.

    Args:
        directory: a checkpoint directory, or an adapter's.
        weights: whether its weights have to be there.

    Told from names, sizes and first bytes: what Git LFS or a server put in a file's place, weights that are cut off,
    shards that the index names and that are absent.
    """
    if not (directory / "config.json").is_file() and not is_adapter(directory):
        raise _no_model_error(directory)
    if is_adapter(directory) and any(directory.glob("model*.safetensors")):
        hint = "Put the adapter into a directory of its own."
        raise HarnessError("holds a whole model and an adapter beside it", place=str(directory), hint=hint)
    for file in sorted({file for pattern in MODEL_FILES for file in directory.glob(pattern) if file.is_file()}):
        _check_beginning(file)
        if file.suffix == ".safetensors":
            _check_safetensors(file)
    if weights:
        _check_weights_present(directory)


def refuse_no_directory(path: str) -> None:
    """Raises HarnessError where a model's path is no directory; of a file, it says what to give in its place."""
    place = Path(path)
    if place.is_file():
        raise HarnessError("is a file", place=path, hint="Give the checkpoint directory that it lies in.")
    if place.suffix.lower() == MODEL_FILE and not place.exists():
        raise HarnessError(
            "no such GGUF file", place=path, hint="Give a file that is there, or a checkpoint directory."
        )
    if not place.is_dir():
        raise HarnessError("no such model directory", place=path, hint="Give a checkpoint directory or a hub id.")


def missing_shards(directory: Path) -> list[str]:
    """The files that a directory's index names and that are not there."""
    index = directory / WEIGHTS_INDEX
    if not index.is_file():
        return []
    named = artifacts.read_json(index)
    shards = named.get("weight_map") if isinstance(named, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise HarnessError("has no weight_map of file names", place=str(index), hint=_FETCH_AGAIN)
    return sorted(name for name in {*shards.values()} if not (directory / name).is_file())


def _check_beginning(file: Path) -> None:
    """Raises HarnessError where a file is a stand-in for itself."""
    with file.open("rb") as stream:
        start = stream.read(64).lstrip().lower()
    if start.startswith(_LFS_POINTER):
        raise HarnessError("is a Git LFS pointer, not the file itself", place=str(file), hint=_FETCH_AGAIN)
    if file.suffix in {".safetensors", ".json"}:
        if not start:
            raise HarnessError("is empty", place=str(file), hint=_FETCH_AGAIN)
        if start.startswith(_PAGE_STARTS):
            raise HarnessError("is a web page, not the file itself", place=str(file), hint=_FETCH_AGAIN)


def _check_safetensors(file: Path) -> None:
    """Raises HarnessError where a file of weights is not as long as its header says, or has none."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > _LONGEST_HEADER:
            raise HarnessError("is no safetensors file", place=str(file), hint=_FETCH_AGAIN)
        header = stream.read(length)
    needed = 8 + length if len(header) < length else 8 + length + _data_length(header, file)
    if size < needed:
        cause = f"is cut off: it has {size} bytes of {needed} at least"
        raise HarnessError(cause, place=str(file), hint=_FETCH_AGAIN)
    if size > needed:
        cause = f"is damaged: it has {size} bytes, and its header tells of {needed}"
        raise HarnessError(cause, place=str(file), hint=_FETCH_AGAIN)


def _data_length(header: bytes, file: Path) -> int:
    """Bytes of the tensors behind a header."""
    try:
        told: dict[str, Any] = json.loads(header)
        return max((int(part["data_offsets"][1]) for name, part in told.items() if name != "__metadata__"), default=0)
    except (ValueError, AttributeError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise HarnessError("is no safetensors file", place=str(file), hint=_FETCH_AGAIN) from error


def _check_weights_present(directory: Path) -> None:
    if absent := missing_shards(directory):
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        cause = f"names weights that are not there: {absent[0]}{more}"
        raise HarnessError(cause, place=str(directory / WEIGHTS_INDEX), hint=_FETCH_AGAIN)
    if any(directory.glob("*.safetensors")):
        return
    if gguf := next(directory.glob("*.gguf"), None):
        raise _gguf_error(gguf)
    pickled = next((file for file in sorted(directory.iterdir()) if file.suffix in _PICKLED), None)
    if pickled is None:
        hint = "Give a directory written by save_pretrained, or a hub id."
        raise HarnessError("holds no .safetensors weights", place=str(directory), hint=hint)
    raise HarnessError(
        f"holds no .safetensors weights, and {pickled.name} is not read: pickled weights can run code",
        place=str(directory),
        hint="If you trust it: AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW), the same with "
        "AutoTokenizer, and give NEW.",
    )


def _no_model_error(directory: Path) -> HarnessError:
    if gguf := next(directory.glob("*.gguf"), None):
        return _gguf_error(gguf)
    hint = "Give a directory written by save_pretrained, or a hub id."
    return HarnessError("holds no config.json", place=str(directory), hint=hint)


def _gguf_error(file: Path) -> HarnessError:
    cause = f"holds no checkpoint but a GGUF file, {file.name}"
    return HarnessError(cause, place=str(file.parent), hint=f"Give the file itself: {file}")
