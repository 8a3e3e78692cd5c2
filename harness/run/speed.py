"""How fast this machine reads, writes and trains with the model at hand, from a short trial of each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from importlib import import_module
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import TypeVar

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.displacement.openings import answer_starts
from harness.models.loading import load_model
from harness.models.paths import ModelPath
from harness.models.sampling import generate_batch, render_prompt
from harness.preferences.shapes import chat_messages
from harness.preferences.tokens import Tokens
from harness.recipes.schema import EvaluationSettings, PairSettings, Recipe
from harness.run.estimate import Speed, Writing, expected_lengths
from harness.scoring.logprobs import PairLogprobs, profile_model, tokenize_pairs
from harness.support import console
from harness.support.spacing import evenly_spaced
from harness.workers.processes import PRELOADED_MODULES

T = TypeVar("T")

SECONDS = 3.0
"""What one short generation may take."""
_FIRST = 4
"""Tokens of the generation that comes before it: it warms up, and tells how many tokens the time is enough for."""
_OPENINGS, _PAIRS, _STEPS = 32, 32, 2
"""Prompts whose answers' starts are read, pairs whose ln p is taken (a batch of each), and steps that are timed."""


def measure_speed(path: ModelPath, recipe: Recipe, prompts: Sequence[str], *, trains: bool, writes: bool) -> Speed:
    """Loads the model and tries each kind of a run's work on a little of it.

    Args:
        path: the model, its weights at hand.
        recipe: its settings for sampling, training and evaluation are used.
        prompts: those that the run asks.
        trains: whether there is memory for a training; without, its speed stays unknown.
        writes: whether transformers samples; without, that speed stays unknown.
    """
    with console.progress_bar("Measuring the speed", None) as advance, console.hide_bars(), redirect_stderr(StringIO()):
        speed, pairs, reference = _measure_forward(path, recipe, prompts)
        advance()
        _, imports = time_call(_import_libraries)
        if trains:
            setup, trained = _measure_training(path, recipe, pairs, reference)
            speed = replace(speed, training_setup=setup, trained=trained)
        if writes:
            speed = replace(speed, evaluation_setup=_measure_evaluation_setup(path, recipe, prompts[0]))
        else:
            speed = replace(speed, sampling=None, evaluation=None)
    return replace(speed, imports=imports)


def time_call(work: Callable[[], T]) -> tuple[T, float]:
    """What the work gives, and the seconds it took."""
    started = perf_counter()
    return work(), perf_counter() - started


def _measure_forward(
    path: ModelPath, recipe: Recipe, prompts: Sequence[str]
) -> tuple[Speed, Dataset, dict[str, PairLogprobs]]:
    """The speed of what needs no gradients; pairs of sampled answers, and their log-probabilities."""
    (model, tokenizer), load = time_call(lambda: load_model(path))
    sampling, answers = _measure_writing(model, tokenizer, prompts, recipe.pairs)
    evaluation, _ = _measure_writing(model, tokenizer, prompts, recipe.evaluation)
    pairs = _pair_answers(evenly_spaced(prompts, len(answers)), answers, max(_PAIRS, recipe.training.micro_batch_size))
    tokens = tokenize_pairs(pairs, tokenizer, recipe.training.max_length)
    model.float()  # as a run measures
    profile_model(model, dict([*tokens.items()][:2]))  # the first pass is slow
    found, reading = time_call(lambda: profile_model(model, tokens))
    asked = evenly_spaced(prompts, _OPENINGS)
    _, opening = time_call(lambda: answer_starts(model, tokenizer, asked))
    speed = Speed(load, reading / _count_tokens(tokens), opening / len(asked), sampling, evaluation)
    return speed, pairs, found.pair_sums()


def _measure_writing(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    settings: PairSettings | EvaluationSettings,
) -> tuple[Writing, list[str]]:
    """One batch of answers, as long as `SECONDS` allows."""
    texts = [render_prompt(tokenizer, prompt) for prompt in evenly_spaced(prompts, settings.batch_size)]
    temperature = settings.temperature or 1.0  # the likeliest token takes as long as a drawn one
    _, first = time_call(lambda: generate_batch(model, tokenizer, texts, temperature, _FIRST))
    limit = min(settings.max_new_tokens, max(_FIRST, int(SECONDS * _FIRST / first)))
    answers, seconds = time_call(lambda: generate_batch(model, tokenizer, texts, temperature, limit))
    lengths = [min(len(ids) + 1, limit) for ids in tokenizer(answers, add_special_tokens=False)["input_ids"]]
    mean, longest = expected_lengths(lengths, limit, settings.max_new_tokens)
    return Writing(seconds / max(lengths), mean, longest), answers


def _pair_answers(prompts: Sequence[str], answers: Sequence[str], number: int) -> Dataset:
    """Pairs of the sampled answers, each beside the next one; prompts come again where there are too few."""
    said = [text or "." for text in answers]
    rows = [
        {"pair_id": f"pair-{place}"}
        | chat_messages(prompts[place % len(prompts)], said[place % len(said)], said[(place + 1) % len(said)])
        for place in range(number)
    ]
    return Dataset.from_list(rows)


def _count_tokens(tokens: Mapping[str, Tokens]) -> int:
    return sum(2 * len(each.prompt) + len(each.chosen) + len(each.rejected) for each in tokens.values())


def _import_libraries() -> None:
    """What the processes load before they train and evaluate.

    Timed, so nothing that a dry run imports may load it before: the trainers are imported where they are tried, below.
    """
    for name in PRELOADED_MODULES:
        import_module(name)


def _measure_training(
    path: ModelPath, recipe: Recipe, pairs: Dataset, reference: Mapping[str, PairLogprobs]
) -> tuple[float, float]:
    """Seconds before a training's first step, and for a token, from a few steps of one micro-batch each."""
    from harness.training.jobs import TrainingJob
    from harness.training.train import train_on_pairs

    micro = min(recipe.training.micro_batch_size, recipe.training.batch_size)
    settings = recipe.training.model_copy(update={"batch_size": micro})
    batch, times = pairs.select(range(micro)), []
    started = perf_counter()
    arm = next(iter(recipe.arms.values()))
    job = TrainingJob(path, batch, reference, arm, settings, 1 + _STEPS, seed=0, label="a little")
    trained = train_on_pairs(job, watch=lambda _model, _step: times.append(perf_counter()))
    step = (times[-1] - times[1]) / _STEPS  # without the first, which is slow
    tokens = _count_tokens(tokenize_pairs(batch, trained.tokenizer, settings.max_length))
    return times[0] - started, step / tokens


def _measure_evaluation_setup(path: ModelPath, recipe: Recipe, prompt: str) -> float:
    """Seconds of lm-eval around a single answer of one token to an unsafe and to a benign prompt."""
    from harness.evaluation.lm_eval import AskedPrompts, evaluate_model
    from harness.support import artifacts

    with tempfile.TemporaryDirectory() as scratch:
        file, out = Path(scratch) / "prompts.jsonl", Path(scratch) / "eval"
        artifacts.write_jsonl(file, [{"prompt": prompt, "label": label} for label in ("unsafe", "benign")])
        settings = recipe.evaluation.model_copy(update={"max_new_tokens": 1})
        return time_call(lambda: evaluate_model(path, out, settings, AskedPrompts(str(file), "lexical", 0)))[1]
