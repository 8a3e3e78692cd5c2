"""How long a run's work takes on this machine with the model at hand: a run in small, timed.

The small run has the real stages, pairs of answers that the model just gave, and one arm. What needs no worker is tried
here; the training and the evaluation of the arm in as many processes at once as the run will have, since processes
beside each other share caches and memory.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.displacement.openings import answer_starts
from harness.judges.registry import judge_exchanges
from harness.judges.verdicts import Exchange
from harness.models.loading import load_model
from harness.models.paths import ModelPath
from harness.models.sampling import generate_answer_tokens, render_prompt
from harness.preferences.building import pairs_from_answers
from harness.preferences.pairs import PreferenceRow
from harness.preferences.shapes import chat_messages
from harness.prompts.sets import PROMPT_KINDS, PromptRow, load_prompts
from harness.recipes.schema import Arm, Filter, Recipe, RewardModel
from harness.run.cost.seconds import ArmSpeed, ArmTimes, Speed, Writing, arm_speed, reading_seconds
from harness.run.cost.stage_tokens import KnownTokens, most_tokens, stage_work, table_of
from harness.run.cost.tokens import Workload, likely_lengths
from harness.run.results import compute_results
from harness.run.stages import Stage, StageKind, every_stage, run_stages, shared_stages
from harness.run.state import Run, open_run, training_prompts, write_outcome
from harness.scoring.logprobs import profile_model, tokenize_pairs
from harness.scoring.probes import PROBE_TEMPERATURE, PROBES_AT_ONCE
from harness.support import artifacts, console
from harness.support.layout import ON_POLICY
from harness.workers.processes import ProcessPlan, preload_imports, run_in_processes
from reports.page import render_report

T = TypeVar("T")

SECONDS = 1.5
"""What one short generation, or reading the small run's pairs once, may take."""
_FIRST = 4
"""Tokens of the generation that comes before it: it tells how many tokens the time is enough for."""
_OPENINGS, _PAIRS, _STEPS, _BATCHES = 16, 32, 3, 2
"""Prompts whose answers' starts are read, pairs that are read first, passes of the small run's training, and batches of
its evaluation."""
_ARM, _MEASURING = "small", ("scores", "reference")
"""The small run's arm, and its stages before that."""


def measure_speed(known: KnownTokens, path: ModelPath, plan: ProcessPlan, *, trains: bool, writes: bool) -> Speed:
    """Loads the model and tries each kind of the run's work on a little of it.

    Args:
        known: the run, and what is known of its tokens; nothing is written into its directory.
        path: the model, its weights at hand.
        plan: the run's processes.
        trains: whether there is memory and room for a training; without, its speed stays unknown.
        writes: whether transformers samples; without, that speed stays unknown.
    """
    with (
        console.progress_bar("Measuring the speed", None) as advance,
        console.hide_bars(),
        redirect_stderr(StringIO()),
        tempfile.TemporaryDirectory() as folder,
    ):
        if plan.processes > 1:
            preload_imports()  # as the run does, beside its first stages
        _, imports = time_call(_import_work)
        speed, writing, pairs = _measure_forward(known, path, Path(folder))
        advance()
        small = _prepare_small(known, path, writing, pairs, Path(folder), plan.processes)
        speed = _measure_shared(small, replace(speed, imports=imports))
        advance()
        speed = replace(speed, arms=_measure_arms(small, writing, speed.opening, plan, trains=trains))
        if trains:
            speed = replace(speed, outcome=_measure_outcome(small.run))
    return speed if writes else replace(speed, sampling=None, evaluation=None, probing=None)


def time_call(work: Callable[[], T]) -> tuple[T, float]:
    """What the work gives, and the seconds it took."""
    started = perf_counter()
    return work(), perf_counter() - started


def _import_work() -> None:
    """What the run's first stage loads.

    Timed, so nothing that a dry run imports may load it before: the stages' work is imported where it is tried, below.
    """
    from harness.run import work  # noqa: F401


def _some_of(items: Sequence[T], most: int) -> list[T]:
    """At most so many of them, evenly spaced; `harness.support.spacing` is for distinct texts."""
    return [items[place * len(items) // most] for place in range(most)] if len(items) > most else list(items)


# The model alone, in this process


def _measure_forward(known: KnownTokens, path: ModelPath, folder: Path) -> tuple[Speed, Writing, list[dict[str, Any]]]:
    """The speed of what needs no gradients and no other process; the evaluation's answers; pairs for the small run."""
    recipe = known.recipe
    unsafe, benign = ([row["prompt"] for row in known.rows[kind]] for kind in PROMPT_KINDS)
    (model, tokenizer), load = time_call(lambda: load_model(path))
    rows = _some_of(training_prompts(recipe), max(1, recipe.pairs.batch_size // recipe.pairs.samples))
    asked = [row["prompt"] for row in rows for _ in range(recipe.pairs.samples)]
    sampling, answers = _try_writing(model, tokenizer, asked, recipe.pairs.temperature, recipe.pairs.max_new_tokens)
    most = recipe.evaluation.max_new_tokens
    some = _some_of([*unsafe, *benign], recipe.evaluation.batch_size)
    evaluation, _ = _try_writing(model, tokenizer, some, recipe.evaluation.temperature, most)
    probing = evaluation
    if known.run.influence_targets:
        probing, _ = _try_writing(model, tokenizer, _some_of(unsafe, PROBES_AT_ONCE), PROBE_TEMPERATURE, most)
    _pair_share(recipe, rows, answers, folder / "judged-first")  # the first time is slow
    paired, judging = time_call(lambda: _pair_share(recipe, rows, answers, folder / "judged"))
    pairs = _neighbour_pairs(asked, answers)
    model.float()  # as a run measures
    read, affordable = _try_reading(model, tokenizer, pairs, recipe.training.max_length)
    openings = _some_of(unsafe, _OPENINGS)
    answer_starts(model, tokenizer, openings[:2])  # the first is slow
    _, opening = time_call(lambda: answer_starts(model, tokenizer, openings))
    number = max(2, min(known.source_table(ON_POLICY, most_tokens(recipe)).pairs, affordable))
    speed = Speed(load, read, opening / len(openings), judging / len(answers), paired, sampling, evaluation, probing)
    again = [{**pairs[place % len(pairs)], "pair_id": f"pair-{place}"} for place in range(number)]
    return speed, evaluation, again


def _try_writing(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], temperature: float, most: int
) -> tuple[Writing, list[str]]:
    """One batch of answers, as long as `SECONDS` allows; the prompts' own pass is no part of a step."""
    texts = [render_prompt(tokenizer, prompt) for prompt in prompts]
    write = partial(generate_answer_tokens, model, tokenizer, texts, temperature or 1.0)  # the likeliest is no quicker
    write(1)  # the first is slow
    _, prompt_pass = time_call(lambda: write(1))
    _, first = time_call(lambda: write(min(_FIRST, most)))
    limit = min(most, max(_FIRST, int(SECONDS / _step_seconds(first, prompt_pass, min(_FIRST, most)))))
    drawn, seconds = time_call(lambda: write(limit))
    lengths = [len(tokens) for tokens in drawn]
    answers = tokenizer.batch_decode(drawn, skip_special_tokens=True)
    return Writing(_step_seconds(seconds, prompt_pass, max(lengths)), likely_lengths(lengths, limit, most)), answers


def _step_seconds(seconds: float, prompt_pass: float, tokens: int) -> float:
    """What each further token of a batch takes; where that is too little to be told, its share of all."""
    further = seconds - prompt_pass
    return further / (tokens - 1) if tokens > 1 and further > 0 else seconds / tokens


def _try_reading(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferenceRow], max_length: int | None
) -> tuple[float, int]:
    """Seconds of a token, and how many pairs may be read in `SECONDS`."""
    tokens = tokenize_pairs(pairs[:_PAIRS], tokenizer, max_length)
    profile_model(model, dict([*tokens.items()][:2]))  # the first pass is slow
    _, seconds = time_call(lambda: profile_model(model, tokens))
    return seconds / table_of(tokens).sequences, int(SECONDS * len(tokens) / seconds)


def _pair_share(recipe: Recipe, rows: Sequence[PromptRow], answers: Sequence[str], folder: Path) -> float:
    """The share of prompts whose answers give a pair, judged lexically, and without a reward model."""
    folder.mkdir()
    samples = recipe.pairs.samples
    by_prompt = [answers[place : place + samples] for place in range(0, samples * len(rows), samples)]
    ties = "random" if isinstance(recipe.pairs.tie_break, RewardModel) else recipe.pairs.tie_break
    judged = recipe.model_copy(
        update={"judge": "lexical", "pairs": recipe.pairs.model_copy(update={"tie_break": ties})}
    )
    return len(pairs_from_answers(judged, rows, by_prompt, folder, "small").rows) / len(rows)


def _neighbour_pairs(prompts: Sequence[str], answers: Sequence[str]) -> list[dict[str, Any]]:
    """Each answer beside the next one, which is made another where it is the same."""
    said = [text or "." for text in answers]
    others = [other if other != text else f"{other} ." for text, other in zip(said, [*said[1:], said[0]], strict=True)]
    rows = zip(prompts, said, others, strict=True)
    return [{"pair_id": f"pair-{place}", **chat_messages(*row)} for place, row in enumerate(rows)]


# The small run


@dataclass(frozen=True, slots=True)
class _SmallRun:
    """A run in small: `known` of it, and the run itself; before it comes a still smaller one, as the first is slow."""

    known: KnownTokens
    run: Run
    first: Run

    @property
    def stages(self) -> dict[str, Stage]:
        """One stage of each kind."""
        return {stage.kind: stage for stage in every_stage(self.run)}

    def work_of(self, kind: str) -> Workload:
        """The work of its stage of a kind; its evaluation's answers as long as they may be."""
        return stage_work(self.known, self.stages[kind], most_tokens(self.run.recipe))


def _prepare_small(
    known: KnownTokens,
    path: ModelPath,
    writing: Writing,
    pairs: Sequence[Mapping[str, Any]],
    folder: Path,
    processes: int,
) -> _SmallRun:
    """A run on these pairs, whose evaluation is as large as `SECONDS` allow and no larger than the whole."""
    longest = max(writing.lengths)
    batches = min(_BATCHES, max(1, int(SECONDS / (writing.step * longest))))
    limit = min(longest, max(_FIRST, int(SECONDS / writing.step)))
    asked = _some_asked(known, batches * known.recipe.evaluation.batch_size)
    few = [{**each[0], "label": kind} for kind, each in known.rows.items() if each]
    passes = _STEPS * known.pairs_at_once
    run = _open_small(known, path, folder / "run", pairs, asked, limit, passes, processes)
    first = _open_small(known, path, folder / "first", pairs[:2], few, 1, 1, processes)
    return _SmallRun(known.of_another(run), run, first)


def _some_asked(known: KnownTokens, most: int) -> list[dict[str, Any]]:
    """At most so many of the evaluation's prompts; few of them unsafe, as of those it is read how answers start."""
    unsafe, benign = ([{**row, "label": kind} for row in known.rows[kind]] for kind in PROMPT_KINDS)
    few = _some_of(unsafe, max(_OPENINGS, most - len(benign)))
    return _some_of([*few, *_some_of(benign, max(0, most - len(few)))], most)


def _open_small(
    known: KnownTokens,
    path: ModelPath,
    folder: Path,
    pairs: Sequence[Mapping[str, Any]],
    asked: Sequence[Mapping[str, Any]],
    longest: int,
    kept: int,
    processes: int,
) -> Run:
    """A run of one arm on so many of the pairs, without what other machines and packages do."""
    folder.mkdir()
    prompts, table = folder / "prompts.jsonl", folder / "pairs.jsonl"
    artifacts.write_jsonl(prompts, asked)
    artifacts.write_jsonl(table, pairs)
    recipe, at_once = known.recipe, known.pairs_at_once
    settings = {"batch_size": at_once, "micro_batch_size": at_once, "epochs": 1, "report_to": (), "launch": None}
    chosen = Filter(random=kept / len(pairs)) if kept < len(pairs) else Filter()
    changed = {
        "prompts": str(prompts),
        "preferences": str(table),
        "judge": "lexical",
        "backend": "hf",
        "endpoint": None,
        "tasks": (),
        "limit": None,
        "published": None,
        "seeds": tuple(range(processes)),
        "arms": {_ARM: Arm(filter=chosen)},
        "training": recipe.training.model_copy(update=settings),
        "evaluation": recipe.evaluation.model_copy(update={"max_new_tokens": longest}),
    }
    return open_run(recipe.model_copy(update=changed), path, folder / "out", {})


def _measure_shared(small: _SmallRun, speed: Speed) -> Speed:
    """What scores and the starting model's side take beside reading."""
    for run in (small.first, small.run):
        run_stages(run, shared_stages(run))
    seconds = {kind: small.run.directory.manifest["stages"][small.stages[kind].name]["seconds"] for kind in _MEASURING}
    rest = {kind: max(0.0, seconds[kind] - reading_seconds(small.work_of(kind), speed, 0.0)) for kind in _MEASURING}
    return replace(speed, **rest)


# Its arm, in processes beside each other


def _measure_arms(small: _SmallRun, writing: Writing, opening: float, plan: ProcessPlan, *, trains: bool) -> ArmSpeed:
    """Trains and evaluates in every process at once."""
    settings = small.run.recipe.evaluation
    work = partial(_time_arm, small.run, small.first, trains)
    log = small.run.files.root.parent / "workers.log"
    run_in_processes(work, range(plan.processes), plan, "Measuring", log)
    found = [ArmTimes(**artifacts.read_json(_times_file(small.run, place))) for place in range(plan.processes)]
    lengths = tuple(min(length, settings.max_new_tokens) for length in writing.lengths)
    training = small.work_of("train") if trains else None
    return arm_speed(found, training, small.work_of("evaluate"), opening, lengths, settings.batch_size)


def _times_file(run: Run, place: int) -> Path:
    return run.files.root.parent / f"times-{place}.json"


def _time_arm(run: Run, first: Run, trains: bool, place: int) -> None:
    """One process's times of one training and one evaluation, after a first one of each; written into a file."""
    started = perf_counter()
    if trains:
        _train_small(first, place)
    _evaluate_small(first, place)
    beginning = perf_counter() - started
    (model, tokenizer), load = time_call(lambda: load_model(run.model_path))
    settings = run.recipe.evaluation
    asked = [row["prompt"] for kind in PROMPT_KINDS for row in load_prompts(run.recipe.prompts, kind)]
    some = _some_of(asked, settings.batch_size)
    writing, said = _try_writing(model, tokenizer, some, settings.temperature, settings.max_new_tokens)
    judge_exchanges(run.recipe.judge, [*map(Exchange, some, said)])  # the first time is slow
    model.float()
    pairs = artifacts.read_jsonl(run.files.source(ON_POLICY).pairs)
    read, _ = _try_reading(model, tokenizer, pairs, run.recipe.training.max_length)
    del model
    times = ArmTimes(beginning, load, read, writing.step)
    if trains:
        started = perf_counter()
        passes, training = time_call(lambda: _train_small(run, place))
        times = replace(times, training=training, before=passes[0] - started, passes=passes[-1] - passes[0])
    _, evaluation = time_call(lambda: _evaluate_small(run, place))
    artifacts.write_json(_times_file(run, place), asdict(replace(times, evaluation=evaluation)))


def _train_small(run: Run, seed: int) -> list[float]:
    """Trains its arm; when each step was done, and first of all when the first began."""
    from harness.run.work import train_arm

    steps: list[float] = []
    _do_stage(run, "train", _ARM, seed, partial(train_arm, watch=lambda *_: steps.append(perf_counter())))
    return steps


def _evaluate_small(run: Run, seed: int) -> None:
    """Evaluates its arm where that was trained, else the starting model."""
    from harness.run.work import evaluate_arm

    trained = run.files.arm(_ARM, seed).model.exists()
    _do_stage(run, "evaluate", _ARM if trained else "baseline", seed, evaluate_arm)


def _do_stage(run: Run, kind: StageKind, arm: str, seed: int, work: Callable[[Run, Stage], None]) -> None:
    stage = next(each for each in every_stage(run) if (each.kind, each.of, each.seed) == (kind, arm, seed))
    run.directory.run_stage(stage.name, stage.inputs(run), stage.outputs, lambda: work(run, stage))


def _measure_outcome(run: Run) -> float:
    """What results.json and the report take; its trained model's answers stand in for the starting one's."""
    for seed in run.recipe.seeds:
        _do_stage(run, "evaluate", "baseline", seed, _copy_evaluation)
    root = run.files.root
    results, computing = time_call(lambda: compute_results(run.recipe, root))
    _, writing = time_call(lambda: write_outcome(run.directory, results, lambda root: render_report([root])))
    return computing + writing


def _copy_evaluation(run: Run, stage: Stage) -> None:
    shutil.copytree(run.files.arm(_ARM, stage.seed).evaluation, run.files.arm(stage.of, stage.seed).evaluation)
