"""Charts as SVG, in one palette."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import altair as alt


INK, SOFT, LINE = "#1b1f24", "#57606a", "#d8dee4"
BLUE, ORANGE, GREEN = "#0072b2", "#c44e00", "#007a5a"
_FONT = "system-ui, sans-serif"


def draw_svg(chart: alt.TopLevelMixin) -> str:
    import vl_convert

    axis = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "titleColor": SOFT}
    config = {
        "background": None,
        "font": _FONT,
        "view": {"stroke": None},
        "axis": {"domain": False, "ticks": False, "gridColor": LINE, "labelColor": SOFT, "labelPadding": 6, **axis},
        "axisY": {"labelColor": INK},
        "axisBand": {"grid": False},
        "header": {"labelColor": INK, "labelFontSize": 12, "labelFontWeight": "bold", "title": None},
        "legend": {"labelColor": INK, "labelFontSize": 12, "title": None, "orient": "top", "symbolOpacity": 1},
        "text": {"color": INK, "fontSize": 12},
        "title": {"color": INK, "fontSize": 12, "fontWeight": "bold", "anchor": "start"},
    }
    # vl-convert measures text in its own font, which may be narrower than the reader's: hence the room at the left
    padding = {"left": 16, "right": 10, "top": 5, "bottom": 5}
    spec = {**chart.to_dict(validate=False), "config": config, "padding": padding}
    svg: str = vl_convert.vegalite_to_svg(spec)
    return svg
