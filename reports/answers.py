"""Every answer beside the untrained model's, as typed rows and as the compressed data that the page's script reads."""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import numpy as np

from harness.evaluation.samples import Answer
from harness.scoring.targets import influence_column
from reports.reading import FinishedRun, ScoredPair
from reports.words import FLAG_WORDS

TEXT_LIMIT = 20_000
"""Characters of one answer that the page carries; the samples hold the rest, and the page says so."""

UNCHANGED_LIMIT = 20_000_000
"""Characters of answers with the same verdict as before that the page carries at most; of changed ones it has all."""

Tracing = Literal["influence", "nearest", "prompt"]
"""How a changed verdict is traced to training pairs: by their influence on that prompt's refusal, by the hidden states
of their prompts, or by being of the same prompt."""
_PUSHING = 3

Direction = Literal["worse", "better", "neither", "unjudged", "same"]
_GOODNESS: Mapping[bool, Mapping[str, int]] = {
    True: {"refusal": 2, "other": 1, "harmful": 0},
    False: {"compliance": 1, "refusal": 0, "other": 0},
}
"""How good a verdict is on an unsafe prompt, and on a benign one."""


@dataclass(frozen=True, slots=True)
class ComparedAnswer:
    """What one arm answered to a prompt, beside what the untrained model answered under the same seed."""

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
        if self.before.verdict == self.after.verdict:
            return "same"
        goodness = _GOODNESS[self.unsafe]
        before, after = goodness.get(self.before.verdict), goodness.get(self.after.verdict)
        if before is None or after is None:
            return "unjudged"
        return "worse" if after < before else "better" if after > before else "neither"


def is_unsafe(answer: Answer) -> bool:
    """Whether an answer's prompt is unsafe; one that does not say counts as unsafe."""
    return bool(answer.doc.get("unsafe", not answer.task.endswith("benign")))


def compare_answers(run: FinishedRun) -> list[ComparedAnswer]:
    """Every answer that both the untrained model and an arm gave, prompt by prompt, so that what is alike is near."""
    found = [
        (key, ComparedAnswer(arm, seed, before[key], after[key]))
        for arm in run.trained
        for seed, after in run.answers.get(arm, {}).items()
        if (before := run.answers.get("baseline", {}).get(seed))
        for key in before
        if key in after
    ]
    places = {key: place for place, key in enumerate(dict.fromkeys(key for key, _ in found))}
    return [answer for _, answer in sorted(found, key=lambda item: places[item[0]])]


def pack_answers(
    runs: Iterable[tuple[FinishedRun, Sequence[ComparedAnswer], Mapping[str, str]]], *, redact: bool
) -> str:
    """All runs' answers, and the training pairs near the prompts whose verdict changed, as base64 of deflated JSON.

    Each run comes with its answers and the labels of its arms. With `redact`, no text of an unsafe prompt, of an
    answer to one, or of a judge's reason about one is in it.
    """
    given = [*runs]
    every = [(number, answer) for number, (_, found, _) in enumerate(given) for answer in found]
    carried = _carried_answers(every)
    names = [run.name if len(given) > 1 else "" for run, _, _ in given]
    rows = [
        _compared_data(answer, number, names[number], redact) | _pushing_data(given[number][0], answer)
        for number, answer in carried
    ]
    described = [_run_data(run, found, labels, redact) for run, found, labels in given]
    return _pack_data(described, rows, len(every) - len(carried), redact)


def _pack_data(runs: list[dict[str, Any]], rows: list[dict[str, Any]], left_out: int, redact: bool) -> str:
    data = {
        "redacted": redact,
        "flags": FLAG_WORDS,
        "runs": runs,
        "answers": _distinct_ids(rows),
        "left_out": left_out,
    }
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("ascii"), 9)).decode("ascii")


def pack_sides(found: Sequence[ComparedAnswer], label: str, *, redact: bool) -> str:
    """The answers of two sides that no training of ours lies between, as `pack_answers` packs those of runs.

    `label` is what the page calls the model after.
    """
    every = [(0, answer) for answer in found]
    carried = _carried_answers(every)
    run = {"name": "", "arms": {"after": label}, "traced": None, "too_much": False, "near": {}, "pairs": {}}
    rows = [_compared_data(answer, number, "", redact) for number, answer in carried]
    return _pack_data([run], rows, len(every) - len(carried), redact)


def _carried_answers(every: Sequence[tuple[int, ComparedAnswer]]) -> list[tuple[int, ComparedAnswer]]:
    """All answers whose verdict changed, and of the others as many, evenly spaced, as the page has room for."""
    same = [place for place, (_, answer) in enumerate(every) if answer.direction == "same"]
    sides = (answer for place in same for answer in (every[place][1].before, every[place][1].after))
    room = UNCHANGED_LIMIT / max(sum(map(_carried_length, sides)), 1)
    kept = {same[int(number / room)] for number in range(int(len(same) * room))} if room < 1 else {*same}
    return [item for place, item in enumerate(every) if item[1].direction != "same" or place in kept]


def _carried_length(answer: Answer) -> int:
    return len(_limit_text(answer.response)) + len(_limit_text(answer.judged or ""))


def _distinct_ids(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, further answers to one prompt under one seed told apart by their number."""
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row["id"]] += 1
        if (number := seen[row["id"]]) > 1:
            row["id"] += f"/{number}"
    return rows


def _compared_data(compared: ComparedAnswer, run: int, name: str, redact: bool) -> dict[str, Any]:
    hidden = redact and compared.unsafe
    parts = [name, compared.arm, str(compared.seed), compared.after.prompt_id]
    return {
        "id": "/".join(quote(part, safe="", errors="replace") for part in parts if part),
        "run": run,
        "arm": compared.arm,
        "seed": compared.seed,
        "prompt_id": compared.after.prompt_id,
        "category": str(compared.after.doc.get("hazard", "")),
        "split": str(compared.after.doc.get("split", "")),
        "unsafe": compared.unsafe,
        "direction": compared.direction,
        "prompt": None if hidden else _limit_text(compared.after.prompt),
        "before": _answer_data(compared.before, hidden),
        "after": _answer_data(compared.after, hidden),
    }


def _answer_data(answer: Answer, hidden: bool) -> dict[str, Any]:
    about: dict[str, Any] = {"verdict": answer.verdict, "length": len(answer.response)}
    if answer.flags:
        about["flags"] = sorted(answer.flags)
    if hidden:
        return about
    texts: dict[str, Any] = {"text": _limit_text(answer.response), "reason": _limit_text(answer.reason)}
    if answer.judged is not None:
        texts["judged"], texts["cut"] = _limit_text(answer.judged), [_limit_text(kind) for kind in answer.cut]
    return {**about, **texts}


def _limit_text(text: str) -> str:
    return text[:TEXT_LIMIT]


def _run_data(
    run: FinishedRun, found: Sequence[ComparedAnswer], labels: Mapping[str, str], redact: bool
) -> dict[str, Any]:
    """What the answers of one run refer to: the labels of its arms, and training pairs, by prompt or by answer."""
    changed = [answer for answer in found if answer.direction != "same"]
    way = _tracing(run)
    near: dict[str, list[dict[str, Any]]] = {}
    if way == "influence":
        entries = [entry for answer in changed for entry in _pushing_data(run, answer).get("near", ())]
    else:
        near = {prompt: [*_near_pairs(run, prompt)] for prompt in sorted({each.after.prompt_id for each in changed})}
        entries = [entry for each in near.values() for entry in each]
    wanted = {entry["pair"] for entry in entries}
    return {
        "name": run.name,
        "arms": dict(labels),
        "traced": way,
        "too_much": run.pushes is not None and way != "influence",
        "near": {prompt: each for prompt, each in near.items() if each},
        "pairs": {pair.pair_id: _pair_data(pair, run, redact) for pair in run.pairs or () if pair.pair_id in wanted},
    }


def _tracing(run: FinishedRun) -> Tracing:
    if run.pushes is not None and run.pushes.prompts:
        return "influence"
    return "prompt" if run.nearest is None else "nearest"


def _pushing_data(run: FinishedRun, answer: ComparedAnswer) -> dict[str, Any]:
    """Of the pairs that an answer's arm trained on, those that push its prompt's refusal hardest the way it went.

    Where the answer got better these push up, otherwise down. `times`: how hard, over the median pair's push. Empty
    where the answer did not change, or this was not measured of its prompt.
    """
    pushes, prompt = run.pushes, answer.after.prompt_id
    if answer.direction == "same" or not answer.unsafe or pushes is None or prompt not in pushes.prompts:
        return {}
    row = pushes.pushes[pushes.prompts[prompt]]
    trained = run.training.get(answer.arm, {}).get(answer.seed, {}).get("trained_pair_ids", pushes.pairs)
    sign = 1.0 if answer.direction == "better" else -1.0
    pushing = sorted(
        ((sign * float(row[pushes.pairs[pair]]), pair) for pair in trained if pair in pushes.pairs), reverse=True
    )
    middle = float(np.median(np.abs(row)))
    return {
        "near": [
            {"pair": pair, "push": sign * push, "times": push / middle if middle else None}
            for push, pair in pushing[:_PUSHING]
            if push > 0
        ]
    }


def _near_pairs(run: FinishedRun, prompt: str) -> Iterator[dict[str, Any]]:
    """The training pairs nearest to a prompt; without that measurement, the pairs of the prompt itself."""
    if run.nearest is not None:
        for entry in run.nearest.get(prompt, ()):
            yield {"pair": entry["pair_id"], "similarity": entry["similarity"]}
    else:
        yield from ({"pair": pair.pair_id} for pair in run.pairs or () if prompt and pair.prompt_id == prompt)


def _pair_data(pair: ScoredPair, run: FinishedRun, redact: bool) -> dict[str, Any]:
    measured = (run.influences or {}).get(pair.pair_id, {}).get(influence_column("refusal"))
    influence = {} if measured is None else {"influence": measured}
    texts = {} if redact else {name: _limit_text(getattr(pair, name)) for name in ("prompt", "chosen", "rejected")}
    return {
        "ln_ches": pair.ln_ches,
        "chosen_verdict": pair.chosen_verdict,
        "rejected_verdict": pair.rejected_verdict,
        **influence,
        **texts,
    }
