"""Prompts whose verdict changed, as typed rows and as the compressed data that the page's own script reads."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from harness.evaluation.samples import Answer
from reports.reading import FinishedRun, ScoredPair

TEXT_LIMIT = 20_000
"""Characters of one answer that the page carries; the samples hold the rest, and the page says so."""

Direction = Literal["worse", "better", "neither", "unjudged"]
_GOODNESS: Mapping[bool, Mapping[str, int]] = {
    True: {"refusal": 2, "other": 1, "harmful": 0},
    False: {"compliance": 1, "refusal": 0, "other": 0},
}
"""How good a verdict is on an unsafe prompt, and on a benign one."""


@dataclass(frozen=True, slots=True)
class ArmFlip:
    """A prompt that one arm answered with another verdict than the untrained model, under the same seed."""

    arm: str
    seed: int
    before: Answer
    after: Answer

    @property
    def unsafe(self) -> bool:
        """Whether the prompt is an unsafe one, or of unknown kind."""
        return is_unsafe(self.after)

    @property
    def direction(self) -> Direction:
        """Whether the verdict got worse: refusals are good on unsafe prompts, compliance on benign ones."""
        goodness = _GOODNESS[self.unsafe]
        before, after = goodness.get(self.before.verdict), goodness.get(self.after.verdict)
        if before is None or after is None:
            return "unjudged"
        return "worse" if after < before else "better" if after > before else "neither"


def is_unsafe(answer: Answer) -> bool:
    """Whether an answer's prompt is unsafe; one that does not say counts as unsafe."""
    return bool(answer.doc.get("unsafe", not answer.task.endswith("benign")))


def find_flips(run: FinishedRun) -> list[ArmFlip]:
    """Every changed verdict, the lost refusals of each arm first."""
    found = [
        ArmFlip(arm, seed, before[key], after[key])
        for arm in run.trained
        for seed, after in run.answers.get(arm, {}).items()
        if (before := run.answers.get("baseline", {}).get(seed))
        for key in before
        if key in after and before[key].verdict != after[key].verdict
    ]
    return sorted(found, key=lambda flip: flip.direction != "worse")


def pack_flips(runs: Iterable[tuple[FinishedRun, Sequence[ArmFlip], Mapping[str, str]]], *, redact: bool) -> str:
    """All runs' flips, and the training pairs near them, as base64 of deflated JSON.

    Each run comes with its flips and the labels of its arms. With `redact`, no text of an unsafe prompt, of an
    answer to one, or of a judge's reason about one is in it.
    """
    given = [*runs]
    data = {
        "redacted": redact,
        "runs": [_run_data(run, found, labels, redact) for run, found, labels in given],
        "flips": [
            _flip_data(flip, number, run.name if len(given) > 1 else "", redact)
            for number, (run, found, _) in enumerate(given)
            for flip in found
        ],
    }
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("ascii"), 9)).decode("ascii")


def _flip_data(flip: ArmFlip, run: int, name: str, redact: bool) -> dict[str, Any]:
    hidden = redact and flip.unsafe
    parts = [name, flip.arm, str(flip.seed), flip.after.prompt_id]
    return {
        "id": "/".join(quote(part, safe="", errors="replace") for part in parts if part),
        "run": run,
        "arm": flip.arm,
        "seed": flip.seed,
        "prompt_id": flip.after.prompt_id,
        "category": str(flip.after.doc.get("hazard", "")),
        "split": str(flip.after.doc.get("split", "")),
        "unsafe": flip.unsafe,
        "direction": flip.direction,
        "prompt": None if hidden else _limit_text(flip.after.prompt),
        "before": _answer_data(flip.before, hidden),
        "after": _answer_data(flip.after, hidden),
    }


def _answer_data(answer: Answer, hidden: bool) -> dict[str, Any]:
    text = {} if hidden else {"text": _limit_text(answer.response), "reason": _limit_text(answer.reason)}
    return {"verdict": answer.verdict, "length": len(answer.response), **text}


def _limit_text(text: str) -> str:
    return text[:TEXT_LIMIT]


def _run_data(run: FinishedRun, found: Sequence[ArmFlip], labels: Mapping[str, str], redact: bool) -> dict[str, Any]:
    """What the flips of one run refer to: the labels of its arms, and training pairs by prompt."""
    prompts = {flip.after.prompt_id for flip in found}
    near = {prompt: [*_near_pairs(run, prompt)] for prompt in sorted(prompts)}
    wanted = {entry["pair"] for entries in near.values() for entry in entries}
    return {
        "name": run.name,
        "arms": dict(labels),
        "measured": run.nearest is not None,
        "near": {prompt: entries for prompt, entries in near.items() if entries},
        "pairs": {pair.pair_id: _pair_data(pair, redact) for pair in run.pairs or () if pair.pair_id in wanted},
    }


def _near_pairs(run: FinishedRun, prompt: str) -> Iterator[dict[str, Any]]:
    """The training pairs nearest to a prompt; without that measurement, the pairs of the prompt itself."""
    if run.nearest is not None:
        for entry in run.nearest.get(prompt, ()):
            yield {"pair": entry["pair_id"], "similarity": entry["similarity"]}
    else:
        yield from ({"pair": pair.pair_id} for pair in run.pairs or () if prompt and pair.prompt_id == prompt)


def _pair_data(pair: ScoredPair, redact: bool) -> dict[str, Any]:
    texts = {} if redact else {name: _limit_text(getattr(pair, name)) for name in ("prompt", "chosen", "rejected")}
    return {
        "ln_ches": pair.ln_ches,
        "chosen_verdict": pair.chosen_verdict,
        "rejected_verdict": pair.rejected_verdict,
        **texts,
    }
