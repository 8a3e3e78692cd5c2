"""What changed in the likelihood of a preference table's pairs between two of lm-eval's outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.evaluation.output import read_evaluations
from harness.evaluation.samples import LIKELIHOOD_METRICS, LIKELIHOOD_TASK, Answer
from harness.support.artifacts import finite_or_null
from harness.support.errors import HarnessError
from harness.support.stats import Estimate, mean_change


@dataclass(frozen=True, slots=True)
class LikelihoodChange:
    """Mean change over the pairs, with its 95 % interval, of each of `LIKELIHOOD_METRICS`; and the pairs displaced."""

    pairs: int
    changes: Mapping[str, Estimate]
    displaced_share: float

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        estimates = {name: asdict(change) for name, change in self.changes.items()}
        return {
            "schema_version": 1,
            "pairs": self.pairs,
            "changes": {
                name: {key: finite_or_null(value) for key, value in estimate.items() if key != "per_seed"}
                for name, estimate in estimates.items()
            },
            "displaced_share": self.displaced_share,
        }


def has_likelihood_evaluation(path: Path) -> bool:
    """Whether lm-eval wrote samples of this task below a directory."""
    return path.is_dir() and any(path.rglob(f"samples_{LIKELIHOOD_TASK}_*.jsonl*"))


def compare_evaluations(before: Path, after: Path) -> LikelihoodChange:
    """Compares two output directories of `lm_eval --tasks refusal_displacement_likelihood --log_samples`, by pair.

    Raises HarnessError where one holds no such evaluation, more than one, or the pairs or their text differ.
    """
    was, now = _answers_by_pair(before), _answers_by_pair(after)
    if was.keys() != now.keys() or any(was[name].document != now[name].document for name in was):
        raise HarnessError(
            "does not hold the same pairs, rendered alike, as the other side",
            place=str(after),
            hint="Run both with one preference table, tokenizer and chat template.",
        )
    values = {
        name: ([was[pair].outcomes[name] for pair in was], [now[pair].outcomes[name] for pair in was])
        for name in LIKELIHOOD_METRICS
    }
    if not all(math.isfinite(value) for sides in values.values() for side in sides for value in side):
        raise HarnessError("has a pair without a finite log-probability", place=str(after))
    moved = {name: [b - a for a, b in zip(*sides, strict=True)] for name, sides in values.items()}
    displaced = [c < 0 < m for c, m in zip(moved["chosen_logprob"], moved["margin"], strict=True)]
    estimates = {name: mean_change(*sides) for name, sides in values.items()}
    return LikelihoodChange(len(was), estimates, sum(displaced) / len(displaced))


def _answers_by_pair(root: Path) -> dict[str, Answer]:
    answers = [answer for each in read_evaluations(root) for answer in each.answers if answer.task == LIKELIHOOD_TASK]
    found = {str(answer.doc["pair_id"]): answer for answer in answers}
    if not found or len(found) != len(answers):
        raise HarnessError(
            f"holds {'no' if not found else 'more than one'} evaluation of {LIKELIHOOD_TASK}",
            place=str(root),
            hint=f"Name the output directory of one `lm_eval --tasks {LIKELIHOOD_TASK} --log_samples`.",
        )
    return found
