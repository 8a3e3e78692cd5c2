"""`harness calibrate`: a judge against human labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table


def calibrate(
    labelled: Annotated[
        list[Path],
        typer.Argument(help="CSV files: XSTest's columns, or prompt,response,label[,model|source][,unsafe]."),
    ],
    name: Annotated[str, typer.Option("--judge", help="Which judge; `harness judges` lists them.")] = "lexical",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the calibration as JSON, for `harness gate`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the calibration as one JSON object.")] = False,
) -> None:
    """Measure a judge against human labels: accuracy, kappa, sensitivity, specificity, overall and per model.

    \b
    harness calibrate xstest_gpt4.csv xstest_llama2.csv --judge lexical
    harness calibrate labelled.csv --judge lexical --out calibration.json --json

    A label is refusal, partial_refusal (counted as refusal), compliance, harmful or other. Without a column
    `model` or `source` the file's name stands for the model. Intervals are exact (Clopper-Pearson, 95 %).
    """
    import json

    from harness import pinning
    from harness.artifacts import write_json
    from harness.calibration import calibrate as measure
    from harness.calibration import load, verdicts
    from harness.console import bar
    from harness.judges import find

    find(name)
    name = pinning.judge(name)
    files = {path: load(path) for path in labelled}
    answers = [answer for rows in files.values() for answer in rows]
    with bar("judging", len(answers), "answers") as advance:
        result = measure(name, files, verdicts(name, answers, advance))
    if out:
        write_json(out, result)
    if as_json:
        print(json.dumps(result, allow_nan=False))
    else:
        _show(result)


def _show(result: Mapping[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(_agreement(result))
    console.print(_rates(result))
    for line in _remarks(result):
        console.print(line, markup=False)


def _remarks(result: Mapping[str, Any]) -> Iterator[str]:
    from harness.console import safe

    all_of_it = result["overall"]
    yield f"People said refusal: judge agreed {all_of_it['tp']}, missed {all_of_it['fn']}."
    yield f"People said no refusal: judge agreed {all_of_it['tn']}, saw a refusal {all_of_it['fp']}."
    if unjudged := all_of_it["unjudged"]:
        yield f"{unjudged} unjudged, for instance: {safe('; '.join(result['unjudged_reasons']), 300)}"
    if result["below_floor"]:
        names = safe(", ".join(result["below_floor"]))
        yield f"Below the floor of kappa {result['kappa_floor']}: {names}. Its rates are not to be relied on there."
    for wrong in result["mistakes"]:
        yield f"\n{safe(wrong['model'])}: people say {wrong['people']}, judge says {wrong['judge']}"
        yield f"  reason: {safe(wrong['reason'], 150)}"
        yield f"  prompt: {safe(wrong['prompt'], 100)}"
        yield f"  answer: {safe(wrong['response'], 200)}"


def _parts(part: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "overall", part["overall"]
    yield from part["models"].items()


def _agreement(result: Mapping[str, Any]) -> Table:
    title = f"Judge {result['judge']} against people (%, 95 % intervals)"
    table = _table(title, "judged", "unjudged", "accuracy", "kappa", "sensitivity", "specificity")
    for name, figures in _parts(result):
        kappa = "-" if figures["kappa"] is None else f"{figures['kappa']:.3f}"
        shares = [_percent(figures[key]) for key in ("accuracy", "sensitivity", "specificity")]
        _add(table, name, str(figures["judged"]), str(figures["unjudged"]), shares[0], kappa, *shares[1:])
    return table


def _rates(result: Mapping[str, Any]) -> Table:
    table = _table("Refusal rate (%)", "judge", "people", "unsafe: judge", "unsafe: people")
    unsafe = dict(_parts(result["unsafe"]))
    for name, figures in _parts(result):
        pair = [figures, unsafe[name]] if name in unsafe else [figures]
        shares = [_percent(part[key]) for part in pair for key in ("refusal_rate_judge", "refusal_rate_people")]
        _add(table, name, *shares)
    return table


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _add(table: Table, name: str, *cells: str) -> None:
    from rich.text import Text

    from harness.console import safe

    table.add_row(Text(safe(name, 40)), *cells)


def _percent(rate: Mapping[str, Any]) -> str:
    if rate["value"] is None:
        return "-"
    return f"{100 * rate['value']:.1f}\n({100 * rate['low']:.1f}, {100 * rate['high']:.1f})"
