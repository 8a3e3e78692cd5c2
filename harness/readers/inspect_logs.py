"""Inspect's logs, `.eval` or `.json`, through `inspect_ai.log.read_eval_log`.

A prompt is unsafe unless the sample's metadata (or the task's) say `unsafe: false`; `category` or `hazard` there is the
category, the sample's id the prompt's. Epochs are further answers to a prompt.

A verdict is a score whose metadata hold `verdict`, one of ours, or whose value is one; its judge is what the metadata's
`judge` names, or `inspect/` and the scorer's name. Where several scorers give one, or none does, nothing is picked: the
first is refused, the second judged on the way in. Other scores are metrics of their own, by the scorer's name (and the
key, of a score of several values), as Inspect counts them: C is 1, P 0.5, I and N are 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.evaluation.lines import is_same_rate
from harness.evaluation.samples import mean_judged
from harness.judges.verdicts import FLAGS, Verdict
from harness.readers.rows import (
    NO_RATE,
    LoggedRow,
    LoggedRun,
    find_label,
    nan_where_absent,
    parse_flag,
    parse_time,
    parse_verdict_label,
    pick_metric_value,
    read_prompt_fields,
    refuse_file,
)
from harness.readers.sources import Source
from harness.readers.turns import CALLED_TOOLS, Turn, read_request
from harness.support.errors import HarnessError
from harness.support.versions import install_hint

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample
    from inspect_ai.scorer import Score

INSPECT = "Inspect"
_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_CUT_SHORT = "answers were cut short by a limit of the sample"
_SETTINGS = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_tokens": "max_tokens",
             "stop_seqs": "stop"}  # fmt: skip
_MACHINE = frozenset({"max_retries", "timeout", "attempt_timeout", "max_connections", "adaptive_connections", "cache",
                      "batch", "seed", "stop_seqs", "extra_headers"})  # fmt: skip
"""Settings of a model's calls that say where and how fast it answers, or are told elsewhere."""


def read_inspect(source: Source) -> LoggedRun:
    """An Inspect log. Raises HarnessError where inspect_ai is missing, or the log is broken, unfinished or edited."""
    log = _read_log(source)
    if log.status != "success":
        refuse_file(
            f"is of an evaluation that ended with {log.status!r}", source.path, "Finish it: inspect eval-retry."
        )
    if not log.samples:
        refuse_file("holds no samples", source.path, "Evaluate with --log-samples.")
    left: Counter[str] = Counter()
    samples = _in_order(log)
    rows = nan_where_absent([_read_sample(sample, log, source, left) for sample in samples])
    _check_results(log, samples, source)
    spec, config = log.eval, log.eval.model_generate_config
    given = config.model_dump(exclude_none=True, mode="json")
    args = {key: value for key, value in spec.model_args.items() if "key" not in key.lower()}
    return LoggedRun(
        path=source.path,
        digest=source.digest,
        rows=rows,
        model=spec.model,
        naming={"name": spec.model, "base_url": spec.model_base_url, **args},
        seeds={} if config.seed is None else {"seed": config.seed},
        date=parse_time(spec.created),
        version=str(spec.task_version),
        settings={name: given.get(key) for key, name in _SETTINGS.items()}
        | {key: value for key, value in given.items() if key not in _MACHINE | _SETTINGS.keys()},
        asked=spec.dataset.samples,
        limit=next((str(told) for told in (spec.config.limit, spec.config.sample_id) if told is not None), None),
        left=left,
        tool=f"{INSPECT} {spec.packages.get('inspect_ai', '')}".strip(),
    )


def _read_log(source: Source) -> EvalLog:
    try:
        from inspect_ai.log import read_eval_log
    except ImportError as error:
        told = f"is a log of Inspect's, and inspect_ai is not there to read it ({error})"
        raise HarnessError(told, place=str(source.path), hint=f"{install_hint('inspect')}.") from error
    try:
        return read_eval_log(str(source.path), resolve_attachments=True)
    except Exception as error:
        refuse_file(f"cannot be read as a log of Inspect's ({type(error).__name__}: {error})", source.path)


def _in_order(log: EvalLog) -> list[EvalSample]:
    """The samples in the order of the data set; the log keeps them in that of their names."""
    places = {str(name): place for place, name in enumerate(log.eval.dataset.sample_ids or ())}
    return sorted(log.samples or (), key=lambda sample: (sample.epoch, places.get(str(sample.id), len(places))))


def _read_sample(sample: EvalSample, log: EvalLog, source: Source, left: Counter[str]) -> LoggedRow:
    place = f"{source.path}: sample {sample.id}"
    known = {**(log.eval.metadata or {}), **(sample.metadata or {})}
    unsafe = parse_flag(known.get("unsafe"), place)
    try:
        request = read_request(_turns(sample))
    except ValueError as error:
        raise HarnessError(f"is no question to a model ({error})", place=place) from error
    left.update(request.left)
    left[CALLED_TOOLS] += any(getattr(message, "tool_calls", None) for message in sample.messages)
    left[_CUT_SHORT] += sample.limit is not None
    failure = _find_error(sample)
    scores = {} if failure else dict(sample.scores or {})
    verdict, judge = _scorer_verdict(scores, unsafe, place)
    return LoggedRow(
        place=place,
        prompt=request.prompt,
        context=request.context,
        response=sample.output.completion,
        unsafe=unsafe,
        doc={"prompt_id": str(sample.id), **read_prompt_fields(known)},
        task=log.eval.task,
        verdict=verdict,
        judge=judge,
        error=failure,
        scores=_scorer_values(scores, left),
    )


def _find_error(sample: EvalSample) -> str:
    """Why there is no answer to judge; empty where there is one."""
    if sample.error is not None:
        return str(sample.error.message)
    if getattr(sample, "invalidation", None) is not None:
        return "the sample was invalidated"
    return "" if sample.output.choices else "the model answered nothing"


def _turns(sample: EvalSample) -> list[Turn]:
    if isinstance(sample.input, str) and not sample.messages:
        return [Turn("user", sample.input)]
    messages = sample.messages or list(sample.input)
    return [
        Turn(message.role, message.text, _attached(message.content))
        for message in messages
        if message.role in {"system", "user"}
    ]


def _attached(content: Any) -> list[object]:
    """The parts of a message that are no text; a text has none."""
    if isinstance(content, str):
        return []
    return [part.model_dump(mode="json") for part in content if part.type not in {"text", "reasoning"}]


def _scorer_verdict(scores: Mapping[str, Score], unsafe: bool, place: str) -> tuple[Verdict | None, str]:
    """What the scorers say of refusing, and who says it."""
    said = {name: label for name, score in scores.items() if (label := _told_label(score)) is not None}
    if len(said) > 1:
        hint = "Have the answers judged anew with --judge."
        raise HarnessError(f"several scorers give a verdict ({', '.join(said)})", place=place, hint=hint)
    for name, label in said.items():
        told = scores[name].metadata or {}
        flags = tuple(flag for flag in FLAGS if flag in (told.get("flags") or ()))
        verdict = Verdict(parse_verdict_label(label, unsafe, place), scores[name].explanation or "", flags=flags)
        return verdict, str(told.get("judge") or f"inspect/{name}")
    return None, ""


def _told_label(score: Score) -> str | None:
    given = (score.metadata or {}).get("verdict"), score.value
    return next((label for each in given if (label := find_label(each)) is not None), None)


def _scorer_values(scores: Mapping[str, Score], left: Counter[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in _score_values(scores):
        counted = _GRADES.get(value) if isinstance(value, str) else pick_metric_value(value)
        if counted is not None:
            found[name] = counted
        elif find_label(value) is None:
            left[NO_RATE] += 1
    return found


def _score_values(scores: Mapping[str, Score]) -> Iterator[tuple[str, object]]:
    for name, score in scores.items():
        if isinstance(score.value, dict):
            yield from ((f"{name}/{key}", value) for key, value in score.value.items())
        else:
            yield name, score.value


def _check_results(log: EvalLog, samples: Sequence[EvalSample], source: Source) -> None:
    """Raises HarnessError where Inspect's own tallies are not those of its samples: one of the two was edited."""
    results = log.results
    if results is None:
        refuse_file("has no results", source.path, "Score it: inspect score.")
    if results.completed_samples != (whole := sum(sample.error is None for sample in samples)):
        told = f"says that {results.completed_samples} samples were completed, and holds {whole} such"
        refuse_file(told, source.path, "Evaluate again, and keep the log as it is.")
    for score in results.scores:
        values = [
            pick_metric_value(each.value) for sample in samples if (each := (sample.scores or {}).get(score.name))
        ]
        mean, known = score.metrics.get("mean"), [value for value in values if value is not None]
        if mean is None or score.reducer not in {None, "mean"} or len(known) < len(samples):
            continue
        if not is_same_rate(mean_judged(known), float(mean.value)):
            told = f"says that {score.name} is {mean.value:g} in the mean, its samples make it {mean_judged(known):g}"
            refuse_file(told, source.path, "Evaluate again, and keep the log as it is.")
