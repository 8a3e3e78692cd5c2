"""A model whose weights are moved a little along a direction and come back as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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


Measure = Callable[[], Mapping[int, float]]
"""Figures under the weights as they stand, by the same keys each time."""


def difference_quotients(weights: Mapping[str, Parameter], direction: Direction, measure: Measure) -> dict[int, float]:
    """The derivative of what `measure` gives along a direction, by central differences; the weights come back.

    Args:
        weights: the parameters that move.
        direction: along which, and how far.
        measure: called with the weights moved forth, then back.
    """
    gradient, step = direction.gradient, direction.step
    forth, back = _measure_moved(weights, [[(gradient, step)], [(gradient, -step)]], measure)
    return {key: (forth[key] - back[key]) / (2 * step) for key in forth if key in back}


def quotients_of_halves(
    weights: Mapping[str, Parameter], halves: Sequence[Direction], measure: Measure
) -> dict[int, tuple[float, float]]:
    """The derivatives along two directions, from three measures in place of four; the weights come back.

    Their mean is taken by central differences along the sum. How far either is from it, which says no more than how
    sure the mean is, is taken along the difference of the two by one measure, beside the mean of those along the
    sum: off by as much as what is measured bends, some thousandths.
    """
    one, other = (each.gradient for each in halves)
    # The moves along sum and difference are no longer than along either: at most as far as each alone would go.
    step = 1 / sum(1 / each.step for each in halves)
    moves = [[(one, step), (other, step)], [(one, -step), (other, -step)], [(one, step), (other, -step)]]
    forth, back, aside = _measure_moved(weights, moves, measure)
    found = {}
    for key in forth.keys() & back.keys() & aside.keys():
        mean = (forth[key] - back[key]) / (4 * step)
        apart = (aside[key] - (forth[key] + back[key]) / 2) / (2 * step)
        found[key] = (mean + apart, mean - apart)
    return found


def _measure_moved(
    weights: Mapping[str, Parameter], moves: Sequence[Sequence[tuple[Gradient, float]]], measure: Measure
) -> list[Mapping[int, float]]:
    """What `measure` gives after each of the moves from the weights as they are, each along gradients by steps."""
    names = dict.fromkeys(name for gradient, _ in moves[0] for name in gradient)
    # On the host, as the gradients are: a GPU holds the weights alone.
    kept = {name: weights[name].detach().to("cpu", copy=True) for name in names}
    found = []
    try:
        for move in moves:
            for name, original in kept.items():
                _set_weight(weights[name], original)
                for gradient, step in move:
                    if name in gradient:
                        _move_weight(weights[name], gradient[name], step)
            found.append(measure())
    finally:
        for name, original in kept.items():
            _set_weight(weights[name], original)
    return found


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
