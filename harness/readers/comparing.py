"""Two sides of any tools made comparable: joined by the request's text, and compared in what both record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.evaluation.samples import VERDICT_OF, Answer, Evaluation, PromptCount, TaskSettings
from harness.readers import garak
from harness.readers.detect import LM_EVAL, ReadSide
from harness.readers.rows import ANSWERS_A_PROMPT, kind_name, most_answers, prompt_key, text_digest

_LM_EVAL_NAMES = {"max_gen_toks": "max_tokens", "max_new_tokens": "max_tokens", "max_tokens": "max_tokens",
                  "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "until": "stop"}  # fmt: skip
"""lm-eval's settings of generation, by the names that all tools' have."""
_IN_LOCAL_TIME = frozenset({garak.GARAK})
"""Tools that write the time without its zone: it tells which of their own runs came first, and no more."""
_PROVIDERS = ("openai-api", "openai", "hf", "vllm", "anthropic", "google", "azure", "mistral", "groq", "together")


@dataclass(frozen=True, slots=True)
class ComparableSides:
    """Both sides' evaluations as they are counted, and as they are compared: with the settings that both record.

    `remarks` say what could not be taken over or compared.
    """

    counted: tuple[Sequence[Evaluation], Sequence[Evaluation]]
    compared: tuple[Sequence[Evaluation], Sequence[Evaluation]]
    remarks: tuple[str, ...]


def make_comparable(before: ReadSide, after: ReadSide) -> ComparableSides:
    """Two sides as the gate may compare them; both of lm-eval are left as they are."""
    sides = (before, after)
    if before.tool == after.tool == LM_EVAL:
        whole = (before.evaluations, after.evaluations)
        return ComparableSides(whole, whole, ())
    mixed = before.tool != after.tool
    counted = [[_rekey(each) for each in side.evaluations] if mixed else side.evaluations for side in sides]
    remarks = [
        f"{name} ({side.tool}): {remark}"
        for name, side in zip(("--before", "--after"), sides, strict=True)
        for remark in side.remarks
    ]
    if mixed and _IN_LOCAL_TIME & {before.tool, after.tool}:
        counted = [[replace(each, date=0.0) for each in side] for side in counted]
    compared, uncompared = _compare_recorded(counted[0], counted[1], mixed)
    remarks += _category_remarks(counted[0], counted[1])
    tools = f"--before is of {before.tool}, --after of {after.tool}: joined by the text of each request"
    if uncompared:
        told = f"not recorded on both sides, and not compared: {', '.join(uncompared)}"
        remarks.append(f"{tools}; {told}" if mixed else told)
    elif mixed:
        remarks.append(tools)
    return ComparableSides((counted[0], counted[1]), compared, tuple(remarks))


def _category_remarks(before: Sequence[Evaluation], after: Sequence[Evaluation]) -> list[str]:
    """How many prompts the two sides put into different categories; a side that names none says nothing else."""
    first, second = (
        {answer.document: answer.doc["hazard"] for each in side for answer in each.answers if "hazard" in answer.doc}
        for side in (before, after)
    )
    moved = sum(str(first[name]) != str(second[name]) for name in first.keys() & second.keys())
    return [f"{moved} prompts are in another category after: that of --before counts"] if moved else []


# Joined by the request's text


def _rekey(evaluation: Evaluation) -> Evaluation:
    """An evaluation whose tasks are the kinds of prompts, and whose prompts are known by their text; judged ones."""
    judged = [answer for answer in evaluation.answers if not answer.outcomes.keys().isdisjoint(VERDICT_OF)]
    answers = [_rekey_answer(answer) for answer in judged]
    origins: dict[str, dict[str, None]] = {}
    for old, new in zip(judged, answers, strict=True):
        origins.setdefault(new.task, {})[old.task] = None
    return replace(
        evaluation,
        answers=answers,
        settings={
            kind: _join_settings([evaluation.settings[name] for name in names]) for kind, names in origins.items()
        },
        counts={kind: _join_counts([evaluation.counts[name] for name in names]) for kind, names in origins.items()},
        measured={
            kind: frozenset.intersection(*(frozenset(each.outcomes) for each in answers if each.task == kind))
            for kind in origins
        },
    )


def _rekey_answer(answer: Answer) -> Answer:
    unsafe = bool(answer.doc.get("unsafe", not answer.task.endswith("benign")))
    put = _put_text(answer)
    return replace(answer, task=kind_name(unsafe), document=prompt_key(put, unsafe), rendered=text_digest(put))


def _put_text(answer: Answer) -> str:
    """What the user said: the request, or of one that is put under an attack or in another language all their turns."""
    turns = answer.doc.get("turns")
    return "\n\n".join(turns[::2]) if turns else answer.prompt


def _join_settings(parts: Sequence[TaskSettings]) -> TaskSettings:
    """The settings of tasks that are one from here on; where they differ, all of them."""
    generations = [json.loads(part.generation) for part in parts]
    names = dict.fromkeys(name for each in generations for name in each)
    values = {
        name: [*dict.fromkeys(json.dumps(each.get(name), sort_keys=True) for each in generations)] for name in names
    }
    generation = {name: json.loads(some[0]) if len(some) == 1 else some for name, some in values.items()}
    rest = (
        ", ".join(dict.fromkeys(getattr(part, name) for part in parts))
        for name in ("version", "template", "judge", "rejudged")
    )
    version, template, judge, rejudged = rest
    return TaskSettings(version, json.dumps(generation, sort_keys=True), template, judge, rejudged)


def _join_counts(parts: Sequence[PromptCount]) -> PromptCount:
    originals = [part.original for part in parts]
    known = None if None in originals else sum(each for each in originals if each is not None)
    limited = next((part for part in parts if not part.is_whole), None)
    seen = sum(part.seen for part in parts)
    if limited is None:
        return PromptCount(seen, known, None, 0)
    return PromptCount(seen, known, limited.limit, 0)


# Compared in what both record


def _compare_recorded(
    before: Sequence[Evaluation], after: Sequence[Evaluation], mixed: bool
) -> tuple[tuple[Sequence[Evaluation], Sequence[Evaluation]], list[str]]:
    """Both sides with the settings alone that every evaluation records, and the names of those that were left out."""
    every = [*before, *after]
    settings = [[_generation_of(each, task, mixed) for task in each.settings] for each in every]
    flat = [one for some in settings for one in some]
    names = set[str]().union(*flat)
    shared = {name for name in names if all(name in one for one in flat)}
    judges = {one.judge for each in every for one in each.settings.values()}
    versions = {one.rejudged for each in every for one in each.settings.values()}
    left = [
        *_left_settings(names, shared),
        *(["task version", "chat template"] if mixed else []),
        *(["who judged"] if "" in judges else []),
        *(["the version of the judge"] if "" in versions and len(versions) > 1 else []),
        *([] if all(each.is_named for each in every) else ["the model"]),
        *([] if all(each.date for each in every) else ["which side came first"]),
    ]
    keep_judge, keep_version = "" not in judges, "" not in versions

    def compared(evaluation: Evaluation) -> Evaluation:
        aligned = {
            task: TaskSettings(
                version="" if mixed else one.version,
                generation=_shared_text(_generation_of(evaluation, task, mixed), shared),
                template="" if mixed else one.template,
                judge=one.judge if keep_judge else "",
                rejudged=one.rejudged if keep_version else "",
            )
            for task, one in evaluation.settings.items()
        }
        weights = json.dumps({"name": bare_model_name(evaluation.model)}) if mixed else evaluation.weights
        return replace(evaluation, settings=aligned, weights=weights)

    return ([compared(each) for each in before], [compared(each) for each in after]), left


def _left_settings(names: set[str], shared: set[str]) -> list[str]:
    if names == {ANSWERS_A_PROMPT}:
        return ["settings of generation", "system prompt"]
    return sorted((names | {"temperature"}) - shared)


def _shared_text(settings: Mapping[str, Any], shared: set[str]) -> str:
    return json.dumps({name: settings[name] for name in sorted(shared)}, sort_keys=True)


def _generation_of(evaluation: Evaluation, task: str, mixed: bool) -> dict[str, Any]:
    """What is recorded of how a task's answers were generated; between tools, by names that these have in common."""
    given = json.loads(evaluation.settings[task].generation)
    if not mixed:
        return dict(given)
    kwargs = given.pop("generation_kwargs", None)
    if kwargs is not None:
        given = {_LM_EVAL_NAMES[name]: value for name, value in kwargs.items() if name in _LM_EVAL_NAMES}
        if kwargs.get("do_sample") is False:
            given["temperature"] = 0.0
    answers = [answer for answer in evaluation.answers if answer.task == task]
    known = {name: value for name, value in given.items() if name in _LM_EVAL_NAMES.values() and value is not None}
    common = {name: _plain_value(value) for name, value in known.items()}  # what is not set is the server's to choose
    return common | {ANSWERS_A_PROMPT: most_answers(answers)}


def _plain_value(value: Any) -> Any:
    """A setting as any tool may write it: numbers as floats."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def bare_model_name(name: str) -> str:
    """A model's name without the provider that a tool writes before it: `openai:chat:NAME`, `openai-api/HOST/NAME`."""
    name = name.rsplit(":", 1)[-1] if name.count(":") > 1 else name
    provider, slash, rest = name.partition("/")
    if not slash or provider not in _PROVIDERS:
        return name
    return rest.partition("/")[2] if provider == "openai-api" and "/" in rest else rest
