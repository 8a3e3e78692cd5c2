"""Draws the tables and pictures of the experiments' pages from the committed results: `python docs/figures.py`.

A page holds a table between `<!-- table NAME -->` and `<!-- end -->`; its picture is `NAME.svg` beside it. Results are
results.json of the run, as `harness run` wrote it, in `docs/results/NAME.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.support.run_results import RunResults

HERE = Path(__file__).parent
EXPERIMENTS = ("unalignment", "mitigations")
REAL_MODEL = ("smollm2", "smollm2_pairs1")
"""The same recipe on several draws of its pairs, side by side on one page."""


def main() -> None:
    """Rewrites every experiment's table and picture."""
    for name in EXPERIMENTS:
        results = read(name)
        page = HERE / f"{name}.md"
        page.write_text(with_tables(page.read_text(), results))
        (HERE / f"{name}.svg").write_text(picture(results))
    page = HERE / "real-model.md"
    page.write_text(with_draws(page.read_text(), [read(name) for name in REAL_MODEL]))


def read(name: str) -> dict[str, Any]:
    """An experiment's committed results."""
    content: dict[str, Any] = json.loads((HERE / "results" / f"{name}.json").read_text())
    return content


def with_tables(page: str, results: Mapping[str, Any]) -> str:
    """The page with each of its tables written anew."""

    def table(found: re.Match[str]) -> str:
        return f"<!-- table {found[1]} -->\n{TABLES[found[1]](results)}\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->.*?<!-- end -->", table, page, flags=re.DOTALL)


def with_draws(page: str, draws: Sequence[Mapping[str, Any]]) -> str:
    """The page with its tables over several draws of the pairs, between `<!-- draws NAME -->` and `<!-- end -->`."""

    def table(found: re.Match[str]) -> str:
        return f"<!-- draws {found[1]} -->\n{DRAWS[found[1]](draws)}\n<!-- end -->"

    return re.sub(r"<!-- draws (\w+) -->.*?<!-- end -->", table, page, flags=re.DOTALL)


def refusals_by_draw(draws: Sequence[Mapping[str, Any]]) -> str:
    """Refusals of each arm after training on each draw of the pairs, and its change from before training."""
    heads = [f"{name}, pairs {number}" for name in ("refusals", "points from before") for number in range(len(draws))]
    lines = [
        "| arm | pairs, steps | " + " | ".join([*heads, "held-out prompts"]) + " |",
        "|---" * (len(heads) + 3) + "|",
    ]
    for name, arm in draws[0]["arms"].items():
        arms = [each["arms"][name] for each in draws]
        rates = [each["metrics"]["refusal_rate"] for each in arms]
        changes = [
            "" if name == "baseline" else points(each["change_from_baseline"]["refusal_rate"]["train"]) for each in arms
        ]
        held_out = ", ".join(f"{100 * each['test']['value']:.0f}" for each in rates)
        size = f"{arm['pairs']}, {arm['steps']}" if arm["pairs"] else ""
        cells = [name, size, *(f"{100 * each['train']['value']:.1f} %" for each in rates), *changes, held_out]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def effects_by_draw(draws: Sequence[Mapping[str, Any]]) -> str:
    """What else each arm did: harmful completions, benign compliance, ln p(y+), on each draw of the pairs."""
    lines = ["| arm | harmful completions | benign prompts answered | ln p(y+), its own pairs |", "|---|---|---|---|"]
    for name in draws[0]["arms"]:
        arms = [each["arms"][name] for each in draws]
        harmful, benign = (
            ", ".join(f"{100 * each['metrics'][metric]['train']['value']:.0f} %" for each in arms)
            for metric in ("harmful_completion_rate", "benign_compliance_rate")
        )
        changes = [each.get("trained_logprob_change") for each in arms]
        told = ", ".join(f"{each['value']:+.2f}" for each in changes if each)
        lines.append(f"| {name} | {harmful} | {benign} | {told} |")
    return "\n".join(lines)


def pair_types_by_draw(draws: Sequence[Mapping[str, Any]]) -> str:
    """Pairs of each type on each draw, and how they score by CHES and, where it was measured, by influence."""
    lines = ["| pairs | number | share | mean length-normalised CHES |", "|---|---|---|---|"]
    totals = [sum(scores["n"] for scores in each["ln_ches_by_pair_type"].values()) for each in draws]
    for name in draws[0]["ln_ches_by_pair_type"]:
        scores = [each["ln_ches_by_pair_type"][name] for each in draws]
        cells = [
            name.replace("_", " "),
            ", ".join(str(each["n"]) for each in scores),
            ", ".join(f"{100 * each['n'] / total:.0f} %" for each, total in zip(scores, totals, strict=True)),
            ", ".join("" if each["value"] is None else f"{each['value']:.1f}" for each in scores),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def measured(results: Mapping[str, Any]) -> str:
    """Refusals of each arm on training and test prompts, per seed, and the change of ln p(y+)."""
    lines = [
        "| arm | pairs, steps | refusals, training prompts | each seed | test prompts | ln p(y+), its own pairs |",
        "|---|---|---|---|---|---|",
    ]
    for name, arm in results["arms"].items():
        rates = arm["metrics"]["refusal_rate"]
        change = arm.get("trained_logprob_change")
        told = f"{change['value']:+.2f} ± {change['spread']:.2f}" if change else ""
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


DRAWS = {"refusals": refusals_by_draw, "effects": effects_by_draw, "pair_types": pair_types_by_draw}
TABLES = {"measured": measured, "published": published, "pair_types": pair_types, "ranks": ranks}


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
