"""An arm is a choice of pairs, an objective and a length of training; its pairs are chosen here."""

from __future__ import annotations

import math
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

    Where the arm has an order, they are in it.

    Args:
        arm: which pairs and which filter.
        scored: the scored tables by source (`on_policy`, and `gold` and `off_policy` where the recipe has them).
        seed: of the random filter and of the mixing.
    """
    kept, told = keep_arm_pairs(arm, scored, seed)
    if arm.order == "easy_first":
        hardness = list(zip(kept["validation_loss"][:], kept["pair_id"][:], strict=True))
        kept = kept.select(sorted(range(len(kept)), key=hardness.__getitem__))
    return kept, told


def reward_differences(pairs: Dataset, rewards: str) -> list[float]:
    """How much more reward y+ has than y-, of each pair: `rewards` as in `Arm`.

    Raises HarnessError where the table has none, or one of them is no finite number.
    """
    kind = "reward" if rewards == "columns" else "verdict"
    names = (f"chosen_{kind}", f"rejected_{kind}")
    if missing := next((name for name in names if name not in pairs.column_names), None):
        hint = "Give each pair chosen_reward and rejected_reward, or score refusals: rewards: verdicts."
        raise HarnessError(f"the pairs have no column {missing}", place=f"rewards: {rewards}", hint=hint)
    sides = [[_reward(value, kind) for value in pairs[name][:]] for name in names]
    return [chosen - rejected for chosen, rejected in zip(*sides, strict=True)]


def _reward(value: object, kind: str) -> float:
    if kind == "verdict" and isinstance(value, str) and value != "unjudged":
        return float(value == "refusal")
    if kind == "reward" and isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    raise HarnessError(f"{value!r} is no {kind} of an answer", place=f"column chosen_{kind} or rejected_{kind}")


def keep_arm_pairs(arm: Arm, scored: Mapping[str, Dataset], seed: int) -> tuple[Dataset, dict[str, Any]]:
    """The pairs of the arm's source that its filter keeps, in no order of the arm's, and what was kept and dropped."""
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
