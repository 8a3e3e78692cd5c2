"""How hard a pair is to learn: the validation loss of Selective DPO (Gao et al. 2025, arXiv 2502.09650, algorithm 1).

Their method trains with DPO on one half of the pairs, takes each other pair's loss, swaps the halves, does so three
times with other halves, and drops the pairs with the highest mean loss. They train on the rest from easy to hard, as an
arm with `order: easy_first` does.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from math import exp, log1p
from statistics import fmean
from typing import TYPE_CHECKING

from harness.models.paths import ModelPath
from harness.recipes.schema import Arm, TrainingSettings
from harness.scoring.logprobs import PairLogprobs, pair_logprobs
from harness.support.errors import HarnessError
from harness.training.arms import optimizer_steps
from harness.training.jobs import TRAINING_ROUNDS, TrainingJob
from harness.training.train import train_on_pairs

if TYPE_CHECKING:
    from datasets import Dataset


def validation_losses(
    model_path: str | ModelPath, pairs: Dataset, reference: Mapping[str, PairLogprobs], training: TrainingSettings
) -> dict[str, float]:
    """The mean DPO loss of each pair, by `pair_id`, under models trained on the halves without it.

    Args:
        model_path: checkpoint directory or hub id of the starting model.
        pairs: explicit preference pairs with `pair_id`, at least two.
        reference: the starting model's log-probabilities of every pair.
        training: the settings of the six short trainings.
    """
    if len(pairs) < 2:
        raise HarnessError("one pair cannot be cut into halves", hint="Filter by another measure than validation_loss.")
    losses: dict[str, list[float]] = {name: [] for name in pairs["pair_id"]}
    for run in range(TRAINING_ROUNDS):
        for trained, left_out in _split_halves(len(pairs), run):
            after = _left_out_logprobs(
                model_path, pairs.select(trained), pairs.select(left_out), reference, training, run
            )
            for name, logprobs in after.items():
                losses[name].append(dpo_loss(logprobs, reference[name], training.beta))
    return {name: fmean(values) for name, values in losses.items()}


def dpo_loss(after: PairLogprobs, before: PairLogprobs, beta: float) -> float:
    """One pair's DPO loss, -ln sigmoid(beta * margin)."""
    reward = beta * ((after.chosen - before.chosen) - (after.rejected - before.rejected))
    return max(-reward, 0.0) + log1p(exp(-abs(reward)))


def _split_halves(n: int, seed: int) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Two halves of 0..n-1 drawn with the seed, each once to train on and once left out."""
    places = random.Random(seed).sample(range(n), n)
    first, second = sorted(places[: n // 2]), sorted(places[n // 2 :])
    return [(first, second), (second, first)]


def _left_out_logprobs(
    model_path: str | ModelPath,
    half: Dataset,
    other: Dataset,
    reference: Mapping[str, PairLogprobs],
    training: TrainingSettings,
    seed: int,
) -> dict[str, PairLogprobs]:
    """The other half's log-probabilities under a model trained on this one."""
    count = optimizer_steps(Arm(), training, len(half), len(half))
    trained = train_on_pairs(
        TrainingJob(model_path, half, reference, Arm(), training, count, seed, f"on a half, run {seed}")
    )
    return pair_logprobs(trained.model, trained.tokenizer, other, max_length=training.max_length)
