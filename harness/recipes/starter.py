"""A starter recipe: a commented YAML text for a model, its prompts and pairs, with settings that follow from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from textwrap import wrap

from harness.support.console import safe_line
from harness.support.plain_yaml import parse_yaml

SMOKE_PROMPTS = 60
"""Unsafe prompts of a smoke run: some of every bundled hazard and split."""
_TINY, _SMALL, _LARGE = 20_000_000, 1_000_000_000, 2_000_000_000
"""Parameters: below the first, as the miniature's, training needs larger steps; from the second on one seed is much
already; from the last on training all weights takes 24 GB and more, and adapters a fraction of it."""
_STEPS = 8
"""Optimizer steps that an epoch is to have at least: with fewer, nothing moves."""
_RANK = 16


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model without its weights.

    `name`: what the recipe calls it. `context`: tokens of prompt and answer; None where it does not say. `on_gpu`:
    whether this machine has one.
    """

    name: str
    parameters: int
    context: int | None
    on_gpu: bool


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """A prompt source as the recipe names it, and how many of either kind it holds."""

    name: str
    unsafe: int
    benign: int


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What is known of a preference table.

    `name`: what the recipe calls it. `pairs`: its rows; None where that takes loading it. Of the first `looked_at`
    usable ones `chosen_refusals` and `rejected_refusals` are judged refusals.
    """

    name: str
    pairs: int | None
    columns: tuple[str, ...]
    looked_at: int
    chosen_refusals: int
    rejected_refusals: int


def smoke_limit(prompts: PromptFacts) -> int:
    """How many unsafe prompts a smoke run takes."""
    return min(SMOKE_PROMPTS, prompts.unsafe)


def starter_text(name: str, file: str, model: ModelFacts, prompts: PromptFacts, table: TableFacts | None) -> str:
    """The recipe's text.

    Args:
        name: the recipe's.
        file: what to call the file in commands.
        model: what to start from.
        prompts: what to ask.
        table: what to train on; without it, pairs sampled from the model.
    """
    limit = smoke_limit(prompts)
    parts = [
        _TOP.format(file=file, name=name, limit=limit),
        _commented(_NAME, f"name: {name}\nabout: Does preference training make {_quotable(model.name)} less safe?"),
        _commented(_model_comment(model), f"model: {_scalar(model.name)}"),
        _commented(_prompts_comment(prompts), f"prompts: {_scalar(prompts.name)}"),
        _commented(_JUDGE, "judge: lexical"),
        _pairs_part(model, table),
        _commented(_SEEDS, f"seeds: {_seeds(model)}"),
        _training_part(model, prompts if table is None else None, table),
        _evaluation_part(model),
        _probes_part(model),
        _ARMS,
    ]
    return "\n".join(parts)


# The parts

_TOP = """\
# Written by `harness init`, to be read and changed. Editors show more on each key.
#
#   harness run {file} --dry-run     its stages, memory and time; nothing is run
#   harness run {file} --limit {limit}    a smoke run on {limit} unsafe prompts, marked as one: does it all work?
#   harness run {file}               the whole of it, into runs/{name}
#   harness gate --before runs/{name}/arms/baseline --after runs/{name}/arms/raw
"""
_NAME = "What the run is called, as its directory in runs/ is; and a line on it for the report."
_JUDGE = (
    "Who says which answers refuse. `lexical` needs no weights and no network; `harness judges` lists the others, "
    "`harness calibrate` says how far one agrees with people."
)
_SEEDS = "Trainings of each arm: one a seed, from the same pairs. More of them say how much one training varies."
_ARMS = """\
# What is trained and compared; the untrained model, `baseline`, is always there.
arms:
  # DPO on all pairs.
  raw: {}
  # On the half that refusals lose least by, for as many steps as raw: a filter, not a shorter training.
  influence_filtered: {filter: {keep_highest: 0.5, by: refusal_influence}, steps: as_raw}
  # The control: a half at random. What it changes as well is not the filter's doing.
  random_half: {filter: {random: 0.5}, steps: as_raw}
"""


def _model_comment(model: ModelFacts) -> str:
    context = f"{model.context} tokens of prompt and answer" if model.context else "a context that it does not state"
    return (
        f"The model to start from, with {_count_text(model.parameters)} parameters, {context}, and a chat template: a "
        "directory, a GGUF file or a hub id (`revision: COMMIT` fixes one)."
    )


def _prompts_comment(prompts: PromptFacts) -> str:
    benign = f"{prompts.benign} benign ones" if prompts.benign else "no benign ones, so over-refusal is not measured"
    return (
        f"What is asked before and after: {prompts.unsafe} unsafe prompts, {benign}. `bundled`, a published set's name "
        "(docs/tasks.md), or a .jsonl or .csv file with a `prompt` column, where rows with `label: safe` are benign."
    )


def _pairs_part(model: ModelFacts, table: TableFacts | None) -> str:
    if table is not None:
        return _commented(_table_comment(table), f"preferences: {_scalar(table.name)}")
    comment = (
        "The pairs to train on: two answers of the model to each unsafe training prompt, the refusal preferred, as in "
        "the paper. A table of your own in their place: `preferences: FILE`."
    )
    inner = _commented("At which answers are drawn; higher gives more different ones.", "temperature: 1.0")
    inner += _commented("Their greatest length, and prompts answered at a time.", _answer_keys(model))
    return _commented(comment, f"pairs:\n{_indented(inner)}")


def _table_comment(table: TableFacts) -> str:
    size = "The pairs to train on" if table.pairs is None else f"The pairs to train on, {table.pairs} of them"
    columns = safe_line(", ".join(table.columns), 160)
    both = table.chosen_refusals, table.rejected_refusals
    judged = (
        f"Of the first {table.looked_at}, {both[0]} preferred answers and {both[1]} others are judged refusals"
        if any(both)
        else f"Of the first {table.looked_at}, no answer is judged a refusal: what such pairs do to refusals, the run "
        "is to show"
    )
    return f"{size}; columns: {columns}. {judged}."


def _training_part(model: ModelFacts, sampled: PromptFacts | None, table: TableFacts | None) -> str:
    """`sampled`: the prompts that pairs are sampled to, where they are."""
    pairs = table.pairs if table is not None else sampled.unsafe if sampled is not None else None
    batch = _batch_size(pairs)
    steps = f", some {-(-pairs // batch)} steps an epoch" if pairs else ""
    inner = _commented(_rate_comment(model), f"learning_rate: {_learning_rate(model)}")
    inner += _commented("How strongly training holds to the starting model (DPO's beta).", "beta: 0.1")
    inner += _commented(f"Pairs a step{steps}.", f"batch_size: {batch}")
    micro = batch if model.parameters < _TINY else min(4, batch)
    inner += _commented("Of these, so many at a time: lower it where memory runs out.", f"micro_batch_size: {micro}")
    if _is_large(model):
        comment = (
            "Adapters in place of all weights, which would take 12 bytes a parameter (docs/training.md); leave it out, "
            "and take a rate of 5.0e-6, to train all as in the paper."
        )
        inner += _commented(comment, f"lora: {{rank: {_RANK}, alpha: {2 * _RANK}}}")
    return f"# How every arm is trained.\ntraining:\n{_indented(inner)}"


def _rate_comment(model: ModelFacts) -> str:
    if _is_large(model):
        return "Constant. Adapters take larger steps than all weights, for which the paper has 5e-6."
    if model.parameters < _TINY:
        return "Constant. Ten times the paper's, as so small a model needs it."
    return "Constant. The paper's for DPO."


def _evaluation_part(model: ModelFacts) -> str:
    inner = _commented("As in the paper; 0 takes the likeliest token each time.", "temperature: 0.7")
    comment = (
        "The answers' greatest length: enough to see whether one refuses, not to judge all of a long one (the paper: "
        "512); and prompts answered at a time."
    )
    inner += _commented(comment, _answer_keys(model))
    return f"# How the answers are drawn that are judged, before training and after.\nevaluation:\n{_indented(inner)}"


def _probes_part(model: ModelFacts) -> str:
    inner = _commented("Answers to each training prompt: more of them, and the measure is surer.", "samples: 4")
    if _is_large(model):
        inner += _commented("The gradient over such adapters alone, as over all weights it is too large.", _SUBSPACE)
    comment = "How refusal_influence is measured, by which an arm below chooses its pairs."
    return _commented(comment, f"probes:\n{_indented(inner)}")


_SUBSPACE = f"subspace: lora:{_RANK}"


# The settings


def _is_large(model: ModelFacts) -> bool:
    return model.parameters >= _LARGE


def _learning_rate(model: ModelFacts) -> str:
    return "1.0e-4" if _is_large(model) else "5.0e-5" if model.parameters < _TINY else "5.0e-6"


def _seeds(model: ModelFacts) -> str:
    return "[0, 1, 2]" if model.parameters < _SMALL else "[0]"


def _batch_size(pairs: int | None) -> int:
    """The paper's 32, or where these pairs would give too few steps the largest power of two that gives enough."""
    fitting = (size for size in (32, 16, 8) if pairs is None or pairs >= _STEPS * size)
    return next(fitting, 4)


def _answer_keys(model: ModelFacts) -> str:
    """Long answers where a GPU draws them; at most a quarter of what the model takes."""
    tokens = min(256 if model.on_gpu else 64, (model.context or 4096) // 4)
    return f"max_new_tokens: {max(1, tokens)}\nbatch_size: {64 if model.on_gpu else 32}"


# YAML


def _commented(comment: str, lines: str) -> str:
    return "".join(f"# {line}\n" for line in wrap(comment, 116, break_on_hyphens=False)) + f"{lines.rstrip()}\n"


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" if line else "\n" for line in text.splitlines())


def _scalar(text: str) -> str:
    """A text as YAML has it, quoted where it would be read as anything else."""
    try:
        return text if parse_yaml(f"key: {text}") == {"key": text} else json.dumps(text)
    except ValueError:
        return json.dumps(text)


def _quotable(name: str) -> str:
    """A model's name within a sentence that YAML reads as one text."""
    return "".join(c if c.isalnum() or c in "._/-" else "_" for c in name)


def _count_text(parameters: int) -> str:
    for size, unit in ((10**9, "billion"), (10**6, "million")):
        if parameters >= size:
            return f"{parameters / size:.3g} {unit}"
    return str(parameters)
