"""Charts of the experiments' pages and docs: Altair specifications drawn to SVG."""

from __future__ import annotations

import altair as alt

from harness.support.console import safe_line
from harness.support.run_results import CatastrophicResults, PercentilesResults, RecordedTrial
from reports.drawing import BLUE, SOFT, WHITE_STYLE, draw_svg

MEASURE_TITLES = {
    "ches": "CHES",
    "ln_ches": "length-normalised CHES",
    "last_hidden_inner_product": "last hidden inner product",
    "neg_edit_distance": "minus edit distance",
    "length_difference": "length difference (control)",
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


def _panel_title(trial: RecordedTrial) -> str:
    chosen, rejected = safe_line(trial.chosen, 20), safe_line(trial.rejected, 20)  # a control character ends vl-convert
    return f"{trial.objective.upper()}: {chosen} over {rejected}"
