"""What `harness run` prints of results.json: measured and published figures in tables of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.cli.terminal import plain_table
from harness.support.console import safe_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_results(results: Mapping[str, Any]) -> None:
    """Prints the results of a run of any kind."""
    from rich.console import Console

    by_experiment = {"catastrophic": _print_falls, "percentiles": _print_orders}
    by_experiment.get(results.get("experiment", ""), _print_arms)(results, Console(highlight=False))


# The regression run


def _print_arms(results: Mapping[str, Any], console: Console) -> None:
    """What was measured; the arms ranked against `raw`; and apart from both, what others published."""
    print("Measured on training prompts; 95 % intervals; change of ln p(y+) in nats\n")
    console.print(_measured_table(results["arms"]))
    if len(results["arms"]) > 2 and "raw" in results["arms"]:
        print("\nRanked by refusals of training prompts; change in points with its 95 % interval\n")
        console.print(_ranked_table(results["arms"]))
    if "published" in results:
        print(f"\nPublished, not measured here: {safe_line(results['published']['source'])}\n")
        console.print(_published_table(results["published"]["arms"]))


def _measured_table(arms: Mapping[str, Any]) -> Table:
    """The arms' rates on training prompts, a row an arm."""
    table = plain_table("arm", ("pairs", "steps", "refusals, %", "harmful, %", "ln p(y+)"))
    for name, arm in arms.items():
        metrics = arm["metrics"]
        cells = (_percent_interval(metrics[metric]["train"]) for metric in ("refusal_rate", "harmful_completion_rate"))
        change = arm["preferred_logprob_change"]["value"]
        told = "" if name == "baseline" or change is None else f"{change:+.2f}"
        table.add_row(name, str(arm["pairs"]), str(arm["steps"]), *cells, told)
    return table


def _ranked_table(arms: Mapping[str, Any]) -> Table:
    """The arms by how many more training prompts they refuse than `raw`, most first."""
    from harness.run.results import ranked_arms

    table = plain_table("arm", ("from raw", "from before"))
    for place, name in enumerate(ranked_arms(arms), 1):
        changes = (arms[name][key]["refusal_rate"]["train"] for key in ("change_from_raw", "change_from_baseline"))
        from_raw, from_baseline = map(_points_interval, changes)
        table.add_row(f"{place:>2} {name}", "" if name == "raw" else from_raw, from_baseline)
    return table


def _published_table(arms: Mapping[str, Any]) -> Table:
    """What others published of the arms, with the standard deviation over seeds where they gave one."""
    quantities = list(dict.fromkeys(quantity for figures in arms.values() for quantity in figures))
    table = plain_table("arm", [safe_line(quantity.replace("_", " ")) for quantity in quantities])
    for name, figures in arms.items():
        table.add_row(safe_line(name), *(_quantity_text(quantity, figures.get(quantity)) for quantity in quantities))
    return table


def _quantity_text(name: str, figure: Mapping[str, float | None] | None) -> str:
    """A rate in percent, anything else as it stands."""
    if figure is None or figure["value"] is None:
        return ""
    if name.endswith("_rate"):
        return f"{100 * figure['value']:.1f} %"
    spread = "" if figure["spread"] is None else f" ± {figure['spread']:g}"
    return f"{figure['value']:+g}{spread}"


def _points_interval(change: Mapping[str, Any]) -> str:
    if change["value"] is None:
        return "nothing judged"
    return "{:+.1f} ({:+.0f} to {:+.0f})".format(*(100 * change[key] for key in ("value", "low", "high")))


def _percent_interval(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return "nothing judged"
    return "{:.1f} ({:.0f} to {:.0f})".format(*(100 * estimate[key] for key in ("value", "low", "high")))


# The experiments of sections 3 and 5


def _print_falls(results: Mapping[str, Any], console: Console) -> None:
    """Published falls of p(y+), then measured ones, a row an objective and pair."""
    if results["published"]:
        published = plain_table("y+ over y-", ("p(y+)", "gains"), f"Published: {results['published']['source']}")
        for row in results["published"]["falls"]:
            gains = "; ".join(filter(None, (row["benign"], row["catastrophic"])))
            published.add_row(_pair_text(row), _fall_text(row), gains)
        console.print(published, "")
    headings = ("displaced", "p(y+)", "gains", "Theorem 2")
    measured = plain_table("y+ over y-", headings, "Measured; largest fall over the seeds")
    for row in results["measured"]:
        worst = row["largest_fall"]
        first = min(row["theorem_2"], key=int)
        measured.add_row(
            f"{row['objective']}: {_pair_text(row)}",
            f"{row['displaced']} of {row['trials']}",
            _fall_text(worst),
            ", ".join(safe_line(token["token"], 12) for token in worst["gaining"][:3]),
            _decimal_text(row["theorem_2"][first]["median"]),
        )
    console.print(measured)


def _print_orders(results: Mapping[str, Any], console: Console) -> None:
    """What was published of each measure, then the measured changes of ln p(y+), a row a measure."""
    if results["published"]:
        published = plain_table("measure", ("change of ln p(y+)",), f"Published: {results['published']['source']}")
        for row in results["published"]["orders"]:
            published.add_row(row["measure"], row["said"])
        console.print(published, "")
    quantiles = [f"{100 * subset['quantile']:g}" for subset in results["measured"][0]["subsets"]]
    title = "Measured: change of mean ln p(y+), nats, by percentile"
    measured = plain_table("measure", (*quantiles, "tau"), title)
    for row in results["measured"]:
        changes = (f"{subset['mean']:+.2f}" for subset in row["subsets"])
        measured.add_row(row["measure"], *changes, _decimal_text(row["tau"]))
    console.print(measured)


def _pair_text(row: Mapping[str, Any]) -> str:
    return f"{safe_line(row['chosen'], 12)} over {safe_line(row['rejected'], 12)}"


def _fall_text(row: Mapping[str, Any]) -> str:
    return f"{row['before']:.2f} to {row['after']:.2f}"


def _decimal_text(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"
