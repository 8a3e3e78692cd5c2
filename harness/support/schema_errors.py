"""What pydantic has against a file, as one line in our words."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_origin

from pydantic import BaseModel, ValidationError

from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Location = tuple[str | int, ...]

_WORDS = {
    "missing": "is missing",
    "string_type": "needs text, not {given}",
    "int_type": "needs a whole number, not {given}",
    "int_parsing": "needs a whole number, not {given}",
    "int_from_float": "needs a whole number, not {given}",
    "float_type": "needs a number, not {given}",
    "float_parsing": "needs a number, not {given}",
    "finite_number": "needs a finite number, not {given}",
    "bool_type": "needs true or false, not {given}",
    "bool_parsing": "needs true or false, not {given}",
    "tuple_type": "needs a list in brackets, not {given}",
    "list_type": "needs a list in brackets, not {given}",
    "dict_type": "needs keys with values such as {{a: b}}, not {given}",
    "model_type": "needs keys with values, or {{}} for none, not {given}",
    "literal_error": "must be {expected}, not {given}",
    "greater_than": "must be above {gt:g}, not {given}",
    "greater_than_equal": "must be at least {ge:g}, not {given}",
    "less_than": "must be below {lt:g}, not {given}",
    "less_than_equal": "must be at most {le:g}, not {given}",
    "string_pattern_mismatch": "must be of the form {pattern}, not {given}",
    "string_too_short": "is too short ({given})",
    "too_short": "must hold at least {min_length}, not {given}",
}
"""What we say of pydantic's kinds of errors; of any other kind, pydantic's own message."""
_BRANCH = re.compile(r"[a-z-]*\[.*\]")
"""What pydantic puts into a location where one of several types was tried, or a key was looked at."""


def first_problem(error: ValidationError) -> tuple[str, str]:
    """The dotted key of the first thing that is wrong, empty where it is the whole, and what is wrong with it."""
    first, location = _first_error(error.errors())
    return ".".join(map(str, location)), _error_words(first)


def explain_schema_error(
    error: ValidationError, place: str, model: type[BaseModel], renamed: Mapping[str, str] | None = None
) -> HarnessError:
    """The first thing that is wrong, where, and for a key that is not known the closest one that is.

    Args:
        error: what validating raised.
        place: the file, or what else the keys came from.
        model: what they were validated as.
        renamed: what keys of earlier versions are called now.
    """
    first, location = _first_error(error.errors())
    key, problem = first_problem(error)
    if first["type"] != "extra_forbidden":
        return HarnessError(f"{key}: {problem}" if key else problem, place=place)
    known, last = _known_keys(model, location[:-1]), str(location[-1])
    now = (renamed or {}).get(last)
    hint = f"It is called {now!r} now." if now in known else _key_hint(last, known, model)
    return HarnessError(f"unknown key {key!r}", place=place, hint=hint)


def closest_name(word: str, known: Sequence[str]) -> str | None:
    """The known name that was meant: one whose parts begin with the word's letters, or that is spelt nearly so."""
    initials = {"".join(part[:1] for part in name.split("_")): name for name in known if "_" in name}
    return initials.get(word) or next(iter(difflib.get_close_matches(word, known, n=1)), None)


def _first_error(errors: Sequence[ErrorDetails]) -> tuple[ErrorDetails, Location]:
    """The error to tell, and its location as it is written in the file.

    The first, but for two kinds: where several types were tried, what is wrong inside the one that is nearest; and a
    key that is not known goes before one that is missing, as it may be that one misspelt.
    """
    branches = {
        each["loc"][:depth] for each in errors for depth, part in enumerate(each["loc"]) if _BRANCH.fullmatch(str(part))
    }
    placed = [
        (each, tuple(part for depth, part in enumerate(each["loc"]) if each["loc"][:depth] not in branches))
        for each in errors
    ]
    first, place = placed[0]
    inside = [found for found in placed if found[1][: len(place)] == place and len(found[1]) > len(place)]
    tried = inside if inside and place else [(first, place)]
    beside = placed if first["type"] == "missing" else tried
    level = tried[0][1][:-1]
    unknown = (each for each in beside if each[0]["type"] == "extra_forbidden" and each[1][:-1] == level)
    return next(unknown, tried[0])


def _error_words(error: ErrorDetails) -> str:
    words = _WORDS.get(error["type"])
    if words is None:
        return error["msg"].removeprefix("Value error, ")
    return words.format(given=_given_text(error.get("input")), **error.get("ctx", {}))


def _given_text(value: Any) -> str:
    """A value as YAML and JSON would have it, shortened."""
    plain = {None: "null", True: "true", False: "false"}
    return plain[value] if value is None or isinstance(value, bool) else reprlib.repr(value)


def _key_hint(word: str, known: Sequence[str], model: type[BaseModel]) -> str:
    if close := closest_name(word, known):
        return f"Did you mean {close!r}?"
    if elsewhere := [path for path in _nested_keys(model) if path.rpartition(".")[2] == word]:
        return f"Did you mean {' or '.join(map(repr, elsewhere))}?"
    return f"There are: {', '.join(known)}."


def _nested_keys(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """The dotted keys of the models inside a model; those of a dict of models have no fixed name."""
    for name, field in model.model_fields.items():
        kinds = () if get_origin(field.annotation) is dict else getattr(field.annotation, "__args__", ())
        for kind in (field.annotation, *kinds):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from (f"{before}{name}.{inner}" for inner in kind.model_fields)
                yield from _nested_keys(kind, f"{before}{name}.")


def _known_keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The known keys at a path inside a model; a dict of models counts as one level."""
    for part in path:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field is not None else model
        model = next(
            (
                kind
                for kind in (inner, *getattr(inner, "__args__", ()))
                if isinstance(kind, type) and issubclass(kind, BaseModel)
            ),
            model,
        )
    return list(model.model_fields)
