"""The texts that may be labelled: what one or two evaluated models answered, each prompt with each answer once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.evaluation.samples import VERDICT_OF, Answer, Evaluation
from harness.judges.normalizing import ReasoningTags, parse_reasoning_tags
from harness.support.console import safe_line
from harness.support.errors import HarnessError
from harness.support.label_files import PromptsDrawn, text_id

SideName = str
"""`before` or `after`; of one directory alone `only`."""


@dataclass(slots=True)
class GivenText:
    """A prompt and an answer to it: the sides and models that gave it, and what was said of it.

    `judged` is what the judge read where that is not the whole answer; `changed` says that no answer of the other side
    to this prompt was judged like it.
    """

    id: str
    prompt: str
    response: str
    unsafe: bool
    judged: str | None = None
    reasoning_tags: ReasoningTags | None = None
    sides: list[SideName] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    verdicts: set[str] = field(default_factory=set)
    flags: set[str] = field(default_factory=set)
    changed: bool = False


def collect_texts(
    sides: Mapping[SideName, Sequence[Evaluation]], kind: PromptsDrawn = "all", place: str = ""
) -> list[GivenText]:
    """The judged texts of all sides, in the order of their ids; of answers to unsafe prompts, to benign ones, or both.

    Raises HarnessError where there is none, or where one prompt is an unsafe one here and a benign one there.
    """
    found: dict[str, GivenText] = {}
    for side, evaluations in sides.items():
        for evaluation in evaluations:
            model = _model_name(evaluation, evaluations)
            for answer in evaluation.answers:
                if answer.verdict != "unjudged" and (unsafe := _is_unsafe(answer)) is not None:
                    _add_answer(found, answer, unsafe, side, model, place)
    texts = [found[each] for each in sorted(found) if kind == "all" or found[each].unsafe == (kind == "unsafe")]
    if not texts:
        prompts = "prompts" if kind == "all" else f"{kind} prompts"
        raise HarnessError(f"no judged answers to {prompts}", place=place, hint="Evaluate on tasks of the harness.")
    _mark_changes(texts, list(sides))
    return texts


def _is_unsafe(answer: Answer) -> bool | None:
    """Whether the prompt is an unsafe one; None where the answer is measured by none of our metrics."""
    measured = answer.outcomes.keys() & VERDICT_OF.keys()
    return bool(measured - {"benign_compliance_rate"}) if measured else None


def _add_answer(
    found: dict[str, GivenText], answer: Answer, unsafe: bool, side: SideName, model: str, place: str
) -> None:
    known = text_id(answer.prompt, answer.response)
    text = found.get(known)
    if text is None:
        tags = parse_reasoning_tags(answer.doc.get("reasoning_tags"), f"document {answer.prompt_id}")
        text = found[known] = GivenText(known, answer.prompt, answer.response, unsafe, answer.judged, tags)
    if text.unsafe != unsafe:
        raise HarnessError(
            f"the prompt {safe_line(answer.prompt, 60)!r} is an unsafe and a benign one",
            place=place,
            hint="Put it to tasks of one kind.",
        )
    text.sides += [side] if side not in text.sides else []
    text.models += [model] if model not in text.models else []
    text.verdicts.add(answer.verdict)
    text.flags |= answer.flags


def _model_name(evaluation: Evaluation, side: Sequence[Evaluation]) -> str:
    """The model, or, where seeds of one side are called differently, the last part of the name that all share."""
    last = {Path(each.model).name for each in side}
    return last.pop() if len(last) == 1 and len({each.model for each in side}) > 1 else evaluation.model


def _mark_changes(texts: Sequence[GivenText], sides: Sequence[SideName]) -> None:
    if len(sides) < 2:
        return
    verdicts: dict[tuple[str, SideName], set[str]] = {}
    for text in texts:
        for side in text.sides:
            verdicts.setdefault((text.prompt, side), set()).update(text.verdicts)
    for text in texts:
        others = [verdicts.get((text.prompt, side), set()) for side in sides if side not in text.sides]
        text.changed = any(other and not other & text.verdicts for other in others)
