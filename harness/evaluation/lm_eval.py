"""Measuring a model with lm-eval: the only module that imports lm_eval."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_eval import evaluator, simple_evaluate, utils
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from torch.utils import collect_env
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from harness.evaluation.output import read_evaluations
from harness.models.backends import Backend
from harness.models.intact import refuse_misfits
from harness.models.loading import (
    attention_options,
    default_device,
    explain_load_failure,
    generation_config,
    load_tokenizer,
    max_positions,
    stop_options,
)
from harness.models.paths import ModelPath, locate_model
from harness.models.sampling import render_turns
from harness.models.vllm import (
    decode_output,
    explain_vllm_failure,
    free_vllm,
    llm_options,
    request_seeds,
    shut_down_vllm,
)
from harness.prompts.sets import load_prompts, tasks_directory
from harness.recipes.schema import EvaluationSettings
from harness.support import artifacts
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from lm_eval.api.model import LM


TASK_GROUP = "refusal_displacement"


def evaluate_model(
    model_path: str | ModelPath,
    out: Path,
    evaluation: EvaluationSettings,
    *,
    prompts: str,
    judge: str,
    seed: int,
    backend: Backend = "hf",
) -> None:
    """Runs the task group on one model and writes lm-eval's own output directory, whole or not at all.

    The same as `lm_eval --model hf --model_args pretrained=MODEL --tasks refusal_displacement --apply_chat_template
    --seed SEED --batch_size N --gen_kwargs temperature=..,max_gen_toks=.. --log_samples --output_path OUT`, with
    `use_safetensors=True`, for a Gemma-2 `attn_implementation=eager`, and the model's `trust_remote_code` in the model
    arguments; or with `--model vllm`, see `_vllm_model`. A hub id's files are fetched first. Raises
    HarnessError where the model's weights are not whole, lm-eval's files did not come out so, or the answers' length
    leaves no room for a prompt.
    """
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    # Its own asks git, whose "fatal: not a git repository" would reach the terminal at every evaluation.
    evaluator.get_git_commit_hash = lambda: None
    _cache_lm_eval()
    place = locate_model(model_path)
    config, tokenizer = load_tokenizer(place)
    _refuse_no_room(evaluation.max_new_tokens, config)
    names = [TASK_GROUP if load_prompts(prompts, "benign") else f"{TASK_GROUP}_unsafe"]
    answering: dict[str, Any] = {"temperature": evaluation.temperature, "max_gen_toks": evaluation.max_new_tokens}
    if evaluation.temperature == 0:
        answering["do_sample"] = False
    if backend == "vllm":
        chosen = _vllm_options(config, tokenizer, names, _task_manager(prompts, judge), evaluation)
        model = _vllm_model(place, chosen, seed)
    else:
        chosen = {"use_safetensors": True, **attention_options(config)}
        model = _hf_model(place, chosen, evaluation.batch_size)
        answering |= stop_options(generation_config(place, config), tokenizer)
    with tempfile.TemporaryDirectory() as scratch:
        tracker = EvaluationTracker(output_path=scratch)
        results = simple_evaluate(
            model=model,
            model_args={"pretrained": place.directory, **place.loading_options, **chosen},
            tasks=names,
            batch_size=evaluation.batch_size,
            device=default_device(),
            apply_chat_template=True,
            log_samples=True,
            evaluation_tracker=tracker,
            task_manager=_task_manager(prompts, judge),
            gen_kwargs=answering,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
        results["config"]["model"] = tracker.general_config_tracker.model_source = backend
        _save_results(results, tracker)
        read_evaluations(Path(scratch))  # lm-eval only logs a write that failed
        with artifacts.atomic_directory(out) as temporary:
            shutil.copytree(scratch, temporary, dirs_exist_ok=True)


def _save_results(results: dict[str, Any], tracker: EvaluationTracker) -> None:
    """Writes what lm-eval's own command does: the results file, and one of samples a task."""
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])


@cache
def _cache_lm_eval() -> None:
    """Lets lm-eval keep what it else works out anew: a compiled template for each document, the machine each time."""
    utils.env.from_string = cache(utils.env.from_string)
    collect_env.get_pretty_env_info = cache(collect_env.get_pretty_env_info)


def _refuse_no_room(new_tokens: int, config: PretrainedConfig) -> None:
    """lm-eval cuts a prompt until the whole answer fits behind it."""
    if new_tokens >= (max_positions(config) or math.inf):
        raise HarnessError(
            f"answers of {new_tokens} tokens leave no room for a prompt in the {max_positions(config)} of the model",
            place="evaluation.max_new_tokens",
            hint="Set it lower.",
        )


def _vllm_options(
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    names: Sequence[str],
    tasks: TaskManager,
    evaluation: EvaluationSettings,
) -> dict[str, Any]:
    """What vLLM is told for the prompts of these tasks; a token more each, for the one lm-eval may put first."""
    loaded = tasks.load(names)["tasks"].values()
    asked = (doc.get("turns") or [task.doc_to_text(doc)] for task in loaded for doc in task.eval_docs)
    texts = [render_turns(tokenizer, turns) for turns in asked]
    longest = max(map(len, tokenizer(texts)["input_ids"]))
    return llm_options(config, longest + 1, evaluation.max_new_tokens)


def _hf_model(model_path: ModelPath, options: Mapping[str, Any], batch_size: int) -> LM:
    """lm-eval's transformers backend, which itself would answer with random numbers in place of missing weights."""

    class IntactHFLM(HFLM):  # type: ignore[misc]
        _model: Any

        def _create_model(self, pretrained: str, **kwargs: Any) -> None:
            super()._create_model(pretrained, output_loading_info=True, **kwargs)
            self._model, told = self._model
            refuse_misfits(self._model, told, str(model_path))

    with explain_load_failure(model_path):
        return IntactHFLM(
            pretrained=model_path.directory,
            batch_size=batch_size,
            device=default_device(),
            **model_path.loading_options,
            **options,
        )


def _vllm_model(model_path: ModelPath, options: Mapping[str, Any], seed: int) -> LM:
    """lm-eval's vLLM backend, with a seed for each request and its text decoded as by the hf backend.

    vLLM ends with the last answer: the judge may need the memory.
    """
    from lm_eval.models.vllm_causallms import VLLM  # it imports vllm, which may be missing

    class SeededVLLM(VLLM):  # type: ignore[misc]
        seeds = request_seeds(seed)

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            try:
                return list(super().generate_until(requests, disable_tqdm))
            finally:
                shut_down_vllm(self.model)

        def _model_generate(
            self, requests: list[list[int]], generate: bool = False, sampling_params: Any = None
        ) -> list[Any]:
            for each, its_seed in zip(sampling_params, self.seeds, strict=False):
                each.seed = its_seed
            outputs: list[Any] = super()._model_generate(requests, generate, sampling_params)
            for output in outputs:
                output.outputs[0].text = decode_output(output, self.tokenizer)
            return outputs

    free_vllm()
    with explain_vllm_failure(str(model_path)):
        return SeededVLLM(
            pretrained=model_path.directory, batch_size="auto", seed=seed, **model_path.loading_options, **options
        )


@cache
def _task_manager(prompts: str, judge: str) -> TaskManager:
    """lm-eval's index of our tasks alone: reading all of its own takes seconds."""
    return TaskManager(
        include_path=str(tasks_directory()), include_defaults=False, metadata={"prompts": prompts, "judge": judge}
    )
