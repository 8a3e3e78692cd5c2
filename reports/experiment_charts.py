"""Charts of the experiments' pages and docs: Altair specifications drawn to SVG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.support.console import safe_line

MEASURE_TITLES = {
    "ches": "CHES",
    "ln_ches": "length-normalised CHES",
    "last_hidden_inner_product": "last hidden inner product",
    "neg_edit_distance": "minus edit distance",
    "length_difference": "length difference (control)",
}
COLUMNS = 3


def fall_chart(results: Mapping[str, Any]) -> str:
    """p(y+) at every step, a line a seed, a panel an objective and pair; published rows as two ticks at the edges."""
    import altair as alt

    rows = [
        {"panel": _panel_title(each), "seed": str(each["seed"]), "step": step, "p": p}
        for each in results["trials"]
        for step, p in enumerate(each["p_chosen"])
    ]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=1.2, opacity=0.8, color="#0072b2")
        .encode(
            alt.X("step:Q", title="optimizer step"),
            alt.Y("p:Q", title="p(y+)", scale=alt.Scale(domain=[0, 1])),
            alt.Detail("seed:N"),
            alt.Facet("panel:N", columns=COLUMNS, title=None, sort=list(dict.fromkeys(row["panel"] for row in rows))),
        )
        .properties(width=210, height=140)
    )
    return draw_svg(chart)


def percentile_chart(results: Mapping[str, Any]) -> str:
    """Figure 2: change of ln p(y+) against the percentile of each measure; mean, least and most over the seeds."""
    import altair as alt

    rows = [
        {"measure": MEASURE_TITLES[measured["measure"]], "percentile": 100 * subset["quantile"], **subset}
        for measured in results["measured"]
        for subset in measured["subsets"]
    ]
    x = alt.X(
        "percentile:Q", title="percentile of the measure", axis=alt.Axis(values=sorted({r["percentile"] for r in rows}))
    )
    y = alt.Y("mean:Q", title="change of mean ln p(y+), nats")
    line = alt.Chart().mark_line(point=True, color="#0072b2").encode(x, y)
    spread = alt.Chart().mark_area(opacity=0.25, color="#0072b2").encode(x, alt.Y("low:Q"), alt.Y2("high:Q"))
    zero = alt.Chart().mark_rule(strokeDash=[4, 3], color="#57606a").encode(alt.Y(datum=0))
    chart = (
        alt.layer(spread, line, zero, data=alt.Data(values=rows))
        .properties(width=210, height=150)
        .facet(
            alt.Facet("measure:N", title=None, sort=list(dict.fromkeys(row["measure"] for row in rows))),
            columns=COLUMNS,
        )
    )
    return draw_svg(chart)


def _panel_title(trial: Mapping[str, Any]) -> str:
    chosen, rejected = (
        safe_line(trial[name], 20) for name in ("chosen", "rejected")
    )  # a control character ends vl-convert
    return f"{trial['objective'].upper()}: {chosen} over {rejected}"


def draw_svg(chart: Any) -> str:
    import vl_convert

    svg: str = vl_convert.vegalite_to_svg(
        chart.configure_view(stroke=None).configure(font="system-ui, sans-serif", background="white").to_json()
    )
    return svg
