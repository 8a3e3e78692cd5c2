"""An arm whose influence is measured anew while it trains, and whose pairs are chosen again by what it is then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset

from harness.recipes.schema import Arm, Recipe
from harness.scoring.influence.directions import FlatTargetError
from harness.scoring.probes import draw_probes
from harness.scoring.scorer import score
from harness.scoring.targets import TARGETS, influence_column
from harness.support import console
from harness.support.layout import ON_POLICY
from harness.training.arms import choose_arm_pairs
from harness.training.changing import ChangingPairs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Refresher:
    """Watches a training; every `arm.filter.refresh` steps it measures the pairs anew and keeps the best share of them.

    Args:
        recipe: how probe answers are drawn and judged.
        arm: with the filter, by an influence.
        pairs: all that may be kept, with `pair_id`.
        kept: the `pair_id` of those kept at first.
        steps: of the training; after the last, nothing is measured.
        seed: of the training.
        tokenizer: the model's.
        prompts: that probe answers are drawn to, by whether they are unsafe.

    Attributes:
        changing: what the training draws its pairs from.
        told: for the start and each refresh the `step`, the `kept` pairs' ids, the `cut` between them and the others,
            and why nothing was measured, where probe answers judged all alike tell nothing (`reason`; then the pairs
            stay).
    """

    def __init__(
        self,
        recipe: Recipe,
        arm: Arm,
        pairs: Dataset,
        kept: Sequence[str],
        *,
        steps: int,
        seed: int,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Mapping[bool, Sequence[Mapping[str, str]]],
    ) -> None:
        self._recipe, self._arm, self._steps, self._seed = recipe, arm, steps, seed
        self._tokenizer, self._prompts = tokenizer, prompts
        self._pairs = pairs.select_columns(["pair_id", "prompt", "chosen", "rejected"])
        self._places = {name: place for place, name in enumerate(pairs["pair_id"][:])}
        self.changing = ChangingPairs([self._places[name] for name in kept], seed)
        self.told: list[dict[str, Any]] = [{"step": 0, "kept": [*kept], "cut": None, "reason": None}]

    def __call__(self, model: PreTrainedModel, step: int) -> None:
        """Measures and chooses, where it is due after this step; the model and all random draws stay as they are."""
        every = self._arm.filter.refresh
        if every is None or step == 0 or step % every or step >= self._steps:
            return
        devices = [model.device] if model.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices), console.hide_bars():
                kept, choice = choose_arm_pairs(self._arm, {ON_POLICY: self._measure(model, step)}, self._seed)
        except FlatTargetError as error:
            console.print_note(f"step {step}: {error}; the pairs stay as they are")
            self.told.append({"step": step, "kept": self.told[-1]["kept"], "cut": None, "reason": str(error)})
            return
        names = kept["pair_id"][:]
        self.changing.keep([self._places[name] for name in names])
        self.told.append({"step": step, "kept": names, "cut": choice["cut"], "reason": None})

    def _measure(self, model: PreTrainedModel, step: int) -> Dataset:
        """The pairs with their influence by probe answers of the model as it is."""
        recipe = self._recipe
        probes = draw_probes(
            model,
            self._tokenizer,
            self._prompts,
            samples=recipe.probes.samples,
            max_new_tokens=recipe.evaluation.max_new_tokens,
            judge=recipe.judge,
            seed=recipe.probes.seed + step,
        )
        return score(
            self._pairs,
            model,
            self._tokenizer,
            max_length=recipe.training.max_length,
            probes=probes,
            targets=[target for target in TARGETS if influence_column(target) == self._arm.filter.influence],
            subspace=recipe.probes.subspace,
        )
