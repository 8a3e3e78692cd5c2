"""Answers that the miniature's world writes, for pairs that are not sampled from the model."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from harness.organism import world


def gold_answers(rows: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """A refusal, firm or soft, and a placeholder compliance for each prompt, drawn by its id.

    They stand in for the paper's gold pairs: a refusal and a non-refusal by other models, as people labelled them.
    """
    return [[_draw_gold(row, kinds, "gold") for kinds in (("firm", "soft"), ("compliance",))] for row in rows]


def off_policy_answers(rows: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """Two answers a prompt drawn from the world's own distribution, the one the model learnt from."""
    severity = world.severities(rows)
    requests = [
        world.Request(row["prompt"], world.TOPICS.get(row["hazard"], "that"), severity[row["prompt_id"]])
        for row in rows
    ]
    return [
        [world.draw_answer(request, random.Random(f"off-policy:{which}:{row['prompt_id']}")) for which in range(2)]
        for row, request in zip(rows, requests, strict=True)
    ]


def _draw_gold(row: Mapping[str, str], kinds: Sequence[world.AnswerKind], salt: str) -> str:
    draw = random.Random(f"{salt}:{kinds[0]}:{row['prompt_id']}")
    template = draw.choice([template for kind in kinds for template in world.ANSWERS[kind]])
    topic = world.TOPICS.get(row["hazard"], "that")
    return template.format(topic=topic, part=draw.choice(world.PARTS), way=draw.choice(world.ACTIONS))
