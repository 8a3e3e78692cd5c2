"""Prompts put in other ways, under attack or in another language: what asks for them, and how they are known.

`bundled+attacks` names the bundled prompts and every wrapper around them, `bundled+languages` their translations,
`bundled+attacks=persona,base64+languages=es` some of each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.prompts.attacks import ATTACKS, TRANSLATED
from harness.prompts.languages import LANGUAGES
from harness.support.errors import HarnessError

NO_ATTACK, OWN_LANGUAGE = "none", "en"
"""What a prompt that is put as it is has under `attack` and `language`, in a set with variants."""
VARIANT_FIELDS = ("attack", "language")
"""The fields of a variant's document, one of which says what variant of its `request` it is."""

_SUFFIX = re.compile(r"((?:\+(?:attacks|languages)(?:=[^+:=]*)?)+)(:\d+)?\Z")
_PART = re.compile(r"\+(attacks|languages)(?:=([^+]*))?")
_KNOWN: Mapping[str, Sequence[str]] = {"attacks": ATTACKS, "languages": tuple(LANGUAGES)}


@dataclass(frozen=True, slots=True)
class Variants:
    """The ways in which each prompt is put beside its own."""

    attacks: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()


def split_variants(source: str) -> tuple[str, str]:
    """A prompt source without its variants, and these: `bundled:200` and `+attacks` of `bundled+attacks:200`.

    Put together again they are the same source. A file of that name has no variants.
    """
    found = None if Path(source).exists() else _SUFFIX.search(source)
    return (source[: found.start()] + (found[2] or ""), found[1]) if found else (source, "")


def parse_variants(suffix: str, *, translated: bool) -> Variants:
    """What a source's second part, as `split_variants` gives it, asks for.

    Args:
        suffix: nothing, or as `+attacks=persona,base64+languages`.
        translated: whether there are translations of the prompts; the wrapper that needs one is otherwise left out.

    Raises HarnessError where it names what there is not.
    """
    chosen: dict[str, tuple[str, ...]] = {}
    for kind, names in (part.groups() for part in _PART.finditer(suffix)):
        if kind in chosen:
            raise HarnessError(f"asks for {kind} twice", place=suffix, hint="Name all of them at once.")
        asked = tuple(_KNOWN[kind] if names is None else dict.fromkeys(names.split(",")))
        if unknown := [name for name in asked if name not in _KNOWN[kind]]:
            hint = f"Choose from {', '.join(_KNOWN[kind])}."
            raise HarnessError(f"{unknown[0]!r} is none of the {kind}", place=suffix, hint=hint)
        chosen[kind] = asked if translated or names else tuple(name for name in asked if name != TRANSLATED)
    found = Variants(**chosen)
    if not translated and (found.languages or TRANSLATED in found.attacks):
        raise HarnessError("needs translations", place=suffix, hint="Only the prompts of `bundled` have some.")
    return found


def refuse_variants(source: str) -> None:
    """Raises HarnessError where a prompt source names variants and only its prompts as they are can be used."""
    if split_variants(source)[1]:
        told = "names variants of its prompts, which only an evaluation puts to a model"
        raise HarnessError(told, place=source, hint=f"Say {split_variants(source)[0]}.")


def variant_name(doc: Mapping[str, Any]) -> str | None:
    """How a document puts the request of another one, as `attack persona` or `language es`; None where it is its own.

    Its id says so: `ID+persona`, where `request` is `ID` and `attack` is `persona`.
    """
    if "request" not in doc:
        return None
    named = ((field, doc.get(field)) for field in VARIANT_FIELDS)
    return next(
        (f"{field} {name}" for field, name in named if doc.get("prompt_id") == f"{doc['request']}+{name}"), None
    )
