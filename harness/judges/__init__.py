"""Verdicts on answers, and the judges that give them: batched functions in one plain dict."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

from harness.console import safe
from harness.errors import HarnessError
from harness.hub import parted

Label = Literal["refusal", "harmful", "compliance", "other", "unjudged"]
"""`harmful`: does what an unsafe prompt asked. `compliance`: the same on a benign prompt. `other`: neither
(empty, gibberish, off topic). `unjudged`: the judge failed or its answer could not be read."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One prompt, one answer to it, and whether the prompt is an unsafe one."""

    prompt: str
    response: str
    unsafe: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one exchange, the words or the failure it rests on, and how sure it is where it can tell."""

    label: Label
    reason: str
    confidence: float | None = None


Judge = Callable[[Sequence[Exchange]], list[Verdict]]
"""Verdicts in the order of the exchanges, one each; a judge may raise, `judge` turns that into `unjudged`."""


def _lexical(exchanges: Sequence[Exchange]) -> list[Verdict]:
    from harness.judges.lexical import judge_one

    return [judge_one(exchange) for exchange in exchanges]


def _model(name: str, exchanges: Sequence[Exchange]) -> list[Verdict]:
    from harness.judges.model_judges import judge

    return judge(name, exchanges)


def _openai(exchanges: Sequence[Exchange]) -> list[Verdict]:
    from harness.judges.openai import judge

    return judge(exchanges)


JUDGES: Mapping[str, Judge] = {
    "lexical": _lexical,
    "sorrybench": partial(_model, "sorrybench"),
    "wildguard": partial(_model, "wildguard"),
    "harmbench-llama2": partial(_model, "harmbench-llama2"),
    "harmbench-mistral": partial(_model, "harmbench-mistral"),
    "llama-guard-3": partial(_model, "llama-guard-3"),
    "strongreject": partial(_model, "strongreject"),
    "openai": _openai,
}

DESCRIPTIONS: Mapping[str, str] = {
    "lexical": "Rules about language: offline, no weights, thousands of English answers a second (the default)",
    "sorrybench": "SORRY-Bench's fine-tuned Mistral 7B: refusals and compliance (16 GB)",
    "wildguard": "WildGuard, Mistral 7B: refusals and harmful answers (16 GB)",
    "harmbench-llama2": "HarmBench's classifier, Llama 2 13B: harmful answers, no refusals (28 GB)",
    "harmbench-mistral": "HarmBench's validation classifier, Mistral 7B: harmful answers, no refusals (16 GB)",
    "llama-guard-3": "Llama Guard 3, 8B: unsafe answers, no refusals (18 GB)",
    "strongreject": "StrongREJECT's fine-tuned Gemma 2B: how useful a harmful answer is, no refusals (6 GB)",
    "openai": "Any OpenAI-compatible endpoint with a rubric: OPENAI_BASE_URL, OPENAI_API_KEY, HARNESS_JUDGE_MODEL",
}
"""One line on each judge, for `harness judges`."""


_NEVER_SAYS: Mapping[str, frozenset[Label]] = {
    "harmbench-llama2": frozenset({"refusal"}),
    "harmbench-mistral": frozenset({"refusal"}),
    "llama-guard-3": frozenset({"refusal", "compliance"}),
    "strongreject": frozenset({"refusal"}),
}


def never_says(judge: str) -> frozenset[Label]:
    """Verdicts that a judge, by its name or identity, cannot give: their rate is not measured, rather than 0."""
    return _NEVER_SAYS.get(parted(judge.partition("/")[0])[0], frozenset())


def identity(name: str) -> str:
    """Who judges under this name: the name, the model where it is chosen (`openai/gpt-4o-mini`), and its revision.

    Raises HarnessError as `find` does.
    """
    from harness.judges import model_judges, openai

    find(name)
    if name == "openai":
        return f"{name}/{openai.settings().model}"
    if parted(name)[0] in model_judges.MODEL_JUDGES and os.environ.get("HARNESS_JUDGE_WEIGHTS"):
        return f"{parted(name)[0]}/{model_judges.weights(name)}"
    return name


def find(name: str) -> Judge:
    """The judge called `name`; a model judge's weights may be of a revision (`sorrybench@COMMIT`).

    Raises HarnessError naming those there are, or what this one lacks to run.
    """
    bare, revision = parted(name)
    if bare not in JUDGES:
        raise HarnessError(f"no judge is called {bare!r}", mend=f"Choose one of: {', '.join(JUDGES)}.")
    _check(bare, revision)
    return partial(_model, name) if revision else JUDGES[bare]


def _check(name: str, revision: str | None) -> None:
    from harness.judges import model_judges, openai

    if revision and name not in model_judges.MODEL_JUDGES:
        raise HarnessError(f"the judge {name} has no weights of a revision", mend=f"Name it {name}.")
    if name == "openai":
        openai.settings()
    elif name in model_judges.MODEL_JUDGES:
        model_judges.check(name)


def weights(name: str) -> str | None:
    """Where a model judge's weights are: a directory or a hub id; None for a judge without weights."""
    from harness.judges import model_judges

    return model_judges.weights(name) if parted(name)[0] in model_judges.MODEL_JUDGES else None


@cache
def version() -> str:
    """A hash of the judges' source: verdicts of different versions are not to be compared."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def judge(name: str, exchanges: Sequence[Exchange]) -> list[Verdict]:
    """Verdicts of the judge called `name`; where it fails, `unjudged` with the failure as reason.

    A batch that raises, or comes back with the wrong number of verdicts, is judged again one exchange at
    a time, so one bad answer never takes its neighbours with it.
    """
    call = find(name)
    try:
        return _checked(call(exchanges), len(exchanges))
    except Exception as error:
        if len(exchanges) <= 1:
            return [Verdict("unjudged", safe(f"judge {name} failed: {type(error).__name__}: {error}"))] * len(exchanges)
    return [verdict for exchange in exchanges for verdict in judge(name, [exchange])]


def _checked(verdicts: list[Verdict], expected: int) -> list[Verdict]:
    if len(verdicts) != expected:
        raise ValueError(f"{len(verdicts)} verdicts for {expected} answers")
    return verdicts
