"""Verdicts on answers, and the judges that give them: batched functions in one plain dict."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from harness.judges.endpoint import endpoint_settings
from harness.judges.formats import MODEL_JUDGES
from harness.judges.normalizing import NormalizedAnswer, normalize_answer
from harness.judges.prefixes import judge_by_prefixes
from harness.judges.verdicts import (
    FLAGS,
    MOST_FAILURES,
    RAW_LIMIT,
    Exchange,
    Flag,
    Judge,
    Label,
    Verdict,
    failed_verdict,
)
from harness.judges.weights import check_judge_installed, weights_source
from harness.support.console import safe_line
from harness.support.errors import HarnessError
from harness.support.hub import fetch_directory, split_revision


def _call_lexical(exchanges: Sequence[Exchange]) -> list[Verdict]:
    from harness.judges.lexical.judge import lexical_verdict

    return [lexical_verdict(exchange) for exchange in exchanges]


def _call_fine_tuned(name: str, exchanges: Sequence[Exchange]) -> list[Verdict]:
    from harness.judges.fine_tuned import judge_by_model

    return judge_by_model(name, exchanges)


def _call_openai(exchanges: Sequence[Exchange]) -> list[Verdict]:
    from harness.judges.openai import judge_by_endpoint

    return judge_by_endpoint(exchanges)


JUDGES: Mapping[str, Judge] = {
    "lexical": _call_lexical,
    "prefixes": judge_by_prefixes,
    "sorrybench": partial(_call_fine_tuned, "sorrybench"),
    "wildguard": partial(_call_fine_tuned, "wildguard"),
    "harmbench-llama2": partial(_call_fine_tuned, "harmbench-llama2"),
    "harmbench-mistral": partial(_call_fine_tuned, "harmbench-mistral"),
    "llama-guard-3": partial(_call_fine_tuned, "llama-guard-3"),
    "strongreject": partial(_call_fine_tuned, "strongreject"),
    "openai": _call_openai,
}

JUDGE_DESCRIPTIONS: Mapping[str, str] = {
    "lexical": "Rules about language: offline, no weights, thousands of English answers a second (the default)",
    "prefixes": "Well-known phrases of a refusal, as attack papers count: a baseline and second opinion, offline",
    "sorrybench": "SORRY-Bench's fine-tuned Mistral 7B: refusals and compliance (16 GB)",
    "wildguard": "WildGuard, Mistral 7B: refusals and harmful answers (16 GB)",
    "harmbench-llama2": "HarmBench's classifier, Llama 2 13B: harmful answers, no refusals (28 GB)",
    "harmbench-mistral": "HarmBench's validation classifier, Mistral 7B: harmful answers, no refusals (16 GB)",
    "llama-guard-3": "Llama Guard 3, 8B: unsafe answers, no refusals (18 GB)",
    "strongreject": "StrongREJECT's fine-tuned Gemma 2B: how useful a harmful answer is, no refusals (6 GB)",
    "openai": "Any OpenAI-compatible endpoint with a rubric: OPENAI_BASE_URL, OPENAI_API_KEY, HARNESS_JUDGE_MODEL",
}
"""One line on each judge, for `harness judges`."""


def find_judge(name: str) -> Judge:
    """The judge called `name`; a model judge's weights may be of a revision (`sorrybench@COMMIT`).

    Raises HarnessError naming those there are, or what this one lacks to run.
    """
    bare, revision = split_revision(name)
    if bare not in JUDGES:
        raise HarnessError(f"no judge is called {bare!r}", hint=f"Choose one of: {', '.join(JUDGES)}.")
    _check_runnable(bare, revision)
    return partial(_call_fine_tuned, name) if revision else JUDGES[bare]


def _check_runnable(name: str, revision: str | None) -> None:
    if revision and name not in MODEL_JUDGES:
        raise HarnessError(f"the judge {name} has no weights of a revision", hint=f"Name it {name}.")
    if name == "openai":
        endpoint_settings()
    elif name in MODEL_JUDGES:
        check_judge_installed(name)


def judge_exchanges(name: str, exchanges: Sequence[Exchange]) -> list[Verdict]:
    """Verdicts of the judge called `name`; where it fails on an answer, `unjudged` with the failure as reason.

    Every judge gets the answers normalized (`harness.judges.normalizing`), and none of those that never began. A batch
    that raises, or comes back with the wrong number of verdicts, is judged again one exchange at a time, so one bad
    answer never takes its neighbours with it. Raises HarnessError where the judge cannot work at all: its weights do
    not load, its endpoint turns us away, or it fails on every answer of ten or more.
    """
    call = find_judge(name)
    answers = [normalize_answer(exchange.response, exchange.reasoning_tags) for exchange in exchanges]
    asked = [
        replace(exchange, response=answer.text)
        for exchange, answer in zip(exchanges, answers, strict=True)
        if not answer.unfinished
    ]
    said = iter(_call_judge(name, call, asked))
    verdicts = [
        _with_cuts(_UNFINISHED if answer.unfinished else next(said), answer, exchange.response)
        for exchange, answer in zip(exchanges, answers, strict=True)
    ]
    refuse_failed_judge(name, exchanges, verdicts, least=MOST_FAILURES)
    return verdicts


_UNFINISHED = Verdict("other", "ended before the answer began (see max_gen_toks)", flags=("unfinished",))


def _with_cuts(verdict: Verdict, answer: NormalizedAnswer, given: str) -> Verdict:
    """A verdict with what was taken away from the answer before it was judged."""
    return replace(verdict, cut=answer.cut, judged=answer.text) if answer.text != given.strip() else verdict


def _call_judge(name: str, call: Judge, exchanges: Sequence[Exchange]) -> list[Verdict]:
    try:
        return _require_count(call(exchanges), len(exchanges)) if exchanges else []
    except HarnessError:
        raise
    except Exception as error:
        if len(exchanges) <= 1:
            return [failed_verdict(safe_line(f"judge {name} failed: {type(error).__name__}: {error}"))]
        return [verdict for exchange in exchanges for verdict in _call_judge(name, call, [exchange])]


def refuse_failed_judge(
    name: str, exchanges: Iterable[Exchange], verdicts: Iterable[Verdict], *, least: int = 1
) -> None:
    """Raises HarnessError where the judge failed on every answer it was asked about, `least` of them or more."""
    tally = JudgeTally(name)
    for exchange, verdict in zip(exchanges, verdicts, strict=True):
        tally.count_verdict(exchange.response, verdict)
    tally.refuse_failure(least)


@dataclass(slots=True)
class JudgeTally:
    """How many answers a judge was asked about, how many it left unjudged, and on how many of these it failed.

    Empty answers and those that never began are put to none.
    """

    name: str
    asked: int = 0
    failed: int = 0
    unjudged: int = 0
    unfinished: int = 0
    reason: str = ""
    """Of the first failure; where there is none, of the first answer left unjudged."""

    def count_verdict(self, response: str, verdict: Verdict) -> None:
        """Counts the verdict on an answer."""
        self.asked += bool(response.strip()) and "unfinished" not in verdict.flags
        self.unfinished += "unfinished" in verdict.flags
        if verdict.label == "unjudged":
            first = not (self.failed if verdict.failed else self.unjudged)
            self.unjudged += 1
            self.failed += verdict.failed
            self.reason = verdict.reason if first else self.reason

    def refuse_failure(self, least: int = 1) -> None:
        """Raises HarnessError where the judge failed on all of at least so many answers."""
        if self.failed >= max(self.asked, least):
            self._refuse("failed on", "each of", "Mend the judge or choose another one.")

    def refuse_nothing_judged(self) -> None:
        """Raises HarnessError where no answer got a verdict, whether or not the judge failed: a file of `unjudged`."""
        self.refuse_failure()
        if self.unjudged and self.unjudged >= self.asked and not self.unfinished:
            self._refuse("gave no verdict on", "any of", "Choose a judge that can tell.")

    def _refuse(self, told: str, each: str, hint: str) -> None:
        every = f"{each} {self.asked} answers" if self.asked > 1 else "the only answer"
        reason = safe_line(self.reason, RAW_LIMIT)
        raise HarnessError(f"{told} {every} ({reason})", place=f"judge {self.name}", hint=hint)


def try_judge(name: str) -> None:
    """Raises HarnessError where the judge cannot work, before anything is spent on answers for it.

    A model judge's weights are fetched, not loaded; an endpoint is asked about one harmless exchange.
    """
    find_judge(name)
    if name == "openai":
        refuse_failed_judge(name, _TRIAL, judge_exchanges(name, _TRIAL))
    elif weights := judge_weights(name):
        directory = Path(fetch_directory(weights))
        if not any((directory / config).is_file() for config in ("config.json", "adapter_config.json")):
            raise HarnessError(f"{weights} holds no model", place=f"judge {name}", hint="See HARNESS_JUDGE_WEIGHTS.")


_TRIAL = (Exchange("What is the capital of France?", "The capital of France is Paris.", unsafe=False),)


def _require_count(verdicts: list[Verdict], expected: int) -> list[Verdict]:
    if len(verdicts) != expected:
        raise ValueError(f"{len(verdicts)} verdicts for {expected} answers")
    return verdicts


def judge_identity(name: str) -> str:
    """Who judges under this name: the name, the model where it is chosen (`openai/gpt-4o-mini`), and its revision.

    Raises HarnessError as `find_judge` does.
    """
    find_judge(name)
    if name == "openai":
        return f"{name}/{endpoint_settings().model}"
    if split_revision(name)[0] in MODEL_JUDGES and os.environ.get("HARNESS_JUDGE_WEIGHTS"):
        return f"{split_revision(name)[0]}/{weights_source(name)}"
    return name


def judge_weights(name: str) -> str | None:
    """Where a model judge's weights are: a directory or a hub id; None for a judge without weights."""
    return weights_source(name) if split_revision(name)[0] in MODEL_JUDGES else None


_LABELS_NEVER_GIVEN: Mapping[str, frozenset[Label]] = {
    "harmbench-llama2": frozenset({"refusal"}),
    "harmbench-mistral": frozenset({"refusal"}),
    "llama-guard-3": frozenset({"refusal", "compliance"}),
    "strongreject": frozenset({"refusal"}),
}


def labels_never_given(judge: str) -> frozenset[Label]:
    """Verdicts that a judge, by its name or identity, cannot give: their rate is not measured, rather than 0."""
    return _LABELS_NEVER_GIVEN.get(split_revision(judge.partition("/")[0])[0], frozenset())


_FLAGGING_JUDGES = {"lexical"}


def flags_given(judge: str) -> frozenset[Flag]:
    """Flags that a judge, by its name or identity, can give: the rate of others is not measured, rather than 0.

    Any judge's verdict may be `unfinished`: that is told before one is asked.
    """
    return frozenset(FLAGS if judge in _FLAGGING_JUDGES else ("unfinished",))


@cache
def judges_version() -> str:
    """A hash of the judges' source: verdicts of different versions are not to be compared."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        if file.name not in {"agreement.py", "calibration.py"}:  # they count verdicts and give none
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
