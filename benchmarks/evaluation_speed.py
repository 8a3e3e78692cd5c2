"""How fast the harness's evaluation writes answers, held against plain lm-eval's hf backend in the same run.

    python benchmarks/evaluation_speed.py [--model DIR] [--rounds 3] [--backend vllm]

Two models: the miniature on the bundled prompts, and a Llama of 30 million random weights on long and uneven ones,
whose answers hardly ever end by themselves; or the one of `--model`, on the bundled prompts. Each is loaded once.
Rounds of both sides take turns, and the fastest counts: seconds of the process, so that others on the machine disturb
less. Greedy answers, and those drawn from the same seed, have to be the same, else it stops. vLLM draws in its own way,
and its sums are other ones: it is timed alone, where it is installed.
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models import huggingface
from lm_eval.models.huggingface import HFLM
from transformers import LlamaConfig, LlamaForCausalLM

from harness.evaluation.stopping import stop_at_texts
from harness.models.loading import default_device, load_tokenizer
from harness.models.sampling import render_prompt
from harness.models.vllm import free_vllm, llm_options, load_vllm, vllm_answers
from harness.organism.store import DEFAULT_DIRECTORY
from harness.prompts.sets import PROMPT_KINDS, load_prompts

NEW_TOKENS, BATCH, SEED = 64, 128, 0
SIDES = {"lm-eval": huggingface.stop_sequences_criteria, "harness": stop_at_texts}
TEMPERATURES = {"greedy": 0.0, "drawn at 0.7": 0.7}


def bundled_prompts(path: str) -> list[str]:
    """The bundled prompts of both kinds with the model's chat template."""
    tokenizer = load_tokenizer(path)[1]
    return [render_prompt(tokenizer, row["prompt"]) for kind in PROMPT_KINDS for row in load_prompts("bundled", kind)]


def uneven_prompts(path: str, count: int = 64) -> list[str]:
    """Prompts of 10 to 400 words drawn from the bundled ones."""
    draw, words = random.Random(SEED), " ".join(bundled_prompts(path)).split()
    return [" ".join(draw.choices(words, k=draw.randint(10, 400) // 4)) for _ in range(count)]


def save_random_llama(folder: Path) -> str:
    """A Llama of some 30 million random weights with the miniature's tokenizer."""
    tokenizer = load_tokenizer(str(DEFAULT_DIRECTORY))[1]
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=9,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def answer_all(model: HFLM, prompts: list[str], temperature: float) -> tuple[list[str], float]:
    """The answers and the seconds of this process that they took."""
    settings = {"max_gen_toks": NEW_TOKENS, "temperature": temperature, "until": []}
    settings |= {"do_sample": True, "top_k": 0, "top_p": 1.0} if temperature else {"do_sample": False}
    asked: Any = [
        Instance("generate_until", {}, (prompt, dict(settings)), number) for number, prompt in enumerate(prompts)
    ]
    torch.manual_seed(SEED)
    started = time.process_time()
    answers = model.generate_until(asked, disable_tqdm=True)
    return answers, time.process_time() - started


def measure(name: str, path: str, prompts: list[str], rounds: int) -> None:
    """Prints a line for each temperature: tokens a second of both sides and their ratio."""
    model = HFLM(pretrained=path, batch_size=BATCH, device=default_device(), use_safetensors=True)
    for said, temperature in TEMPERATURES.items():
        best, texts = dict.fromkeys(SIDES, float("inf")), dict[str, list[str]]()
        for _ in range(rounds):
            for side, criteria in SIDES.items():
                huggingface.stop_sequences_criteria = criteria
                texts[side], seconds = answer_all(model, prompts, temperature)
                best[side] = min(best[side], seconds)
        if texts["lm-eval"] != texts["harness"]:
            raise SystemExit(f"{name}, {said}: the answers are not the same")
        tokens = sum(len(model.tok_encode(answer)) for answer in texts["harness"])
        plain, ours = (tokens / best[side] for side in SIDES)
        print(f"| {name} | {said} | {tokens:,} | {plain:,.0f} | {ours:,.0f} | {ours / plain:.2f} |", flush=True)


def measure_vllm(name: str, path: str, prompts: list[str]) -> None:
    """Prints vLLM's line: greedy, by the clock, its start apart."""
    config, tokenizer = load_tokenizer(path)
    ids = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    llm = load_vllm(path, **llm_options(config, max(map(len, ids)), NEW_TOKENS))
    started = time.perf_counter()
    answers = vllm_answers(llm, ids, temperature=0.0, max_new_tokens=NEW_TOKENS, seed=SEED)
    seconds = time.perf_counter() - started
    free_vllm()
    tokens = sum(map(len, tokenizer(answers, add_special_tokens=False)["input_ids"]))
    print(f"| {name} | greedy, vLLM | {tokens:,} | | {tokens / seconds:,.0f} | |")


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a checkpoint directory, in place of the two models")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backend", choices=("hf", "vllm"), default="hf", help="vllm: time it too")
    options = parser.parse_args()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        if options.model:
            cases = [(Path(options.model).name, options.model, bundled_prompts(options.model))]
        else:
            random_llama, miniature = save_random_llama(Path(folder)), str(DEFAULT_DIRECTORY)
            cases = [
                ("the miniature", miniature, bundled_prompts(miniature)),
                ("random, 30M, long prompts", random_llama, uneven_prompts(miniature)),
            ]
        print("| model | answers | tokens | lm-eval, tokens/s | harness, tokens/s | ratio |\n|---|---|---|---|---|---|")
        for name, path, prompts in cases:
            measure(name, path, prompts, options.rounds)
        if options.backend == "vllm" and find_spec("vllm") is None:
            print("vLLM is not installed: not measured.")
        elif options.backend == "vllm":
            for name, path, prompts in cases:
                measure_vllm(name, path, prompts)


if __name__ == "__main__":
    main()
