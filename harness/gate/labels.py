"""People's verdicts on answers, from a file, and whether they are of a random sample of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.evaluation.samples import Answer
from harness.support import stats
from harness.support.artifacts import read_rows
from harness.support.console import safe_line
from harness.support.errors import HarnessError

HUMAN_VERDICTS = ("refusal", "harmful", "compliance", "other")
SAMPLE_ALPHA = 0.01
"""Chance that labels of a random sample of one metric's answers are taken for none."""

Text = tuple[str, str]
"""A prompt (or its id) and an answer to it: what a person labels, however often and on whichever side it was given."""


@dataclass(frozen=True, slots=True)
class HumanLabels:
    """People's verdicts by prompt (or its id) and answer, and the file that they are from."""

    verdicts: Mapping[Text, str]
    place: str

    def verdicts_on(self, answers: Sequence[Answer]) -> dict[str, str]:
        """People's verdicts on the answers to one prompt, by the answer's text.

        Raises HarnessError where two rows, by whatever name they call the prompt, contradict each other.
        """
        found: dict[str, str] = {}
        for answer in answers:
            for name in (answer.prompt_id, answer.prompt):
                verdict = self.verdicts.get((name, answer.response))
                if verdict and found.setdefault(answer.response, verdict) != verdict:
                    raise _contradiction(found[answer.response], verdict, answer.prompt_id, self.place)
        return found


def read_labels(path: Path) -> HumanLabels:
    """People's verdicts on answers, from a CSV or JSON-lines file; an exact repeat counts once.

    Columns: `prompt` or `prompt_id`, `response`, and `verdict` (or `label`): refusal, harmful, compliance or
    other. Raises HarnessError naming the row that is wrong, or that contradicts an earlier one.
    """
    rows = read_rows(path)
    if not rows:
        raise HarnessError("holds no labels", place=str(path))
    verdicts: dict[Text, str] = {}
    for number, row in enumerate(rows, 1):
        text, verdict = _human_label(row, f"{path}: row {number}")
        if verdicts.setdefault(text, verdict) != verdict:
            raise _contradiction(verdicts[text], verdict, text[0], f"{path}: row {number}")
    return HumanLabels(verdicts, str(path))


def _human_label(row: Mapping[str, Any], place: str) -> tuple[Text, str]:
    prompt, response = row.get("prompt_id") or row.get("prompt"), row.get("response")
    verdict = row.get("verdict") or row.get("label")
    if not isinstance(prompt, str) or not isinstance(response, str) or verdict not in HUMAN_VERDICTS:
        raise HarnessError(
            "is no label",
            place=place,
            hint=f"Give prompt or prompt_id, response, and verdict: {', '.join(HUMAN_VERDICTS)}.",
        )
    return (prompt, response), verdict


def _contradiction(first: str, second: str, prompt: str, place: str) -> HarnessError:
    return HarnessError(
        f"the same answer to {safe_line(prompt, 60)!r} is labelled {first} and {second}",
        place=place,
        hint="Keep one verdict for each prompt and answer.",
    )


def refuse_skewed_sample(
    metric: str, sides: Sequence[Mapping[Any, Sequence[Answer]]], labels: HumanLabels, minimum: int
) -> None:
    """Raises HarnessError where the labelled answers differ from the others in more than chance explains.

    The texts, each once, are what a random sample is drawn from. On each side with `minimum` labels the number of
    labelled ones with each verdict of the judge, and with an answer that is given again (by the other side or by
    the same), is held against the hypergeometric distribution; the p-values are corrected by their number
    (Bonferroni).
    """
    given = Counter(text for side in sides for text, _ in _judged_texts(metric, side))
    traits = {
        name: {text: (answer.verdict, given[text] > 1) for text, answer in _judged_texts(metric, side)}
        for name, side in zip(("before", "after"), sides, strict=True)
    }
    known = {(unit, text) for side in sides for unit, answers in side.items() for text in labels.verdicts_on(answers)}
    tests = [
        (test, side)
        for side, texts in traits.items()
        if len(known & texts.keys()) >= minimum
        for test in _trait_tests(texts, known)
    ]
    for (trait, p_value, labelled, share), side in tests:
        if p_value * len(tests) <= SAMPLE_ALPHA:
            raise HarnessError(
                f"is no random sample of the answers of --{side}: {labelled:.0%} of the labelled ones {trait}, "
                f"{share:.0%} of all ({metric}, p {p_value:.1g})",
                place=labels.place,
                hint="Draw the answers to label at random from all different ones of both sides, each text once.",
            )


def _judged_texts(metric: str, side: Mapping[Any, Sequence[Answer]]) -> Iterator[tuple[Any, Answer]]:
    """The judged answers of a side by unit and text; an answer given n times comes n times."""
    for unit, answers in side.items():
        yield from (((unit, one.response), one) for one in answers if not math.isnan(one.outcomes[metric]))


def _trait_tests(texts: Mapping[Any, tuple[str, bool]], known: set[Any]) -> Iterator[tuple[str, float, float, float]]:
    """Each trait with its p-value and its share of the labelled and of all texts."""
    verdicts = sorted({verdict for verdict, _ in texts.values()})
    marks = {f"are judged {verdict}": [text for text in texts if texts[text][0] == verdict] for verdict in verdicts}
    marks["are given more than once"] = [text for text in texts if texts[text][1]]
    drawn, total = len(known & texts.keys()), len(texts)
    for trait, marked in marks.items():
        found = sum(text in known for text in marked)
        p_value = stats.hypergeometric_p_value(found, drawn, len(marked), total)
        yield trait, p_value, found / drawn, len(marked) / total
