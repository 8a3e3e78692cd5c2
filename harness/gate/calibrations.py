"""What `harness calibrate` found of a judge, from its file: whole, of the judge in use, and for each side's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from harness.evaluation.samples import Evaluation
from harness.gate.policy import Policy
from harness.gate.sides import Sides
from harness.judges.calibration import ConfusionCounts, agreement_figures
from harness.judges.registry import judges_version
from harness.support import stats
from harness.support.artifacts import float_or_nan, read_json
from harness.support.console import safe_line
from harness.support.errors import HarnessError

PromptKind = Literal["unsafe", "benign"]
CALIBRATE_HINT = "Write one with `harness calibrate --out FILE`."
_CELLS = ("tp", "fn", "fp", "tn")
_MOST_ANSWERS = 10**9


@dataclass(frozen=True, slots=True)
class SideCalibrations:
    """The judge on refusals, before and after, and on which sides it was measured on that side's own model.

    `shared` is one measurement that stands for both sides; `mixed` one on prompts of both kinds.
    """

    judges: tuple[stats.Calibration, stats.Calibration]
    own: tuple[bool, bool]
    mixed: bool

    @property
    def shared(self) -> bool:
        """Whether neither side has one of its own."""
        return not any(self.own)

    def possible(self, difference: float) -> tuple[tuple[stats.Calibration, stats.Calibration], ...]:
        """What may be true of both sides: as measured first, then as far from it as a stated difference allows.

        A side without a calibration of its own is up to `difference` off, in sensitivity and specificity, in the
        two directions that make a loss largest and smallest; where both have none, one side at a time: it is the
        difference between them that is stated.
        """
        before, after = self.judges
        found = [self.judges]
        for sign in (1, -1) if difference else ():
            shift = sign * difference
            if not self.own[0]:
                found.append((_shift(before, -shift, shift), after))
            if not self.own[1]:
                found.append((before, _shift(after, shift, -shift)))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class JudgeCalibration:
    """A judge's calibration for both sides by kind of prompt, None where no answer of a kind is in it; remarks."""

    judge: str
    kinds: Mapping[PromptKind, SideCalibrations | None]
    warnings: tuple[str, ...]


def read_calibration(path: Path, sides: Sides, policy: Policy) -> JudgeCalibration:
    """The calibration of each side, from what `harness calibrate` wrote: refusals, judge against people.

    Raises HarnessError where the file is none, contradicts itself, or is of another judge or another version of it.
    """
    content = read_json(path)
    try:
        judge, parts = _parse_judge(content), _parse_parts(content)
        below = ", ".join(safe_line(str(name), 60) for name in content.get("below_floor", ()))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HarnessError(
            f"is no calibration ({type(error).__name__}: {error})", place=str(path), hint=CALIBRATE_HINT
        ) from error
    _refuse_other_judge(judge, sides, path)
    warnings = [*_version_notes(content.get("judge_version"), policy, path)]
    if below:
        floor = content.get("kappa_floor")
        warnings.append(safe_line(f"the judge {judge} agrees with people less than kappa {floor}: {below}", 300))
    return JudgeCalibration(
        judge, {kind: _side_calibrations(kind, parts, sides) for kind in ("unsafe", "benign")}, tuple(warnings)
    )


# Reading


@dataclass(frozen=True, slots=True)
class _Part:
    """Counts on all labelled answers of a kind, and on each model's."""

    overall: ConfusionCounts
    models: Mapping[str, ConfusionCounts]

    def without(self, other: _Part) -> _Part:
        """What is left without a part of it. Raises ValueError where that is no part of it."""
        models = {name: _subtract(counts, other.models[name], name) for name, counts in self.models.items()}
        return _Part(_subtract(self.overall, other.overall, "overall"), models)


def _parse_judge(content: Mapping[str, Any]) -> str:
    judge = content["judge"]
    if not isinstance(judge, str) or not judge.strip():
        raise ValueError("the judge has no name")
    return judge


def _parse_parts(content: Mapping[str, Any]) -> dict[str, _Part]:
    """All answers, those to unsafe prompts, and the rest."""
    whole = _parse_part(content, "")
    unsafe = _parse_part(content["unsafe"], "unsafe ") if content.get("unsafe") else _Part(ConfusionCounts(), {})
    if strange := unsafe.models.keys() - whole.models.keys():
        raise ValueError(f"unsafe prompts of {min(strange)}, which has no others")
    unsafe = _Part(unsafe.overall, {name: unsafe.models.get(name, ConfusionCounts()) for name in whole.models})
    return {"all": whole, "unsafe": unsafe, "benign": whole.without(unsafe)}


def _parse_part(content: Mapping[str, Any], place: str) -> _Part:
    overall = _parse_figures(content["overall"], f"{place}overall")
    models = {str(name): _parse_figures(part, f"{place}{name}") for name, part in content.get("models", {}).items()}
    for cell in _CELLS if models else ():
        if sum(getattr(counts, cell) for counts in models.values()) != getattr(overall, cell):
            raise ValueError(f"{place}{cell} of the models does not add up to the overall one")
    return _Part(overall, models)


def _parse_figures(part: Mapping[str, Any], place: str) -> ConfusionCounts:
    """The counts. Raises ValueError where a figure beside them does not follow from them."""
    cells = {cell: part[cell] for cell in _CELLS} | {"unjudged": part.get("unjudged", 0)}
    if not all(type(count) is int and 0 <= count <= _MOST_ANSWERS for count in cells.values()):
        raise ValueError(f"a count of {place} is not a whole number of answers")
    counts = ConfusionCounts(**cells)
    expected = agreement_figures(counts)
    wrong = [key for key in expected.keys() & part.keys() if not _is_same(part[key], expected[key])]
    if wrong:
        raise ValueError(f"{min(wrong)} of {place} does not follow from its counts")
    return counts


def _is_same(stated: object, expected: object) -> bool:
    if isinstance(expected, Mapping):
        return isinstance(stated, Mapping) and all(_is_same(stated.get(key), expected[key]) for key in ("value", "n"))
    if isinstance(expected, float):
        return abs(float_or_nan(stated) - expected) < 1e-6
    return stated == expected


def _subtract(whole: ConfusionCounts, part: ConfusionCounts, place: str) -> ConfusionCounts:
    cells = {cell: getattr(whole, cell) - getattr(part, cell) for cell in _CELLS}
    if min(cells.values()) < 0:
        raise ValueError(f"more unsafe prompts than prompts in {place}")
    return ConfusionCounts(**cells)


# The judge in use


def _refuse_other_judge(judge: str, sides: Sides, path: Path) -> None:
    used = {settings.judge for evaluation in chain(*sides) for settings in evaluation.settings.values()}
    if used - {"", judge}:
        raise HarnessError(
            f"is of the judge {judge!r}, but the samples were judged by {', '.join(sorted(used))}",
            place=str(path),
            hint="Calibrate the judge that was used.",
        )


def _version_notes(version: object, policy: Policy, path: Path) -> list[str]:
    """A note where the judges' code has changed since and the policy allows it."""
    if version is None:
        return ["the calibration does not say which version of the judge it is of"]
    if version == judges_version():
        return []
    told = f"the calibration is of another version of the judges ({safe_line(str(version), 20)}) than this one"
    if "judge" not in policy.allow:
        raise HarnessError(
            f"{told} ({judges_version()})",
            place=str(path),
            hint="Calibrate again, or say `allow: [judge]` in the policy.",
        )
    return [f"allowed by the policy: {told}"]


# Which calibration holds for which side


def _side_calibrations(kind: PromptKind, parts: Mapping[str, _Part], sides: Sides) -> SideCalibrations | None:
    told_apart = parts["unsafe"].overall.judged > 0
    if told_apart and kind == "benign" and not parts["benign"].overall.judged:
        return None
    usable = [parts[kind], parts["all"]] if told_apart else [parts["all"]]
    names = [_own_name(side, parts["all"].models) for side in sides]
    if names[0] == names[1]:
        names = [None, None]  # one measurement cannot tell two models apart
    (first, *before), (second, *after) = (_pick_counts(name, usable) for name in names)
    judges = _calibrate(first), _calibrate(second)
    return SideCalibrations(judges, (before[0], after[0]), before[1] or after[1] or not told_apart)


def _pick_counts(name: str | None, usable: Sequence[_Part]) -> tuple[ConfusionCounts, bool, bool]:
    """The first counts that hold refusals and others, the model's own before all, one kind of prompt before both.

    With them: whether they are the model's own, and whether they mix kinds of prompts that are told apart.
    """
    own = [(part.models[name], True, part is not usable[0]) for part in usable if name is not None]
    both = [(part.overall, False, part is not usable[0]) for part in usable]
    every = [*own, *both]
    return next((found for found in every if _holds_both(found[0])), every[-1])


def _holds_both(counts: ConfusionCounts) -> bool:
    """Whether there are refusals and others, so that sensitivity and specificity were both measured."""
    return counts.tp + counts.fn > 0 and counts.fp + counts.tn > 0


def _calibrate(counts: ConfusionCounts) -> stats.Calibration:
    return stats.Calibration(counts.tp, counts.fn, counts.fp, counts.tn)


def _own_name(side: Sequence[Evaluation], models: Mapping[str, ConfusionCounts]) -> str | None:
    """The calibration's name of a side's model: its name or the name's last part; None where none or several fit."""
    names = {name for evaluation in side for name in (evaluation.model, Path(evaluation.model).name)}
    found = [name for name in models if name in names]
    return found[0] if len(found) == 1 else None


def _shift(judge: stats.Calibration, sensitivity: float, specificity: float) -> stats.Calibration:
    return stats.Calibration(judge.tp, judge.fn, judge.fp, judge.tn, sensitivity, specificity)
