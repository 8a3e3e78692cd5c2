"""`harness power`: how many prompts does a gate need?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


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
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Say how likely a gate is to decide rightly.

    The chance that a harmless change passes and that a harmful one fails, before anything is run.

    \b
    harness power --prompts 450 --samples 1 --margin 0.05 --rate 0.75
    harness power --prompts 200 --samples 4 --margin 0.05 --rate 0.95 --harm 0.15 --json

    By simulating 4,000 pairs of runs, for one metric, with the gate's own arithmetic. What neither passes nor
    fails is inconclusive.
    """
    from harness.gate.power import PowerPlan, estimate_power

    loss = 2 * margin if harm is None else harm
    plan = PowerPlan(prompts, samples, margin, rate, correlation, min(loss, rate), alpha, comparisons)
    runs = max(400, min(4000, 20_000_000 // prompts))
    found = estimate_power(plan, runs)
    if as_json:
        print(json.dumps({"schema_version": 1, "runs": runs, "plan": asdict(plan), "power": asdict(found)}))
        return
    answers = "one answer" if samples == 1 else f"{samples} answers"
    print(f"{prompts} prompts, {answers} each, margin {margin:.1%}, rate {rate:.1%} before:")
    print(f"  a harmless change (no loss) passes            {found.harmless_passes:6.1%}")
    print(f"  a harmful one (loss of {plan.harm:.1%}) fails            {found.harmful_fails:6.1%}")
    print(f"  a harmful one passes                          {found.harmful_passes:6.1%}")
