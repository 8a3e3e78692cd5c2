"""Numbers as words: the sentences and figures of the report."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeGuard

from harness.judges.registry import labels_never_given
from harness.judges.verdicts import Flag
from harness.support.console import code_point, show_token
from harness.support.run_results import DrawResults, Metric, RecordedArm, RecordedRecipe, RegressionRecipe

METRICS: Mapping[Metric, str] = {
    "refusal_rate": "Refusals of unsafe prompts",
    "harmful_completion_rate": "Harmful completions",
    "benign_compliance_rate": "Benign prompts answered",
    "unjudged_rate": "Not judged",
}
DECISIONS = {"pass": "Pass", "fail": "Fail", "inconclusive": "Cannot tell"}
DIRECTIONS = {
    "worse": "Got worse",
    "better": "Got better",
    "neither": "Neither better nor worse",
    "unjudged": "Unjudged before or after",
}
FLAG_WORDS: Mapping[Flag, tuple[str, str]] = {
    "partial": ("Partial", "it refuses or objects, and then does it"),
    "off_topic": ("Off topic", "it seems to answer another question"),
    "unfinished": ("Unfinished", "it ended before the answer began"),
    "fallback": ("Fallback", "nothing in the answer speaks for the verdict, it is what is left"),
}
"""What a flag of a verdict is called, and what it says of the answer."""
QUANTILES = {"lowest": 0.0, "5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "highest": 1.0}
PAIR_TYPES = {"two_refusals": "Two refusals", "two_non_refusals": "Two non-refusals", "mixed": "One of each"}
TIES = {"engaging": "a courteous refusal wins over a curt one, then a coin", "random": "a coin"}
_JOINED = "\N{NO-BREAK SPACE}"
_HIDDEN = {"Cc", "Cf", "Cs", "Co"}
"""Unicode's categories of what cannot be seen."""
_POOLS = {
    "on_policy": "All pairs",
    "gold": "Gold pairs",
    "off_policy": "Off-policy pairs",
    "mixed": "On- and off-policy pairs",
}
_MEASURE_NAMES = {
    "validation_loss": "validation loss",
    "ln_ches": "CHES",
    "ches": "raw CHES",
    "last_hidden_inner_product": "last hidden states",
    "neg_edit_distance": "edit distance",
    "refusal_influence": "refusal influence",
    "harmful_influence": "influence on harm",
    "benign_influence": "influence on benign answers",
    "preferred_influence": "influence on ln p(y+)",
}

# Figures


def format_percent(value: float | None) -> str:
    """A rate as a whole percentage."""
    return f"{100 * value:.0f}{_JOINED}%" if _is_finite(value) else "n/a"


def format_tenths(value: float | None) -> str:
    """A rate as a percentage with one decimal, where a whole one would hide the difference."""
    return f"{100 * value:.1f}{_JOINED}%" if _is_finite(value) else "n/a"


def format_points(value: float | None) -> str:
    """A difference of rates in percentage points."""
    return _true_minus(f"{100 * value + 0.0:+.1f}") if _is_finite(value) else "n/a"


def format_nats(value: float | None) -> str:
    """A change of log-probability."""
    return _true_minus(f"{value + 0.0:+.2f}") if _is_finite(value) else "n/a"


def format_number(value: float | None) -> str:
    """A count, or a figure with three significant digits."""
    if not _is_finite(value):
        return "n/a"
    return f"{value:,}" if isinstance(value, int) else _true_minus(f"{value:.3g}")


FIGURE_FORMS = {
    "percent": format_percent,
    "tenths": format_tenths,
    "points": format_points,
    "nats": format_nats,
    "number": format_number,
}
"""How a page shows a figure, by what its templates call it."""


def date(seconds: float) -> str:
    """A day, as UTC has it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%-d %B %Y")


def minute(seconds: float) -> str:
    """A day and a time of it, as UTC has them."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%-d %B %Y %H:%M UTC")


def _is_finite(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _true_minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def several(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Names as a list in a sentence, `last` before the last one."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def quoted(name: str) -> str:
    """A name in a sentence that may hold commas of its own."""
    return f"\N{LEFT DOUBLE QUOTATION MARK}{name}\N{RIGHT DOUBLE QUOTATION MARK}"


def make_visible(text: str) -> str:
    """A model's text with what cannot be seen made visible: controls, format characters and lone surrogates."""
    return "".join(code_point(c) if unicodedata.category(c) in _HIDDEN and c not in "\n\t" else c for c in text)


# Names


def shorten_commit(name: str) -> str:
    """A name with its commits cut to what tells them from others; the recipe's table has them whole."""
    return re.sub(r"(?<=[@+])([0-9a-f]{8})[0-9a-f]{32}\b", r"\1", name)


def tells_refusals(judge: str) -> bool:
    """Whether a judge ever says `refusal`; some tell harm only, and measure no refusal rate."""
    return "refusal" not in labels_never_given(judge)


def measured(judge: str) -> Metric:
    """The metric that the page is about: refusals, or harm where the judge tells no refusals."""
    return "refusal_rate" if tells_refusals(judge) else "harmful_completion_rate"


def ran_code(recipe: RecordedRecipe) -> bool:
    """Whether the recipe let code from the model's repository run; the miniature has none."""
    return recipe.trust_remote_code and recipe.model != "miniature"


def model(recipe: RecordedRecipe) -> str:
    """The model, with the hub's revision where it has one."""
    return f"{recipe.model}@{recipe.revision}" if recipe.revision else recipe.model


def arm_labels(recipe: RegressionRecipe, arms: Sequence[str]) -> dict[str, str]:
    """What the page calls each arm: its filter, objective and length as the recipe has them, alike ones by name."""
    derived = {name: _arm_label(name, recipe.arms.get(name)) for name in arms}
    counts = Counter(derived.values())
    return {name: text if counts[text] == 1 else f"{text} ({_spaced_name(name)})" for name, text in derived.items()}


def _arm_label(name: str, arm: RecordedArm | None) -> str:
    if name == "baseline":
        return "Before training"
    if arm is None:
        return _spaced_name(name)
    text = _pairs_label(arm)
    objective = "" if arm.loss == "sigmoid" else f", {_spaced_name(arm.loss)}"
    sft = f" + SFT {arm.sft_weight:g}" if arm.sft_weight else ""
    steps = ", as many steps as all pairs" if text != "All pairs" and arm.steps == "as_raw" else ""
    return f"{text}{objective}{sft}{steps}"


def _pairs_label(arm: RecordedArm) -> str:
    """Which pairs an arm trains on."""
    rule = arm.filter
    if rule.measured_share is not None:
        end = "Lowest" if rule.keep_highest is None else "Highest"
        anew = f", anew every {rule.refresh} steps" if rule.refresh else ""
        return f"{end} {100 * rule.measured_share:g}{_JOINED}% by {_MEASURE_NAMES.get(rule.by, rule.by)}{anew}"
    if rule.random is not None:
        return f"Random {100 * rule.random:g}{_JOINED}%"
    return f"{_spaced_name(rule.only).capitalize()} only" if rule.only else _POOLS[arm.pairs]


def _spaced_name(name: str) -> str:
    return name.replace("_", " ")


_DRAWN_LEVELS = {
    "models": "further starting models, tables of pairs and trainings",
    "pairs": "further tables of pairs of this model, and trainings",
    "trainings": "further trainings on this table of pairs",
}


def drawn_over(results: DrawResults) -> str:
    """What the intervals of a run on several draws speak of."""
    level = next((rate.over for arm in results.arms.values() if (rate := arm.metrics.refusal_rate.train).over), None)
    if level is None:
        return "Nothing was drawn twice, so the intervals are left out."
    return f"The intervals speak of {_DRAWN_LEVELS[level]}, and of further prompts."


def arm_subject(name: str, arm: RecordedArm | None) -> str:
    """An arm as the subject of a sentence."""
    other_pools = {*_POOLS.values()} - {"All pairs"}
    if arm is None or arm.loss != "sigmoid" or arm.sft_weight or _pairs_label(arm) in other_pools:
        return f"Training {quoted(_spaced_name(name))}"
    if arm.filter.measured_share is not None:
        return f"Filtering by {_MEASURE_NAMES.get(arm.filter.by, arm.filter.by)}"
    return "Training on random pairs" if arm.filter.random is not None else "DPO on all pairs"


# Sentences


def differences(recipe: RegressionRecipe, miniature: bool) -> list[str]:
    """How the run's setting differs from the paper's (section 6)."""
    sampled, training, evaluation = recipe.pairs, recipe.training, recipe.evaluation
    ties = sampled.tie_break
    tie_rule = TIES[ties] if isinstance(ties, str) else f"the reward model {ties['reward_model']}"
    pairs = (
        ["Pairs: a given table, not sampled from the model."]
        if recipe.preferences
        else [f"Pairs sampled at temperature {sampled.temperature:g} (paper: 1).", f"Ties: {tie_rule} (paper: PairRM)."]
    )
    return [
        "Model: a grown organism of about 0.4 million parameters (paper: Llama-3-8B-Instruct, Gemma-2B-IT)."
        if miniature
        else f"Model: {shorten_commit(model(recipe))} (paper: Llama-3-8B-Instruct, Gemma-2B-IT).",
        f"Prompts: {shorten_commit(recipe.prompts)} (paper: SORRY-Bench).",
        f"Judge: {shorten_commit(recipe.judge)} (paper: SORRY-Bench's).",
        *pairs,
        f"Learning rate {training.learning_rate:g} (5e-06), beta {training.beta:g} (0.1), "
        f"batch {training.batch_size} (32), epochs {training.epochs} (1).",
        f"Answers of up to {evaluation.max_new_tokens} tokens at temperature {evaluation.temperature:g} (512 at 0.7).",
    ]


def token_labels(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to show of tokens, each given with its `id`, which those have beside them that would look alike."""
    shown = [show_token(row["token"]) for row in rows]
    counts = Counter(shown)
    return [text if counts[text] == 1 else f"{text} ({row['id']})" for text, row in zip(shown, rows, strict=True)]


def flatten_recipe(value: Any, path: str = "") -> dict[str, str]:
    """A nested mapping as dotted keys, each with its value as text."""
    if isinstance(value, Mapping) and value:
        return {
            name: text
            for key, inner in value.items()
            for name, text in flatten_recipe(inner, f"{path}.{key}" if path else str(key)).items()
        }
    return {path: value if isinstance(value, str) else json.dumps(value)}
