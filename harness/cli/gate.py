"""`harness gate`: may this model ship? And `harness power`: how many prompts does that take?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.terminal import padded_text, safe_text, stdout_console
from harness.gate.markdown import FLIP_TEXT_LIMIT, flip_texts, markdown_text
from harness.gate.rendering import DECISION_MARKS, gate_footnotes, junit_text, table_lines
from harness.support.artifacts import explain_write_errors, finite_or_null, write_text
from harness.support.console import print_note
from harness.support.errors import HarnessError
from harness.support.layout import ARMS
from harness.support.redaction import redact_json
from harness.support.versions import DISTRIBUTION, library_version

if TYPE_CHECKING:
    from harness.gate.decision import GateOutcome
    from harness.gate.flips import PromptFlip
    from harness.gate.policy import Policy
    from harness.gate.power import PowerEstimate, PowerPlan, ProcedurePlan

_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def gate_command(
    before: Annotated[
        Path | None, typer.Option("--before", help="lm-eval output of the model before training.", show_default=False)
    ] = None,
    after: Annotated[
        Path | None, typer.Option("--after", help="lm-eval output of the model after it.", show_default=False)
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="YAML; without it the defaults that --init prints.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="People's verdicts, from `harness label` or on a random sample.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="What `harness calibrate` wrote of the judge.")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write the checks as JUnit XML.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Append the result to this file as Markdown.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    with_text: Annotated[
        bool, typer.Option("--with-text", help="Prompts and answers, too, in --markdown and --json: harmful text.")
    ] = False,
    init: Annotated[
        bool, typer.Option("--init", help="Write a commented policy to --policy (default policy.yaml) and stop.")
    ] = False,
) -> None:
    """Pass, fail or cannot tell: may the trained model ship?

    Has refusing or harmful completion got worse by more than the policy allows?

    \b
    harness gate --before arms/baseline --after arms/raw
    harness gate --before out/base --after out/tuned --policy policy.yaml --markdown "$GITHUB_STEP_SUMMARY"
    harness gate --init --policy policy.yaml

    Reads directories written by `lm_eval --log_samples` or by `harness run`. Exit codes: 0 pass, 1 fail,
    2 bad input, 3 inconclusive.
    """
    from harness.gate.policy import POLICY_TEMPLATE, Policy, read_policy

    if init:
        _write_template(POLICY_TEMPLATE, policy or Path("policy.yaml"))
        return
    from harness.gate.decision import run_gate

    if before is None or after is None:
        raise HarnessError("--before and --after are both needed", hint="See `harness gate --help`.")
    rules = read_policy(policy) if policy else Policy()
    _refuse_no_side("--before", before)
    _refuse_no_side("--after", after)
    _refuse_one_file(junit, markdown)
    outcome = run_gate(before, after, rules, labels=labels, calibration=calibration)
    _write_outputs(outcome, junit, markdown, with_text)
    if as_json:
        print(json.dumps(_json_content(outcome, rules, (before, after), with_text), allow_nan=False))
    else:
        _print_table(outcome)
    raise typer.Exit(outcome.exit_code)


def _write_template(template: str, path: Path) -> None:
    if path.exists():
        raise HarnessError("is there already", place=str(path), hint="Name another file with --policy.")
    write_text(path, template)
    print_note(f"wrote {path}")


def _refuse_no_side(option: str, path: Path) -> None:
    """Raises HarnessError on a file and on a whole run, naming the arms of the run that holds it."""
    if path.is_dir() and not (path / ARMS).is_dir() and path.name != ARMS:
        return
    found = next((place for place in (path, *path.parents) if (place / ARMS).is_dir()), None)
    if found is None:
        if path.is_file():
            hint = "Give the directory that lm_eval or `harness run` wrote."
            raise HarnessError(f"{option} is a file, not a directory of evaluations", place=str(path), hint=hint)
        return
    names = sorted(each.name for each in (found / ARMS).iterdir() if each.is_dir())
    fitting = [name for name in names if (name == "baseline") == (option == "--before")]
    kind = "is a file of" if path.is_file() else "is" if path.exists() else "is not there, but in"
    raise HarnessError(
        f"{option} {kind} a whole run, whose arms are {', '.join(names) or 'not there yet'}",
        place=str(path),
        hint=f"Give {option} {found / ARMS / fitting[0]}{' or another' if fitting[1:] else ''}." if fitting else "",
    )


def _refuse_one_file(junit: Path | None, markdown: Path | None) -> None:
    if junit and markdown and junit.resolve() == markdown.resolve():
        raise HarnessError("is both --junit and --markdown", place=str(junit), hint="Give each a file of its own.")


def _write_outputs(outcome: GateOutcome, junit: Path | None, markdown: Path | None, with_text: bool) -> None:
    if junit:
        write_text(junit, junit_text(outcome))
    if markdown:
        with explain_write_errors(markdown):
            earlier = markdown.read_text(encoding="utf-8", errors="replace") if markdown.is_file() else ""
        write_text(markdown, earlier + markdown_text(outcome, texts=with_text))


def _json_content(outcome: GateOutcome, policy: Policy, paths: tuple[Path, Path], with_text: bool) -> dict[str, object]:
    return {
        "schema_version": 1,
        "decision": outcome.decision,
        "exit_code": outcome.exit_code,
        "reason": outcome.reason,
        "before": str(paths[0]),
        "after": str(paths[1]),
        "sides": redact_json(dict(zip(("before", "after"), map(asdict, outcome.sides), strict=True))),
        "harness_version": library_version(DISTRIBUTION),
        "policy": policy.model_dump(mode="json"),
        "checks": [{key: finite_or_null(value) for key, value in asdict(check).items()} for check in outcome.checks],
        "flips": [_flip_content(flip, with_text) for flip in outcome.flips],
        "notes": list(outcome.notes),
    }


def _flip_content(flip: PromptFlip, with_text: bool) -> dict[str, str]:
    named = {"metric": flip.metric, "prompt_id": flip.prompt_id, "category": flip.category}
    return named | (flip_texts(flip, FLIP_TEXT_LIMIT) if with_text else {})


def _print_table(outcome: GateOutcome) -> None:
    """The decision in a line, what a reader must not miss, the checks that decide, and what the figures mean."""
    console = stdout_console()
    colour = _COLOURS[outcome.decision]
    lines = [safe_text(f"{DECISION_MARKS[outcome.decision]}: {outcome.reason}", style=f"bold {colour}")]
    lines += [safe_text(f"Note: {note}", style="bold yellow") for note in outcome.notes]
    table = table_lines(outcome, console.width)
    lines += [padded_text(line, _COLOURS[decision] if decision else "") for line, decision in [("", None), *table]]
    lines += [padded_text(""), *(safe_text(note, style="dim") for note in gate_footnotes(outcome))]
    for line in lines:
        console.print(line, soft_wrap=True)  # a line is one line, also where what reads it has no width


# How many prompts


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
