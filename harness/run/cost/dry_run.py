"""What a regression run would do and cost, before it: stages, tokens, memory, time. Nothing of it is written."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import PretrainedConfig, PreTrainedModel

from harness.forecast.results import LookAhead
from harness.models.loading import empty_model, load_tokenizer
from harness.models.paths import ModelPath, has_weights
from harness.models.templates import check_chat_template
from harness.organism import store
from harness.recipes.pinning import fetch_model_path, pin_recipe
from harness.recipes.schema import Lora, Recipe, RewardModel
from harness.run.checks import check_prerequisites
from harness.run.cost.memory import (
    Memory,
    Shape,
    decoder_shape,
    influence_memory,
    sampling_memory,
    scoring_memory,
    training_memory,
)
from harness.run.cost.seconds import (
    PieceTime,
    Speed,
    evaluation_seconds,
    gradient_seconds,
    makespan,
    reading_seconds,
    sampling_seconds,
    training_seconds,
)
from harness.run.cost.stage_tokens import AnswerLengths, KnownTokens, most_tokens, stage_work
from harness.run.cost.tokens import Workload
from harness.run.cost.trial import measure_speed
from harness.run.directory import read_pins
from harness.run.own_models import find_own_model
from harness.run.stages import Stage, arm_stages, due_stages, every_stage, shared_stages
from harness.run.state import Run, open_run, plan_arm_processes
from harness.scoring.influence.directions import CPU_GRADIENT_TOKENS, DEVICE_GRADIENT_TOKENS
from harness.scoring.influence.subspace import Subspace, check_layers
from harness.scoring.packing import PADDED_TOKENS
from harness.scoring.probes import PROBES_AT_ONCE
from harness.scoring.scorer import CPU_TOKENS, DEVICE_TOKENS
from harness.support.layout import ON_POLICY
from harness.training.jobs import TRAINING_ROUNDS
from harness.workers.machine import planned_threads, use_planned_threads
from harness.workers.processes import ProcessPlan

PAIRS_AT_ONCE = 32
"""Pairs in a forward pass that measures ln p (`harness.scoring.logprobs.profile_model`), where they are short."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One stage: why it would run (None where it is done), its work at most and as expected, and its seconds.

    `expected` and `seconds` are None where no trial could tell.
    """

    stage: Stage
    reason: str | None
    at_most: Workload
    expected: Workload | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would cost.

    Attributes:
        recipe: what it runs.
        plan: its processes.
        shape: the model's.
        costs: its stages in their order.
        memory: bytes of a process at its peak, by kind of work.
        available: bytes that are free for each process.
        speed: what a short trial measured; None where there was none.
        starting: seconds to start, and for the libraries; of several draws they are the first's alone.
        seconds: from the start to the end of the report, `starting` included; None where it is not known.
        missing: what the seconds leave out, or why there are none.
    """

    recipe: Recipe
    plan: ProcessPlan
    shape: Shape
    costs: Sequence[Cost]
    memory: dict[str, Memory]
    available: int
    speed: Speed | None
    starting: float
    seconds: float | None
    missing: Sequence[str]

    def draws_seconds(self, draws: int) -> float | None:
        """So many draws like this one."""
        return None if self.seconds is None else self.starting + draws * (self.seconds - self.starting)

    def to_json(self) -> dict[str, Any]:
        """All of it as one JSON value."""
        return {
            "schema_version": 1,
            "recipe": self.recipe.name,
            "model": self.recipe.model,
            "limit": self.recipe.limit,
            "device": "cuda" if self.plan.devices else "cpu",
            "processes": self.plan.processes,
            "threads": self.plan.threads,
            "parameters": self.shape.parameters,
            "stages": [_cost_json(cost) for cost in self.costs],
            "memory": {kind: {**asdict(each), "total": each.total} for kind, each in self.memory.items()},
            "memory_available": self.available,
            "speed": asdict(self.speed) if self.speed else None,
            "starting": self.starting,
            "seconds": self.seconds,
            "missing": list(self.missing),
        }


def _cost_json(cost: Cost) -> dict[str, Any]:
    counts = {name: getattr(cost.at_most, name) for name in ("pairs", "prompts", "answers", "steps")}
    tokens = {"at_most": cost.at_most.tokens, "expected": cost.expected.tokens if cost.expected else None}
    done = {"name": cost.stage.name, "kind": cost.stage.kind, "done": cost.reason is None, "reason": cost.reason}
    return {**done, **counts, "tokens": tokens, "seconds": cost.seconds}


def dry_run(recipe: Recipe, out: Path, max_processes: int | None = None, began: float | None = None) -> DryRun:
    """What `harness.run.regression.run_regression` with the same arguments would do.

    Args:
        recipe: what to run.
        out: the run directory; its finished stages are told as done.
        max_processes: a limit on the processes.
        began: when this process began (seconds since the epoch): a run takes as long to start.

    Raises HarnessError where the recipe's inputs, or the model's configuration and tokenizer, cannot be had, or do not
    fit together.
    """
    recipe, pins = pin_recipe(recipe, read_pins(out))
    check_prerequisites(recipe)
    path, at_hand = _model_paths(recipe)
    check_chat_template(at_hand)
    plan = plan_arm_processes(recipe, path, max_processes)
    with planned_threads(plan.threads), use_planned_threads():
        run = open_run(recipe, path, out, pins)
        reasons = due_stages(run)
        due = frozenset(stage.of for stage in every_stage(run) if stage.kind == "pairs" and stage.name in reasons)
        config, tokenizer = load_tokenizer(at_hand)
        model = empty_model(config)
        shape = _model_shape(config, model)
        known = KnownTokens(run, tokenizer, due, shape.parameters, on_gpu=bool(plan.devices))
        moved = _moved_share(model, shape, recipe.probes.subspace)
        memory = _memory_by_kind(known, shape, _adapter_parameters(model, recipe.training.lora), moved)
        start = time.time() - began if began is not None else 0.0
        free = _available_bytes(plan)
        speed, missing = _measured_speed(known, at_hand, plan, memory, free) if reasons else (None, [])
    costs = [_stage_cost(known, stage, reasons.get(stage.name), speed) for stage in every_stage(run)]
    starting = start + (speed.imports if speed else 0.0)
    working = _working_seconds(run, costs, speed, plan)
    seconds = None if working is None else starting + working
    told = [*_left_out(recipe, path), *missing]
    costs = _with_imports(costs, speed)
    return DryRun(recipe, plan, shape, costs, memory, free, speed, starting, seconds, told)


def _model_paths(recipe: Recipe) -> tuple[ModelPath, ModelPath]:
    """Where the run's model is or will be, and one like it to look at now: a miniature may not be grown yet."""
    if recipe.model != "miniature":
        path = find_own_model(recipe.model) or fetch_model_path(recipe, weights=False)
        return path, path
    place = store.miniature_path(recipe.organism_seed)
    return ModelPath(str(place)), ModelPath(str(place if place.is_dir() else store.DEFAULT_DIRECTORY))


def _left_out(recipe: Recipe, path: ModelPath) -> list[str]:
    """What the time leaves out although the run will do it."""
    told = []
    if recipe.model == "miniature" and not Path(path).is_dir():
        told.append(
            f"growing the miniature of seed {recipe.organism_seed} first; the default one was measured in its place"
        )
    if recipe.judge != "lexical":
        told.append(f"the judge {recipe.judge}")
    if isinstance(recipe.pairs.tie_break, RewardModel):
        told.append(f"the reward model {recipe.pairs.tie_break.reward_model}")
    told += [f"the task {task.name}" for task in recipe.tasks]
    return told


def _model_shape(config: PretrainedConfig, model: PreTrainedModel) -> Shape:
    parameters = sum(each.numel() for each in model.parameters())
    return decoder_shape(config, parameters, (config.dtype or torch.float32).itemsize)


def _adapter_parameters(model: PreTrainedModel, lora: Lora | None) -> int | None:
    """The adapters' parameters: for a layer of n inputs and m outputs, rank x (n + m). None where all are trained."""
    if lora is None:
        return None
    from peft import get_peft_model

    from harness.training.trl import lora_config

    wrapped = get_peft_model(model, lora_config(lora))
    return sum(int(each.numel()) for each in wrapped.parameters() if each.requires_grad)


# Memory


def _moved_share(model: PreTrainedModel, shape: Shape, subspace: str | None) -> float:
    """The share of the parameters that influence is measured over, at most."""
    if subspace is None:
        return 1.0
    within = Subspace.parse(subspace)
    check_layers(model, within)
    if within.kind == "last":
        return within.size / shape.layers
    return (_adapter_parameters(model, Lora(rank=within.size)) or 0) / shape.parameters


def _memory_by_kind(known: KnownTokens, shape: Shape, adapted: int | None, moved: float) -> dict[str, Memory]:
    """The memory of each kind of work, at the most tokens that it may see at once.

    Args:
        known: the prompts and tables in tokens.
        shape: the model's.
        adapted: parameters of the adapters, where only they are trained.
        moved: the share of the weights that influence is measured over.
    """
    recipe, longest = known.recipe, known.longest_sequence()
    table = known.source_table(ON_POLICY, most_tokens(recipe))
    budget = DEVICE_TOKENS if known.on_gpu else CPU_TOKENS
    padded = min(PAIRS_AT_ONCE * longest, max(PADDED_TOKENS, longest))
    at_once = min(max(budget, padded), table.sequences)
    launch, lora = recipe.training.launch, recipe.training.lora
    found = {
        "scoring": scoring_memory(replace(shape, weight_bytes=4), at_once),  # in float32, as it is trained
        "training": training_memory(
            shape,
            known.tokens_at_once(),
            on_gpu=known.on_gpu,
            bf16=recipe.training.bf16,
            adapted=adapted,
            quantized=bool(lora and lora.quantize),
            shards=launch.processes if launch and launch.config != "ddp" else 1,
        ),
    }
    if targets := len(known.run.influence_targets):
        gradient = DEVICE_GRADIENT_TOKENS if known.on_gpu else CPU_GRADIENT_TOKENS
        found["influence"] = influence_memory(shape, gradient, targets, moved)
    if recipe.backend != "hf":
        return found  # vLLM takes a share of the memory, whatever the model needs, and a server is its own process
    for kind, settings, lengths in (
        ("sampling", recipe.pairs, known.training),
        ("evaluation", recipe.evaluation, known.asked),
    ):
        batch = min(settings.batch_size, len(lengths))
        found[kind] = sampling_memory(shape, batch, max(lengths, default=0), settings.max_new_tokens)
    return found


def _available_bytes(plan: ProcessPlan) -> int:
    """Bytes free now for each process: a GPU's, or a process's part of the machine's."""
    if plan.devices:
        return int(torch.cuda.mem_get_info(0)[0])
    return int(psutil.virtual_memory().available) // plan.processes


# Time


def _measured_speed(
    known: KnownTokens, path: ModelPath, plan: ProcessPlan, memory: Mapping[str, Memory], free: int
) -> tuple[Speed | None, list[str]]:
    """The speed of this machine with this model; and what of it could not be measured, and why."""
    if not has_weights(path):
        return None, [f"everything, as the weights of {path} are not here to be tried"]
    too_large = [kind for kind, each in memory.items() if each.total > free]
    told = [
        f"{kind}, as {_format_gib(memory[kind].total)} do not fit into the {_format_gib(free)} free"
        for kind in too_large
    ]
    if set(too_large) - {"training"}:
        return None, told
    if known.recipe.training.launch:
        told.append("training, as several processes are not measured")
    checkpoints, room = 2 * plan.processes * 4 * known.parameters, shutil.disk_usage(tempfile.gettempdir()).free
    if checkpoints > room:
        place = tempfile.gettempdir()
        told.append(f"training, as its checkpoint does not fit into the {_format_gib(room)} free in {place}")
    writes = known.recipe.backend == "hf"
    if not writes:
        told.append(f"sampling and evaluating, as the backend {known.recipe.backend} is not measured")
    trains = not any(each.startswith("training") for each in told)
    return measure_speed(known, path, plan, trains=trains, writes=writes), told


def _format_gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"


def _stage_cost(known: KnownTokens, stage: Stage, reason: str | None, speed: Speed | None) -> Cost:
    most = stage_work(known, stage, most_tokens(known.recipe))
    if reason is None:
        return Cost(stage, None, most, most, 0.0)
    if speed is None or not speed.sampling or not speed.evaluation or not speed.probing:
        return Cost(stage, reason, most, None, None if speed is None else _stage_seconds(known, stage, most, speed))
    lengths = AnswerLengths(speed.sampling.lengths, speed.evaluation.lengths, speed.probing.lengths, speed.paired)
    expected = stage_work(known, stage, lengths)
    return Cost(stage, reason, most, expected, _stage_seconds(known, stage, expected, speed))


def _stage_seconds(known: KnownTokens, stage: Stage, work: Workload, speed: Speed) -> float | None:
    recipe = known.recipe
    if stage.kind == "pairs":
        if not known.is_sampled(stage.of):
            return 0.0
        return sampling_seconds(work, speed, speed.sampling, recipe.pairs.batch_size, recipe.pairs.samples)
    if stage.kind == "probes":
        return sampling_seconds(work, speed, speed.probing, PROBES_AT_ONCE, 1)
    if stage.kind == "evaluate":
        return evaluation_seconds(work, speed, recipe.evaluation.batch_size)
    if stage.kind in {"scores", "reference"}:
        return reading_seconds(work, speed, speed.scores if stage.kind == "scores" else speed.reference)
    if stage.kind == "train":
        return _training_seconds(work, speed)
    trainings = {"difficulty": 2 * TRAINING_ROUNDS, "forecast": LookAhead().draws * len(known.run.forecast_arms)}
    seconds, begun = gradient_seconds(work, speed), speed.arms.before if speed.arms else None
    return None if seconds is None or begun is None else seconds + trainings.get(stage.kind, 0) * begun


def _training_seconds(work: Workload, speed: Speed) -> float | None:
    """An arm's, and of the answers that it draws where influence is refreshed."""
    seconds = training_seconds(work, speed)
    if seconds is None or not work.answers:
        return seconds
    drawing = sampling_seconds(replace(work, read=0), replace(speed, load=0.0), speed.probing, PROBES_AT_ONCE, 1)
    return None if drawing is None else seconds + drawing


def _with_imports(costs: Sequence[Cost], speed: Speed | None) -> list[Cost]:
    """The stages' costs where the first that is due also waits for its libraries."""
    first = next((cost for cost in costs if cost.reason is not None and cost.seconds is not None), None)
    return [
        replace(cost, seconds=(cost.seconds or 0.0) + speed.imports) if speed and cost is first else cost
        for cost in costs
    ]


def _working_seconds(run: Run, costs: Sequence[Cost], speed: Speed | None, plan: ProcessPlan) -> float | None:
    """From the start of the first stage to the end of the report; None where a stage's time is not known."""
    seconds = {cost.stage.name: cost.seconds for cost in costs}
    if None in seconds.values():
        return None
    if speed is None:
        return 0.0
    known = {name: each or 0.0 for name, each in seconds.items()}
    shared = accumulate(known[stage.name] for stage in shared_stages(run))
    ends = dict(zip((stage.name for stage in shared_stages(run)), shared, strict=True))
    shared_end = max(ends.values())
    # This process does what the arms share, and the others the pieces that are ready, but not beside GPUs.
    begins = [shared_end] * plan.processes if plan.devices else [*[0.0] * (plan.processes - 1), shared_end]
    warm_up = speed.arms.warm_up if speed.arms else 0.0
    pieces = [
        PieceTime(max((ends[name] for name in piece[0].after), default=0.0), taken)
        for piece in arm_stages(run)
        if (taken := sum(known[stage.name] for stage in piece))
    ]
    beside = makespan(pieces, [each + warm_up for each in begins]) if pieces else 0.0
    return max(shared_end, beside) + speed.outcome
