"""What pydantic has against a file, as one line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ValidationError

from harness.support.errors import HarnessError


def first_problem(error: ValidationError) -> tuple[str, str]:
    """The dotted key of the first thing that is wrong, empty where it is the whole, and what is wrong with it."""
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")


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
    first = error.errors()[0]
    key, problem = first_problem(error)
    if first["type"] != "extra_forbidden":
        return HarnessError(f"{key}: {problem}" if key else problem, place=place)
    known, last = _known_keys(model, first["loc"][:-1]), str(first["loc"][-1])
    now = (renamed or {}).get(last)
    if now in known:
        return HarnessError(f"unknown key {key!r}", place=place, hint=f"It is called {now!r} now.")
    closest = difflib.get_close_matches(last, known, n=1, cutoff=0)
    return HarnessError(f"unknown key {key!r}", place=place, hint=f"Did you mean {closest[0]!r}?" if closest else "")


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
