"""How often `harness gate --sequential` is wrong, and what it saves: simulated jobs that look after every 25 prompts.

    python benchmarks/sequential_gate.py [RUNS] [--json FILE]

Prints the table of docs/gate.md: answers are drawn as for its other tables (`benchmarks/gate_simulation.py`), with
random numbers on which nothing was chosen. A job stops at the first look at which the metric passes or fails, at the
latest with all 450 prompts. `--json` writes the rows to a file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from gate_simulation import good

from harness.gate.decision import decide_metric
from harness.gate.power import PowerPlan
from harness.gate.sequential import compare_in_order
from harness.support import stats

MARGIN, ALPHA, EVERY, PROMPTS = 0.05, 0.025, 25, 450
SEED = 20261127
"""Of the table's random numbers; the bets of `harness/gate/sequential.py` were chosen on the seed 0."""
Draw = Callable[[float, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""One pair of runs with a loss: each prompt's share of good answers before and after."""


@dataclass(frozen=True)
class Row:
    """Shares of jobs in [0, 1], and the mean number of prompts at which they stopped.

    `false_pass` at a loss of the margin, `false_fail` at none; `passes` and `prompts` where nothing changed, `fails`
    and `prompts_harmful` at a loss of three margins; `passes_once` and `fails_once` by one look at the end (Tango,
    McNemar).
    """

    case: str
    false_pass: float
    false_fail: float
    passes: float
    prompts: float
    fails: float
    prompts_harmful: float
    passes_once: float
    fails_once: float


def look_until_decided(before: np.ndarray, after: np.ndarray) -> tuple[str, int]:
    """The decision of one job, and with how many prompts it was made."""
    for asked in range(EVERY, len(before) + 1, EVERY):
        found = compare_in_order(before[:asked], after[:asked], MARGIN, ALPHA)
        decision = decide_metric(found, MARGIN, ALPHA, float(found.p_value))
        if decision != "inconclusive":
            return decision, asked
    return "inconclusive", len(before)


def simulate(case: str, draw: Draw, runs: int) -> Row:
    """A setting's row."""
    rng = np.random.default_rng(SEED)
    jobs = {loss: [draw(loss, rng) for _ in range(runs)] for loss in (MARGIN, 0.0, 3 * MARGIN)}
    ended = {loss: [look_until_decided(*sides) for sides in found] for loss, found in jobs.items()}
    once = {loss: stats.compare_rates(*map(np.array, zip(*found, strict=True))) for loss, found in jobs.items()}
    harmful = once[3 * MARGIN]

    def share(loss: float, decision: str) -> float:
        return float(np.mean([said == decision for said, _ in ended[loss]]))

    def prompts(loss: float) -> float:
        return float(np.mean([asked for _, asked in ended[loss]]))

    return Row(
        case,
        false_pass=share(MARGIN, "pass"),
        false_fail=share(0.0, "fail"),
        passes=share(0.0, "pass"),
        prompts=prompts(0.0),
        fails=share(3 * MARGIN, "fail"),
        prompts_harmful=prompts(3 * MARGIN),
        passes_once=float(np.mean(once[0.0].high < MARGIN)),
        fails_once=float(np.mean((harmful.high >= MARGIN) & (harmful.p_value <= ALPHA))),
    )


def draw_pair(plan: PowerPlan, loss: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Prompts of all kinds, in random order."""
    before, after = good(plan, loss, 1, rng)
    return before[0] / plan.samples, after[0] / plan.samples


def draw_category(plan: PowerPlan, loss: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Every tenth prompt is of the one category that loses, as where hazards take turns: the whole loss is in it."""
    before, after = draw_pair(plan, 0.0, rng)
    lost = rng.random(plan.prompts) < 10 * loss / plan.rate
    return before, np.where((np.arange(plan.prompts) % 10 == 0) & lost, 0.0, after)


def cases() -> Iterator[tuple[str, Draw]]:
    """Each setting by name."""
    for samples, rate, correlation in product((1, 4), (0.5, 0.75, 0.95), (0.0, 0.5)):
        answers = "1 answer" if samples == 1 else f"{samples} answers"
        plan = PowerPlan(PROMPTS, samples, MARGIN, rate, correlation)
        yield f"{answers}, rate {rate}, correlation {correlation}", partial(draw_pair, plan)
    for rate in (0.75, 0.95):
        plan = PowerPlan(PROMPTS, 1, MARGIN, rate, 0.5)
        yield f"1 answer, rate {rate}, one hazard of ten loses it all", partial(draw_category, plan)


def table_line(row: Row) -> str:
    """A row of the table."""
    cells = (
        row.case,
        f"{100 * row.false_pass:.1f}",
        f"{100 * row.false_fail:.1f}",
        f"{100 * row.passes:.0f} ({100 * row.passes_once:.0f})",
        f"{row.prompts:.0f}",
        f"{100 * (1 - row.prompts / PROMPTS):.0f}",
        f"{100 * row.fails:.0f} ({100 * row.fails_once:.0f})",
        f"{row.prompts_harmful:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main(runs: int, file: Path | None) -> None:
    """Prints the table as Markdown."""
    print(f"Margin {MARGIN}, alpha {ALPHA}, a look every {EVERY} of {PROMPTS} prompts, {runs} jobs a setting\n")
    print("| setting | false PASS, % | false FAIL, % | PASS if unchanged, % (once) | prompts, mean | saved, % "
          "| FAIL at a loss of 15 points, % (once) | prompts, mean |")  # fmt: skip
    print("|" + " --- |" * 8)
    rows = []
    for case, draw in cases():
        rows.append(simulate(case, draw, runs))
        print(table_line(rows[-1]), flush=True)
    if file:
        file.write_text(
            json.dumps({"runs": runs, "seed": SEED, "rows": [asdict(row) for row in rows]}, indent=1) + "\n"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="?", type=int, default=2000)
    parser.add_argument("--json", type=Path, help="Write the rows to this file, too.")
    chosen = parser.parse_args()
    main(chosen.runs, chosen.json)
