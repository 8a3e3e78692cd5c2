"""The report's page: a view of each run, its own style and script by hash, all else data."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from harness.support.console import smoke_text
from reports import charts, first_screen, words
from reports.answers import pack_answers
from reports.comparing import compare_runs
from reports.reading import read_runs
from reports.templating import page_environment, security_policy
from reports.view import View, build_view
from reports.words import DIRECTIONS, FLAG_WORDS


def render_report(run_dirs: Sequence[Path], *, redact: bool = False) -> str:
    """One self-contained HTML page about one or more run directories; nothing is fetched.

    Args:
        run_dirs: directories that `harness run` finished; several are compared, in the order of their dates.
        redact: leave out every text of an unsafe prompt and of an answer to one.

    Raises HarnessError where a directory holds no finished run, or is given twice.
    """
    pages = page_environment()
    pages.globals.update(words=words, charts=charts, first_screen=first_screen, smoke_text=smoke_text)
    runs = read_runs(run_dirs)
    views = [build_view(run, f"run{number}" if len(runs) > 1 else "") for number, run in enumerate(runs, 1)]
    assets = resources.files("reports").joinpath("templates")
    style, script = (assets.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "answers.js"))
    return pages.get_template("report.html.j2").render(
        views=views,
        title=_page_title(views),
        several=compare_runs(views) if len(views) > 1 else None,
        redact=redact,
        sides=None,
        data=pack_answers([(each.run, each.answers, each.labels) for each in views], redact=redact),
        filters=_filter_choices(views),
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=security_policy(style, script),
    )


def _page_title(views: Sequence[View]) -> str:
    """What tells the page from others; runs by their names, as far as a title has room."""
    if len(views) == 1:
        return views[0].title
    return f"{len(views)} runs compared: {', '.join(view.run.name for view in views)}"


def _filter_choices(views: Sequence[View]) -> dict[str, list[tuple[str, str]]]:
    """The choices of the answers' filters: value and label."""
    every = [(view, answer) for view in views for answer in view.answers]
    arms = {answer.arm: view.labels[answer.arm] for view, answer in every}
    found = {answer.direction for _, answer in every}
    flags = {flag for _, answer in every for side in (answer.before, answer.after) for flag in side.flags}
    docs = [answer.after.doc for _, answer in every]
    return {
        "run": [(str(number), view.run.name) for number, view in enumerate(views)],
        "arm": [*arms.items()],
        "direction": [(name, label) for name, label in DIRECTIONS.items() if name in found],
        "flag": [(name, label) for name, (label, _) in FLAG_WORDS.items() if name in flags],
        "category": [(name, name) for name in sorted({str(doc.get("hazard", "")) for doc in docs})],
        "seed": [(str(seed), str(seed)) for seed in sorted({answer.seed for _, answer in every})],
        "split": [(name, name) for name in sorted({str(doc.get("split", "")) for doc in docs})],
    }
