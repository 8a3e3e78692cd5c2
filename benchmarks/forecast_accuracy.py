"""How far forecasts are off: tables sampled from miniatures, forecast, then trained on, in whole and in parts.

    python benchmarks/forecast_accuracy.py --out docs/results/forecast.json [--organisms 0 1 2 ...]
    python benchmarks/forecast_accuracy.py --out docs/results/forecast.json --calibrate

For each organism pairs are sampled and probe answers drawn, apart from each other. The forecast of the whole table and
of the shares to keep is made as `forecast_table` makes it, that of other parts as `forecast_training` does. What is
measured is how answers start (`answer_starts`: probabilities, so without sampling noise) on training prompts that no
probe asked and on held-out ones. An organism that is in the file already is left out. `--calibrate` chooses the floor
and the share of the error on the organisms below `HELD_OUT`, says how far the others' forecasts are off, and writes
both to `harness/forecast/calibration.json`. About 4 minutes an organism on one quiet core.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from harness.forecast.extrapolation import Calibration, Shift, expected_change, path_length
from harness.forecast.rates import PromptRates
from harness.support import artifacts

HELD_OUT = 4
"""The first of the organisms that nothing is chosen on."""
TABLES = ((0.5, 0), (1.0, 7), (0.6, 3), (0.5, 5))
"""Temperature and seed of the pairs, by the organism's number modulo their count."""
MOVED = 0.03
SEEDS = (0, 1)
LONGER = 3
"""Times as many steps, for all pairs, which are also trained on longer."""
CALIBRATION = Path(__file__).parents[1] / "harness" / "forecast" / "calibration.json"


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
    """Each arm: its forecast, and what training did."""
    from harness.forecast.look_ahead import look_ahead, probe_targets
    from harness.forecast.results import LookAhead

    look, probed = LookAhead(), probe_targets(probes, tokenizer)
    looked: dict[str, Any] = {}
    for name, places in _arm_places(job.pairs).items():
        own = replace(job, pairs=job.pairs.select(places), label=f"{job.label}, {name}")
        line = _line_between(looked, own.pairs) if name in ("best 85 %", "best 65 %", "best 30 %") else None
        shifts = line or look_ahead(own, probed, probes.temperature, look)
        looked[name] = (own.pairs, shifts)
        lengths = (1, LONGER) if name == "all" else (1,)
        for times in lengths:
            steps = job.steps * times
            stretch = path_length(steps) / path_length(look.steps)
            forecast = {
                target: [each.scaled(stretch).mean, each.scaled(stretch).error] for target, each in shifts.items()
            }
            yield {
                "arm": name,
                "pairs": len(places),
                "steps": steps,
                "looked": line is None,
                "mean_influence": _mean(own.pairs, "refusal_influence"),
                "shifts": forecast,
                "measured": [_train(replace(own, steps=steps, seed=seed), watched) for seed in SEEDS],
            }


def _line_between(looked: Mapping[str, Any], pairs: Any) -> dict[Any, Shift]:
    from harness.forecast.forecasting import Anchor, shifts_between

    anchors = [Anchor(*looked[name]) for name in ("all", "best 50 %")]
    return dict(shifts_between(_mean(pairs, "refusal_influence"), anchors))


def _train(job: Any, watched: Watched) -> dict[str, float]:
    from harness.training.train import train_on_pairs

    trained = train_on_pairs(job)
    return watched.read(trained.model, trained.tokenizer)


def _mean(pairs: Any, column: str) -> float:
    return float(np.mean(pairs[column][:]))


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
    longer: bool
    influence: float
    shift: Shift
    rates: PromptRates
    measured: float


def compare_arms(rows: Sequence[Mapping[str, Any]], key: str = "training") -> list[Compared]:
    """The refusals of all arms of these organisms; `key`: on which prompts."""
    found = []
    for row in rows:
        rates = PromptRates(*row["counts"]["refusal"])
        shortest = min(arm["steps"] for arm in row["arms"])
        for arm in row["arms"]:
            measured = float(np.mean([each[key] for each in arm["measured"]])) - row["start"][key]
            shift = Shift(*arm["shifts"]["refusal"])
            longer = arm["steps"] > shortest
            found.append(Compared(row["organism"], longer, arm["mean_influence"], shift, rates, measured))
    return found


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
    from harness.forecast.extrapolation import LEVEL

    chosen = compare_arms([row for row in rows if row["organism"] < HELD_OUT])
    floor, share = choose_calibration(chosen, LEVEL)
    held = [row for row in rows if row["organism"] >= HELD_OUT]
    measured = judge_forecasts(compare_arms(held), Calibration(floor, share, {})) if held else {}
    return {"floor": floor, "share": share, "measured": measured}


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
        told = Calibration(**made)
        for name, kept in (("chosen on", range(HELD_OUT)), ("held back", range(HELD_OUT, 99))):
            own = [row for row in rows if row["organism"] in kept]
            for key in ("training", "held_out"):
                print(name, key, judge_forecasts(compare_arms(own, key), told) if own else "none")
        return
    for number in arguments.organisms:
        if number not in [row["organism"] for row in rows]:
            rows.append(measure_organism(number))
            artifacts.write_json(arguments.out, {"schema_version": 1, "rows": rows})


if __name__ == "__main__":
    main()
