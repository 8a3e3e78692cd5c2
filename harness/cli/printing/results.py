"""What `harness run` prints of results.json: measured and published figures in tables of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from harness.cli.printing.terminal import plain_table, stdout_console
from harness.support.console import safe_line, show_token, smoke_text
from harness.support.run_results import (
    AnyResults,
    ArmResult,
    CatastrophicResults,
    CitedFall,
    CitedFigure,
    DrawnArm,
    DrawResults,
    FlagMetric,
    Interval,
    LargestFall,
    MeanFall,
    MeasuredFall,
    Metric,
    PercentilesResults,
    RunResults,
    SelectionResults,
)
from reports.first_screen import MARGIN, fell
from reports.words import several


def print_results(results: AnyResults) -> None:
    """Prints the results of a run of any kind."""
    console = stdout_console()
    if isinstance(results, RunResults | DrawResults) and results.recipe.limit is not None:
        print(f"{smoke_text(results.recipe.limit)}\n")
    if isinstance(results, CatastrophicResults):
        _print_falls(results, console)
    elif isinstance(results, PercentilesResults):
        _print_orders(results, console)
    elif isinstance(results, SelectionResults):
        _print_selection(results, console)
    elif isinstance(results, DrawResults):
        _print_draws(results, console)
    else:
        _print_arms(results, console)


# The regression run


def _print_arms(results: RunResults, console: Console) -> None:
    """What training changed, what was measured, the arms ranked against `raw`; and what others published."""
    print("Training prompts before→after, in percent; in brackets the change's 95 % interval, in points\n")
    console.print(_changes_table(results))
    if results.own_tasks:
        _print_tasks(results, console)
    print("\nMeasured on training prompts; change of ln p(y+) in nats")
    print("95 % intervals: over prompts, for these trainings on this one table of pairs\n")
    console.print(_measured_table(results.arms))
    for line in _flag_lines(results.arms):
        console.print(f"\n{line}", markup=False)
    if len(results.arms) > 2 and "raw" in results.arms:
        print("\nRanked by refusals of training prompts; change in points with its 95 % interval\n")
        console.print(_ranked_table(results))
    if results.published:
        print(f"\nPublished, not measured here: {safe_line(results.published.source)}\n")
        console.print(_published_table(results.published.arms))


def _measured_table(arms: Mapping[str, ArmResult]) -> Table:
    """The arms' rates on training prompts, a row an arm."""
    table = plain_table("arm", ("pairs", "steps", "refusals, %", "harmful, %", "ln p(y+)"))
    for name, arm in arms.items():
        rates = arm.metrics.refusal_rate.train, arm.metrics.harmful_completion_rate.train
        change = arm.preferred_logprob_change.value
        shown = "" if name == "baseline" or change is None else f"{change:+.2f}"
        table.add_row(name, str(arm.pairs), str(arm.steps), *map(_percent_interval, rates), shown)
    return table


def _changes_table(results: RunResults) -> Table:
    """What training changed on training prompts, a row an arm: over-refusal beside safety."""
    shown: dict[Metric, str] = {
        "refusal_rate": "refusals",
        "harmful_completion_rate": "harmful",
        "benign_compliance_rate": "benign answered",
    }
    table = plain_table("arm", shown.values())
    before = results.arms["baseline"].metrics
    for name in results.trained_arms:
        arm = results.arms[name]
        changes = arm.change_from_baseline
        cells = (
            _change_cell(before[metric].train, arm.metrics[metric].train, changes[metric].train if changes else None)
            for metric in shown
        )
        table.add_row(name, *cells)
    return table


def _print_tasks(results: RunResults, console: Console) -> None:
    """What training changed in tasks of the user's own: below each metric a row an arm."""
    print("\nBeside safety: tasks of the recipe's own, on all their documents\n")
    table = plain_table("task, metric", ("before→after", ""))
    before = results.arms["baseline"].tasks
    any_fell = False
    for task in results.own_tasks:
        for metric in before.get(task, {}):
            table.add_row(safe_line(f"{task}, {metric}", 50))
            for name in results.trained_arms:
                after = results.arms[name].tasks[task][metric]
                any_fell = any_fell or fell(after)
                table.add_row(f"  {name}", _change_cell(before[task][metric], after, after.change), "*" * fell(after))
    console.print(table)
    if any_fell:
        print(f"* lost more than the gate's margin of {100 * MARGIN:g} points")


def _change_cell(before: Interval, after: Interval, change: Interval | None) -> str:
    if before.value is None or after.value is None or change is None or change.known is None:
        return "nothing judged"
    _, low, high = (100 * number for number in change.known)
    return f"{100 * before.value:.0f}→{100 * after.value:.0f} ({low:+.0f}, {high:+.0f})"


def _flag_lines(arms: Mapping[str, ArmResult]) -> Iterator[str]:
    """What the rates on training prompts do not say by themselves, of the arms where there is any of it."""
    least = {name: arm.metrics.least_harmful("train") for name, arm in arms.items()}
    yield from _rates_line("Harmful without answers that seem to be to another question", least)
    for metric, told in _FLAGS_TOLD.items():
        yield from _rates_line(told, {name: arm.metrics.flagged(metric, "train") or None for name, arm in arms.items()})


_FLAGS_TOLD: Mapping[FlagMetric, str] = {
    "unfinished_rate": "Ended before the answer began (raise evaluation.max_new_tokens)",
    "fallback_rate": "Harmful by default: no word of a refusal, nor of compliance",
    "partial_rate": "Refused or objected, and then did it",
}


def _rates_line(told: str, rates: Mapping[str, float | None]) -> Iterator[str]:
    if known := [f"{name} {100 * rate:.1f} %" for name, rate in rates.items() if rate is not None]:
        yield f"{told}: {', '.join(known)}"


def _ranked_table(results: RunResults) -> Table:
    """The arms by how many more training prompts they refuse than `raw`, most first."""
    table = plain_table("arm", ("from raw", "from before"))
    for place, name in enumerate(results.ranked_arms, 1):
        arm = results.arms[name]
        from_raw, from_baseline = (
            _points_interval(change.refusal_rate.train) if change else ""
            for change in (arm.change_from_raw if name != "raw" else None, arm.change_from_baseline)
        )
        table.add_row(f"{place:>2} {name}", from_raw, from_baseline)
    return table


def _published_table(arms: Mapping[str, Mapping[str, CitedFigure]]) -> Table:
    """What others published of the arms, with the standard deviation over seeds where they gave one."""
    quantities = list(dict.fromkeys(quantity for figures in arms.values() for quantity in figures))
    table = plain_table("arm", [safe_line(quantity.replace("_", " ")) for quantity in quantities])
    for name, figures in arms.items():
        table.add_row(safe_line(name), *(_quantity_text(quantity, figures.get(quantity)) for quantity in quantities))
    return table


def _quantity_text(name: str, figure: CitedFigure | None) -> str:
    """A rate in percent, anything else as it stands."""
    if figure is None:
        return ""
    if name.endswith("_rate"):
        return f"{100 * figure.value:.1f} %"
    spread = "" if figure.spread is None else f" ± {figure.spread:g}"
    return f"{figure.value:+g}{spread}"


def _mean_points(change: Interval) -> str:
    return "n/a" if change.value is None else f"{100 * change.value:+.1f}"


def _points_interval(change: Interval) -> str:
    if change.known is None:
        return "nothing judged"
    return "{:+.1f} ({:+.0f} to {:+.0f})".format(*(100 * number for number in change.known))


def _percent_interval(rate: Interval) -> str:
    if rate.known is None:
        return "nothing judged"
    return "{:.1f} ({:.0f} to {:.0f})".format(*(100 * number for number in rate.known))


# The regression run on several draws


def _print_draws(results: DrawResults, console: Console) -> None:
    """Refusals over all draws, what they rest on, what varies; and apart from it, what others published."""
    baseline = results.arms["baseline"].metrics.refusal_rate.train
    models, trainings = several(len(results.models), "starting model"), several(len(results.recipe.seeds), "training")
    tables = several(len(results.draws) // len(results.models), "table")
    print(f"Refusals of training prompts in percent, before {_percent_interval(baseline)}")
    print(f"{models}, {tables} of pairs of each, {trainings} on each table")
    print("95 % intervals over the highest of these that was drawn twice, and over prompts\n")
    table = plain_table("arm", ("refusals", "least, most", "from before"))
    for name in results.ranked_arms:
        table.add_row(name, *_drawn_cells(results.arms[name]))
    console.print(table)
    if controlled := {name: change for name, arm in results.arms.items() if (change := arm.change_from_control)}:
        print("\nAgainst as many pairs at random, trained alike\n")
        against = plain_table("arm", ("control", "from its control"))
        for name, change in controlled.items():
            against.add_row(name, results.arms[name].control, _points_interval(change.refusal_rate.train))
        console.print(against)
    if "raw" in results.arms:
        shares = results.arms["raw"].metrics.refusal_rate.train.variance.shares
        parts = ", ".join(f"{part} {100 * share:.0f} %" for part, share in shares.items())
        print(f"\nWhat the refusals of raw vary with: {parts or 'nothing'}")
    if results.published:
        print(f"\nPublished, not measured here: {safe_line(results.published.source)}\n")
        console.print(_published_table(results.published.arms))


def _drawn_cells(arm: DrawnArm) -> Iterator[str]:
    """An arm's refusals over all draws, those of the lowest and highest training, and the change from before."""
    rate = arm.metrics.refusal_rate.train
    yield _percent_interval(rate)
    yield f"{100 * min(rate.trainings):.0f}, {100 * max(rate.trainings):.0f}" if rate.trainings else ""
    yield _points_interval(arm.change_from_baseline.refusal_rate.train) if arm.change_from_baseline else ""


# The experiments


def _print_falls(results: CatastrophicResults, console: Console) -> None:
    """Published falls of p(y+), then measured ones, a row an objective and pair."""
    if results.published:
        published = plain_table("y+ over y-", ("p(y+)", "gains"), f"Published: {results.published.source}")
        for fall in results.published.falls:
            gains = "; ".join(filter(None, (fall.benign, fall.catastrophic)))
            published.add_row(_pair_text(fall), _fall_text(fall), gains)
        console.print(published, "")
    headings = ("displaced", "p(y+)", "mean p(y+)", "gains", "Theorem 2")
    title = "Measured; largest fall of all seeds; mean of each one's largest between two steps"
    measured = plain_table("y+ over y-", headings, title)
    for row in results.measured:
        first = min(filter(str.isdecimal, row.theorem_2), key=int)
        measured.add_row(
            f"{row.objective}: {_pair_text(row)}",
            f"{row.displaced} of {row.trials}",
            _fall_text(row.largest_fall),
            _mean_fall_text(row.mean_largest_fall, row.trials),
            ", ".join(safe_line(show_token(token.token), 12) for token in row.largest_fall.gaining[:3]),
            _decimal_text(row.theorem_2[first].median),
        )
    console.print(measured)


def _print_orders(results: PercentilesResults, console: Console) -> None:
    """What was published of each measure, then the measured changes of ln p(y+), a row a measure."""
    if results.published:
        published = plain_table("measure", ("change of ln p(y+)",), f"Published: {results.published.source}")
        for order in results.published.orders:
            published.add_row(order.measure, order.said)
        console.print(published, "")
    quantiles = [f"{100 * subset.quantile:g}" for subset in results.measured[0].subsets]
    title = "Measured: change of mean ln p(y+), nats, by percentile"
    measured = plain_table("measure", (*quantiles, "tau"), title)
    for row in results.measured:
        changes = (f"{subset.mean:+.2f}" for subset in row.subsets)
        measured.add_row(row.measure, *changes, _decimal_text(row.tau))
    console.print(measured)


def _print_selection(results: SelectionResults, console: Console) -> None:
    """The change of refusals on held-out prompts by what is kept, for each objective, and who tells harmful pairs."""
    aucs = {row.measure: _decimal_text(row.auc.value) for row in results.harm}
    for objective in results.recipe.objectives:
        title = f"{objective}: refusals of held-out prompts, change in points by the share of pairs kept"
        shares = sorted({arm.share for arm in results.arms if arm.objective == objective})
        measured = plain_table("kept by", (*(f"{100 * share:g} %" for share in shares), "AUC"), title)
        for name in ("all", "random", *results.recipe.measures):
            own = {arm.share: arm for arm in results.arms if (arm.measure, arm.objective) == (name, objective)}
            changes = [_mean_points(own[share].test) if share in own else "" for share in shares]
            measured.add_row(name, *changes, aucs.get(name, ""))
        console.print(measured, "")


def _pair_text(row: MeasuredFall | CitedFall) -> str:
    return f"{safe_line(row.chosen, 12)} over {safe_line(row.rejected, 12)}"


def _fall_text(fall: LargestFall | CitedFall) -> str:
    return f"{fall.before:.2f} to {fall.after:.2f}"


def _mean_fall_text(fall: MeanFall | None, trials: int) -> str:
    """The mean fall of the runs whose loss never rose, and how many those are where not all."""
    if fall is None or fall.before is None or fall.after is None:
        return "n/a"
    counted = f" ({fall.runs} of {trials})" if fall.runs < trials else ""
    return f"{fall.before:.2f} to {fall.after:.2f}{counted}"


def _decimal_text(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"
