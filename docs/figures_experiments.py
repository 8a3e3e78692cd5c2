"""Draws the experiments' figures (docs/*.svg) and fills the docs' tables, from docs/results/*.json.

    python docs/figures_experiments.py

The results are results.json of finished runs, as they were written; nothing here or in the pages is by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from pathlib import Path
from statistics import fmean, median
from typing import Any

from harness.experiments.falls import largest_fall, mean_largest_fall
from harness.support.console import show_token
from harness.support.run_results import CatastrophicResults, PercentilesResults, SelectionResults
from reports.experiments.charts import MEASURE_TITLES, fall_chart, percentile_chart, selection_chart

DOCS = Path(__file__).parent


def falls(results: Mapping[str, Any]) -> str:
    """The measured rows of a catastrophic run as a Markdown table."""
    headings = (
        "objective",
        "y+ over y-",
        "displaced",
        "still lower at the end",
        "largest fall of p(y+)",
        "mean fall",
        "as Table 1 is made",
        "gains there",
        "most gaining is catastrophic",
        "Theorem 2, 1 step",
        "5 steps",
    )
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for row in results["measured"]:
        worst = row["largest_fall"]
        gains = ", ".join(f"{token['token']} +{token['change']:.2f}" for token in worst["gaining"][:4])
        cells = (
            row["objective"],
            f"{row['chosen']} over {row['rejected']}",
            f"{row['displaced']} of {row['trials']}",
            f"{row['lower_at_the_end']}",
            f"{worst['before']:.2f} to {worst['after']:.2f}",
            f"{row['mean_before']:.2f} to {row['mean_lowest']:.2f}",
            _table_1(row, results),
            gains,
            f"{row['most_gaining']['catastrophic']} of {row['displaced']}",
            _spread(row["theorem_2"]["1"]),
            _spread(row["theorem_2"]["5"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def falls_beside_published(results: Mapping[str, Any]) -> str:
    """The measured rows of a catastrophic run beside the published falls of the same answers, as a Markdown table."""
    published = {(row["chosen"], row["rejected"]): row for row in results["published"]["falls"]}
    headings = (
        "objective",
        "y+ over y-",
        "published fall",
        "p(y+) at first",
        "at its lowest",
        "after the last step",
        "largest fall between two steps",
        "as Table 1 is made",
        "displaced",
        "p(y-)",
        "loss",
        "others that gained most by the end",
    )
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for row in results["measured"]:
        trials, cited = _trials_of(row, results), published.get((row["chosen"], row["rejected"]))
        cells = (
            row["objective"],
            f"{row['chosen']} over {row['rejected']}",
            f"{cited['before']:.2f} to {cited['after']:.2f}" if cited else "",
            *(
                _spread_of([figure(own["p_chosen"]) for own in trials])
                for figure in (itemgetter(0), min, itemgetter(-1), _fall_size)
            ),
            _table_1(row, results),
            f"{row['displaced']} of {row['trials']}",
            *(
                f"{median(own[name][0] for own in trials):{form}} to {median(own[name][-1] for own in trials):{form}}"
                for name, form in (("p_rejected", ".4f"), ("loss", ".4g"))
            ),
            _gaining_tokens(token for own in trials for token in own["gaining_at_the_end"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _fall_size(values: list[float]) -> float:
    fall = largest_fall(values)
    return fall.before - fall.after


def _table_1(row: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """The mean of each run's largest fall between two steps, of the runs whose loss never rose."""
    fall = mean_largest_fall(_trials_of(row, results))
    told = f"{fall['before']:.2f} to {fall['after']:.2f}" if fall["runs"] else "none"
    return f"{told} ({fall['runs']} of {row['trials']})"


def _trials_of(row: Mapping[str, Any], results: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = "objective", "chosen", "rejected"
    return [each for each in results["trials"] if all(each[name] == row[name] for name in names)]


def _spread_of(values: list[float]) -> str:
    """The median of a figure over the seeds, and the least and the most where there are several."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return _spread({"median": median(values), "low": min(values), "high": max(values)})


def theorem_2(results: Mapping[str, Any]) -> str:
    """Theorem 2's correlation by step, and the geometry of each pair, as a Markdown table."""
    steps = [*results["measured"][0]["theorem_2"]]
    names = " | ".join(
        "a plain gradient step" if step == "gradient" else f"{step} step{'s' * (step != '1')}" for step in steps
    )
    headings = "objective | y+ over y- | inner product | projection on W_y+ | orthogonal part"
    lines = [f"| {headings} | {names} |", "|---" * (5 + len(steps)) + "|"]
    for row in results["measured"]:
        own = row["geometry"]
        cells = (
            row["objective"],
            f"{row['chosen']} over {row['rejected']}",
            *(f"{own[name]:.2f}" for name in ("inner_product", "projection", "orthogonal")),
            *(_spread_of([own["theorem_2"][step] for own in _trials_of(row, results)]) for step in steps),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _gaining_tokens(gaining: Iterable[dict[str, Any]]) -> str:
    """The tokens that gain most over all trials, by .001 at least, with what it is for them to gain."""
    most: dict[str, dict[str, Any]] = {}
    for row in sorted(gaining, key=itemgetter("change"), reverse=True):
        if row["change"] >= 0.001:
            most.setdefault(row["token"], row)
    told = [f"`{show_token(row['token'])}` {row['change']:+.3f} ({row['gain']})" for row in most.values()]
    return ", ".join(told[:3]).replace("|", "\\|") or "none"


def geometry(results: Mapping[str, Any]) -> str:
    """The geometry of a catastrophic run's pairs as a Markdown table, a row a pair."""
    lines = ["| y+ over y- | inner product | projection on W_y+ | orthogonal part |", "|---|---|---|---|"]
    rows = {f"{row['chosen']} over {row['rejected']}": row["geometry"] for row in results["measured"]}
    lines += [
        f"| {pair} | {row['inner_product']:.2f} | {row['projection']:.2f} | {row['orthogonal']:.2f} |"
        for pair, row in rows.items()
    ]
    return "\n".join(lines)


def orders(results: Mapping[str, Any]) -> str:
    """The measured rows of a percentiles run as a Markdown table."""
    quantiles = [f"{100 * subset['quantile']:g} %" for subset in results["measured"][0]["subsets"]]
    lines = [f"| measure | {' | '.join(quantiles)} | tau | tau of each seed |", "|---" * (len(quantiles) + 3) + "|"]
    for row in results["measured"]:
        changes = " | ".join(map(_seeds_spread, row["subsets"]))
        taus = ", ".join(f"{tau:.1f}" for tau in row["tau_per_seed"])
        lines.append(f"| {MEASURE_TITLES[row['measure']]} | {changes} | {row['tau']:.1f} | {taus} |")
    return "\n".join(lines)


def _seeds_spread(subset: Mapping[str, Any]) -> str:
    """A subset's change, with the least and the most where there is more than one seed."""
    spread = f" ({subset['low']:+.2f} to {subset['high']:+.2f})" if len(subset["per_seed"]) > 1 else ""
    return f"{subset['mean']:+.2f}{spread}"


def rejected(results: Mapping[str, Any]) -> str:
    """The change of mean ln p(y-) beside that of ln p(y+), as a Markdown table."""
    quantiles = [f"{100 * subset['quantile']:g} %" for subset in results["measured"][0]["subsets"]]
    lines = [f"| ln p(y-) by | {' | '.join(quantiles)} |", "|---" * (len(quantiles) + 1) + "|"]
    for row in results["measured"]:
        changes = " | ".join(f"{subset['rejected_mean']:+.2f}" for subset in row["subsets"])
        lines.append(f"| {MEASURE_TITLES[row['measure']]} | {changes} |")
    return "\n".join(lines)


def correlations(results: Mapping[str, Any]) -> str:
    """Kendall's tau of each measure with the length difference, as a Markdown table."""
    lines = ["| measure | tau with the length difference |", "|---|---|"]
    return "\n".join(
        lines
        + [
            f"| {MEASURE_TITLES[name]} | {row['length_difference']:.2f} |"
            for name, row in results["correlations"].items()
            if name != "length_difference"
        ]
    )


def compared(results: Mapping[str, Any]) -> str:
    """What each measure keeps at the compared share does, by objective, as a Markdown table; all pairs come first."""
    objectives = [*results["recipe"]["objectives"]]
    arms = {(arm["measure"], arm["objective"]): arm for arm in _compared_arms(results)}
    organisms = [f"organism {each['organism']}" for each in arms["all", objectives[0]]["organisms"]]
    headings = ("kept by", objectives[0], "held", *organisms, "above random", *objectives[1:])
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for name in ("all", *results["recipe"]["measures"], "random"):
        main = arms[name, objectives[0]]
        cells = (
            MEASURE_TITLES[name],
            _points(main["test"]),
            f"{main['held']} of {len(main['organisms'])}",
            *(f"{each['before']:.3f} to {each['after']:.3f}" for each in main["organisms"]),
            _points(main["above_random"]),
            *(_points(arms[name, objective]["test"]) for objective in objectives[1:]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _compared_arms(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    share = results["recipe"]["compared"]
    return [arm for arm in results["arms"] if arm["share"] == share or arm["measure"] == "all"]


def by_table(results: Mapping[str, Any]) -> str:
    """What each measure keeps at the compared share does, by the temperature of the tables, as a Markdown table."""
    main, settings = next(iter(results["recipe"]["objectives"])), results["recipe"]["tables"]
    arms = {arm["measure"]: arm for arm in _compared_arms(results) if arm["objective"] == main}
    headings = [f"temperature {each['temperature']:g}" for each in settings]
    lines = [f"| kept by | {' | '.join(headings)} |", "|---" * (len(headings) + 1) + "|"]
    for name in ("all", *results["recipe"]["measures"], "random"):
        changes: list[list[float]] = [[] for _ in settings]
        for each in arms[name]["tables"]:
            changes[each["table"]].append(100 * each["change"])
        cells = (f"{fmean(own):+.1f} ({min(own):+.0f} to {max(own):+.0f})" for own in changes)
        lines.append(f"| {MEASURE_TITLES[name]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shares(results: Mapping[str, Any]) -> str:
    """Change of refusals by the share kept, as a Markdown table."""
    main, kept = next(iter(results["recipe"]["objectives"])), results["recipe"]["shares"]
    arms = {(a["measure"], a["share"]): a for a in results["arms"] if a["objective"] == main}
    lines = [f"| kept by | {' | '.join(f'{100 * share:g} %' for share in kept)} |", "|---" * (len(kept) + 1) + "|"]
    lines += [
        f"| {MEASURE_TITLES[name]} | {' | '.join(_points(arms[name, share]['test']) for share in kept)} |"
        for name in (*results["recipe"]["measures"], "random")
    ]
    return "\n".join(lines)


def harm(results: Mapping[str, Any]) -> str:
    """How well each measure tells the pairs that do harm, as a Markdown table."""
    tables = [f"organism {each['organism']}, table {each['table']}" for each in results["effects"]]
    lines = [f"| measure | AUC | {' | '.join(tables)} | tau |", "|---" * (len(tables) + 3) + "|"]
    for row in results["harm"]:
        own = " | ".join("n/a" if auc is None else f"{auc:.2f}" for auc in row["auc_per_table"])
        lines.append(
            f"| {MEASURE_TITLES[row['measure']]} | {_interval(row['auc'])} | {own} | {_interval(row['tau'])} |"
        )
    return "\n".join(lines)


def pair_tables(results: Mapping[str, Any]) -> str:
    """The tables of pairs, as a Markdown table."""
    kinds = [*results["tables"][0]["pair_types"]]
    names = " | ".join(kind.replace("_", " ") for kind in kinds)
    lines = [f"| organism | temperature | {names} | refusals at the start |", "|---" * (len(kinds) + 3) + "|"]
    for row in results["tables"]:
        counts = " | ".join(str(row["pair_types"][kind]) for kind in kinds)
        lines.append(f"| {row['organism']} | {row['temperature']:g} | {counts} | {row['start']['test']:.3f} |")
    return "\n".join(lines)


TABLES: Mapping[str, Iterable[tuple[str, str, Callable[[Mapping[str, Any]], str]]]] = {
    "catastrophic.md": (
        ("falls", "catastrophic", falls),
        ("geometry", "catastrophic", geometry),
        ("falls-sft", "catastrophic_sft", falls),
        ("falls-smollm2", "catastrophic_smollm2", falls_beside_published),
        ("falls-gemma3-270m", "catastrophic_gemma3_270m", falls_beside_published),
        ("falls-in-context", "catastrophic_gemma3_270m_in_context", falls_beside_published),
        ("theorem-2-smollm2", "catastrophic_smollm2", theorem_2),
        ("theorem-2-gemma3-270m", "catastrophic_gemma3_270m", theorem_2),
        ("theorem-2-in-context", "catastrophic_gemma3_270m_in_context", theorem_2),
    ),
    "percentiles.md": (
        ("orders", "percentiles", orders),
        ("correlations", "percentiles", correlations),
        ("orders-alike", "percentiles_alike", orders),
        ("orders-smollm2", "percentiles_smollm2", orders),
        ("rejected-smollm2", "percentiles_smollm2", rejected),
        ("correlations-smollm2", "percentiles_smollm2", correlations),
    ),
    "selection.md": (
        ("tables", "selection", pair_tables),
        ("compared", "selection", compared),
        ("by-table", "selection", by_table),
        ("shares", "selection", shares),
        ("harm", "selection", harm),
    ),
}
"""By page: the name of each table in it, the results it is made of, and how."""


def filled(page: str) -> str:
    """The page with every table between its `<!-- NAME -->` and `<!-- /NAME -->` marks made anew."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, results, table in TABLES[page]:
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not mark or not end:
            raise ValueError(f"{page} has no place for the table {name!r}")
        text = f"{before}{mark}{table(read(results))}\n{end}{after}"
    return text


def read(name: str) -> dict[str, Any]:
    """Committed results."""
    content: dict[str, Any] = json.loads((DOCS / "results" / f"{name}.json").read_text(encoding="utf-8"))
    return content


def _spread(value: Mapping[str, float]) -> str:
    return f"{value['median']:.2f} ({value['low']:.2f} to {value['high']:.2f})"


def _points(change: Mapping[str, Any]) -> str:
    """A change of rates in points, with its interval."""
    if change["value"] is None:
        return ""
    return _limits(f"{100 * change['value']:+.1f}", *(change[each] for each in ("low", "high")), scale=100, form="+.0f")


def _interval(value: Mapping[str, Any]) -> str:
    if value["value"] is None:
        return "n/a"
    return _limits(f"{value['value']:.2f}", value["low"], value["high"], scale=1, form=".2f")


def _limits(text: str, low: float | None, high: float | None, *, scale: float, form: str) -> str:
    return text if low is None or high is None else f"{text} ({scale * low:{form}} to {scale * high:{form}})"


def main() -> None:
    """Writes the pictures and the tables."""
    falling = fall_chart(CatastrophicResults.model_validate(read("catastrophic")))
    (DOCS / "catastrophic.svg").write_text(falling, encoding="utf-8")
    for name in ("percentiles", "percentiles_alike", "percentiles_smollm2"):
        chart = percentile_chart(PercentilesResults.model_validate(read(name)))
        (DOCS / f"{name}.svg").write_text(chart, encoding="utf-8")
    compared_measures = selection_chart(SelectionResults.model_validate(read("selection")))
    (DOCS / "selection.svg").write_text(compared_measures, encoding="utf-8")
    for page in TABLES:
        (DOCS / page).write_text(filled(page), encoding="utf-8")


if __name__ == "__main__":
    main()
