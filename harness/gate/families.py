"""Which prompts are no prompts of their own: families of paraphrases, repeated ones, and ones nearly the same."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process, utils

from harness.evaluation.samples import JUDGED_METRICS, VERDICT_OF, Answer
from harness.gate.policy import DEFAULT_CATEGORY, Policy, read_field
from harness.gate.sides import Pairing, Unit
from harness.prompts.variants import VARIANT_FIELDS, variant_name
from harness.support import stats
from harness.support.console import safe_line
from harness.support.errors import HarnessError

_NEAR_DUPLICATE = 80
"""Likeness, in percent, from which two prompts pass for one in other words (rapidfuzz, the words sorted)."""
_COMPARED_PROMPTS = 600
"""At most so many prompts are compared with each other, drawn from more."""


@dataclass(frozen=True, slots=True)
class Families:
    """For each prompt the number of its family: the unit that varies, however many prompts and answers it has."""

    numbers: NDArray[np.intp]

    @classmethod
    def of(cls, names: Sequence[Hashable]) -> Families:
        """Prompts with the same name are a family."""
        order = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return cls(np.array([order[name] for name in names], np.intp))

    def select_prompts(self, chosen: NDArray[np.bool_]) -> Families:
        """On some of the prompts."""
        return Families.of(self.numbers[chosen].tolist())

    @property
    def sizes(self) -> stats.FloatArray:
        """Prompts in each family: what it counts for in a mean over prompts."""
        return np.bincount(self.numbers).astype(float)

    @property
    def effective(self) -> float:
        """How many families of one size would vary as these do (Kish 1965)."""
        return float(self.sizes.sum() ** 2 / (self.sizes**2).sum())

    def average(self, values: stats.FloatArray) -> stats.FloatArray:
        """The mean over each family's prompts."""
        return np.asarray(self.add_up(values) / self.sizes)

    def add_up(self, values: stats.FloatArray) -> stats.FloatArray:
        """The sum over each family's prompts."""
        return np.bincount(self.numbers, values).astype(float)


def family_name(unit: Unit, doc: Mapping[str, Any], policy: Policy) -> Hashable:
    """What a prompt's family is called: its policy's cluster, else the request it is a variant of, else its own."""
    cluster = read_field(doc, policy.cluster)
    if cluster is not None:
        return cluster
    return str(doc["request"]) if policy.cluster is None and variant_name(doc) else unit


def find_prompt_remarks(pairing: Pairing, policy: Policy) -> list[str]:
    """What a reader must know of the prompts: which the split leaves, which repeat another, how they are grouped.

    Raises HarnessError where the policy names a field that no prompt has.
    """
    prompts: dict[tuple[Unit, tuple[str, ...]], Answer] = {}
    for evaluation in pairing.sides[0]:
        for answer in evaluation.answers:
            unit = pairing.units.get((answer.task, answer.document))
            if unit is not None and answer.outcomes.keys() & policy.metrics.keys():
                prompts.setdefault((unit, tuple(sorted(answer.outcomes))), answer)
    answers = [answer for answer in prompts.values() if not variant_name(answer.doc)]
    grouped = {answer.task for answer in answers if read_field(answer.doc, policy.category) is not None}
    sorted_out = [answer for answer in answers if answer.task in grouped] or answers
    return [
        *_variant_remarks(list(prompts.values()), policy),
        *_split_remarks(pairing, policy),
        *_repeat_remarks(pairing, policy),
        *_field_remarks("category", policy.category, sorted_out),
        *_other_category_remarks(policy.category, answers),
        *_field_remarks("cluster", policy.cluster, answers),
        *(_likeness_remarks(answers) if policy.cluster is None else ()),
    ]


def _split_remarks(pairing: Pairing, policy: Policy) -> Iterator[str]:
    if policy.split is not None:
        asked = {(answer.task, answer.document) for side in pairing.sides for one in side for answer in one.answers}
        yield f"only the {len(pairing.units)} prompts of the split {policy.split} are compared, of {len(asked)}"


def _variant_remarks(prompts: Sequence[Answer], policy: Policy) -> Iterator[str]:
    """How many prompts are variants of others, and how they count."""
    names = [name for answer in prompts if (name := variant_name(answer.doc))]
    for kind in VARIANT_FIELDS:
        of_kind = [name for name in names if name.startswith(f"{kind} ")]
        if of_kind:
            told = "put under an attack" if kind == "attack" else "in another language, machine-translated"
            yield (
                f"{len(of_kind)} prompts are others' requests {told}: each {kind} is a part that fails as a category "
                "does, and the metrics are of the prompts as they are"
            )
    if names and policy.cluster is None and not policy.sequential:
        yield "the variants of one request are a family, and count as one prompt of its own"


def _repeat_remarks(pairing: Pairing, policy: Policy) -> Iterator[str]:
    """How many prompts of a guarded metric put the text of another, where most do."""
    guarded: dict[str, set[Unit]] = {metric: set() for metric in policy.metrics}
    for evaluation in pairing.sides[0]:
        for answer in evaluation.answers:
            for metric in answer.outcomes.keys() & guarded.keys():
                guarded[metric].add((answer.task, answer.document))
    documents = [found & pairing.units.keys() for found in guarded.values()]
    repeated, many = max((len(some) - len({pairing.units[unit] for unit in some}), len(some)) for some in documents)
    if repeated:
        yield f"{repeated} of {many} prompts repeat the text of another one: they count as further answers to it"


def _field_remarks(key: str, field: str | None, prompts: Sequence[Answer]) -> Iterator[str]:
    if field is None:
        return
    lacking = sum(read_field(answer.doc, field) is None for answer in prompts)
    if 0 < lacking == len(prompts):
        seen = ", ".join(sorted({safe_line(str(name), 30) for one in prompts for name in one.doc})[:20])
        if key == "category" and field == DEFAULT_CATEGORY:
            yield f"no category is guarded: no prompt has the field {field} (fields: {seen})"
            return
        raise HarnessError(
            f"no prompt has the field {safe_line(field, 60)!r}, which the policy names as {key}",
            hint=f"Name one of {seen}, or say `{key}: null`.",
        )
    if lacking:
        alone = "are in no category" if key == "category" else "count as families of their own"
        yield f"{lacking} of {len(prompts)} prompts lack the field {safe_line(field, 60)} and {alone}"


def _other_category_remarks(field: str | None, prompts: Sequence[Answer]) -> Iterator[str]:
    """That the usual categories are there and not guarded: another field may merge them, or take them apart."""
    if field != DEFAULT_CATEGORY and any(read_field(answer.doc, DEFAULT_CATEGORY) is not None for answer in prompts):
        grouped = "no field" if field is None else safe_line(field, 60)
        yield f"the policy groups by {grouped}, not by {DEFAULT_CATEGORY}: one that fell may not show"


def _likeness_remarks(prompts: Sequence[Answer]) -> Iterator[str]:
    by_kind: dict[tuple[str, ...], list[str]] = {}
    for answer in prompts:
        if {"prompt", "question"} & answer.doc.keys():
            by_kind.setdefault(tuple(sorted(answer.outcomes)), []).append(answer.prompt)
    for kind, texts in by_kind.items():
        alike, compared = _count_near_duplicates(texts)
        if alike:
            yield (
                f"{alike} of {compared} prompts with {_kind_name(kind)} are nearly the same as another, and taken for "
                "independent: where they are families, name the field that holds the family as the policy's cluster"
            )


def _kind_name(metrics: Sequence[str]) -> str:
    """The metric that people know such prompts by; one of how they were judged only where there is no other."""
    known = [*(metric for metric in VERDICT_OF if metric in metrics), *sorted({*metrics} - JUDGED_METRICS), *metrics]
    return safe_line(next((metric for metric in known if metric != "unjudged_rate"), "no metric"), 60)


def _count_near_duplicates(prompts: Sequence[str]) -> tuple[int, int]:
    """How many prompts are nearly the same as another one, and among how many they were looked for."""
    rng = np.random.default_rng(0)
    many = len(prompts) > _COMPARED_PROMPTS
    chosen = rng.choice(len(prompts), _COMPARED_PROMPTS, replace=False) if many else np.arange(len(prompts))
    texts = [utils.default_process(prompts[place][:2000]) for place in sorted(chosen.tolist())]
    alike = process.cdist(texts, texts, scorer=fuzz.token_sort_ratio, score_cutoff=_NEAR_DUPLICATE, dtype=np.uint8)
    np.fill_diagonal(alike, 0)
    return int(alike.any(1).sum()), len(texts)
