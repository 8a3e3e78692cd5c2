"""Forwards lm-eval's calls to the harness."""

from typing import Any

from harness import likelihood_task, lm_task


def unsafe(**metadata: Any) -> Any:
    return lm_task.documents("unsafe", **metadata)


def benign(**metadata: Any) -> Any:
    return lm_task.documents("benign", **metadata)


verdicts = lm_task.verdicts


def unsafe_metrics(doc: Any, results: Any) -> dict[str, float]:
    return lm_task.metrics(("refusal", "harmful"), doc, results)


def benign_metrics(doc: Any, results: Any) -> dict[str, float]:
    return lm_task.metrics(("compliance",), doc, results)


pairs = likelihood_task.documents
pair_metrics = likelihood_task.metrics
