"""The gate's decision for a model's page on the Hugging Face hub: evaluation results, and a part of its model card.

Sources: eval_results.yaml, docs/hub/eval-results.md and modelcard.md of huggingface/hub-docs; what is written goes
through huggingface_hub's own types.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.handoff.markdown import code_span
from harness.handoff.rendering import DECISION_MARKS, decision_mark, loss_cells
from harness.support.artifacts import explain_write_errors
from harness.support.errors import HarnessError
from harness.support.redaction import redact_text
from harness.support.versions import DISTRIBUTION, library_version

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, EvalResultEntry

    from harness.gate.decision import GateOutcome, MetricCheck
    from harness.gate.policy import Policy
    from harness.gate.side_summary import SideSummary

HUB_RESULTS = Path(".eval_results") / "refusal_displacement.yaml"
MODEL_CARD = "README.md"
_BEGIN, _END = "<!-- refusal-displacement: begin -->", "<!-- refusal-displacement: end -->"
_TASK = f"Safety gate ({DISTRIBUTION})"
"""What tells our results in a card's metadata from those of others."""
_METRIC_NAMES = {
    "refusal_rate": "Refusal rate on unsafe prompts",
    "harmful_completion_rate": "Harmful completion rate on unsafe prompts",
    "benign_compliance_rate": "Compliance rate on benign prompts",
}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\dT")
_MODELS_TOLD = 3


def make_hub_files(
    outcome: GateOutcome, policy: Policy, folder: Path, dataset: str | None = None
) -> list[tuple[Path, bytes]]:
    """The decision in a model's folder as it lies on the hub: files and what is to stand in them; none is written.

    Args:
        outcome: the decision; its `after` side is the model that the folder holds.
        policy: what it was taken by.
        folder: the model's; its README.md is made where there is none.
        dataset: the hub's benchmark (`org/name`) whose tasks are called like the guarded metrics, for
            `.eval_results/`. Without one only the card is written: the hub knows no results without a benchmark.

    The card keeps all that others wrote, but for comments in its metadata: our results there, and the part between our
    two marks, are put in place of earlier ones of ours. No prompts or answers are in it.

    Raises HarnessError where the folder is none, the card's metadata or marks are broken, or nothing was measured.
    """
    if not folder.is_dir():
        raise HarnessError("is no directory", place=f"--hub {folder}", hint="Give the model's own.")
    checks = [check for check in outcome.checks if check.category is None and check.unit == "rate"]
    if not [check for check in checks if math.isfinite(check.after)]:
        raise HarnessError("no rate was measured, so there is nothing to write", place=f"--hub {folder}")
    if dataset is not None and not (_HUB_ID.fullmatch(dataset) and "/" in dataset):
        hint = "Give the benchmark's, as the hub has it: org/name."
        raise HarnessError("is no id of a data set", place=f"--hub-dataset {dataset}", hint=hint)
    card = folder / MODEL_CARD
    texts = [(card, _updated_card(card, outcome, policy, dataset))]
    if dataset is not None:
        texts.append((folder / HUB_RESULTS, _results_text(_result_entries(checks, outcome, dataset))))
    return [(path, text.encode("utf-8", "backslashreplace")) for path, text in texts]


# .eval_results


def _result_entries(checks: list[MetricCheck], outcome: GateOutcome, dataset: str) -> list[EvalResultEntry]:
    from huggingface_hub import EvalResultEntry

    evaluated = outcome.sides[1].evaluated[1]
    return [
        EvalResultEntry(
            dataset_id=dataset,
            task_id=check.metric,
            value=round(check.after, 4),
            date=evaluated if _DATE.match(evaluated) else None,
            notes=redact_text(_entry_notes(check, outcome)),
        )
        for check in checks
        if math.isfinite(check.after)
    ]


def _entry_notes(check: MetricCheck, outcome: GateOutcome) -> str:
    """What the schema has no field for: the interval, the judge, the prompts and the decision."""
    before, _, loss, margin = loss_cells(check)
    judges = ", ".join(outcome.sides[1].judges) or "none named"
    return (
        f"gate {DECISION_MARKS[outcome.decision]}; this metric {decision_mark(check)}: {before} before, worse by "
        f"{loss} points, margin {margin}; {check.prompts} prompts; judge {judges}"
    )


def _results_text(entries: list[EvalResultEntry]) -> str:
    from huggingface_hub import eval_result_entries_to_yaml

    return str(yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True))


# The model card


def _updated_card(path: Path, outcome: GateOutcome, policy: Policy, dataset: str | None) -> str:
    """The card with our results in its metadata and our part in its text."""
    from huggingface_hub import ModelCard

    name, text = path.parent.resolve().name, _read_card(path)
    known = text or ""
    windows = "\r\n" in known and known.count("\r\n") == known.count("\n")
    known = known.replace("\r\n", "\n") if windows else known
    try:
        # Without a block of metadata huggingface_hub would warn of it; an empty one is the same.
        card = ModelCard(known if re.match(r"\s*---[\r\n]", known) else f"---\n{{}}\n---\n{known}")
    except Exception as error:  # YAML's errors, and whatever the card's own keys make of a constructor
        hint = "Mend the block of metadata at its top."
        raise HarnessError(f"is no model card ({error})", place=str(path), hint=hint) from error
    data: Any = card.data
    others = [result for result in data.eval_results or [] if result.task_name != _TASK]
    data.model_name = data.model_name or name
    data.eval_results = [*others, *_card_results(outcome, dataset)]
    body = f"\n# {name}\n" if text is None else card.text
    card.text = _with_section(body, card_section(outcome, policy), path)
    return str(card).replace("\n", "\r\n") if windows else str(card)


def _read_card(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        with explain_write_errors(path):
            return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        hint = "Write it anew in UTF-8: as it is, it could not be kept."
        raise HarnessError("is not UTF-8", place=str(path), hint=hint) from error


def _card_results(outcome: GateOutcome, dataset: str | None) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="text-generation",
            task_name=_TASK,
            dataset_type=dataset or DISTRIBUTION,
            dataset_name="Prompts of the safety gate",
            metric_type=check.metric,
            metric_name=_METRIC_NAMES.get(check.metric, check.metric),
            metric_value=round(check.after, 4),
        )
        for check in outcome.checks
        if check.category is None and check.unit == "rate" and math.isfinite(check.after)
    ]


def _with_section(text: str, section: str, path: Path) -> str:
    """The text with our part in place of the one that it has, or at its end."""
    begins, ends = (text.count(mark) for mark in (_BEGIN, _END))
    if (begins, ends) == (0, 0):
        return f"{text.rstrip()}\n\n{section}\n" if text.strip() else f"\n{section}\n"
    start, end = text.find(_BEGIN), text.find(_END)
    if (begins, ends) != (1, 1) or end < start:
        hint = f"Leave one {_BEGIN} and one {_END} behind it, or neither."
        raise HarnessError("holds our marks otherwise than they were written", place=str(path), hint=hint)
    return text[:start] + section + text[end + len(_END) :]


def card_section(outcome: GateOutcome, policy: Policy) -> str:
    """The card's part between our marks: decision, rates, intervals, judge and how many prompts; no texts, no paths."""
    whole = [check for check in outcome.checks if check.category is None]
    failed = [check for check in outcome.checks if check.category is not None and check.decision == "fail"]
    rows = [[decision_mark(check), code_span(check.metric), *loss_cells(check), str(check.prompts)] for check in whole]
    head = ["", "Metric", "Before", "After", "Worse by, points", "Margin", "Prompts"]
    table = [head, ["---"] * len(head), *rows]
    blocks = [
        f"## Safety gate: {DECISION_MARKS[outcome.decision]}",
        code_span(outcome.reason),
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table),
        f"Intervals are two-sided at {1 - 2 * policy.alpha:.0%}; rates are of the prompts that both sides answered.",
        "\n".join(
            [
                *(
                    f"- {name}: {_describe_side(side)}"
                    for name, side in zip(("Before", "After"), outcome.sides, strict=True)
                ),
                *(f"- Fails: {code_span(check.category or '')} ({code_span(check.metric)})" for check in failed),
                *(f"- Note: {code_span(note)}" for note in outcome.notes),
                f"- Decided by {DISTRIBUTION} {library_version(DISTRIBUTION)}",
            ]
        ),
    ]
    # a name that holds one of our marks would be taken for it by the next gate
    return "\n\n".join([_BEGIN, *(block.replace("<!--", "<! --") for block in blocks), _END])


def _describe_side(side: SideSummary) -> str:
    models = ", ".join(code_span(_public_name(name)) for name in side.models[:_MODELS_TOLD])
    more = f" and {len(side.models) - _MODELS_TOLD} more" if len(side.models) > _MODELS_TOLD else ""
    judges = ", ".join(map(code_span, side.judges)) or "none named"
    return f"{models}{more}, judge {judges}, evaluated {' to '.join(dict.fromkeys(side.evaluated))}"


def _public_name(model: str) -> str:
    """A hub id as it is; of a path the last part, as the rest is nobody's business."""
    return model if _HUB_ID.fullmatch(model) else model.rstrip("/").rpartition("/")[2] or "model"
