"""One run: its recipe, the model it starts from and its directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.judges.registry import judge_identity
from harness.models.paths import ModelPath
from harness.prompts.sets import PromptKind, PromptRow, load_prompts
from harness.recipes.schema import Recipe
from harness.run.directory import RunDirectory
from harness.support.layout import OTHER_SOURCES


@dataclass(frozen=True, slots=True)
class Run:
    """One run: the recipe, the model it starts from, and its directory."""

    recipe: Recipe
    model_path: ModelPath
    directory: RunDirectory

    @property
    def out(self) -> Path:
        """The run directory's path."""
        return self.directory.path

    @property
    def other_sources(self) -> list[str]:
        """The tables beside the on-policy pairs that an arm trains on."""
        return sorted({source for arm in self.recipe.arms.values() for source in OTHER_SOURCES[arm.pairs]})

    def answer_inputs(self) -> dict[str, object]:
        """What answers and verdicts depend on beside the model."""
        kinds: tuple[PromptKind, ...] = ("unsafe", "benign")
        return {
            "the prompts": [load_prompts(self.recipe.prompts, kind) for kind in kinds],
            "the judge": judge_identity(self.recipe.judge),
            "the backend": self.recipe.backend,
        }


def training_prompts(recipe: Recipe) -> list[PromptRow]:
    return [row for row in load_prompts(recipe.prompts, "unsafe") if row["split"] == "train"]
