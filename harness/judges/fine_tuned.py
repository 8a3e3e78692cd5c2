"""Judges that are fine-tuned models: each with the input format its authors published and a parser of its own.

Judged text is data: `neutralize_text` breaks whatever the judge's tokenizer or format would take for a control token or
the end of a section, before it goes into the format. An answer the parser cannot read is `unjudged`, with the raw text.
Needs the weights (`harness.judges.weights`; see docs/judges.md for memory and licences).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from harness.judges.formats import MODEL_JUDGES, ModelJudge
from harness.judges.verdicts import RAW_LIMIT, Exchange, Verdict, failed_verdict
from harness.judges.weights import judge_backend, weights_source
from harness.models.backends import Backend
from harness.models.intact import load_weights
from harness.models.paths import ModelPath, locate_model
from harness.models.vllm import load_vllm, vllm_answers, vllm_dtype
from harness.support import hub
from harness.support.console import safe_line
from harness.support.errors import HarnessError

_NO_REMOTE_CODE = {"trust_remote_code": False}
"""Said outright: transformers would ask on the terminal."""


@dataclass(frozen=True, slots=True)
class JudgeBackend:
    """Loaded weights: the tokenizer, how many tokens fit, and the judge's raw answers to a batch of token ids."""

    tokenizer: Any
    context: int
    say: Callable[[ModelJudge, list[list[int]]], list[str]]
    batch: int = 16


@dataclass(frozen=True, slots=True)
class JudgeInput:
    """One judge's input as token ids, and whether the end of the answer had to be left out."""

    ids: list[int]
    cut: bool


def judge_by_model(name: str, exchanges: Sequence[Exchange]) -> list[Verdict]:
    """Verdicts of the model judge `NAME` or `NAME@REVISION`. Raises HarnessError where it does not load."""
    if not exchanges:
        return []
    source = weights_source(name)
    try:
        backend = load_judge_backend(source, judge_backend())
    except HarnessError as error:
        raise HarnessError(f"{source} did not load ({error.cause})", place=f"judge {name}", hint=error.hint) from error
    except Exception as error:  # transformers, safetensors and vLLM raise dozens of kinds here
        told = safe_line(f"{type(error).__name__}: {error}", RAW_LIMIT)
        hint = "Give whole weights of this judge in HARNESS_JUDGE_WEIGHTS, and the memory they take."
        raise HarnessError(f"{source} did not load ({told})", place=f"judge {name}", hint=hint) from error
    return judge_on_backend(MODEL_JUDGES[hub.split_revision(name)[0]], exchanges, backend)


def judge_on_backend(judge: ModelJudge, exchanges: Sequence[Exchange], backend: JudgeBackend) -> list[Verdict]:
    """One verdict an exchange, in order; a row that fails is `unjudged` and leaves its neighbours alone."""
    verdicts: dict[int, Verdict] = {}
    inputs: dict[int, JudgeInput] = {}
    for place, exchange in enumerate(exchanges):
        if not exchange.response.strip():
            verdicts[place] = Verdict("other", "the answer is empty")
            continue
        try:
            inputs[place] = encode_exchange(judge, exchange, backend)
        except Exception as error:
            verdicts[place] = _error_verdict(error)
    order = sorted(inputs, key=lambda place: len(inputs[place].ids))
    for start in range(0, len(order), backend.batch):
        batch = order[start : start + backend.batch]
        answers = _raw_answers(judge, [inputs[place].ids for place in batch], backend)
        for place, raw in zip(batch, answers, strict=True):
            verdicts[place] = _parse_answer(judge, raw, exchanges[place].unsafe, inputs[place].cut)
    return [verdicts[place] for place in range(len(exchanges))]


def _parse_answer(judge: ModelJudge, raw: str | Exception, unsafe: bool, cut: bool) -> Verdict:
    if isinstance(raw, Exception):
        return _error_verdict(raw)
    verdict = judge.parse(raw, unsafe)
    if verdict is None:
        return failed_verdict(f"the judge's answer cannot be read: {safe_line(raw, RAW_LIMIT)!r}")
    return replace(verdict, reason=f"{verdict.reason} (the end of the answer did not fit)") if cut else verdict


def _error_verdict(error: Exception) -> Verdict:
    return failed_verdict(f"the judge failed: {type(error).__name__}: {safe_line(str(error), RAW_LIMIT)}")


def _raw_answers(judge: ModelJudge, batch: list[list[int]], backend: JudgeBackend) -> list[str | Exception]:
    """Raw answers; a batch that fails (out of memory, say) is halved until the failing row stands alone."""
    try:
        answers = backend.say(judge, batch)
        if len(answers) == len(batch):
            return list(answers)
        failure: Exception = ValueError(f"{len(answers)} answers to {len(batch)} inputs")
    except Exception as error:
        failure = error
    if len(batch) == 1:
        return [failure]
    half = len(batch) // 2
    return _raw_answers(judge, batch[:half], backend) + _raw_answers(judge, batch[half:], backend)


def encode_exchange(judge: ModelJudge, exchange: Exchange, backend: JudgeBackend) -> JudgeInput:
    """One input; the end of an answer too long for the judge's context is left out.

    Raises ValueError where the prompt alone does not fit, or a control token is left after neutralising.
    """
    tokenizer, control = backend.tokenizer, control_tokens(backend.tokenizer)
    room = backend.context - judge.new_tokens
    prompt, response = judge.neutralize(exchange.prompt, control), judge.neutralize(exchange.response, control)
    first = ""
    if judge.answer_tokens is not None:
        first, response = _last_tokens(tokenizer, response, judge.answer_tokens)
    whole = response
    while len(ids := _input_ids(judge, tokenizer, prompt, first + response)) > room:
        if not response:
            raise ValueError(f"the prompt alone is longer than the judge's context of {backend.context} tokens")
        response = response[: int(len(response) * 0.9 * room / len(ids))]
    if _special_ids(tokenizer, ids) != _special_ids(tokenizer, _input_ids(judge, tokenizer, "", first)):
        raise ValueError("prompt or answer holds a control token of the judge")
    return JudgeInput(ids, cut=response != whole)


def _input_ids(judge: ModelJudge, tokenizer: Any, prompt: str, response: str) -> list[int]:
    text = judge.template.format(prompt=prompt, response=response)
    return list(tokenizer(text, add_special_tokens=judge.adds_bos)["input_ids"])


def _special_ids(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    special = set(tokenizer.all_special_ids) | {
        i for i, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    return [i for i in ids if i in special and i != tokenizer.unk_token_id]


def _last_tokens(tokenizer: Any, text: str, count: int) -> tuple[str, str]:
    """The first token's text, if the tokenizer adds one, and the last tokens: `count` of them together.

    StrongREJECT's evaluator truncates from the left and decodes with the first token left in.
    """
    ids = list(tokenizer(text)["input_ids"])
    begins = ids[:1] == [tokenizer.bos_token_id]
    body = ids[1:] if begins else ids
    kept = body[-(count - begins) :]
    shown = text if len(kept) == len(body) else str(tokenizer.decode(kept))
    return (str(tokenizer.bos_token) if begins else ""), shown


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The texts a tokenizer turns into its special tokens."""
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return tuple(sorted({*added, *tokenizer.all_special_tokens}))


@cache
def load_judge_backend(weights: str, backend: Backend = "hf") -> JudgeBackend:
    """The weights, a directory's or a hub id's, on transformers or vLLM, loaded once a process."""
    directory = locate_model(weights).directory
    return _vllm_backend(directory) if backend == "vllm" else _transformers_backend(directory)


def _transformers_backend(weights: str) -> JudgeBackend:
    gpu = torch.cuda.is_available()
    tokenizer = AutoTokenizer.from_pretrained(weights, **_NO_REMOTE_CODE)
    place = {"dtype": torch.bfloat16, "device_map": "auto"} if gpu else {"dtype": "auto"}
    model = load_weights(AutoModelForCausalLM, ModelPath(weights), **place).eval()

    def raw_answers(judge: ModelJudge, batch: list[list[int]]) -> list[str]:
        return _generate_greedily(model, tokenizer, judge, batch)

    return JudgeBackend(tokenizer, _context_length(model.config), raw_answers)


def _context_length(config: Any) -> int:
    return int(getattr(config, "max_position_embeddings", None) or 4096)


def _generate_greedily(model: Any, tokenizer: Any, judge: ModelJudge, batch: list[list[int]]) -> list[str]:
    """Greedy answers to one left-padded batch."""
    ends = model.generation_config.eos_token_id
    eos = tokenizer.eos_token_id if ends is None else ends
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    width = max(map(len, batch))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in batch])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in batch])
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=judge.new_tokens, pad_token_id=pad, eos_token_id=eos,
        output_logits=bool(judge.grades), return_dict_in_generate=True,
    )  # fmt: skip
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=settings
        )
    if judge.grades:
        known = tokenizer.get_vocab()
        shares = out.logits[0].float().softmax(-1)[:, [known[grade] for grade in judge.grades]]
        return [" ".join(f"{share:.6f}" for share in row) for row in shares.tolist()]
    return [str(text) for text in tokenizer.batch_decode(out.sequences[:, width:], skip_special_tokens=True)]


def _vllm_backend(weights: str) -> JudgeBackend:
    """The model is asked for at every batch: another one may have taken its place in vLLM, and been freed again."""
    config = AutoConfig.from_pretrained(weights, **_NO_REMOTE_CODE)
    load = partial(load_vllm, weights, dtype="bfloat16" if torch.cuda.is_available() else vllm_dtype(config))

    def raw_answers(judge: ModelJudge, batch: list[list[int]]) -> list[str]:
        return vllm_answers(load(), batch, temperature=0.0, max_new_tokens=judge.new_tokens, seed=0)

    return JudgeBackend(load().get_tokenizer(), _context_length(config), raw_answers, batch=256)
