"""A look at a table of scores: quantiles, the outermost pairs, and a page with charts that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds
from markupsafe import Markup
from numpy.typing import NDArray

from harness.support.console import safe_line
from reports.drawing import BLUE, WHITE_STYLE, draw_svg
from reports.templating import page_environment
from reports.words import QUANTILES

_SHOWN_MEASURES = ("ches", "ln_ches", "last_hidden_inner_product", "neg_edit_distance")
_ENDS = 10
_DOTS = 2000


@dataclass(frozen=True, slots=True)
class ShownPair:
    """One pair as it is shown: its id, score, numbers of tokens and the beginnings of its texts."""

    pair_id: str
    ln_ches: float
    chosen_tokens: int
    rejected_tokens: int
    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class ScoreOverview:
    """What there is to see in a table of scores; `figures` has a row a scored pair, without texts."""

    rows: int
    reasons: dict[str, int]
    quantiles: dict[str, list[float]]
    highest: list[ShownPair]
    lowest: list[ShownPair]
    figures: dict[str, NDArray[np.float64]]

    @property
    def levels(self) -> list[str]:
        """Names of the quantiles, in their order."""
        return list(QUANTILES)


def read_score_overview(scores: str | Path) -> ScoreOverview:
    """Reads what `harness score` wrote, a file or a directory; of the texts only those of the outermost pairs.

    Raises HarnessError where it cannot be read.
    """
    columns = [*_SHOWN_MEASURES, "chosen_tokens", "rejected_tokens", "reason", "pair_id"]
    data = ds.dataset(str(scores))
    table = data.to_table(columns)
    places = np.flatnonzero(table["ln_ches"].is_valid().to_numpy())
    scored = table.take(places)
    figures = {name: scored[name].to_numpy().astype(np.float64) for name in columns[:-2]}
    order = np.lexsort((np.array(scored["pair_id"].to_pylist(), dtype=object), figures["ln_ches"]))
    ends = _read_shown_pairs(data, [int(place) for place in (*places[order[:_ENDS]], *places[order[-_ENDS:]])])
    reasons = {
        safe_line(row["values"]): row["counts"] for row in pc.value_counts(table["reason"].drop_null()).to_pylist()
    }
    return ScoreOverview(
        rows=table.num_rows,
        reasons=dict(sorted(reasons.items(), key=lambda item: -item[1])),
        quantiles={name: np.quantile(figures[name], [*QUANTILES.values()]).tolist() for name in _SHOWN_MEASURES},
        highest=[ends[place] for place in places[order[-_ENDS:]][::-1]],
        lowest=[ends[place] for place in places[order[:_ENDS]]],
        figures=figures,
    )


def _read_shown_pairs(scores: ds.Dataset, places: Sequence[int]) -> dict[int, ShownPair]:
    """The rows at `places`, read group by group so that memory does not grow with the table."""
    names = ["pair_id", "ln_ches", "chosen_tokens", "rejected_tokens", "prompt", "chosen", "rejected"]
    shown: dict[int, ShownPair] = {}
    start = 0
    for group in (group for file in scores.get_fragments() for group in file.split_by_row_group()):
        rows = sum(part.num_rows for part in group.row_groups)
        here = sorted({place for place in places if start <= place < start + rows})
        if here:
            picked = group.to_table(schema=scores.schema, columns=names).take([place - start for place in here])
            shown.update(zip(here, map(_shown_pair, picked.to_pylist()), strict=True))
        start += rows
    return shown


def _shown_pair(row: dict[str, Any]) -> ShownPair:
    texts = {name: _shown_text(row[name]) for name in ("prompt", "chosen", "rejected")}
    return ShownPair(**{**row, **texts, "pair_id": safe_line(row["pair_id"], 80)})


def _shown_text(value: str | Iterable[dict[str, Any]]) -> str:
    """A text or a conversation as one printable line, shortened."""
    if isinstance(value, str):
        return safe_line(value, 600)
    return safe_line("  ".join(f"{message['role']}: {message.get('content')}" for message in value), 600)


def render_scores(seen: ScoreOverview, title: str, model: str) -> str:
    """The page as HTML: no script runs and nothing is fetched; a pure function of what was seen."""
    return page_environment().get_template("scores.html.j2").render(
        title=safe_line(title), model=safe_line(model), seen=seen, scored=len(seen.figures["ln_ches"]),
        distribution=Markup(_distribution_svg(seen.figures)),  # noqa: S704 - our own SVG
        lengths=Markup(_length_svg(seen.figures)),  # noqa: S704 - our own SVG
    )  # fmt: skip


def _distribution_svg(figures: dict[str, NDArray[np.float64]]) -> str:
    counts, edges = np.histogram(figures["ln_ches"], bins=min(50, max(5, len(figures["ln_ches"]) // 10)))
    bars = [{"low": low, "high": high, "pairs": int(n)} for low, high, n in zip(edges, edges[1:], counts, strict=False)]
    chart = (
        alt.Chart(alt.Data(values=bars))
        .mark_bar(color=BLUE)
        .encode(
            alt.X("low:Q", bin="binned", title="length-normalised CHES"),
            alt.X2("high:Q"),
            alt.Y("pairs:Q", title="pairs"),
        )
    )
    return draw_svg(chart.properties(width=620, height=180), WHITE_STYLE)


def _length_svg(figures: dict[str, NDArray[np.float64]]) -> str:
    """CHES and its length-normalised form against the answers' tokens, for at most `_DOTS` pairs evenly drawn."""
    step = -(-len(figures["ches"]) // _DOTS)
    tokens = figures["chosen_tokens"] + figures["rejected_tokens"]
    charts = []
    for name, title in (("ches", "CHES"), ("ln_ches", "length-normalised CHES")):
        dots = [{"tokens": x, "score": y} for x, y in zip(tokens[::step], figures[name][::step], strict=True)]
        charts.append(alt.Chart(alt.Data(values=dots)).mark_circle(size=14, opacity=0.5, color=BLUE).encode(
            alt.X("tokens:Q", title="tokens in both answers"), alt.Y("score:Q", title=title)
        ).properties(width=270, height=200))  # fmt: skip
    return draw_svg(alt.hconcat(*charts), WHITE_STYLE)
