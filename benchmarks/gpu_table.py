"""Draws the table of docs/gpu.md from the committed results of `benchmarks/gpu.py`: `make gpu-table`.

A column a card, `benchmarks/results/gpu_CARD.json`; without any, one that says that nothing has been measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gpu_results import RESULTS, GpuResults, PartResult, read_gpu_results

PAGE = Path(__file__).resolve().parents[1] / "docs" / "gpu.md"
NOT_MEASURED = "not measured"
_CASES = ("one pair a prompt", "four pairs a prompt", "four pairs a prompt from four answers")


def draw_gpu_table(cards: Sequence[GpuResults]) -> str:
    """A row a figure, with its goal, and a column a card."""
    heads = [f"{card.card}, {card.date[:10]}" for card in cards] or [NOT_MEASURED]
    lines = [f"| figure | goal | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    for words, goal, part, show in ROWS:
        cells = [_show_cell(card.parts.get(part), show) for card in cards] or [NOT_MEASURED]
        lines.append(f"| {words} | {goal} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_gpu_table(page: str, cards: Sequence[GpuResults]) -> str:
    """The page with its table, `<!-- table gpu -->` to `<!-- end -->`, drawn anew."""
    drawn = f"<!-- table gpu -->\n{draw_gpu_table(cards)}\n<!-- end -->"
    return re.sub(r"<!-- table gpu -->.*?<!-- end -->", lambda _: drawn, page, flags=re.DOTALL)


def read_cards(folder: Path = RESULTS) -> list[GpuResults]:
    """The results of every card, by file name."""
    return [read_gpu_results(path) for path in sorted(folder.glob("gpu_*.json"))]


Show = Callable[[Any], str]
"""From a part's figures to what the table says."""


def _show_cell(part: PartResult | None, show: Show) -> str:
    if part is None or part.status != "measured":
        return NOT_MEASURED if part is None or part.status == NOT_MEASURED else f"{NOT_MEASURED} ({part.status})"
    return show(part.figures)


def _over_cases(figure: str) -> Show:
    return lambda figures: ", ".join(f"{figures[case][figure]:.2f}" for case in _CASES)


def _show_losses(figures: Any) -> str:
    return f"{figures['first_loss']:.3f} to {figures['last_loss']:.3f}"


ROWS: tuple[tuple[str, str, str, Show], ...] = (
    *(
        row
        for size in ("1b", "8b")
        for row in (
            (
                f"scoring, {size.upper()}: times the script",
                "10 or more",
                f"scoring_{size}",
                _over_cases("times_reference"),
            ),
            (
                f"scoring, {size.upper()}: share of the floor",
                ".7 or more",
                f"scoring_{size}",
                _over_cases("share_of_floor"),
            ),
        )
    ),
    ("DPO, 1B: tokens a second", "", "dpo", lambda figures: f"{figures['tokens_per_second']:,.0f}"),
    ("DPO, 1B: times plain TRL's", "", "dpo", lambda figures: f"{figures['times_trl']:.2f}"),
    (
        "DPO, 1B: memory at the peak, plain TRL's, GiB",
        "",
        "dpo",
        lambda figures: f"{figures['peak_gib']:.1f}, {figures['trl_peak_gib']:.1f}",
    ),
    (
        "DPO, 1B: memory expected by the dry run, GiB",
        "within 15 %",
        "dpo",
        lambda figures: f"{figures['expected_gib']:.1f} ({100 * figures['expected_off_by']:.0f} % off)",
    ),
    (
        "out of memory, 1B: tokens a pass before and after, scores off by",
        "fewer, .001",
        "out_of_memory",
        lambda figures: (
            f"{figures['budget']:,} to {figures['budget_after']:,}, "
            + (
                "none"
                if figures["worst_relative_difference"] is None
                else f"{figures['worst_relative_difference']:.1e}"
            )
        ),
    ),
    ("LoRA, 1B: loss", "falls", "lora", _show_losses),
    ("QLoRA, 1B: loss", "falls", "qlora", _show_losses),
    ("FSDP2 with one process, 1B: loss", "falls", "fsdp", _show_losses),
    ("the recipe of SmolLM2, small: seconds", "ends", "real_model", lambda figures: f"{figures['seconds']:.0f}"),
)
"""A figure in words, its goal, its part, and how it is shown."""


def main() -> None:
    """Rewrites the page."""
    PAGE.write_text(with_gpu_table(PAGE.read_text(), read_cards()))


if __name__ == "__main__":
    main()
