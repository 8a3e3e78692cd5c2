"""What `harness run --dry-run` prints: stages with their tokens and seconds, memory, and the time in all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli.printing.terminal import plain_table, stdout_console
from harness.support.console import duration_text, safe_line, smoke_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from harness.run.cost.dry_run import Cost, DryRun


def print_dry_run(found: DryRun) -> None:
    """Prints a dry run."""
    console = stdout_console()
    plan = found.plan
    print(f"{safe_line(found.recipe.name)}: {safe_line(found.recipe.model)}, {found.shape.parameters:,} parameters")
    if found.recipe.limit is not None:
        print(smoke_text(found.recipe.limit))
    where = "a GPU for each" if plan.devices else f"on the CPU, torch's threads in each: {plan.threads}"
    print(f"Processes beside each other: {plan.processes}, {where}\n")
    print("Tokens that each reads, trains on or writes, at most and likely; and its time\n")
    console.print(_stages_table(found))
    print(f"\nMemory {'of each GPU' if plan.devices else 'of each process'}, at the most\n")
    console.print(_memory_table(found))
    print(f"\nFree now for each: {_bytes_text(found.available)}. What the libraries themselves take is not counted.")
    for each in found.missing:
        print(f"Not in the time: {safe_line(each)}")
    done = sum(cost.reason is None for cost in found.costs)
    print(f"{len(found.costs) - done} stages to run, {done} done before.")
    print(f"Time from start to end, about: {_time_text(found.seconds)}")


def _stages_table(found: DryRun) -> Table:
    """A row for each stage; those that differ in their seed alone are one."""
    table = plain_table("stage", ("runs", "pairs", "answers", "at most", "likely", "each"))
    groups: dict[str, list[Cost]] = {}
    for cost in found.costs:
        groups.setdefault(cost.stage.name.partition(" seed ")[0], []).append(cost)
    for name, costs in groups.items():
        shown = next((cost for cost in costs if cost.reason), costs[0])
        work, expected = shown.at_most, _count_text(shown.expected.tokens) if shown.expected else "?"
        counts = [_count_text(number) if number else "" for number in (work.pairs, work.answers, work.tokens)]
        table.add_row(safe_line(name), str(len(costs)), *counts, expected, _seconds_cell(costs))
    return table


def _seconds_cell(costs: Sequence[Cost]) -> str:
    """The time of each of those that are to be run, and how many are done."""
    left = [cost.seconds for cost in costs if cost.reason is not None]
    if not left:
        return "done"
    seconds = "?" if left[0] is None else duration_text(left[0])
    return seconds if len(left) == len(costs) else f"{seconds}, {len(costs) - len(left)} done"


def _count_text(number: int) -> str:
    """A count; from a million on in millions, as the table has 80 columns."""
    return f"{number:,}" if number < 1_000_000 else f"{number / 1e6:,.1f} M"


def _time_text(seconds: float | None) -> str:
    return "not known" if seconds is None else duration_text(seconds)


def _memory_table(found: DryRun) -> Table:
    table = plain_table("", ("weights", "gradients", "optimizer", "activations", "cache", "in all"))
    for kind, each in found.memory.items():
        parts = (each.weights, each.gradients, each.optimizer, each.activations, each.cache, each.total)
        table.add_row(kind, *(_bytes_text(part) if part else "" for part in parts))
    return table


def _bytes_text(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
