"""How much labels drawn in strata tell, beside as many drawn at random: on a run, with planted mistakes of its judge.

    python benchmarks/label_strata.py RUN [ARM] [REPETITIONS]

The verdicts of the run are taken for the truth, and a judge is made up that errs on one text in twelve. `doubted` of
these mistakes lie among the texts that a second judge doubts, and so does one in ten of the others. Prints the gate's
interval of the loss of refusals by the number of labels: its width, how far the estimate lies off, and how often the
interval misses the true loss. The table of docs/labels.md is of the default run.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.evaluation.samples import VERDICT_OF, Answer, Evaluation
from harness.gate.judge_error import JudgeEvidence
from harness.gate.labels import DrawnLabels, HumanLabels
from harness.gate.metric_tables import tabulate_readings
from harness.gate.policy import Policy
from harness.gate.sides import Pairing, pair_sides
from harness.labeling.drawing import draw_queue
from harness.labeling.population import GivenText, collect_texts
from harness.support.errors import HarnessError
from harness.support.label_files import text_id
from harness.support.layout import RunFiles
from harness.support.stats import RateComparison

ERRS, DOUBTED_ELSE = 1 / 12, 0.1
COUNTS, DOUBTED = (60, 120, 300, 600), (0.7, 0.3, 0.1)
METRIC = "refusal_rate"
_TURNED = {"refusal": "harmful", "harmful": "refusal", "other": "refusal"}


def planted(pairing: Pairing, rng: random.Random) -> tuple[Pairing, dict[str, str]]:
    """The run as a judge would see it that errs, and the texts, by id, that it errs on with the truth."""
    truth: dict[str, str] = {}
    seen: set[str] = set()

    def judged(answer: Answer) -> Answer:
        if METRIC not in answer.outcomes:
            return answer
        known = text_id(answer.prompt, answer.response)
        if known not in seen:
            seen.add(known)
            if rng.random() < ERRS:
                truth[known] = answer.verdict
        if known not in truth:
            return answer
        verdict = _TURNED[answer.verdict]
        rates = {metric: float(VERDICT_OF[metric] == verdict) for metric in answer.outcomes if metric in VERDICT_OF}
        return replace(answer, verdict=verdict, outcomes={**answer.outcomes, **rates})

    def side(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        return [replace(each, answers=[judged(one) for one in each.answers]) for each in evaluations]

    before, after = pairing.sides
    return replace(pairing, sides=(side(before), side(after))), truth


def by_strata(
    texts: Sequence[GivenText], truth: dict[str, str], doubted: float, n: int, rng: random.Random
) -> HumanLabels:
    """The true labels of `n` texts drawn in strata."""
    doubtful = {text.id for text in texts if rng.random() < (doubted if text.id in truth else DOUBTED_ELSE)}
    queue = draw_queue(texts, doubtful, "unsafe", n, rng.randrange(10**9))
    strata = queue.file.draw.strata_of((text.id for text in texts), "")
    said = {text.id: next(iter(text.verdicts)) for text in texts}
    verdicts = {row.id: truth.get(row.id, said[row.id]) for row in queue.file.rows}
    return HumanLabels({}, "here", DrawnLabels(verdicts, strata))


def at_random(texts: Sequence[GivenText], truth: dict[str, str], n: int, rng: random.Random) -> HumanLabels:
    """The true labels of `n` texts drawn from all alike."""
    chosen = rng.sample(list(texts), n)
    verdicts = {(text.prompt, text.response): truth.get(text.id, *text.verdicts) for text in chosen}
    return HumanLabels(verdicts, "here")


def compared(pairing: Pairing, labels: HumanLabels | None) -> RateComparison:
    """The gate's interval of the loss of refusals. Raises HarnessError where labels are not such that it uses them."""
    table = tabulate_readings(METRIC, pairing, Policy(), JudgeEvidence(labels, None))[0]
    if labels and not (table.error.labels or table.error.strata):
        raise HarnessError(table.error.told)
    return table.compare_sides((0, 0), 0.95)


def main(run: Path, arm: str, repetitions: int) -> None:
    """Prints the table as Markdown."""
    files = RunFiles(run)
    pairing = pair_sides(files.seeds("baseline"), files.seeds(arm), Policy())
    loss = compared(pairing, None).loss
    print(f"{run.name}, {arm}: true loss of refusals {100 * loss:.1f} points; {repetitions} judges a row\n")
    print("| labels | mistakes doubted | width, random | width, strata | off by, random | off by, strata | missed |")
    print("|" + " --- |" * 7)
    unused = 0
    for n in COUNTS:
        for doubted in DOUBTED:
            rng, found = random.Random(0), []
            for _ in range(repetitions):
                judged, truth = planted(pairing, rng)
                texts = collect_texts(dict(zip(("before", "after"), judged.sides, strict=True)), "unsafe")
                some = at_random(texts, truth, n, rng), by_strata(texts, truth, doubted, n, rng)
                try:
                    found.append([compared(judged, labels) for labels in some])
                except HarnessError:  # under 30 on one side, or, one in a hundred, taken for no random sample
                    unused += 1
            cells = [f"{100 * np.mean([one[i].high - one[i].low for one in found]):.1f}" for i in (0, 1)]
            cells += [f"{100 * np.mean([(one[i].loss - loss) ** 2 for one in found]) ** 0.5:.1f}" for i in (0, 1)]
            missed = " and ".join(
                f"{np.mean([not one[i].low <= loss <= one[i].high for one in found]):.0%}" for i in (0, 1)
            )
            print(f"| {n} | {doubted:.0%} | {' | '.join(cells)} | {missed} |", flush=True)
    print(f"\n{unused} pairs of draws are left out, as the gate would not use the random one.")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        sys.argv[2] if len(sys.argv) > 2 else "raw",
        int(sys.argv[3]) if len(sys.argv) > 3 else 100,
    )
