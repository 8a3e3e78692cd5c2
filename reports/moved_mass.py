"""Where the probability went: what displacement.json says of each seed, averaged over all seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from reports.reading import JsonObject

TOKENS_SHOWN, LAYERS_SHOWN = 10, 6
_SHOWN_CHANGE, _SHOWN_PROBABILITY = 0.0005, 0.005
"""A token is shown where its mean changed by what one decimal of a point tells, and is not 0 % on both sides."""

_PLACES = ("start", "anywhere")


def displacement_figures(seeds: Sequence[JsonObject]) -> dict[str, Any]:
    """What displacement.json says, averaged over the seeds.

    `complete` says that every seed recorded all its tokens; older runs recorded each seed's outermost ones alone, and
    of these only those that every seed recorded have a mean. `spread` (the distributions along the answers) and
    `refusal` (first tokens, and the direction at `LAYERS_SHOWN` layers at most) are as displacement.json has them; None
    where a seed did not record them.
    """
    start, anywhere = (_mean_tokens([_recorded_tokens(seed, where) for seed in seeds]) for where in _PLACES)
    spread, refusal = (
        _mean_tree([seed[key] for seed in seeds]) if all(key in seed for seed in seeds) else None
        for key in ("spread", "refusal")
    )
    return {
        "seeds": len(seeds),
        "pairs": _mean_of([seed["pairs"] for seed in seeds]),
        "positions": [_mean_of(rows) for rows in zip(*(seed["positions"] for seed in seeds), strict=False)],
        "gaining": {"start": _outermost(start, 1), "anywhere": _outermost(anywhere, 1)},
        "losing": _outermost(start, -1),
        "starts": {kind: _mean_of([seed["starts"][kind] for seed in seeds]) for kind in seeds[0]["starts"]},
        "complete": all("mass" in seed for seed in seeds),
        "spread": spread,
        "refusal": refusal and {**refusal, "direction": _some_layers(refusal["direction"])},
    }


def _mean_of(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Key by key; what is a whole number in all of them (a place, a count) stays one where they agree."""
    return {
        key: rows[0][key] if all(row[key] == rows[0][key] for row in rows) else fmean(row[key] for row in rows)
        for key in rows[0]
    }


def _mean_tree(values: Sequence[Any]) -> Any:
    """Figure by figure, of what is laid out alike; text and None stay, a figure that one lacks is None."""
    first = values[0]
    if isinstance(first, Mapping):
        return {key: _mean_tree([value[key] for value in values]) for key in first}
    if isinstance(first, list):
        return [_mean_tree(rows) for rows in zip(*values, strict=False)]
    if any(value is None for value in values):
        return None
    return first if all(value == first for value in values) else fmean(values)


def _some_layers(layers: Sequence[JsonObject]) -> list[JsonObject]:
    """Layers evenly spaced, the first and the last among them."""
    if len(layers) <= LAYERS_SHOWN:
        return [*layers]
    return [layers[place * (len(layers) - 1) // (LAYERS_SHOWN - 1)] for place in range(LAYERS_SHOWN)]


def _recorded_tokens(seed: JsonObject, where: str) -> tuple[dict[int, JsonObject], bool]:
    """A seed's tokens by id, and whether one that is not among them is known to be below the floor."""
    if "mass" in seed:
        return {token["id"]: token for token in seed["mass"][where]}, True
    listed = [*seed["gaining_tokens"][where], *seed["losing_tokens"].get(where, ())]
    return {token["id"]: token for token in listed}, False


def _mean_tokens(seeds: Sequence[tuple[Mapping[int, JsonObject], bool]]) -> list[dict[str, Any]]:
    """Each token's mean over all seeds.

    A seed that does not have a token among all that it recorded has less than the floor of it on both sides. All seeds
    start from one model, so what it had before is known from the others, and it is taken not to have changed.
    """
    first = {number: token for tokens, _ in reversed(seeds) for number, token in tokens.items()}
    means = []
    for number, known in first.items():
        if all(number in tokens or whole for tokens, whole in seeds):
            found = [tokens.get(number, {**known, "after": known["before"]}) for tokens, _ in seeds]
            before, after = (fmean(token[side] for token in found) for side in ("before", "after"))
            means.append(
                {"token": known["token"], "id": number, "before": before, "after": after, "change": after - before}
            )
    return means


def _outermost(tokens: Iterable[Mapping[str, Any]], sign: int) -> list[dict[str, Any]]:
    """The tokens that gained (sign 1) or lost (-1) most, most first, without those of which nothing would be seen."""
    seen = [
        {**token}
        for token in tokens
        if sign * token["change"] >= _SHOWN_CHANGE and max(token["before"], token["after"]) >= _SHOWN_PROBABILITY
    ]
    return sorted(seen, key=lambda token: -sign * token["change"])[:TOKENS_SHOWN]
