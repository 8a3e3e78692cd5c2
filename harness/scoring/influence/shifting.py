"""A model whose weights are moved a little along a direction and come back as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn import Parameter
    from transformers import PreTrainedModel


Gradient = Mapping[str, Tensor]
"""By parameter."""


@dataclass(frozen=True, slots=True)
class Direction:
    """The gradient of a target by one half of what it is measured on, and the length of a step along it."""

    gradient: Gradient
    step: float


def difference_quotients(
    weights: Mapping[str, Parameter], direction: Direction, measure: Callable[[], Mapping[int, float]]
) -> dict[int, float]:
    """The derivative of what `measure` gives along a direction, by central differences; the weights come back.

    Args:
        weights: the parameters that move.
        direction: along which, and how far.
        measure: called with the weights moved forth, then back; figures by the same keys each time.
    """
    # On the host, as the gradients are: a GPU holds the weights alone.
    kept = {name: weights[name].detach().to("cpu", copy=True) for name in direction.gradient}
    found = []
    try:
        for sign in (1.0, -1.0):
            for name, original in kept.items():
                _set_weight(weights[name], original)
                _move_weight(weights[name], direction.gradient[name], sign * direction.step)
            found.append(measure())
    finally:
        for name, original in kept.items():
            _set_weight(weights[name], original)
    forth, back = found
    return {key: (forth[key] - back[key]) / (2 * direction.step) for key in forth if key in back}


def _set_weight(weight: Parameter, value: Tensor) -> None:
    with torch.no_grad():
        weight.copy_(value)


def _move_weight(weight: Parameter, gradient: Tensor, step: float) -> None:
    with torch.no_grad():
        weight.add_(gradient.to(weight.device), alpha=step)


@contextmanager
def in_float32(model: PreTrainedModel) -> Iterator[None]:
    """In the block, weights of half precision are in float32, where a small step is not rounded away.

    Afterwards they are the same bits as before, as every half is a float32, and have the gradients that they had.
    """
    halves = [
        (each, each.dtype, each.grad) for each in model.parameters() if each.dtype in (torch.float16, torch.bfloat16)
    ]
    try:
        for each, _, _ in halves:
            each.grad, each.data = None, each.data.float()
        yield
    finally:
        for each, dtype, gradient in halves:
            each.grad, each.data = None, each.data.to(dtype)
            each.grad = gradient
