"""What `harness run` prints of results.json: measured and published figures in tables of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.console import safe

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show(results: Mapping[str, Any]) -> None:
    """Prints the results of a run of any kind."""
    from rich.console import Console

    by_experiment = {"catastrophic": _show_falls, "percentiles": _show_orders}
    by_experiment.get(results.get("experiment", ""), _show_arms)(results, Console(highlight=False))


def _table(first: str, headings: Sequence[str], title: str = "") -> Table:
    """A plain table whose first column is text and whose others are figures."""
    from rich.table import Table

    table = Table(title=title or None, box=None, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


# The regression run


def _show_arms(results: Mapping[str, Any], console: Console) -> None:
    """What was measured; the arms ranked against `raw`; and apart from both, what others published."""
    print("Measured on training prompts; 95 % intervals; change of ln p(y+) in nats\n")
    console.print(_measured(results["arms"]))
    if len(results["arms"]) > 2 and "raw" in results["arms"]:
        print("\nRanked by refusals of training prompts; change in points with its 95 % interval\n")
        console.print(_ranks(results["arms"]))
    if "published" in results:
        print(f"\nPublished, not measured here: {safe(results['published']['source'])}\n")
        console.print(_published(results["published"]["arms"]))


def _measured(arms: Mapping[str, Any]) -> Table:
    """The arms' rates on training prompts, a row an arm."""
    table = _table("arm", ("pairs", "steps", "refusals, %", "harmful, %", "ln p(y+)"))
    for name, arm in arms.items():
        metrics = arm["metrics"]
        cells = (_percent(metrics[metric]["train"]) for metric in ("refusal_rate", "harmful_completion_rate"))
        change = arm["preferred_logprob_change"]["value"]
        told = "" if name == "baseline" or change is None else f"{change:+.2f}"
        table.add_row(name, str(arm["pairs"]), str(arm["steps"]), *cells, told)
    return table


def _ranks(arms: Mapping[str, Any]) -> Table:
    """The arms by how many more training prompts they refuse than `raw`, most first."""
    from harness.results import ranked

    table = _table("arm", ("from raw", "from before"))
    for place, name in enumerate(ranked(arms), 1):
        changes = (arms[name][key]["refusal_rate"]["train"] for key in ("change_from_raw", "change_from_baseline"))
        from_raw, from_baseline = map(_points, changes)
        table.add_row(f"{place:>2} {name}", "" if name == "raw" else from_raw, from_baseline)
    return table


def _published(arms: Mapping[str, Any]) -> Table:
    """What others published of the arms, with the standard deviation over seeds where they gave one."""
    quantities = list(dict.fromkeys(quantity for figures in arms.values() for quantity in figures))
    table = _table("arm", [safe(quantity.replace("_", " ")) for quantity in quantities])
    for name, figures in arms.items():
        table.add_row(safe(name), *(_quantity(quantity, figures.get(quantity)) for quantity in quantities))
    return table


def _quantity(name: str, figure: Mapping[str, float | None] | None) -> str:
    """A rate in percent, anything else as it stands."""
    if figure is None or figure["value"] is None:
        return ""
    if name.endswith("_rate"):
        return f"{100 * figure['value']:.1f} %"
    spread = "" if figure["spread"] is None else f" ± {figure['spread']:g}"
    return f"{figure['value']:+g}{spread}"


def _points(change: Mapping[str, Any]) -> str:
    if change["value"] is None:
        return "nothing judged"
    return "{:+.1f} ({:+.0f} to {:+.0f})".format(*(100 * change[key] for key in ("value", "low", "high")))


def _percent(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return "nothing judged"
    return "{:.1f} ({:.0f} to {:.0f})".format(*(100 * estimate[key] for key in ("value", "low", "high")))


# The experiments of sections 3 and 5


def _show_falls(results: Mapping[str, Any], console: Console) -> None:
    """Published falls of p(y+), then measured ones, a row an objective and pair."""
    if results["published"]:
        published = _table("y+ over y-", ("p(y+)", "gains"), f"Published: {results['published']['source']}")
        for row in results["published"]["falls"]:
            gains = "; ".join(filter(None, (row["benign"], row["catastrophic"])))
            published.add_row(_pair(row), _fall(row), gains)
        console.print(published, "")
    headings = ("displaced", "p(y+)", "gains", "Theorem 2")
    measured = _table("y+ over y-", headings, "Measured; largest fall over the seeds")
    for row in results["measured"]:
        worst = row["largest_fall"]
        first = min(row["theorem_2"], key=int)
        measured.add_row(
            f"{row['objective']}: {_pair(row)}",
            f"{row['displaced']} of {row['trials']}",
            _fall(worst),
            ", ".join(safe(token["token"], 12) for token in worst["gaining"][:3]),
            _decimals(row["theorem_2"][first]["median"]),
        )
    console.print(measured)


def _show_orders(results: Mapping[str, Any], console: Console) -> None:
    """What was published of each measure, then the measured changes of ln p(y+), a row a measure."""
    if results["published"]:
        published = _table("measure", ("change of ln p(y+)",), f"Published: {results['published']['source']}")
        for row in results["published"]["orders"]:
            published.add_row(row["measure"], row["said"])
        console.print(published, "")
    quantiles = [f"{100 * subset['quantile']:g}" for subset in results["measured"][0]["subsets"]]
    title = "Measured: change of mean ln p(y+), nats, by percentile"
    measured = _table("measure", (*quantiles, "tau"), title)
    for row in results["measured"]:
        changes = (f"{subset['mean']:+.2f}" for subset in row["subsets"])
        measured.add_row(row["measure"], *changes, _decimals(row["tau"]))
    console.print(measured)


def _pair(row: Mapping[str, Any]) -> str:
    return f"{safe(row['chosen'], 12)} over {safe(row['rejected'], 12)}"


def _fall(row: Mapping[str, Any]) -> str:
    return f"{row['before']:.2f} to {row['after']:.2f}"


def _decimals(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"
