"""What each stage of a run does; the heavy libraries are imported here."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset

from harness.displacement.pushes import measure_pushes
from harness.displacement.run_files import write_change, write_reference
from harness.displacement.start_side import StartSide
from harness.evaluation.lm_eval import AskedPrompts, evaluate_endpoint, evaluate_model
from harness.forecast.extrapolation import LEVEL
from harness.forecast.forecasting import forecast_training
from harness.forecast.look_ahead import AnswerLogprobs
from harness.models.loading import load_model, load_tokenizer
from harness.models.paths import ModelPath
from harness.organism import answers
from harness.preferences.building import BuiltPairs, build_pairs, pairs_from_answers
from harness.preferences.gold import make_gold_pairs, names_labelled_answers
from harness.preferences.tables import load_preferences, load_training_rows
from harness.preferences.tokens import Tokens
from harness.prompts.sets import PromptRow, load_prompts
from harness.recipes.schema import Recipe
from harness.run.refreshing import Refresher
from harness.run.stages import Stage, StageKind, evaluated_model
from harness.run.state import FORECAST_PROMPTS, Run, training_prompts
from harness.scoring.influence.subspace import Subspace, check_layers
from harness.scoring.logprobs import PairLogprobs, pair_logprobs, profile_model, tokenize_pairs
from harness.scoring.probes import Probes, draw_probes
from harness.scoring.scorer import score
from harness.scoring.targets import TARGETS, Target, asks_unsafe, error_column, influence_column
from harness.support import artifacts, console
from harness.support.errors import HarnessError
from harness.support.layout import ON_POLICY, OTHER_SOURCES
from harness.support.spacing import evenly_spaced
from harness.training.arms import choose_arm_pairs, keep_arm_pairs, optimizer_steps, reward_differences
from harness.training.difficulty import validation_losses
from harness.training.jobs import Trained, TrainingJob, Watch
from harness.training.train import train_on_pairs
from harness.training.trl import load_quantized

# Pairs and their scores


def write_pairs(run: Run, stage: Stage) -> None:
    """A source's table of pairs."""
    if stage.of == ON_POLICY:
        _write_preferences(run)
    else:
        _write_other_pairs(run, stage.of)


def _write_preferences(run: Run) -> None:
    """The recipe's own table or pairs sampled from the model, and a card about them."""
    recipe, files = run.recipe, run.files
    if recipe.preferences is not None:
        built = BuiltPairs(load_training_rows(recipe.preferences), Counter())
    else:
        built = build_pairs(recipe, run.model_path, training_prompts(recipe), files.partial_pairs)
    if not built.rows:
        raise HarnessError(
            f"no preference pairs came of {recipe.prompts}: {dict(built.dropped)}",
            hint="Sample at a higher pairs.temperature, or give preferences.",
        )
    artifacts.write_jsonl(files.source(ON_POLICY).pairs, built.rows)
    artifacts.write_json(files.pairs_card, {"pairs": len(built.rows), "dropped_prompts": dict(built.dropped)})
    shutil.rmtree(files.partial_pairs, ignore_errors=True)


def _write_other_pairs(run: Run, source: str) -> None:
    """The recipe's own table, people's labels or the miniature's world; ids say the source, as arms may mix them."""
    table = str(getattr(run.recipe, source))
    if table == "bundled":
        rows = _world_rows(run, source)
    elif source == "gold" and names_labelled_answers(table):
        rows = make_gold_pairs(table, training_prompts(run.recipe), run.recipe.pairs.seed)
    else:
        rows = load_training_rows(table)
    named = ({**row, "pair_id": f"{source}-{row['pair_id']}"} for row in rows)
    artifacts.write_jsonl(run.files.source(source).pairs, named)


def _world_rows(run: Run, source: str) -> list[dict[str, Any]]:
    rows = training_prompts(run.recipe)
    written = answers.gold_answers(rows) if source == "gold" else answers.off_policy_answers(rows)
    with tempfile.TemporaryDirectory() as keep:
        return pairs_from_answers(run.recipe, rows, written, Path(keep), source).rows


def write_scores(run: Run, stage: Stage) -> None:
    """A source's pairs with their scores."""
    files = run.files.source(stage.of)
    recipe = run.recipe
    model, tokenizer = load_model(run.model_path, float32=True)
    scored = score(
        load_preferences(files.pairs),
        model,
        tokenizer,
        max_length=recipe.training.max_length,
        paper_states=recipe.paper_states,
    )
    with artifacts.atomic_file(files.scores) as temporary:
        scored.to_parquet(str(temporary))
    _refuse_arms_without_pairs(run, stage.of)


def _refuse_arms_without_pairs(run: Run, source: str) -> None:
    """Raises HarnessError, before anything is trained, for an arm that needs pairs which the source has not.

    Those are pairs of one type, and with rewards.
    """
    asking = {name: arm for name, arm in run.recipe.arms.items() if arm.filter.only or arm.rewards}
    arms = {name: arm for name, arm in asking.items() if arm.pairs == source}
    scored = {source: load_scored_pairs(run, source)} if arms else {}
    for name, arm in arms.items():
        try:
            if arm.filter.only:
                keep_arm_pairs(arm, scored, seed=0)
            if arm.rewards:
                reward_differences(scored[source], arm.rewards)
        except HarnessError as error:
            hint = f"Take other pairs or more prompts, or leave the arm out: --set arms.{name}=null"
            raise HarnessError(error.cause, place=f"arm {name}", hint=hint) from error


def load_scored_pairs(run: Run, source: str) -> Dataset:
    """A source's scored pairs; one that could not be scored is in no arm. The arms of a process share the table."""
    return _join_scores(_scored_files(run, source))


class _ScoredFiles(NamedTuple):
    """What a source's scored pairs are read from, where it is there, and the hashes of the content."""

    scores: Path
    difficulty: Path | None
    reference: Path | None
    influence: Path | None
    content: tuple[str, ...]


def _scored_files(run: Run, source: str) -> _ScoredFiles:
    files, own = run.files.source(source), source == ON_POLICY
    margins = any(arm.filter.by == "log_margin" for arm in run.recipe.arms.values())
    wanted = {run.files.difficulty: own, files.reference: margins, run.files.influence: own}
    difficulty, reference, influence = (path if asked and path.is_file() else None for path, asked in wanted.items())
    there = [path for path in (files.scores, difficulty, reference, influence) if path is not None]
    return _ScoredFiles(files.scores, difficulty, reference, influence, tuple(map(artifacts.sha256_of, there)))


@lru_cache(maxsize=4)
def _join_scores(files: _ScoredFiles) -> Dataset:
    table = Dataset.from_parquet(str(files.scores))
    table = table.filter(lambda score: score is not None, input_columns="ln_ches")
    if files.difficulty is not None:
        losses = artifacts.read_json(files.difficulty)
        table = table.add_column("validation_loss", [losses.get(name) for name in table["pair_id"]])
    if files.reference is not None:
        margins = _log_margins(files.reference)
        table = table.add_column("log_margin", [margins.get(name) for name in table["pair_id"]])
    if files.influence is not None:
        table = _join_influences(table, Dataset.from_parquet(str(files.influence)))
    return table


def _scored_tokens(run: Run) -> Mapping[str, Tokens]:
    """The on-policy pairs' tokens under the starting model's tokenizer, which every arm trains with."""
    model, longest = run.model_path, run.recipe.training.max_length
    return _tokenize_scored(_scored_files(run, ON_POLICY), (model, model.content), longest)


@lru_cache(maxsize=1)
def _tokenize_scored(files: _ScoredFiles, model: tuple[ModelPath, str], max_length: int | None) -> Mapping[str, Tokens]:
    return tokenize_pairs(_join_scores(files), load_tokenizer(model[0])[1], max_length)


def _log_margins(reference: Path) -> dict[str, float]:
    """How far apart the starting model's ln p of each pair's answers are, by `pair_id`."""
    return {name: PairLogprobs(*pair).log_margin for name, pair in artifacts.read_json(reference).items()}


def _join_influences(table: Dataset, influences: Dataset) -> Dataset:
    """The table with the influences of its pairs, by `pair_id`; None where a pair has none."""
    columns = [name for name in influences.column_names if name != "pair_id"]
    rows = {row["pair_id"]: row for row in influences}
    for name in columns:
        table = table.add_column(name, [rows.get(pair, {}).get(name) for pair in table["pair_id"]])
    return table


# The starting model


def write_starting_side(run: Run, _: Stage) -> None:
    """The starting model's side of every comparison; ln p under the quantized weights too where QLoRA trains."""
    settings = run.recipe.training
    scored = {source: load_scored_pairs(run, source) for source in (ON_POLICY, *run.other_sources)}
    model, tokenizer = load_model(run.model_path, float32=True)
    unsafe, benign = (load_prompts(run.recipe.prompts, kind) for kind in ("unsafe", "benign"))
    asked = [row["prompt"] for row in benign]
    write_reference(model, tokenizer, scored[ON_POLICY], unsafe, asked, run.files.reference, settings.max_length)
    for source in run.other_sources:
        logprobs = pair_logprobs(model, tokenizer, scored[source], max_length=settings.max_length)
        artifacts.write_json(run.files.source(source).reference, _logprobs_json(logprobs))
    if settings.quantize:
        model, tokenizer = load_quantized(run.model_path, settings.quantize)
        tables = [pair_logprobs(model, tokenizer, each, max_length=settings.max_length) for each in scored.values()]
        quantized = {name: pair for table in tables for name, pair in _logprobs_json(table).items()}
        artifacts.write_json(run.files.quantized_logprobs, quantized)


def _training_reference(run: Run) -> dict[str, PairLogprobs]:
    """The log-probabilities of every pair of every source under the model that training starts from."""
    if run.recipe.training.quantize:
        files = [run.files.quantized_logprobs]
    else:
        files = [run.files.source(source).reference for source in (ON_POLICY, *run.other_sources)]
    return {name: PairLogprobs(*pair) for file in files for name, pair in artifacts.read_json(file).items()}


def _logprobs_json(logprobs: Mapping[str, PairLogprobs]) -> dict[str, list[float]]:
    return {pair: [each.chosen, each.rejected] for pair, each in logprobs.items()}


def write_difficulty(run: Run, _: Stage) -> None:
    """The validation loss of each on-policy pair."""
    pairs = load_scored_pairs(run, ON_POLICY)
    losses = validation_losses(run.model_path, pairs, _training_reference(run), run.recipe.training)
    artifacts.write_json(run.files.difficulty, losses)


# Influence


def write_probes(run: Run, _: Stage) -> None:
    """Answers of the starting model to the training prompts that the targets ask, judged."""
    recipe, prompts = run.recipe, _probe_prompts(run.recipe, run.influence_targets)
    model, tokenizer = load_model(run.model_path)
    check_layers(model, Subspace.parse(recipe.probes.subspace) if recipe.probes.subspace else None)
    drawn = draw_probes(
        model,
        tokenizer,
        prompts,
        samples=recipe.probes.samples,
        max_new_tokens=recipe.evaluation.max_new_tokens,
        judge=recipe.judge,
        seed=recipe.probes.seed,
    )
    replace(drawn, model=run.model_path.content).save(run.files.probes)


def _probe_prompts(recipe: Recipe, targets: Iterable[Target]) -> dict[bool, list[PromptRow]]:
    """The training prompts that the targets ask, by whether they are unsafe."""
    kinds = {asks_unsafe(target) for target in targets if target != "preferred"}
    return {
        unsafe: [
            row for row in load_prompts(recipe.prompts, "unsafe" if unsafe else "benign") if row["split"] == "train"
        ]
        for unsafe in sorted(kinds, reverse=True)
    }


def write_influence(run: Run, _: Stage) -> None:
    """What training on each on-policy pair does to the targets, and how sure that is, by `pair_id`."""
    settings, targets = run.recipe.probes, run.influence_targets
    model, tokenizer = load_model(run.model_path)
    scored = score(
        load_preferences(run.files.source(ON_POLICY).pairs),
        model,
        tokenizer,
        max_length=run.recipe.training.max_length,
        probes=Probes.load(run.files.probes),
        targets=targets,
        subspace=settings.subspace,
    )
    columns = [name for target in targets for name in (influence_column(target), error_column(target))]
    with artifacts.atomic_file(run.files.influence) as temporary:
        scored.select_columns(["pair_id", *columns]).to_parquet(str(temporary))


def write_forecast(run: Run, stage: Stage) -> None:
    """What training on all pairs, and on those that influence chose, would do to the rates of the probe answers."""
    probes = Probes.load(run.files.probes)
    asked = {*evenly_spaced([*dict.fromkeys(each.prompt_id for each in probes.answers)], FORECAST_PROMPTS)}
    probes = replace(probes, answers=tuple(each for each in probes.answers if each.prompt_id in asked))
    tokenizer = load_tokenizer(run.model_path)[1]
    found, before = {}, AnswerLogprobs()
    for name in run.forecast_arms:
        forecast = forecast_training(_training_job(run, name, stage.seed)[0], probes, tokenizer, before=before)
        found[name] = forecast.to_json()
        for target, change in forecast.changes.items():
            if target == "refusal":
                ends = f"{change.before + change.low:.0%} to {change.before + change.high:.0%}"
                told = f"{change.before:.0%} to {change.before + change.change:.0%} ({LEVEL:.0%} interval {ends})"
                console.print_note(f"forecast, {name}: refusals among probe answers from {told}")
    artifacts.write_json(run.files.forecast, {"schema_version": 1, "level": LEVEL, "arms": found})


def write_pushes(run: Run, _: Stage) -> None:
    """How hard each on-policy pair pushes each unsafe prompt's refusal; nothing where it is too much work."""
    model, tokenizer = load_model(run.model_path)
    prompts = {row["prompt_id"]: row["prompt"] for row in load_prompts(run.recipe.prompts, "unsafe")}
    measure_pushes(model, tokenizer, prompts, _scored_tokens(run)).save(run.files.pushes)


# Arms

_LARGEST_WEIGHT = 1e8
"""No trained model's weights come near it."""


def train_arm(run: Run, stage: Stage, watch: Watch | None = None) -> None:
    """One arm with one seed: the checkpoint, what it was trained on, and what that did to the likelihood of answers.

    `watch` sees the model before the first step and after each; not where influence is refreshed.
    """
    settings, files = run.recipe.training, run.files.arm(stage.of, stage.seed)
    job, choice = _training_job(run, stage.of, stage.seed)
    job = replace(job, tracking=run.track(f"{stage.of}-seed-{stage.seed}"))
    kept, refreshes = len(job.pairs), dict[str, Any]()
    if job.arm.filter.refresh is None:
        begun_with = [run.directory.manifest["versions"], stage.inputs(run)]
        trained = train_on_pairs(job, watch=watch, keep=artifacts.resume_or_clear(files.partial, begun_with))
    else:
        trained, pairs, refreshes["refreshes"] = _train_refreshed(run, job)
        job = replace(job, pairs=pairs)
    model, tokenizer = trained.model, trained.tokenizer
    start = StartSide.load(run.files.reference.start)
    measured = profile_model(model, _scored_tokens(run), anchor=start.anchor)
    after = measured.pair_sums()
    others = job.pairs.filter(lambda pair: pair not in after, input_columns="pair_id")
    of_others = pair_logprobs(model, tokenizer, others, max_length=settings.max_length) if len(others) else {}
    _refuse_diverged(model, {**after, **of_others}, f"arm {job.label}")
    for of_another_model in (files.displacement, files.training):  # a kill leaves none beside this one
        of_another_model.unlink(missing_ok=True)
    trained.save(files.model)
    write_change(model, tokenizer, measured, start, run.files.reference, files.displacement)
    artifacts.write_json(
        files.training,
        {
            "pairs": kept,
            "steps": job.steps,
            "choice": choice,
            "trained_pair_ids": job.pairs["pair_id"][:],
            "log": trained.log,
            "logprobs": _logprobs_json(after),
            "other_logprobs": _logprobs_json(of_others),
            **refreshes,
        },
    )
    shutil.rmtree(files.partial, ignore_errors=True)


def _train_refreshed(run: Run, job: TrainingJob) -> tuple[Trained, Dataset, list[dict[str, Any]]]:
    """Trains with refreshed influence: the model, the pairs that were ever trained on, and what was kept when.

    Without checkpoints, as what was kept is not in them: a training that is killed begins anew.
    """
    whole = replace(job, pairs=load_scored_pairs(run, ON_POLICY))
    targets = [target for target in TARGETS if influence_column(target) == job.arm.filter.influence]
    refresher = Refresher(
        run.recipe,
        job.arm,
        whole.pairs,
        job.pairs["pair_id"][:],
        steps=job.steps,
        seed=job.seed,
        tokenizer=load_tokenizer(run.model_path)[1],
        prompts=_probe_prompts(run.recipe, targets),
    )
    trained = train_on_pairs(whole, watch=refresher, changing=refresher.changing)
    return trained, whole.pairs.select(sorted(refresher.changing.taken)), refresher.told


def _training_job(run: Run, name: str, seed: int) -> tuple[TrainingJob, dict[str, Any]]:
    """The training of one arm with one seed, and what its filter kept and dropped."""
    arm, settings = run.recipe.arms[name], run.recipe.training
    scored = {source: load_scored_pairs(run, source) for source in (ON_POLICY, *OTHER_SOURCES[arm.pairs])}
    kept, choice = choose_arm_pairs(arm, scored, seed)
    steps = optimizer_steps(arm, settings, len(kept), len(scored[ON_POLICY]))
    label = f"{name}, seed {seed}"
    return TrainingJob(run.model_path, kept, _training_reference(run), arm, settings, steps, seed, label), choice


def _refuse_diverged(model: Any, logprobs: Mapping[str, PairLogprobs], place: str) -> None:
    """Raises HarnessError where ln p is no number, or a weight ran away: then ln p may be one, and sampling breaks."""
    weights = (weight.detach() for weight in model.parameters() if weight.is_floating_point() and weight.numel())
    if not all(math.isfinite(each.chosen) and math.isfinite(each.rejected) for each in logprobs.values()):
        told = "ln p is not a number"
    elif not all(float(weight.abs().max()) < _LARGEST_WEIGHT for weight in weights):
        told = f"a weight is not a number, or above {_LARGEST_WEIGHT:g}"
    else:
        return
    raise HarnessError(f"the training diverged: {told}", place=place, hint="Lower training.learning_rate.")


def evaluate_arm(run: Run, stage: Stage) -> None:
    """One arm, or the baseline, with one seed: lm-eval's output."""
    console.print_note(f"Evaluating {stage.of}, seed {stage.seed} …")  # lm-eval draws the bar
    recipe, files = run.recipe, run.files.arm(stage.of, stage.seed)
    model = evaluated_model(run, stage.of, stage.seed)
    asked = AskedPrompts(
        recipe.prompts, recipe.judge, stage.seed, own=recipe.tasks, trust_task_code=recipe.trust_task_code
    )
    if recipe.endpoint is not None:
        keep = files.partial_evaluation
        evaluate_endpoint(recipe.endpoint, model, files.evaluation, keep, recipe.evaluation, asked)
    elif recipe.backend != "api":
        evaluate_model(model, files.evaluation, recipe.evaluation, asked, backend=recipe.backend)


WORK_OF_KIND: Mapping[StageKind, Callable[[Run, Stage], None]] = {
    "pairs": write_pairs,
    "scores": write_scores,
    "reference": write_starting_side,
    "difficulty": write_difficulty,
    "probes": write_probes,
    "influence": write_influence,
    "forecast": write_forecast,
    "pushes": write_pushes,
    "train": train_arm,
    "evaluate": evaluate_arm,
}
"""What each kind of stage does."""
