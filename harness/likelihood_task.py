"""The lm-eval task `refusal_displacement_likelihood`: ln p(y+) and ln p(y-) of a preference table's pairs.

lm-eval scores text after text; DPOTrainer trains on tokens. So each pair is rendered here with the model's own
tokenizer, and what lm-eval will make of the text is checked, token for token, before anything runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.console import safe
from harness.errors import HarnessError
from harness.preferences import Pair, Tokens, Unscorable, check, load, rendered_texts, tokenize
from harness.samples import Answer, read_evaluations
from harness.stats import Estimate, mean_change

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

TASK = "refusal_displacement_likelihood"
METRICS = ("chosen_logprob", "rejected_logprob", "margin")
_ELSEWHERE = "Measure this table with `harness displacement`, which works on tokens."


def documents(
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
    from datasets import Dataset
    from transformers import AutoTokenizer

    if not preferences:
        raise HarnessError(
            "needs a preference table", place=TASK, mend='Give --metadata \'{"preferences": "pairs.jsonl"}\'.'
        )
    source = tokenizer or pretrained
    if not source:
        raise HarnessError(
            "needs the model's tokenizer", place=TASK, mend="Give --model_args pretrained=MODEL or tokenizer=MODEL."
        )
    table = load(preferences)
    try:
        own = AutoTokenizer.from_pretrained(source, revision=revision or "main", trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise HarnessError(f"has no tokenizer ({safe(str(error), 120)})", place=str(source)) from error
    encode = _Encoder(own, add_bos_token)
    return {"test": Dataset.from_list([_document(row, encode, f"{preferences}, {row['pair_id']}") for row in table])}


def metrics(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:  # noqa: ARG001
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


def _document(row: Mapping[str, Any], encode: _Encoder, place: str) -> dict[str, Any]:
    try:
        pair = check(row)
        tokens = tokenize(pair, encode.tokenizer)
    except Unscorable as error:
        raise HarnessError(str(error), place=place, mend="Mend or remove the row.") from error
    context, continuations = _texts(pair, encode.tokenizer)
    _refuse_other_tokens(context, continuations, tokens, encode, place)
    return {"pair_id": row["pair_id"], "context": context, "continuations": continuations}


def _texts(pair: Pair, tokenizer: PreTrainedTokenizerBase) -> tuple[str, list[str]]:
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
        told, mend = "lm-eval would put a token before the prompt", "Add add_bos_token=False to --model_args."
    else:
        told, mend = "lm-eval would score other tokens than DPOTrainer trains on", _ELSEWHERE
    raise HarnessError(told, place=place, mend=mend)


# Two evaluations, before and after


@dataclass(frozen=True, slots=True)
class LikelihoodChange:
    """Mean change over the pairs, with its 95 % interval, of each of `METRICS`; and the share of pairs displaced."""

    pairs: int
    changes: Mapping[str, Estimate]
    displaced_share: float

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return {
            "schema_version": 1,
            "pairs": self.pairs,
            "changes": {name: _finite(asdict(change)) for name, change in self.changes.items()},
            "displaced_share": self.displaced_share,
        }


def holds_evaluation(path: Path) -> bool:
    """Whether lm-eval wrote samples of this task below a directory."""
    return path.is_dir() and any(path.rglob(f"samples_{TASK}_*.jsonl"))


def change(before: Path, after: Path) -> LikelihoodChange:
    """Compares two output directories of `lm_eval --tasks refusal_displacement_likelihood --log_samples`, by pair.

    Raises HarnessError where one holds no such evaluation, more than one, or the pairs or their text differ.
    """
    was, now = _by_pair(before), _by_pair(after)
    if was.keys() != now.keys() or any(was[name].document != now[name].document for name in was):
        raise HarnessError(
            "does not hold the same pairs, rendered alike, as the other side",
            place=str(after),
            mend="Run both with one preference table, tokenizer and chat template.",
        )
    values = {
        name: ([was[pair].outcomes[name] for pair in was], [now[pair].outcomes[name] for pair in was])
        for name in METRICS
    }
    if not all(math.isfinite(value) for sides in values.values() for side in sides for value in side):
        raise HarnessError("has a pair without a finite log-probability", place=str(after))
    moved = {name: [b - a for a, b in zip(*sides, strict=True)] for name, sides in values.items()}
    displaced = [c < 0 < m for c, m in zip(moved["chosen_logprob"], moved["margin"], strict=True)]
    estimates = {name: mean_change(*sides) for name, sides in values.items()}
    return LikelihoodChange(len(was), estimates, sum(displaced) / len(displaced))


def _by_pair(root: Path) -> dict[str, Answer]:
    answers = [answer for each in read_evaluations(root) for answer in each.answers if answer.task == TASK]
    found = {str(answer.doc["pair_id"]): answer for answer in answers}
    if not found or len(found) != len(answers):
        raise HarnessError(
            f"holds {'no' if not found else 'more than one'} evaluation of {TASK}",
            place=str(root),
            mend=f"Name the output directory of one `lm_eval --tasks {TASK} --log_samples`.",
        )
    return found


def _finite(estimate: Mapping[str, Any]) -> dict[str, Any]:
    """The value, limits (null where there are none) and number of pairs."""
    return {
        key: value if key == "n" or math.isfinite(value) else None
        for key, value in estimate.items()
        if key != "per_seed"
    }
