"""`harness displacement`: what a training did to the likelihood of the answers, and where the probability went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table
    from rich.text import Text

    from harness.displacement.change import Change, TokenChange
    from harness.displacement.evaluations import LikelihoodChange
    from harness.displacement.flips import TracedFlip


def displacement_command(
    before: Annotated[str, typer.Option("--before", help="Model before training, or an lm_eval output directory.")],
    after: Annotated[str, typer.Option("--after", help="Model after training, or an lm_eval output directory.")],
    preferences: Annotated[
        str | None, typer.Option("--preferences", help="Preference table: a file or a hub id. For models only.")
    ] = None,
    prompts: Annotated[
        str, typer.Option("--prompts", help="Unsafe prompts: `bundled`, a .jsonl or a .csv file.")
    ] = "bundled",
    flips: Annotated[
        bool,
        typer.Option("--flips", help="Also draw an answer to each prompt from both models and show which flipped."),
    ] = False,
    max_length: Annotated[
        int | None, typer.Option("--max-length", min=2, help="Cut sequences as DPOTrainer's max_length does.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file for all of it, pair by pair.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Measure likelihood displacement between two models: ln p of the answers, and where the probability went.

    \b
    harness displacement --before ./base --after ./trained --preferences pairs.jsonl --out displacement.json
    harness displacement --before ./base --after ./trained --preferences pairs.jsonl --flips
    harness displacement --before lm_eval_base/ --after lm_eval_trained/

    The last form compares two runs of `lm_eval --tasks refusal_displacement_likelihood --log_samples`.
    """
    from harness.displacement.evaluations import compare_evaluations, has_likelihood_evaluation
    from harness.support.artifacts import write_json
    from harness.support.errors import HarnessError

    if has_likelihood_evaluation(Path(before)) or has_likelihood_evaluation(Path(after)):
        likelihood = compare_evaluations(Path(before), Path(after))
        content = likelihood.to_json()
        tables = [_likelihood_table(likelihood)]
    elif preferences is None:
        raise HarnessError("is not given", place="--preferences", hint="Name the table the model was trained on.")
    else:
        content, tables = _compare_models(before, after, preferences, prompts, flips, max_length)
    if out is not None:
        write_json(out, content)
    if as_json:
        print(json.dumps(content))
    else:
        _print_tables(tables, out)


def _compare_models(
    before: str, after: str, preferences: str, prompts: str, flips: bool, max_length: int | None
) -> tuple[dict[str, object], list[Table]]:
    from harness.displacement.compare import compare_models

    found = compare_models(before, after, preferences, prompts, with_flips=flips, max_length=max_length)
    tables = [_pairs_table(found.change), _positions_table(found.change), _tokens_table(found.change)]
    tables += [_starts_table(found.change)] + ([_flips_table(found.flips)] if flips else [])
    return found.to_json(), tables


def _print_tables(tables: list[Table], out: Path | None) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(*tables)
    if out is not None:
        print(f"Written: {out}")


def plain_table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(*columns, box=box.SIMPLE, title=title, title_justify="left")


def _pairs_table(change: Change) -> Table:
    table = plain_table(f"{len(change.pairs)} pairs", "", "mean change, nats")
    table.add_row("ln p(y+)", f"{change.mean_of(lambda pair: pair.chosen):+.3f}")
    table.add_row("ln p(y-)", f"{change.mean_of(lambda pair: pair.rejected):+.3f}")
    table.add_row("margin", f"{change.mean_of(lambda pair: pair.margin):+.3f}")
    table.add_row("displaced while their loss fell", f"{change.displaced_share:.1%}")
    return table


def _positions_table(change: Change) -> Table:
    table = plain_table(
        "Token by token of the answers", "position", "pairs", "ln p(y+)", "ln p(y-)", "gained most there"
    )
    for each in change.positions[:8]:
        rejected = "" if each.rejected is None else f"{each.rejected:+.3f}"
        table.add_row(str(each.position), str(each.n), f"{each.chosen:+.3f}", rejected, _tokens_cell(each.gaining))
    return table


def _tokens_table(change: Change) -> Table:
    table = plain_table("Where the probability went", "", "tokens")
    for name, tokens in (
        ("gained, first token", change.gaining_at_start),
        ("lost, first token", change.losing_at_start),
        ("gained, anywhere in y+", change.gaining_anywhere),
    ):
        table.add_row(name, _tokens_cell(tokens[:6]))
    return table


def _starts_table(change: Change) -> Table:
    table = plain_table("How answers to the unsafe prompts start", "", "before", "after")
    for way, (was, now) in change.starts.items():
        table.add_row({"other": "cannot be told"}.get(way, f"as a {way}"), f"{was:.1%}", f"{now:.1%}")
    return table


def _flips_table(flips: Sequence[TracedFlip]) -> Table:
    table = plain_table(
        f"{len(flips)} answers flipped between refusal and not", "prompt", "before", "after", "nearest pairs (ln_ches)"
    )
    for flip in flips[:10]:
        near = ", ".join(f"{pair.pair_id} ({pair.ln_ches:.3g})" for pair in flip.nearest[:2])
        table.add_row(*(_safe_text(text, 48) for text in (flip.prompt, flip.before.label, flip.after.label, near)))
    return table


def _likelihood_table(found: LikelihoodChange) -> Table:
    table = plain_table(f"{found.pairs} pairs, two lm_eval runs", "", "mean change, nats", "95 % interval")
    for name, each in found.changes.items():
        table.add_row(name, f"{each.value:+.3f}", f"{each.low:+.3f} to {each.high:+.3f}")
    table.add_row("displaced while their loss fell", f"{found.displaced_share:.1%}", "")
    return table


def _tokens_cell(tokens: Sequence[TokenChange]) -> Text:
    """Those that moved by as much as the three decimals show."""
    return _safe_text(", ".join(f"{each.token!r} {each.change:+.3f}" for each in tokens if abs(each.change) >= 0.0005))


def _safe_text(text: str, limit: int | None = None) -> Text:
    from rich.text import Text

    from harness.support.console import safe_line

    return Text(safe_line(text, limit))
