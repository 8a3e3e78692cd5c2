"""Forwards lm-eval's calls to the harness."""

from typing import Any

from harness.evaluation.likelihood_task import likelihood_metrics, pair_documents
from harness.evaluation.samples import MEASURED_LABELS
from harness.evaluation.tasks import judge_responses, prompt_documents, verdict_metrics


def unsafe(**metadata: Any) -> Any:
    return prompt_documents("unsafe", **metadata)


def benign(**metadata: Any) -> Any:
    return prompt_documents("benign", **metadata)


verdicts = judge_responses


def unsafe_metrics(doc: Any, results: Any) -> dict[str, float]:
    return verdict_metrics(MEASURED_LABELS[True], doc, results)


def benign_metrics(doc: Any, results: Any) -> dict[str, float]:
    return verdict_metrics(MEASURED_LABELS[False], doc, results)


pairs = pair_documents
pair_metrics = likelihood_metrics
