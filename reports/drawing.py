"""Charts as SVG: one drawer, one palette, one font."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import vl_convert

INK, SOFT, LINE = "#1b1f24", "#57606a", "#d8dee4"
BLUE, ORANGE, GREEN = "#0072b2", "#c44e00", "#007a5a"
"""Okabe and Ito's colours (jfly.uni-koeln.de/color), darkened where theirs are too light for lines on white."""
_FONT = "system-ui, sans-serif"
_AXIS = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "titleColor": SOFT}
REPORT_STYLE: Mapping[str, Any] = {
    "config": {
        "background": None,
        "aria": False,  # the page says what a chart shows: labels of its marks would be hidden, and a third of the page
        "font": _FONT,
        "view": {"stroke": None},
        "axis": {"domain": False, "ticks": False, "gridColor": LINE, "labelColor": SOFT, "labelPadding": 6, **_AXIS},
        "axisY": {"labelColor": INK},
        "axisBand": {"grid": False},
        "header": {"labelColor": INK, "labelFontSize": 12, "labelFontWeight": "bold", "title": None},
        "legend": {"labelColor": INK, "labelFontSize": 12, "title": None, "orient": "top", "symbolOpacity": 1},
        "text": {"color": INK, "fontSize": 12},
        "title": {"color": INK, "fontSize": 12, "fontWeight": "bold", "anchor": "start"},
    },
    # vl-convert measures text in its own font, which may be narrower than the reader's: hence the room at the left
    "padding": {"left": 16, "right": 10, "top": 5, "bottom": 5},
}
"""On the report's own ground, whose style sheet recolours the chart where the window is dark."""
WHITE_STYLE: Mapping[str, Any] = {"config": {"background": "white", "font": _FONT}}
"""On white, to stand on any page."""


def draw_svg(chart: alt.TopLevelMixin, style: Mapping[str, Any] = REPORT_STYLE) -> str:
    """A chart as the text of an SVG, so that no script has to draw it; `style` is laid over its specification."""
    svg: str = vl_convert.vegalite_to_svg({**chart.to_dict(validate=False), **style})
    return svg
