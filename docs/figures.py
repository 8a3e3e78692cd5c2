"""Draws the tables and pictures of the experiments' pages from the committed results: `python docs/figures.py`.

A page holds a table between `<!-- table NAME -->` and `<!-- end -->`; its picture is `NAME.svg` beside it. Results are
results.json of the run, as `harness run` wrote it, in `docs/results/NAME.json`; a recipe run on several draws of its
pairs has one file a draw, and tables over all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.support.run_results import RunResults

HERE = Path(__file__).parent
EXPERIMENTS = ("unalignment", "mitigations")
DRAWS = {"smollm2": 2, "smollm2_two_refusals": 2}
"""How many times these recipes drew their pairs and trained their arms: `docs/results/NAME_drawN.json`, on one page."""


def main() -> None:
    """Rewrites every experiment's table and picture."""
    for name in EXPERIMENTS:
        results = read(name)
        page = HERE / f"{name}.md"
        page.write_text(with_tables(page.read_text(), results))
        (HERE / f"{name}.svg").write_text(picture(results))
    page = HERE / "real-model.md"
    page.write_text(with_draws(page.read_text()))


def read(name: str) -> dict[str, Any]:
    """An experiment's committed results."""
    content: dict[str, Any] = json.loads((HERE / "results" / f"{name}.json").read_text())
    return content


def with_tables(page: str, results: Mapping[str, Any]) -> str:
    """The page with each of its tables written anew."""

    def table(found: re.Match[str]) -> str:
        return f"<!-- table {found[1]} -->\n{TABLES[found[1]](results)}\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->.*?<!-- end -->", table, page, flags=re.DOTALL)


def with_draws(page: str) -> str:
    """The page with its tables over several draws, `<!-- draws TABLE of RECIPE -->` to `<!-- end -->`, written anew."""

    def table(found: re.Match[str]) -> str:
        draws = [read(f"{found[2]}_draw{number}") for number in range(DRAWS[found[2]])]
        return f"<!-- draws {found[1]} of {found[2]} -->\n{OVER_DRAWS[found[1]](draws)}\n<!-- end -->"

    return re.sub(r"<!-- draws (\w+) of (\w+) -->.*?<!-- end -->", table, page, flags=re.DOTALL)


def measured(results: Mapping[str, Any]) -> str:
    """Refusals of each arm on training and test prompts, per seed, and the change of ln p(y+)."""
    lines = [
        "| arm | pairs, steps | refusals, training prompts | each seed | test prompts | ln p(y+), its own pairs |",
        "|---|---|---|---|---|---|",
    ]
    for name, arm in results["arms"].items():
        rates = arm["metrics"]["refusal_rate"]
        change = arm.get("trained_logprob_change")
        told = f"{change['value']:+.2f}" if change else ""
        if change and change["spread"] is not None:
            told += f" ± {change['spread']:.2f}"
        seeds = ", ".join(f"{100 * value:.0f}" for value in rates["train"]["per_seed"])
        size = f"{arm['pairs']}, {arm['steps']}" if arm["pairs"] else ""
        lines.append(f"| {name} | {size} | {rate(rates['train'])} | {seeds} | {rate(rates['test'])} | {told} |")
    return "\n".join(lines)


def published(results: Mapping[str, Any]) -> str:
    """What the paper prints of the same arms, on its own models."""
    lines = ["| arm | refusals | ln p(y+), its own pairs |", "|---|---|---|"]
    for name, figures in results["published"]["arms"].items():
        refusals, change = (figures.get(quantity) for quantity in ("refusal_rate", "trained_logprob_change"))
        told = f"{change['value']:+g} ± {change['spread']:g}" if change else ""
        lines.append(f"| {name} | {100 * refusals['value']:.1f} % | {told} |" if refusals else f"| {name} | | {told} |")
    return "\n".join(lines)


def pair_types(results: Mapping[str, Any]) -> str:
    """How many pairs of each type there are, and how they score."""
    lines = ["| pairs | number | mean length-normalised CHES (95 % interval) |", "|---|---|---|"]
    for name, scores in results["ln_ches_by_pair_type"].items():
        told = f"{scores['value']:.2f} ({scores['low']:.2f} to {scores['high']:.2f})" if scores["n"] > 1 else "too few"
        lines.append(f"| {name.replace('_', ' ')} | {scores['n']} | {told} |")
    return "\n".join(lines)


def ranks(results: Mapping[str, Any]) -> str:
    """The arms by their refusals of training prompts, with their paired change from `raw`."""
    lines = [
        "| | arm | refusals | from raw, points | from before, points | benign answered |",
        "|---|---|---|---|---|---|",
    ]
    for place, name in enumerate(RunResults.model_validate(results).ranked_arms, 1):
        arm = results["arms"][name]
        metrics = arm["metrics"]
        changes = [
            "" if name == "raw" and key == "change_from_raw" else points(arm[key]["refusal_rate"]["train"])
            for key in ("change_from_raw", "change_from_baseline")
        ]
        benign = f"{100 * metrics['benign_compliance_rate']['train']['value']:.0f} %"
        told = rate(metrics["refusal_rate"]["train"])
        lines.append(f"| {place} | {name} | {told} | {changes[0]} | {changes[1]} | {benign} |")
    return "\n".join(lines)


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


TABLES = {"measured": measured, "published": published, "pair_types": pair_types, "ranks": ranks}
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


def picture(results: Mapping[str, Any]) -> str:
    """Refusals of each arm: interval, mean and a dot a seed, beside the rate before training."""
    import altair as alt
    import vl_convert

    rates = {name: arm["metrics"]["refusal_rate"]["train"] for name, arm in results["arms"].items()}
    rows = [{"arm": name, **{key: each[key] for key in ("value", "low", "high")}} for name, each in rates.items()]
    dots = [{"arm": name, "rate": value} for name, each in rates.items() for value in each["per_seed"]]
    y = alt.Y("arm:N", sort=list(rates), title=None, axis=alt.Axis(labelLimit=240))
    scale = alt.Scale(domain=[0, 1])
    base = alt.Chart(alt.Data(values=rows))
    interval = base.mark_rule(strokeWidth=6, opacity=0.35, color="#0072b2").encode(
        alt.X("low:Q", scale=scale, title="Refusals of training prompts", axis=alt.Axis(format=".0%")),
        alt.X2("high:Q"),
        y,
    )
    mean = base.mark_tick(thickness=3, height=14, color="#0072b2").encode(alt.X("value:Q", scale=scale), y)
    seeds = (
        alt.Chart(alt.Data(values=dots))
        .mark_point(filled=True, size=30, color="#1b1f24", opacity=0.7)
        .encode(alt.X("rate:Q", scale=scale), y)
    )
    start = (
        alt.Chart(alt.Data(values=[{"rate": rates["baseline"]["value"]}]))
        .mark_rule(strokeDash=[4, 4], color="#57606a")
        .encode(alt.X("rate:Q", scale=scale))
    )
    chart = (start + interval + mean + seeds).properties(width=520, height=alt.Step(20)).configure_view(stroke=None)
    svg: str = vl_convert.vegalite_to_svg(chart.configure(font="system-ui, sans-serif", background="white").to_json())
    return svg


if __name__ == "__main__":
    main()
