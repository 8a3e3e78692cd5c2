"""The lm-eval task `refusal_displacement_likelihood`: ln p(y+) and ln p(y-) of a preference table's pairs.

lm-eval scores text after text; DPOTrainer trains on tokens. So each pair is rendered here with the model's own
tokenizer, and what lm-eval will make of the text is checked, token for token, before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from harness.evaluation.samples import LIKELIHOOD_TASK
from harness.evaluation.telling import refuse_other_than_text, tell_in_one_line
from harness.preferences.pairs import Pair, Unscorable, check_pair
from harness.preferences.tables import load_preferences
from harness.preferences.tokens import Tokens, rendered_texts, tokenize_pair
from harness.support.console import safe_line
from harness.support.errors import HarnessError

_ELSEWHERE_HINT = "Measure this table with `harness displacement`, which works on tokens."


def pair_documents(
    preferences: str | None = None,
    pretrained: str | None = None,
    tokenizer: str | None = None,
    add_bos_token: bool | None = None,
    revision: str | None = None,
    **_: Any,
) -> dict[str, Dataset]:
    """The pairs as lm-eval's data set: `pair_id`, `context`, and `continuations` to it.

    Args:
        preferences: the preference table, from `--metadata`.
        pretrained: the model, which lm-eval passes on from `--model_args`.
        tokenizer: its tokenizer, where `--model_args` names another.
        add_bos_token: as in `--model_args`.
        revision: of the tokenizer on the hub, as in `--model_args`.

    The continuations are y+ and y-, each with its end of turn. Whitespace at the end of the prompt, which lm-eval
    would count to the continuation, is moved there and comes alone as a third, to be taken off again. Raises
    HarnessError where no table is given, or lm-eval would score other tokens than DPOTrainer trains on.
    """
    tell_in_one_line()
    refuse_other_than_text(preferences=preferences)
    if not preferences:
        raise HarnessError(
            "needs a preference table",
            place=LIKELIHOOD_TASK,
            hint='Give --metadata \'{"preferences": "pairs.jsonl"}\'.',
        )
    source = tokenizer or pretrained
    if not source:
        raise HarnessError(
            "needs the model's tokenizer",
            place=LIKELIHOOD_TASK,
            hint="Give --model_args pretrained=MODEL or tokenizer=MODEL.",
        )
    table = load_preferences(preferences)
    try:
        own = AutoTokenizer.from_pretrained(source, revision=revision or "main", trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise HarnessError(f"has no tokenizer ({safe_line(str(error), 120)})", place=str(source)) from error
    encode = _Encoder(own, add_bos_token)
    return {
        "test": Dataset.from_list([_pair_document(row, encode, f"{preferences}, {row['pair_id']}") for row in table])
    }


def likelihood_metrics(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:  # noqa: ARG001
    """One pair's ln p(y+), ln p(y-) and their difference, from lm-eval's ln p of each continuation."""
    chosen, rejected, *whitespace = (logprob for logprob, _ in results)
    chosen, rejected = chosen - sum(whitespace), rejected - sum(whitespace)
    return {"chosen_logprob": chosen, "rejected_logprob": rejected, "margin": chosen - rejected}


@dataclass(frozen=True, slots=True)
class _Encoder:
    """How lm-eval's `hf` and `vllm` backends turn text into token ids (`TemplateLM._encode_pair`, `tok_encode`)."""

    tokenizer: PreTrainedTokenizerBase
    add_bos_token: bool | None

    def __call__(self, text: str) -> list[int]:
        options: dict[str, bool] = {}
        if self.add_bos_token is not None:
            options["add_special_tokens"] = self.add_bos_token
        start = self.tokenizer.bos_token or self.tokenizer.eos_token
        if start and text.startswith(start):
            options["add_special_tokens"] = False
        ids: list[int] = self.tokenizer.encode(text, **options)
        return ids


def _pair_document(row: Mapping[str, Any], encode: _Encoder, place: str) -> dict[str, Any]:
    try:
        pair = check_pair(row)
        tokens = tokenize_pair(pair, encode.tokenizer)
    except Unscorable as error:
        raise HarnessError(str(error), place=place, hint="Mend or remove the row.") from error
    context, continuations = _split_context(pair, encode.tokenizer)
    _refuse_other_tokens(context, continuations, tokens, encode, place)
    return {"pair_id": row["pair_id"], "context": context, "continuations": continuations}


def _split_context(pair: Pair, tokenizer: PreTrainedTokenizerBase) -> tuple[str, list[str]]:
    """The prompt without the whitespace at its end, and what follows it; the whitespace alone where there is any."""
    prompt, chosen, rejected = rendered_texts(pair, tokenizer)
    context = prompt.rstrip()
    space = [prompt[len(context) :]] if context != prompt else []
    return context, [chosen[len(context) :], rejected[len(context) :], *space]


def _refuse_other_tokens(
    context: str, continuations: Sequence[str], tokens: Tokens, encode: _Encoder, place: str
) -> None:
    """Raises HarnessError unless lm-eval's split and ids are those DPOTrainer trains on."""
    expected = [tokens.prompt + tokens.chosen, tokens.prompt + tokens.rejected, tokens.prompt]
    start = encode(context)
    found = [encode(context + continuation) for continuation in continuations]
    if len(found) == 2:
        found.append(start)
    if found == expected and all(ids[: len(start)] == start for ids in found):
        return
    if found[2][1:] == expected[2]:
        told, hint = "lm-eval would put a token before the prompt", "Add add_bos_token=False to --model_args."
    else:
        told, hint = "lm-eval would score other tokens than DPOTrainer trains on", _ELSEWHERE_HINT
    raise HarnessError(told, place=place, hint=hint)
