"""On-policy preference pairs (Razin et al. 2025, section 6): sampled answers to a prompt, the refusal preferred."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import artifacts, console, vllm_engine
from harness.errors import HarnessError
from harness.judges import Verdict
from harness.models import ModelPath, load_tokenizer, located, stop_options
from harness.preferences import PAIR_TYPES, pair_type

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

COURTEOUS = ("sorry", "unfortunately", "i cannot")


def engagement(text: str) -> int:
    """A fixed reward for ties: 1 for an answer with a courteous phrase of refusal, 0 without.

    It stands in for a reward model that likes the more engaging of two refusals, and is blind to everything else.
    """
    lowered = text.lower()
    return int(any(phrase in lowered for phrase in COURTEOUS))


def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    batch_size: int = 64,
) -> list[str]:
    """One answer a prompt, in order, drawn at `temperature` with top-p 1; the same seed gives the same answers.

    Prompts are batched by length and padded on the left. Raises HarnessError where there is no chat template.
    """
    import torch

    texts = [render(tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(texts)), key=lambda index: (len(texts[index]), index))
    answers = [""] * len(texts)
    torch.manual_seed(seed)
    with console.bar("Sampling answers", len(texts), "answers") as advance:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            drawn = generate(model, tokenizer, [texts[index] for index in chosen], temperature, max_new_tokens)
            for index, answer in zip(chosen, drawn, strict=True):
                answers[index] = answer
            advance(len(chosen))
    return answers


def sample_on_vllm(
    path: str | ModelPath, prompts: Sequence[str], *, temperature: float, max_new_tokens: int, seed: int
) -> list[str]:
    """`sample` on vLLM, from a checkpoint directory or hub id; its draws are other ones than transformers'.

    The engine stays in use, for a second sample; `vllm_engine.free` ends it. Raises HarnessError where the model
    cannot be loaded, or the longest prompt leaves no room for an answer.
    """
    place = located(path)
    config, tokenizer = load_tokenizer(place)
    ids = [tokenizer(render(tokenizer, prompt), add_special_tokens=False)["input_ids"] for prompt in prompts]
    longest = max(map(len, ids))
    options = vllm_engine.options(config, longest, max_new_tokens)
    if longest >= options["max_model_len"]:
        raise HarnessError(f"the longest prompt, of {longest} tokens, leaves no room for an answer", place=str(path))
    console.note("Sampling answers …")  # vLLM draws the bar
    engine = vllm_engine.load(place.directory, **options, **place.options)
    return vllm_engine.answers(engine, ids, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)


def render(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """The prompt as one user turn with the tokenizer's chat template, ready for the answer."""
    if not tokenizer.chat_template:
        raise HarnessError(
            "the tokenizer has no chat template",
            place=str(tokenizer.name_or_path),
            mend="Use an instruction-tuned model, or set tokenizer.chat_template and save it again.",
        )
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return text


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    temperature: float,
    max_new_tokens: int,
) -> list[str]:
    """One answer to each rendered prompt, all in one batch, drawn from torch's random stream as it stands."""
    import torch

    batch = tokenizer(list(texts), return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False).to(
        model.device
    )
    with torch.inference_mode():
        output = model.generate(
            **batch,
            do_sample=True,
            temperature=temperature,
            top_p=1.0,
            top_k=0,
            repetition_penalty=1.0,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            **stop_options(model.generation_config, tokenizer),
        )
    decoded: list[str] = tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return decoded


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer to a prompt: its text, the verdict on it, and the reward that tells it from others of its kind."""

    text: str
    verdict: Verdict
    reward: float = 0.0


def pairs(
    rows: Sequence[Mapping[str, str]], candidates: Sequence[Sequence[Candidate]], seed: int
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Preference rows from the answers to each prompt, and how many prompts gave none, by reason.

    Of a prompt's judged, distinct answers the best is chosen and the worst rejected. A refusal is better than anything
    else; of two of a kind the one with the higher reward is, and where that ties too, a coin says, which depends on
    the seed and the prompt alone. A prompt with fewer than two such answers gives no pair.
    """
    table: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    for row, answers in zip(rows, candidates, strict=True):
        judged = {answer.text: answer for answer in answers if answer.verdict.label != "unjudged"}
        if len(judged) < 2:
            unjudged = len(answers) > sum(answer.text in judged for answer in answers)
            dropped["unjudged" if unjudged else "identical answers"] += 1
        else:
            table.append(_row(row, *_ends([*judged.values()], f"{seed}:{row['prompt_id']}")))
    return table, dropped


def _ends(answers: Sequence[Candidate], coin: str) -> tuple[Candidate, Candidate]:
    """The best and the worst answer."""
    draw = random.Random(coin)
    ranked = sorted(answers, key=lambda answer: (answer.verdict.label == "refusal", answer.reward, draw.random()))
    return ranked[-1], ranked[0]


def _row(row: Mapping[str, str], chosen: Candidate, rejected: Candidate) -> dict[str, Any]:
    answers = {
        "prompt": ("user", row["prompt"]),
        "chosen": ("assistant", chosen.text),
        "rejected": ("assistant", rejected.text),
    }
    messages = {key: [{"role": role, "content": content}] for key, (role, content) in answers.items()}
    return {
        "pair_id": artifacts.fingerprint([row["prompt_id"], chosen.text, rejected.text]),
        "prompt_id": row["prompt_id"],
        **messages,
        "hazard": row["hazard"],
        "split": row["split"],
        "chosen_verdict": chosen.verdict.label,
        "rejected_verdict": rejected.verdict.label,
    }


def pair_types(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many pairs are two refusals, one of each, or two non-refusals."""
    counts = Counter(pair_type(row["chosen_verdict"], row["rejected_verdict"]) for row in rows)
    return {name: counts[name] for name in PAIR_TYPES}
