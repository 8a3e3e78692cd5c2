"""`harness displacement`: what a training did to the likelihood of the answers, and where the probability went."""

from __future__ import annotations

import json
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import resolve_own_model
from harness.cli.printing.terminal import plain_table, safe_text, stdout_console
from harness.support.artifacts import write_json
from harness.support.console import show_token
from harness.support.errors import HarnessError
from harness.support.layout import ARMS, ArmFiles, RunFiles, run_of_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table
    from rich.text import Text

    from harness.displacement.change import Change, TokenChange
    from harness.displacement.compare_evaluations import LikelihoodChange
    from harness.displacement.flips import TracedFlip
    from harness.displacement.refusal_features import LayerTurn
    from harness.displacement.spreads import SideSpread
    from harness.scoring.anchoring import Side

_text_table = partial(plain_table, lines=True, texts=True)


def displacement_command(
    before: Annotated[
        str,
        typer.Option("--before", help="Model before: directory, hub id, `miniature`, `smollm2`; or lm_eval output."),
    ],
    after: Annotated[str, typer.Option("--after", help="Model after training; or lm_eval output.")],
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
    """Measure likelihood displacement between two models.

    How ln p of the answers changed, and where the probability went.

    \b
    harness displacement --before ./base --after ./trained --preferences pairs.jsonl --out displacement.json
    harness displacement --before ./base --after ./trained --preferences pairs.jsonl --flips
    harness displacement --before lm_eval_base/ --after lm_eval_trained/

    The last form compares two runs of `lm_eval --tasks refusal_displacement_likelihood --log_samples`.
    """
    from harness.displacement.compare_evaluations import compare_evaluations, has_likelihood_evaluation

    if has_likelihood_evaluation(Path(before)) or has_likelihood_evaluation(Path(after)):
        likelihood = compare_evaluations(Path(before), Path(after))
        content = likelihood.to_json()
        tables = [_likelihood_table(likelihood)]
    else:
        before, after = (_find_model(name, given) for name, given in (("--before", before), ("--after", after)))
        if preferences is None:
            raise HarnessError("is not given", place="--preferences", hint="Name the table the model was trained on.")
        from harness.displacement.compare_models import compare_models

        found = compare_models(before, after, preferences, prompts, with_flips=flips, max_length=max_length)
        content = found.to_json()
        tables = [*_change_tables(found.change), *([_flips_table(found.flips)] if flips else [])]
    if out is not None:
        write_json(out, content)
    if as_json:
        print(json.dumps(content))
    else:
        stdout_console().print(*tables)
        if out is not None:
            print(f"Written: {out}")


def _find_model(option: str, given: str) -> str:
    """The model that is meant, one of our own by its name.

    Raises HarnessError for a run, an arm of it or a seed of one, which are no models; it names what to give.
    """
    place = Path(given)
    if not place.exists():
        return resolve_own_model(given)
    run = place if (place / ARMS).is_dir() else run_of_path(place)
    if run is None or not RunFiles(run).manifest.is_file() or not place.is_dir() or (place / "config.json").is_file():
        return given
    models = sorted(file.parent for file in place.glob("**/model/config.json"))
    if not models:
        hint = f"The run's starting model is the one to give: the `model` under `recipe` in {RunFiles(run).manifest}."
        raise HarnessError("holds no trained model", place=f"{option} {given}", hint=hint)
    measured = ArmFiles(models[0].parent).displacement
    hint = f"Give one of its models: {models[0]}; against the starting model the run measured it in {measured}."
    raise HarnessError("is of a run and no model", place=f"{option} {given}", hint=hint)


def _change_tables(change: Change) -> list[Table]:
    tables = [_pairs_table(change), _positions_table(change)]
    if change.spreads:
        tables.append(_spreads_table(change.spreads))
    tables += [_tokens_table(change), _starts_table(change)]
    if change.features and change.features.layers:
        tables.append(_direction_table(change.features.layers))
    return tables


def _pairs_table(change: Change) -> Table:
    table = _text_table("", ["mean change, nats"], f"{len(change.pairs)} pairs")
    table.add_row("ln p(y+)", f"{change.mean_of(lambda pair: pair.chosen):+.3f}")
    table.add_row("ln p(y-)", f"{change.mean_of(lambda pair: pair.rejected):+.3f}")
    table.add_row("margin", f"{change.mean_of(lambda pair: pair.margin):+.3f}")
    table.add_row("displaced while their loss fell", f"{change.displaced_share:.1%}")
    return table


def _positions_table(change: Change) -> Table:
    table = _text_table(
        "position", ["pairs", "ln p(y+)", "ln p(y-)", "gained most there"], "Token by token of the answers"
    )
    for each in change.positions[:8]:
        rejected = "" if each.rejected is None else f"{each.rejected:+.3f}"
        table.add_row(str(each.position), str(each.n), f"{each.chosen:+.3f}", rejected, _tokens_cell(each.gaining))
    return table


def _spreads_table(spreads: Mapping[Side, SideSpread]) -> Table:
    chosen, rejected = spreads["chosen"], spreads["rejected"]
    table = _text_table(
        "position",
        ["KL y+", "KL y-", "entropy y+", "entropy y-", "top y+", "top y-"],
        "Next-token distributions: KL from before, entropy (nats), top token's probability",
    )
    rows = [*zip_longest(chosen.positions[:8], rejected.positions[:8]), (chosen.overall, rejected.overall)]
    for place, sides in enumerate(rows):
        name = "all" if place == len(rows) - 1 else str(place)
        kl = ("" if each is None or each.kl is None else f"{each.kl:.3f}" for each in sides)
        entropy = ("" if each is None else "{:.2f}→{:.2f}".format(*each.entropy) for each in sides)
        top = ("" if each is None else "{:.0%}→{:.0%}".format(*each.top) for each in sides)
        table.add_row(name, *kl, *entropy, *top)
    return table


def _tokens_table(change: Change) -> Table:
    table = _text_table("", ["tokens"], "Where the probability went")
    for name, tokens in (
        ("gained, first token", change.gaining_at_start),
        ("lost, first token", change.losing_at_start),
        ("gained, anywhere in y+", change.gaining_anywhere),
    ):
        table.add_row(name, _tokens_cell(tokens[:6]))
    return table


def _starts_table(change: Change) -> Table:
    table = _text_table("", ["before", "after"], "How answers to the unsafe prompts start")
    for way, (was, now) in change.starts.items():
        table.add_row({"other": "cannot be told"}.get(way, f"as a {way}"), f"{was:.1%}", f"{now:.1%}")
    if change.features and change.features.mass:
        table.add_row("with a first token of refusals", *map("{:.1%}".format, change.features.mass))
    return table


def _direction_table(layers: Sequence[LayerTurn]) -> Table:
    table = _text_table(
        "layer", ["cosine with before", "length before", "after"], "The refusal direction: unsafe less benign prompts"
    )
    for turn in [layers[place * (len(layers) - 1) // 7] for place in range(8)] if len(layers) > 8 else layers:
        table.add_row(str(turn.layer), f"{turn.cosine:.3f}", f"{turn.length_before:.3g}", f"{turn.length_after:.3g}")
    return table


def _flips_table(flips: Sequence[TracedFlip]) -> Table:
    table = _text_table(
        "prompt",
        ["before", "after", "nearest pairs (ln_ches)"],
        f"{len(flips)} answers flipped between refusal and not",
    )
    for flip in flips[:10]:
        near = ", ".join(f"{pair.pair_id} ({pair.ln_ches:.3g})" for pair in flip.nearest[:2])
        table.add_row(*(safe_text(text, 48) for text in (flip.prompt, flip.before.label, flip.after.label, near)))
    return table


def _likelihood_table(found: LikelihoodChange) -> Table:
    table = _text_table("", ["mean change, nats", "95 % interval"], f"{found.pairs} pairs, two lm_eval runs")
    for name, each in found.changes.items():
        table.add_row(name, f"{each.value:+.3f}", f"{each.low:+.3f} to {each.high:+.3f}")
    table.add_row("displaced while their loss fell", f"{found.displaced_share:.1%}", "")
    return table


def _tokens_cell(tokens: Sequence[TokenChange]) -> Text:
    """Those that moved by as much as the three decimals show."""
    return safe_text(
        ", ".join(f"'{show_token(each.token)}' {each.change:+.3f}" for each in tokens if abs(each.change) >= 0.0005)
    )
