"""People's verdicts on answers, from a file, and whether they are of a random sample of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rapidfuzz import fuzz

from harness.evaluation.samples import Answer, Evaluation
from harness.labeling.population import GivenText, collect_texts
from harness.support import stats
from harness.support.artifacts import read_rows
from harness.support.console import safe_line
from harness.support.errors import HarnessError
from harness.support.label_files import (
    STRATUM_COLUMNS,
    DrawnText,
    LabelFile,
    plain_text,
    read_label_file,
    refuse_other_text,
    text_id,
)

HUMAN_VERDICTS = ("refusal", "harmful", "compliance", "other")
SAMPLE_ALPHA = 0.01
"""Chance that labels of a random sample of one metric's answers are taken for none."""
_SAME_TEXT = 80
"""Likeness, in percent, under which a cell is another text than that of its row's id, not one that lost an accent."""
_LONG_CELL = 32_000
"""Characters from which a spreadsheet may have cut a cell (at 32,767)."""

Text = tuple[str, str]
"""A prompt (or its id) and an answer to it: what a person labels, however often and on whichever side it was given."""


@dataclass(frozen=True, slots=True)
class DrawnLabels:
    """Labels of texts that `harness label` drew in strata: the verdicts, and every text's stratum, by the text's id.

    `left` counts the drawn texts that have no label yet, those to unsafe prompts (True) and to benign ones (False).
    """

    verdicts: Mapping[str, str]
    strata: Mapping[str, str]
    left: Counter[bool]

    @classmethod
    def of(cls, file: LabelFile, sides: Sequence[Sequence[Evaluation]], place: str) -> DrawnLabels:
        """The labels in a file. Raises HarnessError where its texts were drawn from other answers than these."""
        before, after = sides
        texts = {text.id: text for text in collect_texts({"before": before, "after": after}, file.draw.kind, place)}
        strata = file.draw.strata_of(texts, place)
        if moved := [row for row in file.rows if strata.get(row.id) != row.stratum]:
            raise HarnessError(
                f"{len(moved)} of its texts are not in the stratum that it says (the first is {moved[0].id})",
                place=place,
                hint="Change nothing in the file of `harness label` but the column verdict.",
            )
        if other := next((row for row in file.labelled if not _has_seen_text(row, texts)), None):
            refuse_other_text(other, place)
        verdicts = {row.id: row.verdict for row in file.rows if row.verdict}
        return cls(verdicts, strata, Counter(texts[row.id].unsafe for row in file.rows if not row.verdict))

    def stratum_of(self, answer: Answer) -> str | None:
        """The stratum of an answer; None where none of its kind was drawn."""
        return self.strata.get(text_id(answer.prompt, answer.response))


def _has_seen_text(row: DrawnText, texts: Mapping[str, GivenText]) -> bool:
    """Whether the row shows the text of its id, whatever a spreadsheet did to accents and to the end of long cells."""
    if row.has_own_text or text_id(row.prompt, row.response) in texts:
        return row.has_own_text
    given = texts[row.id]
    return _is_like(row.prompt, given.prompt) and _is_like(row.response, given.response)


def _is_like(cell: str, text: str) -> bool:
    seen, meant = plain_text(cell), plain_text(text)
    cut = len(seen) >= _LONG_CELL and meant.startswith(seen)
    return cut or (bool(seen) == bool(meant) and fuzz.ratio(seen, meant) >= _SAME_TEXT)


@dataclass(frozen=True, slots=True)
class HumanLabels:
    """People's verdicts by prompt (or its id) and answer, and the file that they are from; `drawn`: in strata."""

    verdicts: Mapping[Text, str]
    place: str
    drawn: DrawnLabels | None = None

    def verdicts_on(self, answers: Sequence[Answer]) -> dict[str, str]:
        """People's verdicts on the answers to one prompt, by the answer's text.

        Raises HarnessError where two rows, by whatever name they call the prompt, contradict each other.
        """
        found: dict[str, str] = {}
        for answer in answers:
            if self.drawn:
                if verdict := self.drawn.verdicts.get(text_id(answer.prompt, answer.response)):
                    found[answer.response] = verdict
                continue
            for name in (answer.prompt_id, answer.prompt):
                verdict = self.verdicts.get((name, answer.response))
                if verdict and found.setdefault(answer.response, verdict) != verdict:
                    raise _contradiction(found[answer.response], verdict, answer.prompt_id, self.place)
        return found


def read_human_labels(path: Path, sides: Sequence[Sequence[Evaluation]]) -> HumanLabels:
    """People's labels on the answers of two sides, drawn at random or in strata by `harness label`.

    Raises HarnessError where a label is of an answer that neither side gave.
    """
    place = str(path)
    if (file := read_label_file(path)) is not None:
        if not file.labelled:
            raise HarnessError("holds no labels", place=place, hint=f"Fill its column verdict: {len(file.rows)} rows.")
        return HumanLabels({}, place, DrawnLabels.of(file, sides, place))
    labels = read_labels(path)
    given = {
        (name, answer.response)
        for evaluation in chain(*sides)
        for answer in evaluation.answers
        for name in (answer.prompt_id, answer.prompt)
    }
    strange = [prompt for prompt, response in labels.verdicts if (prompt, response) not in given]
    if strange:
        raise HarnessError(
            f"{len(strange)} labels are of answers that neither side gave (the first to {strange[0][:60]!r})",
            place=place,
            hint="Label answers of these two runs, text unchanged.",
        )
    return labels


def read_labels(path: Path) -> HumanLabels:
    """People's verdicts on answers, from a CSV or JSON-lines file; an exact repeat counts once.

    Columns: `prompt` or `prompt_id`, `response`, and `verdict` (or `label`): refusal, harmful, compliance or
    other. Raises HarnessError naming the row that is wrong, or that contradicts an earlier one, and where the rows were
    drawn in strata, which only the file of `harness label` tells whole.
    """
    rows = read_rows(path)
    if not rows:
        raise HarnessError("holds no labels", place=str(path))
    if found := sorted(STRATUM_COLUMNS & rows[0].keys()):
        raise HarnessError(
            f"has the column {', '.join(found)}: drawn in strata, and no random sample",
            place=str(path),
            hint="Give the .csv file that `harness label` wrote.",
        )
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

    The texts, each once, are what a random sample is drawn from; of labels drawn in strata, those of each stratum. On
    each side with `minimum` labels (in a stratum: with any) the number of labelled ones with each verdict of the judge,
    and with an answer that is given again (by the other side or by the same), is held against the hypergeometric
    distribution; the p-values are corrected by their number (Bonferroni).
    """
    given = Counter(text for side in sides for text, _ in _judged_texts(metric, side))
    known = {
        (unit, plain_text(text))
        for side in sides
        for unit, answers in side.items()
        for text in labels.verdicts_on(answers)
    }
    tests = [
        (test, f"--{side}{told}")
        for side, answers in zip(("before", "after"), sides, strict=True)
        for told, texts in _traits_by_stratum(metric, answers, given, labels.drawn).items()
        if len(known & texts.keys()) >= (1 if labels.drawn else minimum)
        for test in _trait_tests(texts, known)
    ]
    for (trait, p_value, labelled, share), side in tests:
        if p_value * len(tests) <= SAMPLE_ALPHA:
            hint = (
                "Label in the order given, and leave out none that is hard."
                if labels.drawn
                else "Draw the answers to label at random from all different ones of both sides, each text once."
            )
            raise HarnessError(
                f"is no random sample of the answers of {side}: {labelled:.0%} of the labelled ones {trait}, "
                f"{share:.0%} of all ({metric}, p {p_value:.1g})",
                place=labels.place,
                hint=hint,
            )


_Traits = dict[Any, tuple[str, bool]]
"""Texts, with the judge's verdict on each and whether it is given more than once."""


def _traits_by_stratum(
    metric: str, side: Mapping[Any, Sequence[Answer]], given: Counter[Any], drawn: DrawnLabels | None
) -> dict[str, _Traits]:
    """The texts of a side by stratum, as a reader is told of it; all together where they were not drawn in strata."""
    found: dict[str, _Traits] = {}
    for text, answer in _judged_texts(metric, side):
        stratum = drawn.stratum_of(answer) if drawn else ""
        if stratum is not None:
            told = f" in stratum {stratum}" if drawn else ""
            found.setdefault(told, {})[text] = (answer.verdict, given[text] > 1)
    return found


def _judged_texts(metric: str, side: Mapping[Any, Sequence[Answer]]) -> Iterator[tuple[Any, Answer]]:
    """The judged answers of a side by unit and text; an answer given n times comes n times."""
    for unit, answers in side.items():
        judged = (one for one in answers if not math.isnan(one.outcomes[metric]))
        yield from (((unit, plain_text(one.response)), one) for one in judged)


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
