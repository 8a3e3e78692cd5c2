"""What an evaluation puts to a model: a source's prompts, each followed by its variants where the source names some."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.prompts.attacks import TRANSLATED, WRAPPERS, Turns, put_translation
from harness.prompts.languages import MACHINE_TRANSLATED, choose_language, translate_request
from harness.prompts.sets import (
    PROMPT_KINDS,
    PromptKind,
    PromptRow,
    load_prompts,
    split_limit,
    spread_rows,
    tasks_directory,
)
from harness.prompts.variants import NO_ATTACK, OWN_LANGUAGE, Variants, parse_variants, split_variants, variant_name

AskedRow = dict[str, Any]
"""A row of `load_prompts`; of a source with variants, with `request`, `turns`, and `attack` or `language`."""


def load_asked_prompts(source: str, kind: PromptKind) -> list[AskedRow]:
    """The prompts of a source and their variants, so ordered that the first hold each hazard and split in its share.

    Without variants the rows are those of `load_prompts`. With them each has `request`, the id of the prompt that it
    puts; `attack` (`none`, or the wrapper) and `language` (`en`, or the translation's), each where the source asks for
    it; `translation` (`none` or `machine`) where any is translated; and `turns`, what is put to the model. `prompt` is
    the request as it was, which is what an answer is judged against. Attacks are on unsafe prompts alone: benign ones
    are as they are without them.

    Raises HarnessError as `load_prompts` does, and where the source names a variant that there is not.
    """
    base, suffix = split_variants(source)
    bundled = split_limit(base)[0] == "bundled"
    asked = parse_variants(suffix, translated=bundled)
    asked = asked if kind == "unsafe" else Variants((), asked.languages)
    rows = spread_rows(load_prompts(base, kind))
    if not asked.attacks and not asked.languages:
        return list(rows)
    return [each for row in rows for each in _put_request(row, kind, asked)]


def load_variants(source: str) -> list[AskedRow]:
    """The variants among the prompts of a source, of both kinds; none of a source that names none."""
    kinds = PROMPT_KINDS if split_variants(source)[1] else ()
    return [row for kind in kinds for row in load_asked_prompts(source, kind) if variant_name(row)]


def _put_request(row: PromptRow, kind: PromptKind, asked: Variants) -> Iterator[AskedRow]:
    """A prompt as it is, under each attack, and in each language."""
    plain = {"request": row["prompt_id"]}
    plain |= {"attack": NO_ATTACK} if asked.attacks else {}
    plain |= {"language": OWN_LANGUAGE} if asked.languages else {}
    plain |= {"translation": "none"} if asked.languages or TRANSLATED in asked.attacks else {}
    yield {**row, **plain, "turns": [row["prompt"]]}
    for name in asked.attacks:
        own = {"prompt_id": f"{row['prompt_id']}+{name}", "attack": name, "turns": _wrap_request(row, kind, name)}
        made = {"translation": MACHINE_TRANSLATED} if name == TRANSLATED else {}
        yield {**row, **plain, **own, **made}
    for code in asked.languages:
        put = translate_request(tasks_directory(), kind, row["prompt_id"], code)
        own = {"prompt_id": f"{row['prompt_id']}+{code}", "language": code, "turns": [put]}
        yield {**row, **plain, **own, "translation": MACHINE_TRANSLATED}


def _wrap_request(row: PromptRow, kind: PromptKind, attack: str) -> Turns:
    if attack != TRANSLATED:
        return WRAPPERS[attack](row["prompt"])
    language = choose_language(row["prompt_id"])
    return put_translation(translate_request(tasks_directory(), kind, row["prompt_id"], language))
