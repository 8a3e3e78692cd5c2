"""The pages of the section 3 and section 5 experiments, pure functions of a run directory's results.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.artifacts import read_json
from harness.errors import HarnessError
from reports import experiment_charts as charts
from reports import words
from reports.templating import environment

CHARTS = {"catastrophic": charts.falls, "percentiles": charts.percentiles}


def is_experiment(directory: Path) -> bool:
    """Whether a run directory holds one of these experiments, not the regression run."""
    file = directory / "results.json"
    return file.is_file() and isinstance(content := read_json(file), dict) and "experiment" in content


def render(directory: Path) -> str:
    """One self-contained HTML page about an experiment: nothing is fetched and no script runs.

    Raises HarnessError where the directory holds no finished experiment.
    """
    from markupsafe import Markup

    results, manifest = (_object(directory / name) for name in ("results.json", "manifest.json"))
    pages = environment()
    pages.filters["number"] = number
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
            f"lacks {error}", place=str(directory / "results.json"), mend="Run `harness run` again."
        ) from error


def number(value: float | None, digits: int = 2) -> str:
    """A figure with so many decimals, its minus sign a real one."""
    return "n/a" if value is None else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _object(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise HarnessError("is not there", place=str(path), mend="Give a directory that `harness run` finished.")
    content = read_json(path)
    if not isinstance(content, dict):
        raise HarnessError("is no JSON object", place=str(path), mend="Run `harness run` again.")
    return content
