"""The stages of a regression run. Each reads what the stage before wrote and leaves whole files."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import artifacts, console, prompts
from harness.artifacts import REFERENCE_FILES
from harness.errors import HarnessError
from harness.judges import identity
from harness.models import ModelPath, load_model
from harness.pair_building import Built
from harness.recipe import Recipe, Training
from harness.run_directory import RunDirectory, arm_directory, threads

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.displacement import PairLogprobs

ON_POLICY = "on_policy"
"""The source of pairs that every run has; `preferences` in a recipe takes its place."""
OTHER_SOURCES: Mapping[str, tuple[str, ...]] = {
    ON_POLICY: (),
    "gold": ("gold",),
    "off_policy": ("off_policy",),
    "mixed": ("off_policy",),
}
"""The tables beside the on-policy pairs that an arm's `pairs` need."""
QUANTIZED = "quantized_logprobs.json"
"""What QLoRA's objective refers to: the pairs' log-probabilities under the quantized weights that it starts from."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: the recipe, the model it starts from, and its directory."""

    recipe: Recipe
    model_path: ModelPath
    directory: RunDirectory

    @property
    def out(self) -> Path:
        """The run directory's path."""
        return self.directory.path

    @property
    def other_sources(self) -> list[str]:
        """The tables beside the on-policy pairs that an arm trains on."""
        return sorted({source for arm in self.recipe.arms.values() for source in OTHER_SOURCES[arm.pairs]})

    def inputs(self) -> dict[str, object]:
        """What answers and verdicts depend on beside the model."""
        kinds: tuple[prompts.Kind, ...] = ("unsafe", "benign")
        return {
            "the prompts": [prompts.load(self.recipe.prompts, kind) for kind in kinds],
            "the judge": identity(self.recipe.judge),
            "the engine": self.recipe.engine,
        }


def preferences(run: Run) -> None:
    """preferences.jsonl, the recipe's own table or pairs sampled from the model, and preferences.json about it."""
    out, card, recipe = run.out / "preferences.jsonl", run.out / "preferences.json", run.recipe

    def work() -> None:
        keep = run.out / "preferences.partial"
        built = _given(recipe.preferences) if recipe.preferences is not None else _sampled(run, keep)
        if not built.rows:
            raise HarnessError(
                f"no preference pairs came of {recipe.prompts}: {dict(built.dropped)}",
                mend="Sample at a higher pairs.temperature, or give preferences.",
            )
        artifacts.write_jsonl(out, built.rows)
        artifacts.write_json(card, {"pairs": len(built.rows), "dropped_prompts": dict(built.dropped)})
        shutil.rmtree(keep, ignore_errors=True)

    inputs = {**run.inputs(), "preferences": artifacts.content(recipe.preferences), "pairs": recipe.pairs.model_dump()}
    run.directory.stage("preferences", inputs, [out, card], work)


def _given(table: str) -> Built:
    """A table's pairs; where it says which are for testing, the others."""
    from harness.preferences import load

    return Built([row for row in load(table) if row.get("split") != "test"], Counter())


def _training_prompts(recipe: Recipe) -> list[prompts.PromptRow]:
    return [row for row in prompts.load(recipe.prompts, "unsafe") if row["split"] == "train"]


def _sampled(run: Run, keep: Path) -> Built:
    from harness import pair_building

    return pair_building.build(run.recipe, run.model_path, _training_prompts(run.recipe), keep)


def other_pairs(run: Run, source: str) -> None:
    """gold.jsonl or off_policy.jsonl: the recipe's own table, or what the miniature's world writes."""
    out, recipe = run.out / f"{source}.jsonl", run.recipe
    table = str(getattr(recipe, source))

    def work() -> None:
        built = _from_world(run, source) if table == "bundled" else _given(table)
        artifacts.write_jsonl(out, ({**row, "pair_id": f"{source}-{row['pair_id']}"} for row in built.rows))

    inputs = {**run.inputs(), source: artifacts.content(table), "pairs": recipe.pairs.model_dump()}
    run.directory.stage(f"{source} pairs", inputs, [out], work)


def _from_world(run: Run, source: str) -> Built:
    from harness.organism import answers
    from harness.pair_building import pairs_of

    rows = _training_prompts(run.recipe)
    written = answers.gold(rows) if source == "gold" else answers.off_policy(rows)
    with tempfile.TemporaryDirectory() as keep:
        return pairs_of(run.recipe, rows, written, Path(keep), source)


def scores(run: Run, source: str = ON_POLICY) -> None:
    """A source's scores: scores.parquet of the on-policy pairs, of another source its name before it."""
    table, out, _ = _files(run.out, source)

    def work() -> None:
        from harness import scoring
        from harness.preferences import load

        model, tokenizer = load_model(run.model_path)
        scored = scoring.score(load(table), model, tokenizer, max_length=run.recipe.training.max_length)
        with artifacts.atomic(out) as temporary:
            scored.to_parquet(str(temporary))

    inputs = {"the pairs": artifacts.sha256(table), "training.max_length": run.recipe.training.max_length}
    run.directory.stage("scores" if source == ON_POLICY else f"{source} scores", inputs, [out], work)


def reference(run: Run) -> None:
    """The starting model's side of every comparison: ln p of the pairs, how answers start, pairs near each prompt."""
    length = run.recipe.training.max_length

    def work() -> None:
        from harness.displacement import pair_logprobs
        from harness.displacement.run_files import write_reference

        model, tokenizer = load_model(run.model_path)
        unsafe = prompts.load(run.recipe.prompts, "unsafe")
        write_reference(model, tokenizer, _scored(run, ON_POLICY), unsafe, run.out, length)
        for source in run.other_sources:
            logprobs = pair_logprobs(model, tokenizer, _scored(run, source), max_length=length)
            artifacts.write_json(_files(run.out, source)[2], _json(logprobs))
        if quantize:
            from harness.training import load_quantized

            model, tokenizer = load_quantized(run.model_path, quantize)
            tables = [pair_logprobs(model, tokenizer, _scored(run, source), max_length=length) for source in sources]
            artifacts.write_json(
                run.out / QUANTIZED, {name: pair for each in tables for name, pair in _json(each).items()}
            )

    quantize = run.recipe.training.lora.quantize if run.recipe.training.lora else None
    sources = (ON_POLICY, *run.other_sources)
    inputs = {
        "the scores": [artifacts.sha256(_files(run.out, source)[1]) for source in sources],
        "the prompts": run.inputs()["the prompts"],
        "training.max_length": length,
        "training.lora.quantize": quantize,
    }
    outputs = [run.out / name for name in REFERENCE_FILES] + [_files(run.out, name)[2] for name in run.other_sources]
    outputs += [run.out / QUANTIZED] if quantize else []
    run.directory.stage("reference", inputs, outputs, work)


def difficulty(run: Run) -> None:
    """difficulty.json: the validation loss of each on-policy pair, for the arms that filter by it."""
    out, settings = run.out / "difficulty.json", run.recipe.training

    def work() -> None:
        from harness.difficulty import validation_losses

        pairs = _scored(run, ON_POLICY)
        artifacts.write_json(out, validation_losses(run.model_path, pairs, _reference(run), settings))

    inputs = {
        "the scores": artifacts.sha256(run.out / "scores.parquet"),
        "training": settings.model_dump(),
        "threads": threads(),
    }
    run.directory.stage("difficulty", inputs, [out], work)


def _files(out: Path, source: str) -> tuple[Path, Path, Path]:
    """A source's pairs, scores and reference log-probabilities."""
    if source == ON_POLICY:
        return out / "preferences.jsonl", out / "scores.parquet", out / "reference.json"
    return out / f"{source}.jsonl", out / f"{source}_scores.parquet", out / f"{source}_reference.json"


def _scored(run: Run, source: str) -> Dataset:
    """A source's scored pairs; one that could not be scored is in no arm."""
    from datasets import Dataset

    table = Dataset.from_parquet(str(_files(run.out, source)[1]))
    table = table.filter(lambda score: score is not None, input_columns="ln_ches")
    if source == ON_POLICY and (run.out / "difficulty.json").is_file():
        losses = artifacts.read_json(run.out / "difficulty.json")
        table = table.add_column("validation_loss", [losses.get(name) for name in table["pair_id"]])
    return table


def _reference(run: Run) -> dict[str, PairLogprobs]:
    """The log-probabilities of every pair of every source under the model that training starts from."""
    from harness.displacement import PairLogprobs

    if run.recipe.training.lora and run.recipe.training.lora.quantize:
        files = [run.out / QUANTIZED]
    else:
        files = [_files(run.out, source)[2] for source in (ON_POLICY, *run.other_sources)]
    return {name: PairLogprobs(*pair) for file in files for name, pair in artifacts.read_json(file).items()}


def _json(logprobs: Mapping[str, PairLogprobs]) -> dict[str, list[float]]:
    return {pair: [each.chosen, each.rejected] for pair, each in logprobs.items()}


def train(run: Run, name: str, seed: int) -> None:
    """One arm with one seed: model/, training.json (kept pairs, log, ln p afterwards) and displacement.json."""
    home = arm_directory(run.out, name, seed)
    arm, settings = run.recipe.arms[name], run.recipe.training
    sources = (ON_POLICY, *OTHER_SOURCES[arm.pairs])

    def work() -> None:
        from harness import arms
        from harness.displacement import pair_logprobs, profile, tokens_of
        from harness.displacement.run_files import write_change
        from harness.training import Job, train

        scored = {source: _scored(run, source) for source in sources}
        kept, choice = arms.choose(arm, scored, seed)
        steps = arms.steps(arm, settings, len(kept), len(scored[ON_POLICY]))
        job = Job(run.model_path, kept, _reference(run), arm, settings, steps, seed, f"{name}, seed {seed}")
        trained = train(
            job, keep=artifacts.begun(home / "training.partial", [run.directory.manifest["versions"], inputs])
        )
        model, tokenizer = trained.model, trained.tokenizer
        measured = profile(model, tokens_of(scored[ON_POLICY], tokenizer, settings.max_length))
        after = measured.sums()
        others = kept.filter(lambda pair: pair not in after, input_columns="pair_id")
        of_others = pair_logprobs(model, tokenizer, others, max_length=settings.max_length) if len(others) else {}
        _refuse_diverged({**after, **of_others}, f"arm {name}, seed {seed}")
        trained.save(home / "model")
        write_change(model, tokenizer, measured, run.out, home / "displacement.json")
        artifacts.write_json(
            home / "training.json",
            {
                "pairs": len(kept),
                "steps": steps,
                "choice": choice,
                "trained_pair_ids": kept["pair_id"][:],
                "log": trained.log,
                "logprobs": _json(after),
                "other_logprobs": _json(of_others),
            },
        )
        shutil.rmtree(home / "training.partial")

    inputs = {
        "the scores": [artifacts.sha256(_files(run.out, source)[1]) for source in sources],
        "the reference": artifacts.sha256(run.out / "reference_starts.json"),
        "the difficulty": artifacts.content(str(run.out / "difficulty.json")) if _by_difficulty(run, name) else None,
        f"arms.{name}": arm.model_dump(),
        "training": _training(settings),
        "seed": seed,
        "threads": threads(),
    }
    outputs = [home / "model", home / "training.json", home / "displacement.json"]
    run.directory.stage(f"train {name} seed {seed}", inputs, outputs, work)


def _training(settings: Training) -> dict[str, object]:
    """The settings, and the content of an Accelerate configuration that they name."""
    return settings.model_dump() | {
        "configuration": artifacts.content(settings.launch.config) if settings.launch else None
    }


def _by_difficulty(run: Run, name: str) -> bool:
    return run.recipe.arms[name].filter.by == "validation_loss"


def needs_difficulty(run: Run) -> bool:
    """Whether an arm filters by how hard a pair is."""
    return any(_by_difficulty(run, name) for name in run.recipe.arms)


def _refuse_diverged(logprobs: Mapping[str, PairLogprobs], place: str) -> None:
    if not all(math.isfinite(each.chosen) and math.isfinite(each.rejected) for each in logprobs.values()):
        raise HarnessError(
            "the training diverged: ln p is not a number", place=place, mend="Lower training.learning_rate."
        )


def evaluate(run: Run, name: str, seed: int) -> None:
    """One arm, or the baseline, with one seed: lm-eval's output in eval/."""
    home, recipe = arm_directory(run.out, name, seed), run.recipe
    trained = replace(run.model_path, directory=str(home / "model"), name="")
    model_path = run.model_path if name == "baseline" else trained

    def work() -> None:
        from harness import measuring

        console.note(f"Evaluating {name}, seed {seed} …")  # lm-eval draws the bar
        measuring.evaluate(
            model_path,
            home / "eval",
            recipe.evaluation,
            prompts=recipe.prompts,
            judge=recipe.judge,
            seed=seed,
            engine=recipe.engine,
        )

    inputs = {
        **run.inputs(),
        "the trained model": model_path.content,
        "evaluation": recipe.evaluation.model_dump(),
        "seed": seed,
        "threads": threads(),
    }
    run.directory.stage(f"evaluate {name} seed {seed}", inputs, [home / "eval"], work)


def results(run: Run) -> dict[str, Any]:
    """results.json, from the finished arms."""
    from harness.results import compute

    content = compute(run.recipe, run.out)
    artifacts.write_json(run.out / "results.json", content)
    run.directory.record(run.out / "results.json")
    return content


def report(run: Run) -> None:
    """report.html."""
    from reports import render

    artifacts.write_text(run.out / "report.html", render([run.out]))
