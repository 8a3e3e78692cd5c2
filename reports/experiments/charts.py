"""Charts of the experiments' pages and docs: Altair specifications drawn to SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import altair as alt

from harness.support.console import safe_line
from harness.support.run_results import (
    CatastrophicResults,
    DrawResults,
    DrawsEstimate,
    PercentilesResults,
    RecordedTrial,
    SelectedArm,
    SelectionResults,
)
from reports.drawing import BLUE, GREEN, INK, ORANGE, SOFT, WHITE_STYLE, draw_svg

MEASURE_TITLES = {
    "ches": "CHES",
    "ln_ches": "length-normalised CHES",
    "last_hidden_inner_product": "last hidden inner product",
    "neg_edit_distance": "minus edit distance",
    "length_difference": "length difference (control)",
    "refusal_influence": "refusal influence",
    "theorem_2": "Theorem 2 on first tokens",
    "log_margin": "log-margin (ComPO)",
    "validation_loss": "validation loss (Selective DPO)",
    "random": "random (control)",
    "all": "all pairs",
}
COLUMNS = 3


def fall_chart(results: CatastrophicResults) -> str:
    """p(y+) at every step, a line a seed, a panel an objective and pair; published rows as two ticks at the edges."""
    rows = [
        {"panel": _panel_title(trial), "seed": str(trial.seed), "step": step, "p": p}
        for trial in results.trials
        for step, p in enumerate(trial.p_chosen)
    ]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=1.2, opacity=0.8, color=BLUE)
        .encode(
            alt.X("step:Q", title="optimizer step"),
            alt.Y("p:Q", title="p(y+)", scale=alt.Scale(domain=[0, 1])),
            alt.Detail("seed:N"),
            alt.Facet("panel:N", columns=COLUMNS, title=None, sort=list(dict.fromkeys(row["panel"] for row in rows))),
        )
        .properties(width=210, height=140)
    )
    return draw_svg(chart, WHITE_STYLE)


def percentile_chart(results: PercentilesResults) -> str:
    """Figure 2: change of ln p(y+) against the percentile of each measure; mean, least and most over the seeds."""
    rows = [
        {
            "measure": MEASURE_TITLES.get(order.measure, order.measure),
            "percentile": 100 * subset.quantile,
            **subset.to_json(),
        }
        for order in results.measured
        for subset in order.subsets
    ]
    x = alt.X(
        "percentile:Q", title="percentile of the measure", axis=alt.Axis(values=sorted({r["percentile"] for r in rows}))
    )
    y = alt.Y("mean:Q", title="change of mean ln p(y+), nats")
    line = alt.Chart().mark_line(point=True, color=BLUE).encode(x, y)
    spread = alt.Chart().mark_area(opacity=0.25, color=BLUE).encode(x, alt.Y("low:Q"), alt.Y2("high:Q"))
    zero = alt.Chart().mark_rule(strokeDash=[4, 3], color=SOFT).encode(alt.Y(datum=0))
    chart = (
        alt.layer(spread, line, zero, data=alt.Data(values=rows))
        .properties(width=210, height=150)
        .facet(
            alt.Facet("measure:N", title=None, sort=list(dict.fromkeys(row["measure"] for row in rows))),
            columns=COLUMNS,
        )
    )
    return draw_svg(chart, WHITE_STYLE)


def selection_chart(results: SelectionResults) -> str:
    """Change of refusals in points: at the compared share a row a measure, then a panel a measure by the share kept.

    Means over organisms with their 95 % intervals; dots are organisms, the broken line random shares.
    """
    main = next(iter(results.recipe.objectives))
    arms = [arm for arm in results.arms if arm.objective == main]
    compared = [arm for arm in arms if arm.share == results.recipe.compared or arm.measure == "all"]
    chart = alt.vconcat(_compared_rows(compared), _share_panels(arms), spacing=24)
    return draw_svg(chart, {**WHITE_STYLE, "padding": {"left": 32, "right": 5, "top": 5, "bottom": 5}})


def _compared_rows(arms: Sequence[SelectedArm]) -> alt.LayerChart:
    means = sorted(map(_arm_point, arms), key=lambda point: -point["mean"])
    dots = [
        {"measure": MEASURE_TITLES[arm.measure], "change": 100 * (each.after - each.before)}
        for arm in arms
        for each in arm.organisms
    ]
    y = alt.Y("measure:N", title=None, sort=[point["measure"] for point in means], axis=alt.Axis(labelLimit=220))
    x = alt.X("mean:Q", title="change of refusals on held-out prompts, points")
    rows = alt.Data(values=means)
    layers = (
        alt.Chart(rows).mark_rule(strokeWidth=2, color=BLUE).encode(y, alt.X("low:Q"), alt.X2("high:Q")),
        alt.Chart(alt.Data(values=dots)).mark_point(size=24, color=SOFT, opacity=0.8).encode(y, alt.X("change:Q")),
        alt.Chart(rows).mark_point(filled=True, size=70, color=BLUE, opacity=1).encode(y, x),
        alt.Chart().mark_rule(strokeDash=[4, 3], color=SOFT).encode(alt.X(datum=0)),
    )
    return alt.layer(*layers).properties(width=440, height=24 * len(means))


def _share_panels(arms: Sequence[SelectedArm]) -> alt.FacetChart:
    measured = [arm for arm in arms if arm.measure not in ("all", "random")]
    names = list(dict.fromkeys(MEASURE_TITLES[arm.measure] for arm in measured))
    whole = [_arm_point(arm) for arm in arms if arm.measure == "all"]
    control = whole + [_arm_point(arm) for arm in arms if arm.measure == "random"]
    rows = [{**_arm_point(arm), "kind": "measure"} for arm in measured]
    rows += [{**point, "measure": name, "kind": "measure"} for name in names for point in whole]
    rows += [{**point, "measure": name, "kind": "random"} for name in names for point in control]
    x = alt.X("share:Q", title="pairs kept, %", axis=alt.Axis(values=[15, 50, 85]))
    y = alt.Y("mean:Q", title="change, points")
    own, other = alt.datum.kind == "measure", alt.datum.kind == "random"
    layers = (
        alt.Chart()
        .transform_filter(own)
        .mark_area(opacity=0.2, color=BLUE)
        .encode(x, alt.Y("low:Q"), alt.Y2("high:Q")),
        alt.Chart().transform_filter(other).mark_line(strokeDash=[4, 3], color=SOFT).encode(x, y),
        alt.Chart().transform_filter(own).mark_line(point=True, color=BLUE).encode(x, y),
    )
    return (
        alt.layer(*layers, data=alt.Data(values=rows))
        .properties(width=160, height=110)
        .facet(alt.Facet("measure:N", title=None, sort=names), columns=4)
    )


def draws_chart(results: DrawResults, labels: Mapping[str, str]) -> str:
    """Refusals of training prompts, a row an arm: both intervals, the mean, a dot a draw in its model's colour."""
    names = results.ranked_arms
    rates = {_short_label(labels[name]): results.arms[name].metrics.refusal_rate.train for name in names}
    rows = [{"arm": arm, **_drawn_ends(rate)} for arm, rate in rates.items()]
    dots = [
        {"arm": arm, "rate": fmean(known), "model": draw.starting_model}
        for arm, rate in rates.items()
        for draw, trainings in zip(results.draws, rate.per_draw, strict=True)
        if (known := [each for each in trainings if each is not None])
    ]
    before = results.arms["baseline"].metrics.refusal_rate.train.value
    y = alt.Y("arm:N", title=None, sort=[*rates], axis=alt.Axis(labelLimit=420))
    scale = alt.Scale(domain=[0, 1])
    x = alt.X("value:Q", scale=scale, title="refusals of training prompts", axis=alt.Axis(format=".0%"))
    legend = alt.Legend(title=None, orient="top")
    colours = alt.Scale(domain=results.models, range=[BLUE, ORANGE, GREEN, SOFT])
    models = alt.Color("model:N", legend=legend, scale=colours)
    shapes = alt.Shape("model:N", legend=legend, scale=alt.Scale(domain=results.models))
    data = alt.Data(values=rows)
    layers = (
        alt.Chart(data).mark_rule(strokeWidth=1.5, color=SOFT).encode(y, alt.X("low:Q"), alt.X2("high:Q")),
        alt.Chart(data)
        .mark_rule(strokeWidth=7, opacity=0.25, color=SOFT)
        .encode(y, alt.X("inner_low:Q"), alt.X2("inner_high:Q")),
        alt.Chart(alt.Data(values=dots)).mark_point(size=28, opacity=0.9).encode(y, alt.X("rate:Q"), models, shapes),
        alt.Chart(data).mark_tick(thickness=3, height=15, color=INK).encode(y, x),
        alt.Chart().mark_rule(strokeDash=[4, 3], color=SOFT).encode(alt.X(datum=before)),
    )
    # The drawer measures names in a narrower font than a browser's: hence the room at the left.
    style = {**WHITE_STYLE, "padding": {"left": 48, "right": 5, "top": 5, "bottom": 5}}
    return draw_svg(alt.layer(*layers).properties(width=520, height=22 * len(rows)), style)


def _short_label(label: str) -> str:
    """What a chart's axis has room for."""
    return label.replace(", as many steps as all pairs", ", steps matched")


def _drawn_ends(rate: DrawsEstimate) -> dict[str, float | None]:
    """A rate's mean, the ends of its interval and of that for the same models; without those, the whole one's."""
    inner = rate.same_models or rate
    return {
        "value": rate.value,
        "low": rate.low,
        "high": rate.high,
        "inner_low": inner.low,
        "inner_high": inner.high,
    }


def _arm_point(arm: SelectedArm) -> dict[str, Any]:
    """An arm's change on held-out prompts, in points; with one organism, no wider than its mean."""
    mean = 100 * (arm.test.value or 0.0)
    low, high = (mean if limit is None else 100 * limit for limit in (arm.test.low, arm.test.high))
    return {
        "measure": MEASURE_TITLES[arm.measure],
        "share": 100 * arm.share,
        "mean": mean,
        "low": low,
        "high": high,
    }


def _panel_title(trial: RecordedTrial) -> str:
    chosen, rejected = safe_line(trial.chosen, 20), safe_line(trial.rejected, 20)  # a control character ends vl-convert
    return f"{trial.objective.upper()}: {chosen} over {rejected}"
