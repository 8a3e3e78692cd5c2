"""`harness gate`: may this model ship?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.printing.terminal import padded_text, safe_text, stdout_console
from harness.handoff.gate_json import gate_json
from harness.handoff.markdown import markdown_text
from harness.handoff.rendering import DECISION_MARKS, gate_footnotes, junit_text, table_lines
from harness.support.artifacts import explain_write_errors, write_text
from harness.support.console import print_note
from harness.support.errors import HarnessError
from harness.support.layout import ARMS

if TYPE_CHECKING:
    from harness.gate.decision import GateOutcome
    from harness.gate.noise import MetricNoise

_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


BeforeOption = Annotated[
    Path | None, typer.Option("--before", help="lm-eval output of the model before training.", show_default=False)
]
AfterOption = Annotated[
    Path | None, typer.Option("--after", help="lm-eval output of the model after it.", show_default=False)
]
PolicyOption = Annotated[
    Path | None, typer.Option("--policy", help="YAML; without it the defaults that --init prints.")
]
LabelsOption = Annotated[
    Path | None, typer.Option("--labels", help="People's verdicts, from `harness label` or on a random sample.")
]
CalibrationOption = Annotated[
    Path | None, typer.Option("--calibration", help="What `harness calibrate` wrote of the judge.")
]
JunitOption = Annotated[Path | None, typer.Option("--junit", help="Write the checks as JUnit XML.")]
MarkdownOption = Annotated[Path | None, typer.Option("--markdown", help="Append the result to this file as Markdown.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
TextOption = Annotated[
    bool, typer.Option("--with-text", help="Prompts and answers, too, in --markdown and --json: harmful text.")
]
SequentialOption = Annotated[
    bool, typer.Option("--sequential", help="May be asked again after every batch of prompts, and stop early.")
]
NoiseOption = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        "--noise",
        metavar="RUN RUN",
        help="One model evaluated twice: how far harmless runs lie apart. Alone or with both sides.",
    ),
]
InitOption = Annotated[
    bool, typer.Option("--init", help="Write a commented policy to --policy (default policy.yaml) and stop.")
]


def gate_command(
    before: BeforeOption = None,
    after: AfterOption = None,
    policy: PolicyOption = None,
    labels: LabelsOption = None,
    calibration: CalibrationOption = None,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    as_json: JsonOption = False,
    with_text: TextOption = False,
    sequential: SequentialOption = False,
    noise: NoiseOption = None,
    init: InitOption = False,
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
    from harness.gate.noise import add_noise, measure_noise

    rules = read_policy(policy) if policy else Policy()
    rules = rules.model_copy(update={"sequential": sequential or rules.sequential})
    found = measure_noise(*noise, rules) if noise else ()
    if found and before is None and after is None:
        _print_noise(found, as_json)
        return
    if before is None or after is None:
        raise HarnessError("--before and --after are both needed", hint="See `harness gate --help`.")
    _refuse_no_side("--before", before)
    _refuse_no_side("--after", after)
    _refuse_one_file(junit, markdown)
    outcome = add_noise(run_gate(before, after, rules, labels=labels, calibration=calibration), found)
    _write_outputs(outcome, junit, markdown, with_text)
    if as_json:
        print(json.dumps(gate_json(outcome, rules, (before, after), texts=with_text), allow_nan=False))
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


def _print_noise(found: Sequence[MetricNoise], as_json: bool) -> None:
    from harness.gate.noise import tell_false_alarms, tell_noise

    if as_json:
        print(json.dumps({"schema_version": 1, "noise": [asdict(noise) for noise in found]}))
        return
    console = stdout_console()
    for line in [*map(tell_noise, found), tell_false_alarms(found)]:
        console.print(safe_text(line), soft_wrap=True)
