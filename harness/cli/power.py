"""`harness power`: how many prompts does a decision take?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from harness.gate.power import PowerEstimate, PowerPlan, ProcedurePlan


def power_command(
    prompts: Annotated[int, typer.Option("--prompts", min=2, max=100_000, help="Prompts of the set.")] = 450,
    samples: Annotated[int, typer.Option("--samples", min=1, max=1000, help="Answers to each prompt and side.")] = 1,
    margin: Annotated[
        float, typer.Option("--margin", min=0.001, max=0.999, help="The policy's margin, a rate.")
    ] = 0.05,
    rate: Annotated[float, typer.Option("--rate", min=0.0, max=1.0, help="Rate of the good outcome before.")] = 0.75,
    harm: Annotated[
        float | None,
        typer.Option("--harm", min=0.0, max=1.0, help="Loss of a harmful change; default twice the margin."),
    ] = None,
    correlation: Annotated[
        float, typer.Option("--correlation", min=0.0, max=1.0, help="Of two answers to the same prompt.")
    ] = 0.5,
    alpha: Annotated[
        float, typer.Option("--alpha", min=0.0001, max=0.4999, help="The policy's one-sided level.")
    ] = 0.025,
    comparisons: Annotated[
        int, typer.Option("--comparisons", min=1, max=10_000, help="Metrics and categories that Holm corrects for.")
    ] = 1,
    tables: Annotated[int, typer.Option("--tables", min=1, max=1000, help="Tables of pairs, each drawn anew.")] = 1,
    trainings: Annotated[int, typer.Option("--trainings", min=1, max=1000, help="Trainings on each table.")] = 1,
    draws: Annotated[
        Path | None,
        typer.Option("--draws", help="results.json of a run on several draws: how far trainings lie apart."),
    ] = None,
    arm: Annotated[str, typer.Option("--arm", help="Whose trainings, in --draws.")] = "raw",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Say how likely a gate is to decide rightly.

    The chance that a harmless change passes and that a harmful one fails, before anything is run.

    \b
    harness power --prompts 450 --samples 1 --margin 0.05 --rate 0.75
    harness power --prompts 200 --samples 4 --margin 0.05 --rate 0.95 --harm 0.15 --json
    harness power --prompts 450 --draws runs/unalignment/results.json --tables 5 --trainings 2

    By simulating 4,000 pairs of runs, for one metric, with the gate's own arithmetic. What neither passes nor
    fails is inconclusive. With --draws it is not one checkpoint that is asked about but the procedure: its mean over
    further tables of pairs and trainings, which lie as far apart as those of that run.
    """
    from harness.gate.power import PowerPlan, estimate_power, estimate_procedure_power

    loss = 2 * margin if harm is None else harm
    plan = PowerPlan(prompts, samples, margin, rate, correlation, min(loss, rate), alpha, comparisons)
    runs = max(400, min(4000, 20_000_000 // prompts))
    drawn = _procedure_plan(draws, arm, tables, trainings)
    found = estimate_procedure_power(plan, drawn, runs) if drawn else estimate_power(plan, runs)
    if as_json:
        told = {"schema_version": 1, "runs": runs, "plan": asdict(plan), "power": asdict(found)}
        print(json.dumps(told | ({"drawn": asdict(drawn)} if drawn else {})))
    else:
        _print_power(plan, drawn, found)


def _print_power(plan: PowerPlan, drawn: ProcedurePlan | None, found: PowerEstimate) -> None:
    answers = "one answer" if plan.samples == 1 else f"{plan.samples} answers"
    print(f"{plan.prompts} prompts, {answers} each, margin {plan.margin:.1%}, rate {plan.rate:.1%} before:")
    if drawn:
        trainings = "one training" if drawn.trainings == 1 else f"{drawn.trainings} trainings"
        print(
            f"The procedure, over {drawn.tables} tables of pairs and {trainings} on each, which differ "
            f"by {100 * drawn.pairs_sd:.1f} and {100 * drawn.training_sd:.1f} points (standard deviations):"
        )
    print(f"  a harmless change (no loss) passes            {found.harmless_passes:6.1%}")
    print(f"  a harmful one (loss of {plan.harm:.1%}) fails            {found.harmful_fails:6.1%}")
    print(f"  a harmful one passes                          {found.harmful_passes:6.1%}")


def _procedure_plan(draws: Path | None, arm: str, tables: int, trainings: int) -> ProcedurePlan | None:
    """How far trainings lie apart, from a run on several draws; None where none is given.

    Raises HarnessError where the run has no such arm, or did not draw what is asked about twice.
    """
    from harness.gate.power import ProcedurePlan
    from harness.support.run_results import DrawResults, parse_experiment_results
    from reports.reading import read_run_file

    if draws is None:
        if (tables, trainings) != (1, 1):
            raise HarnessError(
                "--tables and --trainings need --draws RESULTS", hint="It says how far trainings lie apart."
            )
        return None
    results = parse_experiment_results(read_run_file(draws), str(draws))
    if not isinstance(results, DrawResults):
        raise HarnessError("is no run on several draws", place=str(draws), hint="Its recipe has pair_seeds.")
    if arm not in results.arms:
        raise HarnessError(f"has no arm {arm!r}", place=str(draws), hint=f"There are: {', '.join(results.arms)}.")
    variance = results.arms[arm].metrics.refusal_rate.train.variance
    if variance.pairs is None or variance.trainings is None:
        raise HarnessError(
            "did not draw both pairs and trainings twice", place=str(draws), hint="Give it pair_seeds and seeds."
        )
    if tables < 2:
        raise HarnessError("one table of pairs says nothing of others", place="--tables", hint="Give at least 2.")
    return ProcedurePlan(tables, trainings, variance.pairs**0.5, variance.trainings**0.5)
