"""The time of a run's stages, by arithmetic alone, from what a trial of each kind of work measured."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any

from harness.run.cost.tokens import Workload, expected_longest


@dataclass(frozen=True, slots=True)
class Writing:
    """How sampling went: seconds that a batch takes for a token each, and how long answers are likely to be."""

    step: float
    lengths: tuple[int, ...]

    def batch_seconds(self, answers: int, batch: int) -> float:
        """So many answers in batches; each goes on until its longest answer has ended."""
        whole, rest = divmod(answers, batch)
        steps = whole * expected_longest(self.lengths, batch) + expected_longest(self.lengths, rest)
        return self.step * steps


@dataclass(frozen=True, slots=True)
class ArmTimes:
    """What one of several processes that worked at once took, in seconds; None where no training was tried.

    Attributes:
        first: a first training and evaluation of next to nothing.
        load: loading the model.
        read: a token in a forward pass.
        step: a token of each answer of a batch.
        training: a training.
        before: what of it came before its first step.
        passes: its steps.
        evaluation: an evaluation.
    """

    first: float
    load: float
    read: float
    step: float
    training: float | None = None
    before: float | None = None
    passes: float | None = None
    evaluation: float = 0.0


@dataclass(frozen=True, slots=True)
class ArmSpeed:
    """What training and evaluating take in a process beside others, in seconds; None where no training was tried.

    Attributes:
        load: loading the model.
        read: a token in a forward pass.
        step: a token of each answer of a batch.
        document: the rest of an evaluation, for each prompt.
        warm_up: what a process's first training and evaluation take longer than later ones.
        trained: a token in a forward and backward pass, its share of the optimizer's step included.
        training: the rest of a training: loading, preparing, files.
        before: what of that comes before its first step.
    """

    load: float
    read: float
    step: float
    document: float
    warm_up: float
    trained: float | None = None
    training: float | None = None
    before: float | None = None


@dataclass(frozen=True, slots=True)
class Speed:
    """What a short trial of each kind of work measured, in seconds; None where it could not be.

    Attributes:
        load: loading the model.
        read: a token in a forward pass, with no other process beside.
        opening: a prompt, to read how answers start.
        judged: an answer, to judge it and to choose pairs.
        paired: the share of prompts that gave a pair.
        sampling: the pairs' answers.
        evaluation: the evaluation's answers.
        probing: the answers that influence is measured on.
        imports: the libraries that the run's first stage loads.
        scores: the rest of a scoring: loading, files.
        reference: the same of the starting model's side.
        arms: training and evaluating beside others.
        outcome: results.json and the report.
    """

    load: float
    read: float
    opening: float
    judged: float = 0.0
    paired: float = 1.0
    sampling: Writing | None = None
    evaluation: Writing | None = None
    probing: Writing | None = None
    imports: float = 0.0
    scores: float = 0.0
    reference: float = 0.0
    arms: ArmSpeed | None = None
    outcome: float = 0.0

    @property
    def trained_alone(self) -> float | None:
        """A token in a forward and backward pass, with no other process beside: slowed there as reading is."""
        if self.arms is None or self.arms.trained is None:
            return None
        return self.arms.trained * min(1.0, self.read / self.arms.read)


@dataclass(frozen=True, slots=True)
class PieceTime:
    """Stages that one process does one after another: from when what they read is there, and how long they take."""

    ready: float
    seconds: float


def makespan(pieces: Iterable[PieceTime], free: Sequence[float]) -> float:
    """When the last piece ends; each process, free from then on, takes the first in their order that is ready."""
    seats, waiting = sorted(free), [*pieces]
    while waiting:
        now = max(seats[0], min(piece.ready for piece in waiting))
        taken = next(piece for piece in waiting if piece.ready <= now)
        waiting.remove(taken)
        heapq.heapreplace(seats, now + taken.seconds)
    return max(seats)


def reading_seconds(work: Workload, speed: Speed, rest: float) -> float:
    """A stage that only reads; `rest`: what it takes beside."""
    return rest + work.read * speed.read + work.openings * speed.opening


def gradient_seconds(work: Workload, speed: Speed) -> float | None:
    """A stage that reads and takes gradients, and one that trains so many times, but for the trainings' rest."""
    return (
        None
        if speed.trained_alone is None
        else reading_seconds(work, speed, speed.load) + work.trained * speed.trained_alone
    )


def sampling_seconds(work: Workload, speed: Speed, writing: Writing | None, batch: int, samples: int) -> float | None:
    """A stage that samples answers, every prompt's `samples` times, and judges them."""
    if writing is None:
        return None
    written = samples * writing.batch_seconds(work.answers // samples, batch)
    return speed.load + work.read * speed.read + written + work.answers * speed.judged


def training_seconds(work: Workload, speed: Speed) -> float | None:
    """One arm's training beside others, and what is measured of it."""
    arms = speed.arms
    if arms is None or arms.trained is None or arms.training is None:
        return None
    return arms.training + work.trained * arms.trained + work.read * arms.read + work.openings * speed.opening


def evaluation_seconds(work: Workload, speed: Speed, batch: int) -> float | None:
    """One arm's evaluation beside others."""
    arms, writing = speed.arms, speed.evaluation
    if arms is None or writing is None:
        return None
    written = Writing(arms.step, writing.lengths).batch_seconds(work.answers, batch)
    return arms.load + work.answers * arms.document + work.read * arms.read + written


def arm_speed(
    found: Sequence[ArmTimes],
    training: Workload | None,
    evaluation: Workload,
    opening: float,
    lengths: tuple[int, ...],
    batch: int,
) -> ArmSpeed:
    """What each part takes, from the whole of a training and an evaluation that several processes did at once.

    Args:
        found: each process's times, whose mean counts.
        training: the work of the training; None where none was tried.
        evaluation: that of the evaluation.
        opening: seconds of a prompt, to read how answers start.
        lengths: of the evaluation's answers.
        batch: how many of them were drawn at a time.
    """
    times: dict[str, Any] = {}
    for each in fields(ArmTimes):
        of_each = [getattr(one, each.name) for one in found]
        times[each.name] = None if None in of_each else fmean(of_each)
    mean = ArmTimes(**times)
    written = Writing(mean.step, lengths).batch_seconds(evaluation.answers, batch)
    documents = mean.evaluation - mean.load - evaluation.read * mean.read - written
    speed = ArmSpeed(mean.load, mean.read, mean.step, max(0.0, documents) / evaluation.answers, mean.first - mean.load)
    if training is None or mean.training is None or mean.passes is None:
        return replace(speed, warm_up=max(0.0, speed.warm_up))
    measured = training.read * mean.read + training.openings * opening
    rest = max(0.0, mean.training - mean.passes - measured)
    return replace(
        speed,
        warm_up=max(0.0, speed.warm_up - rest),
        trained=mean.passes / training.trained,
        training=rest,
        before=mean.before,
    )
