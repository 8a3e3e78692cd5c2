"""The parts of `benchmarks/gpu.py`: each a function of a `Setting`, run in a process of its own."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any
from unittest import mock

import torch
from ches_throughput import CASES, compare, pairs_like_sorry_bench
from gpu_dpo import measure_dpo
from gpu_results import Goal, PartResult, set_goal
from gpu_setting import Measured, NotMeasuredError, PeakMemory, Setting, read_clock
from random_models import draw_text_pairs, random_llama
from transformers import PreTrainedModel

from harness.models.loading import load_model
from harness.preferences.tokens import Tokens
from harness.recipes.schema import Arm, Launch, Lora, TrainingSettings
from harness.scoring import scorer as scorer_module
from harness.scoring.logprobs import pair_logprobs
from harness.scoring.packing import choose_pass, decoder_body
from harness.scoring.scorer import Scorer
from harness.smollm2.weights import PACKAGE
from harness.support import artifacts
from harness.support.layout import RunFiles
from harness.support.versions import library_version
from harness.training.jobs import TrainingJob
from harness.training.train import train_on_pairs
from harness.training.trl import load_quantized

# --- Scoring


def measure_scoring(shape: str, setting: Setting) -> Measured:
    """CHES against the one-at-a-time script and the bare body on three kinds of table, in bfloat16 (CPU: float32)."""
    pairs, rounds = setting.choose(({"1b": 64, "8b": 32}[shape], 3), (8, 1))
    dtype = torch.bfloat16 if setting.device.type == "cuda" else torch.float32
    memory = PeakMemory(setting.device)
    started = read_clock()
    model = random_llama(setting.choose(shape, "tiny"), setting.device, dtype)
    figures: dict[str, Any] = {
        "parameters": model.num_parameters(),
        "making_seconds": read_clock() - started,
        "pass": choose_pass(decoder_body(model)).__name__,
    }
    goals: list[Goal] = []
    for name, (per_prompt, answers) in CASES.items():
        table = pairs_like_sorry_bench(pairs, per_prompt, answers, model.config.vocab_size)
        case = figures[name] = compare(model, table, rounds, budget=None)
        goals.append(set_goal(f"{name}: times_reference", case["times_reference"], ">=", 10.0))
        goals.append(set_goal(f"{name}: share_of_floor", case["share_of_floor"], ">=", 0.7))
    return Measured(figures | {"peak_gib": memory.read() / 2**30}, tuple(goals))


def measure_out_of_memory(setting: Setting) -> Measured:
    """Scores with too little memory for a pass: the budget is halved, and they are those with enough of it.

    In float32, where what is computed in other packs differs by rounding alone.
    """
    model = random_llama(setting.choose("1b", "tiny"), setting.device, torch.float32)
    pairs = pairs_like_sorry_bench(setting.choose(64, 16), 1, 2, model.config.vocab_size)
    memory = PeakMemory(setting.device)
    scorer = Scorer(model)
    budget, expected = scorer.budget, scorer(pairs)
    with _cramped_memory(model, memory.read(), pairs):
        scorer = Scorer(model)
        found = scorer(pairs)
    unscored = sum(row["reason"] is not None for row in found)
    both = [(row["ches"], known["ches"]) for row, known in zip(found, expected, strict=True) if row["reason"] is None]
    worst = max((abs(mine / its - 1) for mine, its in both), default=math.inf)
    figures = {
        "pairs": len(pairs),
        "budget": budget,
        "budget_after": scorer.budget,
        "pairs_without_scores": unscored,
        "worst_relative_difference": worst if both else None,
    }
    goals = (
        set_goal("budget_after", scorer.budget, "<", budget),
        set_goal("pairs_without_scores", unscored, "==", 0),
        *([set_goal("worst_relative_difference", worst, "<=", 1e-3)] if both else []),
    )
    return Measured(figures, goals)


@contextmanager
def _cramped_memory(model: PreTrainedModel, peak: int, pairs: Sequence[Tokens]) -> Iterator[None]:
    """In the block a scorer has 60 % of the memory beside the weights that all pairs at once took, `peak` in all.

    A GPU's allocator is held to it, so that its own error is met; on a CPU a pass over more tokens raises that error.
    """
    if model.device.type == "cuda":
        weights = sum(each.numel() * each.element_size() for each in model.parameters())
        limit = weights + 0.6 * (peak - weights)
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return
    most = 0.6 * sum(2 * len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for pair in pairs)
    run_pass = choose_pass(decoder_body(model))

    def cramped(body: PreTrainedModel, sequences: Sequence[tuple[int, ...]]) -> Any:
        if sum(map(len, sequences)) > most:
            raise torch.OutOfMemoryError("more tokens than there is memory for")
        return run_pass(body, sequences)

    with mock.patch.object(scorer_module, "choose_pass", return_value=cramped):
        yield


# --- Training

load_float32 = partial(load_model, float32=True)


def measure_lora(setting: Setting) -> Measured:
    """Adapters on weights in float32."""
    return _measure_training(setting, load_float32, lora=Lora(), learning_rate=1e-4)


def measure_qlora(setting: Setting) -> Measured:
    """Adapters on weights in 4 bits; the objective's reference is the quantized model, as training starts there."""
    if library_version("bitsandbytes") == "not installed":
        raise NotMeasuredError("bitsandbytes is not installed")
    return _measure_training(
        setting, partial(load_quantized, kind="nf4"), lora=Lora(quantize="nf4"), learning_rate=1e-4
    )


def measure_fsdp(setting: Setting) -> Measured:
    """FSDP2 with one process on a GPU. On a CPU, for which there is no FSDP2 here, DDP with two."""
    gpu = setting.device.type == "cuda"
    launch = Launch(config="fsdp2", processes=1) if gpu else Launch(config="ddp", processes=2)
    measured = _measure_training(setting, load_float32, launch=launch)
    return replace(measured, figures={"launch": launch.config, "processes": launch.processes} | measured.figures)


def _measure_training(setting: Setting, load: Callable[[str], tuple[Any, Any]], **training: Any) -> Measured:
    """Some steps on the same few pairs: the first loss is ln 2, the last is lower.

    Args:
        setting: where.
        load: the model that the reference's log-probabilities are of, from a checkpoint's directory.
        training: settings.
    """
    path = setting.checkpoint()
    model, tokenizer = load(path)
    words, batch, steps = setting.choose((100, 16, 8), (24, 4, 4))
    pairs = draw_text_pairs(tokenizer, batch, words)
    reference = pair_logprobs(model, tokenizer, pairs)
    del model
    memory, started = PeakMemory(setting.device), read_clock()
    settings = TrainingSettings(batch_size=batch, micro_batch_size=min(4, batch // 2), **training)
    trained = train_on_pairs(TrainingJob(path, pairs, reference, Arm(), settings, steps, seed=0, label="training"))
    seconds, losses = read_clock() - started, [row["loss"] for row in trained.log]
    figures = {"steps": len(losses), "seconds": seconds, "first_loss": losses[0], "last_loss": losses[-1]}
    if settings.launch is None:  # else the memory is other processes'
        figures["peak_gib"] = memory.read() / 2**30
    goals = (set_goal("steps", len(losses), "==", steps), set_goal("last_loss", losses[-1], "<", losses[0]))
    return Measured(figures, goals)


# --- A whole run

_ARMS = "arms={raw: {}, ches_filtered: {filter: {keep_lowest: 0.5}, steps: as_raw}}"


def measure_real_model(setting: Setting) -> Measured:
    """The recipe of SmolLM2 from pairs to gate with few prompts and two arms; tiny: of random weights."""
    missing = [name for name in (PACKAGE, "gguf") if library_version(name) == "not installed"]
    if missing and not setting.tiny:
        raise NotMeasuredError(f"weights not at hand: {' and '.join(missing)} not installed")
    few = [f"model={setting.checkpoint()}", "pairs.max_new_tokens=8", "evaluation.max_new_tokens=8"]
    prompts, out, started = setting.choose(48, 8), setting.work / "run", monotonic()
    command = [sys.executable, "-m", "harness", "run", "smollm2", "--limit", str(prompts), "--out", str(out)]
    command += [f"--set={each}" for each in [_ARMS, *setting.choose([], few)]]
    log = setting.work / "run.log"
    with log.open("w") as stream:  # a pipe would stay open as long as any process that the run started
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream).returncode
    if ended:
        raise RuntimeError(f"harness run ended with exit code {ended}: {log.read_text()[-1000:]}")
    results = artifacts.read_json(RunFiles(out).results)
    refusals = {name: arm["metrics"]["refusal_rate"]["train"]["value"] for name, arm in results["arms"].items()}
    figures = {"model": setting.choose("smollm2", "tiny"), "prompts": prompts, "seconds": monotonic() - started}
    return Measured(figures | {"refusal_rate": refusals}, (set_goal("arms", len(refusals), "==", 3),))


# --- All of them

MEASURES: dict[str, Callable[[Setting], Measured]] = {
    "scoring_1b": partial(measure_scoring, "1b"),
    "scoring_8b": partial(measure_scoring, "8b"),
    "dpo": measure_dpo,
    "out_of_memory": measure_out_of_memory,
    "lora": measure_lora,
    "qlora": measure_qlora,
    "fsdp": measure_fsdp,
    "real_model": measure_real_model,
}


def measure_part(name: str, tiny: bool, work: Path, deadline: float) -> PartResult:
    """What comes of a part, by its name; the other arguments as in `Setting`. Raises whatever it fails with."""
    try:
        measured = MEASURES[name](Setting(tiny, work, deadline))
    except NotMeasuredError as error:
        return PartResult("not measured", why=str(error))
    return PartResult("measured", figures=measured.figures, goals=measured.goals)
