"""What a run takes from the hub: fixed to commits when it begins, and taken from its manifest when it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from harness import console, hub, judges
from harness.benchmarks import BENCHMARKS
from harness.errors import HarnessError
from harness.models import ModelPath, located
from harness.recipe import Pairs, RewardModel, Start

R = TypeVar("R", bound=Start)
Pins = dict[str, dict[str, str]]
"""By key of the recipe: what it asks the hub for (`given`), and that with its commit (`pinned`)."""


def pinned(recipe: R, before: Mapping[str, Mapping[str, str]]) -> tuple[R, Pins]:
    """The recipe with a commit for all that it takes from the hub, and these.

    Args:
        recipe: of any kind.
        before: what the same run took when it began; used again, even where the hub has moved on since.

    Raises HarnessError where something is not there, or `revision` is given for a model that is not on the hub.
    """
    pins: Pins = {}
    for key, source, kind in _on_hub(recipe):
        known = before.get(key, {})
        if known.get("given") == source:
            found = known["pinned"]
            if found != source:
                console.note(f"{key}: goes on with {found}, which this run began with")
        else:
            found = hub.pinned(source, kind)
        pins[key] = {"given": source, "pinned": found}
        recipe = recipe.model_copy(update=_fixed(recipe, key, found))
    if recipe.revision is not None and "model" not in pins:
        mend = "Leave it out, or give `model` a hub id."
        raise HarnessError(f"the model {recipe.model} is not on the hub", place="revision", mend=mend)
    return recipe, pins


def judge(name: str) -> str:
    """A judge's name with the commit of its weights, where those are on the hub."""
    weights = judges.weights(name)
    return _judge(name, hub.pinned(weights, "model")) if weights and hub.on_hub(weights) else name


def model_path(recipe: Start, *, weights: bool = True) -> ModelPath:
    """The model of a pinned recipe that names a directory or a hub id, fetched now if need be."""
    name = f"{recipe.model}@{recipe.revision}" if recipe.revision else recipe.model
    return replace(located(name, weights=weights), trust_remote_code=recipe.trust_remote_code)


def _on_hub(recipe: Start) -> list[tuple[str, str, hub.Kind]]:
    """Key, hub id and kind of all that the recipe takes from the hub."""
    given = dict(recipe)
    kinds: tuple[tuple[hub.Kind, Iterator[tuple[str, str]]], ...]
    kinds = ("model", _models(given)), ("dataset", _tables(given))
    return [(key, source, kind) for kind, named in kinds for key, source in named if hub.on_hub(source)]


def _models(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every model that the recipe names or implies, on the hub or not."""
    if given["model"] != "miniature":
        yield "model", f"{given['model']}@{given['revision']}" if given["revision"] else given["model"]
    if weights := judges.weights(given.get("judge", "")):
        yield "judge", weights
    if isinstance(given.get("pairs"), Pairs) and isinstance(given["pairs"].tie_break, RewardModel):
        yield "pairs", given["pairs"].tie_break.reward_model


def _tables(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every table that the recipe names, on the hub or not."""
    for key in ("preferences", "gold", "off_policy"):
        if given.get(key) not in {None, "bundled"}:
            yield key, given[key]
    name, revision = hub.parted(given.get("prompts", ""))
    if name in BENCHMARKS:
        yield "prompts", f"{BENCHMARKS[name].hub}@{revision}" if revision else BENCHMARKS[name].hub
    if parts := _statements(given.get("statements", "")):
        yield "statements", parts[0]


def _fixed(recipe: Start, key: str, found: str) -> dict[str, Any]:
    """What the recipe's keys become with the commit found."""
    name, commit = hub.parted(found)
    value = getattr(recipe, key)
    if key == "model":
        return {"model": name, "revision": commit}
    if key == "prompts":
        return {key: f"{hub.parted(value)[0]}@{commit}"}
    if key == "judge":
        return {key: _judge(value, found)}
    if key == "pairs":
        return {key: value.model_copy(update={"tie_break": RewardModel(reward_model=found)})}
    if key == "statements" and (parts := _statements(value)):
        return {key: f"{found}/{parts[1]}"}
    return {key: found}


def _judge(name: str, weights: str) -> str:
    return f"{hub.parted(name)[0]}@{hub.parted(weights)[1]}"


def _statements(source: str) -> tuple[str, str] | None:
    """The data set and the file that a hub's statements are in; None where they are not the hub's."""
    parts = source.split("/", 2)
    if len(parts) < 3 or Path(source).exists() or not hub.on_hub("/".join(parts[:2])):
        return None
    return "/".join(parts[:2]), parts[2]
