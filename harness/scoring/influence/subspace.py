"""Which weights influence is computed over: all, those of the last layers, or low-rank adapters beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from harness.scoring.packing import decoder_body
from harness.scoring.targets import check_subspace
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from torch.nn import Parameter
    from transformers import PreTrainedModel


_ADAPTER = "influence"
_SEED = 0


@dataclass(frozen=True, slots=True)
class Subspace:
    """`lora` with a rank (Hu et al. 2021): adapters on all linear layers, as at their start; `last`: so many layers."""

    kind: Literal["lora", "last"]
    size: int

    @classmethod
    def parse(cls, text: str) -> Subspace:
        """From `lora:R` or `last:K`. Raises HarnessError where it is neither."""
        kind, size = check_subspace(text)
        return cls("lora" if kind == "lora" else "last", size)

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.kind}:{self.size}"


@contextmanager
def weights_in_play(model: PreTrainedModel, subspace: Subspace | None) -> Iterator[dict[str, Parameter]]:
    """In the block, the parameters of a subspace by their names, they alone taking gradients; adapters go with it.

    Raises HarnessError where the model has too few layers, or weights that are not in memory.
    """
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    if any(parameter.is_meta for parameter in model.parameters()):
        raise HarnessError(
            "weights that are not in memory have no gradient", hint="Use a machine that holds the model."
        )
    with _adapters(model, subspace.size) if subspace and subspace.kind == "lora" else _nothing():
        chosen = _choose_parameters(model, subspace)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in chosen)
        try:
            yield chosen
        finally:
            for parameter, taken in before:
                parameter.requires_grad_(taken)


def _choose_parameters(model: PreTrainedModel, subspace: Subspace | None) -> dict[str, Parameter]:
    every = {name: each for name, each in model.named_parameters() if each.is_floating_point()}
    if subspace is None:
        return every
    if subspace.kind == "lora":
        return {name: each for name, each in every.items() if f"lora_B.{_ADAPTER}" in name}
    check_layers(model, subspace)
    layers = _decoder_layers(model)
    own = {id(each) for layer in layers[-subspace.size :] for each in layer.parameters()}
    return {name: each for name, each in every.items() if id(each) in own}


def check_layers(model: PreTrainedModel, subspace: Subspace | None) -> None:
    """Raises HarnessError where the model has fewer layers than the subspace."""
    if subspace is None or subspace.kind == "lora":
        return
    layers = len(_decoder_layers(model))
    if subspace.size > layers:
        hint = f"The model has {layers}."
        raise HarnessError(f"{subspace.size} layers are too many", place="--subspace", hint=hint)


def _decoder_layers(model: PreTrainedModel) -> list[torch.nn.Module]:
    lists = [part for part in decoder_body(model).modules() if isinstance(part, torch.nn.ModuleList)]
    return list(max(lists, key=len, default=()))


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _adapters(model: PreTrainedModel, rank: int) -> Iterator[None]:
    """LoRA's adapters as a training begins with them (B = 0): the model computes what it did. Gone afterwards."""
    from peft import LoraConfig
    from peft.tuners.lora import LoraModel

    config = LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        adapted = LoraModel(model, config, _ADAPTER)
    try:
        yield
    finally:
        adapted.unload()
