"""Charts of the report: Altair specifications drawn to SVG, so that no script draws them in the reader's browser.

Each is drawn twice, for a wide window and for a phone; the style sheet shows one of them, and recolours the colours
named here where the window is dark (`[fill="#0072b2"]`), so charts use no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from string import ascii_uppercase
from typing import Any

import altair as alt
from markupsafe import Markup

from harness.support.run_results import RunResults, SeedEstimate
from reports.drawing import BLUE, GREEN, INK, ORANGE, SOFT, draw_svg
from reports.figures import Figures
from reports.words import DECISIONS, METRICS, measured, token_labels

DECISION_COLOURS = {"Pass": GREEN, "Fail": ORANGE, "Cannot tell": SOFT}
WIDE, NARROW = 1000, 330
_LETTER = 6.6
"""Pixels of a letter in a name, at most, on average."""
_ROW = 33
"""Pixels of an arm's row on the first screen, for a name of two lines."""
LOSSES = {
    "refusal_rate": "Refusals lost",
    "harmful_completion_rate": "Harmful answers gained",
    "benign_compliance_rate": "Benign answers lost",
}

_BROKEN = "split(datum.label, ', ')"
"""An arm's name broken after its commas."""
_ARM_HEADER = alt.Header(title=None, labelExpr=_BROKEN, labelLineHeight=14)

Chart = Callable[[int], alt.TopLevelMixin]
"""A chart for a page of a given width in pixels."""


KEYS: Mapping[str, Sequence[tuple[str, str]]] = {
    "decisions": [("green", "Pass"), ("orange", "Fail"), ("soft", "Cannot tell")],
    "sides": [("blue", "ln p(y+), preferred"), ("orange", "ln p(y\N{MINUS SIGN}), rejected")],
    "answers": [("blue", "Preferred answers"), ("orange", "Rejected answers")],
    "tokens": [("orange", "gains"), ("blue", "loses")],
}
"""What the colours of a chart say. The page sets them as text: what draws the SVG does not know the reader's font."""


def drawn(chart: Chart, about: str, keys: str | None = None) -> Markup:
    """A chart in both widths below its keys, with the sentence that stands for it where it cannot be seen."""
    figure = Markup('<div class="{}" role="img" aria-label="{}"><div aria-hidden="true">{}</div></div>')
    both = [
        figure.format(name, about, Markup(draw_svg(chart(width))))  # noqa: S704 - our own SVG
        for name, width in (("wide", WIDE), ("narrow", NARROW))
    ]
    return _drawn_keys(KEYS[keys] if keys else ()) + Markup('<div class="chart">{}</div>').format(Markup("").join(both))


def _drawn_keys(keys: Sequence[tuple[str, str]]) -> Markup:
    """The keys of a chart's colours as a line of text."""
    each = Markup('<span><i class="key {}"></i>{}</span>')
    line = Markup('<p class="keys">{}</p>')
    return line.format(Markup(" ").join(each.format(*key) for key in keys)) if keys else Markup("")


def _chart_data(rows: Sequence[Mapping[str, Any]]) -> alt.Data:
    return alt.Data(values=[dict(row) for row in rows])


def _arm_axis(order: Sequence[str], *, named: bool = True) -> alt.Y:
    """One row an arm, its name broken after commas.

    There is room for the names in a wider font than the one that the SVG is measured in.
    """
    longest = max((len(line) for name in order for line in name.split(", ")), default=0)
    room = _LETTER * longest if named else 0.0
    axis = alt.Axis(labelExpr=_BROKEN, labelLineHeight=13, labelLimit=300, labels=named, minExtent=room)
    return alt.Y("arm:N", sort=[*order], title=None, axis=axis, scale=alt.Scale(domain=[*order]))


# First screen


def verdict(results: RunResults, gate: Figures, labels: Mapping[str, str]) -> Chart:
    """Each arm's rate with its interval and seeds; beside it the loss at the gate, its margin and decision."""
    metric = measured(results.recipe.judge)
    rows = [{"arm": labels[name], **arm.metrics[metric].train.to_json()} for name, arm in results.arms.items()]
    losses = [
        _loss_in_points(check) | {"arm": labels[name], "decision": DECISIONS[check["decision"]]}
        for name, decided in gate.items()
        if (check := decided["checks"].get(metric, {}).get("overall")) and check["loss"] is not None
    ]
    order = [labels[name] for name in results.arms]

    def chart_at(width: int) -> alt.TopLevelMixin:
        wide = width == WIDE
        title = f"{METRICS[metric]}, training prompts"
        left = _rate_chart(
            [row for row in rows if row["value"] is not None],
            order,
            title if wide else title.split(", "),
            440 if wide else 180,
            _ROW,
        )
        if not losses:
            return left
        title = f"{LOSSES[metric]} at the gate, points"
        right = _forest_plot(losses, _arm_axis(order, named=not wide), title, 320 if wide else 180, _ROW, said=True)
        both: alt.TopLevelMixin = alt.hconcat(left, right, spacing=40) if wide else alt.vconcat(left, right)
        return both

    return chart_at


def _rate_chart(
    rows: Sequence[Mapping[str, Any]], order: Sequence[str], title: str | list[str], width: int, step: int
) -> alt.LayerChart:
    dots = [{"arm": row["arm"], "rate": rate} for row in rows for rate in row["per_seed"] if rate is not None]
    x = alt.X("value:Q", scale=alt.Scale(domain=[0, 1]), title=title, axis=alt.Axis(format=".0%", tickCount=5))
    y, base = _arm_axis(order), alt.Chart(_chart_data(rows))
    interval = base.mark_rule(strokeWidth=8, opacity=0.3, color=BLUE).encode(alt.X("low:Q"), alt.X2("high:Q"), y)
    mean = base.mark_tick(thickness=3, height=18, color=BLUE).encode(x, y)
    seeds = alt.Chart(_chart_data(dots)).mark_circle(size=28, opacity=1, color=BLUE).encode(alt.X("rate:Q"), y)
    layered: alt.LayerChart = (interval + mean + seeds).properties(width=width, height=alt.Step(step))
    return layered


def _loss_in_points(check: Mapping[str, Any]) -> dict[str, float]:
    """A gate's check in points."""
    return {key: 100 * check[key] for key in ("loss", "low", "high", "margin")}


# The preference pairs


def scores(bins: Sequence[Mapping[str, float]], cuts: Mapping[str, float]) -> Chart:
    """Length-normalised CHES of the pairs, with the line that each filter drew, lettered in their order."""

    def chart_at(width: int) -> alt.TopLevelMixin:
        top = max(row["pairs"] for row in bins)
        y = alt.Y("pairs:Q", title="Pairs", scale=alt.Scale(domain=[0, top * 1.3]), axis=alt.Axis(tickCount=4))
        bars = _histogram_chart(bins, "pairs", "Length-normalised CHES", "Pairs").encode(y)
        # One higher than the other by turns, so that letters of lines side by side stay apart
        lines = [
            {"cut": cut, "letter": letter, "foot": 0.0, "place": top * (1.24 if place % 2 else 1.12)}
            for place, (letter, cut) in enumerate(zip(ascii_uppercase, cuts.values(), strict=False))
        ]
        base = alt.Chart(_chart_data(lines)).encode(alt.X("cut:Q"))
        line = base.mark_rule(strokeDash=[4, 3], strokeWidth=1.5, color=ORANGE).encode(
            alt.Y("foot:Q"), alt.Y2("place:Q")
        )
        text = base.mark_text(dy=-7, fontWeight="bold", color=ORANGE).encode(alt.Y("place:Q"), alt.Text("letter:N"))
        return (bars + line + text).properties(width=width - 70, height=220)

    return chart_at


def lengths(bins: Sequence[Mapping[str, float]]) -> Chart:
    """Tokens of the chosen and of the rejected answers, above one another on one scale."""

    def chart_at(width: int) -> alt.TopLevelMixin:
        rows = [
            _histogram_chart(bins, side, "Tokens of the answer" if last else None, "Pairs", colour).properties(
                width=width - 70, height=80
            )
            for side, colour, last in (("chosen", BLUE, False), ("rejected", ORANGE, True))
        ]
        return alt.vconcat(*rows, spacing=8).resolve_scale(x="shared", y="shared")

    return chart_at


def _histogram_chart(
    bins: Sequence[Mapping[str, float]], field: str, x_title: str | None, y_title: str, colour: str = BLUE
) -> alt.Chart:
    return (
        alt.Chart(_chart_data(bins))
        .mark_bar(color=colour, opacity=0.75)
        .encode(
            alt.X(
                "low:Q",
                bin="binned",
                title=x_title,
                axis=alt.Axis(grid=False, tickCount=8, tickMinStep=1),
                scale=alt.Scale(nice=False),
            ),
            alt.X2("high:Q"),
            alt.Y(f"{field}:Q", title=y_title, axis=alt.Axis(tickCount=4)),
        )
    )


# The forecast


def letter(place: int) -> str:
    """What stands for an arm in a chart whose points are close; the table beside it has its name."""
    return ascii_uppercase[place % len(ascii_uppercase)]


def forecast(results: RunResults, foretold: Mapping[str, Mapping[str, float]]) -> Chart:
    """Change of refusals of training prompts over what was foretold of each arm, with intervals and letters."""
    rows = []
    for place, (name, influence) in enumerate(foretold.items()):
        changes = results.arms[name].change_from_baseline
        if changes is not None and (change := changes.refusal_rate.train.known):
            across = {"x": influence["value"], "x_low": influence["low"], "x_high": influence["high"]}
            up = dict(zip(("y", "y_low", "y_high"), (100 * each for each in change), strict=True))
            rows.append({"letter": letter(place), **across, **up})

    def chart_at(width: int) -> alt.TopLevelMixin:
        x = alt.X("x:Q", title="Mean influence of the arm's pairs, times steps", axis=alt.Axis(tickCount=5))
        y = alt.Y("y:Q", title="Refusals, change in points", axis=alt.Axis(tickCount=5))
        base = alt.Chart(_chart_data(rows))
        bar = base.mark_rule(strokeWidth=6, opacity=0.3, color=BLUE)
        across = bar.encode(alt.X("x_low:Q"), alt.X2("x_high:Q"), y)
        up = bar.encode(x, alt.Y("y_low:Q"), alt.Y2("y_high:Q"))
        dots = base.mark_circle(size=50, opacity=1, color=BLUE).encode(x, y)
        text = base.mark_text(dx=9, dy=-9, fontWeight="bold", color=INK).encode(x, y, alt.Text("letter:N"))
        zero = alt.Chart(_chart_data([{"zero": 0}]))
        lines = [zero.mark_rule(color=SOFT).encode(each) for each in (alt.X("zero:Q"), alt.Y("zero:Q"))]
        return alt.layer(*lines, across, up, dots, text).properties(width=min(width - 70, 560), height=240)

    return chart_at


# Training


def likelihood_curves(training: Mapping[str, Any], labels: Mapping[str, str]) -> Chart:
    """Change of ln p(y+) and ln p(y-) by step, a panel each arm: seeds thin, their mean thick, the end as a diamond."""
    sides = {"chosen": "ln p(y+), preferred", "rejected": "ln p(y\N{MINUS SIGN}), rejected"}
    lines = [row for arm in training for row in _log_rows(training, labels, arm, sides)]
    ends = [
        {
            "arm": labels[arm],
            "side": sides[side],
            "step": content["steps"] + 1,
            "change": content["after"][side]["value"],
        }
        for arm, content in training.items()
        if content["after"]
        for side in sides
    ]
    return _step_chart(
        lines,
        ends,
        [labels[arm] for arm in training],
        [*sides.values()],
        [BLUE, ORANGE],
        "Change, nats",
    )


def loss_curves(training: Mapping[str, Any], labels: Mapping[str, str]) -> Chart:
    """The loss by step, a panel each arm."""
    lines = [row for arm in training for row in _log_rows(training, labels, arm, {"loss": "loss"})]
    return _step_chart(lines, [], [labels[arm] for arm in training], ["loss"], [SOFT], "Loss")


def _log_rows(
    training: Mapping[str, Any], labels: Mapping[str, str], arm: str, sides: Mapping[str, str]
) -> list[dict[str, Any]]:
    logs = {**training[arm]["log"], "mean": training[arm]["mean"]}
    return [
        {"arm": labels[arm], "seed": seed, "side": title, "step": entry["step"], "change": entry[side]}
        for seed, log in logs.items()
        for entry in log
        for side, title in sides.items()
    ]


def _step_chart(
    lines: Sequence[Mapping[str, Any]],
    ends: Sequence[Mapping[str, Any]],
    arms: Sequence[str],
    series: Sequence[str],
    colours: Sequence[str],
    title: str,
) -> Chart:
    def chart_at(width: int) -> alt.TopLevelMixin:
        columns = min(len(arms), 3 if width == WIDE else 1)
        x = alt.X("step:Q", title="Step", axis=alt.Axis(grid=False, tickMinStep=1, tickCount=5))
        y = alt.Y("change:Q", title=title, axis=alt.Axis(tickCount=5), scale=alt.Scale(zero=False))
        colour = alt.Color("side:N", legend=None, scale=alt.Scale(domain=[*series], range=[*colours]))
        base = alt.Chart().encode(x, y, colour)
        seeds = base.mark_line(strokeWidth=1, opacity=0.45, point={"size": 12}).encode(alt.Detail("seed:N"))
        mean = base.mark_line(strokeWidth=3).transform_filter("datum.seed == 'mean'")
        end = base.mark_point(shape="diamond", size=70, filled=True).transform_filter("datum.seed == 'end'")
        panel = (seeds.transform_filter("datum.seed != 'mean' && datum.seed != 'end'") + mean + end).properties(
            width=(width - 70) // columns - 24, height=150
        )
        rows = [*lines, *({**row, "seed": "end"} for row in ends)]
        faceted: alt.FacetChart = panel.facet(
            alt.Facet("arm:N", sort=[*arms], header=_ARM_HEADER), columns=columns, data=_chart_data(rows)
        ).resolve_axis(x="independent")
        return faceted

    return chart_at


# What changed


def categories(checks: Mapping[str, Any]) -> Chart:
    """The loss of each guarded metric in each category with its paired interval, and the margin."""
    metrics = [metric for metric in LOSSES if checks.get(metric, {}).get("categories")]
    rows = {
        metric: [
            _loss_in_points(check) | {"arm": name, "decision": DECISIONS[check["decision"]]}
            for name, check in checks[metric]["categories"].items()
            if check["loss"] is not None
        ]
        for metric in metrics
    }
    order = sorted({str(row["arm"]) for found in rows.values() for row in found})

    def chart_at(width: int) -> alt.TopLevelMixin:
        wide = width == WIDE
        panels = [
            _forest_plot(
                rows[metric],
                _arm_axis(order, named=place == 0 or not wide),
                f"{LOSSES[metric]}, points",
                255 if wide else 180,
                22,
            )
            for place, metric in enumerate(metrics)
            if rows[metric]
        ]
        if not panels:
            return alt.Chart(_chart_data([])).mark_point()
        both: alt.TopLevelMixin = (alt.hconcat if wide else alt.vconcat)(*panels)
        return both

    return chart_at


def _forest_plot(
    rows: Sequence[Mapping[str, Any]], y: alt.Y, title: str, width: int, step: int, *, said: bool = False
) -> alt.LayerChart:
    """Losses with their intervals and the gate's margin as a dashed line; `said` writes each decision beside it."""
    ends = [0.0, rows[0]["margin"], *(row[end] for row in rows for end in ("low", "high"))]
    low, high = min(ends), max(ends)
    room = (high - low) * (0.5 if said else 0.0)
    x = alt.X(
        "loss:Q",
        title=title,
        axis=alt.Axis(tickCount=4, labelSeparation=14),
        scale=alt.Scale(domain=[low, high + room]),
    )
    decisions = alt.Scale(domain=[*DECISION_COLOURS], range=[*DECISION_COLOURS.values()])
    colour = alt.Color("decision:N", legend=None, scale=decisions)
    lines = alt.Chart(_chart_data([{"zero": 0, "margin": rows[0]["margin"]}]))
    zero = lines.mark_rule(color=SOFT).encode(alt.X("zero:Q"))
    margin = lines.mark_rule(strokeDash=[4, 3], strokeWidth=1.5, color=INK).encode(alt.X("margin:Q"))
    base = alt.Chart(_chart_data([{**row, "beside": max(row["high"], row["margin"])} for row in rows])).encode(
        y, colour
    )
    interval = base.mark_rule(strokeWidth=step / 4, opacity=0.35).encode(alt.X("low:Q"), alt.X2("high:Q"))
    mean = base.mark_tick(thickness=3, height=step / 2).encode(x)
    text = base.mark_text(align="left", dx=8, fontWeight="bold").encode(alt.X("beside:Q"), alt.Text("decision:N"))
    layers = [zero, margin, interval, mean, *([text] if said else [])]
    return alt.layer(*layers).properties(width=width, height=alt.Step(step))


# Where the mass went


def tokens(gaining: Sequence[Mapping[str, Any]], losing: Sequence[Mapping[str, Any]]) -> Chart:
    """Probability of the tokens that changed most, before as a ring and after as a dot."""
    found = [("gains", row) for row in gaining] + [("loses", row) for row in losing]
    rows = [
        {"token": label, "kind": kind, "before": row["before"], "after": row["after"]}
        for (kind, row), label in zip(found, token_labels([row for _, row in found]), strict=True)
    ]

    def chart_at(width: int) -> alt.TopLevelMixin:
        y = alt.Y("token:N", sort=[row["token"] for row in rows], title=None, axis=alt.Axis(labelLimit=150))
        title = ["Mean probability", "at the start of an answer"]
        x = alt.X(
            "after:Q",
            title=" ".join(title) if width == WIDE else title,
            axis=alt.Axis(format=".1~%", tickCount=5 if width == WIDE else 3),
        )
        colour = alt.Color("kind:N", scale=alt.Scale(domain=["gains", "loses"], range=[ORANGE, BLUE]), legend=None)
        base = alt.Chart(_chart_data(rows)).encode(y, colour)
        line = base.mark_rule(strokeWidth=2, opacity=0.5).encode(alt.X("before:Q"), alt.X2("after:Q"))
        before = base.mark_point(size=45, filled=False).encode(alt.X("before:Q"))
        after = base.mark_circle(size=60, opacity=1).encode(x)
        return (line + before + after).properties(width=width - 150, height=alt.Step(20))

    return chart_at


# Several runs


def trend(runs: Sequence[tuple[str, str, Mapping[str, SeedEstimate]]], arms: Sequence[str]) -> Chart:
    """A rate by run in the order of their dates, a panel each arm, with intervals and seeds.

    Args:
        runs: each run's name, what it must share with the one before it to be joined to it by a line, and its arms'
            rates by what the page calls the arm.
        arms: what the page calls them, in their order.
    """
    names = [name for name, _, _ in runs]
    stretches = [*accumulate((line != before for (_, before, _), (_, line, _) in pairwise(runs)), initial=0)]
    rows = [
        {"run": name, "line": stretch, "arm": arm, **rate.to_json()}
        for (name, _, rates), stretch in zip(runs, stretches, strict=True)
        for arm, rate in rates.items()
        if rate.value is not None
    ]
    dots = [
        {"run": row["run"], "arm": row["arm"], "rate": rate}
        for row in rows
        for rate in row["per_seed"]
        if rate is not None
    ]

    def chart_at(width: int) -> alt.TopLevelMixin:
        columns = min(len(arms), 3 if width == WIDE else 1)
        x = alt.X("run:N", sort=names, title=None, axis=alt.Axis(labelAngle=-30, labelLimit=140))
        y = alt.Y("value:Q", title="Rate", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%", tickCount=5))
        base = alt.Chart().transform_filter("isValid(datum.value)")
        interval = base.mark_rule(strokeWidth=8, opacity=0.3, color=BLUE).encode(x, alt.Y("low:Q"), alt.Y2("high:Q"))
        line = base.mark_line(color=BLUE, strokeWidth=2, point={"size": 45, "color": BLUE}).encode(
            x, y, alt.Detail("line:N")
        )
        seeds = alt.Chart().mark_circle(size=18, color=SOFT, opacity=1).encode(x, alt.Y("rate:Q"))
        panel = (interval + line + seeds).properties(width=(width - 70) // columns - 30, height=170)
        faceted: alt.FacetChart = panel.facet(
            alt.Facet("arm:N", sort=[*arms], header=_ARM_HEADER), columns=columns, data=_chart_data([*rows, *dots])
        )
        return faceted

    return chart_at
