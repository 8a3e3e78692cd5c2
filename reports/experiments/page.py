"""The experiments' pages, pure functions of a run directory's results.json."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from harness.support.artifacts import read_json
from harness.support.console import smoke_text
from harness.support.layout import RunFiles
from harness.support.run_results import (
    CatastrophicResults,
    DrawResults,
    ExperimentResults,
    PercentilesResults,
    parse_experiment_results,
)
from reports import words
from reports.experiments.charts import MEASURE_TITLES, draws_chart, fall_chart, percentile_chart, selection_chart
from reports.reading import read_run_file
from reports.templating import page_environment


def is_experiment(directory: Path) -> bool:
    """Whether a run directory holds one of these experiments, not the regression run."""
    file = RunFiles(directory).results
    return file.is_file() and isinstance(content := read_json(file), dict) and "experiment" in content


def render_experiment(directory: Path) -> str:
    """One self-contained HTML page about an experiment: nothing is fetched and no script runs.

    Raises HarnessError where the directory holds no finished experiment.
    """
    files = RunFiles(directory)
    results = parse_experiment_results(read_run_file(files.results), str(files.results))
    manifest = read_run_file(files.manifest)
    pages = page_environment()
    pages.filters["number"] = format_decimals
    labels = words.arm_labels(results.recipe, [*results.arms]) if isinstance(results, DrawResults) else {}
    pages.globals.update(words=words, smoke_text=smoke_text, titles=MEASURE_TITLES, labels=labels)
    return pages.get_template(f"{results.experiment}.html.j2").render(
        name=directory.resolve().name,
        results=results,
        manifest=manifest,
        chart=Markup(_draw_chart(results)),  # noqa: S704 - our own SVG
    )


def _draw_chart(results: ExperimentResults) -> str:
    if isinstance(results, CatastrophicResults):
        return fall_chart(results)
    if isinstance(results, DrawResults):
        return draws_chart(results, words.arm_labels(results.recipe, [*results.arms]))
    return percentile_chart(results) if isinstance(results, PercentilesResults) else selection_chart(results)


def format_decimals(value: float | None, digits: int = 2) -> str:
    """A figure with so many decimals, its minus sign a real one."""
    return "n/a" if value is None else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
