"""The pages of the section 3 and section 5 experiments, pure functions of a run directory's results.json."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from harness.support.artifacts import read_json
from harness.support.run_results import CatastrophicResults, parse_experiment_results
from reports import words
from reports.experiment_charts import fall_chart, percentile_chart
from reports.reading import read_run_file
from reports.templating import page_environment


def is_experiment(directory: Path) -> bool:
    """Whether a run directory holds one of these experiments, not the regression run."""
    file = directory / "results.json"
    return file.is_file() and isinstance(content := read_json(file), dict) and "experiment" in content


def render_experiment(directory: Path) -> str:
    """One self-contained HTML page about an experiment: nothing is fetched and no script runs.

    Raises HarnessError where the directory holds no finished experiment.
    """
    file = directory / "results.json"
    results = parse_experiment_results(read_run_file(file), str(file))
    manifest = read_run_file(directory / "manifest.json")
    chart = fall_chart(results) if isinstance(results, CatastrophicResults) else percentile_chart(results)
    pages = page_environment()
    pages.filters["number"] = format_decimals
    pages.globals.update(words=words)
    return pages.get_template(f"{results.experiment}.html.j2").render(
        name=directory.resolve().name,
        results=results,
        manifest=manifest,
        chart=Markup(chart),  # noqa: S704 - our own SVG
    )


def format_decimals(value: float | None, digits: int = 2) -> str:
    """A figure with so many decimals, its minus sign a real one."""
    return "n/a" if value is None else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
