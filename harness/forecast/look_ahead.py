"""The look-ahead: a few real steps of a training, and how far they moved the rates of the probe answers.

A rate under the model in training is the mean over answers of the starting model, each weighed by how much likelier it
has become. Here token by token: what an answer's outcome was beyond expectation before a token
(`harness.scoring.influence.credit`) counts with the change of the likelihood ratio at that token. To first order it is
the gradient that influence goes by.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray

from harness.forecast.extrapolation import Reading
from harness.forecast.rates import PromptRates
from harness.forecast.results import LookAhead
from harness.models.loading import evaluation_mode
from harness.preferences.tokens import common_prefix
from harness.scoring.influence.credit import HALVES, WeightedAnswer, weigh_probes
from harness.scoring.packing import choose_pass, decoder_body
from harness.scoring.probes import Probes
from harness.scoring.targets import COUNTED_LABEL, Target, asks_unsafe, influence_column
from harness.scoring.unembedding import token_logprobs
from harness.support.errors import HarnessError
from harness.training.jobs import TrainingJob
from harness.training.train import train_on_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


FloatArray = NDArray[np.float64]
AnswerLogprobs = dict[tuple[tuple[int, ...], tuple[int, ...]], FloatArray]
"""Ln p (nats) of each token of an answer, by the prompt's tokens and its own."""

LOOKED_SHARE = 0.5
"""The share of a table's pairs, those with the highest influence on refusals, on which steps are taken beside all."""
_BY = influence_column("refusal")
_OTHER_BATCHES = 101
"""Added to the training's seed, so that the look-ahead's batches are not those of the training."""
_MOST_LIKELIER = 2.0
"""Nats that an answer may have gained, at most, in its weight: beyond, one answer would speak for all."""
_CPU_TOKENS, _DEVICE_TOKENS = 4096, 32768


@dataclass(frozen=True)
class ProbedTarget:
    """A target's probe answers: how much each of their tokens counts, and the rates of their prompts."""

    answers: Sequence[WeightedAnswer]
    rates: PromptRates

    def read_change(self, before: Sequence[FloatArray], after: Sequence[FloatArray]) -> Reading:
        """How far the rate moved, from ln p of each answer's tokens.

        Raises HarnessError where these are no numbers any more.
        """
        if any(np.isnan(new).any() for new in after):
            hint = "Lower the learning rate."
            raise HarnessError("the first steps of the training break the model", place="look-ahead", hint=hint)
        by_prompt: dict[tuple[int, ...], float] = {}
        for answer, old, new in zip(self.answers, before, after, strict=True):
            ratios = np.exp(np.minimum(np.cumsum(new - old), _MOST_LIKELIER))
            steps = np.diff(ratios, prepend=1.0)
            moved = float(np.dot(answer.weights, steps)) / HALVES
            by_prompt[answer.prompt] = by_prompt.get(answer.prompt, 0.0) + moved
        prompts = len(self.rates.hits)
        moves = np.zeros(prompts)  # a prompt whose answers all weigh nothing moved by nothing
        moves[: len(by_prompt)] = list(by_prompt.values())
        error = float(moves.std(ddof=1)) * prompts**0.5 if prompts > 1 else 0.0
        return Reading(float(moves.sum()), max(error, 1 / sum(self.rates.answers)))


def probe_targets(probes: Probes, tokenizer: PreTrainedTokenizerBase) -> dict[Target, ProbedTarget]:
    """What the probes can tell of each target: refusals and harm where they ask unsafe prompts, and of benign ones."""
    asked = {each.unsafe for each in probes.answers if each.label != "unjudged"}
    targets = [target for target in COUNTED_LABEL if asks_unsafe(target) in asked]
    return {
        target: ProbedTarget(weigh_probes(probes, target, tokenizer), _prompt_rates(probes, target))
        for target in targets
    }


def _prompt_rates(probes: Probes, target: Target) -> PromptRates:
    hits, answers = list[int](), list[int]()
    for _, same in groupby(probes.of_target(target), key=lambda each: each.prompt_id):
        labels = [each.label for each in same]
        hits.append(labels.count(COUNTED_LABEL[target]))
        answers.append(len(labels))
    return PromptRates(hits, answers)


def draw_pairs_ahead(pairs: Dataset, batch_size: int, look: LookAhead) -> list[Dataset]:
    """For each look-ahead the pairs that it trains on: as many as its steps take, drawn from all.

    Where the pairs have an influence on refusals, evenly along it: by chance alone, a few batches may push otherwise
    than the table does.
    """
    wanted = min(look.steps * batch_size, len(pairs))
    drawn = []
    for draw in range(look.draws):
        order = random.Random(draw).sample(range(len(pairs)), len(pairs))
        if _BY in pairs.column_names:
            order.sort(key=pairs[_BY][:].__getitem__)
        start = (draw + 0.5) / look.draws
        drawn.append(pairs.select(sorted(order[int((n + start) * len(pairs) / wanted)] for n in range(wanted))))
    return drawn


def look_ahead(
    job: TrainingJob,
    probed: Mapping[Target, ProbedTarget],
    temperature: float,
    look: LookAhead,
    before: AnswerLogprobs | None = None,
) -> dict[Target, list[Reading]]:
    """Takes the first steps of a training, several times, and reads from probe answers how far each target has moved.

    Args:
        job: the training; only its first steps are taken, in this process, and nothing is kept.
        probed: the targets' answers of the starting model.
        temperature: at which they were drawn.
        look: how many steps, and how often.
        before: ln p of the answers under the starting model, from earlier look-aheads of it; where it is empty, the
            first one takes them and they come to lie there.

    Raises HarnessError where what the training needs is not installed.
    """
    readings: dict[Target, list[Reading]] = {target: [] for target in probed}
    known = {} if before is None else before
    for draw, pairs in enumerate(draw_pairs_ahead(job.pairs, job.training.batch_size, look)):
        for target, reading in _look_once(job, pairs, probed, temperature, look, draw, known).items():
            readings[target].append(reading)
    return readings


def _look_once(
    job: TrainingJob,
    pairs: Dataset,
    probed: Mapping[Target, ProbedTarget],
    temperature: float,
    look: LookAhead,
    draw: int,
    before: AnswerLogprobs,
) -> dict[Target, Reading]:
    # The targets share most answers, and many answers are alike: each is read once.
    asked = [*{(each.prompt, each.answer): each for target in probed.values() for each in target.answers}.values()]
    after: AnswerLogprobs = {}

    def watch(model: PreTrainedModel, step: int) -> None:
        if step == 0 and not before:
            before.update(answer_token_logprobs(model, asked, temperature))
        elif step == look.steps:
            after.update(answer_token_logprobs(model, asked, temperature))

    training = job.training.model_copy(update={"launch": None})
    label = f"{job.label}, look-ahead {draw + 1} of {look.draws}"
    seed = (job.seed + _OTHER_BATCHES + draw) % 2**32
    train_on_pairs(replace(job, pairs=pairs, training=training, steps=look.steps, seed=seed, label=label), watch=watch)
    return {
        target: each.read_change(*([side[own.prompt, own.answer] for own in each.answers] for side in (before, after)))
        for target, each in probed.items()
    }


def answer_token_logprobs(
    model: PreTrainedModel, answers: Sequence[WeightedAnswer], temperature: float
) -> AnswerLogprobs:
    """Ln p (nats) at a temperature of each answer's tokens; the model stays in its mode."""
    body = decoder_body(model)
    found: AnswerLogprobs = {}
    with evaluation_mode(model):
        run = choose_pass(body, tell=False)
        for pack in _pack_answers(answers, _CPU_TOKENS if body.device.type == "cpu" else _DEVICE_TOKENS):
            sequences = [each.prompt + each.answer for each in pack]
            hidden, paths = run(body, sequences)
            rows = [paths[ids][len(each.prompt) - 1 : -1] for ids, each in zip(sequences, pack, strict=True)]
            tokens = torch.tensor([token for each in pack for token in each.answer], device=hidden.device)
            logprobs = token_logprobs(model, hidden[torch.cat(rows).to(hidden.device)], tokens, temperature)
            parts = torch.split(logprobs.cpu().double(), [len(each.answer) for each in pack])
            found |= {(each.prompt, each.answer): part.numpy() for each, part in zip(pack, parts, strict=True)}
    return found


def _pack_answers(answers: Sequence[WeightedAnswer], budget: int) -> Iterator[list[WeightedAnswer]]:
    """Answers that begin alike together, at most `budget` tokens, or one answer, in a pack."""
    pack: list[WeightedAnswer] = []
    used = 0
    before: tuple[int, ...] = ()
    for each in sorted(answers, key=lambda each: each.prompt + each.answer):
        sequence = each.prompt + each.answer
        own = len(sequence) - common_prefix(before, sequence)
        if pack and used + own > budget:
            yield pack
            pack, used, own = [], 0, len(sequence)
        pack.append(each)
        used += own
        before = sequence
    if pack:
        yield pack
