"""A look at a table of scores: quantiles, the outermost pairs, and a page with charts that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from markupsafe import Markup
from numpy.typing import NDArray

from harness.preferences.pairs import pair_type
from harness.scoring.targets import (
    TARGET_NAMES,
    TARGETS,
    Target,
    error_column,
    influence_column,
    is_better_higher,
)
from harness.support.console import safe_line
from reports.drawing import BLUE, WHITE_STYLE, draw_svg
from reports.templating import page_environment
from reports.words import PAIR_TYPES, QUANTILES

_SHOWN_MEASURES = ("ches", "ln_ches", "last_hidden_inner_product", "neg_edit_distance")
_POSITIVE_WEIGHTS = ("alpha_plus_positive", "alpha_minus_positive")
_ENDS = 10
_DOTS = 2000


@dataclass(frozen=True, slots=True)
class ShownPair:
    """One pair as it is shown: its id, scores, numbers of tokens and the beginnings of its texts.

    `influences`: on each target, with its standard error.
    """

    pair_id: str
    ln_ches: float
    influences: dict[Target, tuple[float, float]]
    chosen_tokens: int
    rejected_tokens: int
    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class TypeInfluence:
    """Pairs of one type by their verdicts: how many, and their mean influence."""

    name: str
    pairs: int
    mean: float


@dataclass(frozen=True, slots=True)
class InfluenceOverview:
    """What there is to see in the influence of the pairs on one target.

    Attributes:
        target: which.
        mean: of all scored pairs: the forecast's direction.
        error_at_most: the mean of the pairs' standard errors, which bounds the mean's, however far they err together.
        negative: share of pairs below zero.
        reliability: how far two draws of the probes would order the pairs alike: the correlation to be expected, which
            is the share of the pairs' variance that is not their standard errors'. None where they do not vary.
        quantiles: in the order of `ScoreOverview.levels`.
        types: where the pairs have verdicts.
        lowest, highest: the outermost pairs, those that push hardest first.
        figures: a row a scored pair: influence, and ln-CHES.
    """

    target: Target
    mean: float
    error_at_most: float
    negative: float
    reliability: float | None
    quantiles: list[float]
    types: list[TypeInfluence]
    lowest: list[ShownPair]
    highest: list[ShownPair]
    figures: dict[str, NDArray[np.float64]]

    @property
    def name(self) -> str:
        """What the target is called in a sentence."""
        return TARGET_NAMES[self.target]

    @property
    def meaning(self) -> str:
        """What the sign says."""
        good = "good" if is_better_higher(influence_column(self.target)) else "bad"
        return f"Above 0, training on the pair raises the {self.name}, which is {good}; below 0 it lowers it."


@dataclass(frozen=True, slots=True)
class ScoreOverview:
    """What there is to see in a table of scores; `figures` has a row a scored pair, without texts.

    `positive_weights`: the shares above zero of Theorem 3's alpha+ and alpha-, as means over the pairs, where the table
    has them.
    """

    rows: int
    reasons: dict[str, int]
    quantiles: dict[str, list[float]]
    highest: list[ShownPair]
    lowest: list[ShownPair]
    figures: dict[str, NDArray[np.float64]]
    influences: list[InfluenceOverview]
    positive_weights: tuple[float, float] | None

    @property
    def levels(self) -> list[str]:
        """Names of the quantiles, in their order."""
        return list(QUANTILES)


def read_score_overview(scores: str | Path) -> ScoreOverview:
    """Reads what `harness score` wrote, a file or a directory; of the texts only those of the outermost pairs.

    Raises HarnessError where it cannot be read.
    """
    data = ds.dataset(str(scores))
    targets = [target for target in TARGETS if influence_column(target) in data.schema.names]
    columns = [*_SHOWN_MEASURES, "chosen_tokens", "rejected_tokens"]
    columns += [name for target in targets for name in (influence_column(target), error_column(target))]
    columns += [name for name in _POSITIVE_WEIGHTS if name in data.schema.names]
    verdicts = [name for name in ("chosen_verdict", "rejected_verdict") if targets and name in data.schema.names]
    table = data.to_table([*columns, *verdicts, "reason", "pair_id"])
    places = np.flatnonzero(table["ln_ches"].is_valid().to_numpy())
    scored = table.take(places)
    figures = {name: scored[name].to_numpy().astype(np.float64) for name in columns}
    ids = np.array(scored["pair_id"].to_pylist(), dtype=object)
    orders = {name: np.lexsort((ids, figures[name])) for name in ("ln_ches", *map(influence_column, targets))}
    ends = {name: (order[:_ENDS], order[-_ENDS:][::-1]) for name, order in orders.items()}
    shown = _read_shown_pairs(data, [int(places[i]) for pair in ends.values() for side in pair for i in side], targets)
    lowest, highest = (
        {name: [shown[int(places[i])] for i in pair[side]] for name, pair in ends.items()} for side in (0, 1)
    )
    types = _pair_types(scored) if len(verdicts) == 2 else []
    reasons = {
        safe_line(row["values"]): row["counts"] for row in pc.value_counts(table["reason"].drop_null()).to_pylist()
    }
    return ScoreOverview(
        rows=table.num_rows,
        reasons=dict(sorted(reasons.items(), key=lambda item: -item[1])),
        quantiles={name: _quantiles(figures[name]) for name in _SHOWN_MEASURES},
        highest=highest["ln_ches"],
        lowest=lowest["ln_ches"],
        figures=figures,
        influences=[
            _read_influence(target, figures, types, lowest[influence_column(target)], highest[influence_column(target)])
            for target in targets
        ],
        positive_weights=_mean_positive_weights(figures),
    )


def _mean_positive_weights(figures: Mapping[str, NDArray[np.float64]]) -> tuple[float, float] | None:
    """Theirs where the table has them and a pair was scored."""
    plus, minus = (figures.get(name, np.empty(0)) for name in _POSITIVE_WEIGHTS)
    return (float(plus.mean()), float(minus.mean())) if len(plus) else None


def influence_reliability(values: NDArray[np.float64], errors: NDArray[np.float64]) -> float | None:
    """How two draws of the probes would correlate: the share of the pairs' variance that is not their errors'."""
    variance = float(values.var())
    return max(0.0, 1 - float((errors**2).mean()) / variance) if variance else None


def _read_influence(
    target: Target,
    figures: Mapping[str, NDArray[np.float64]],
    types: Sequence[str | None],
    lowest: list[ShownPair],
    highest: list[ShownPair],
) -> InfluenceOverview:
    values, errors = figures[influence_column(target)], figures[error_column(target)]
    by_type = [(kind, values[[found == kind for found in types]]) for kind in PAIR_TYPES] if types else []
    return InfluenceOverview(
        target=target,
        mean=float(values.mean()),
        error_at_most=float(errors.mean()),
        negative=float((values < 0).mean()),
        reliability=influence_reliability(values, errors),
        quantiles=_quantiles(values),
        types=[TypeInfluence(PAIR_TYPES[kind], len(own), float(own.mean())) for kind, own in by_type if len(own)],
        lowest=lowest,
        highest=highest,
        figures={"influence": values, "ln_ches": figures["ln_ches"]},
    )


def _pair_types(scored: pa.Table) -> list[str | None]:
    """By its verdicts, which type each pair is of; None where one is missing."""
    verdicts = zip(scored["chosen_verdict"].to_pylist(), scored["rejected_verdict"].to_pylist(), strict=True)
    return [pair_type(*pair) for pair in verdicts]


def _quantiles(values: NDArray[np.float64]) -> list[float]:
    found: list[float] = np.quantile(values, [*QUANTILES.values()]).tolist()
    return found


def _read_shown_pairs(scores: ds.Dataset, places: Sequence[int], targets: Sequence[Target]) -> dict[int, ShownPair]:
    """The rows at `places`, read group by group so that memory does not grow with the table."""
    names = ["pair_id", "ln_ches", "chosen_tokens", "rejected_tokens", "prompt", "chosen", "rejected"]
    names += [name for target in targets for name in (influence_column(target), error_column(target))]
    shown: dict[int, ShownPair] = {}
    start = 0
    for group in (group for file in scores.get_fragments() for group in file.split_by_row_group()):
        rows = sum(part.num_rows for part in group.row_groups)
        here = sorted({place for place in places if start <= place < start + rows})
        if here:
            picked = group.to_table(schema=scores.schema, columns=names).take([place - start for place in here])
            found = (_shown_pair(row, targets) for row in picked.to_pylist())
            shown.update(zip(here, found, strict=True))
        start += rows
    return shown


def _shown_pair(row: dict[str, Any], targets: Sequence[Target]) -> ShownPair:
    return ShownPair(
        pair_id=safe_line(row["pair_id"], 80),
        ln_ches=row["ln_ches"],
        influences={target: (row[influence_column(target)], row[error_column(target)]) for target in targets},
        chosen_tokens=row["chosen_tokens"],
        rejected_tokens=row["rejected_tokens"],
        prompt=_shown_text(row["prompt"]),
        chosen=_shown_text(row["chosen"]),
        rejected=_shown_text(row["rejected"]),
    )


def _shown_text(value: str | Iterable[dict[str, Any]]) -> str:
    """A text or a conversation as one printable line, shortened."""
    if isinstance(value, str):
        return safe_line(value, 600)
    return safe_line("  ".join(f"{message['role']}: {message.get('content')}" for message in value), 600)


def render_scores(seen: ScoreOverview, title: str, model: str) -> str:
    """The page as HTML: no script runs and nothing is fetched; a pure function of what was seen."""
    return page_environment().get_template("scores.html.j2").render(
        title=safe_line(title), model=safe_line(model), seen=seen, scored=len(seen.figures["ln_ches"]),
        distribution=Markup(_histogram_svg(seen.figures["ln_ches"], "length-normalised CHES")),  # noqa: S704 - our own
        lengths=Markup(_length_svg(seen.figures)),  # noqa: S704 - our own SVG
        influence_charts=[Markup(_influence_svg(each)) for each in seen.influences],  # noqa: S704 - our own SVG
    )  # fmt: skip


def _histogram_svg(values: NDArray[np.float64], title: str) -> str:
    return draw_svg(_histogram(values, title).properties(width=620, height=180), WHITE_STYLE)


def _histogram(values: NDArray[np.float64], title: str) -> alt.Chart:
    counts, edges = np.histogram(values, bins=min(50, max(5, len(values) // 10)))
    bars = [{"low": low, "high": high, "pairs": int(n)} for low, high, n in zip(edges, edges[1:], counts, strict=False)]
    return (
        alt.Chart(alt.Data(values=bars))
        .mark_bar(color=BLUE)
        .encode(
            alt.X("low:Q", bin="binned", title=title),
            alt.X2("high:Q"),
            alt.Y("pairs:Q", title="pairs"),
        )
    )


def _scatter(xs: NDArray[np.float64], ys: NDArray[np.float64], x_title: str, y_title: str) -> alt.Chart:
    """At most `_DOTS` pairs, evenly drawn."""
    step = -(-len(xs) // _DOTS)
    dots = [{"x": x, "y": y} for x, y in zip(xs[::step], ys[::step], strict=True)]
    marks = alt.Chart(alt.Data(values=dots)).mark_circle(size=14, opacity=0.5, color=BLUE)
    return marks.encode(alt.X("x:Q", title=x_title), alt.Y("y:Q", title=y_title))


def _influence_svg(seen: InfluenceOverview) -> str:
    """How the influences are distributed, and against length-normalised CHES."""
    title = "influence"
    values, ches = seen.figures["influence"], seen.figures["ln_ches"]
    charts = (_histogram(values, title), _scatter(ches, values, "length-normalised CHES", title))
    return draw_svg(alt.hconcat(*(chart.properties(width=270, height=200) for chart in charts)), WHITE_STYLE)


def _length_svg(figures: dict[str, NDArray[np.float64]]) -> str:
    """CHES and its length-normalised form against the answers' tokens."""
    tokens = figures["chosen_tokens"] + figures["rejected_tokens"]
    charts = [
        _scatter(tokens, figures[name], "tokens in both answers", title).properties(width=270, height=200)
        for name, title in (("ches", "CHES"), ("ln_ches", "length-normalised CHES"))
    ]
    return draw_svg(alt.hconcat(*charts), WHITE_STYLE)
