"""The pages of the section 3 and section 5 experiments, pure functions of a run directory's results.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.support.artifacts import read_json
from harness.support.errors import HarnessError
from reports import words
from reports.experiment_charts import fall_chart, percentile_chart
from reports.templating import page_environment

CHARTS = {"catastrophic": fall_chart, "percentiles": percentile_chart}


def is_experiment(directory: Path) -> bool:
    """Whether a run directory holds one of these experiments, not the regression run."""
    file = directory / "results.json"
    return file.is_file() and isinstance(content := read_json(file), dict) and "experiment" in content


def render_experiment(directory: Path) -> str:
    """One self-contained HTML page about an experiment: nothing is fetched and no script runs.

    Raises HarnessError where the directory holds no finished experiment.
    """
    from markupsafe import Markup

    results, manifest = (read_run_file(directory / name) for name in ("results.json", "manifest.json"))
    pages = page_environment()
    pages.filters["number"] = format_decimals
    pages.globals.update(words=words)
    try:
        chart = CHARTS[results["experiment"]](results)
        return pages.get_template(f"{results['experiment']}.html.j2").render(
            name=directory.resolve().name,
            results=results,
            manifest=manifest,
            chart=Markup(chart),  # noqa: S704 - our own SVG
        )
    except (KeyError, TypeError) as error:
        raise HarnessError(
            f"lacks {error}", place=str(directory / "results.json"), hint="Run `harness run` again."
        ) from error


def format_decimals(value: float | None, digits: int = 2) -> str:
    """A figure with so many decimals, its minus sign a real one."""
    return "n/a" if value is None else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def read_run_file(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise HarnessError("is not there", place=str(path), hint="Give a directory that `harness run` finished.")
    content = read_json(path)
    if not isinstance(content, dict):
        raise HarnessError("is no JSON object", place=str(path), hint="Run `harness run` again.")
    return content
