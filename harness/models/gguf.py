"""GGUF files as checkpoints: read once, their quantized weights widened to float32, and kept."""

from __future__ import annotations

import re
import tempfile
from importlib import util
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from harness.models.intact import refuse_misfits
from harness.support import artifacts, console
from harness.support.errors import HarnessError
from harness.support.versions import install_hint

_PART = re.compile(r"-\d+-of-\d+\.gguf$")
_ORIGINAL = "Give a checkpoint directory or a hub id of the same model."
_ROTARY_SCALES = "rope_freqs.weight"
_ROTARY_TYPE = ".rope.scaling.type"
"""The tensor is in files of Llama 3.1 and later, the key in those of YaRN: without them the model is another one."""
_SCALING_READ = "gpt-oss."
_INSTALL = f"{install_hint('gguf')}, or pip install gguf."


def convert_gguf(file: Path, out: Path) -> None:
    """Writes a GGUF file's model and tokenizer as a checkpoint directory, weights in float32.

    Args:
        file: the GGUF file of a causal language model.
        out: the directory, which is whole or not there.

    Raises HarnessError where the file is one part of several, or transformers cannot read it.
    """
    if _PART.search(file.name):
        hint = "Join the parts first, as with llama.cpp's `llama-gguf-split --merge`, and give the whole file."
        raise HarnessError("is one part of a GGUF file", place=str(file), hint=hint)
    if util.find_spec("gguf") is None:
        raise HarnessError("is a GGUF file, and the package gguf is not installed", place=str(file), hint=_INSTALL)
    console.print_note(f"Widening {file.name} to float32, once; its weights stay as coarse as their quantization")
    with artifacts.atomic_directory(out) as temporary:
        try:
            model, tokenizer = _read_gguf(file)
        except HarnessError:
            raise
        except Exception as error:  # transformers and gguf raise dozens of kinds here
            said = console.safe_line(f"{type(error).__name__}: {error}", 160)
            raise HarnessError(
                f"cannot be read as a language model ({said})", place=str(file), hint=_ORIGINAL
            ) from error
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def _read_gguf(file: Path) -> tuple[PreTrainedModel, Any]:
    """The model as one that never was quantized: transformers marks what it widened, and refuses to save it.

    It reads a folder, and goes by what else lies there (an adapter's, another tokenizer's files): it is given one that
    holds this file alone.
    """
    _refuse_unread_scaling(file)
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / file.name).symlink_to(file.absolute())
        where: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
        widened, told = AutoModelForCausalLM.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, **where
        )
        tokenizer = AutoTokenizer.from_pretrained(place, **where)
    refuse_misfits(widened, told, str(file))
    said = {key: value for key, value in widened.config.to_dict().items() if key != "quantization_config"}
    model = type(widened)(type(widened.config).from_dict(said))
    model.load_state_dict(widened.state_dict())
    model.generation_config = widened.generation_config
    return model, tokenizer


def _refuse_unread_scaling(file: Path) -> None:
    """Raises HarnessError where rotary frequencies are scaled in a way that transformers passes over without a word."""
    from gguf import GGUFReader

    reader = GGUFReader(str(file))
    names = [tensor.name for tensor in reader.tensors if tensor.name == _ROTARY_SCALES]
    names += [
        name
        for name, field in reader.fields.items()
        if name.endswith(_ROTARY_TYPE) and not name.startswith(_SCALING_READ) and field.contents() != "none"
    ]
    if names:
        cause = f"scales its rotary frequencies ({names[0]}), which transformers does not read"
        raise HarnessError(cause, place=str(file), hint=_ORIGINAL)
