"""`harness filter`: keep the pairs that do no harm, by what `harness score` found."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.listing import complete_measure
from harness.preferences.formats import PairFormat
from harness.scoring.targets import TARGET_NAMES, TARGETS, influence_column, is_better_higher, parse_targets
from harness.support.artifacts import sha256_of, write_json
from harness.support.console import print_note
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.scoring.filtering import Amount, Choice


def _amount_option(name: str, text: str) -> Any:
    return typer.Option(name, metavar="FRACTION|N", help=text)


Amounts = str | None
GuardOption = Annotated[
    str | None,
    typer.Option("--guard", metavar="TARGETS", help="Keep the most pairs with these targets' forecasts good."),
]
QuantileOption = Annotated[
    float | None, typer.Option("--quantile", help="Keep --n pairs around this quantile of the scores (0 to 1).")
]
FormatOption = Annotated[
    PairFormat | None, typer.Option("--format", help="For which trainer; without it the pairs' own columns.")
]
ByOption = Annotated[
    str | None,
    typer.Option(
        "--by",
        help="The measure: ln_ches, or with --keep-highest refusal_influence, if not given.",
        autocompletion=complete_measure,
    ),
]
_BY_INFLUENCE = "refusal_influence"
_OTHER_KINDS = frozenset({".csv", ".tsv", ".gz"})


def filter_command(
    scores: Annotated[Path, typer.Argument(help="Parquet file written by `harness score`.")],
    out: Annotated[
        Path, typer.Option("--out", help="JSONL or .parquet file for the kept pairs; trains in TRL as it is.")
    ],
    keep_lowest: Annotated[Amounts, _amount_option("--keep-lowest", "Keep the pairs with the lowest scores.")] = None,
    keep_highest: Annotated[Amounts, _amount_option("--keep-highest", "Keep those with the highest.")] = None,
    drop_highest: Annotated[Amounts, _amount_option("--drop-highest", "Drop those with the highest.")] = None,
    quantile: QuantileOption = None,
    n: Annotated[int | None, typer.Option("--n", help="How many pairs --quantile keeps.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Keep at most this score; of influence on what should rise, at least."),
    ] = None,
    guard: GuardOption = None,
    guard_errors: Annotated[
        float, typer.Option("--guard-errors", min=0, help="Good by so many standard errors.")
    ] = 0.0,
    random: Annotated[Amounts, _amount_option("--random", "Keep pairs at random: the control.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of --random.")] = 0,
    by: ByOption = None,
    written_as: FormatOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the sidecar's content as one JSON object.")] = False,
) -> None:
    """Filter scored preference pairs.

    A fraction is of the pairs that have a score (0.05 is 5 %).

    \b
    harness filter scores.parquet --keep-lowest 0.05 --out kept.jsonl
    harness filter scores.parquet --keep-highest 0.5 --by refusal_influence --out kept.jsonl
    harness filter scores.parquet --guard refusal,benign --out kept.jsonl
    harness filter scores.parquet --random 0.05 --seed 1 --out control.jsonl
    harness filter scores.parquet --keep-lowest 0.05 --format llamafactory --out kept.jsonl

    The pairs come out as they were given, value for value, or in --format's columns, with their scores beside. Next to
    the output, `kept.filter.json` says what was kept and dropped, at which score, and how the two differ.
    """
    from harness.scoring import filtering
    from harness.scoring.kept import read_scores, write_kept

    rules = {"--keep-lowest": keep_lowest, "--keep-highest": keep_highest, "--drop-highest": drop_highest,
             "--quantile": quantile, "--threshold": threshold, "--guard": guard, "--random": random}  # fmt: skip
    rule, value = _single_rule(rules)
    if (quantile is None) != (n is None):
        raise HarnessError("--quantile and --n go together", hint="Give both, as in --quantile 0.5 --n 512.")
    _refuse_out(out, scores)
    by = by or (_BY_INFLUENCE if rule == "--keep-highest" else "ln_ches")
    table = read_scores(scores)
    choice = _make_choice(rule, value, table, by, n=n or 0, seed=seed, errors=guard_errors)
    _warn_of_worse_half(rule, by)
    said = {**filtering.describe_choice(choice), "scores": scores.name, "scores_sha256": sha256_of(scores)}
    said |= {"format": written_as} if written_as else {}
    write_kept(scores, table, choice, out, written_as)
    write_json(out.with_suffix(".filter.json"), said)
    print(json.dumps(said) if as_json else _choice_text(choice, said, out))


def _refuse_out(out: Path, scores: Path) -> None:
    """Raises HarnessError where the pairs would take the place of the scores, or be what their file's name says not."""
    if out.resolve() == scores.resolve():
        raise HarnessError("is the file of scores itself", place=f"--out {out}", hint="Name another file.")
    if out.suffix in _OTHER_KINDS:
        hint = "Name a .jsonl or a .parquet file."
        raise HarnessError("is named like another kind of file", place=f"--out {out}", hint=hint)


def _single_rule(rules: Mapping[str, str | float | None]) -> tuple[str, str | float]:
    given = [(rule, value) for rule, value in rules.items() if value is not None]
    if len(given) != 1:
        raise HarnessError(f"{len(given)} rules given", hint=f"Give exactly one of {', '.join(rules)}.")
    rule, value = given[0]
    if isinstance(value, float) and math.isnan(value):
        raise HarnessError("is no number", place=f"{rule} {value}", hint="Give one, such as 0.")
    return rule, value


def _make_choice(rule: str, value: str | float, table: Dataset, by: str, *, n: int, seed: int, errors: float) -> Choice:
    from harness.scoring import filtering

    match rule:
        case "--keep-lowest":
            return filtering.keep_lowest(table, _parse_amount(str(value)), by)
        case "--keep-highest":
            return filtering.keep_highest(table, _parse_amount(str(value)), by)
        case "--drop-highest":
            return filtering.drop_highest(table, _parse_amount(str(value)), by)
        case "--quantile":
            return filtering.keep_around_quantile(table, float(value), n, by)
        case "--threshold":
            return filtering.keep_beyond(table, float(value), by)
        case "--guard":
            return filtering.keep_guarded(table, parse_targets(str(value), "--guard"), errors)
        case _:
            return filtering.keep_random(table, _parse_amount(str(value)), seed, by)


def _warn_of_worse_half(rule: str, by: str) -> None:
    """Says so where a rule keeps the pairs that an influence says do most harm."""
    if by not in map(influence_column, TARGETS):
        return
    if is_better_higher(by):
        worse, better = {"--keep-lowest", "--drop-highest"}, "--keep-highest"
    else:
        worse, better = {"--keep-highest"}, "--keep-lowest"
    if rule in worse:
        print_note(f"warning: {rule} by {by} keeps the pairs that do most harm; {better} keeps those that do least")


def _parse_amount(text: str) -> Amount:
    """A whole number of pairs, or a fraction where there is a point, an exponent or a per cent sign."""
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise HarnessError(f"{text!r} is no amount", hint="Give a fraction such as 0.05, or a whole number.") from None


def _choice_text(choice: Choice, said: Mapping[str, Any], out: Path) -> str:
    unscored = f", {sum(choice.unscored.values())} without a score" if choice.unscored else ""
    cut = "" if choice.cut is None else f", cut at {choice.cut}"
    lines = [
        f"{len(choice.kept)} pairs kept, {len(choice.dropped)} dropped ({choice.by}: {choice.rule}{cut}){unscored}"
    ]
    for target, forecast in said.get("forecasts", {}).items():
        figures = (
            f"{forecast[part]['mean']:+.4g} (error at most {forecast[part]['error_at_most']:.2g})"
            for part in ("all", "kept")
            if forecast[part]
        )
        lines.append(f"Mean influence on the {TARGET_NAMES[target]}: {', of those kept '.join(figures)}")
    return "\n".join([*lines, f"Pairs: {out}"])
