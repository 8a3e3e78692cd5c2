"""The tokens of each stage of a run, by arithmetic alone.

A token is `read` in a forward pass, `trained` on in a forward and a backward pass, or `written` by sampling. Trained
ones are those that a pass computes: where it is packed, each distinct one, else padding too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import ceil, log1p
from statistics import fmean


@dataclass(frozen=True, slots=True)
class Workload:
    """What a stage does with the model. `openings`: prompts of which it is read how answers start."""

    pairs: int = 0
    prompts: int = 0
    answers: int = 0
    steps: int = 0
    openings: int = 0
    read: int = 0
    trained: int = 0
    written: int = 0

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.read + self.trained + self.written


@dataclass(frozen=True)
class TokenTable:
    """A table of pairs in tokens: of each its prompt's, and both of its answers'."""

    prompts: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def pairs(self) -> int:
        """Their number."""
        return len(self.prompts)

    @cached_property
    def prompt_tokens(self) -> int:
        """Of all prompts, each once."""
        return sum(self.prompts)

    @cached_property
    def answer_tokens(self) -> int:
        """Of all answers."""
        return sum(self.chosen) + sum(self.rejected)

    @property
    def sequences(self) -> int:
        """Tokens where each answer is read behind its own copy of the prompt."""
        return 2 * self.prompt_tokens + self.answer_tokens

    @cached_property
    def longest(self) -> tuple[int, ...]:
        """Tokens of each pair's longer sequence."""
        rows = zip(self.prompts, self.chosen, self.rejected, strict=True)
        return tuple(prompt + max(answers) for prompt, *answers in rows)

    @cached_property
    def distinct(self) -> tuple[int, ...]:
        """Tokens of each pair's prompt and both answers."""
        return tuple(map(sum, zip(self.prompts, self.chosen, self.rejected, strict=True)))

    def tokens_for(self, pairs: int) -> int:
        """Tokens of so many of its pairs' sequences, at the mean of all, rounded up."""
        return -(-pairs * self.sequences // self.pairs) if self.pairs else 0

    def trained_for(self, pairs: int, padded: int | None) -> int:
        """Tokens of forward and backward passes over so many of its pairs, drawn by chance.

        `padded`: pairs of a pass, both of whose sequences TRL pads to the longest in it; None where passes are packed,
        so that a prompt is computed once.
        """
        if not self.pairs:
            return 0
        if padded is None:
            return -(-pairs * sum(self.distinct) // self.pairs)
        return ceil(2 * pairs * expected_longest(self.longest, padded))


def expected_longest(lengths: Sequence[int], drawn: int) -> float:
    """The longest of so many of these, on average over all ways to draw them; of all where there are no more."""
    ordered = sorted(lengths)
    drawn, chance, expected = min(drawn, len(ordered)), 1.0, 0.0
    for place in range(len(ordered), 0, -1):
        below = chance * max(place - drawn, 0) / place  # the chance that all drawn are among those before
        expected += ordered[place - 1] * (chance - below)
        chance = below
    return expected


def likely_lengths(lengths: Sequence[int], limit: int, most: int) -> tuple[int, ...]:
    """How long answers will be that were cut at `limit` tokens, where they may have `most`.

    Those that had not ended go on with a constant chance to end after each token, and are spread over that distribution
    by its quantiles. The chance is that of the second half of what was seen: answers ended in it over tokens written in
    it, its maximum-likelihood estimate under censoring.
    """
    ended = sorted(length for length in lengths if length < limit or limit >= most)
    cut, seen = len(lengths) - len(ended), limit // 2
    late = sum(length > seen for length in ended)
    if cut and not late:
        return (*ended, *(most,) * cut)
    written = sum(max(0, length - seen) for length in lengths)
    stays = log1p(-min(late / written, 1 - 1e-9)) if cut else 0.0
    more = (ceil(log1p(-(place + 0.5) / cut) / stays) for place in range(cut))
    return (*ended, *(min(most, limit + each) for each in more))


def mean_length(lengths: Sequence[int]) -> int:
    """Their mean, rounded up."""
    return ceil(fmean(lengths))


def unsampled_table(prompts: Sequence[int], answers: Sequence[int], max_length: int | None) -> TokenTable:
    """The table that sampling two answers to each prompt may give: at most one pair a prompt.

    Args:
        prompts: tokens of each prompt.
        answers: tokens of answers, which are dealt out one after the other.
        max_length: of prompt and answer together, cut as the training cuts.
    """
    limit = max_length if max_length is not None else max(prompts, default=0) + max(answers)
    cut = [min(prompt, limit) for prompt in prompts]
    dealt = [
        [min(answers[(place + side) % len(answers)], limit - prompt) for place, prompt in enumerate(cut)]
        for side in range(2)
    ]
    return TokenTable(tuple(cut), *map(tuple, dealt))


def sampling_work(prompts: Sequence[int], samples: int, answer: int) -> Workload:
    """So many answers of so many tokens to prompts of these lengths."""
    answers = samples * len(prompts)
    return Workload(prompts=len(prompts), answers=answers, read=samples * sum(prompts), written=answers * answer)


def scoring_work(table: TokenTable) -> Workload:
    """Scores: each prompt is read once for both of its answers; pairs that begin alike take less."""
    return Workload(pairs=table.pairs, read=table.prompt_tokens + table.answer_tokens)


def reference_work(table: TokenTable, others: Iterable[TokenTable], prompts: Sequence[int], openings: int) -> Workload:
    """Ln p of all pairs; the pairs' prompts and those of the evaluation once more, to find the nearest."""
    tables = (table, *others)
    read = sum(each.sequences for each in tables) + table.prompt_tokens + sum(prompts)
    return Workload(pairs=sum(each.pairs for each in tables), prompts=len(prompts), openings=openings, read=read)


def difficulty_work(table: TokenTable, runs: int, epochs: int, batch: int) -> Workload:
    """Trainings on both halves of the pairs, `runs` times, packed, and each time ln p of the other half."""
    halves = table.pairs // 2, table.pairs - table.pairs // 2
    steps = runs * epochs * sum(-(-half // batch) for half in halves)
    trained = runs * epochs * table.trained_for(table.pairs, None)
    return Workload(table.pairs, steps=steps, trained=trained, read=runs * table.sequences)


def influence_work(table: TokenTable, asked: int, targets: int, preferred: bool) -> Workload:
    """Scores, three passes over the table for both halves of each target, and the targets' gradients.

    Args:
        table: the pairs.
        asked: tokens of the probe answers and their prompts.
        targets: their number.
        preferred: whether one of them is ln p of the pairs' own preferred answers.
    """
    read = table.prompt_tokens + table.answer_tokens
    trained = (targets - preferred) * asked + preferred * read
    return Workload(pairs=table.pairs, read=(1 + 3 * targets) * read, trained=trained)


def training_work(
    pool: TokenTable,
    kept: int,
    steps: int,
    batch: int,
    padded: int | None,
    measured: TokenTable,
    others: int,
    openings: int,
) -> Workload:
    """DPO on `kept` pairs of a pool, then ln p of the `measured` pairs and of those `others` of the pool it saw.

    `padded`: as of `TokenTable.trained_for`.
    """
    trained = pool.trained_for(pairs_seen(kept, steps, batch), padded and min(padded, kept))
    return Workload(
        kept, steps=steps, openings=openings, trained=trained, read=measured.sequences + pool.tokens_for(others)
    )


def pairs_seen(pairs: int, steps: int, batch: int) -> int:
    """Pairs that so many steps train on, those that come again counted again; an epoch's last batch may be smaller."""
    an_epoch = -(-pairs // batch)
    return steps // an_epoch * pairs + steps % an_epoch * batch if an_epoch else 0


def pairs_kept(pairs: int, share: float | None) -> int:
    """Pairs that a filter by a share leaves, rounded up as `harness.scoring.filtering` does; all without one."""
    return pairs if share is None else ceil(Fraction(str(share)) * pairs)
