"""A gate that may be looked at after every prompt: bets against a loss, in the order in which prompts were asked.

Against "the loss is at least m" wealth grows by 1 + c (m - x) / (1 - m) with each prompt's loss x in [-1, 1]; c in
(0, 1) was fixed before that prompt was seen. If the mean loss is m or more, the wealth is a nonnegative
supermartingale that starts at 1, and the chance that it ever reaches 1 / alpha is at most alpha (Ville 1939), however
often one looks and for whatever reason one stops. What it rejects bounds the loss (a confidence sequence by betting:
Waudby-Smith and Ramdas, J. R. Stat. Soc. B 86, 2024). That is exact for any number of prompts and answers, where
prompts come in random order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.gate.policy import Policy
from harness.gate.sides import Pairing, SideAnswers, Unit
from harness.support.errors import HarnessError
from harness.support.stats import FloatArray, RateComparison

_CAPS = (0.4, 0.9)
"""The largest bets of two players between whom the wealth is shared: the careful one wins where prompts are lost and
gained, the bold one where hardly any changes. They and `_GUESS` were chosen on other random numbers than the tables of
docs/gate.md (`benchmarks/sequential_gate.py`)."""
_GUESS, _GUESSED_PROMPTS = 0.25, 10
"""The mean square of a prompt's loss before any was seen (the mean is 0), and the prompts that this counts for."""
_STEPS = 50
_FAR = 20


@dataclass(frozen=True, slots=True)
class OrderedComparison(RateComparison):
    """A loss bounded for all looks together. `settled`: the prompts with which it would be told from the margin or from
    none, if those to come lose and gain as those that came; None where very many would not do.
    """

    settled: int | None = None

    def prompts_to_settle(self, prompts: int, margin: float, alpha: float, power: float = 0.8) -> int | None:  # noqa: ARG002
        """`settled`, which was worked out for this margin and level."""
        return self.settled


def compare_in_order(before: FloatArray, after: FloatArray, margin: float, alpha: float) -> OrderedComparison:
    """The loss from shares of good answers in the order in which the prompts were asked, valid at any time.

    Args:
        before: a share in [0, 1] a prompt.
        after: the same of the other side, `(prompts,)` as well.
        margin: the loss that the upper bets are made against. The lower ones are made for a loss of twice as much, or
            for the one seen so far where that is larger.
        alpha: one-sided level of each end of the interval, and of the p-value, over all looks together.
    """
    losses = before - after
    upper, lower = _upper_bets(losses, margin), _lower_bets(losses, margin)
    ln_goal = -np.log(alpha)
    high = _bisect(lambda m: _ln_wealth(upper, (m - losses) / (1 - m)) >= ln_goal, kept=-1.0, rejected=1.0)
    low = _bisect(lambda m: _ln_wealth(lower, (losses - m) / (1 + m)) >= ln_goal, kept=1.0, rejected=-1.0)
    p_value = min(1.0, float(np.exp(-_ln_wealth(lower, losses))))
    spread = float(losses.var()) / len(losses)
    settled = _extrapolate_prompts(losses, margin, ln_goal)
    return OrderedComparison(float(losses.mean()), low, high, p_value, spread, settled=settled)


def order_as_asked(answers: SideAnswers) -> list[Unit]:
    """The prompts with answers on both sides in the order in which they were asked before, tasks side by side.

    The first prompt of every task, then the second of every one: where all tasks go on, the order only grows.
    """
    places: Counter[str] = Counter()
    asked: list[tuple[int, Unit]] = []
    for unit in answers[0]:
        if unit in answers[1]:
            asked.append((places[unit[0]], unit))
            places[unit[0]] += 1
    return [unit for _, unit in sorted(asked)]


def refuse_without_order(pairing: Pairing, policy: Policy, *, has_evidence: bool) -> None:
    """Raises HarnessError where prompts have no order in which to bet on them, or there is evidence besides."""
    if has_evidence:
        hint = "Gate once, with all prompts and without --sequential; or without labels and calibration."
        raise HarnessError("a sequential gate counts no labels and no calibration", place="--sequential", hint=hint)
    for task, counts in _prompts_asked(pairing).items():
        if len(counts) > 1:
            told = f"seeds or repeats of one side were asked {min(counts)} and {max(counts)} prompts of {task}"
            raise HarnessError(told, place="--sequential", hint="Look when all have come equally far.")
    repeated = len(pairing.units) - len({*pairing.units.values()})
    if policy.cluster is not None or repeated:
        told = f"{repeated} prompts repeat another one" if repeated else "the policy groups prompts into families"
        hint = "Gate once, with all prompts and without --sequential."
        raise HarnessError(f"{told}: a prompt must be whole when it is bet on", place="--sequential", hint=hint)


def tell_progress(pairing: Pairing) -> str:
    """How many prompts both sides were asked so far, and that one may look again."""
    counts = [each for side in pairing.sides for evaluation in side for each in evaluation.counts.items()]
    seen = {(task, count.seen) for task, count in counts}
    is_whole = all(count.is_whole for _, count in counts) and len(seen) == len({task for task, _ in seen})
    whole = "all prompts" if is_whole else "so far"
    return (
        f"sequential: {len(pairing.units)} prompts answered on both sides ({whole}); intervals and tests hold for all "
        "looks together, at whatever numbers of prompts"
    )


def _prompts_asked(pairing: Pairing) -> dict[str, set[int]]:
    """By side and task how many prompts each evaluation of it was asked."""
    found: dict[str, set[int]] = {}
    for name, side in zip(("--before", "--after"), pairing.sides, strict=True):
        for evaluation in side:
            for task, count in evaluation.counts.items():
                found.setdefault(f"{task} ({name})", set()).add(count.seen)
    return found


def _extrapolate_prompts(losses: FloatArray, margin: float, ln_goal: float) -> int | None:
    """The first number of prompts at which a bet is won, these losses repeated until there are `_FAR` times as many."""
    told = np.tile(losses, _FAR)
    won = _ln_wealths(_upper_bets(told, margin), (margin - told) / (1 - margin)) >= ln_goal
    won |= _ln_wealths(_lower_bets(told, margin), told) >= ln_goal
    later = won[len(losses) :]
    return len(losses) + int(later.argmax()) + 1 if later.any() else None


def _upper_bets(losses: FloatArray, margin: float) -> FloatArray:
    return _bets(losses, np.full(len(losses), margin)) * (1 - margin)


def _lower_bets(losses: FloatArray, margin: float) -> FloatArray:
    return _bets(losses, np.maximum(2 * margin, _means_so_far(losses, 0.0)))


def _bets(losses: FloatArray, target: FloatArray) -> FloatArray:
    """Each player's share of its wealth before every prompt, `(players, prompts)`: best if the mean is `target` away.

    By the losses so far, the present one not among them (GRAPA, ibid., with a distance that is given).
    """
    spread = _means_so_far(losses**2, _GUESS) - _means_so_far(losses, 0.0) ** 2
    wanted = target / (spread + target**2)
    return np.asarray(np.minimum(np.array(_CAPS)[:, None], wanted))


def _means_so_far(values: FloatArray, guess: float) -> FloatArray:
    """Before each value the mean of those that came, a guess among them that counts for `_GUESSED_PROMPTS`."""
    total = np.concatenate([[0.0], np.cumsum(values)[:-1]])
    return np.asarray((guess * _GUESSED_PROMPTS + total) / (_GUESSED_PROMPTS + np.arange(len(values))))


def _ln_wealth(bets: FloatArray, gains: FloatArray) -> float:
    """The logarithm of what all players have after the last prompt, who began with 1 together."""
    return float(np.logaddexp.reduce(np.log1p(bets * gains).sum(axis=1)) - np.log(len(bets)))


def _ln_wealths(bets: FloatArray, gains: FloatArray) -> FloatArray:
    """The same after every prompt."""
    return np.asarray(np.logaddexp.reduce(np.log1p(bets * gains).cumsum(axis=1)) - np.log(len(bets)))


def _bisect(is_rejected: Callable[[float], bool], *, kept: float, rejected: float) -> float:
    """The end of the losses that are not rejected; those beyond it, towards `rejected`, all are."""
    for _ in range(_STEPS):
        middle = (kept + rejected) / 2
        kept, rejected = (kept, middle) if is_rejected(middle) else (middle, rejected)
    return kept
