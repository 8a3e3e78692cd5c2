"""What a run takes from the hub: fixed to commits when it begins, and taken from its manifest when it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from harness.judges.registry import judge_weights
from harness.models.paths import ModelPath, locate_model, refuse_adapter
from harness.prompts.labelled import GOLD_PROMPTS, HUMAN_JUDGMENTS, SORRY_BENCH, gold_hubs
from harness.prompts.published import PUBLISHED_SETS
from harness.prompts.sets import split_limit, with_limit
from harness.prompts.variants import split_variants
from harness.recipes.schema import OWN_MODELS, PairSettings, RecipeBase, RewardModel
from harness.support import console, hub
from harness.support.errors import HarnessError

R = TypeVar("R", bound=RecipeBase)
_PROMPT_LABELS = "the prompts' labels"
"""What the second data set of `sorrybench_gold` is called among the pins."""
Pins = dict[str, dict[str, str]]
"""By key of the recipe: what it asks the hub for (`given`), and that with its commit (`pinned`)."""


def pin_recipe(recipe: R, before: Mapping[str, Mapping[str, str]]) -> tuple[R, Pins]:
    """The recipe with a commit for all that it takes from the hub, and these.

    Args:
        recipe: of any kind.
        before: what the same run took when it began; used again, even where the hub has moved on since.

    Raises HarnessError where something is not there, or `revision` is given for a model that is not on the hub.
    """
    pins: Pins = {}
    for key, source, kind in _hub_sources(recipe):
        known = before.get(key, {})
        if known.get("given") == source:
            found = known["pinned"]
            if found != source:
                console.print_note(f"{key}: goes on with {found}, which this run began with")
        else:
            found = hub.pin_to_commit(source, kind)
        pins[key] = {"given": source, "pinned": found}
        recipe = recipe.model_copy(update=_pinned_values(recipe, key, found))
    asked = getattr(recipe, "asked_model", None)  # an API's model has no revision that we know
    if recipe.revision is not None and "model" not in pins and asked is None:
        hint = "Leave it out, or give `model` a hub id."
        raise HarnessError(f"the model {recipe.model} is not on the hub", place="revision", hint=hint)
    return recipe, pins


def pin_judge(name: str) -> str:
    """A judge's name with the commit of its weights, where those are on the hub."""
    weights = judge_weights(name)
    return _judge_at_commit(name, hub.pin_to_commit(weights, "model")) if weights and hub.is_on_hub(weights) else name


def fetch_model_path(recipe: RecipeBase, *, weights: bool = True) -> ModelPath:
    """The model of a pinned recipe that names a directory or a hub id, fetched now if need be.

    Raises HarnessError where it is an adapter: a run trains, and lm-eval and vLLM load, a whole model.
    """
    name = f"{recipe.model}@{recipe.revision}" if recipe.revision else recipe.model
    found = locate_model(name, weights=weights)
    refuse_adapter(found)
    return replace(found, trust_remote_code=recipe.trust_remote_code)


def _hub_sources(recipe: RecipeBase) -> list[tuple[str, str, hub.RepoType]]:
    """Key, hub id and kind of all that the recipe takes from the hub."""
    given = dict(recipe)
    kinds: tuple[tuple[hub.RepoType, Iterator[tuple[str, str]]], ...]
    kinds = ("model", _named_models(given)), ("dataset", _named_tables(given))
    return [(key, source, kind) for kind, named in kinds for key, source in named if hub.is_on_hub(source)]


def _named_models(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every model that the recipe names or implies, on the hub or not."""
    endpoint = given.get("endpoint")
    if given["model"] not in OWN_MODELS and (endpoint is None or endpoint.serve is not None):
        yield "model", f"{given['model']}@{given['revision']}" if given["revision"] else given["model"]
    if weights := judge_weights(given.get("judge", "")):
        yield "judge", weights
    if isinstance(given.get("pairs"), PairSettings) and isinstance(given["pairs"].tie_break, RewardModel):
        yield "pairs", given["pairs"].tie_break.reward_model


def _named_tables(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every table that the recipe names, on the hub or not."""
    for key in ("preferences", "gold", "off_policy"):
        if given.get(key) not in {None, "bundled"}:
            name, revision = hub.split_revision(given[key])
            labelled = key == "gold" and name == SORRY_BENCH
            yield key, _at_revision(HUMAN_JUDGMENTS if labelled else name, revision)
    name, revision = hub.split_revision(split_limit(split_variants(given.get("prompts", ""))[0])[0])
    if name in PUBLISHED_SETS:
        yield "prompts", _at_revision(PUBLISHED_SETS[name].hub, revision)
    elif name == GOLD_PROMPTS:
        yield from zip(("prompts", _PROMPT_LABELS), gold_hubs(revision), strict=True)
    if parts := _split_statements(given.get("statements", "")):
        yield "statements", parts[0]


def _pinned_values(recipe: RecipeBase, key: str, found: str) -> dict[str, Any]:
    """What the recipe's keys become with the commit found."""
    name, commit = hub.split_revision(found)
    key, of_labels = ("prompts", True) if key == _PROMPT_LABELS else (key, False)
    value = getattr(recipe, key)
    if key == "prompts":
        return {key: _prompts_at_commit(value, str(commit), of_labels=of_labels)}
    if key == "model":
        return {"model": name, "revision": commit}
    if key == "gold" and name == HUMAN_JUDGMENTS and hub.split_revision(value)[0] == SORRY_BENCH:
        return {key: _at_revision(SORRY_BENCH, commit)}
    if key == "judge":
        return {key: _judge_at_commit(value, found)}
    if key == "pairs":
        tie_break = value.tie_break.model_copy(update={"reward_model": found})
        return {key: value.model_copy(update={"tie_break": tie_break})}
    if key == "statements" and (parts := _split_statements(value)):
        return {key: f"{found}/{parts[1]}"}
    return {key: found}


def _prompts_at_commit(value: str, commit: str, *, of_labels: bool) -> str:
    """A prompt set's name with the commit of its data; of `sorrybench_gold` with that of its labels behind a plus."""
    base, variants = split_variants(value)
    source, most = split_limit(base)
    name, revision = hub.split_revision(source)
    of_prompts, _, known_labels = (revision or "").partition("+")
    if of_labels:
        commit = f"{of_prompts}+{commit}"
    elif name == GOLD_PROMPTS:
        commit = f"{commit}+{known_labels}"
    pinned = f"{name}@{commit}"
    return f"{pinned if most is None else with_limit(pinned, most)}{variants}"


def _at_revision(name: str, revision: str | None) -> str:
    return f"{name}@{revision}" if revision else name


def _judge_at_commit(name: str, weights: str) -> str:
    return f"{hub.split_revision(name)[0]}@{hub.split_revision(weights)[1]}"


def _split_statements(source: str) -> tuple[str, str] | None:
    """The data set and the file that a hub's statements are in; None where they are not the hub's."""
    parts = source.split("/", 2)
    if len(parts) < 3 or Path(source).exists() or not hub.is_on_hub("/".join(parts[:2])):
        return None
    return "/".join(parts[:2]), parts[2]
