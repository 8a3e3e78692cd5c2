"""Measuring a model with lm-eval: the only module that imports lm_eval."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jinja2.sandbox import SandboxedEnvironment
from lm_eval import evaluator, simple_evaluate, utils
from lm_eval.api import registry
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM
from lm_eval.models.openai_completions import LocalChatCompletion
from lm_eval.tasks import TaskManager
from torch.utils import collect_env
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from harness.evaluation.output import read_evaluations
from harness.models.backends import AnyBackend, Backend
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
from harness.models.served.answering import answer_requests, seed_requests
from harness.models.vllm import (
    decode_output,
    explain_vllm_failure,
    free_vllm,
    llm_options,
    request_seeds,
    shut_down_vllm,
)
from harness.prompts.asked import load_asked_prompts
from harness.prompts.sets import PROMPT_KINDS, load_prompts, tasks_directory
from harness.recipes.reaching import ReachedModel, reach_model
from harness.recipes.schema import OUR_TASKS, Endpoint, EvaluationSettings, OwnTask
from harness.recipes.task_files import TaskFile, read_task_file
from harness.support import artifacts
from harness.support.console import is_quiet, is_verbose, safe_line
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from lm_eval.api.group import Group
    from lm_eval.api.model import LM
    from lm_eval.api.task import Task


TASK_GROUP = "refusal_displacement"
_TASK_NAME = re.compile(r"[\w.:+-]{1,150}")


_LoadedTasks = tuple[int | None, "list[Task | Group]"]
"""A task, group or tag of the user's own as lm-eval loaded it, and how many documents of each it is asked."""


@dataclass(frozen=True, slots=True)
class AskedPrompts:
    """What a model is asked and who judges: `samples` answers to each prompt, of each kind at most `limit` prompts.

    `own`: tasks of the user's own beside ours.
    """

    prompts: str
    judge: str
    seed: int
    samples: int = 1
    limit: int | None = None
    own: Sequence[OwnTask] = ()
    trust_task_code: bool = False

    def load_own(self, backend: AnyBackend) -> list[_LoadedTasks]:
        """The user's tasks, loaded. Raises HarnessError as `load_own_task`."""
        return [(each.limit, load_own_task(each, trusted=self.trust_task_code, backend=backend)) for each in self.own]

    @property
    def tasks(self) -> list[str]:
        """The task group, or where there are no benign prompts the task of the others."""
        return [TASK_GROUP if load_prompts(self.prompts, "benign") else f"{TASK_GROUP}_unsafe"]

    @property
    def count(self) -> int:
        """How many prompts of a kind there are, of the kind that has more."""
        return max(len(load_asked_prompts(self.prompts, kind)) for kind in PROMPT_KINDS)

    def limits(self, looks: Looks | None) -> list[int | None]:
        """How many prompts of each kind are asked in all at each look, the last time as many as are wanted."""
        if looks is None:
            return [self.limit]
        most = min(self.count, self.limit or self.count)
        return [*range(looks.every, most, looks.every), self.limit]

    @property
    def manager(self) -> TaskManager:
        """lm-eval's index of the tasks."""
        return _task_manager(self.prompts, self.judge, self.samples)


@dataclass(frozen=True, slots=True)
class Looks:
    """An evaluation that asks so many more prompts of each kind at a time, until what came so far is `enough`.

    `enough` is asked with the directory of lm-eval's output and the number of prompts of each kind.
    """

    every: int
    enough: Callable[[Path, int], bool]


def evaluate_model(
    model_path: str | ModelPath,
    out: Path,
    evaluation: EvaluationSettings,
    asked: AskedPrompts,
    *,
    backend: Backend = "hf",
    looks: Looks | None = None,
) -> None:
    """Runs the task group on one model and writes lm-eval's own output directory, whole or not at all.

    The same as `lm_eval --model hf --model_args pretrained=MODEL --tasks refusal_displacement --apply_chat_template
    --seed SEED --batch_size N --gen_kwargs temperature=..,max_gen_toks=.. --log_samples --output_path OUT`, with
    `use_safetensors=True`, for a Gemma-2 `attn_implementation=eager`, and the model's `trust_remote_code` in the model
    arguments; or with `--model vllm`, see `_vllm_model`. A hub id's files are fetched first. Tasks of the user's own
    come first, on the same loaded model, each with the generation settings of its own file. Raises
    HarnessError where the model's weights are not whole, lm-eval's files did not come out so, or the answers' length
    leaves no room for a prompt.
    """
    _prepare_lm_eval()
    place = locate_model(model_path)
    config, tokenizer = load_tokenizer(place)
    _refuse_no_room(evaluation.max_new_tokens, config)
    answering, own = _answering_settings(evaluation), asked.load_own(backend)
    if backend == "vllm":
        chosen = _vllm_options(config, tokenizer, asked.tasks, asked.manager, evaluation)
        if own:  # their prompts hold examples too, whose lengths nobody knows before they are built
            chosen["max_model_len"] = max_positions(config) or chosen["max_model_len"]
        model = _vllm_model(place, chosen, asked.seed)
    else:
        chosen = {"use_safetensors": True, **attention_options(config)}
        model = _hf_model(place, chosen, evaluation.batch_size)
        answering |= stop_options(generation_config(place, config), tokenizer)
        if looks:
            _keep_answers(model, asked.seed)
    told = {"pretrained": place.directory, **place.loading_options, **chosen}
    how = {"model_args": told, "batch_size": evaluation.batch_size, "device": default_device()}
    _write_evaluation(model, out, asked, backend, how, answering, own, looks)


def evaluate_endpoint(
    endpoint: Endpoint,
    model: ModelPath,
    out: Path,
    keep: Path,
    evaluation: EvaluationSettings,
    asked: AskedPrompts,
    looks: Looks | None = None,
) -> None:
    """`evaluate_model` over an OpenAI-compatible API.

    The same as `lm_eval --model local-chat-completions --model_args base_url=..,model=.. --tasks refusal_displacement
    --apply_chat_template --gen_kwargs temperature=..,max_gen_toks=.. --log_samples --output_path OUT`, but each answer
    has a seed of its own and is kept as it arrives.

    Args:
        endpoint: what is asked.
        model: the checkpoint, where the endpoint is a command that serves one.
        out: where lm-eval's output goes.
        keep: directory for the answers until `out` is whole; those that are there are not asked for again.
        evaluation: temperature and length; the endpoint batches as it likes.
        asked: the prompts, and who judges.
        looks: when to stop before all prompts were asked.

    Raises HarnessError as `harness.recipes.reaching.reach_model` and `harness.models.served.answering.answer_requests`.
    """
    _prepare_lm_eval()
    own, answering = asked.load_own("api"), _answering_settings(evaluation)
    with reach_model(endpoint, model, keep) as reached:
        how = {"model_args": dict(reached.model_args)}
        served = _served_model(reached, asked.seed)
        _write_evaluation(served, out, asked, "local-chat-completions", how, answering, own, looks)
    shutil.rmtree(keep)


def _answering_settings(evaluation: EvaluationSettings) -> dict[str, Any]:
    chosen: dict[str, Any] = {"temperature": evaluation.temperature, "max_gen_toks": evaluation.max_new_tokens}
    return chosen | ({"do_sample": False} if evaluation.temperature == 0 else {})


def _write_evaluation(
    model: LM,
    out: Path,
    asked: AskedPrompts,
    source: str,
    how: Mapping[str, Any],
    answering: Mapping[str, Any],
    own: Sequence[_LoadedTasks],
    looks: Looks | None = None,
) -> None:
    """Lets the model answer and lm-eval write, tasks of the user's own first.

    `source` is the name of lm-eval's model class, `how` settings for all tasks, `answering` of generation for ours.
    Raises HarnessError where the files are not whole.
    """
    seeds = dict.fromkeys(("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed"), asked.seed)
    settings = {"model": model, "apply_chat_template": True, **seeds, **how}
    with tempfile.TemporaryDirectory() as scratch:
        for limit, tasks in own:
            given = {"tasks": tasks, "task_manager": TaskManager(include_defaults=False), "limit": limit}
            _evaluate_tasks({**settings, **given, "confirm_run_unsafe_code": asked.trust_task_code}, scratch, source)
        if source == "vllm":
            model.begin_last()
        ours = {"tasks": asked.tasks, "task_manager": asked.manager, "gen_kwargs": dict(answering)}
        others = {*Path(scratch).rglob("*")}
        for most in asked.limits(looks):
            for path in {*Path(scratch).rglob("*.json*")} - others:
                path.unlink()  # an earlier look's: this one has all that it had
            limit = None if most is None else most * asked.samples  # of documents: one an answer
            _evaluate_tasks({**settings, **ours, "limit": limit}, scratch, source)
            read_evaluations(Path(scratch))  # lm-eval only logs a write that failed
            if looks and looks.enough(Path(scratch), asked.count if most is None else most):
                break
        with artifacts.atomic_directory(out) as temporary:
            shutil.copytree(scratch, temporary, dirs_exist_ok=True)


def _keep_answers(model: LM, seed: int) -> None:
    """Has a model answer no request twice: a later look asks those of the earlier ones again."""
    kept: defaultdict[str, list[str]] = defaultdict(list)
    answer = model.generate_until

    def generate_until(requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        counts: Counter[str] = Counter()
        places = []
        for request in requests:
            name = repr(request.args)
            places.append((name, counts[name]))  # the same request again is another answer to the same prompt
            counts[name] += 1
        new = [(name, request) for (name, number), request in zip(places, requests, strict=True)
               if number >= len(kept[name])]  # fmt: skip
        torch.manual_seed(seed + sum(map(len, kept.values())))  # lm-eval begins every look with the seed itself
        drawn = answer([request for _, request in new], disable_tqdm=disable_tqdm) if new else []
        for (name, _), text in zip(new, drawn, strict=True):
            kept[name].append(text)
        return [kept[name][number] for name, number in places]

    model.generate_until = generate_until


def _evaluate_tasks(settings: Mapping[str, Any], out: str, source: str) -> None:
    """One call of lm-eval's, with what its own command writes: the results file, and one of samples a task."""
    tracker = EvaluationTracker(output_path=out)
    results = simple_evaluate(**settings, log_samples=True, evaluation_tracker=tracker)
    results["config"]["model"] = tracker.general_config_tracker.model_source = source
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])


# Tasks of the user's own


def load_own_task(own: OwnTask, *, trusted: bool, backend: AnyBackend) -> list[Task | Group]:
    """A task, group or tag as lm-eval loads it, its data too.

    Raises HarnessError where there is none, it would run code unasked, or the backend cannot measure it.
    """
    file = read_task_file(own, trusted=trusted) if own.is_file else None
    _prepare_lm_eval()
    if file and not trusted:
        _refuse_foreign_metrics(file)
    folder = str(file.path.parent) if file and file.is_group else None
    manager = _own_task_manager(folder, packaged=file is None or file.needs_packaged)
    try:
        with contextlib.chdir(file.data_folder) if file else contextlib.nullcontext():
            loaded = manager.load([str(file.path) if file and not file.is_group else file.name if file else own.name])
    except Exception as error:  # anything at all: the task's YAML, templates, code and data are others'
        if file is None and own.name not in manager.all_tasks:
            hint = "`lm_eval ls tasks` lists those that come with lm-eval; one of your own is named by its YAML file."
            raise HarnessError(f"lm-eval has no task {own.name!r}", place="tasks", hint=hint) from error
        told = safe_line(f"{type(error).__name__}: {error}", 300)
        hint = "`lm_eval --tasks` says more of it; its data must be here, or within reach."
        raise HarnessError(f"lm-eval cannot load the task ({told})", place=own.name, hint=hint) from error
    for name, task in loaded["tasks"].items():
        _refuse_unfit_task(name, task, trusted=trusted, backend=backend)
    inside = {task.task_name for group in loaded["groups"].values() for task in group.get_all_tasks()}
    nested = {name for names in loaded["group_map"].values() for name in names}
    top = [group for name, group in loaded["groups"].items() if name not in nested]
    return [*top, *(task for name, task in loaded["tasks"].items() if name not in inside)]


def _refuse_unfit_task(name: str, task: Task, *, trusted: bool, backend: AnyBackend) -> None:
    if name.startswith(OUR_TASKS):
        raise HarnessError(f"the task {name} is one of the harness's own", place="tasks", hint="Rename it.")
    if not _TASK_NAME.fullmatch(name):
        hint = "Name it with letters, digits and . : + - _ alone: files and a policy's metrics are called by it."
        raise HarnessError(f"{safe_line(name, 80)!r} is no name for a task", place="tasks", hint=hint)
    if getattr(task, "UNSAFE_CODE", False) and not trusted:
        raise HarnessError(
            f"the task {name} runs code that the model writes",
            place="tasks",
            hint="If this machine may, say so: --set trust_task_code=true",
        )
    if backend == "api" and task.OUTPUT_TYPE != "generate_until":
        raise HarnessError(
            f"the task {name} asks for log-likelihoods, which the backend {backend} does not give",
            place="tasks",
            hint="Leave it out, or choose tasks that generate.",
        )


def _refuse_foreign_metrics(file: TaskFile) -> None:
    """A metric that lm-eval does not know is a script that Hugging Face's evaluate fetches and runs."""
    known = {*registry.metric_registry}
    if foreign := sorted({*file.metrics} - known):
        hint = "Name one of lm-eval's metrics, or --set trust_task_code=true."
        raise HarnessError(f"its metric {foreign[0]!r} is none of lm-eval's", place=str(file.path), hint=hint)


@cache
def _prepare_lm_eval() -> None:
    """Keeps lm-eval quiet, and what it else works out anew: a compiled template a document, the machine each time.

    Its templates are run in Jinja's sandbox: those of a task file are others' code.
    """
    if not is_verbose():
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
    # Its own asks git, whose "fatal: not a git repository" would reach the terminal at every evaluation.
    evaluator.get_git_commit_hash = lambda: None
    sandbox = SandboxedEnvironment(
        loader=utils.env.loader, undefined=utils.env.undefined, keep_trailing_newline=utils.env.keep_trailing_newline
    )
    sandbox.filters |= utils.env.filters
    utils.env = sandbox
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

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            return list(super().generate_until(requests, disable_tqdm or is_quiet()))

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

    vLLM ends with the last answer, once these are begun: the judge may need the memory.
    """
    from lm_eval.models.vllm_causallms import VLLM  # it imports vllm, which may be missing

    class SeededVLLM(VLLM):  # type: ignore[misc]
        seeds = request_seeds(seed)
        is_last = False

        def begin_last(self) -> None:
            """From here on as if nothing had been asked before, and the end comes with the answers."""
            self.seeds, self.is_last = request_seeds(seed), True

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            try:
                return list(super().generate_until(requests, disable_tqdm or is_quiet()))
            finally:
                if self.is_last:
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


def _served_model(reached: ReachedModel, seed: int) -> LM:
    """lm-eval's model for chat completions, which makes the requests; they are sent by us, and each has its seed."""

    class JournaledChat(LocalChatCompletion):  # type: ignore[misc]
        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
            made = [
                self._create_payload(self.create_message([context]), generate=True, gen_kwargs=deepcopy(settings))
                for context, settings in (request.args for request in requests)
            ]
            seeded = seed_requests(made, seed)
            for request, sent in zip(requests, seeded, strict=True):
                request.args[1]["seed"] = sent["seed"]  # which the samples file tells
            return answer_requests(seeded, reached.use, reached.journal)

    return JournaledChat(base_url=reached.use.url, model=reached.use.model, seed=seed)


@cache
def _own_task_manager(folder: str | None, *, packaged: bool) -> TaskManager:
    """lm-eval's index of the tasks in a folder, and of those that come with it."""
    return TaskManager(include_path=[folder] if folder else [], include_defaults=packaged)


@cache
def _task_manager(prompts: str, judge: str, samples: int) -> TaskManager:
    """lm-eval's index of our tasks alone: reading all of its own takes seconds."""
    metadata = {"prompts": prompts, "judge": judge, "samples": samples}
    return TaskManager(include_path=str(tasks_directory()), include_defaults=False, metadata=metadata)
