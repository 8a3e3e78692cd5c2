"""`harness forecast`: what training on a table of pairs would do to refusals, before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import ProbeJudgeOption, resolve_own_model
from harness.cli.printing.terminal import plain_table, safe_text, stdout_console
from harness.support.artifacts import write_json
from harness.support.errors import HarnessError
from harness.support.redaction import redact_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from harness.forecast.from_table import ForecastPairs
    from harness.forecast.results import ExpectedChange, Forecast, GroupPush, PairPush, TableForecast
    from harness.models.paths import ModelPath
    from harness.recipes.schema import TrainingSettings
    from harness.scoring.targets import Target


def forecast_command(
    preferences: Annotated[
        str, typer.Argument(help="The pairs: what `harness score` takes, or its scores with influence columns.")
    ],
    model: Annotated[str, typer.Option("--model", help="What is trained: directory, GGUF, hub id, `smollm2`.")],
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Packaged recipe or YAML file whose training settings are meant.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", min=0, help="In place of the recipe's, or of 5e-6.")
    ] = None,
    beta: Annotated[float | None, typer.Option("--beta", min=0, help="Likewise, of 0.1.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Likewise, of 32 pairs.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Likewise, of 1.")] = None,
    probes: Annotated[
        str, typer.Option("--probes", metavar="bundled|FILE", help="Prompts to probe the model with.")
    ] = "bundled",
    probe_prompts: Annotated[
        int, typer.Option("--probe-prompts", min=2, help="How many unsafe and how many benign ones, at most.")
    ] = 96,
    probe_samples: Annotated[int, typer.Option("--probe-samples", min=2, help="Answers to draw for each.")] = 8,
    judge: ProbeJudgeOption = "lexical",
    look_ahead: Annotated[
        int, typer.Option("--look-ahead", min=1, max=1000, help="Optimizer steps to take for real, twice.")
    ] = 4,
    with_text: Annotated[
        bool, typer.Option("--with-text", help="Also the texts of the pairs that push hardest; they may be harmful.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for all of it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the forecast as one JSON object.")] = False,
) -> None:
    """Forecast what training on a table of pairs would do.

    To refusals, harmful completions and benign compliance: which way, by how much, and by which pairs.

    \b
    harness forecast pairs.jsonl --model ./my-model
    harness forecast pairs.jsonl --model ./my-model --learning-rate 1e-6 --epochs 3 --out forecast.json
    harness forecast scores.parquet --model ./my-model --recipe my-recipe.yaml

    The model answers the probe prompts; a few steps of the training are taken for real, on all pairs and on the better
    half, and what they do to those answers is carried on to the last step. No model is kept.
    """
    given = {"learning_rate": learning_rate, "beta": beta, "batch_size": batch_size, "epochs": epochs}
    training = _training_settings(recipe, given)
    place = _usable_model(model, judge)
    from harness.forecast.from_table import ForecastPlan, ProbePlan, forecast_from_table
    from harness.forecast.results import LookAhead

    asked, look = ProbePlan(probes, probe_prompts, probe_samples, judge), LookAhead(steps=look_ahead)
    found = forecast_from_table(ForecastPlan(preferences, place, training, probes=asked, look=look))
    content = _forecast_json(found, with_text)
    if out is not None:
        write_json(out, content)
    if as_json:
        print(json.dumps(redact_json(content)))
        return
    _print_forecast(found, training, with_text)
    if out is not None:
        print(f"Written: {out}")


def _training_settings(recipe: str | None, given: Mapping[str, float | None]) -> TrainingSettings:
    """The training settings of a recipe, or the paper's, with those given in their place."""
    from harness.recipes.loading import load_recipe
    from harness.recipes.schema import TrainingSettings

    settings = load_recipe(recipe).training if recipe else TrainingSettings()
    changed = {name: value for name, value in given.items() if value is not None}
    if changed.get("learning_rate") == 0 or changed.get("beta") == 0:
        raise HarnessError("is 0", place="--learning-rate or --beta", hint="Give more than 0.")
    return TrainingSettings(**{**settings.model_dump(), **changed})


def _usable_model(model: str, judge: str) -> ModelPath:
    """The model; what it or the judge lacks is told before torch is loaded."""
    from harness.judges.registry import judge_identity
    from harness.models.paths import locate_model
    from harness.models.templates import check_chat_template

    judge_identity(judge)
    place = locate_model(resolve_own_model(model))
    check_chat_template(place)
    return place


def _forecast_json(found: ForecastPairs, with_text: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from harness.forecast.extrapolation import LEVEL, load_calibration

    content = {"schema_version": 1, **found.forecast.to_json(), "level": LEVEL}
    content["calibration"] = asdict(load_calibration())
    if with_text:
        for name in ("lowest", "highest"):
            for row, push in zip(content[name], getattr(found.forecast, name), strict=True):
                row |= {key: found.pairs[push.place][key] for key in ("prompt", "chosen", "rejected")}
    return content


# What is printed


def _print_forecast(found: ForecastPairs, training: TrainingSettings, with_text: bool) -> None:
    from harness.forecast.extrapolation import LEVEL, load_calibration

    forecast, console = found.forecast, stdout_console()
    whole = forecast.whole
    print(
        f"Training on {whole.pairs} pairs would take {whole.steps} steps of {training.batch_size} at "
        f"{training.learning_rate:g}, beta {training.beta:g}."
    )
    console.print(_change_table(whole, LEVEL), _kept_table(forecast, LEVEL))
    for title, groups in (("Pair types", forecast.types), ("Hazards", forecast.hazards)):
        if groups:
            console.print(_group_table(title, groups))
    for title, pushes in (("Lower refusals most", forecast.lowest), ("Raise refusals most", forecast.highest)):
        console.print(_push_table(title, pushes, found if with_text else None))
    for reason, count in forecast.unscored.items():
        console.print(safe_text(f"{count} pairs left out: {reason}"))
    console.print(safe_text(_look_text(whole)))
    if measured := load_calibration().measured:
        console.print(safe_text(_accuracy_text(measured, LEVEL)))


def _change_table(forecast: Forecast, level: float) -> Table:
    from harness.scoring.targets import TARGET_NAMES

    table = plain_table("", ["goes", "from", "to", f"{level:.0%} interval"], "All of them", lines=True)
    for target, change in forecast.changes.items():
        table.add_row(TARGET_NAMES[target], *_change_cells(change))
    return table


def _kept_table(forecast: TableForecast, level: float) -> Table:
    title = "Only the pairs that raise refusals most, as many steps: refusals"
    table = plain_table("kept", ["pairs", "influence from", "goes", "to", f"{level:.0%} interval"], title, lines=True)
    for each in forecast.kept:
        direction, _, after, interval = _change_cells(each.forecast.changes["refusal"])
        share = f"{each.share:.0%}" + ("" if each.looked else " *")
        table.add_row(share, str(each.forecast.pairs), f"{each.cut:+.2f}", direction, after, interval)
    return table


def _change_cells(change: ExpectedChange) -> tuple[str, str, str, str]:
    ends = (change.before + change.low, change.before + change.high)
    return (
        change.direction,
        f"{change.before:.1%}",
        f"{_share_of_one(change.before + change.change):.1%}",
        " to ".join(f"{_share_of_one(end):.1%}" for end in ends),
    )


def _share_of_one(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _group_table(title: str, groups: Sequence[GroupPush]) -> Table:
    table = plain_table(title, ["pairs", *_headings(groups[0].influence)], lines=True)
    for group in groups:
        cells = [f"{mean:+.2f} ± {error:.2f}" for mean, error in group.influence.values()]
        table.add_row(safe_text(group.name.replace("_", " "), 30), str(group.pairs), *cells)
    return table


def _push_table(title: str, pushes: Sequence[PairPush], shown: ForecastPairs | None) -> Table:
    table = plain_table(title, _headings(pushes[0].influence), lines=True)
    for push in pushes:
        cells = [f"{mean:+.2f} ± {error:.2f}" for mean, error in push.influence.values()]
        table.add_row(safe_text(push.pair_id, 30), *cells)
        if shown is not None:
            for name in ("prompt", "chosen", "rejected"):
                table.add_row(safe_text(f"{name}: {shown.pairs[push.place][name]}", 200))
    return table


def _headings(targets: Mapping[Target, object]) -> list[str]:
    return [{"refusal": "refusals", "harmful": "harm", "benign": "benign"}[str(target)] for target in targets]


def _look_text(whole: Forecast) -> str:
    look = whole.look_ahead
    return (
        f"The first {look.steps} of {whole.steps} steps were taken {look.draws} times, on all pairs and on the better "
        "half, and carried on; shares with * lie between those by their pairs' mean influence. Influence: how fast the "
        "rate rises when the pair is trained on, to first order, in a unit of the model's own."
    )


def _accuracy_text(measured: Mapping[str, Any], level: float) -> str:
    return (
        f"How far off: over {measured['arms']} trainings of {measured['organisms']} miniatures that nothing was chosen "
        f"on, by {100 * measured['mean_error']:.1f} points on average; the sign was right in "
        f"{measured['sign_right']} of the {measured['moved']} that moved by more than 3 points, and the {level:.0%} "
        f"interval held {measured['covered']}."
    )
