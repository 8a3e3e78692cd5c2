"""Directions: the gradients of the targets at the weights as they are, and how far to step along them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.models.loading import evaluation_mode
from harness.preferences.tokens import Tokens
from harness.scoring.ches import sum_dtype
from harness.scoring.influence.credit import HALVES, WeightedAnswer, weigh_preferred, weigh_probes
from harness.scoring.influence.shifting import Direction, Gradient, difference_quotients
from harness.scoring.influence.subspace import Subspace, weights_in_play
from harness.scoring.packing import Pass, choose_pass, decoder_body
from harness.scoring.probes import Probes
from harness.scoring.targets import TARGET_NAMES, Target
from harness.scoring.unembedding import token_logprobs
from harness.support.console import progress_bar
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from torch.nn import Parameter
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


FloatArray = NDArray[np.float64]

Keep = Callable[[str, Gradient], Gradient]
"""Puts a gradient, under a name, where it takes no memory, and gives it back from there."""

CPU_GRADIENT_TOKENS, DEVICE_GRADIENT_TOKENS = 1024, 8192
"""Tokens of one backward pass, on a CPU and elsewhere: all of its activations are kept."""
_PILOT_ANSWERS = 16
"""Answers that steps are tried on, at most."""
_LONGEST_STEP, _MOST_CUTS = 1 / 16, 10
"""The longest step, relative to the weights, and how often it is cut to a quarter, at most."""
_GOOD_STEP = 3e-4
"""How much two steps, one a quarter of the other, may differ in what they say where none better is looked for."""
_WORST_STEP = 0.02
"""Beyond, no step is good."""


@dataclass(frozen=True, slots=True)
class Directions:
    """Both halves' directions of each target, and the subspace that they lie in (None: all weights)."""

    by_target: Mapping[Target, Sequence[Direction]]
    subspace: Subspace | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """The targets, in their order."""
        return tuple(self.by_target)

    @property
    def passes(self) -> int:
        """Forward passes over the table that they take."""
        return 3 * len(self.by_target)


def gradient_name(target: Target, half: int) -> str:
    """Under which name the gradient of one half is kept."""
    return f"{target}-{half}"


def _leave_in_memory(_name: str, gradient: Gradient) -> Gradient:
    return gradient


def find_direction(
    model: PreTrainedModel,
    answers: Sequence[WeightedAnswer],
    temperature: float,
    target: Target,
    subspace: Subspace | None = None,
    keep: Keep = _leave_in_memory,
) -> list[Direction]:
    """The gradient of the weighted sum of ln p over the tokens of each half of the answers, and the step along it.

    Args:
        model: a causal language model in float32 or wider; left as it was.
        answers: with weights (`harness.scoring.influence.credit`).
        temperature: at which ln p is taken.
        target: which one this is.
        subspace: of the weights.
        keep: where each half's gradient goes before the next is taken.

    Raises HarnessError where a half has no gradient, or the target bends so much that no step is good.
    """
    run, label = _WeightedPass(model, temperature), TARGET_NAMES[target]
    parts = [[each for each in answers if each.half == half] for half in range(HALVES)]
    if not all(parts):
        raise _no_gradient(label)
    with evaluation_mode(model), weights_in_play(model, subspace) as weights:
        found: list[Direction] = []
        length = 0.0
        with progress_bar(f"Gradient of the {label}", len(answers), "answers") as advance:
            for half, own in enumerate(parts):
                gradient = _take_gradient(run, weights, own, advance)
                size = _norm(gradient.values())
                if not (0 < size < math.inf):
                    raise _no_gradient(label)
                length = length or _choose_length(run, weights, gradient, parts[1 - half], label)
                found.append(Direction(keep(gradient_name(target, half), gradient), length / size))
                del gradient
        return found


class FlatTargetError(HarnessError):
    """A target without a gradient: nothing in what it is measured on tells which way it lies."""


def _no_gradient(label: str) -> HarnessError:
    hint = "Draw more answers a prompt (--probe-samples, in a recipe probes.samples), or probe with more prompts."
    return FlatTargetError("all probe answers are judged alike, so the rate has no gradient", place=label, hint=hint)


def build_directions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: Probes,
    targets: Sequence[Target],
    pairs: Sequence[Tokens] = (),
    subspace: Subspace | None = None,
    keep: Keep = _leave_in_memory,
) -> Directions:
    """The directions of the targets from probe answers; for `preferred`, from the table's own pairs.

    Args:
        model: a causal language model in float32 or wider; left as it was.
        tokenizer: its tokenizer.
        probes: what the model answered.
        targets: at least one.
        pairs: of the table, for `preferred`.
        subspace: of the weights.
        keep: where each gradient goes before the next is taken; without it all stay in memory.

    Raises HarnessError where a target has no gradient, or the weights are of half precision.
    """
    if any(each.dtype in (torch.float16, torch.bfloat16) for each in model.parameters()):
        hint = "Load the model with dtype=torch.float32."
        raise HarnessError("small steps are rounded away in half precision", place="influence", hint=hint)
    # All are weighed before any gradient is taken, which is what takes time.
    weighed = {
        target: weigh_preferred(pairs) if target == "preferred" else weigh_probes(probes, target, tokenizer)
        for target in targets
    }
    found: dict[Target, Sequence[Direction]] = {}
    for target, answers in weighed.items():
        temperature = 1.0 if target == "preferred" else probes.temperature
        found[target] = find_direction(model, answers, temperature, target, subspace, keep)
    return Directions(found, subspace)


class _WeightedPass:
    """Runs answers through a model: the weighted sum of ln p of their tokens, each answer's its own."""

    def __init__(self, model: PreTrainedModel, temperature: float) -> None:
        self.model, self.body, self.temperature = model, decoder_body(model), temperature
        with evaluation_mode(model):
            self._pass: Pass = choose_pass(self.body)
        self.budget = CPU_GRADIENT_TOKENS if self.body.device.type == "cpu" else DEVICE_GRADIENT_TOKENS

    def packs(self, answers: Sequence[WeightedAnswer]) -> Iterator[list[WeightedAnswer]]:
        """Answers that begin alike together, at most `budget` tokens (or one answer) in a pack."""
        pack: list[WeightedAnswer] = []
        used = 0
        for each in sorted(answers, key=lambda each: each.prompt + each.answer):
            size = len(each.prompt) + len(each.answer)
            if pack and used + size > self.budget:
                yield pack
                pack, used = [], 0
            pack.append(each)
            used += size
        if pack:
            yield pack

    def __call__(self, pack: Sequence[WeightedAnswer]) -> Tensor:
        """Each answer's weighted sum [n], in float64 where the device has it."""
        sequences = [each.prompt + each.answer for each in pack]
        hidden, paths = self._pass(self.body, sequences)
        places = [paths[ids][len(each.prompt) - 1 : -1] for ids, each in zip(sequences, pack, strict=True)]
        tokens = torch.tensor([token for each in pack for token in each.answer], device=hidden.device)
        kind = sum_dtype(hidden.device)
        weights = torch.tensor([w for each in pack for w in each.weights], dtype=kind, device=hidden.device)
        logprobs = token_logprobs(self.model, hidden[torch.cat(places).to(hidden.device)], tokens, self.temperature)
        lengths = [len(each.answer) for each in pack]
        weighted = logprobs.to(kind) * weights.to(logprobs.device)
        return torch.stack([part.sum() for part in torch.split(weighted, lengths)])


def _take_gradient(
    run: _WeightedPass,
    weights: Mapping[str, Parameter],
    answers: Sequence[WeightedAnswer],
    advance: Callable[..., None],
) -> dict[str, Tensor]:
    """The gradient of the sum over the answers; the parameters' own gradients come back."""
    kept = {name: each.grad for name, each in weights.items()}
    try:
        for each in weights.values():
            each.grad = None
        for pack in run.packs(answers):
            with torch.enable_grad():
                run(pack).sum().backward()  # type: ignore[no-untyped-call]
            advance(len(pack))
        return {name: each.grad.detach().cpu() for name, each in weights.items() if each.grad is not None}
    except torch.OutOfMemoryError as error:
        hint = "Give --subspace lora:8 or last:4, whose gradient is small."
        raise HarnessError("the device's memory does not hold the model's gradient", hint=hint) from error
    finally:
        for name, each in weights.items():
            each.grad = kept[name]


def _choose_length(
    run: _WeightedPass,
    weights: Mapping[str, Parameter],
    gradient: Gradient,
    answers: Sequence[WeightedAnswer],
    label: str,
) -> float:
    """How far to move: between the two lengths, one four times the other, whose difference quotients differ least.

    They are of ln p of a few `answers` that are not in the gradient, as the pairs are not: ln p of those that are moves
    more, and bends sooner. The first length would move the target by one, to first order, which a model of any size
    feels; a flat target's is bounded by the weights. A longer move bends, by the square of its length, and a shorter
    one drowns in rounding, so that the best lies between two that agree.
    """
    pilot = answers[:: -(-len(answers) // _PILOT_ANSWERS)]
    plain = [WeightedAnswer(each.prompt, each.answer, (1.0,) * len(each.answer), 0) for each in pilot]
    size = _norm(gradient.values())

    def measure() -> dict[int, float]:
        return dict(enumerate(torch.cat([run(pack) for pack in run.packs(plain)]).tolist()))

    def take_quotients(length: float) -> FloatArray:
        return np.array([*difference_quotients(weights, Direction(gradient, length / size), measure).values()])

    longest = min(1 / size, _LONGEST_STEP * _norm(run.model.parameters()))
    lengths = [longest * 4.0**-cuts for cuts in range(_MOST_CUTS + 1)]
    before, best, chosen = take_quotients(lengths[0]), math.inf, 0.0
    for length in lengths[1:]:
        now = take_quotients(length)
        error = _relative_difference(before, now)
        if error >= best and best <= _WORST_STEP:
            break
        if error < best:
            best, chosen = error, length
        if best <= _GOOD_STEP:
            break
        before = now
    if best > _WORST_STEP:
        raise HarnessError(
            f"no step along the gradient of the {label} is good: the best is off by {best:.0%}",
            hint="The weights must be in float32 or wider, and the answers not certain.",
        )
    return 2 * chosen


def _relative_difference(one: FloatArray, other: FloatArray) -> float:
    size = float(np.linalg.norm(other))
    error = float(np.linalg.norm(one - other)) / size if size else math.inf
    return error if math.isfinite(error) else math.inf


def _norm(parts: Iterable[Tensor]) -> float:
    return math.sqrt(sum(float(part.detach().to(sum_dtype(part.device)).pow(2).sum()) for part in parts))
