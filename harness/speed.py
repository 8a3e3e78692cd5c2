"""A short calibration: how fast this machine reads, writes and trains with the model at hand."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from importlib import import_module
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

from harness import console
from harness.displacement import PairLogprobs, profile, tokens_of
from harness.displacement.openings import starts
from harness.displacement.run_files import spaced
from harness.estimate import Speed, Writing, mean_length
from harness.models import ModelPath, load_model
from harness.onpolicy import generate, render
from harness.preferences import Tokens
from harness.recipe import Evaluation, Pairs, Recipe
from harness.workers import PRELOADED

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

T = TypeVar("T")

SECONDS = 3.0
"""What one short generation may take."""
_FIRST = 4
"""Tokens of the generation that comes before it: it warms up, and tells how many tokens the time is enough for."""
_OPENINGS, _PAIRS, _STEPS = 32, 32, 2
"""Prompts whose answers' starts are read, pairs whose ln p is taken (a batch of each), and steps that are timed."""


def measure(path: ModelPath, recipe: Recipe, prompts: Sequence[str], *, trains: bool, writes: bool) -> Speed:
    """Loads the model and tries each kind of a run's work on a little of it.

    Args:
        path: the model, its weights at hand.
        recipe: its settings for sampling, training and evaluation are used.
        prompts: those that the run asks.
        trains: whether there is memory for a training; without, its speed stays unknown.
        writes: whether transformers samples; without, that speed stays unknown.
    """
    with console.bar("Calibrating", None) as advance, console.silent(), redirect_stderr(StringIO()):
        speed, pairs, reference = _forward(path, recipe, prompts)
        advance()
        _, imports = timed(_import)
        if trains:
            setup, trained = _training(path, recipe, pairs, reference)
            speed = replace(speed, training_setup=setup, trained=trained)
        if writes:
            speed = replace(speed, evaluation_setup=_evaluation_setup(path, recipe, prompts[0]))
        else:
            speed = replace(speed, sampling=None, evaluation=None)
    return replace(speed, imports=imports)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What the work gives, and the seconds it took."""
    started = perf_counter()
    return work(), perf_counter() - started


def _forward(path: ModelPath, recipe: Recipe, prompts: Sequence[str]) -> tuple[Speed, Dataset, dict[str, PairLogprobs]]:
    """The speed of what needs no gradients; pairs of sampled answers, and their log-probabilities."""
    (model, tokenizer), load = timed(lambda: load_model(path))
    sampling, answers = _writing(model, tokenizer, prompts, recipe.pairs)
    evaluation, _ = _writing(model, tokenizer, prompts, recipe.evaluation)
    pairs = _pairs(spaced(prompts, len(answers)), answers, max(_PAIRS, recipe.training.micro_batch_size))
    tokens = tokens_of(pairs, tokenizer, recipe.training.max_length)
    profile(model, dict([*tokens.items()][:2]))  # the first pass is slow
    found, reading = timed(lambda: profile(model, tokens))
    asked = spaced(prompts, _OPENINGS)
    _, opening = timed(lambda: starts(model, tokenizer, asked))
    speed = Speed(load, reading / _size(tokens), opening / len(asked), sampling, evaluation)
    return speed, pairs, found.sums()


def _writing(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], settings: Pairs | Evaluation
) -> tuple[Writing, list[str]]:
    """One batch of answers, as long as `SECONDS` allows."""
    texts = [render(tokenizer, prompt) for prompt in spaced(prompts, settings.batch_size)]
    temperature = settings.temperature or 1.0  # the likeliest token takes as long as a drawn one
    _, first = timed(lambda: generate(model, tokenizer, texts, temperature, _FIRST))
    limit = min(settings.max_new_tokens, max(_FIRST, int(SECONDS * _FIRST / first)))
    answers, seconds = timed(lambda: generate(model, tokenizer, texts, temperature, limit))
    lengths = [min(len(ids) + 1, limit) for ids in tokenizer(answers, add_special_tokens=False)["input_ids"]]
    mean, longest = mean_length(lengths, limit, settings.max_new_tokens)
    return Writing(seconds / max(lengths), mean, longest), answers


def _pairs(prompts: Sequence[str], answers: Sequence[str], number: int) -> Dataset:
    """Pairs of the sampled answers, each beside the next one; prompts come again where there are too few."""
    from datasets import Dataset

    def said(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text or "."}]

    rows = [
        {
            "pair_id": f"pair-{place}",
            "prompt": said("user", prompts[place % len(prompts)]),
            "chosen": said("assistant", answers[place % len(answers)]),
            "rejected": said("assistant", answers[(place + 1) % len(answers)]),
        }
        for place in range(number)
    ]
    return Dataset.from_list(rows)


def _size(tokens: Mapping[str, Tokens]) -> int:
    return sum(2 * len(each.prompt) + len(each.chosen) + len(each.rejected) for each in tokens.values())


def _import() -> None:
    """What the processes load before they train and evaluate."""
    for name in PRELOADED:
        import_module(name)


def _training(
    path: ModelPath, recipe: Recipe, pairs: Dataset, reference: Mapping[str, PairLogprobs]
) -> tuple[float, float]:
    """Seconds before a training's first step, and for a token, from a few steps of one micro-batch each."""
    from harness.training import Job, train

    micro = min(recipe.training.micro_batch_size, recipe.training.batch_size)
    settings = recipe.training.model_copy(update={"batch_size": micro})
    batch, times = pairs.select(range(micro)), []
    started = perf_counter()
    arm = next(iter(recipe.arms.values()))
    job = Job(path, batch, reference, arm, settings, 1 + _STEPS, seed=0, label="a little")
    trained = train(job, watch=lambda _model, _step: times.append(perf_counter()))
    step = (times[-1] - times[1]) / _STEPS  # without the first, which is slow
    tokens = _size(tokens_of(batch, trained.tokenizer, settings.max_length))
    return times[0] - started, step / tokens


def _evaluation_setup(path: ModelPath, recipe: Recipe, prompt: str) -> float:
    """Seconds of lm-eval around a single answer of one token to an unsafe and to a benign prompt."""
    from harness import artifacts, measuring

    with tempfile.TemporaryDirectory() as scratch:
        file, out = Path(scratch) / "prompts.jsonl", Path(scratch) / "eval"
        artifacts.write_jsonl(file, [{"prompt": prompt, "label": label} for label in ("unsafe", "benign")])
        settings = recipe.evaluation.model_copy(update={"max_new_tokens": 1})
        return timed(lambda: measuring.evaluate(path, out, settings, prompts=str(file), judge="lexical", seed=0))[1]
