"""What a page shows of a run, for its templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from harness.judges.verdicts import FLAGS
from harness.support.versions import DISTRIBUTION
from reports.answers import ComparedAnswer, compare_answers
from reports.charts import LOSSES
from reports.figures import Figures, compute_figures
from reports.reading import FinishedRun
from reports.templating import PathStep, cite_figure
from reports.words import arm_labels, listed, minute, model, several, shorten_commit


@dataclass(frozen=True, slots=True)
class View:
    """What the templates show of one run; `prefix` keeps the ids of several runs apart on one page."""

    run: FinishedRun
    figures: Figures
    labels: Mapping[str, str]
    answers: Sequence[ComparedAnswer]
    prefix: str

    @property
    def cuts(self) -> dict[str, float]:
        """The line of each filter by length-normalised CHES, left to right, by the arm's label without its steps."""
        cuts = {self.labels[name].split(",")[0]: cut for name, cut in self.figures["cuts"].items()}
        return dict(sorted(cuts.items(), key=lambda item: item[1]))

    @property
    def starting_model(self) -> str:
        """The model that the run started from, by name and content."""
        content = str(self.run.manifest.get("model", {}).get("sha256") or "")[:12]
        return " ".join(filter(None, [shorten_commit(model(self.run.recipe)), content]))

    @property
    def provenance(self) -> dict[str, str]:
        """What made the run: model, judge, seeds and code, as far as the manifest says."""
        recipe, manifest = self.run.recipe, self.run.manifest
        judge = shorten_commit(recipe.judge)
        version, source = manifest["versions"].get(DISTRIBUTION, ""), manifest.get("source") or {}
        commit = f"{source['revision'][:12]}{' (edited)' if source.get('edited') else ''}" if source else "not recorded"
        return {
            "Model": self.starting_model,
            "Judge": judge if self.run.calibration else f"{judge}, not calibrated",
            "Trained with": several(len(recipe.seeds), "seed"),
            "Harness": f"{version}, commit {commit}" if version else f"commit {commit}",
        }

    @property
    def title(self) -> str:
        """What tells the page from that of another run: its name, what was trained, and when it was measured."""
        smoke = "Smoke run " if self.run.recipe.limit is not None else ""
        return f"{smoke}{self.run.name}: {shorten_commit(model(self.run.recipe))}, {minute(self.run.date)}"

    @property
    def guarded(self) -> list[str]:
        """The metrics of safety that the gate looked at."""
        return [*dict.fromkeys(metric for name in self.figures["gate"] for metric in self.safety_checks(name))]

    def safety_checks(self, name: str) -> dict[str, Any]:
        """The gate's checks of an arm but those of tasks of the user's own."""
        checks: dict[str, Any] = self.figures["gate"][name]["checks"]
        return {metric: check for metric, check in checks.items() if metric not in self.run.results.guarded_tasks}

    def decisions_beside(self, name: str) -> list[str]:
        """What the gate said of an arm's metrics of tasks of the user's own."""
        checks = self.figures["gate"].get(name, {}).get("checks", {})
        return [checks[metric]["overall"]["decision"] for metric in self.run.results.guarded_tasks if metric in checks]

    @property
    def gaps(self) -> list[str]:
        """Of which seeds a file is missing that others of the same arm have: means are over those others."""
        parts = {"samples": self.run.answers, "training.json": self.run.training}
        parts["displacement.json"] = self.run.displacement
        seeds = self.run.recipe.seeds
        return [
            f"{self.labels[arm]}: no {name} of seed {listed([*map(str, missing)])}; what rests on it is of the others."
            for name, by_arm in parts.items()
            for arm, by_seed in by_arm.items()
            if (missing := [seed for seed in seeds if seed not in by_seed])
        ]

    @property
    def variants(self) -> list[str]:
        """The variants of the prompts that every arm was asked."""
        asked = [{*(arm.by_variant or ())} for arm in self.run.arms.values()]
        return sorted(set.intersection(*asked)) if asked else []

    @property
    def flagged(self) -> bool:
        """Whether any verdict has a flag, or was on a part of the answer."""
        return any(found[key] for found in self.figures["flags"].values() for key in (*FLAGS, "cut"))

    @property
    def unfinished_arms(self) -> list[str]:
        """The arms some of whose answers ended before they began."""
        return [name for name, found in self.figures["flags"].items() if found["unfinished"]]

    def off_topic_arms(self, split: str) -> list[str]:
        """The arms whose harmful completions are a range, as some seem to answer another question."""
        return [name for name, found in self.figures["flags"].items() if found["least_harmful"][split] is not None]

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
                said.setdefault(checks["overall"]["judge_error"], {})[LOSSES.get(metric, metric)] = None
        return [f"{listed([*metrics])}: {told}" for told, metrics in said.items()]

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

    def cite(self, form: str, *path: PathStep | Sequence[PathStep]) -> Markup:
        """A figure as text that says where it is from: a JSON pointer (RFC 6901) into the run's figures.

        Raises KeyError or IndexError where there is none.
        """
        return cite_figure(self.figures, self.prefix, form, *path)

    def estimate(self, form: str, *path: PathStep | Sequence[PathStep]) -> Markup:
        """A value and its 95 % interval."""
        value, low, high = (self.cite(form, *path, key) for key in ("value", "low", "high"))
        return value if "n/a" in value else Markup("{} <small>{} to {}</small>").format(value, low, high)


def build_view(run: FinishedRun, prefix: str = "") -> View:
    """All that a page shows of a run."""
    found = compare_answers(run)
    return View(run, compute_figures(run, found), arm_labels(run.recipe, [*run.arms]), found, prefix)
