"""Where each file of a run directory lies, and the sources of pairs that some of them are named after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "manifest.json"
"""At the top of every run directory: what was run, and the hash of every file."""
ARMS = "arms"
"""The folder of a regression run's arms, the baseline among them."""
DRAWS = "draws"
"""The folder of the runs that a run on several draws is made of."""
SEED_PREFIX = "seed-"
"""What the name of a seed's folder begins with; the seed follows."""

ON_POLICY = "on_policy"
"""The source of pairs that every run has; `preferences` in a recipe takes its place."""
OFF_POLICY = "off_policy"
"""The source of pairs that others wrote."""
OTHER_SOURCES: Mapping[str, tuple[str, ...]] = {
    ON_POLICY: (),
    "gold": ("gold",),
    OFF_POLICY: (OFF_POLICY,),
    "mixed": (OFF_POLICY,),
}
"""The tables beside the on-policy pairs that an arm's `pairs` need."""


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """One source's pairs, their scores, and the starting model's ln p of their answers."""

    pairs: Path
    scores: Path
    reference: Path


@dataclass(frozen=True, slots=True)
class ReferenceFiles:
    """The starting model's side of every comparison.

    Ln p by pair and by token, its distributions and features of refusal (`start`), how answers start, nearest pairs.
    """

    logprobs: Path
    tokens: Path
    start: Path
    starts: Path
    nearest: Path


@dataclass(frozen=True, slots=True)
class ArmFiles:
    """What one arm leaves with one seed; the baseline leaves its evaluation alone."""

    home: Path

    @property
    def model(self) -> Path:
        """The trained checkpoint's directory."""
        return self.home / "model"

    @property
    def training(self) -> Path:
        """The pairs trained on, the trainer's log, and ln p of the answers afterwards."""
        return self.home / "training.json"

    @property
    def displacement(self) -> Path:
        """The change of ln p by token and position, and of how answers start."""
        return self.home / "displacement.json"

    @property
    def evaluation(self) -> Path:
        """lm-eval's own output directory."""
        return self.home / "eval"

    @property
    def partial_evaluation(self) -> Path:
        """The answers of an evaluation over an API that is not finished."""
        return self.home / "eval.partial"

    @property
    def partial(self) -> Path:
        """The checkpoints of a training that is not finished."""
        return self.home / "training.partial"


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of a run directory."""

    root: Path

    @property
    def manifest(self) -> Path:
        """What was run, and the hash of every file."""
        return self.root / MANIFEST

    @property
    def results(self) -> Path:
        """The run's numbers (docs/results.schema.json)."""
        return self.root / "results.json"

    @property
    def report(self) -> Path:
        """The page."""
        return self.root / "report.html"

    @property
    def workers_log(self) -> Path:
        """What the processes that trained and evaluated printed."""
        return self.root / "workers.log"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's runs, where it was asked for."""
        return self.root / "tensorboard"

    @property
    def pairs_card(self) -> Path:
        """How many pairs there are, and which prompts gave none, and why."""
        return self.root / "preferences.json"

    @property
    def partial_pairs(self) -> Path:
        """The answers and verdicts of a table that is not finished."""
        return self.root / "preferences.partial"

    @property
    def probes(self) -> Path:
        """The starting model's own answers that influence is measured with."""
        return self.root / "probes.json"

    @property
    def influence(self) -> Path:
        """What training on each on-policy pair does to rates, to first order."""
        return self.root / "influence.parquet"

    @property
    def forecast(self) -> Path:
        """What the first steps of some arms' trainings say of the rest, before any arm is trained."""
        return self.root / "forecast.json"

    @property
    def pushes(self) -> Path:
        """How hard each on-policy pair pushes each unsafe prompt's refusal, to first order."""
        return self.root / "prompt_influence.npz"

    @property
    def difficulty(self) -> Path:
        """The validation loss of each on-policy pair."""
        return self.root / "difficulty.json"

    @property
    def quantized_logprobs(self) -> Path:
        """What QLoRA's objective refers to: the pairs' ln p under the quantized weights that it starts from."""
        return self.root / "quantized_logprobs.json"

    @property
    def calibration(self) -> Path:
        """The judge against people's labels, where somebody laid it here."""
        return self.root / "calibration.json"

    @property
    def fine_tuned(self) -> tuple[Path, Path]:
        """The checkpoint of section 3's first phase, and its log."""
        return self.root / "sft" / "model", self.root / "sft" / "log.json"

    @property
    def with_added_tokens(self) -> Path:
        """The checkpoint of section 5 with the recipe's added tokens."""
        return self.root / "with_added_tokens"

    @property
    def likeliest(self) -> Path:
        """The starting model's likeliest next token after each statement of section 3."""
        return self.root / "likeliest.json"

    def source(self, name: str) -> SourceFiles:
        """A source's files; the on-policy pairs' have no name before theirs."""
        if name == ON_POLICY:
            return SourceFiles(
                self.root / "preferences.jsonl", self.root / "scores.parquet", self.root / "reference.json"
            )
        return SourceFiles(
            self.root / f"{name}.jsonl", self.root / f"{name}_scores.parquet", self.root / f"{name}_reference.json"
        )

    @property
    def reference(self) -> ReferenceFiles:
        """What is kept of the starting model."""
        return ReferenceFiles(
            self.source(ON_POLICY).reference,
            self.root / "reference.npz",
            self.root / "reference.safetensors",
            self.root / "reference_starts.json",
            self.root / "nearest_pairs.json",
        )

    def seeds(self, arm: str) -> Path:
        """The folder of an arm's seeds."""
        return self.root / ARMS / arm

    def arm(self, name: str, seed: int) -> ArmFiles:
        """One arm trained with one seed."""
        return ArmFiles(self.seeds(name) / f"{SEED_PREFIX}{seed}")

    def organism(self, seed: int) -> RunFiles:
        """The files of one organism of several, its probe answers and how its own answers start."""
        return RunFiles(self.root / f"organism-{seed}")

    def draw(self, name: str) -> RunFiles:
        """The files of one draw of several, a regression run of its own."""
        return RunFiles(self.root / DRAWS / name)

    def table(self, number: int) -> RunFiles:
        """The files of one table of pairs of several: the pairs, their scores and their ln p."""
        return RunFiles(self.root / f"table-{number}")

    def trial(self, name: str, group: str, seed: int) -> Path:
        """One trial of an experiment."""
        return self.root / "trials" / name / group / f"{SEED_PREFIX}{seed}.json"


def arm_of_path(path: Path) -> str | None:
    """The arm of a run that a directory belongs to; of folders called like that of the arms, the innermost counts."""
    run = run_of_path(path)
    inside = path.resolve().relative_to(run / ARMS).parts if run else ()
    return inside[0] if inside else None


def run_of_path(path: Path) -> Path | None:
    """The run directory that the folder of its arms, or one inside that, belongs to."""
    resolved = path.resolve()
    return next((each.parent for each in (resolved, *resolved.parents) if each.name == ARMS), None)
