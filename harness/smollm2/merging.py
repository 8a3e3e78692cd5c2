"""An adapter's weights added to its base's."""

from __future__ import annotations

from pathlib import Path

from peft import PeftModel

from harness.models.loading import load_model
from harness.models.paths import ModelPath
from harness.support import artifacts, console


def merge_adapter(base: ModelPath, adapter: Path, out: Path) -> None:
    """Writes the base with the adapter merged into it as a checkpoint in float32, whole or not at all."""
    console.print_note(f"Adding the safety tuning to {base}, once")
    model, tokenizer = load_model(base, placed=False)
    merged = PeftModel.from_pretrained(model.float(), str(adapter)).merge_and_unload()
    with artifacts.atomic_directory(out) as temporary:
        merged.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
