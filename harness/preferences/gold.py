"""Gold pairs (section 6): of the answers that people labelled, a refusal preferred to a compliance."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from harness.judges.verdicts import Verdict
from harness.preferences.choosing import Candidate, choose_pairs
from harness.prompts.labelled import SORRY_BENCH, LabelledAnswers, load_labelled_answers
from harness.prompts.sets import PromptRow
from harness.support import hub
from harness.support.errors import HarnessError

_REASON = "labelled by people"


def names_labelled_answers(source: str) -> bool:
    """Whether a recipe's `gold` is SORRY-Bench's labelled answers: `sorrybench`, with `@REVISION` or `=FILE` or not."""
    return hub.split_revision(source.partition("=")[0])[0] == SORRY_BENCH


def make_gold_pairs(source: str, prompts: Sequence[PromptRow], seed: int) -> list[dict[str, Any]]:
    """A pair for each of SORRY-Bench's prompts with both: one refusal and one compliance, drawn from all there are.

    Args:
        source: what `names_labelled_answers` knows.
        prompts: those of `sorrybench` or `sorrybench_gold`.
        seed: of the draw, which depends on it and the prompt alone.

    Raises HarnessError where the labels cannot be read, or none of the prompts has both.
    """
    named, _, file = source.partition("=")
    labelled = load_labelled_answers(file, hub.split_revision(named)[1])
    usable = [row for row in prompts if row["prompt_id"] in labelled and labelled[row["prompt_id"]].makes_pair]
    if not usable:
        hint = f"Take the prompts of SORRY-Bench too: prompts: {SORRY_BENCH}_gold."
        raise HarnessError("no prompt has a labelled refusal and a labelled compliance", place="gold", hint=hint)
    drawn = [_draw_answers(labelled[row["prompt_id"]], f"{seed}:gold:{row['prompt_id']}") for row in usable]
    return choose_pairs(usable, drawn, seed)[0]


def _draw_answers(known: LabelledAnswers, coin: str) -> list[Candidate]:
    draw = random.Random(coin)
    refusal, compliance = draw.choice(known.refusals), draw.choice(known.compliances)
    return [Candidate(refusal, Verdict("refusal", _REASON)), Candidate(compliance, Verdict("harmful", _REASON))]
