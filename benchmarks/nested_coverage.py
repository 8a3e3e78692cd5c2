"""How often the intervals of runs on several draws hold the true mean, by simulation.

    python benchmarks/nested_coverage.py

Starting models, tables and trainings have normal effects of known standard deviations about a rate of .6; prompts
differ in how often they are refused, and every answer is drawn. Printed: the share of 95 % intervals that hold the
mean, for further models and for further tables of the same ones, and how wide they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.support import stats

RATE, PROMPT_SPREAD = 0.6, 0.15
DESIGNS = ((3, 5, 2), (3, 5, 1), (1, 5, 2), (1, 1, 3), (5, 3, 2))
SPREADS = ((0.05, 0.08, 0.03), (0.0, 0.08, 0.03), (0.08, 0.0, 0.03), (0.0, 0.0, 0.05), (0.0, 0.0, 0.0))


def nested_coverage(
    shape: tuple[int, int, int], spreads: tuple[float, ...], prompts: int, runs: int, seed: int = 7
) -> tuple[float, float]:
    """The share of intervals that hold the true mean, and their mean width.

    Args:
        shape: models, tables of each, trainings on each.
        spreads: the standard deviations of their effects. Those of a level above the first that is drawn twice count
            as zero: the interval does not speak of further draws of it.
        prompts: as many, put to every training.
        runs: simulated experiments.
        seed: of them all.
    """
    rng, held, width = np.random.default_rng(seed), 0, 0.0
    top = next((axis for axis, size in enumerate(shape) if size > 1), len(shape))
    drawn = tuple(spread if axis >= top else 0.0 for axis, spread in enumerate(spreads))
    for _ in range(runs):
        answers = _draw_answers(rng, shape, drawn, prompts)
        over_prompts = stats.rate_over_seeds(answers.reshape(-1, prompts).T)
        found = stats.nested_mean(answers.mean(-1), stats.Interval(over_prompts.low, over_prompts.high))
        held += found.low <= RATE <= found.high
        width += found.high - found.low
    return held / runs, width / runs


def _draw_answers(
    rng: np.random.Generator, shape: tuple[int, int, int], spreads: tuple[float, ...], prompts: int
) -> NDArray[np.float64]:
    """Refusals, 0 or 1: models by tables by trainings by prompts."""
    sizes = ((shape[0], 1, 1, 1), (*shape[:2], 1, 1), (*shape, 1))
    effects = sum(rng.normal(0, spread, size) for spread, size in zip(spreads, sizes, strict=True))
    chance = RATE + effects + rng.uniform(-PROMPT_SPREAD, PROMPT_SPREAD, prompts)
    return np.asarray(rng.random((*shape, prompts)) < chance, float)


def main() -> None:
    """Prints a row for each design and spread."""
    print("models, tables, trainings   standard deviations   held    width")
    for shape in DESIGNS:
        for spreads in SPREADS:
            held, width = nested_coverage(shape, spreads, prompts=100, runs=2000)
            print(f"{shape!s:27} {spreads!s:21} {held:6.1%}  {width:.3f}")


if __name__ == "__main__":
    main()
