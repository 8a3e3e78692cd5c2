"""`harness filter`: keep the pairs that will not displace likelihood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.support.artifacts import sha256_of, write_json
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from harness.scoring.filtering import Amount, Choice


def filter_command(
    scores: Annotated[Path, typer.Argument(help="Parquet file written by `harness score`.")],
    out: Annotated[
        Path, typer.Option("--out", help="JSONL or .parquet file for the kept pairs; trains in TRL as it is.")
    ],
    keep_lowest: Annotated[
        str | None, typer.Option("--keep-lowest", metavar="FRACTION|N", help="Keep the pairs with the lowest scores.")
    ] = None,
    drop_highest: Annotated[
        str | None, typer.Option("--drop-highest", metavar="FRACTION|N", help="Drop the pairs with the highest scores.")
    ] = None,
    quantile: Annotated[
        float | None, typer.Option("--quantile", help="Keep --n pairs around this quantile of the scores (0 to 1).")
    ] = None,
    n: Annotated[int | None, typer.Option("--n", help="How many pairs --quantile keeps.")] = None,
    threshold: Annotated[float | None, typer.Option("--threshold", help="Keep pairs with at most this score.")] = None,
    random: Annotated[
        str | None, typer.Option("--random", metavar="FRACTION|N", help="Keep pairs at random: the control.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of --random.")] = 0,
    by: Annotated[str, typer.Option("--by", help="The measure to go by.")] = "ln_ches",
    as_json: Annotated[bool, typer.Option("--json", help="Print the sidecar's content as one JSON object.")] = False,
) -> None:
    """Filter scored preference pairs.

    A fraction is of the pairs that have a score (0.05 is 5 %).

    \b
    harness filter scores.parquet --keep-lowest 0.05 --out kept.jsonl
    harness filter scores.parquet --quantile 0.75 --n 512 --by ches --out window.jsonl
    harness filter scores.parquet --random 0.05 --seed 1 --out control.jsonl

    The pairs come out as they were given, value for value, with their scores beside. Next to the output,
    `kept.filter.json` says what was kept and dropped, at which score, and how the two differ.
    """
    from harness.scoring import filtering
    from harness.scoring.kept import read_scores, write_kept

    rules = {"--keep-lowest": keep_lowest, "--drop-highest": drop_highest, "--quantile": quantile,
             "--threshold": threshold, "--random": random}  # fmt: skip
    if (given := sum(value is not None for value in rules.values())) != 1:
        raise HarnessError(f"{given} rules given", hint=f"Give exactly one of {', '.join(rules)}.")
    if (quantile is None) != (n is None):
        raise HarnessError("--quantile and --n go together", hint="Give both, as in --quantile 0.5 --n 512.")
    table = read_scores(scores)
    choice: Choice
    if keep_lowest is not None:
        choice = filtering.keep_lowest(table, _parse_amount(keep_lowest), by)
    elif drop_highest is not None:
        choice = filtering.drop_highest(table, _parse_amount(drop_highest), by)
    elif quantile is not None and n is not None:
        choice = filtering.keep_around_quantile(table, quantile, n, by)
    elif threshold is not None:
        choice = filtering.keep_at_most(table, threshold, by)
    else:
        choice = filtering.keep_random(table, _parse_amount(str(random)), seed, by)
    said = {**filtering.describe_choice(choice), "scores": scores.name, "scores_sha256": sha256_of(scores)}
    write_kept(scores, table, choice, out)
    write_json(out.with_suffix(".filter.json"), said)
    print(json.dumps(said) if as_json else _choice_text(choice, out))


def _parse_amount(text: str) -> Amount:
    """A whole number of pairs, or a fraction where there is a point, an exponent or a per cent sign."""
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise HarnessError(f"{text!r} is no amount", hint="Give a fraction such as 0.05, or a whole number.") from None


def _choice_text(choice: Choice, out: Path) -> str:
    cut = "" if choice.cut is None else f" ({choice.by} cut at {choice.cut})"
    unscored = f", {sum(choice.unscored.values())} without a score" if choice.unscored else ""
    return f"{len(choice.kept)} pairs kept, {len(choice.dropped)} dropped{cut}{unscored}\nPairs: {out}"
