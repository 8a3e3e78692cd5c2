"""How far forecasts are off: tables sampled from miniatures, forecast, then trained on, in whole and in parts.

    python benchmarks/forecast_accuracy.py --out benchmarks/results/forecast_accuracy.json [--organisms 0 1 2 ...]
    python benchmarks/forecast_accuracy.py --out benchmarks/results/forecast_accuracy.json --calibrate

For each organism pairs are sampled and probe answers drawn, apart from each other. The forecast of the whole table and
of the shares to keep is made as `forecast_table` makes it, that of other parts as `forecast_training` does. What is
measured is how answers start (`answer_starts`: probabilities, so without sampling noise) on training prompts that no
probe asked and on held-out ones. An organism that is in the file already is left out. `--calibrate` chooses the floor
and the share of the error on the organisms below `HELD_OUT`, says how far the others' forecasts are off, and writes
both to `harness/forecast/calibration.json`, and the table of docs/forecast.md. About 4 minutes an organism on one quiet
core.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from harness.forecast.extrapolation import LEVEL, Calibration, Reading, Shift, expected_change, path_length, shift_of
from harness.forecast.forecasting import Anchor, shifts_between
from harness.forecast.rates import PromptRates
from harness.support import artifacts

HELD_OUT = 4
"""The first of the organisms that nothing is chosen on."""
TABLES = ((0.5, 0), (1.0, 7), (0.6, 3), (0.5, 5))
"""Temperature and seed of the pairs, by the organism's number modulo their count."""
BETWEEN = ("best 85 %", "best 65 %", "best 30 %")
"""Shares whose forecast lies between those of all pairs and of the best half."""
LOOKED_STEPS = 4
MOVED = 0.03
SEEDS = (0, 1)
LONGER = 3
"""Times as many steps, for all pairs, which are also trained on longer."""
CALIBRATION = Path(__file__).parents[1] / "harness" / "forecast" / "calibration.json"


PAGE = Path(__file__).parents[1] / "docs" / "forecast.md"
MARKS = ("<!-- accuracy -->", "<!-- end -->")

# Measuring


def measure_organism(number: int) -> dict[str, Any]:
    """The forecasts and the measured changes of one organism's table."""
    from datasets import Dataset

    from harness.forecast.look_ahead import probe_targets
    from harness.models.loading import load_model
    from harness.models.paths import ModelPath
    from harness.organism.store import ensure_miniature
    from harness.preferences.building import build_pairs
    from harness.prompts.sets import load_prompts
    from harness.recipes.loading import load_recipe
    from harness.recipes.schema import Arm
    from harness.scoring.logprobs import pair_logprobs
    from harness.scoring.probes import draw_probes
    from harness.scoring.scorer import score
    from harness.training.jobs import TrainingJob

    temperature, seed = TABLES[number % len(TABLES)]
    recipe = load_recipe("miniature")
    recipe = recipe.model_copy(
        update={"pairs": recipe.pairs.model_copy(update={"temperature": temperature, "seed": seed})}
    )
    path = ModelPath(str(ensure_miniature(number)))
    model, tokenizer = load_model(path)
    unsafe, benign = load_prompts("bundled", "unsafe"), load_prompts("bundled", "benign")
    training = [row for row in unsafe if row["split"] == "train"]
    probes = draw_probes(model, tokenizer, {True: training[::4], False: benign[::8]}, samples=8, temperature=1.0)
    with tempfile.TemporaryDirectory() as keep:
        pairs = Dataset.from_list(build_pairs(recipe, path, training, Path(keep)).rows)
    scored = score(pairs, model, tokenizer, probes=probes)
    steps = -(-len(scored) // recipe.training.batch_size)
    reference = pair_logprobs(model, tokenizer, scored)
    job = TrainingJob(path, scored, reference, Arm(), recipe.training, steps, 0, f"organism {number}")
    watched = Watched(training[1::4], [row for row in unsafe if row["split"] != "train"])
    probed = probe_targets(probes, tokenizer)
    return {
        "organism": number,
        "pairs": {"temperature": temperature, "seed": seed, "count": len(scored)},
        "counts": {target: [list(each.rates.hits), list(each.rates.answers)] for target, each in probed.items()},
        "start": watched.read(model, tokenizer),
        "arms": list(_measure_arms(job, probes, tokenizer, watched)),
    }


@dataclass(frozen=True, slots=True)
class Watched:
    """The unsafe prompts that a trained model is measured on, of training and held out."""

    training: Sequence[Mapping[str, str]]
    held_out: Sequence[Mapping[str, str]]

    def read(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """The share of answers that start as a refusal."""
        from harness.displacement.openings import answer_starts

        starts = {
            name: [each.refusal for each in answer_starts(model, tokenizer, [row["prompt"] for row in rows])]
            for name, rows in (("training", self.training), ("held_out", self.held_out))
        }
        return {name: float(np.mean(values)) for name, values in starts.items()}


def _measure_arms(job: Any, probes: Any, tokenizer: Any, watched: Watched) -> Iterator[dict[str, Any]]:
    """Each arm: what was read after the look-aheads, and what training did."""
    from harness.forecast.look_ahead import look_ahead, probe_targets
    from harness.forecast.results import LookAhead

    look, probed = LookAhead(), probe_targets(probes, tokenizer)
    for name, places in _arm_places(job.pairs).items():
        own = replace(job, pairs=job.pairs.select(places), label=f"{job.label}, {name}")
        readings = {} if name in BETWEEN else look_ahead(own, probed, probes.temperature, look)
        arm = {
            "arm": name,
            "pairs": len(places),
            "mean_influence": float(np.mean(own.pairs["refusal_influence"][:])),
            "readings": {target: [astuple(each) for each in draws] for target, draws in readings.items()},
        }
        yield arm | {
            "steps": job.steps,
            "measured": [_train(replace(own, seed=seed), watched) for seed in SEEDS],
        }
        if name == "all":
            longer = LONGER * job.steps
            yield arm | {"steps": longer, "measured": [_train(replace(own, steps=longer), watched)]}


def _train(job: Any, watched: Watched) -> dict[str, float]:
    from harness.training.train import train_on_pairs

    trained = train_on_pairs(job)
    return watched.read(trained.model, trained.tokenizer)


def _arm_places(scored: Any) -> dict[str, list[int]]:
    """Which rows each arm trains on; those that others lie between come first."""
    from harness.preferences.pairs import pair_type

    count = len(scored)
    best = np.argsort(-np.array(scored["refusal_influence"][:]), kind="stable")
    arms: dict[str, Any] = {"all": range(count), "best 50 %": best[: -(-count // 2)]}
    arms |= {f"best {share} %": best[: -(-share * count // 100)] for share in (85, 65, 30)}
    arms["worst 30 %"] = best[::-1][: -(-30 * count // 100)]
    arms["random 50 %"] = random.Random(0).sample(range(count), -(-count // 2))
    verdicts = zip(scored["chosen_verdict"][:], scored["rejected_verdict"][:], strict=True)
    types = [pair_type(*pair) for pair in verdicts]
    for name in ("two_refusals", "two_non_refusals", "mixed"):
        if types.count(name) >= 16:
            arms[name] = [place for place, kind in enumerate(types) if kind == name]
    return {name: sorted(map(int, places)) for name, places in arms.items()}


# Comparing


@dataclass(frozen=True, slots=True)
class Compared:
    """One arm's forecast beside what was measured."""

    organism: int
    influence: float
    shift: Shift
    rates: PromptRates
    measured: float


def compare_arms(rows: Sequence[Mapping[str, Any]], key: str = "training") -> list[Compared]:
    """The refusals of all arms of these organisms; `key`: on which prompts."""
    found = []
    for row in rows:
        rates = PromptRates(*row["counts"]["refusal"])
        arms = {arm["arm"]: arm for arm in row["arms"]}
        anchors = [
            Anchor(arm["pairs"], arm["mean_influence"], {"refusal": _looked_shift(rates, arm)})
            for arm in (arms["all"], arms["best 50 %"])
        ]
        for arm in row["arms"]:
            between = arm["arm"] in BETWEEN
            looked = shifts_between(arm["mean_influence"], anchors)["refusal"] if between else _looked_shift(rates, arm)
            shift = looked.scaled(path_length(arm["steps"]) / path_length(LOOKED_STEPS))
            measured = float(np.mean([each[key] for each in arm["measured"]])) - row["start"][key]
            found.append(Compared(row["organism"], arm["mean_influence"], shift, rates, measured))
    return found


def _looked_shift(rates: PromptRates, arm: Mapping[str, Any]) -> Shift:
    return shift_of(rates, [Reading(*each) for each in arm["readings"]["refusal"]])


def judge_forecasts(arms: Sequence[Compared], calibration: Calibration) -> dict[str, Any]:
    """How good forecasts are: order, sign, size, interval."""
    changes = [expected_change(arm.rates, arm.shift, calibration) for arm in arms]
    forecast, measured = np.array([each.change for each in changes]), np.array([arm.measured for arm in arms])
    moved = abs(measured) > MOVED
    organisms = np.array([arm.organism for arm in arms])
    within = [_tau(forecast[organisms == one], measured[organisms == one]) for one in dict.fromkeys(organisms.tolist())]
    covered = [each.low <= value <= each.high for each, value in zip(changes, measured, strict=True)]
    influence = np.array([arm.influence for arm in arms])
    return {
        "organisms": len(within),
        "arms": len(arms),
        "tau": _tau(forecast, measured),
        "tau_within": [round(each, 3) for each in within],
        "tau_influence": _tau(influence, measured),
        "tau_influence_within": [
            round(_tau(influence[organisms == one], measured[organisms == one]), 3)
            for one in dict.fromkeys(organisms.tolist())
        ],
        "moved": int(moved.sum()),
        "sign_right": int((np.sign(forecast) == np.sign(measured))[moved].sum()),
        "mean_error": round(float(abs(forecast - measured).mean()), 4),
        "median_error": round(float(np.median(abs(forecast - measured))), 4),
        "covered": int(np.sum(covered)),
        "mean_width": round(float(np.mean([each.high - each.low for each in changes])), 4),
    }


def _tau(one: Any, other: Any) -> float:
    return round(float(kendalltau(one, other).statistic), 3)


def choose_calibration(arms: Sequence[Compared], level: float) -> tuple[float, float]:
    """The floor and the share with which intervals are narrowest among those that cover at least `level`."""
    found = []
    for floor in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4):
        for share in (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8):
            judged = judge_forecasts(arms, Calibration(floor, share, {}))
            if judged["covered"] >= level * judged["arms"]:
                found.append((judged["mean_width"], floor, share))
    _, floor, share = min(found)
    return floor, share


def calibrate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What `calibration.json` holds."""
    chosen = compare_arms([row for row in rows if row["organism"] < HELD_OUT])
    floor, share = choose_calibration(chosen, LEVEL)
    held = [row for row in rows if row["organism"] >= HELD_OUT]
    measured = judge_forecasts(compare_arms(held), Calibration(floor, share, {})) if held else {}
    return {"floor": floor, "share": share, "measured": measured}


def accuracy_table(rows: Sequence[Mapping[str, Any]], calibration: Calibration) -> str:
    """The accuracy as the page shows it, in Markdown."""
    lines = [
        "| organisms | prompts | trainings | order, tau | within each | by influence alone | sign right, of "
        "those moved | off by, points | interval holds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for held in (False, True):
        own = [row for row in rows if (row["organism"] >= HELD_OUT) == held]
        for key in ("training", "held_out") if own else ():
            found = judge_forecasts(compare_arms(own, key), calibration)
            within, alone = (
                f"{min(found[name]):.2f} to {max(found[name]):.2f}" for name in ("tau_within", "tau_influence_within")
            )
            numbers = ", ".join(str(row["organism"]) for row in sorted(own, key=lambda row: row["organism"]))
            lines.append(
                f"| {numbers}{' (held back)' if held else ''} | {key.replace('_', ' ')} | {found['arms']} "
                f"| {found['tau']:.2f} | {within} | {found['tau_influence']:.2f}; {alone} "
                f"| {found['sign_right']} of {found['moved']} | {100 * found['mean_error']:.1f} "
                f"| {found['covered']} of {found['arms']} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measures the organisms that are not in the file, or calibrates by those that are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--organisms", type=int, nargs="+", default=list(range(8)))
    parser.add_argument("--calibrate", action="store_true")
    arguments = parser.parse_args()
    rows = artifacts.read_json(arguments.out)["rows"] if arguments.out.is_file() else []
    if arguments.calibrate:
        made = calibrate(rows)
        artifacts.write_json(CALIBRATION, made)
        page = PAGE.read_text()
        start, end = page.index(MARKS[0]) + len(MARKS[0]), page.index(MARKS[1])
        artifacts.write_text(PAGE, f"{page[:start]}\n{accuracy_table(rows, Calibration(**made))}\n{page[end:]}")
        return
    for number in arguments.organisms:
        if number not in [row["organism"] for row in rows]:
            rows.append(measure_organism(number))
            artifacts.write_json(arguments.out, {"schema_version": 1, "rows": rows})


if __name__ == "__main__":
    main()
