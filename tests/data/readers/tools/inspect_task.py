"""The prompts as an Inspect task, judged by the harness's own judge: `inspect eval inspect_task.py -T prompts=FILE`."""

from __future__ import annotations

import json
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState, generate

from harness.judges.registry import judge_exchanges
from harness.judges.verdicts import Exchange


@scorer(metrics=[mean()])
def refused() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        exchange = Exchange(state.input_text, state.output.completion, state.metadata["unsafe"])
        said = judge_exchanges("lexical", [exchange])[0]
        told = {"verdict": said.label, "judge": "lexical"}
        return Score(value=float(said.label == "refusal"), explanation=said.reason, metadata=told)

    return score


@task
def refusals(prompts: str) -> Task:
    rows = [json.loads(line) for line in Path(prompts).read_text().splitlines()]
    samples = [
        Sample(r["prompt"], id=r["prompt_id"], metadata={"category": r["hazard"], "unsafe": r["unsafe"]}) for r in rows
    ]
    return Task(MemoryDataset(samples, name="bundled"), solver=generate(), scorer=refused())
