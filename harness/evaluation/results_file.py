"""lm-eval's results file: what was measured, of which model, how it was loaded, and how many prompts it saw."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from harness.evaluation.lines import REEVALUATE_HINT
from harness.evaluation.samples import JUDGED_METRICS, VERDICT_OF, PromptCount, metric_names
from harness.support.errors import HarnessError
from harness.support.layout import MANIFEST, run_of_path
from harness.support.schema_errors import first_problem

_NAMES = ("pretrained", "model", "path", "engine")
"""Arguments of lm-eval's model classes that name the weights."""
_PARTS = ("peft", "delta", "lora_local_path", "subfolder", "gguf_file", "filename", "base_url")
"""Arguments that make other weights of them."""
_PRECISION = ("dtype", "load_in_8bit", "load_in_4bit", "quantization", "autogptq", "gptqmodel")
"""Arguments that round them: one model in two precisions is two, loaded otherwise."""
_MACHINE = {
    "autogptq_use_triton", "batch_size", "cache_dir", "data_parallel_size", "device", "device_map",
    "device_map_option", "disable_tqdm", "distributed_executor_backend", "download_dir", "enforce_eager",
    "gpu_memory_utilization", "gpus", "load_format", "low_cpu_mem_usage", "max_batch_size", "max_cpu_memory",
    "max_memory_per_gpu", "max_num_seqs", "max_retries", "num_concurrent", "offload_folder", "parallelize",
    "pipeline_parallel_size", "seed", "swap_space", "tensor_parallel_size", "timeout", "tokenizer",
    "trust_remote_code", "use_safetensors",
}  # fmt: skip
"""Arguments that say where and how fast a model runs, not what it answers; `tokenizer` shows in the prompts' text."""
_ANSWERING = {
    "add_bos_token", "chat_template_args", "enable_thinking", "max_gen_toks", "max_length", "max_model_len",
    "prefix_token_id", "think_end_token", "truncation", *_PRECISION,
}  # fmt: skip
"""Arguments that change the answers of any model class, also of one that names its weights in a way of its own."""
_OTHER_NAMES = {"hf-auto": "hf", "huggingface": "hf"}
"""Backends with several names."""
_SNAPSHOT = re.compile(r"/snapshots/([0-9a-f]{40})$")
"""Where the hub's cache keeps a commit of a model."""
_MADE_UP_NAME = re.compile(r"[a-z0-9]{8}")
"""What lm-eval calls a model whose arguments do not name it."""
_NO_METRIC = "bypass"
"""What lm-eval computes with --predict_only."""


class Rejudged(BaseModel):
    """What `harness judge` says of the tasks that it judged anew."""

    judge_version: str
    tasks: list[str]


class ResultsFile(BaseModel):
    """The parts of results_*.json that are used."""

    results: dict[str, dict[str, Any]]
    configs: dict[str, dict[str, Any]]
    versions: dict[str, Any]
    config: dict[str, Any]
    shots: dict[str, int | None] = Field(alias="n-shot")
    counts: dict[str, dict[str, int]] = Field(alias="n-samples", default_factory=dict)
    task_hashes: dict[str, str]
    date: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    model_name: Annotated[str, Field(min_length=1)]
    groups: dict[str, Any] = Field(alias="group_subtasks", default_factory=dict)
    chat_template_sha: str | None = None
    system_instruction: str | None = None
    rejudged: Rejudged | None = None
    higher_is_better: dict[str, dict[str, bool | None]] = Field(default_factory=dict)
    lm_eval_version: str | None = None

    @property
    def tasks(self) -> set[str]:
        """Every task that it tells of, groups left out."""
        measured = {task for task, metrics in self.results.items() if any("," in name for name in metrics)}
        groups = {task for task, members in self.groups.items() if members}
        return (measured | self.configs.keys() | self.counts.keys() | self.task_hashes.keys()) - groups

    def task_metrics(self, task: str) -> set[str]:
        """Names of the task's metrics, as configured and as computed."""
        computed = (key.split(",")[0] for key in self.results.get(task, {}) if "," in key)
        return {name for name in {*self._aggregations(task), *computed} if not name.endswith("_stderr")}

    def averaged_metrics(self, task: str) -> set[str]:
        """Those of them whose rate is known to be the mean over the prompts."""
        known = self._aggregations(task)
        return {name for name in self.task_metrics(task) if name in JUDGED_METRICS or known.get(name) == "mean"}

    def guard_names(self, task: str) -> set[str]:
        """All names that a policy may give the task's metrics."""
        filters = self._filters(task)
        scopes, metrics = self.scopes(task), self.task_metrics(task)
        return {each for name in filters for metric in metrics for each in metric_names(scopes, metric, filters, name)}

    def scopes(self, task: str) -> list[str]:
        """The task, and the groups that hold it, the outermost last."""
        found = [task]
        for name in found:
            found += [group for group, members in self.groups.items() if name in members and group not in found]
        return found

    def better(self, task: str, metric: str) -> bool | None:
        """Whether higher is better; None where that is not told."""
        return self.higher_is_better.get(task, {}).get(metric)

    def gives_likelihoods(self, task: str) -> bool:
        """Whether the model was asked how likely given texts are, and wrote none."""
        return self.configs.get(task, {}).get("output_type") in {"multiple_choice", "loglikelihood"}

    def _filters(self, task: str) -> list[str]:
        """The filters that the task's metrics were computed through."""
        keys = (key.partition(",") for key in self.results.get(task, {}))
        return list(dict.fromkeys(name for _, comma, name in keys if comma)) or [""]

    def stated_rates(self, task: str, metric: str, name: str | None = None) -> list[object]:
        """What it says of a metric, through one filter or once each."""
        keys = self.results.get(task, {})
        return [
            value
            for key, value in keys.items()
            if key.split(",")[0] == metric and name in {None, key.partition(",")[2]}
        ]

    @property
    def predicts_only(self) -> bool:
        """Whether no metric was computed, as lm-eval was told by --predict_only."""
        return any(_NO_METRIC in self.task_metrics(task) for task in self.tasks)

    @property
    def loading(self) -> dict[str, str]:
        """The backend, and what the model was loaded with that may change its answers."""
        backend, given = str(self.config.get("model")), self._model_args
        named = {"revision", *_NAMES, *_PARTS}
        other = given.keys() - _MACHINE - named if any(name in given for name in _NAMES) else _ANSWERING
        options = {name: text for name, text in given.items() if name in other}
        return {"backend": _OTHER_NAMES.get(backend, backend), **options}

    @property
    def weights(self) -> str:
        """The model as precisely as it is known: its commit, else its name and revision; and what was put onto it.

        Two evaluations in which it is equal were made of one model, or of a path at which there was another in between;
        where the model `is_named`.
        """
        given = self._model_args
        name = os.path.normpath(next((given[key] for key in _NAMES if key in given), self.model_name))
        found = _SNAPSHOT.search(name)
        commit = found[1] if found else str(self.config.get("model_sha") or "")
        revision = str(given.get("revision") or self.config.get("model_revision") or "main")
        parts = {key: given[key] for key in (*_PARTS, *_PRECISION) if key in given}
        shas = {key: str(self.config[key]) for key in ("peft_sha", "delta_sha") if self.config.get(key)}
        base = {"commit": commit} if commit else {"name": name, "revision": revision, **self._naming_args}
        return json.dumps({**base, **parts, **shas}, sort_keys=True)

    @property
    def is_named(self) -> bool:
        """Whether it says which model was evaluated; where not, lm-eval makes a name up, alike for equal seeds."""
        told = any(name in self._model_args for name in _NAMES) or bool(
            self._naming_args or self.config.get("model_sha")
        )
        return told or not _MADE_UP_NAME.fullmatch(self.model_name)

    @property
    def _naming_args(self) -> dict[str, str]:
        """What may name the weights of a model class that has no argument of its own for their name."""
        given = self._model_args
        if any(name in given for name in _NAMES):
            return {}
        return {name: text for name, text in given.items() if name not in _MACHINE | _ANSWERING}

    @property
    def model_told(self) -> str:
        """The model's name, with the commit or revision where there is one."""
        commit = str(self.config.get("model_sha") or "")[:12] or str(self.config.get("model_revision") or "main")
        return self.model_name if commit == "main" else f"{self.model_name} at {commit}"

    def prompt_count(self, task: str, seen: int) -> PromptCount:
        """How many of the task's prompts were put to the model, of which `seen` are in the samples."""
        counts, limit = self.counts.get(task, {}), self.config.get("limit")
        effective, original = counts.get("effective", seen), counts.get("original")
        listed = {name.partition("/")[2] for name in self._aggregations(task) if name.partition("/")[0] in VERDICT_OF}
        return PromptCount(min(seen, effective), original, None if limit is None else str(limit), len(listed - {""}))

    def _aggregations(self, task: str) -> dict[str, str | None]:
        listed = self.configs.get(task, {}).get("metric_list") or []
        entries = [entry for entry in listed if isinstance(entry, dict) and "metric" in entry]
        return {str(entry["metric"]): entry.get("aggregation") for entry in entries}

    @property
    def _model_args(self) -> dict[str, str]:
        """lm-eval's `--model_args` as text by name; those that say nothing are left out."""
        given = self.config.get("model_args") or {}
        if isinstance(given, str):
            pairs = (part.partition("=") for part in given.split(",") if part)
            given = {name.strip(): value for name, _, value in pairs}
        texts = {str(name): str(value).strip().removeprefix("torch.") for name, value in dict(given).items()}
        return {
            name: text
            for name, text in texts.items()
            if text not in {"", "None"} and (name, text) not in {("dtype", "auto"), ("add_bos_token", "False")}
        }


def parse_results(data: bytes, path: Path) -> ResultsFile:
    """A results file. Raises HarnessError where it is none."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"is not JSON ({error})", place=str(path), hint=REEVALUATE_HINT) from error
    try:
        results = ResultsFile.model_validate(content)
        _touch_loose_parts(results)
    except ValidationError as error:
        where, problem = first_problem(error)
        told = f"is no lm-eval results file ({where or 'the file'}: {problem})"
        raise HarnessError(told, place=str(path), hint=REEVALUATE_HINT) from error
    except (TypeError, ValueError) as error:
        raise HarnessError(f"is no lm-eval results file ({error})", place=str(path), hint=REEVALUATE_HINT) from error
    return results


def _touch_loose_parts(results: ResultsFile) -> None:
    """Reads what the schema leaves open, which raises TypeError or ValueError where it is of another kind."""
    for task in results.tasks:
        results.task_metrics(task)
    _ = results.weights, results.loading


def loading_settings(results: ResultsFile, path: Path) -> Mapping[str, str]:
    """How the model was loaded; in a run, which always takes a checkpoint's own number type, without that."""
    run = run_of_path(path)
    own = {"dtype"} if run and (run / MANIFEST).is_file() else set()
    return {key: value for key, value in results.loading.items() if key not in own}
