"""An arm is a choice of pairs, an objective and a length of training; its pairs are chosen here."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from datasets import Dataset, concatenate_datasets

from harness.recipes.schema import Arm, TrainingSettings
from harness.scoring.filtering import describe_choice, keep_highest, keep_lowest, keep_random, keep_type
from harness.support.errors import HarnessError
from harness.support.layout import OFF_POLICY, ON_POLICY


def choose_arm_pairs(arm: Arm, scored: Mapping[str, Dataset], seed: int) -> tuple[Dataset, dict[str, Any]]:
    """The pairs the arm trains on with this seed, and what was kept and dropped. Random filters draw anew per seed.

    Args:
        arm: which pairs and which filter.
        scored: the scored tables by source (`on_policy`, and `gold` and `off_policy` where the recipe has them).
        seed: of the random filter and of the mixing.
    """
    pool, rule = (
        (_mix_pairs(scored, seed), "all pairs, half of the prompts with off-policy ones")
        if arm.pairs == "mixed"
        else (scored[arm.pairs], "all pairs")
    )
    if arm.filter.keep_lowest is not None:
        choice = keep_lowest(pool, arm.filter.keep_lowest, arm.filter.by)
    elif arm.filter.keep_highest is not None:
        choice = keep_highest(pool, arm.filter.keep_highest, arm.filter.by)
    elif arm.filter.random is not None:
        choice = keep_random(pool, arm.filter.random, seed)
    elif arm.filter.only is not None:
        choice = keep_type(pool, arm.filter.only)
    else:
        return pool, {"rule": rule, "kept": len(pool)}
    return choice.kept, describe_choice(choice)


def optimizer_steps(arm: Arm, training: TrainingSettings, pairs: int, raw_pairs: int) -> int:
    """Optimizer steps of an arm: its own epochs, or as many as training on all pairs takes."""
    counted = raw_pairs if arm.steps == "as_raw" else pairs
    return training.epochs * -(-counted // training.batch_size)


def _mix_pairs(scored: Mapping[str, Dataset], seed: int) -> Dataset:
    """On-policy pairs, half of them (drawn with the seed) replaced by as many off-policy ones of the same prompts.

    SimpleMix (Li & Khashabi 2025, arXiv 2505.02363) mixes the two in equal parts.
    """
    on_policy, off_policy = scored[ON_POLICY], scored[OFF_POLICY]
    place = {prompt: number for number, prompt in enumerate(off_policy["prompt_id"][:])}
    shared = [number for number, prompt in enumerate(on_policy["prompt_id"][:]) if prompt in place]
    drawn = random.Random(seed).sample(shared, min(len(shared), len(on_policy) // 2))
    if not drawn:
        raise HarnessError("no prompt has both an on-policy and an off-policy pair", place=OFF_POLICY)
    replaced = set(drawn)
    kept = on_policy.select([number for number in range(len(on_policy)) if number not in replaced])
    prompts = on_policy["prompt_id"][:]
    others = off_policy.select(sorted(place[prompts[number]] for number in drawn))
    columns = [name for name in kept.column_names if name in others.column_names]
    return concatenate_datasets(
        [kept.select_columns(columns), others.select_columns(columns).cast(kept.select_columns(columns).features)]
    )
