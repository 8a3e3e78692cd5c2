"""The page: Jinja with StrictUndefined and autoescape, its own style and script by hash, all else data."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from reports import charts, comparing, words
from reports.figures import Figures, figures
from reports.flips import Flip, flips, packed
from reports.reading import Run, read_all
from reports.templating import environment

Step = str | int
"""A key or a place on the way to a figure."""

_FORMS = {"percent": words.percent, "points": words.points, "nats": words.nats, "number": words.number}


@dataclass(frozen=True, slots=True)
class View:
    """What the templates show of one run; `prefix` keeps the ids of several runs apart on one page."""

    run: Run
    figures: Figures
    labels: Mapping[str, str]
    flips: Sequence[Flip]
    prefix: str

    @property
    def cuts(self) -> dict[str, float]:
        """The line of each filter by length-normalised CHES, by the arm's label without how long it trains."""
        return {self.labels[name].split(",")[0]: cut for name, cut in self.figures["cuts"].items()}

    @property
    def obstacles(self) -> list[str]:
        """Why the gate decided nothing, each reason once."""
        return [*dict.fromkeys(found["reason"] for found in self.figures["gate"].values() if not found["decision"])]

    @property
    def judge_errors(self) -> list[str]:
        """What the gate says of the judge's error, metric by metric, alike words once."""
        said: dict[str, dict[str, None]] = {}
        for found in self.figures["gate"].values():
            for metric, checks in found["checks"].items():
                said.setdefault(checks["overall"]["judge_error"], {})[charts.LOSSES.get(metric, metric)] = None
        return [f"{words.listed([*metrics])}: {told}" for told, metrics in said.items()]

    @property
    def notes(self) -> list[str]:
        """The gate's remarks, each once."""
        return [*dict.fromkeys(note for found in self.figures["gate"].values() for note in found["notes"])]

    @property
    def drawn_training(self) -> dict[str, Any]:
        """The training of arms that took more than one step; one step has no course to draw."""
        return {name: content for name, content in self.figures["training"].items() if len(content["mean"]) > 1}

    def decided(self, decision: str | None) -> list[str]:
        """The arms on which the gate said this; None for those on which it said nothing."""
        return [name for name, found in self.figures["gate"].items() if found["decision"] == decision]

    def cite(self, form: str, *path: Step | Sequence[Step]) -> Markup:
        """A figure as text that says where it is from: a JSON pointer (RFC 6901) into the run's figures.

        Raises KeyError or IndexError where there is none.
        """
        steps = [step for part in path for step in ([part] if isinstance(part, str | int) else part)]
        value: Any = self.figures
        for step in steps:
            value = value[step]
        pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
        return Markup('<data value="{}" data-from="{}">{}</data>').format(
            json.dumps(value), self.prefix + pointer, _FORMS[form](value)
        )

    def estimate(self, form: str, *path: Step | Sequence[Step]) -> Markup:
        """A value and its 95 % interval."""
        value, low, high = (self.cite(form, *path, key) for key in ("value", "low", "high"))
        return value if "n/a" in value else Markup("{} <small>{} to {}</small>").format(value, low, high)


def view(run: Run, prefix: str = "") -> View:
    """All that a page shows of a run."""
    found = flips(run)
    return View(run, figures(run, found), words.labels(run.recipe, [*run.arms]), found, prefix)


def render(run_dirs: Sequence[Path], *, redact: bool = False) -> str:
    """One self-contained HTML page about one or more run directories; nothing is fetched.

    Args:
        run_dirs: directories that `harness run` finished; several are compared, in the order of their dates.
        redact: leave out every text of an unsafe prompt and of an answer to one.

    Raises HarnessError where a directory holds no finished run, or is given twice.
    """
    pages = environment()
    pages.globals.update(words=words, charts=charts)
    runs = read_all(run_dirs)
    views = [view(run, f"run{number}" if len(runs) > 1 else "") for number, run in enumerate(runs, 1)]
    style, script = (_asset(name) for name in ("report.css", "flips.js"))
    return pages.get_template("report.html.j2").render(
        views=views,
        several=comparing.compare(views) if len(views) > 1 else None,
        redact=redact,
        data=packed([(each.run, each.flips, each.labels) for each in views], redact=redact),
        filters=_filters(views),
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=_policy(style, script),
    )


def _asset(name: str) -> str:
    return resources.files("reports").joinpath("templates", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """The Content-Security-Policy: no network, and of inline code only our own two files, by their hash."""
    return (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _filters(views: Sequence[View]) -> dict[str, list[tuple[str, str]]]:
    """The choices of the flips' filters: value and label."""
    every = [(view, flip) for view in views for flip in view.flips]
    arms = {flip.arm: view.labels[flip.arm] for view, flip in every}
    found = {flip.direction for _, flip in every}
    return {
        "run": [(str(number), view.run.name) for number, view in enumerate(views)],
        "arm": [*arms.items()],
        "direction": [(name, label) for name, label in words.DIRECTIONS.items() if name in found],
        "category": [(name, name) for name in sorted({str(flip.after.doc.get("hazard", "")) for _, flip in every})],
        "seed": [(str(seed), str(seed)) for seed in sorted({flip.seed for _, flip in every})],
        "split": [(name, name) for name in sorted({str(flip.after.doc.get("split", "")) for _, flip in every})],
    }
