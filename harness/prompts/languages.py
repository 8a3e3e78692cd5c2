"""The bundled prompts in other languages, translated by a language model and checked by no person."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from harness.support import artifacts
from harness.support.errors import HarnessError

LANGUAGES: Mapping[str, str] = {"es": "Spanish", "fr": "French", "de": "German", "zh": "Chinese", "ar": "Arabic"}
"""Those of the translations, by their codes (ISO 639-1)."""
MACHINE_TRANSLATED = "machine"
"""What a document says of who translated its prompt: a language model, and no person checked it."""


@cache
def read_translations(directory: Path, kind: str, language: str) -> Mapping[str, str]:
    """The bundled prompts of a kind in a language, by `prompt_id`.

    Args:
        directory: `harness.prompts.sets.tasks_directory`.
        kind: `unsafe` or `benign`.
        language: a code of `LANGUAGES`.
    """
    return {
        row["prompt_id"]: row["prompt"]
        for row in artifacts.read_jsonl(directory / "languages" / f"{kind}.{language}.jsonl")
    }


def translate_request(directory: Path, kind: str, prompt_id: str, language: str) -> str:
    """A bundled prompt in a language. Raises HarnessError where it has none."""
    known = read_translations(directory, kind, language)
    if prompt_id not in known:
        raise HarnessError(f"is not translated into {LANGUAGES[language]}", place=prompt_id)
    return known[prompt_id]


def choose_language(prompt_id: str) -> str:
    """One of the languages, the same whenever it is asked; over many prompts each comes about as often."""
    return [*LANGUAGES][zlib.crc32(prompt_id.encode()) % len(LANGUAGES)]
