"""`harness score`: which pairs will displace likelihood, and which raise or lower refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import EngineOption, ProbeJudgeOption, WorkersOption, check_engine, resolve_own_model
from harness.cli.printing.checks import checks_json, print_checks
from harness.cli.printing.terminal import plain_table, safe_text, stdout_console
from harness.support import hub
from harness.support.ending import ERROR_CODE
from harness.support.errors import HarnessError
from harness.support.redaction import redact_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from harness.preferences.pairs import BrokenRow, PreferenceRow
    from harness.scoring.streaming import ScoringJob, ScoringSummary
    from harness.scoring.targets import InfluenceSettings
    from harness.workers.engines import Engine
    from reports.scores import InfluenceOverview, ScoreOverview


_PreferencesArgument = Annotated[
    list[str], typer.Argument(help="A JSONL, JSON, CSV, TSV or Parquet file, a folder of them, or a hub id (org/name).")
]
_CheckOption = Annotated[
    bool, typer.Option("--check", help="Only say what training on these files would break on; without a model.")
]
_ModelOption = Annotated[
    str | None, typer.Option("--model", help="Directory, GGUF file or hub id of what is to be trained.")
]
_OutOption = Annotated[
    str | None,
    typer.Option("--out", help="Parquet file, or DIRECTORY/, for the scores; a page of that name goes beside."),
]
_CoefficientsOption = Annotated[
    bool, typer.Option("--with-coefficients", help="Also the Theorem 3/6 coefficients (needs the vocabulary).")
]
_PaperStatesOption = Annotated[
    bool,
    typer.Option("--paper-states", help="Score answers up to their end token, as the paper's code does."),
]
_TextOption = Annotated[
    bool, typer.Option("--with-text", help="Print the texts of the highest pairs; they may be harmful.")
]
_ProbesOption = Annotated[
    str | None,
    typer.Option(
        "--probes",
        metavar="bundled|FILE|RUN",
        help="Also each pair's influence on refusals: prompts to probe the model with, or a run with its answers.",
    ),
]
_TargetsOption = Annotated[
    str, typer.Option("--targets", help="Influence on what, of refusal, harmful, benign, preferred; commas between.")
]
_SubspaceOption = Annotated[
    str | None,
    typer.Option(
        "--subspace", metavar="lora:R|last:K", help="Influence over adapters of rank R, or the last K layers, only."
    ),
]


def score_command(
    preferences: _PreferencesArgument,
    model: _ModelOption = None,
    out: _OutOption = None,
    check: _CheckOption = False,
    config: Annotated[
        str | None, typer.Option("--config", help="Configuration of a data set that has several.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Split of a hub data set, or of a folder of them.")] = "train",
    max_length: Annotated[
        int | None, typer.Option("--max-length", min=2, help="Cut sequences as DPOTrainer's max_length will.")
    ] = None,
    chat_template: Annotated[
        Path | None, typer.Option("--chat-template", help="Jinja chat template in place of the tokenizer's own.")
    ] = None,
    paper_states: _PaperStatesOption = False,
    with_coefficients: _CoefficientsOption = False,
    probes: _ProbesOption = None,
    probe_samples: Annotated[int, typer.Option("--probe-samples", min=1, help="Answers to draw for each prompt.")] = 4,
    targets: _TargetsOption = "refusal",
    judge: ProbeJudgeOption = "lexical",
    subspace: _SubspaceOption = None,
    engine: EngineOption = "local",
    workers: WorkersOption = None,
    with_text: _TextOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as one JSON object.")] = False,
) -> None:
    """Score preference pairs by how much they will displace.

    \b
    harness score pairs.jsonl --model ./my-model --out scores.parquet
    harness score trl-lib/ultrafeedback_binarized --split train --model Qwen/Qwen2-0.5B-Instruct --out uf.parquet
    harness score pairs.jsonl --model ./my-model --probes bundled --out scores.parquet
    harness score s3://bucket/pairs/ --model ./my-model --engine ray --out s3://bucket/scores/
    harness score --check pairs.jsonl more.csv

    Every row comes out again with its scores, or with the reason why it has none. A killed run goes on where it
    stopped when the same command is given again.
    """
    if check:
        _check_files(preferences, config, split, as_json)
        return
    check_engine(engine, workers)
    table, model, out = _scoring_places(preferences, model, out)
    model, table = _pin(resolve_own_model(model), "model"), _pin(table, "dataset")
    influence = _influence_settings(probes, probe_samples, targets, judge, subspace)
    template = _usable_template(model, chat_template, table, config, split, probed=influence is not None)
    from harness.scoring.streaming import ScoringJob
    from reports.scores import read_score_overview, render_scores

    job = ScoringJob(table, config, split, max_length, with_coefficients, influence, paper_states)
    summary = _score_table(job, model, out, template, engine, workers)
    seen = read_score_overview(out)
    page = _write_page(render_scores(seen, title=out.rstrip("/").rpartition("/")[2], model=model), out)
    if as_json:
        said = {**asdict(summary), "page": page, "quantiles": seen.quantiles, **_influences_json(seen)}
        said |= {"positive_weights": seen.positive_weights} if seen.positive_weights else {}
        print(json.dumps(redact_json(said)))
    else:
        _print_summary(summary, seen, page, with_text, cut=max_length is not None)


def _check_files(places: Sequence[str], config: str | None, split: str, as_json: bool) -> None:
    """Prints what is wrong with the files. Raises typer.Exit with 2 where anything is."""
    from harness.preferences.checking import check_file
    from harness.preferences.files import table_files

    checks = [check_file(file) for place in places for file in table_files(place, config, split) or [place]]
    if as_json:
        print(json.dumps(redact_json(checks_json(checks))))
    else:
        print_checks(checks)
    if any(each.problems for each in checks):
        raise typer.Exit(ERROR_CODE)


def _scoring_places(preferences: Sequence[str], model: str | None, out: str | None) -> tuple[str, str, str]:
    """The one table, the model and the place of the scores. Raises HarnessError where one is missing or would go."""
    if len(preferences) != 1:
        hint = "Score one table, or a folder of them; --check takes any number of files."
        raise HarnessError(f"{len(preferences)} tables given", hint=hint)
    if model is None or out is None:
        hint = "Or give --check, which needs no model."
        raise HarnessError("--model and --out are both needed", hint=hint)
    _refuse_overwriting(preferences[0], out)
    return preferences[0], model, out


def _pin(source: str, kind: hub.RepoType) -> str:
    return hub.pin_to_commit(source, kind) if hub.is_on_hub(source) else source


def _influence_settings(
    probes: str | None, samples: int, targets: str, judge: str, subspace: str | None
) -> InfluenceSettings | None:
    """What influence is asked for, if any; what is wrong with it is told before torch is loaded."""
    from harness.judges.registry import judge_identity
    from harness.scoring.targets import InfluenceSettings, check_subspace, parse_targets

    chosen = parse_targets(targets)
    if subspace is not None:
        check_subspace(subspace)
    if probes is None:
        return None
    judge_identity(judge)
    return InfluenceSettings(probes, samples, chosen, judge, subspace)


def _score_table(
    job: ScoringJob, model: str, out: str, template: str | None, engine: Engine, workers: int | None
) -> ScoringSummary:
    from harness.models.paths import locate_model
    from harness.scoring.on_ray import score_file_on_ray
    from harness.scoring.streaming import load_scoring_model, score_file

    content = locate_model(model).content if job.influence else ""
    if engine == "ray":
        return score_file_on_ray(job, model, out, chat_template=template, workers=workers, content=content)
    loaded, tokenizer = load_scoring_model(model, template, float32=job.influence is not None)
    return score_file(job.preferences, loaded, tokenizer, out, config=job.config, split=job.split,
                      max_length=job.max_length, paper_states=job.paper_states, with_coefficients=job.with_coefficients,
                      influence=job.influence, content=content)  # fmt: skip


def _refuse_overwriting(preferences: str, out: str) -> None:
    if out.endswith("/"):
        if out.rstrip("/") == preferences.rstrip("/"):
            raise HarnessError("is the input itself", place=f"--out {out}", hint="Choose another name.")
        return
    if not out.endswith(".parquet"):
        hint = "Name it like scores.parquet, or put a / at its end for a directory of files."
        raise HarnessError("is no .parquet file", place=f"--out {out}", hint=hint)
    from harness.support import storage  # it loads Arrow, which `harness --help` does without

    if storage.is_directory(out):
        raise HarnessError("is a directory", place=f"--out {out}", hint="Give the name of a Parquet file.")
    if out == preferences or _same_file(out, preferences):
        raise HarnessError("is the input itself", place=f"--out {out}", hint="Choose another name.")


def _same_file(one: str, other: str) -> bool:
    return Path(one).exists() and Path(other).exists() and Path(one).samefile(other)


def _usable_template(
    model: str, file: Path | None, preferences: str, config: str | None, split: str, *, probed: bool
) -> str | None:
    """The chat template given, None where none is; what table or model lack is told before torch is loaded."""
    from harness.models.paths import locate_model
    from harness.models.templates import check_chat_template
    from harness.preferences.tables import check_table, stream_rows

    check_table(preferences, config, split)
    template, place = _read_template(file), locate_model(model, weights=not hub.is_on_hub(model))
    if probed or _holds_messages(stream_rows(preferences, config, split)):
        hint = "Give --chat-template FILE, the Jinja template that the training will use."
        check_chat_template(place, template, hint=hint)
    return template


def _holds_messages(rows: Iterator[PreferenceRow | BrokenRow]) -> bool:
    """Whether the first pair of a table is one that a chat template renders; of its beginning, as others may be bad."""
    from harness.preferences.pairs import Unscorable, check_pair

    for row in islice(rows, 100):
        with suppress(Unscorable):
            return check_pair(row).is_conversational
    return False


def _read_template(path: Path | None) -> str | None:
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"cannot be read ({error})", place=str(path)) from error


def _write_page(content: str, out: str) -> str:
    """Writes the page beside the scores and returns its place."""
    from harness.support import storage

    page = out.rstrip("/").removesuffix(".parquet") + ".html"
    storage.write_bytes(page, content.encode("utf-8", "backslashreplace"))
    return page


def _print_summary(summary: ScoringSummary, seen: ScoreOverview, page: str, with_text: bool, *, cut: bool) -> None:
    """The quantiles, the highest pairs and what was not scored, on standard output."""
    quantiles = plain_table("quantile", seen.quantiles, "Quantiles", lines=True)
    for level, values in zip(seen.levels, zip(*seen.quantiles.values(), strict=True), strict=True):
        quantiles.add_row(level, *(f"{value:.4g}" for value in values))
    console = stdout_console()
    console.print(quantiles, _highest_pairs(seen, with_text))
    _print_influences(console, seen, with_text)
    if seen.positive_weights:
        plus, minus = (f"{share:.1%}" for share in seen.positive_weights)
        console.print(f"Theorem 3's weights above zero: alpha+ {plus}, alpha- {minus} (mean over the pairs)")
    console.print(safe_text(_summary_text(summary, cut)))
    console.print(safe_text(f"Scores: {summary.out}   Page: {page}"))


def _influences_json(seen: ScoreOverview) -> dict[str, Any]:
    """What is seen of the influences, but for texts; nothing where there are none."""
    said = {
        each.target: {
            "mean": each.mean,
            "error_at_most": each.error_at_most,
            "negative": each.negative,
            "reliability": each.reliability,
            "quantiles": each.quantiles,
            "types": [asdict(kind) for kind in each.types],
            "lowest_pair_ids": [pair.pair_id for pair in each.lowest],
            "highest_pair_ids": [pair.pair_id for pair in each.highest],
        }
        for each in seen.influences
    }
    return {"influences": said} if said else {}


def _print_influences(console: Console, seen: ScoreOverview, with_text: bool) -> None:
    """What each influence says of the whole table, and by the first of them the pairs that push hardest."""
    if not seen.influences:
        return
    quantiles = plain_table("quantile", [each.target for each in seen.influences], "Influence", lines=True)
    for level, values in zip(seen.levels, zip(*(each.quantiles for each in seen.influences), strict=True), strict=True):
        quantiles.add_row(level, *(f"{value:+.4g}" for value in values))
    console.print(quantiles)
    for each in seen.influences:
        console.print(*map(safe_text, _influence_lines(each)), sep="\n", end="\n\n")
    console.print(_hardest_pairs(seen.influences[0], with_text))


def _influence_lines(each: InfluenceOverview) -> list[str]:
    said = f"mean {each.mean:+.4g} (standard error at most {each.error_at_most:.2g}), {each.negative:.0%} below 0"
    lines = [f"Influence on the {each.name}: {said}.", each.meaning]
    if each.reliability is not None:
        lines.append(f"Scored with other probe answers, pairs would correlate by {each.reliability:.2f} with these.")
    if each.types:
        kinds = (f"{kind.name.lower()} {kind.mean:+.4g} ({kind.pairs} pairs)" for kind in each.types)
        lines.append(f"By verdicts, mean: {', '.join(kinds)}.")
    return lines


def _hardest_pairs(each: InfluenceOverview, with_text: bool) -> Table:
    """The pairs that lower the target most, then those that raise it most."""
    names = ["prompt", "chosen", "rejected"] if with_text else ["pair_id", "ln_ches"]
    hardest = plain_table("influence", ["error", *names], "Push hardest, down and up", lines=True, texts=True)
    for pair in (*each.lowest, *(pair for pair in each.highest if pair not in each.lowest)):
        mean, error = pair.influences[each.target]
        shown = [pair.prompt, pair.chosen, pair.rejected] if with_text else [pair.pair_id, f"{pair.ln_ches:.4g}"]
        hardest.add_row(f"{mean:+.4g}", f"{error:.2g}", *(safe_text(text, 40) for text in shown))
    return hardest


def _highest_pairs(seen: ScoreOverview, with_text: bool) -> Table:
    """Their scores and ids; the texts, which may be harmful and this output the log of a public build, if asked for."""
    names = ["prompt", "chosen", "rejected"] if with_text else ["pair_id", "chosen_tokens", "rejected_tokens"]
    highest = plain_table("ln_ches", names, "Highest", lines=True, texts=True)
    for pair in seen.highest:
        shown = (safe_text(str(getattr(pair, name)), 40) for name in names)
        highest.add_row(f"{pair.ln_ches:.4g}", *shown)
    return highest


def _summary_text(summary: ScoringSummary, cut: bool) -> str:
    from harness.scoring.streaming import USUAL_MAX_LENGTH

    parts = [f"{summary.scored} of {summary.rows} pairs scored"]
    parts += [f"{count} not: {reason}" for reason, count in list(summary.reasons.items())[:10]]
    if summary.merged:
        parts.append(
            f"in {summary.merged} the prompt's last tokens merge with the answer's; they count as the answer's"
        )
    if summary.beyond_usual and not cut:
        parts.append(
            f"{summary.beyond_usual} are longer than DPOTrainer's default max_length of {USUAL_MAX_LENGTH}, which "
            f"would cut them or leave them out: give --max-length {USUAL_MAX_LENGTH} to score what it trains on"
        )
    return "; ".join(parts)
