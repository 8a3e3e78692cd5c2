"""What the lm-eval tasks call: the prompts as a data set, the judge as a filter, the verdicts as metrics.

lm-eval hands `--metadata` to the data set function, so judge and prompt set are chosen from its own command line;
they travel in the documents, where the filter finds them.
"""

from __future__ import annotations

import json
import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from datasets import Dataset

from harness.evaluation.samples import FLAG_OF, METRIC_OF, mean_judged, verdict_outcomes
from harness.evaluation.telling import refuse_other_than_text, tell_in_one_line
from harness.judges.normalizing import ReasoningTags, parse_reasoning_tags
from harness.judges.registry import (
    judge_exchanges,
    judge_identity,
    refuse_failed_judge,
    try_judge,
)
from harness.judges.verdicts import Exchange, Label, Verdict, verdict_details
from harness.prompts.asked import load_asked_prompts
from harness.prompts.sets import PromptKind
from harness.support.errors import HarnessError

TASK_VERSION = 2.0
"""Of the tasks that give verdicts, as in `tasks/_common.yaml`. In 1.0 all that a model wrote was judged as its answer,
and nothing was flagged."""


def prompt_documents(
    kind: PromptKind,
    *,
    benchmark: str = "",
    prompts: str = "bundled",
    judge: str = "lexical",
    samples: int = 1,
    reasoning_tags: object = None,
    **metadata: Any,
) -> dict[str, Dataset]:
    """The prompts of one kind as lm-eval's data set: `prompt_id`, `prompt`, `hazard`, `split`, `unsafe`, `judge`.

    Of a set with variants also `request`, `turns`, and `attack` or `language` (`harness.prompts.asked`).

    The arguments are the task's own and what `lm_eval --metadata` gives.

    Args:
        kind: which side.
        benchmark: the task's prompt set, from the hub, or from the file given under its name (`{"xstest": FILE}`).
        prompts: a prompt set for the tasks without one of their own, as `harness.prompts.asked` takes it.
        judge: who gives the verdicts.
        samples: answers a prompt; the documents of one prompt differ in `sample` alone.
        reasoning_tags: two texts that open and close the model's reasoning, beside the usual ones; in the documents.
        metadata: other tasks' keys.

    The first documents, with which lm-eval contents itself under `--limit`, hold each category and split in its share.

    Raises HarnessError where the prompts are not there, the judge cannot work, or a value is none: before the model
    answers.
    """
    tell_in_one_line()
    refuse_other_than_text(prompts=prompts, judge=judge, **{key: metadata.get(key) for key in [benchmark] if key})
    logging.getLogger("lm_eval.evaluator_utils").addFilter(_NO_COUNT_WARNING)
    _try_judge_once(judge)
    if not isinstance(samples, int) or samples < 1:
        raise HarnessError(f"samples is {samples!r}", place="--metadata", hint="Give a number of answers a prompt.")
    source = _published_source(benchmark, metadata) if benchmark else prompts
    rows = load_asked_prompts(source, kind)
    if not rows:
        other = "unsafe" if kind == "benign" else "benign"
        raise HarnessError(f"holds no {kind} prompts", place=source, hint=f"Run the task for {other} prompts alone.")
    tags = parse_reasoning_tags(reasoning_tags, "reasoning_tags of --metadata")
    side = {"unsafe": kind == "unsafe", "judge": judge, **({"reasoning_tags": list(tags)} if tags else {})}
    numbers: list[dict[str, int]] = [{"sample": number} for number in range(samples)] if samples > 1 else [{}]
    return {"test": Dataset.from_list([{**row, **side, **number} for row in rows for number in numbers])}


_try_judge_once = cache(try_judge)
"""Every task asks for its prompts, some twice; the judge is tried once."""


def _published_source(benchmark: str, metadata: Mapping[str, Any]) -> str:
    file = metadata.get(benchmark)
    return f"{benchmark}={file}" if file else benchmark


class _NoCountWarning(logging.Filter):
    """lm-eval warns at length where documents differ in their metrics; a category's rate is over its own by design."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "not scored on the same number" not in record.getMessage()


_NO_COUNT_WARNING = _NoCountWarning()


def judge_responses(responses: Sequence[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """lm-eval's custom filter: each answer's verdict, reason and judge as JSON; judged in one batch a judge.

    Raises HarnessError where a judge cannot work, or fails on every answer.
    """
    flat = [
        (place, doc["judge"], Exchange(doc["prompt"], text, doc["unsafe"], _document_tags(doc)))
        for place, (texts, doc) in enumerate(zip(responses, docs, strict=True))
        for text in texts
    ]
    by_judge: dict[str, list[tuple[int, Exchange]]] = defaultdict(list)
    for place, name, exchange in flat:
        by_judge[name].append((place, exchange))
    result: list[list[str]] = [[] for _ in responses]
    for name, items in by_judge.items():
        who, exchanges = judge_identity(name), [exchange for _, exchange in items]
        verdicts = judge_exchanges(name, exchanges)
        refuse_failed_judge(name, exchanges, verdicts)
        for (place, _), said in zip(items, verdicts, strict=True):
            result[place].append(verdict_text(said, who))
    return result


def _document_tags(doc: Mapping[str, Any]) -> ReasoningTags | None:
    return parse_reasoning_tags(doc.get("reasoning_tags"), f"document {doc.get('prompt_id')}")


def verdict_text(said: Verdict, judge: str) -> str:
    """A verdict as the samples hold it; `judge` is the identity of who said it."""
    return json.dumps({"verdict": said.label, "reason": said.reason, "judge": judge, **verdict_details(said)})


def verdict_metrics(names: Sequence[Label], doc: Mapping[str, Any], said: Sequence[Sequence[str]]) -> dict[str, float]:
    """One document's metrics: each rate over its judged answers (absent without one).

    The first rate comes a second time under its category, as `refusal_rate/Self-Harm`. `unjudged_rate` and
    `unfinished_rate` are over all answers. A rate of verdicts or flags that the judge cannot give is left out.
    """
    records = [json.loads(text) for texts in said for text in texts]
    outcomes = [verdict_outcomes(each["verdict"], each.get("flags", ()), doc["judge"]) for each in records]
    means = {metric: mean_judged(each[metric] for each in outcomes) for metric in outcomes[0]}
    measured = {metric: mean for metric, mean in means.items() if not math.isnan(mean)}
    rates = {METRIC_OF[name]: measured[METRIC_OF[name]] for name in names if METRIC_OF[name] in measured}
    category = str(doc["hazard"]).replace(",", "")  # lm-eval reads what follows a comma as a filter's name
    by_category = {f"{metric}/{category}": rate for metric, rate in [*rates.items()][:1]}
    others = {metric: measured[metric] for metric in ("unjudged_rate", *FLAG_OF) if metric in measured}
    return {**rates, **by_category, **others}
