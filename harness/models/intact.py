"""Weights as they were saved: what transformers would fill with random numbers, or leave out, is refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers.utils import logging

from harness.models.paths import ModelPath, base_of
from harness.support.console import print_note, safe_line
from harness.support.errors import HarnessError

_MISFITS = {
    "missing_keys": "its weights lack what its configuration asks for:",
    "mismatched_keys": "its weights have another size than its configuration says:",
    "unexpected_keys": "its configuration has no place for weights that are there:",
}
"""What transformers tells beside a model, and how it is said here."""
_NOT_AS_SAVED = "It would not be the model that was trained: fetch or save it again, weights and configuration."


def load_weights(kind: Any, path: ModelPath, *, finite: bool = True, **options: Any) -> Any:
    """A model from safetensors, with all of its weights and no others.

    Args:
        kind: a class with `from_pretrained` of transformers.
        path: where it lies; a PEFT adapter is loaded on its base, as weights beside the base's own.
        finite: whether every weight must be a finite number; processes that train together may not hold theirs yet.
        options: further arguments of `from_pretrained`.

    Raises HarnessError where weights and configuration do not fit each other or weights are no numbers, and what
    transformers raises where it cannot load them.
    """
    base = base_of(path)
    # Pickled weights can run code when they are loaded.
    strict = {"use_safetensors": True, "ignore_mismatched_sizes": True}
    with _quiet_report():
        model, told = kind.from_pretrained(
            base.directory, output_loading_info=True, **strict, **base.loading_options, **options
        )
        refuse_misfits(model, told, str(base))
        if base != path:
            refuse_misfits(model, model.load_adapter(path.directory, **strict).to_dict(), str(path))
    if finite:
        _refuse_not_finite(model, str(path))
    return model


def refuse_misfits(model: torch.nn.Module, told: Mapping[str, Collection[Any]], place: str) -> None:
    """Raises HarnessError, found in `place`, where weights and configuration do not fit each other.

    Args:
        model: what was loaded.
        told: what `from_pretrained(..., output_loading_info=True)` gives beside it. Tied weights that are stored once,
            and what the model's class says it can do without, are not among the missing there.
        place: the model's.

    Weights of a part that the model does not have at all, as an image encoder's, are left out with a note.
    """
    found = {
        key: sorted(each[0] if isinstance(each, tuple) else each for each in told.get(key, ())) for key in _MISFITS
    }
    foreign = [name for name in found["unexpected_keys"] if not _is_of_own_part(model, name)]
    for key, said in _MISFITS.items():
        if names := [name for name in found[key] if name not in foreign]:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise HarnessError(f"{said} {safe_line(names[0], 120)}{more}", place=place, hint=_NOT_AS_SAVED)
    if foreign:
        print_note(f"{place}: left out {len(foreign)} weights of parts that the model does not have, as {foreign[0]}")


def _is_of_own_part(model: torch.nn.Module, name: str) -> bool:
    """Whether a weight is of a part that the model has: of its layers, say, though of one too many."""
    before_number = re.split(r"\.\d+(?:\.|$)", name, maxsplit=1)[0]
    part = before_number if before_number != name else name.rpartition(".")[0]
    return part != getattr(model, "base_model_prefix", "") and part in dict(model.named_modules())


def _refuse_not_finite(model: torch.nn.Module, place: str) -> None:
    """Raises HarnessError, found in `place`, where weights are infinite or not numbers."""
    for name, part in model.named_parameters():
        if part.is_meta or part.dtype not in _FLOATS or not part.numel():
            continue
        if not all(map(torch.isfinite, torch.aminmax(part.detach()))):  # both are NaN where one number is
            hint = "Its training diverged, or the file is damaged: save or fetch it again."
            raise HarnessError(f"holds numbers that are not finite in {name}", place=place, hint=hint)


_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


@contextmanager
def _quiet_report() -> Iterator[None]:
    """Without transformers' own table of what did not fit: it is told in a line here."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
