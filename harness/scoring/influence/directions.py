"""Directions: the gradients of the targets at the weights as they are, and how far to step along them."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.models.loading import evaluation_mode
from harness.preferences.tokens import Tokens
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

_TOLD = "directions"
CPU_GRADIENT_TOKENS, DEVICE_GRADIENT_TOKENS = 1024, 8192
"""Tokens of one backward pass, on a CPU and elsewhere: all of its activations are kept."""
_PILOT_ANSWERS = 16
_RELATIVE_STEPS = tuple(4.0**-k for k in range(2, 10))
"""Lengths of a step, relative to the weights', among which the best is chosen."""
_WORST_STEP = 0.02
"""How much two steps, one a quarter of the other, may differ in what they say; beyond, no step is good."""


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
        return 2 * sum(map(len, self.by_target.values()))

    def to_bytes(self) -> bytes:
        """As one safetensors file, for workers and for a run that goes on."""
        tensors = {
            f"{target}/{half}/{name}": part.contiguous().cpu()
            for target, halves in self.by_target.items()
            for half, each in enumerate(halves)
            for name, part in each.gradient.items()
        }
        steps = {target: [each.step for each in halves] for target, halves in self.by_target.items()}
        told = {"steps": steps, "subspace": str(self.subspace) if self.subspace else None}
        return safetensors.torch.save(tensors, {_TOLD: json.dumps(told)})

    @classmethod
    def from_bytes(cls, content: bytes) -> Directions:
        """From what `to_bytes` made."""
        size = int.from_bytes(content[:8], "little")
        told = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][_TOLD])
        gradients: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for key, part in safetensors.torch.load(content).items():
            target, half, name = key.split("/", 2)
            gradients[f"{target}/{half}"][name] = part
        by_target = {
            target: [Direction(gradients[f"{target}/{half}"], step) for half, step in enumerate(steps)]
            for target, steps in told["steps"].items()
        }
        return cls(by_target, Subspace.parse(told["subspace"]) if told["subspace"] else None)


def find_direction(
    model: PreTrainedModel,
    answers: Sequence[WeightedAnswer],
    temperature: float,
    label: str,
    subspace: Subspace | None = None,
) -> list[Direction]:
    """The gradient of the weighted sum of ln p over the tokens of each half of the answers, and the step along it.

    Args:
        model: a causal language model in float32 or wider; left as it was.
        answers: with weights (`harness.scoring.influence.credit`).
        temperature: at which ln p is taken.
        label: what the bar calls the target.
        subspace: of the weights.

    Raises HarnessError where a half has no gradient, or the target bends so much that no step is good.
    """
    run = _WeightedPass(model, temperature)
    with evaluation_mode(model), weights_in_play(model, subspace) as weights:
        found = []
        with progress_bar(f"Gradient of the {label}", len(answers), "answers") as advance:
            for half in range(HALVES):
                own = [each for each in answers if each.half == half]
                gradient = _take_gradient(run, weights, own, advance)
                if not (0 < _norm(gradient.values()) < math.inf):
                    raise _no_gradient(label)
                found.append(gradient)
        pilot = answers[:: max(1, len(answers) // _PILOT_ANSWERS)]
        length = _choose_length(run, weights, found[0], pilot, label)
        return [Direction(each, length / _norm(each.values())) for each in found]


def _no_gradient(label: str) -> HarnessError:
    hint = "Draw more answers a prompt (--probe-samples), or probe with more prompts."
    return HarnessError("all probe answers are judged alike, so the rate has no gradient", place=label, hint=hint)


def build_directions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: Probes,
    targets: Sequence[Target],
    pairs: Sequence[Tokens] = (),
    subspace: Subspace | None = None,
) -> Directions:
    """The directions of the targets from probe answers; for `preferred`, from the table's own pairs.

    Args:
        model: a causal language model in float32 or wider; left as it was.
        tokenizer: its tokenizer.
        probes: what the model answered.
        targets: at least one.
        pairs: of the table, for `preferred`.
        subspace: of the weights.

    Raises HarnessError where a target has no gradient, or the weights are of half precision.
    """
    if any(each.dtype in (torch.float16, torch.bfloat16) for each in model.parameters()):
        hint = "Load the model with dtype=torch.float32."
        raise HarnessError("small steps are rounded away in half precision", place="influence", hint=hint)
    found: dict[Target, Sequence[Direction]] = {}
    for target in targets:
        own = target == "preferred"
        answers = weigh_preferred(pairs) if own else weigh_probes(probes, target, tokenizer)
        temperature = 1.0 if own else probes.temperature
        found[target] = find_direction(model, answers, temperature, TARGET_NAMES[target], subspace)
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
        """Each answer's weighted sum [n], in float64."""
        sequences = [each.prompt + each.answer for each in pack]
        hidden, paths = self._pass(self.body, sequences)
        places = [paths[ids][len(each.prompt) - 1 : -1] for ids, each in zip(sequences, pack, strict=True)]
        tokens = torch.tensor([token for each in pack for token in each.answer], device=hidden.device)
        weights = torch.tensor([w for each in pack for w in each.weights], dtype=torch.float64)
        logprobs = token_logprobs(self.model, hidden[torch.cat(places).to(hidden.device)], tokens, self.temperature)
        lengths = [len(each.answer) for each in pack]
        weighted = logprobs.double() * weights.to(logprobs.device)
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
    finally:
        for name, each in weights.items():
            each.grad = kept[name]


def _choose_length(
    run: _WeightedPass,
    weights: Mapping[str, Parameter],
    gradient: Gradient,
    pilot: Sequence[WeightedAnswer],
    label: str,
) -> float:
    """How far to move: where the difference quotients of the pilot's ln p differ least from those of the next shorter.

    A longer move bends, a shorter one drowns in rounding.
    """
    # Adapters begin at zero: their scale is that of the weights they stand beside.
    scale = _norm(weights.values()) or _norm(run.model.parameters())
    plain = [WeightedAnswer(each.prompt, each.answer, (1.0,) * len(each.answer), 0) for each in pilot]

    def measure() -> dict[int, float]:
        return dict(enumerate(torch.cat([run(pack) for pack in run.packs(plain)]).tolist()))

    lengths = [scale * relative for relative in _RELATIVE_STEPS]
    moves = [Direction(gradient, length / _norm(gradient.values())) for length in lengths]
    quotients = [np.array([*difference_quotients(weights, move, measure).values()]) for move in moves]
    errors = [_relative_difference(*each) for each in pairwise(quotients)]
    best = min(range(len(errors)), key=errors.__getitem__)
    if errors[best] > _WORST_STEP:
        raise HarnessError(
            f"no step along the gradient of the {label} is good: the best is off by {errors[best]:.0%}",
            hint="The weights must be in float32 or wider, and the answers not certain.",
        )
    return lengths[best + 1]


def _relative_difference(one: FloatArray, other: FloatArray) -> float:
    size = float(np.linalg.norm(other))
    error = float(np.linalg.norm(one - other)) / size if size else math.inf
    return error if math.isfinite(error) else math.inf


def _norm(parts: Iterable[Tensor]) -> float:
    return math.sqrt(sum(float(part.detach().double().pow(2).sum()) for part in parts))
