"""What a starter recipe rests on: a model's configuration, its prompts, and the first rows of a preference table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch

from harness.judges.registry import judge_exchanges
from harness.judges.verdicts import Exchange
from harness.models.loading import empty_model, load_tokenizer, max_positions
from harness.models.paths import locate_model
from harness.models.templates import check_chat_template
from harness.preferences.pairs import BrokenRow, Pair, Text, Unscorable, check_pair
from harness.preferences.tables import check_table, count_rows, stream_rows
from harness.prompts.sets import PROMPT_KINDS, load_prompts
from harness.recipes.starter import ModelFacts, PromptFacts, TableFacts
from harness.run.own_models import find_own_model
from harness.support.errors import HarnessError

_LOOKED_AT = 256
"""Pairs whose answers are judged."""


def look_at_model(source: str, folder: Path) -> ModelFacts:
    """A model's size and context, without its weights; a recipe in `folder` is to name it.

    Raises HarnessError where there is none, or it has no chat template that can be used.
    """
    own = None if Path(source).exists() else find_own_model(source)
    path = own or locate_model(source, weights=False)
    check_chat_template(path)
    config, _ = load_tokenizer(path)
    parameters = sum(each.numel() for each in empty_model(config).parameters())
    return ModelFacts(_model_name(source, folder), parameters, max_positions(config), torch.cuda.is_available())


def look_at_prompts(source: str, folder: Path) -> PromptFacts:
    """How many prompts a source holds. Raises HarnessError where it is none, or holds no unsafe ones."""
    unsafe, benign = (len(load_prompts(source, kind)) for kind in PROMPT_KINDS)
    if not unsafe:
        raise HarnessError("holds no unsafe prompts", place=source)
    return PromptFacts(_table_name(source, folder), unsafe, benign)


def look_at_table(source: str, folder: Path) -> TableFacts:
    """A preference table's size and columns, and what the lexical judge says of its first answers.

    Raises HarnessError where it cannot be read, or its first rows hold no usable pair.
    """
    check_table(source)
    rows = [row for row in islice(stream_rows(source), _LOOKED_AT) if not isinstance(row, BrokenRow)]
    pairs, broken = list[Pair](), ""
    for row in rows:
        try:
            pairs.append(check_pair(row))
        except Unscorable as error:
            broken = broken or str(error)
    if not pairs:
        raise HarnessError(f"holds no usable pair among its first rows ({broken})", place=source)
    chosen, rejected = (_count_refusals(pairs, name) for name in ("chosen", "rejected"))
    columns = tuple(dict.fromkeys(str(name) for row in rows for name in row))
    return TableFacts(_table_name(source, folder), count_rows(source), columns, len(pairs), chosen, rejected)


def _count_refusals(pairs: Sequence[Pair], answer: str) -> int:
    asked = [Exchange(_last_text(pair.prompt), _last_text(getattr(pair, answer)), True) for pair in pairs]
    return sum(verdict.label == "refusal" for verdict in judge_exchanges("lexical", asked))


def _last_text(said: Text) -> str:
    """A text, or what the last of some messages says."""
    if isinstance(said, str):
        return said
    content = said[-1].get("content") if said else None
    return content if isinstance(content, str) else ""


def _model_name(source: str, folder: Path) -> str:
    """What a recipe in `folder` calls a file or directory: from there where it lies below, else by its whole path."""
    path, start = Path(source).resolve(), folder.resolve()
    if not path.exists():
        return source
    return str(path.relative_to(start)) if path.is_relative_to(start) else str(path)


def _table_name(source: str, folder: Path) -> str:
    """The same of a table. Raises HarnessError where a recipe in `folder` may not name it."""
    path = Path(source).resolve()
    if path.exists() and not any(path.is_relative_to(root.resolve()) for root in (folder, Path.cwd())):
        hint = "Write the recipe beside it (--out), or give this command from a folder that holds it."
        raise HarnessError("lies outside the recipe's folder and the working directory", place=source, hint=hint)
    return _model_name(source, folder)
