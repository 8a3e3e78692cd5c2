"""`harness gate`: may this model ship?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from harness.cli.printing.terminal import padded_text, safe_text, stdout_console
from harness.handoff.gate_json import gate_json
from harness.handoff.outputs import (
    OutputFiles,
    comment_on_error,
    refuse_bad_outputs,
    refuse_unhashable,
    write_outputs,
)
from harness.handoff.record import record_decision
from harness.handoff.rendering import DECISION_MARKS, gate_footnotes, table_lines
from harness.support.artifacts import write_text
from harness.support.console import print_note
from harness.support.errors import HarnessError
from harness.support.layout import ARMS

if TYPE_CHECKING:
    from harness.gate.decision import GateOutcome
    from harness.gate.noise import MetricNoise
    from harness.handoff.record import GateRecord

_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


BeforeOption = Annotated[
    Path | None,
    typer.Option(
        "--before", help="Of the model before training: lm-eval's or another tool's output.", show_default=False
    ),
]
AfterOption = Annotated[
    Path | None,
    typer.Option("--after", help="The same of the model after it, of any of the tools.", show_default=False),
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
JudgeOption = Annotated[
    str | None,
    typer.Option("--judge", help="Judge answers of other tools than lm-eval anew; without it those without a verdict."),
]
JunitOption = Annotated[Path | None, typer.Option("--junit", help="Write the checks as JUnit XML.")]
MarkdownOption = Annotated[Path | None, typer.Option("--markdown", help="Append the result to this file as Markdown.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object; with a FILE behind it, write it there.")
]
JsonFileOption = Annotated[Path | None, typer.Option("--json-file", hidden=True)]
"""What `--json FILE` is read as: see GateCommand."""
SarifOption = Annotated[Path | None, typer.Option("--sarif", help="Write failures as SARIF 2.1.0, for code scanning.")]
StatementOption = Annotated[
    Path | None, typer.Option("--statement", help="Write an in-toto statement of the decision, ready to be signed.")
]
AnnotationsOption = Annotated[
    Path | None, typer.Option("--annotations", help="Write failures as workflow commands of GitHub.")
]
CommentOption = Annotated[
    str | None,
    typer.Option(
        "--comment", metavar="ID", help="In a workflow of GitHub: keep a comment with this id under the pull request."
    ),
]
HubOption = Annotated[
    Path | None, typer.Option("--hub", metavar="DIR", help="Write the result into this model's card, as for the hub.")
]
HubDatasetOption = Annotated[
    str | None, typer.Option("--hub-dataset", metavar="ORG/NAME", help="With --hub: as results of this benchmark too.")
]
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
    judge: JudgeOption = None,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    as_json: JsonOption = False,
    json_file: JsonFileOption = None,
    sarif: SarifOption = None,
    statement: StatementOption = None,
    annotations: AnnotationsOption = None,
    comment: CommentOption = None,
    hub: HubOption = None,
    hub_dataset: HubDatasetOption = None,
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

    Reads directories written by `lm_eval --log_samples` or by `harness run`, logs of Inspect's, promptfoo's JSON,
    garak's reports, PyRIT's memory, and JSON lines or CSV of `prompt` and `response`; a side may be a file, or a
    directory of them. Exit codes: 0 pass, 1 fail, 2 bad input, 3 inconclusive.
    """
    from harness.gate.policy import POLICY_TEMPLATE, Policy, read_policy
    from harness.support.json_schema import schema_comment

    if init:
        comment = schema_comment("harness.gate", "policy.schema.json")
        _write_template(f"{comment}{POLICY_TEMPLATE}", policy or Path("policy.yaml"))
        return
    from harness.gate.decision import run_gate
    from harness.gate.noise import add_noise, measure_noise

    files = OutputFiles(junit, markdown, json_file, sarif, statement, annotations, comment, hub, hub_dataset)
    with comment_on_error(comment):
        _refuse_bad_files(files, (policy, labels, calibration), (before, after, *(noise or ())))
        rules = read_policy(policy) if policy else Policy()
        rules = rules.model_copy(update={"sequential": sequential or rules.sequential})
        found = measure_noise(*noise, rules, judge) if noise else ()
        if found and before is None and after is None:
            _print_noise(found, files, as_json)
            return
        sides = _given_sides(before, after)
        outcome = add_noise(run_gate(*sides, rules, labels=labels, calibration=calibration, judge=judge), found)
        record = record_decision(outcome, rules, sides, policy_file=policy, evidence=(labels, calibration))
        record = write_outputs(record, files, texts=with_text)
    _print_record(record, as_json, with_text)
    raise typer.Exit(outcome.exit_code)


def _refuse_bad_files(files: OutputFiles, hashed: Sequence[Path | None], sides: Sequence[Path | None]) -> None:
    """Raises HarnessError on inputs whose hash cannot be told, and on outputs that would take the place of another."""
    named = [*zip(("--policy", "--labels", "--calibration"), hashed, strict=True)]
    refuse_unhashable(named)
    refuse_bad_outputs(files, [*named, *zip(("--before", "--after", "--noise", "--noise"), sides, strict=False)])


class GateCommand(TyperCommand):
    """The command, with `--json FILE` beside `--json`: Typer has no option whose value may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the arguments; a FILE is what follows `--json` and is no option."""
        read: list[str] = []
        for word in args:
            if read and read[-1] == "--json" and (word == "-" or not word.startswith("-")):
                read[-1:] = ["--json"] if word == "-" else ["--json-file", word]
            elif word.startswith("--json="):
                read.append(word.replace("--json=", "--json-file=", 1))
            else:
                read.append(word)
        return super().parse_args(ctx, read)


def _write_template(template: str, path: Path) -> None:
    if path.exists():
        raise HarnessError("is there already", place=str(path), hint="Name another file with --policy.")
    write_text(path, template)
    print_note(f"wrote {path}")


def _given_sides(before: Path | None, after: Path | None) -> tuple[Path, Path]:
    """Both sides. Raises HarnessError where one is missing or is no side."""
    if before is None or after is None:
        raise HarnessError("--before and --after are both needed", hint="See `harness gate --help`.")
    _refuse_no_side("--before", before)
    _refuse_no_side("--after", after)
    return before, after


def _refuse_no_side(option: str, path: Path) -> None:
    """Raises HarnessError on a file of a run and on a whole run, naming the arms of the run that holds it."""
    if path.is_dir() and not (path / ARMS).is_dir() and path.name != ARMS:
        return
    found = next((place for place in (path, *path.parents) if (place / ARMS).is_dir()), None)
    if found is None:
        return
    names = sorted(each.name for each in (found / ARMS).iterdir() if each.is_dir())
    fitting = [name for name in names if (name == "baseline") == (option == "--before")]
    kind = "is a file of" if path.is_file() else "is" if path.exists() else "is not there, but in"
    raise HarnessError(
        f"{option} {kind} a whole run, whose arms are {', '.join(names) or 'not there yet'}",
        place=str(path),
        hint=f"Give {option} {found / ARMS / fitting[0]}{' or another' if fitting[1:] else ''}." if fitting else "",
    )


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


def _print_record(record: GateRecord, as_json: bool, with_text: bool) -> None:
    if as_json:
        print(json.dumps(gate_json(record, texts=with_text), allow_nan=False))
    else:
        _print_table(record.outcome)


def _print_noise(found: Sequence[MetricNoise], files: OutputFiles, as_json: bool) -> None:
    """Raises HarnessError where a file is asked for: there is no decision to write there."""
    if asked := [*files.paths, *(["--comment"] if files.comment else [])]:
        raise HarnessError(
            "hands a decision on", place=asked[0], hint="Give --before and --after too, or leave it out."
        )
    from harness.gate.noise import tell_false_alarms, tell_noise

    if as_json:
        print(json.dumps({"schema_version": 1, "noise": [asdict(noise) for noise in found]}))
        return
    console = stdout_console()
    for line in [*map(tell_noise, found), tell_false_alarms(found)]:
        console.print(safe_text(line), soft_wrap=True)
