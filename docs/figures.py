"""Draws the tables and pictures of the experiments' pages from the committed results: `python docs/figures.py`.

A page holds a table between `<!-- table NAME -->` and `<!-- end -->`; its picture is `NAME.svg` beside it. Results are
results.json of the run, as `harness run` wrote it, in `docs/results/NAME.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.support.run_results import RunResults

HERE = Path(__file__).parent
EXPERIMENTS = ("unalignment", "mitigations")
SMOKE_RUNS = {"real-model": "smollm2_limit60"}
"""Pages that show a run on few prompts, by the results' name."""


def main() -> None:
    """Rewrites every experiment's table and picture."""
    for name in EXPERIMENTS:
        results = read(name)
        page = HERE / f"{name}.md"
        page.write_text(with_tables(page.read_text(), results))
        (HERE / f"{name}.svg").write_text(picture(results))
    for name, run in SMOKE_RUNS.items():
        page = HERE / f"{name}.md"
        page.write_text(with_tables(page.read_text(), read(run)))


def read(name: str) -> dict[str, Any]:
    """An experiment's committed results."""
    content: dict[str, Any] = json.loads((HERE / "results" / f"{name}.json").read_text())
    return content


def with_tables(page: str, results: Mapping[str, Any]) -> str:
    """The page with each of its tables written anew."""

    def table(found: re.Match[str]) -> str:
        return f"<!-- table {found[1]} -->\n{TABLES[found[1]](results)}\n<!-- end -->"

    return re.sub(r"<!-- table (\w+) -->.*?<!-- end -->", table, page, flags=re.DOTALL)


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
