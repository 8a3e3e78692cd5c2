"""`harness calibrate`: a judge against human labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import JudgeOption, ReasoningTagsOption
from harness.cli.printing.terminal import plain_table, safe_text, stdout_console
from harness.support.artifacts import write_json
from harness.support.console import progress_bar, safe_line

if TYPE_CHECKING:
    from rich.table import Table


def calibrate_command(
    labelled: Annotated[
        list[Path],
        typer.Argument(
            help="CSV files: XSTest's columns, or prompt,response,label[,model|source][,unsafe], or of `harness label`."
        ),
    ],
    name: JudgeOption = "lexical",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the calibration as JSON, for `harness gate`.")
    ] = None,
    reasoning_tags: ReasoningTagsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the calibration as one JSON object.")] = False,
) -> None:
    """Measure a judge against people's labels.

    Accuracy, kappa, sensitivity and specificity, overall and per model.

    \b
    harness calibrate xstest_gpt4.csv xstest_llama2.csv --judge lexical
    harness calibrate labelled.csv --judge lexical --out calibration.json --json

    A label is refusal, partial_refusal (counted as refusal), compliance, harmful or other. Without a column
    `model` or `source` the file's name stands for the model. Intervals are exact (Clopper-Pearson, 95 %).
    """
    from harness.judges.calibration import calibrate_judge, judge_in_batches, read_labelled_answers
    from harness.judges.normalizing import parse_reasoning_tags
    from harness.judges.registry import JudgeTally, find_judge
    from harness.recipes.pinning import pin_judge

    find_judge(name)
    tags = parse_reasoning_tags(reasoning_tags, "--reasoning-tags")
    name = pin_judge(name)
    files = {path: read_labelled_answers(path) for path in labelled}
    answers = [answer for rows in files.values() for answer in rows]
    with progress_bar("judging", len(answers), "answers") as advance:
        verdicts = judge_in_batches(name, answers, advance, tags)
    tally = JudgeTally(name)
    for answer, verdict in zip(answers, verdicts, strict=True):
        tally.count_verdict(answer.response, verdict)
    tally.refuse_nothing_judged()
    result = calibrate_judge(name, files, verdicts)
    if out:
        write_json(out, result)
    if as_json:
        print(json.dumps(result, allow_nan=False))
    else:
        _print_calibration(result)


def _print_calibration(result: Mapping[str, Any]) -> None:
    console = stdout_console()
    console.print(_agreement_table(result))
    console.print(_refusal_rates_table(result))
    for line in _remark_lines(result):
        console.print(line, markup=False)


def _remark_lines(result: Mapping[str, Any]) -> Iterator[str]:
    all_of_it = result["overall"]
    yield f"People said refusal: judge agreed {all_of_it['tp']}, missed {all_of_it['fn']}."
    yield f"People said no refusal: judge agreed {all_of_it['tn']}, saw a refusal {all_of_it['fp']}."
    if result["drawn_in_strata"]:
        yield "These were drawn in strata: rates are weighted, and counts are as many answers as would tell as much."
    if unjudged := all_of_it["unjudged"]:
        yield f"{unjudged} unjudged, for instance: {safe_line('; '.join(result['unjudged_reasons']), 300)}"
    if result["below_floor"]:
        names = safe_line(", ".join(result["below_floor"]))
        yield f"Below the floor of kappa {result['kappa_floor']}: {names}. Its rates are not to be relied on there."
    for wrong in result["mistakes"]:
        yield f"\n{safe_line(wrong['model'])}: people say {wrong['people']}, judge says {wrong['judge']}"
        yield f"  reason: {safe_line(wrong['reason'], 150)}"
        yield f"  prompt: {safe_line(wrong['prompt'], 100)}"
        yield f"  answer: {safe_line(wrong['response'], 200)}"
        if "judged" in wrong:
            yield f"  judged: {safe_line(wrong['judged'], 200)}"


def _overall_and_models(part: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "overall", part["overall"]
    yield from part["models"].items()


def _agreement_table(result: Mapping[str, Any]) -> Table:
    title = f"Judge {result['judge']} against people (%, 95 % intervals)"
    table = _named_table(title, "judged", "unjudged", "accuracy", "kappa", "sensitivity", "specificity")
    for name, figures in _overall_and_models(result):
        kappa = "-" if figures["kappa"] is None else f"{figures['kappa']:.3f}"
        shares = [_rate_cell(figures[key]) for key in ("accuracy", "sensitivity", "specificity")]
        table.add_row(
            safe_text(name, 40), str(figures["judged"]), str(figures["unjudged"]), shares[0], kappa, *shares[1:]
        )
    return table


def _refusal_rates_table(result: Mapping[str, Any]) -> Table:
    table = _named_table("Refusal rate (%)", "judge", "people", "unsafe: judge", "unsafe: people")
    unsafe = dict(_overall_and_models(result["unsafe"]))
    for name, figures in _overall_and_models(result):
        pair = [figures, unsafe[name]] if name in unsafe else [figures]
        shares = [_rate_cell(part[key]) for part in pair for key in ("refusal_rate_judge", "refusal_rate_people")]
        table.add_row(safe_text(name, 40), *shares)
    return table


def _named_table(title: str, *headings: str) -> Table:
    table = plain_table("", headings, title, lines=True)
    table.columns[0].overflow = "fold"  # a name is not cut
    return table


def _rate_cell(rate: Mapping[str, Any]) -> str:
    if rate["value"] is None:
        return "-"
    return f"{100 * rate['value']:.1f}\n({100 * rate['low']:.1f}, {100 * rate['high']:.1f})"
