"""Answers sampled on workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch

from harness.models.loading import load_model
from harness.models.sampling import generate_batch, render_prompt
from harness.support.artifacts import json_fingerprint
from harness.support.console import progress_bar
from harness.workers.ray import cluster_path, map_on_workers, ray_cluster, share_cluster, store_on_cluster


@dataclass(frozen=True, slots=True)
class _PromptBatch:
    """Prompts that are answered together, their places in the table, and the seed of their answers."""

    places: list[int]
    prompts: list[str]
    seed: int


def sample_on_ray(
    model: str,
    asked: Sequence[tuple[Sequence[str], int]],
    *,
    temperature: float,
    max_new_tokens: int,
    batch_size: int = 64,
    workers: int | None = None,
) -> Iterator[list[str]]:
    """`sample_answers` on Ray: to each list of prompts that is asked, with its seed, one answer a prompt.

    Args:
        model: directory or hub id, which every worker loads.
        asked: lists of prompts and their seeds; the answers come list by list, in this order, as each is whole.
        temperature: of the draws, with top-p 1.
        max_new_tokens: tokens of the longest answer.
        batch_size: prompts that a worker answers together.
        workers: how many copies of the model.

    Every batch has a random stream of its own, so the same seed gives the same answers with any number of workers. In
    a local run one stream goes through all batches: its answers are other draws from the same distribution. Raises
    HarnessError where there is no chat template, or Ray is missing or has not the workers asked for.
    """
    batches = [_prompt_batches(prompts, seed, batch_size) for prompts, seed in asked]
    work = partial(_Sampler, cluster_path(model), temperature, max_new_tokens)
    total = sum(len(prompts) for prompts, _ in asked)
    with ray_cluster(), progress_bar("Sampling answers", total, "answers") as advance:
        source = store_on_cluster([batch for each in batches for batch in each])
        with closing(map_on_workers(source, work, share_cluster(workers), ordered=True)) as drawn:
            for each in batches:
                answers: dict[int, str] = {}
                for batch, texts in zip(each, drawn, strict=False):
                    answers.update(zip(batch.places, texts, strict=True))
                    advance(len(texts))
                yield [answers[place] for place in range(len(answers))]


def _prompt_batches(prompts: Sequence[str], seed: int, size: int) -> list[_PromptBatch]:
    """Prompts of like length together; each batch's seed depends on the seed and the batch's number alone."""
    order = sorted(range(len(prompts)), key=lambda place: (len(prompts[place]), place))
    cut = [order[start : start + size] for start in range(0, len(order), size)]
    return [
        _PromptBatch(places, [prompts[place] for place in places], int(json_fingerprint([seed, number]), 16))
        for number, places in enumerate(cut)
    ]


class _Sampler:
    """A worker that answers prompts."""

    def __init__(self, model: str, temperature: float, max_new_tokens: int) -> None:
        self._model, self._tokenizer = load_model(model)
        self._temperature, self._max_new_tokens = temperature, max_new_tokens

    def __call__(self, batch: _PromptBatch) -> list[str]:
        """One answer a prompt."""
        torch.manual_seed(batch.seed)
        texts = [render_prompt(self._tokenizer, prompt) for prompt in batch.prompts]
        return generate_batch(self._model, self._tokenizer, texts, self._temperature, self._max_new_tokens)
