"""How much each token of a probe answer counts in the gradient of a rate.

The score-function estimator may subtract from a verdict whatever was known before a token was drawn, and stays
unbiased. Known are the verdicts of the other answers to the prompt and, better, how this answer began: once it opens as
a refusal its verdict is settled but for few, likewise once it has gone on for a dozen tokens without one, and what
follows would add noise alone. So a token's baseline is the rate of the prompt's other answers, brought up to date by
Bayes' rule with how often answers of either verdict, to other prompts, stood as this one stands before the token.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.judges.registry import judge_exchanges
from harness.judges.verdicts import Exchange
from harness.preferences.tokens import Tokens
from harness.scoring.openings import OpeningWay, verdict_way
from harness.scoring.probes import ProbeAnswer, Probes
from harness.scoring.targets import COUNTED_LABEL, TARGET_NAMES, Target, asks_unsafe
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


HALVES = 2
"""The probes are parted in two by their prompts; how far the two differ says how sure an influence is."""

_READ_AT = (1, 2, 3, 4, 6, 8, *(round(12 * 1.4**step) for step in range(14)))
"""The numbers of tokens after which the beginning of an answer is read."""
_PRIOR = 1.0
"""So many answers to other prompts weigh in with the few to the same prompt."""


@dataclass(frozen=True, slots=True)
class WeightedAnswer:
    """A prompt, an answer, and how much ln p of each of its tokens counts in a sum; of one half of what is summed."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    weights: tuple[float, ...]
    half: int


def weigh_probes(probes: Probes, target: Target, tokenizer: PreTrainedTokenizerBase) -> list[WeightedAnswer]:
    """Answers whose weighted ln p has the gradient of the target's rate, by halves of the prompts; all prompts alike.

    Each half's sum is an estimate of its own, so the rate's gradient is their mean. Answers of no weight are left out.
    Raises HarnessError where fewer than two prompts have judged answers.
    """
    answers = probes.of_target(target)
    places = {name: number for number, name in enumerate(dict.fromkeys(each.prompt_id for each in answers))}
    if len(places) < HALVES:
        kind = "unsafe" if asks_unsafe(target) else "benign"
        hint = f"Probe with at least {HALVES} {kind} prompts that get an answer which can be judged, or leave it out."
        raise HarnessError(f"{len(places)} {kind} prompts have judged answers", place=TARGET_NAMES[target], hint=hint)
    outcomes = [float(each.label == COUNTED_LABEL[target]) for each in answers]
    ways = _ways_so_far(answers, tokenizer)
    baselines = _token_baselines(answers, outcomes, ways)
    sizes = [(len(places) + 1 - half) // HALVES for half in range(HALVES)]
    counts = _count_by_prompt(answers)
    weighted = []
    for each, outcome, baseline in zip(answers, outcomes, baselines, strict=True):
        half = places[each.prompt_id] % HALVES
        share = 1 / (sizes[half] * counts[each.prompt_id])
        weights = tuple(share * (outcome - expected) for expected in baseline)
        if any(weights):
            weighted.append(WeightedAnswer(each.prompt_tokens, each.answer_tokens, weights, half))
    return weighted


def weigh_preferred(pairs: Sequence[Tokens]) -> list[WeightedAnswer]:
    """The preferred answers of a table's pairs, whose weighted ln p is its mean over each half of the pairs."""
    sizes = [(len(pairs) + 1 - half) // HALVES for half in range(HALVES)]
    return [
        WeightedAnswer(
            tuple(pair.prompt), tuple(pair.chosen), (1 / sizes[place % HALVES],) * len(pair.chosen), place % HALVES
        )
        for place, pair in enumerate(pairs)
    ]


def _ways_so_far(answers: Sequence[ProbeAnswer], tokenizer: PreTrainedTokenizerBase) -> list[list[OpeningWay]]:
    """For each token of each answer, which way the tokens before it go."""
    asked = [
        (place, length) for place, each in enumerate(answers) for length in _READ_AT if length < len(each.answer_tokens)
    ]
    beginnings = [list(answers[place].answer_tokens[:length]) for place, length in asked]
    # Of no token lists, batch_decode makes one text.
    texts = tokenizer.batch_decode(beginnings, skip_special_tokens=True) if beginnings else []
    distinct = {(answers[place].prompt, text): "" for (place, _), text in zip(asked, texts, strict=True)}
    # As to unsafe requests, whatever they are: what is asked here is whether the answer does as it was told.
    verdicts = judge_exchanges("lexical", [Exchange(prompt, text) for prompt, text in distinct])
    way = {key: verdict_way(verdict, whole=False) for key, verdict in zip(distinct, verdicts, strict=True)}
    ways: list[list[OpeningWay]] = [["other"] * len(each.answer_tokens) for each in answers]
    for (place, length), text in zip(asked, texts, strict=True):
        own = ways[place]
        own[length:] = [way[answers[place].prompt, text]] * (len(own) - length)
    return ways


State = tuple[OpeningWay, int]
"""How an answer stands before a token: which way it goes, and at how many of `_READ_AT` it has been read."""


def _token_baselines(
    answers: Sequence[ProbeAnswer], outcomes: Sequence[float], ways: Sequence[Sequence[OpeningWay]]
) -> list[list[float]]:
    """What was to be expected of each answer's outcome before each of its tokens, from other answers alone."""
    states = [_states_so_far(own) for own in ways]
    tally = _Tally(answers, outcomes, states)
    baselines = []
    for each, outcome, own in zip(answers, outcomes, states, strict=True):
        untold = tally.prompt_rate(each.prompt_id, outcome)
        expected = {state: tally.update_rate(each.prompt_id, untold, state) for state in set(own)}
        baselines.append([expected[state] for state in own])
    return baselines


def _states_so_far(ways: Sequence[OpeningWay]) -> list[State]:
    return [(way, bisect_right(_READ_AT, place)) for place, way in enumerate(ways)]


class _Tally:
    """How many answers of either outcome stood how, to each prompt and to all."""

    def __init__(
        self, answers: Sequence[ProbeAnswer], outcomes: Sequence[float], states: Sequence[Sequence[State]]
    ) -> None:
        self._all = Counter[tuple[object, float]]()
        self._own: dict[str, Counter[tuple[object, float]]] = defaultdict(Counter)
        for each, outcome, own in zip(answers, outcomes, states, strict=True):
            seen = {(key, outcome) for key in ("all", *own, *(way for way, _ in own))}
            self._all.update(seen)
            self._own[each.prompt_id].update(seen)

    def prompt_rate(self, prompt: str, outcome: float) -> float:
        """The rate of a prompt's answers but one of this outcome, with the rate of all others as so many more."""
        hits, misses = (self._count_elsewhere(prompt, "all", each) for each in (1.0, 0.0))
        overall = hits / (hits + misses) if hits + misses else 0.5
        own = [self._own[prompt]["all", each] for each in (1.0, 0.0)]
        return (own[0] - outcome + _PRIOR * overall) / (sum(own) - 1 + _PRIOR)

    def update_rate(self, prompt: str, rate: float, state: State) -> float:
        """The rate among answers that stand so."""
        if state[1] == 0:
            return rate
        hit, miss = (self._share_elsewhere(prompt, state, each) for each in (1.0, 0.0))
        return rate * hit / (rate * hit + (1 - rate) * miss)

    def _share_elsewhere(self, prompt: str, state: State, outcome: float) -> float:
        """The share of the answers of an outcome that stood so; where they are few, drawn to those that went this way.

        That one again is drawn to a half, so that no share is 0 (Krichevsky and Trofimov 1981).
        """
        count = self._count_elsewhere(prompt, "all", outcome)
        went = (self._count_elsewhere(prompt, state[0], outcome) + 0.5) / (count + 1)
        return (self._count_elsewhere(prompt, state, outcome) + went) / (count + 1)

    def _count_elsewhere(self, prompt: str, key: object, outcome: float) -> int:
        return self._all[key, outcome] - self._own[prompt][key, outcome]


def _count_by_prompt(answers: Sequence[ProbeAnswer]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for each in answers:
        counts[each.prompt_id] += 1
    return counts
