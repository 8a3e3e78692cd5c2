"""Draws the tables and pictures of the experiments' pages from the committed results: `python docs/figures.py`.

A page holds a table between `<!-- table TABLE of RESULTS -->` and `<!-- end -->`. Results are results.json of the run
on nested draws, as `harness run` wrote it, in `docs/results/RESULTS.json`. A recipe that was run apart on several draws
of its pairs has one file a draw, and tables over all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import correlation, fmean, median
from typing import Any

from harness.support.run_results import DrawResults
from reports.experiments.charts import draws_chart

HERE = Path(__file__).parent
NESTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "unalignment": ("unalignment", ()),
    "unalignment_random_ties": (
        "unalignment",
        (
            "pairs.tie_break=random",
            "seeds=[0]",
            "arms={raw: {}, ches_filtered_15_matched: {filter: {keep_lowest: 0.15}, steps: as_raw}, "
            "random_15_matched: {filter: {random: 0.15}, steps: as_raw}, two_refusals: {filter: {only: two_refusals}}}",
            "gold=null",
        ),
    ),
    "mitigations": ("mitigations", ()),
    "miniature_draws": (
        "miniature",
        (
            "seeds=[0]",
            "pair_seeds=[0,1,2,3,4]",
            "organism_seeds=[0,1,2]",
            "arms={raw: {}, ches_filtered_matched: {filter: {keep_lowest: 0.15}, steps: as_raw}, "
            "random_matched: {filter: {random: 0.15}, steps: as_raw}}",
        ),
    ),
}
"""Results on nested draws, `docs/results/NAME.json`: the packaged recipe that was run, and what was set."""
ONE_DRAW = ("miniature",)
"""Results of packaged recipes on one table of pairs."""
DRAWN_PAGES = ("unalignment", "mitigations", "miniature")
"""The pages with tables of such results."""
PICTURES = ("unalignment", "mitigations")
DRAWS = {"smollm2": 2, "smollm2_two_refusals": 2}
"""How many times these recipes drew their pairs and trained their arms: `docs/results/NAME_drawN.json`, on one page."""


def main() -> None:
    """Rewrites every experiment's table and picture."""
    for name in DRAWN_PAGES:
        page = HERE / f"{name}.md"
        page.write_text(with_tables(page.read_text()))
    for name in PICTURES:
        results = DrawResults.model_validate(read(name))
        (HERE / f"{name}.svg").write_text(draws_chart(results, {arm: arm for arm in results.arms}))
    page = HERE / "real-model.md"
    page.write_text(with_draws(page.read_text()))


def read(name: str) -> dict[str, Any]:
    """An experiment's committed results."""
    content: dict[str, Any] = json.loads((HERE / "results" / f"{name}.json").read_text())
    return content


def with_tables(page: str) -> str:
    """The page with each of its tables, `<!-- table TABLE of RESULTS -->` to `<!-- end -->`, written anew."""

    def table(found: re.Match[str]) -> str:
        return f"<!-- table {found[1]} of {found[2]} -->\n{TABLES[found[1]](read(found[2]))}\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) of (\w+) -->.*?<!-- end -->", table, page, flags=re.DOTALL)


def with_draws(page: str) -> str:
    """The page with its tables over several draws, `<!-- draws TABLE of RECIPE -->` to `<!-- end -->`, written anew."""

    def table(found: re.Match[str]) -> str:
        draws = [read(f"{found[2]}_draw{number}") for number in range(DRAWS[found[2]])]
        return f"<!-- draws {found[1]} of {found[2]} -->\n{OVER_DRAWS[found[1]](draws)}\n<!-- end -->"

    return re.sub(r"<!-- draws (\w+) of (\w+) -->.*?<!-- end -->", table, page, flags=re.DOTALL)


def published(results: Mapping[str, Any]) -> str:
    """What the paper prints of the same arms, on its own models."""
    lines = ["| arm | refusals | ln p(y+), its own pairs |", "|---|---|---|"]
    for name, figures in results["published"]["arms"].items():
        refusals, change = (figures.get(quantity) for quantity in ("refusal_rate", "trained_logprob_change"))
        told = f"{change['value']:+g} ± {change['spread']:g}" if change else ""
        lines.append(f"| {name} | {100 * refusals['value']:.1f} % | {told} |" if refusals else f"| {name} | | {told} |")
    return "\n".join(lines)


def drawn(results: Mapping[str, Any]) -> str:
    """Refusals of each arm over nested draws: both intervals, the extremes, the change from before, benign answers."""
    lines = [
        "| arm | refusals, training prompts | the same models | least, most | from before, points | benign answered "
        "| ln p(y+), its own pairs |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, arm in results["arms"].items():
        change, likelihood = arm.get("change_from_baseline"), arm.get("trained_logprob_change")
        of_arm = arm["metrics"]["refusal_rate"]["train"]
        cells = [
            name,
            rate(of_arm),
            _same_models(of_arm, "{:.0f} to {:.0f}"),
            _extremes(of_arm),
            points(change["refusal_rate"]["train"]) if change else "",
            f"{100 * arm['metrics']['benign_compliance_rate']['train']['value']:.0f} %",
            "{value:+.2f} ({low:+.1f} to {high:+.1f})".format(**likelihood) if likelihood else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def one_draw(results: Mapping[str, Any]) -> str:
    """Refusals and harmful completions of each arm on one table of pairs, with intervals over prompts."""
    lines = [
        "| arm | pairs, steps | refusals, training prompts | each seed | harmful completions |",
        "|---|---|---|---|---|",
    ]
    for name, arm in results["arms"].items():
        refusals, harmful = (arm["metrics"][metric]["train"] for metric in ("refusal_rate", "harmful_completion_rate"))
        size = f"{arm['pairs']}, {arm['steps']}" if arm["pairs"] else ""
        seeds = ", ".join(f"{100 * value:.0f}" for value in refusals["per_seed"])
        lines.append(f"| {name} | {size} | {rate(refusals)} | {seeds} | {100 * harmful['value']:.1f} % |")
    return "\n".join(lines)


def drawn_ranks(results: Mapping[str, Any]) -> str:
    """The arms by their refusals over nested draws, with their change from `raw` on the same tables."""
    lines = [
        "| | arm | refusals | least, most | from raw, points | from before, points | better than raw on "
        "| benign answered |",
        "|---|---|---|---|---|---|---|---|",
    ]
    raw = _draw_means(results["arms"]["raw"])
    for place, name in enumerate(DrawResults.model_validate(results).ranked_arms, 1):
        arm = results["arms"][name]
        better = sum(mine > its for mine, its in zip(_draw_means(arm), raw, strict=True))
        cells = [
            str(place),
            name,
            rate(arm["metrics"]["refusal_rate"]["train"]),
            _extremes(arm["metrics"]["refusal_rate"]["train"]),
            "" if name == "raw" else points(arm["change_from_raw"]["refusal_rate"]["train"]),
            points(arm["change_from_baseline"]["refusal_rate"]["train"]),
            "" if name == "raw" else f"{better} of {len(raw)}",
            f"{100 * arm['metrics']['benign_compliance_rate']['train']['value']:.0f} %",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def by_draw(results: Mapping[str, Any]) -> str:
    """Refusals of each arm on every table of every starting model, in percent, the mean of its trainings."""
    models = DrawResults.model_validate(results).models
    size = len(results["draws"]) // len(models)
    lines = [f"| arm | {' | '.join(models)} |", "|---" * (len(models) + 1) + "|"]
    for name, arm in results["arms"].items():
        means = [f"{100 * mean:.0f}" for mean in _draw_means(arm)]
        cells = [", ".join(means[place : place + size]) for place in range(0, len(means), size)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def controls(results: Mapping[str, Any]) -> str:
    """Each filter against as many pairs at random that are trained alike, and on how many tables it did better."""
    lines = [
        "| arm | its control | refusals above its control, points | the same models | better on |",
        "|---|---|---|---|---|",
    ]
    for name, arm in results["arms"].items():
        if change := arm.get("change_from_control"):
            found = change["refusal_rate"]["train"]
            sides = _draw_means(arm), _draw_means(results["arms"][arm["control"]])
            better = sum(mine > its for mine, its in zip(*sides, strict=True))
            within = _same_models(found, "{:+.0f} to {:+.0f}")
            lines.append(f"| {name} | {arm['control']} | {points(found)} | {within} | {better} of {len(sides[0])} |")
    return "\n".join(lines)


def variance(results: Mapping[str, Any]) -> str:
    """What the refusals of one training vary with, by arm."""
    lines = [
        "| arm | standard deviation, points | starting models | tables of pairs | trainings |",
        "|---|---|---|---|---|",
    ]
    for name, arm in DrawResults.model_validate(results).arms.items():
        parts = arm.metrics.refusal_rate.train.variance
        if name != "baseline":
            shares = (f"{100 * parts.shares.get(part, 0.0):.0f} %" for part in ("models", "pairs", "trainings"))
            lines.append(f"| {name} | {100 * parts.total**0.5:.1f} | {' | '.join(shares)} |")
    return "\n".join(lines)


def drawn_pairs(results: Mapping[str, Any]) -> str:
    """How many pairs of each type the tables have, and how they score, least to most over the tables."""
    lines = ["| pairs | number on a table | mean length-normalised CHES of a table |", "|---|---|---|"]
    for name in results["draws"][0]["pair_types"]:
        counts = [draw["pair_types"][name] for draw in results["draws"]]
        scores = [draw["ln_ches_by_pair_type"][name]["value"] for draw in results["draws"]]
        known = [score for score in scores if score is not None]
        lines.append(
            f"| {name.replace('_', ' ')} | {min(counts)} to {max(counts)} | {min(known):.1f} to {max(known):.1f} |"
        )
    return "\n".join(lines)


def drawn_forecasts(results: Mapping[str, Any]) -> str:
    """What was foretold of refusals on each draw, what came, and how often the 90 % interval held it."""
    lines = ["| arm | foretold, points | came, points | inside the 90 % interval |", "|---|---|---|---|"]
    before = _draw_means(results["arms"]["baseline"])
    for name, arm in results["arms"].items():
        if forecasts := arm.get("forecasts"):
            came = [now - was for was, now in zip(before, _draw_means(arm), strict=True)]
            inside = sum(told["low"] <= each <= told["high"] for told, each in zip(forecasts, came, strict=True))
            foretold = _ends([told["value"] for told in forecasts])
            lines.append(f"| {name} | {foretold} | {_ends(came)} | {inside} of {len(came)} |")
    return "\n".join(lines)


def openings(results: Mapping[str, Any]) -> str:
    """How near refusals counted in answers lie to the probability that an answer starts as one, over all trainings."""
    arms = [arm for name, arm in results["arms"].items() if name != "baseline"]
    sampled = [each for arm in arms for draw in arm["metrics"]["refusal_rate"]["train"]["per_draw"] for each in draw]
    started = [each for arm in arms for draw in arm["started_refusing"]["per_draw"] for each in draw]
    apart = sorted(abs(mine - its) for mine, its in zip(sampled, started, strict=True))
    cells = [
        str(len(sampled)),
        f"{correlation(sampled, started):.3f}",
        f"{100 * (fmean(started) - fmean(sampled)):+.1f}",
        f"{100 * median(apart):.1f}, {100 * apart[int(0.95 * len(apart))]:.1f}",
    ]
    head = "| trainings | correlation | starts less answers, points | apart by, median and 95th percentile, points |"
    return "\n".join([head, "|---|---|---|---|", f"| {' | '.join(cells)} |"])


def _draw_means(arm: Mapping[str, Any]) -> list[float]:
    """An arm's refusals on each draw, the mean of its trainings."""
    return [fmean(draw) for draw in arm["metrics"]["refusal_rate"]["train"]["per_draw"]]


def _same_models(estimate: Mapping[str, Any], form: str) -> str:
    same = estimate["same_models"]
    return form.format(100 * same["low"], 100 * same["high"]) if same else ""


def _extremes(estimate: Mapping[str, Any]) -> str:
    """The lowest and the highest training, in percent."""
    trainings = [100 * each for draw in estimate["per_draw"] for each in draw]
    return f"{min(trainings):.0f}, {max(trainings):.0f}"


def _ends(changes: Sequence[float]) -> str:
    return f"mean {100 * fmean(changes):+.1f}, {100 * min(changes):+.0f} to {100 * max(changes):+.0f}"


def refusals_by_draw(draws: Sequence[Mapping[str, Any]]) -> str:
    """Refusals of each arm on each draw of the pairs, and each change from before with its interval over prompts."""
    lines = [
        "| arm | pairs | steps | refusals, training prompts, % | change on each draw, points (95 % over prompts) "
        "| held-out prompts, % |",
        "|---|---|---|---|---|---|",
    ]
    for name in draws[0]["arms"]:
        arms = [draw["arms"][name] for draw in draws]
        size = [_each(arm[key] for arm in arms) if arms[0][key] else "" for key in ("pairs", "steps")]
        changes = [arm.get("change_from_baseline") for arm in arms]
        told = "; ".join(points(change["refusal_rate"]["train"]) for change in changes if change)
        rates = [_rates(arms, "refusal_rate", split) for split in ("train", "test")]
        lines.append(f"| {' | '.join([name, *size, rates[0], told, rates[1]])} |")
    return "\n".join(lines)


def effects_by_draw(draws: Sequence[Mapping[str, Any]]) -> str:
    """What else each arm did on each draw: harmful completions, benign prompts answered, ln p(y+) of its own pairs."""
    lines = [
        "| arm | harmful completions, % | judged so by default, % | benign prompts answered, % "
        "| ln p(y+), its own pairs |",
        "|---|---|---|---|---|",
    ]
    metrics = ("harmful_completion_rate", "fallback_rate", "benign_compliance_rate")
    for name in draws[0]["arms"]:
        arms = [draw["arms"][name] for draw in draws]
        changes = [arm.get("trained_logprob_change") for arm in arms]
        told = ", ".join(f"{change['value']:+.1f}" for change in changes if change)
        lines.append(f"| {' | '.join([name, *(_rates(arms, metric, 'train') for metric in metrics), told])} |")
    return "\n".join(lines)


def _rates(arms: Sequence[Mapping[str, Any]], metric: str, split: str) -> str:
    """One arm's rates on each draw, in percent."""
    return _each(f"{100 * arm['metrics'][metric][split]['value']:.0f}" for arm in arms)


def forecasts_by_draw(draws: Sequence[Mapping[str, Any]]) -> str:
    """What the forecast said of refusals before the training, and what came."""
    lines = [
        "| arm | draw | foretold, points (90 %) | came, points (95 % over prompts) |",
        "|---|---|---|---|",
    ]
    for name in draws[0]["arms"]:
        for number, draw in enumerate(draws):
            arm = draw["arms"][name]
            if arm.get("forecast"):
                came = arm["change_from_baseline"]["refusal_rate"]["train"]
                lines.append(f"| {name} | {number} | {points(arm['forecast']['refusal'])} | {points(came)} |")
    return "\n".join(lines)


def pair_types_by_draw(draws: Sequence[Mapping[str, Any]]) -> str:
    """How many pairs of each type each draw has, and how they score."""
    lines = ["| pairs | number | share, % | mean length-normalised CHES |", "|---|---|---|---|"]
    totals = [sum(scores["n"] for scores in draw["ln_ches_by_pair_type"].values()) for draw in draws]
    for name in draws[0]["ln_ches_by_pair_type"]:
        scores = [draw["ln_ches_by_pair_type"][name] for draw in draws]
        shares = (f"{100 * each['n'] / total:.0f}" for each, total in zip(scores, totals, strict=True))
        means = ("" if each["value"] is None else f"{each['value']:.0f}" for each in scores)
        cells = [name.replace("_", " "), _each(each["n"] for each in scores), _each(shares), _each(means)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _each(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


TABLES = {
    "one_draw": one_draw,
    "drawn": drawn,
    "drawn_ranks": drawn_ranks,
    "by_draw": by_draw,
    "controls": controls,
    "variance": variance,
    "drawn_pairs": drawn_pairs,
    "drawn_forecasts": drawn_forecasts,
    "openings": openings,
    "published": published,
}
OVER_DRAWS = {
    "refusals": refusals_by_draw,
    "effects": effects_by_draw,
    "forecasts": forecasts_by_draw,
    "pair_types": pair_types_by_draw,
}


def rate(estimate: Mapping[str, Any]) -> str:
    """A rate in percent with its interval."""
    return "{:.1f} % ({:.0f} to {:.0f})".format(*(100 * estimate[key] for key in ("value", "low", "high")))


def points(change: Mapping[str, Any]) -> str:
    """A difference of rates in percentage points with its interval."""
    return "{:+.1f} ({:+.0f} to {:+.0f})".format(*(100 * change[key] for key in ("value", "low", "high")))


if __name__ == "__main__":
    main()
