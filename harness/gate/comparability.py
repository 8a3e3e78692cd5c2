"""What keeps two sides from being compared: they must be alike in all but the model, and be whole.

What is amiss is refused, unless the policy allows it: then it becomes a note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

from harness.evaluation.samples import Answer, Evaluation, TaskSettings
from harness.gate.policy import DEFAULT_CATEGORY, Difference, Policy, read_field
from harness.support.errors import HarnessError
from harness.support.layout import ARMS, arm_of_path, run_of_path
from harness.support.run_results import smoke_limit

_Side = Sequence[Evaluation]
_Found = list[tuple[Difference, str]]
_Prompt = tuple[str, str]
"""A task and a document of it."""


def refuse_same_or_swapped(before: Path, after: Path) -> None:
    """Raises HarnessError where one directory holds the other, or arms of a run stand on the wrong side."""
    first, second = before.resolve(), after.resolve()
    if first.is_relative_to(second) or second.is_relative_to(first):
        raise HarnessError(
            "--before and --after are the same directory, or one is inside the other",
            place=str(after),
            hint="Name the two sides apart.",
        )
    if arm_of_path(after) == "baseline" and arm_of_path(before) not in {None, "baseline"}:
        raise HarnessError(
            "the sides are swapped: --after is the untrained baseline",
            place=str(after),
            hint="Exchange --before and --after.",
        )
    if (arm := arm_of_path(before)) not in {None, "baseline"}:
        raise HarnessError(
            f"--before is the trained arm {arm}: what its training has already lost would not count",
            place=str(before),
            hint=f"Name {ARMS}/baseline, the model before training.",
        )


def refuse_unmeasured(before: _Side, after: _Side, policy: Policy) -> None:
    """Raises HarnessError where a guarded metric was not measured, or an evaluation lacks it that another one has."""
    runs = [*_runs(before), *_runs(after)]
    for metric in policy.metrics:
        tasks = [
            {task for each in run for task, measured in each.measured.items() if metric in measured} for run in runs
        ]
        wanted = set[str]().union(*tasks)
        if all(own == wanted for own in tasks) and wanted:
            continue
        run, own = next((run, own) for run, own in zip(runs, tasks, strict=True) if own != wanted or not wanted)
        if any(evaluation.predicts_only for evaluation in run):
            raise HarnessError(
                "was made with --predict_only, so that no metric was computed",
                place=str(run[0].path),
                hint="Evaluate without it.",
            )
        if not wanted:
            raise unmeasured_error(metric)
        raise HarnessError(
            f"has no {metric} of {min(wanted - own)}, which other evaluations have",
            place=str(run[0].path),
            hint="Evaluate every seed on both sides with the same tasks and judge, or move this one elsewhere.",
        )


def unmeasured_error(metric: str) -> HarnessError:
    """What to raise where no prompt has a guarded metric before and after."""
    with_it = "benign prompts too" if metric == "benign_compliance_rate" else "a task with this metric"
    return HarnessError(
        f"{metric} is guarded, but no prompt has it on both sides",
        hint=f"Evaluate {with_it}, or leave it out of the policy's metrics.",
    )


def allowed_differences(before: _Side, after: _Side, policy: Policy, places: tuple[Path, Path]) -> tuple[str, ...]:
    """What is amiss and the policy allows, as notes, the gravest first. Raises HarnessError on what it does not.

    `places` are the directories of the two sides.
    """
    _refuse_shared_evaluations(before, after)
    found = [
        *_smoke_runs(places),
        *_unseen_prompts(before, after, policy),
        *_same_model(before, after),
        *_missing_seeds(before, after),
        *_setting_differences((*before, *after)),
        *_prompt_differences((*before, *after), policy),
        *_answer_differences(before, after),
        *_order_differences(before, after, places),
    ]
    refused = [(kind, text) for kind, text in found if kind not in policy.allow]
    if refused:
        kinds = ", ".join(sorted({kind for kind, _ in refused}))
        raise HarnessError(
            "the sides cannot be compared: " + "; ".join(text for _, text in refused[:4]),
            place=str(places[1]),
            hint=f"Evaluate both alike and whole, or say `allow: [{kinds}]` in the policy.",
        )
    return tuple(f"allowed by the policy: {text}" for _, text in found)


def is_in_split(answer: Answer, policy: Policy) -> bool:
    """Whether an answer's prompt is of the split that the policy looks at."""
    return policy.split is None or answer.doc.get("split") == policy.split


def _refuse_shared_evaluations(before: _Side, after: _Side) -> None:
    for evaluation in after:
        if evaluation.digest in {other.digest for other in before}:
            raise HarnessError(
                "is the same evaluation as one of --before",
                place=str(evaluation.path),
                hint="Evaluate the trained model.",
            )


def _runs(side: _Side) -> Sequence[Sequence[Evaluation]]:
    """The evaluations of one model with one set of seeds, which may have been made a task at a time."""
    found: dict[tuple[str, ...], list[Evaluation]] = {}
    for each in side:
        found.setdefault((each.folder, each.weights, each.seeds), []).append(each)
    return list(found.values())


def _unseen_prompts(before: _Side, after: _Side, policy: Policy) -> _Found:
    """Tasks of which not every prompt was put to a model, with what was; a sequential gate looks at the first ones."""
    told: dict[str, dict[str, str]] = {}
    for side, evaluations in (("--before", before), ("--after", after)):
        for evaluation in evaluations:
            for task, count in evaluation.counts.items():
                if not count.is_whole and not (policy.sequential and count.is_beginning):
                    told.setdefault(task, {}).setdefault(side, _count_text(evaluation, task, policy))
    return [
        (
            "limit",
            f"{task} was not evaluated whole: {', '.join(f'{side} saw {seen}' for side, seen in by_side.items())}",
        )
        for task, by_side in told.items()
    ]


def _smoke_runs(places: tuple[Path, Path]) -> _Found:
    """Sides of a run that was to show that all works, on few prompts and with what few pairs they gave."""
    runs = {side: run_of_path(place) for side, place in zip(("--before", "--after"), places, strict=True)}
    limits = {side: limit for side, run in runs.items() if run and (limit := smoke_limit(run)) is not None}
    if not limits:
        return []
    told = "; ".join(f"{side} on at most {limit} unsafe prompts" for side, limit in limits.items())
    return [("limit", f"a smoke run (harness run --limit): {told}")]


def _count_text(evaluation: Evaluation, task: str, policy: Policy) -> str:
    count = evaluation.counts[task]
    answers = [answer for answer in evaluation.answers if answer.task == task]
    seen = {name for answer in answers if (name := read_field(answer.doc, policy.category)) is not None}
    total = f" of {count.categories}" if count.categories and policy.category == DEFAULT_CATEGORY else ""
    limit = "" if count.limit is None else f" (--limit {count.limit})"
    original = "an unknown number of" if count.original is None else str(count.original)
    return f"{count.seen} of {original} prompts, {len(seen)}{total} categories{limit}"


def _same_model(before: _Side, after: _Side) -> _Found:
    """One model on both sides, by what the results say of it or by its answers."""
    known = {evaluation.weights for evaluation in before}
    if twice := [evaluation for evaluation in after if evaluation.is_named and evaluation.weights in known]:
        return [("model", f"both sides are of the same model, {twice[0].model_told}")]
    sides = ([(run, _responses(run)) for run in _runs(side)] for side in (before, after))
    for (first, was), (second, now) in product(*sides):
        cached = any(evaluation.cached for evaluation in (*first, *second))
        if equal := _equal_tasks(was, now, any_task=cached):
            cause = "the same model, or one --use_cache for two" if cached else "the same model twice?"
            number = sum(task in equal for task, _ in now)
            told = f"all answers to {number} prompts of {', '.join(equal)} are equal word for word"
            return [("model", f"{told} ({cause})")]
    return []


def _responses(run: _Side) -> Mapping[_Prompt, Sequence[str]]:
    """All answers of one model with one set of seeds: a task asked greedily may be answered alike by two models."""
    found: dict[_Prompt, list[str]] = {}
    for answer in (answer for evaluation in run for answer in evaluation.answers):
        found.setdefault((answer.task, answer.document), []).append(answer.response)
    return found


def _equal_tasks(
    before: Mapping[_Prompt, Sequence[str]], after: Mapping[_Prompt, Sequence[str]], *, any_task: bool
) -> list[str]:
    """The tasks in which all answers to shared prompts are equal: all tasks or none, unless `any_task` will do."""
    shared: set[str] = set()
    different: set[str] = set()
    for prompt, responses in after.items():
        if prompt not in before:
            continue
        shared.add(prompt[0])
        if before[prompt] != responses:
            different.add(prompt[0])
            if not any_task:
                return []
    return sorted(shared - different)


def _missing_seeds(before: _Side, after: _Side) -> _Found:
    """Fewer evaluations after than before: the others may be the bad ones."""
    first, second = len(_runs(before)), len(_runs(after))
    if second >= first:
        return []
    return [("seeds", f"--before holds {first} seeds or repeats, --after {second}: some are missing")]


def _setting_differences(evaluations: Iterable[Evaluation]) -> _Found:
    seen: dict[str, TaskSettings] = {}
    found: dict[tuple[Difference, str], str] = {}
    for evaluation in evaluations:
        for task, settings in evaluation.settings.items():
            for kind, first, second in _unequal_settings(seen.setdefault(task, settings), settings):
                found.setdefault((kind, task), f"{kind} of {task} differs ({first} and {second})")
    return [(kind, text) for (kind, _), text in found.items()]


def _unequal_settings(first: TaskSettings, second: TaskSettings) -> list[tuple[Difference, str, str]]:
    pairs: list[tuple[Difference, str, str]] = [
        ("version", first.version, second.version),
        ("generation", first.generation, second.generation),
        ("template", first.template, second.template),
        ("judge", first.judge, second.judge),
        ("judge", _judged_when(first), _judged_when(second)),
    ]
    return [(kind, *_differing_parts(a, b)) for kind, a, b in pairs if a != b]


def _judged_when(settings: TaskSettings) -> str:
    return f"judged anew by version {settings.rejudged}" if settings.rejudged else "judged when it was answered"


def _differing_parts(first: str, second: str) -> tuple[str, str]:
    """Two texts without most of what they share at their start."""
    start = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    start = max(0, start - 30)
    return first[start : start + 80], second[start : start + 80]


def _prompt_differences(evaluations: Iterable[Evaluation], policy: Policy) -> _Found:
    """Prompts that some evaluation lacks, and prompts whose rendered text is not everywhere the same."""
    asked: dict[str, list[dict[str, None]]] = {}
    ids: dict[str, str] = {}
    rendered: dict[_Prompt, set[str]] = {}
    for evaluation in evaluations:
        answers = [answer for answer in evaluation.answers if is_in_split(answer, policy)]
        for task in evaluation.settings:
            asked.setdefault(task, []).append(
                dict.fromkeys(answer.document for answer in answers if answer.task == task)
            )
        for answer in answers:
            ids[answer.document] = answer.prompt_id
            rendered.setdefault((answer.task, answer.document), set()).add(answer.rendered)
    found: _Found = []
    for task, documents in asked.items():
        if policy.sequential and _are_beginnings(documents):
            continue
        if odd := {document for some in documents for document in some if not all(document in d for d in documents)}:
            found.append(
                (
                    "prompts",
                    f"{len(odd)} prompts of {task} are not on both sides or were changed "
                    f"(such as {min(ids[document] for document in odd)})",
                )
            )
    if different := [unit for unit, texts in rendered.items() if len(texts) > 1]:
        found.append(
            (
                "template",
                f"{len(different)} prompts were put to the models in different words "
                f"(such as {ids[different[0][1]]}: another chat template?)",
            )
        )
    return found


def _answer_differences(before: _Side, after: _Side) -> _Found:
    """Prompts that a run of one side answered more often than one of the other: the missing answers may be the bad
    ones.
    """
    first, second = _answer_counts(before), _answer_counts(after)
    uneven = [prompt for prompt in first if prompt in second and first[prompt] != second[prompt]]
    if not uneven:
        return []
    told = " and ".join("/".join(map(str, sorted(side[uneven[0]]))) for side in (first, second))
    name = next(
        answer.prompt_id for each in before for answer in each.answers if (answer.task, answer.document) == uneven[0]
    )
    return [("generation", f"{len(uneven)} prompts have not as many answers on both sides (such as {name}: {told})")]


def _answer_counts(side: _Side) -> dict[_Prompt, set[int]]:
    """By prompt, how many answers to it the runs of a side have that answered it."""
    found: dict[_Prompt, set[int]] = {}
    for run in _runs(side):
        for prompt, number in Counter((answer.task, answer.document) for e in run for answer in e.answers).items():
            found.setdefault(prompt, set()).add(number)
    return found


def _are_beginnings(orders: Sequence[Mapping[str, None]]) -> bool:
    """Whether all hold the first ones of one order, as evaluations do that are not over: nothing was chosen."""
    longest = max(map(list, orders), key=len)
    return all(list(order) == longest[: len(order)] for order in orders)


def _order_differences(before: _Side, after: _Side, places: tuple[Path, Path]) -> _Found:
    """Outside a run directory nothing else tells which side is which: the older evaluation should be `before`."""
    if all(map(arm_of_path, places)):
        return []
    first, second = ([evaluation.date for evaluation in side] for side in (before, after))
    if min(first) > max(second) > 0:
        return [("order", "--after was evaluated before --before: the sides may be swapped")]
    return []
