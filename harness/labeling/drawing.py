"""Which texts to label: strata by what is known beforehand, and as many from each as its errors may weigh."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal, TypeVar

from harness.judges.registry import judge_exchanges, labels_never_given
from harness.judges.verdicts import Exchange, Label, Verdict
from harness.labeling.population import GivenText
from harness.support.label_files import Draw, DrawnText, LabelFile, PromptsDrawn

SURE = 0.95
"""The default judge's confidence under which people disagree with it often (docs/judges.md)."""
_JUDGED_AT_ONCE = 256
_LEAST = 2
"""Texts of a stratum that are labelled at least, as one has no variance."""

Trait = Literal["doubtful", "changed", "plain", "shared"]
_EXPECTED_ERRORS: Mapping[Trait, float] = {"doubtful": 0.25, "changed": 0.15, "plain": 0.05, "shared": 0.05}
"""How often the judge may err on a text, by what is known of it."""
_SHARED = 0.5
"""How much a text that both sides gave counts in the allocation: it tells of their rates, not of the loss between."""
_TOLD: Mapping[Trait, str] = {
    "doubtful": "doubtful: judges differ, unsure, flagged",
    "changed": "the verdict changed",
    "plain": "neither",
    "shared": "the same answer",
}


@dataclass(frozen=True, slots=True)
class Stratum:
    """Texts that are drawn alike: by kind of prompt, side and trait; how many there are, and how many were drawn."""

    letter: str
    unsafe: bool
    side: str
    trait: Trait
    texts: int
    drawn: int

    @property
    def told(self) -> str:
        """What its texts have in common."""
        return _TOLD[self.trait]


@dataclass(frozen=True, slots=True)
class Queue:
    """The texts to label, in random order, with what the judge read of each where that is not all; and the strata."""

    file: LabelFile
    judged: Mapping[str, str]
    strata: tuple[Stratum, ...]


def find_doubtful(texts: Sequence[GivenText], second: str | None, advance: Callable[[int], object]) -> set[str]:
    """The ids of the texts whose verdict is doubtful; `advance` hears how many more were looked at.

    Doubtful is what has a flag, `other` or several verdicts; what the default judge says otherwise, or is not sure of;
    and what the `second` judge, where one is named, says otherwise.
    """
    doubtful, never = set(), labels_never_given(second or "lexical")
    for start in range(0, len(texts), _JUDGED_AT_ONCE):
        batch = texts[start : start + _JUDGED_AT_ONCE]
        exchanges = [Exchange(text.prompt, text.response, text.unsafe, text.reasoning_tags) for text in batch]
        opinions = [judge_exchanges(name, exchanges) for name in dict.fromkeys(["lexical", second or "lexical"])]
        for text, *said in zip(batch, *opinions, strict=True):
            text.judged = text.judged or said[0].judged
            if _is_contested(text, said, never):
                doubtful.add(text.id)
        advance(len(batch))
    return doubtful


def is_doubtful(verdict: Verdict) -> bool:
    """Whether a verdict of the default judge has a flag, is `other`, or is less sure than `SURE`."""
    unsure = verdict.confidence is not None and verdict.confidence < SURE
    return bool(unsure or verdict.flags or verdict.label == "other")


def _is_contested(text: GivenText, opinions: Sequence[Verdict], never: Collection[Label]) -> bool:
    """Whether a text is doubtful; what the last judge `never` says is `other` to it, and no contradiction."""
    flags = text.flags.union(*(opinion.flags for opinion in opinions))
    known = text.verdicts | {"other" for verdict in text.verdicts if verdict in never}
    others = {opinion.label for opinion in opinions} - {"unjudged"} - known
    return bool(is_doubtful(opinions[0]) or flags or others or "other" in text.verdicts or len(text.verdicts) > 1)


def draw_queue(texts: Sequence[GivenText], doubtful: set[str], kind: PromptsDrawn, n: int, seed: int) -> Queue:
    """Draws `n` texts, by stratum at random and without replacement, in random order.

    All, where there are fewer; more, where `n` leaves a stratum without two.

    So a text has the chance drawn / texts of its stratum, and what was labelled when a person stops early is of each
    stratum a random part.
    """
    places = {text.id: _stratum_of(text, doubtful) for text in texts}
    names = sorted(set(places.values()), key=_stratum_order)
    letters = dict(zip(names, ascii_uppercase, strict=False))
    sizes = Counter(places.values())
    drawn = _allocate(sizes, n)
    rng = random.Random(seed)
    chosen = [
        text for name in names for text in rng.sample([text for text in texts if places[text.id] == name], drawn[name])
    ]
    rng.shuffle(chosen)
    rows = [_drawn_text(text, letters[places[text.id]], sizes[places[text.id]]) for text in chosen]
    draw = Draw.of(kind, {each: letters[place] for each, place in places.items()})
    return Queue(
        LabelFile(tuple(rows), draw),
        {text.id: text.judged for text in chosen if text.judged is not None},
        tuple(Stratum(letters[name], *name, sizes[name], drawn[name]) for name in names),
    )


_Group = tuple[bool, str]
_Name = tuple[bool, str, Trait]
_Key = TypeVar("_Key")


def _stratum_of(text: GivenText, doubtful: set[str]) -> _Name:
    if len(text.sides) > 1:
        return text.unsafe, "both", "shared"
    return text.unsafe, text.sides[0], "doubtful" if text.id in doubtful else "changed" if text.changed else "plain"


def _stratum_order(name: _Name) -> tuple[bool, int, int]:
    unsafe, side, trait = name
    return not unsafe, ("only", "before", "after", "both").index(side), [*_TOLD].index(trait)


def _allocate(sizes: Mapping[_Name, int], n: int) -> dict[_Name, int]:
    """How many of each stratum: first each side's, by its share; then in a side by texts and their errors' deviation.

    So a side gets no fewer than the other for being the less doubtful one: the gate asks for enough on both.
    """
    groups: dict[_Group, dict[_Name, int]] = {}
    for name, size in sizes.items():
        groups.setdefault(name[:2], {})[name] = size
    texts = {group: sum(own.values()) for group, own in groups.items()}
    least = {group: {name: min(_LEAST, size) for name, size in own.items()} for group, own in groups.items()}
    shares = {group: _side_share(*group, texts) for group in groups}
    counts = _share_out(n, shares, texts, {group: sum(own.values()) for group, own in least.items()})
    drawn: dict[_Name, int] = {}
    for group, own in groups.items():
        worth = {name: size * _error_deviation(name[2]) for name, size in own.items()}
        drawn |= _share_out(counts[group], worth, own, least[group])
    return drawn


def _share_out(
    n: int, worth: Mapping[_Key, float], most: Mapping[_Key, int], least: Mapping[_Key, int]
) -> dict[_Key, int]:
    """`n` in whole numbers, the next one always where it takes away most of the variance.

    Neyman's allocation (Wright, The American Statistician 66, 2012).
    """
    given = dict(least)
    for _ in range(min(n, sum(most.values())) - sum(least.values())):
        unfilled = (key for key in given if given[key] < most[key])
        given[max(unfilled, key=lambda key: worth[key] / (given[key] * (given[key] + 1)) ** 0.5)] += 1
    return given


def _side_share(unsafe: bool, side: str, texts: Mapping[_Group, int]) -> float:
    """The texts of one side, or of both, as a share of the whole side's; of both, `_SHARED` of that."""
    shared = texts.get((unsafe, "both"), 0)
    if side == "both":
        return _SHARED * sum(shared / (shared + texts.get((unsafe, each), 0)) for each in ("before", "after")) / 2
    return texts[unsafe, side] / (texts[unsafe, side] + shared)


def _error_deviation(trait: Trait) -> float:
    expected = _EXPECTED_ERRORS[trait]
    return float((expected * (1 - expected)) ** 0.5)


def _drawn_text(text: GivenText, stratum: str, size: int) -> DrawnText:
    side = "both" if len(text.sides) > 1 else text.sides[0]
    return DrawnText(text.id, text.prompt, text.response, text.unsafe, tuple(text.models), side, stratum, size)
