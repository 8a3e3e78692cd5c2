"""What a regression run would do and cost, before it: stages, tokens, memory, time. Nothing of it is written."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from harness.displacement.pushes import is_affordable, push_tokens
from harness.displacement.run_files import START_PROMPTS
from harness.forecast.results import LookAhead
from harness.models.loading import empty_model, load_tokenizer
from harness.models.paths import ModelPath, has_weights
from harness.models.sampling import render_turns
from harness.models.templates import check_chat_template
from harness.organism import answers, store
from harness.preferences.gold import make_gold_pairs, names_labelled_answers
from harness.preferences.shapes import chat_messages
from harness.preferences.tables import load_training_rows
from harness.prompts.asked import load_variants
from harness.prompts.sets import PromptRow, load_prompts
from harness.recipes.pinning import fetch_model_path, pin_recipe
from harness.recipes.schema import Arm, Lora, Recipe, RewardModel
from harness.run.checks import check_prerequisites
from harness.run.directory import read_pins
from harness.run.estimate import (
    Memory,
    Shape,
    Speed,
    TokenTable,
    Workload,
    decoder_shape,
    difficulty_work,
    influence_memory,
    influence_work,
    pairs_kept,
    reading_seconds,
    reference_work,
    sampling_memory,
    sampling_work,
    scoring_memory,
    scoring_work,
    training_memory,
    training_seconds,
    training_work,
    unsampled_table,
    wall_clock,
    writing_seconds,
)
from harness.run.own_models import find_own_model
from harness.run.speed import measure_speed
from harness.run.stages import Stage, due_stages, every_stage
from harness.run.state import FORECAST_PROMPTS, Run, open_run, plan_arm_processes, training_prompts
from harness.scoring.influence.directions import CPU_GRADIENT_TOKENS, DEVICE_GRADIENT_TOKENS
from harness.scoring.influence.subspace import Subspace, check_layers
from harness.scoring.logprobs import tokenize_pairs
from harness.scoring.packing import PADDED_TOKENS
from harness.scoring.probes import PROBES_AT_ONCE
from harness.scoring.scorer import CPU_TOKENS, DEVICE_TOKENS
from harness.scoring.targets import asks_unsafe, influence_column
from harness.support import artifacts
from harness.support.layout import ON_POLICY
from harness.training.arms import optimizer_steps
from harness.training.jobs import TRAINING_ROUNDS, micro_batch
from harness.workers.machine import planned_threads, use_planned_threads
from harness.workers.processes import ProcessPlan

_TOKENIZED_AT_ONCE = 1000
"""Prompts that are counted at a time."""
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
        seconds: from the start to the end of the last stage; None where it is not known.
        missing: what the seconds leave out, or why there are none.
    """

    recipe: Recipe
    plan: ProcessPlan
    shape: Shape
    costs: Sequence[Cost]
    memory: dict[str, Memory]
    available: int
    speed: Speed | None
    seconds: float | None
    missing: Sequence[str]

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
        known = KnownTokens(run, tokenizer, due, shape, bool(plan.devices))
        moved = _moved_share(model, shape, recipe.probes.subspace)
        memory = _memory_by_kind(known, shape, _adapter_parameters(model, recipe.training.lora), moved)
        start = time.time() - began if began is not None else 0.0
        free = _available_bytes(plan)
        speed, missing = _measured_speed(known, at_hand, memory, free) if reasons else (None, [])
    costs = [_stage_cost(known, stage, reasons.get(stage.name), speed) for stage in every_stage(run)]
    seconds = _run_wall_clock(costs, speed, plan, start)
    return DryRun(recipe, plan, shape, costs, memory, free, speed, seconds, [*_left_out(recipe, path), *missing])


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


# Tokens


class KnownTokens:
    """What is known before the run: the prompts in tokens, and the tables of pairs that are already there.

    `due`: the sources whose pairs are still to be made.
    """

    def __init__(
        self, run: Run, tokenizer: PreTrainedTokenizerBase, due: frozenset[str], shape: Shape, on_gpu: bool
    ) -> None:
        self.run, self.recipe, self.parameters, self.on_gpu = run, run.recipe, shape.parameters, on_gpu
        self._tokenizer, self._due = tokenizer, due
        unsafe, benign = (load_prompts(self.recipe.prompts, kind) for kind in ("unsafe", "benign"))
        self.texts = [row["prompt"] for row in (*unsafe, *benign)]
        self.unsafe, self.benign = self._prompt_lengths(unsafe), self._prompt_lengths(benign)
        self.asked = [*self.unsafe, *self.benign, *self._prompt_lengths(load_variants(self.recipe.prompts))]
        trained = {row["prompt_id"] for row in training_prompts(self.recipe)}
        self.training = [size for row, size in zip(unsafe, self.unsafe, strict=True) if row["prompt_id"] in trained]
        self.benign_training = [size for row, size in zip(benign, self.benign, strict=True) if row["split"] == "train"]
        kinds = {asks_unsafe(target) for target in run.influence_targets if target != "preferred"}
        self.probed = [*(self.training if True in kinds else ()), *(self.benign_training if False in kinds else ())]
        self.openings = min(START_PROMPTS, len({row["prompt"] for row in unsafe}))
        self._longest = 0
        sources = (ON_POLICY, *run.other_sources)
        self._tables = {source: self._count_source_tokens(source) for source in sources}
        self._unsampled: dict[int, TokenTable] = {}

    def _prompt_lengths(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """The tokens of each prompt as one user turn, or of its turns, ready for the answer."""
        lengths: list[int] = []
        for start in range(0, len(rows), _TOKENIZED_AT_ONCE):
            turns = (row.get("turns") or [row["prompt"]] for row in rows[start : start + _TOKENIZED_AT_ONCE])
            texts = [render_turns(self._tokenizer, each) for each in turns]
            lengths += map(len, self._tokenizer(texts, add_special_tokens=False)["input_ids"])
        return lengths

    def source_table(self, source: str, answer: int) -> TokenTable:
        """A source's pairs; where they are still to be sampled, one a training prompt, answers of `answer` tokens."""
        table = self._tables[ON_POLICY if source == "mixed" else source]
        if table is None:
            if answer not in self._unsampled:
                self._unsampled[answer] = unsampled_table(self.training, answer, self.recipe.training.max_length)
            table = self._unsampled[answer]
        return table

    def longest_sequence(self) -> int:
        """Tokens of the longest prompt with its answer that may be trained on."""
        sampled = max(self.training, default=0) + self.recipe.pairs.max_new_tokens
        longest = max(self._longest, sampled if self.is_sampled(ON_POLICY) else 0)
        return min(longest, self.recipe.training.max_length or longest)

    def is_sampled(self, source: str) -> bool:
        """Whether the model has to sample these pairs."""
        return self._tables[source] is None

    def _count_source_tokens(self, source: str) -> TokenTable | None:
        rows = self._source_rows(source)
        if rows is None:
            return None
        tokens = tokenize_pairs(rows, self._tokenizer, self.recipe.training.max_length).values()
        answers = sum(len(each.chosen) + len(each.rejected) for each in tokens)
        lengths = (len(each.prompt) + max(len(each.chosen), len(each.rejected)) for each in tokens)
        self._longest = max(self._longest, *lengths)
        return TokenTable(len(tokens), sum(len(each.prompt) for each in tokens), answers)

    def _source_rows(self, source: str) -> Sequence[Mapping[str, Any]] | None:
        """The rows of a table that is there: of the finished stage, the recipe's own, or written by the world."""
        given = self.recipe.preferences if source == ON_POLICY else getattr(self.recipe, source)
        if source not in self._due:
            return artifacts.read_jsonl(self.run.files.source(source).pairs)
        if given == "bundled" and source != ON_POLICY:
            return _world_rows(source, training_prompts(self.recipe))
        if source == "gold" and given is not None and names_labelled_answers(given):
            return make_gold_pairs(given, training_prompts(self.recipe), self.recipe.pairs.seed)
        return None if given is None else load_training_rows(given)


def _world_rows(source: str, rows: Sequence[PromptRow]) -> list[dict[str, Any]]:
    """The world's two answers to each prompt, as if all of them gave a pair."""
    written = answers.gold_answers(rows) if source == "gold" else answers.off_policy_answers(rows)
    return [
        {"pair_id": row["prompt_id"], **chat_messages(row["prompt"], chosen, rejected)}
        for row, (chosen, rejected) in zip(rows, written, strict=True)
    ]


def stage_work(known: KnownTokens, stage: Stage, sampled: int, evaluated: int) -> Workload:
    """A stage's work, where answers have so many tokens: those sampled for pairs, and those of the evaluation."""
    recipe = known.recipe
    if stage.kind == "evaluate":
        return sampling_work(known.asked, 1, evaluated)
    if stage.kind == "probes":
        return sampling_work(known.probed, recipe.probes.samples, evaluated)
    table = known.source_table(ON_POLICY if stage.kind == "train" else stage.of, sampled)
    if stage.kind == "pairs":
        sampling = sampling_work(known.training, recipe.pairs.samples, sampled)
        return sampling if known.is_sampled(stage.of) else Workload(pairs=table.pairs)
    if stage.kind == "train":
        return _arm_training_work(known, stage.of, sampled, evaluated, table)
    return _measuring_work(known, stage, table, sampled, evaluated)


def _measuring_work(known: KnownTokens, stage: Stage, table: TokenTable, sampled: int, evaluated: int) -> Workload:
    """The work of a stage that measures something of a source's pairs."""
    recipe, targets = known.recipe, known.run.influence_targets
    if stage.kind == "scores":
        return scoring_work(table)
    if stage.kind == "influence":
        samples = recipe.probes.samples
        answers = samples * len(known.probed)
        probes = TokenTable(answers, samples * sum(known.probed), answers * evaluated)
        return influence_work(table, probes, len(targets), "preferred" in targets)
    if stage.kind == "pushes":
        return _pushes_work(known, table)
    if stage.kind == "forecast":
        return _forecast_work(known, table, evaluated)
    if stage.kind == "difficulty":
        return difficulty_work(table, TRAINING_ROUNDS, recipe.training.epochs, recipe.training.batch_size)
    others = [known.source_table(source, sampled) for source in known.run.other_sources]
    return reference_work(table, others, known.unsafe, known.openings)


def _pushes_work(known: KnownTokens, table: TokenTable) -> Workload:
    tokens = push_tokens(known.unsafe, table.sequences)
    entries = len(known.unsafe) * table.pairs
    if not is_affordable(known.parameters, tokens, entries, on_cpu=not known.on_gpu):
        return Workload()
    openings = len(known.unsafe) // 3  # only likely branches are walked: about a third of the others' work
    return Workload(table.pairs, len(known.unsafe), openings=openings, trained=tokens)


def _forecast_work(known: KnownTokens, table: TokenTable, evaluated: int) -> Workload:
    """The first steps of some trainings, twice, and ln p of the probe answers before and after them."""
    arms, look, settings = known.run.forecast_arms, LookAhead(), known.recipe.training
    asked = min(FORECAST_PROMPTS, len(known.probed))
    prompt = -(-sum(known.probed) // max(len(known.probed), 1))
    answers = known.recipe.probes.samples * asked * (prompt + evaluated)
    trainings = len(arms) * look.draws
    steps = trainings * look.steps
    # After each, and once before all.
    seen, read = table.tokens_for(settings.batch_size) * steps, (1 + trainings) * answers
    return Workload(table.pairs, steps=steps, trained=seen, read=read)


def _arm_training_work(known: KnownTokens, name: str, sampled: int, evaluated: int, measured: TokenTable) -> Workload:
    arm, settings = known.recipe.arms[name], known.recipe.training
    pool = known.source_table(arm.pairs, sampled)
    kept = pairs_kept(pool.pairs, arm.filter.share)
    count = optimizer_steps(arm, settings, kept, measured.pairs)
    others = {ON_POLICY: 0, "mixed": kept // 2}.get(arm.pairs, kept)
    work = training_work(pool, kept, count, settings.batch_size, measured, others, known.openings)
    if arm.reads_start_by_token:
        work = replace(work, read=work.read + pool.tokens_for(kept))
    return work if arm.filter.refresh is None else _with_refreshes(known, arm, work, measured, evaluated)


def _with_refreshes(known: KnownTokens, arm: Arm, work: Workload, table: TokenTable, evaluated: int) -> Workload:
    """Influence measured anew every so many steps: answers drawn, then the gradient and the passes over the table."""
    refreshes = (work.steps - 1) // (arm.filter.refresh or work.steps)
    own = arm.filter.influence == influence_column("preferred")
    asked = (
        [] if own else known.benign_training if arm.filter.influence == influence_column("benign") else known.training
    )
    drawn = sampling_work(asked, known.recipe.probes.samples, evaluated)
    measured = influence_work(table, TokenTable(drawn.answers, drawn.read, drawn.written), 1, own)
    return replace(
        work,
        prompts=refreshes * drawn.prompts,
        answers=refreshes * drawn.answers,
        read=work.read + refreshes * (drawn.read + measured.read),
        trained=work.trained + refreshes * measured.trained,
        written=refreshes * drawn.written,
    )


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
    table = known.source_table(ON_POLICY, recipe.pairs.max_new_tokens)
    budget = DEVICE_TOKENS if known.on_gpu else CPU_TOKENS
    padded = min(PAIRS_AT_ONCE * longest, max(PADDED_TOKENS, longest))
    at_once = min(max(budget, padded), table.sequences)
    launch, lora = recipe.training.launch, recipe.training.lora
    micro = micro_batch(recipe.training, launch.processes if launch else 1)
    found = {
        "scoring": scoring_memory(replace(shape, weight_bytes=4), at_once),  # in float32, as it is trained
        "training": training_memory(
            shape,
            2 * micro * longest,
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
    known: KnownTokens, path: ModelPath, memory: Mapping[str, Memory], free: int
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
    writes = known.recipe.backend == "hf"
    if not writes:
        told.append(f"sampling and evaluating, as the backend {known.recipe.backend} is not measured")
    return measure_speed(
        path, known.recipe, known.texts, trains=not any(each.startswith("training") for each in told), writes=writes
    ), told


def _format_gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"


def _stage_cost(known: KnownTokens, stage: Stage, reason: str | None, speed: Speed | None) -> Cost:
    recipe = known.recipe
    most = stage_work(known, stage, recipe.pairs.max_new_tokens, recipe.evaluation.max_new_tokens)
    if reason is None:
        return Cost(stage, None, most, most, 0.0)
    if speed is None or speed.sampling is None or speed.evaluation is None:
        return Cost(stage, reason, most, None, None if speed is None else _stage_seconds(known, stage, most, speed))
    expected = stage_work(known, stage, speed.sampling.mean, speed.evaluation.mean)
    return Cost(stage, reason, most, expected, _stage_seconds(known, stage, expected, speed))


def _stage_seconds(known: KnownTokens, stage: Stage, work: Workload, speed: Speed) -> float | None:
    if stage.kind == "pairs" and not known.is_sampled(stage.of):
        return 0.0
    if stage.kind == "pairs":
        return writing_seconds(work, speed, speed.sampling, known.recipe.pairs.batch_size, speed.load)
    if stage.kind == "evaluate":
        batch = known.recipe.evaluation.batch_size
        return writing_seconds(work, speed, speed.evaluation, batch, speed.evaluation_setup)
    if stage.kind == "probes":
        return writing_seconds(work, speed, speed.evaluation, PROBES_AT_ONCE, speed.load)
    if stage.kind in {"influence", "pushes"}:
        return None if speed.trained is None else reading_seconds(work, speed) + work.trained * speed.trained
    if stage.kind in {"scores", "reference"}:
        return reading_seconds(work, speed)
    trainings = {"difficulty": 2 * TRAINING_ROUNDS, "forecast": LookAhead().draws * len(known.run.forecast_arms)}
    seconds = training_seconds(work, speed, trainings.get(stage.kind, 1))
    if seconds is None or not work.answers:
        return seconds
    drawing = writing_seconds(replace(work, read=0), speed, speed.evaluation, PROBES_AT_ONCE, 0.0)
    return None if drawing is None else seconds + drawing


def _run_wall_clock(costs: Sequence[Cost], speed: Speed | None, plan: ProcessPlan, start: float) -> float | None:
    """From the start of the run to the end of its last stage; None where a stage's time is not known."""
    seconds = {cost.stage.name: cost.seconds for cost in costs}
    if None in seconds.values():
        return None
    shared = 0.0
    pieces: defaultdict[tuple[str, int], float] = defaultdict(float)
    for cost in costs:
        if cost.stage.kind in {"pushes", "train", "evaluate"}:
            pieces[cost.stage.of, cost.stage.seed] += cost.seconds or 0.0
        else:
            shared += cost.seconds or 0.0
    waiting = [piece for piece in pieces.values() if piece]
    imports = speed.imports if speed and waiting else 0.0
    return start + wall_clock(shared, waiting, imports, plan.processes)
