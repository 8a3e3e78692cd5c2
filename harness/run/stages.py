"""The stages of a regression run. Each reads what the stage before wrote and leaves whole files."""

from __future__ import annotations

import shutil
from dataclasses import replace

from harness.models.loading import load_model
from harness.prompts.sets import load_prompts
from harness.recipes.schema import TrainingSettings
from harness.run.state import Run
from harness.run.work import (
    _load_scored_pairs,
    _logprobs_json,
    _refuse_diverged,
    _sample_pairs,
    _training_reference,
    _world_pairs,
    load_training_pairs,
)
from harness.support import artifacts, console
from harness.support.errors import HarnessError
from harness.support.layout import ON_POLICY, OTHER_SOURCES, QUANTIZED, REFERENCE_FILES, arm_directory, source_files
from harness.support.run_results import RunResults
from harness.workers.machine import thread_count


def preferences_stage(run: Run) -> None:
    """preferences.jsonl, the recipe's own table or pairs sampled from the model, and preferences.json about it."""
    out, card, recipe = run.out / "preferences.jsonl", run.out / "preferences.json", run.recipe

    def work() -> None:
        keep = run.out / "preferences.partial"
        built = load_training_pairs(recipe.preferences) if recipe.preferences is not None else _sample_pairs(run, keep)
        if not built.rows:
            raise HarnessError(
                f"no preference pairs came of {recipe.prompts}: {dict(built.dropped)}",
                hint="Sample at a higher pairs.temperature, or give preferences.",
            )
        artifacts.write_jsonl(out, built.rows)
        artifacts.write_json(card, {"pairs": len(built.rows), "dropped_prompts": dict(built.dropped)})
        shutil.rmtree(keep, ignore_errors=True)

    inputs = {
        **run.answer_inputs(),
        "preferences": artifacts.hash_if_local(recipe.preferences),
        "pairs": recipe.pairs.model_dump(),
    }
    run.directory.run_stage("preferences", inputs, [out, card], work)


def other_pairs_stage(run: Run, source: str) -> None:
    """gold.jsonl or off_policy.jsonl: the recipe's own table, or what the miniature's world writes."""
    out, recipe = run.out / f"{source}.jsonl", run.recipe
    table = str(getattr(recipe, source))

    def work() -> None:
        built = _world_pairs(run, source) if table == "bundled" else load_training_pairs(table)
        artifacts.write_jsonl(out, ({**row, "pair_id": f"{source}-{row['pair_id']}"} for row in built.rows))

    inputs = {**run.answer_inputs(), source: artifacts.hash_if_local(table), "pairs": recipe.pairs.model_dump()}
    run.directory.run_stage(f"{source} pairs", inputs, [out], work)


def scores_stage(run: Run, source: str = ON_POLICY) -> None:
    """A source's scores: scores.parquet of the on-policy pairs, of another source its name before it."""
    table, out, _ = source_files(run.out, source)

    def work() -> None:
        from harness.preferences.tables import load_preferences
        from harness.scoring.scorer import score

        model, tokenizer = load_model(run.model_path)
        scored = score(load_preferences(table), model, tokenizer, max_length=run.recipe.training.max_length)
        with artifacts.atomic_file(out) as temporary:
            scored.to_parquet(str(temporary))

    inputs = {"the pairs": artifacts.sha256_of(table), "training.max_length": run.recipe.training.max_length}
    run.directory.run_stage("scores" if source == ON_POLICY else f"{source} scores", inputs, [out], work)


def reference_stage(run: Run) -> None:
    """The starting model's side of every comparison: ln p of the pairs, how answers start, pairs near each prompt."""
    length = run.recipe.training.max_length

    def work() -> None:
        from harness.displacement.run_files import write_reference
        from harness.scoring.logprobs import pair_logprobs

        model, tokenizer = load_model(run.model_path)
        unsafe = load_prompts(run.recipe.prompts, "unsafe")
        write_reference(model, tokenizer, _load_scored_pairs(run, ON_POLICY), unsafe, run.out, length)
        for source in run.other_sources:
            logprobs = pair_logprobs(model, tokenizer, _load_scored_pairs(run, source), max_length=length)
            artifacts.write_json(source_files(run.out, source)[2], _logprobs_json(logprobs))
        if quantize:
            from harness.training.trl import load_quantized

            model, tokenizer = load_quantized(run.model_path, quantize)
            tables = [
                pair_logprobs(model, tokenizer, _load_scored_pairs(run, source), max_length=length)
                for source in sources
            ]
            artifacts.write_json(
                run.out / QUANTIZED, {name: pair for each in tables for name, pair in _logprobs_json(each).items()}
            )

    quantize = run.recipe.training.lora.quantize if run.recipe.training.lora else None
    sources = (ON_POLICY, *run.other_sources)
    inputs = {
        "the scores": [artifacts.sha256_of(source_files(run.out, source)[1]) for source in sources],
        "the prompts": run.answer_inputs()["the prompts"],
        "training.max_length": length,
        "training.lora.quantize": quantize,
    }
    outputs = [run.out / name for name in REFERENCE_FILES] + [
        source_files(run.out, name)[2] for name in run.other_sources
    ]
    outputs += [run.out / QUANTIZED] if quantize else []
    run.directory.run_stage("reference", inputs, outputs, work)


def difficulty_stage(run: Run) -> None:
    """difficulty.json: the validation loss of each on-policy pair, for the arms that filter by it."""
    out, settings = run.out / "difficulty.json", run.recipe.training

    def work() -> None:
        from harness.training.difficulty import validation_losses

        pairs = _load_scored_pairs(run, ON_POLICY)
        artifacts.write_json(out, validation_losses(run.model_path, pairs, _training_reference(run), settings))

    inputs = {
        "the scores": artifacts.sha256_of(run.out / "scores.parquet"),
        "training": settings.model_dump(),
        "threads": thread_count(),
    }
    run.directory.run_stage("difficulty", inputs, [out], work)


def training_stage(run: Run, name: str, seed: int) -> None:
    """One arm with one seed: model/, training.json (kept pairs, log, ln p afterwards) and displacement.json."""
    home = arm_directory(run.out, name, seed)
    arm, settings = run.recipe.arms[name], run.recipe.training
    sources = (ON_POLICY, *OTHER_SOURCES[arm.pairs])

    def work() -> None:
        from harness.displacement.run_files import write_change
        from harness.scoring.logprobs import pair_logprobs, profile_model, tokenize_pairs
        from harness.training.arms import choose_arm_pairs, optimizer_steps
        from harness.training.jobs import TrainingJob
        from harness.training.train import train_on_pairs

        scored = {source: _load_scored_pairs(run, source) for source in sources}
        kept, choice = choose_arm_pairs(arm, scored, seed)
        steps = optimizer_steps(arm, settings, len(kept), len(scored[ON_POLICY]))
        job = TrainingJob(
            run.model_path, kept, _training_reference(run), arm, settings, steps, seed, f"{name}, seed {seed}"
        )
        trained = train_on_pairs(
            job, keep=artifacts.resume_or_clear(home / "training.partial", [run.directory.manifest["versions"], inputs])
        )
        model, tokenizer = trained.model, trained.tokenizer
        measured = profile_model(model, tokenize_pairs(scored[ON_POLICY], tokenizer, settings.max_length))
        after = measured.pair_sums()
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
                "logprobs": _logprobs_json(after),
                "other_logprobs": _logprobs_json(of_others),
            },
        )
        shutil.rmtree(home / "training.partial")

    inputs = {
        "the scores": [artifacts.sha256_of(source_files(run.out, source)[1]) for source in sources],
        "the reference": artifacts.sha256_of(run.out / "reference_starts.json"),
        "the difficulty": artifacts.hash_if_local(str(run.out / "difficulty.json"))
        if _filters_by_difficulty(run, name)
        else None,
        f"arms.{name}": arm.model_dump(),
        "training": _training_inputs(settings),
        "seed": seed,
        "threads": thread_count(),
    }
    outputs = [home / "model", home / "training.json", home / "displacement.json"]
    run.directory.run_stage(f"train {name} seed {seed}", inputs, outputs, work)


def _training_inputs(settings: TrainingSettings) -> dict[str, object]:
    """The settings, and the content of an Accelerate configuration that they name."""
    return settings.model_dump() | {
        "configuration": artifacts.hash_if_local(settings.launch.config) if settings.launch else None
    }


def _filters_by_difficulty(run: Run, name: str) -> bool:
    return run.recipe.arms[name].filter.by == "validation_loss"


def needs_difficulty(run: Run) -> bool:
    """Whether an arm filters by how hard a pair is."""
    return any(_filters_by_difficulty(run, name) for name in run.recipe.arms)


def evaluation_stage(run: Run, name: str, seed: int) -> None:
    """One arm, or the baseline, with one seed: lm-eval's output in eval/."""
    home, recipe = arm_directory(run.out, name, seed), run.recipe
    trained = replace(run.model_path, directory=str(home / "model"), name="")
    model_path = run.model_path if name == "baseline" else trained

    def work() -> None:
        from harness.evaluation.lm_eval import evaluate_model

        console.print_note(f"Evaluating {name}, seed {seed} …")  # lm-eval draws the bar
        evaluate_model(
            model_path,
            home / "eval",
            recipe.evaluation,
            prompts=recipe.prompts,
            judge=recipe.judge,
            seed=seed,
            engine=recipe.engine,
        )

    inputs = {
        **run.answer_inputs(),
        "the trained model": model_path.content,
        "evaluation": recipe.evaluation.model_dump(),
        "seed": seed,
        "threads": thread_count(),
    }
    run.directory.run_stage(f"evaluate {name} seed {seed}", inputs, [home / "eval"], work)


def write_results(run: Run) -> RunResults:
    """results.json, from the finished arms."""
    from harness.run.results import compute_results

    results = compute_results(run.recipe, run.out)
    artifacts.write_json(run.out / "results.json", results.to_json())
    run.directory.record_files(run.out / "results.json")
    return results


def write_report(run: Run) -> None:
    """report.html."""
    from reports.page import render_report

    artifacts.write_text(run.out / "report.html", render_report([run.out]))
