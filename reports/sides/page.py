"""The page of two sides: one self-contained file, in the dress of a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from harness.gate.policy import Policy
from reports import charts, words
from reports.answers import ComparedAnswer, pack_sides
from reports.sides.figures import LABEL, SidesView, compare_sides
from reports.templating import page_environment, security_policy
from reports.words import DIRECTIONS, FLAG_WORDS


def render_sides(before: Path, after: Path, policy: Policy, *, judge: str | None = None, redact: bool = False) -> str:
    """One self-contained HTML page about two evaluations, each of any tool that the gate reads; nothing is fetched.

    Args:
        before: the model before training, a file or a directory.
        after: the same after it.
        policy: what may not get worse.
        judge: who judges the answers of other tools than lm-eval anew.
        redact: leave out every text of an unsafe prompt and of an answer to one.

    Raises HarnessError as the gate does.
    """
    view = compare_sides(before, after, policy, judge)
    pages = page_environment()
    pages.globals.update(words=words, charts=charts)
    assets = resources.files("reports").joinpath("templates")
    style, script = (assets.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "answers.js"))
    return pages.get_template("sides.html.j2").render(
        view=view,
        views=[view],
        several=None,
        sides=view,
        redact=redact,
        data=pack_sides(view.answers, view.labels[LABEL], redact=redact),
        filters=_filter_choices(view),
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=security_policy(style, script),
    )


def _filter_choices(view: SidesView) -> dict[str, list[tuple[str, str]]]:
    """The choices of the answers' filters: value and label."""
    directions = {answer.direction for answer in view.answers}
    flags = {flag for answer in view.answers for side in (answer.before, answer.after) for flag in side.flags}
    return {
        "run": [],
        "arm": [],
        "seed": [],
        "direction": [(name, label) for name, label in DIRECTIONS.items() if name in directions],
        "flag": [(name, label) for name, (label, _) in FLAG_WORDS.items() if name in flags],
        "category": _field_choices(view.answers, "hazard"),
        "split": _field_choices(view.answers, "split"),
    }


def _field_choices(answers: Sequence[ComparedAnswer], field: str) -> list[tuple[str, str]]:
    return [(name, name) for name in sorted({str(answer.after.doc.get(field, "")) for answer in answers})]
