"""What a regression run would do and what it would cost, before it: stages, tokens, memory, time. Writes nothing."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import artifacts, estimate, models, pinning, prompts, regression, run_directory, stages
from harness.arms import steps
from harness.difficulty import RUNS
from harness.displacement import tokens_of
from harness.displacement.nearest import token_ids
from harness.displacement.run_files import START_PROMPTS
from harness.estimate import Memory, Shape, Speed, Table, Work
from harness.models import ModelPath
from harness.recipe import Recipe, RewardModel
from harness.regression import Stage
from harness.run_directory import planned_threads, torch_threads
from harness.scoring import CPU_TOKENS, DEVICE_TOKENS
from harness.stages import ON_POLICY, Run
from harness.training import micro_batch
from harness.workers import Plan

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from harness.recipe import Lora

PAIRS_AT_ONCE = 32
"""Pairs in a forward pass that measures ln p (`harness.displacement.profile`)."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One stage: why it would run (None where it is done), its work at most and as expected, and its seconds.

    `expected` and `seconds` are None where no calibration could tell.
    """

    stage: Stage
    reason: str | None
    at_most: Work
    expected: Work | None = None
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
        speed: what the calibration measured; None where there was none.
        seconds: from the start to the end of the last stage; None where it is not known.
        missing: what the seconds leave out, or why there are none.
    """

    recipe: Recipe
    plan: Plan
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
            "device": "cuda" if self.plan.devices else "cpu",
            "processes": self.plan.processes,
            "threads": self.plan.threads,
            "parameters": self.shape.parameters,
            "stages": [_cost_json(cost) for cost in self.costs],
            "memory": {kind: {**asdict(each), "total": each.total} for kind, each in self.memory.items()},
            "memory_available": self.available,
            "calibration": asdict(self.speed) if self.speed else None,
            "seconds": self.seconds,
            "missing": list(self.missing),
        }


def _cost_json(cost: Cost) -> dict[str, Any]:
    counts = {name: getattr(cost.at_most, name) for name in ("pairs", "prompts", "answers", "steps")}
    tokens = {"at_most": cost.at_most.tokens, "expected": cost.expected.tokens if cost.expected else None}
    done = {"name": cost.stage.name, "kind": cost.stage.kind, "done": cost.reason is None, "reason": cost.reason}
    return {**done, **counts, "tokens": tokens, "seconds": cost.seconds}


def dry_run(recipe: Recipe, out: Path, at_most: int | None = None, began: float | None = None) -> DryRun:
    """What `harness.regression.run` with the same arguments would do.

    Args:
        recipe: what to run.
        out: the run directory; its finished stages are told as done.
        at_most: a limit on the processes.
        began: when this process began (seconds since the epoch): a run takes as long to start.

    Raises HarnessError where the recipe's inputs, or the model's configuration and tokenizer, cannot be had.
    """
    recipe, pins = pinning.pinned(recipe, run_directory.pins(out))
    regression.check(recipe)
    path, at_hand = _places(recipe)
    plan = regression.process_plan(recipe, path, at_most)
    with planned_threads(plan.threads), torch_threads():
        run = regression.opened(recipe, path, out, pins)
        reasons = regression.due(run)
        config, tokenizer = models.load_tokenizer(at_hand)
        facts = Facts(run, tokenizer, frozenset(reasons), bool(plan.devices))
        model = models.empty_model(config)
        shape = _shape(config, model)
        memory = _memory(facts, shape, _adapted(model, recipe.training.lora))
        start = time.time() - began if began is not None else 0.0
        free = _available(plan)
        speed, missing = _calibrated(facts, at_hand, memory, free) if reasons else (None, [])
    costs = [_cost(facts, stage, reasons.get(stage.name), speed) for stage in regression.every_stage(run)]
    seconds = _wall_clock(costs, speed, plan, start)
    return DryRun(recipe, plan, shape, costs, memory, free, speed, seconds, [*_left_out(recipe, path), *missing])


def _places(recipe: Recipe) -> tuple[ModelPath, ModelPath]:
    """Where the run's model is or will be, and one like it to look at now: a miniature may not be grown yet."""
    if recipe.model != "miniature":
        path = pinning.model_path(recipe, weights=False)
        return path, path
    from harness.organism import store

    place = store.place(recipe.organism_seed)
    return ModelPath(str(place)), ModelPath(str(place if place.is_dir() else store.DEFAULT))


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
    return told


def _shape(config: PretrainedConfig, model: PreTrainedModel) -> Shape:
    import torch

    parameters = sum(each.numel() for each in model.parameters())
    return estimate.shape(config, parameters, (config.dtype or torch.float32).itemsize)


def _adapted(model: PreTrainedModel, lora: Lora | None) -> int | None:
    """The adapters' parameters: for a layer of n inputs and m outputs, rank x (n + m). None where all are trained."""
    if lora is None:
        return None
    from peft import get_peft_model

    from harness.training import adapters

    wrapped = get_peft_model(model, adapters(lora))
    return sum(int(each.numel()) for each in wrapped.parameters() if each.requires_grad)


# Tokens


class Facts:
    """What is known before the run: the prompts in tokens, and the tables of pairs that are already there."""

    def __init__(self, run: Run, tokenizer: PreTrainedTokenizerBase, due: frozenset[str], on_gpu: bool) -> None:
        self.run, self.recipe, self.on_gpu = run, run.recipe, on_gpu
        self._tokenizer, self._due = tokenizer, due
        unsafe, benign = (prompts.load(self.recipe.prompts, kind) for kind in ("unsafe", "benign"))
        self.texts = [row["prompt"] for row in (*unsafe, *benign)]
        self.unsafe, self.benign = self._lengths(unsafe), self._lengths(benign)
        self.training = self._lengths(stages._training_prompts(self.recipe))
        self.openings = min(START_PROMPTS, len({row["prompt"] for row in unsafe}))
        self._longest = 0
        sources = (ON_POLICY, *run.other_sources)
        self._known = {source: self._table(source) for source in sources}

    def _lengths(self, rows: Sequence[prompts.PromptRow]) -> list[int]:
        return [len(token_ids(self._tokenizer, row["prompt"])) for row in rows]

    def table(self, source: str, answer: int) -> Table:
        """A source's pairs; where they are still to be sampled, one a training prompt, answers of `answer` tokens."""
        known = self._known["on_policy" if source == "mixed" else source]
        return known or estimate.unsampled(self.training, answer, self.recipe.training.max_length)

    def longest(self) -> int:
        """Tokens of the longest prompt with its answer that may be trained on."""
        sampled = max(self.training, default=0) + self.recipe.pairs.max_new_tokens
        longest = max(self._longest, sampled if self.is_sampled(ON_POLICY) else 0)
        return min(longest, self.recipe.training.max_length or longest)

    def is_sampled(self, source: str) -> bool:
        """Whether the model has to sample these pairs."""
        return self._known[source] is None

    def _table(self, source: str) -> Table | None:
        rows = self._rows(source)
        if rows is None:
            return None
        tokens = tokens_of(rows, self._tokenizer, self.recipe.training.max_length).values()
        answers = sum(len(each.chosen) + len(each.rejected) for each in tokens)
        lengths = (len(each.prompt) + max(len(each.chosen), len(each.rejected)) for each in tokens)
        self._longest = max(self._longest, *lengths)
        return Table(len(tokens), sum(len(each.prompt) for each in tokens), answers)

    def _rows(self, source: str) -> Sequence[Mapping[str, Any]] | None:
        """The rows of a table that is there: of the finished stage, the recipe's own, or written by the world."""
        given = self.recipe.preferences if source == ON_POLICY else getattr(self.recipe, source)
        if _pairs_stage(source) not in self._due:
            return artifacts.read_jsonl(stages._files(self.run.out, source)[0])
        if given == "bundled" and source != ON_POLICY:
            return _of_world(source, stages._training_prompts(self.recipe))
        return None if given is None else stages._given(given).rows


def _pairs_stage(source: str) -> str:
    return "preferences" if source == ON_POLICY else f"{source} pairs"


def _of_world(source: str, rows: Sequence[prompts.PromptRow]) -> list[dict[str, Any]]:
    """The world's two answers to each prompt, as if all of them gave a pair."""
    from harness.organism import answers

    written = answers.gold(rows) if source == "gold" else answers.off_policy(rows)
    said = [[[{"role": "assistant", "content": text}] for text in both] for both in written]
    return [
        {"pair_id": row["prompt_id"], "prompt": row["prompt"], "chosen": chosen, "rejected": rejected}
        for row, (chosen, rejected) in zip(rows, said, strict=True)
    ]


def work(facts: Facts, stage: Stage, sampled: int, evaluated: int) -> Work:
    """A stage's work, where answers have so many tokens: those sampled for pairs, and those of the evaluation."""
    recipe = facts.recipe
    if stage.kind == "evaluate":
        return estimate.sampling([*facts.unsafe, *facts.benign], 1, evaluated)
    table = facts.table(ON_POLICY if stage.kind == "train" else stage.of, sampled)
    if stage.kind == "pairs":
        sampling = estimate.sampling(facts.training, recipe.pairs.samples, sampled)
        return sampling if facts.is_sampled(stage.of) else Work(pairs=table.pairs)
    if stage.kind == "scores":
        return estimate.scoring(table)
    if stage.kind == "reference":
        others = [facts.table(source, sampled) for source in facts.run.other_sources]
        return estimate.reference(table, others, facts.unsafe, facts.openings)
    if stage.kind == "difficulty":
        return estimate.difficulty(table, RUNS, recipe.training.epochs, recipe.training.batch_size)
    return _training(facts, stage.of, sampled, table)


def _training(facts: Facts, name: str, sampled: int, measured: Table) -> Work:
    arm, settings = facts.recipe.arms[name], facts.recipe.training
    pool = facts.table(arm.pairs, sampled)
    kept = estimate.kept(pool.pairs, arm.filter.keep_lowest or arm.filter.random)
    count = steps(arm, settings, kept, measured.pairs)
    others = {ON_POLICY: 0, "mixed": kept // 2}.get(arm.pairs, kept)
    return estimate.training(pool, kept, count, settings.batch_size, measured, others, facts.openings)


# Memory


def _memory(facts: Facts, shape: Shape, adapted: int | None) -> dict[str, Memory]:
    """The memory of each kind of work, at the most tokens that it may see at once."""
    recipe, longest = facts.recipe, facts.longest()
    table = facts.table(ON_POLICY, recipe.pairs.max_new_tokens)
    budget = DEVICE_TOKENS if facts.on_gpu else CPU_TOKENS
    at_once = min(max(budget, PAIRS_AT_ONCE * longest), table.sequences)
    launch, lora = recipe.training.launch, recipe.training.lora
    micro = micro_batch(recipe.training, launch.processes if launch else 1)
    found = {
        "scoring": estimate.scoring_memory(shape, at_once),
        "training": estimate.training_memory(
            shape,
            2 * micro * longest,
            on_gpu=facts.on_gpu,
            adapted=adapted,
            quantized=bool(lora and lora.quantize),
            shards=launch.processes if launch and launch.config != "ddp" else 1,
        ),
    }
    if recipe.engine == "vllm":
        return found  # its engines take a share of the memory, whatever the model needs
    asked = [*facts.unsafe, *facts.benign]
    for kind, settings, lengths in (
        ("sampling", recipe.pairs, facts.training),
        ("evaluation", recipe.evaluation, asked),
    ):
        batch = min(settings.batch_size, len(lengths))
        found[kind] = estimate.sampling_memory(shape, batch, max(lengths, default=0), settings.max_new_tokens)
    return found


def _available(plan: Plan) -> int:
    """Bytes free now for each process: a GPU's, or a process's part of the machine's."""
    if plan.devices:
        import torch

        return int(torch.cuda.mem_get_info(0)[0])
    import psutil

    return int(psutil.virtual_memory().available) // plan.processes


# Time


def _calibrated(
    facts: Facts, path: ModelPath, memory: Mapping[str, Memory], free: int
) -> tuple[Speed | None, list[str]]:
    """The speed of this machine with this model; and what of it could not be measured, and why."""
    if not models.weights_are_here(path):
        return None, [f"everything, as the weights of {path} are not here to be tried"]
    too_large = [kind for kind, each in memory.items() if each.total > free]
    told = [f"{kind}, as {_gib(memory[kind].total)} do not fit into the {_gib(free)} free" for kind in too_large]
    if set(too_large) - {"training"}:
        return None, told
    if facts.recipe.training.launch:
        told.append("training, as several processes are not measured")
    writes = facts.recipe.engine == "hf"
    if not writes:
        told.append("sampling and evaluating, as vLLM is not measured")
    from harness import speed

    return speed.measure(
        path, facts.recipe, facts.texts, trains=not any(each.startswith("training") for each in told), writes=writes
    ), told


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"


def _cost(facts: Facts, stage: Stage, reason: str | None, speed: Speed | None) -> Cost:
    recipe = facts.recipe
    most = work(facts, stage, recipe.pairs.max_new_tokens, recipe.evaluation.max_new_tokens)
    if reason is None:
        return Cost(stage, None, most, most, 0.0)
    if speed is None or speed.sampling is None or speed.evaluation is None:
        return Cost(stage, reason, most, None, None if speed is None else _seconds(facts, stage, most, speed))
    expected = work(facts, stage, speed.sampling.mean, speed.evaluation.mean)
    return Cost(stage, reason, most, expected, _seconds(facts, stage, expected, speed))


def _seconds(facts: Facts, stage: Stage, work: Work, speed: Speed) -> float | None:
    if stage.kind == "pairs" and not facts.is_sampled(stage.of):
        return 0.0
    if stage.kind == "pairs":
        return estimate.writing_seconds(work, speed, speed.sampling, facts.recipe.pairs.batch_size, speed.load)
    if stage.kind == "evaluate":
        batch = facts.recipe.evaluation.batch_size
        return estimate.writing_seconds(work, speed, speed.evaluation, batch, speed.evaluation_setup)
    if stage.kind in {"scores", "reference"}:
        return estimate.reading_seconds(work, speed)
    return estimate.training_seconds(work, speed, 2 * RUNS if stage.kind == "difficulty" else 1)


def _wall_clock(costs: Sequence[Cost], speed: Speed | None, plan: Plan, start: float) -> float | None:
    """From the start of the run to the end of its last stage; None where a stage's time is not known."""
    seconds = {cost.stage.name: cost.seconds for cost in costs}
    if None in seconds.values():
        return None
    shared = 0.0
    pieces: defaultdict[tuple[str, int], float] = defaultdict(float)
    for cost in costs:
        if cost.stage.kind in {"train", "evaluate"}:
            pieces[cost.stage.of, cost.stage.seed] += cost.seconds or 0.0
        else:
            shared += cost.seconds or 0.0
    waiting = [piece for piece in pieces.values() if piece]
    imports = speed.imports if speed and waiting else 0.0
    return start + estimate.wall_clock(shared, waiting, imports, plan.processes)
