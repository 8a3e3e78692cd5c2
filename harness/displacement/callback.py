"""A callback for TRL's DPOTrainer, KTOTrainer, ORPOTrainer and GRPOTrainer: displacement while it happens.

    from harness import DisplacementCallback
    trainer.add_callback(DisplacementCallback(trainer, probe_pairs))

TRL's own callbacks take the trainer in the same way: it is how values reach the trainer's loggers at the right step.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainerCallback

from harness.displacement.change import TokenChange, gaining_tokens
from harness.displacement.refusal_features import RefusalFeatures, compare_features, read_prompts
from harness.displacement.start_side import StartSide
from harness.judges.registry import judge_exchanges
from harness.judges.verdicts import Exchange
from harness.models.loading import evaluation_mode
from harness.models.sampling import sample_answers
from harness.models.token_text import token_text
from harness.preferences.pairs import PreferenceRow, TooLong, pair_id, refuse_repeated
from harness.preferences.tokens import Tokens
from harness.prompts.sets import PromptKind, load_prompts
from harness.scoring.logprobs import SIDES, Profile, anchored_profile, profile_model, usable_tokens
from harness.support import artifacts, console
from harness.support.errors import HarnessError
from harness.support.spacing import evenly_spaced

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerControl, TrainerState, TrainingArguments


READ_EVERY, PROBE_PAIRS, PROBE_PROMPTS = 25, 64, 32
PROBE_TEMPERATURE, PROBE_MAX_NEW_TOKENS, PROBE_SEED = 0.7, 64, 0
"""How the answers behind `refusal_rate` are drawn: the same seed at every reading."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """What stops a training, as falls since the reading before its first step; None does not look.

    Attributes:
        refusal_start_fell: fall of the mean probability that an answer starts as a refusal (0.05 is five points). It
            has no sampling noise.
        refusal_rate_fell: fall of the share of sampled answers that refuse. With 32 prompts its standard error is
            about seven points.
        preferred_logprob_fell: fall of mean ln p(y+), in nats.
    """

    refusal_start_fell: float | None = None
    refusal_rate_fell: float | None = None
    preferred_logprob_fell: float | None = None

    def broken_rule(self, first: Reading, now: Reading) -> str | None:
        """Which rule a reading breaks, in words; None where it keeps all. A diverged model breaks any."""
        if self != StopRule() and not math.isfinite(now.chosen_logprob):
            return "ln p(y+) is not a number any more"
        falls = (
            (
                "the probability of starting as a refusal",
                self.refusal_start_fell,
                first.refusal_start,
                now.refusal_start,
            ),
            ("the refusal rate", self.refusal_rate_fell, first.refusal_rate, now.refusal_rate),
            ("ln p(y+)", self.preferred_logprob_fell, first.chosen_logprob, now.chosen_logprob),
        )
        for name, limit, was, value in falls:
            if limit is not None and was is not None and value is not None and was - value >= limit:
                return f"{name} fell from {was:.3f} to {value:.3f}, by {limit} or more"
        return None


@dataclass(frozen=True, slots=True)
class Reading:
    """What the probe showed at one step: means over the probe's pairs (nats) and prompts (None without prompts).

    `gaining_tokens` are those whose probability at the first place of the answer grew most since the first reading;
    `seconds` is what the reading took. `entropy` (nats) and `top` (probability of the likeliest token) are means over
    all places of the answers, `kl` (nats, from the first reading's model) over their first. `refusal_first_token` is
    the probability of the tokens that refusals began with at the first reading, `direction_cosine` that of the refusal
    direction with the first reading's, at the layer that turned most.
    """

    step: int
    chosen_logprob: float
    rejected_logprob: float
    margin: float
    refusal_start: float | None
    compliance_start: float | None
    refusal_rate: float | None
    gaining_tokens: Sequence[TokenChange] = ()
    seconds: float = 0.0
    chosen_kl: float | None = None
    rejected_kl: float | None = None
    chosen_entropy: float | None = None
    rejected_entropy: float | None = None
    chosen_top: float | None = None
    rejected_top: float | None = None
    refusal_first_token: float | None = None
    direction_cosine: float | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """The fixed pairs, as tokens by `pair_id`, and the fixed unsafe and benign prompts of every reading."""

    tokens: Mapping[str, Tokens]
    prompts: Sequence[str]
    benign: Sequence[str]


def build_probe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Iterable[PreferenceRow],
    probe_prompts: Sequence[str] | None = None,
    max_length: int | None = None,
    benign_prompts: Sequence[str] | None = None,
) -> Probe:
    """At most 64 of the pairs and 32 of the prompts of each kind, evenly spaced; bundled prompts without any given.

    Of these pairs those are left out, with a note, that DPOTrainer leaves out as their prompt fills `max_length`, and
    those that are longer than the model's context.

    Raises HarnessError where there is no pair, or one is no usable preference pair.
    """
    named = [(pair_id(row, number), row) for number, row in enumerate(pairs)]
    if not named:
        raise HarnessError("holds no pairs", place="probe_pairs", hint="Give some of the training pairs.")
    refuse_repeated((name for name, _ in named), "probe_pairs")
    rows = dict(named)
    asked = _bundled("unsafe") if probe_prompts is None else probe_prompts
    others = _bundled("benign") if benign_prompts is None else benign_prompts
    chosen = [{**rows[name], "pair_id": name} for name in evenly_spaced(list(rows), PROBE_PAIRS)]
    tokens, left_out = usable_tokens(chosen, model, tokenizer, max_length, TooLong)
    if left_out:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in left_out.items())
        console.print_note(f"{left_out.total()} of {len(chosen)} probe pairs are left out ({reasons})")
    return Probe(tokens, evenly_spaced(asked, PROBE_PROMPTS), evenly_spaced(others if asked else [], PROBE_PROMPTS))


@dataclass(frozen=True, slots=True)
class FirstReading:
    """The model before the first step, as later readings are compared with it.

    `side` is None where it was an older version that took it.
    """

    profile: Profile
    side: StartSide | None


def take_reading(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    fixed: Probe,
    first: FirstReading | None = None,
) -> tuple[Reading, FirstReading]:
    """One reading of a model, as of step 0, and the first one: that which is given, or this.

    The model's mode and torch's random state are as before afterwards.
    """
    started = perf_counter()
    with torch.random.fork_rng(range(torch.cuda.device_count())), console.hide_bars(), evaluation_mode(model):
        if first is None:
            measured, anchor = anchored_profile(model, fixed.tokens)
        else:
            measured = profile_model(model, fixed.tokens, anchor=None if first.side is None else first.side.anchor)
        sums = measured.pair_sums().values()
        chosen, rejected = (float(np.mean([getattr(each, side) for each in sums])) for side in SIDES)
        asked = fixed.prompts if math.isfinite(chosen) else []  # nothing can be drawn from a diverged model
        starts, features = read_prompts(model, tokenizer, asked, fixed.benign)
        rate = _refusal_rate(model, tokenizer, asked)
    if first is None:
        first = FirstReading(measured, StartSide(anchor, features, fixed.benign))
    refusal, compliance = (
        _mean_or_none([getattr(start, way) for start in starts]) for way in ("refusal", "compliance")
    )
    reading = Reading(0, chosen, rejected, chosen - rejected, refusal, compliance, rate)
    compared = _compare_with_first(first, measured, features, partial(token_text, tokenizer))
    return replace(reading, **compared, seconds=perf_counter() - started), first


def _compare_with_first(
    first: FirstReading, now: Profile, features: RefusalFeatures, text: Callable[[int], str]
) -> dict[str, Any]:
    """The fields of a reading that rest on the first one, and the distributions' own."""
    found: dict[str, Any] = {"gaining_tokens": gaining_tokens(first.profile, now, text)}
    for side, spread in now.spread.items():
        kl = 0.0 if now is first.profile else None if spread.divergence is None else float(spread.divergence[-1])
        found |= {f"{side}_kl": kl, f"{side}_entropy": float(spread.entropy[-1]), f"{side}_top": float(spread.top[-1])}
    if first.side is not None:
        change = compare_features(first.side.features, features, text)
        found["refusal_first_token"] = change.mass and change.mass[1]
        found["direction_cosine"] = change.lowest_cosine
    return found


class DisplacementCallback(TrainerCallback):  # type: ignore[misc]
    """Reads a fixed probe before the first step, every `every` steps and after the last one.

    Args:
        trainer: the trainer it is added to; one that trains on no pairs (GRPO) as well.
        probe_pairs: preference pairs in any of TRL's formats, such as some of the training pairs. They are cut into
            tokens as DPOTrainer does it, whichever trainer this is.
        probe_prompts: unsafe requests; without, bundled ones. An empty list leaves out all that needs prompts.
        benign_prompts: requests for the refusal direction; without, bundled ones.
        every: steps between readings.
        stop: when to stop early.

    Each reading goes to the trainer's own loggers (`report_to`) under `displacement/` and to
    `<output_dir>/displacement/readings.jsonl`. With `stop`, the model of the last reading that kept the rule is
    kept in `<output_dir>/displacement/best`. Training goes on exactly as it would without the callback.

    Under data parallelism every process reads, and the main one's numbers decide and are written. Raises
    HarnessError, before training, where a pair or prompt cannot be used.
    """

    def __init__(
        self,
        trainer: Trainer,
        probe_pairs: Iterable[PreferenceRow],
        probe_prompts: Sequence[str] | None = None,
        *,
        benign_prompts: Sequence[str] | None = None,
        every: int = READ_EVERY,
        stop: StopRule | None = None,
    ) -> None:
        if every < 1:
            raise HarnessError(f"is {every}", place="every", hint="Read every step (1) or less often.")
        self.trainer, self.every, self.stop = trainer, every, stop
        self.tokenizer = trainer.processing_class
        # ORPOTrainer cuts at 512 where its arguments have no length, and says so in an attribute of its own.
        max_length = getattr(trainer, "max_length", getattr(trainer.args, "max_length", None))
        model = trainer.accelerator.unwrap_model(trainer.model)
        self.probe = build_probe(model, self.tokenizer, probe_pairs, probe_prompts, max_length, benign_prompts)
        self.directory = Path(trainer.args.output_dir) / "displacement"
        self.readings: list[Reading] = []
        self._first: FirstReading | None = None

    def on_train_begin(self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The first reading, or what an interrupted training wrote up to here."""
        if state.global_step and (self.directory / "start.npz").is_file():
            side = self.directory / "start.safetensors"
            profile = Profile.load(self.directory / "start.npz")
            self._first = FirstReading(profile, StartSide.load(side) if side.is_file() else None)
            self.readings = [
                row for row in _load_readings(self.directory / "readings.jsonl") if row.step <= state.global_step
            ]
            return
        if state.is_world_process_zero:
            shutil.rmtree(self.directory / "best", ignore_errors=True)  # of an earlier training in the same place
        self._take_reading(state, control)

    def on_step_end(self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """A reading, where one is due; may stop the training."""
        if state.global_step % self.every and not control.should_training_stop:
            return
        self._take_reading(state, control)
        if self.stop is None:
            return
        broken = self.stop.broken_rule(self.readings[0], self.readings[-1])
        if broken is None:
            self._keep_best()
        else:
            control.should_training_stop = True
            if state.is_world_process_zero:
                console.print_note(f"stopped at step {state.global_step}: {broken}; {self._best_in_words()}")

    def _take_reading(self, state: TrainerState, control: TrainerControl) -> None:
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        reading, self._first = take_reading(model, self.tokenizer, self.probe, self._first)
        reading = _broadcast_reading(replace(reading, step=state.global_step))
        self.readings.append(reading)
        if state.is_world_process_zero:
            if len(self.readings) == 1:
                self._keep_first(self._first)
            rows = (
                {name: artifacts.finite_or_null(value) for name, value in asdict(each).items()}
                for each in self.readings
            )
            artifacts.write_jsonl(self.directory / "readings.jsonl", rows)
        self._log_reading(reading, control)

    def _keep_first(self, first: FirstReading) -> None:
        first.profile.save(self.directory / "start.npz")
        if first.side is not None:
            first.side.save(self.directory / "start.safetensors")

    def _log_reading(self, reading: Reading, control: TrainerControl) -> None:
        """To the trainer's loggers, past TRL's own `log`, which would empty the averages it is keeping."""
        due = control.should_log
        values = {name: value for name, value in asdict(reading).items() if isinstance(value, float)}
        tokens = ", ".join(
            f"'{console.safe_line(console.show_token(t.token), 20)}' {t.change:+.3f}"
            for t in reading.gaining_tokens[:5]
        )
        Trainer.log(
            self.trainer,
            {f"displacement/{name}": value for name, value in values.items()}
            | ({"displacement/gaining_tokens": tokens} if tokens else {}),
        )
        control.should_log = due  # logging marks this step as logged, and the loss would be left out

    def _keep_best(self) -> None:
        fresh, best = self.directory / ".best", self.directory / "best"
        self.trainer.save_model(str(fresh))
        if self.trainer.is_world_process_zero():
            shutil.rmtree(best, ignore_errors=True)
            fresh.replace(best)

    def _best_in_words(self) -> str:
        best = self.directory / "best"
        return (
            f"the last model that kept the rule is in {best}" if best.is_dir() else "no reading after the first kept it"
        )


def _bundled(kind: PromptKind) -> list[str]:
    return [row["prompt"] for row in load_prompts("bundled", kind)]


def _refusal_rate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, asked: Sequence[str]) -> float | None:
    """The share of sampled answers that the lexical judge calls refusals."""
    if not asked:
        return None
    answers = sample_answers(
        model, tokenizer, asked, temperature=PROBE_TEMPERATURE, max_new_tokens=PROBE_MAX_NEW_TOKENS, seed=PROBE_SEED
    )
    verdicts = judge_exchanges("lexical", [Exchange(*each) for each in zip(asked, answers, strict=True)])
    return _mean_or_none([float(verdict.label == "refusal") for verdict in verdicts if verdict.label != "unjudged"])


def _mean_or_none(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _broadcast_reading(reading: Reading) -> Reading:
    """The main process's reading, on every process: they must agree on whether to stop."""
    shared = [reading]
    broadcast_object_list(shared)
    return shared[0]


def _load_readings(path: Path) -> list[Reading]:
    return [
        Reading(**{**row, "gaining_tokens": [TokenChange(**token) for token in row["gaining_tokens"]]})
        for row in artifacts.read_jsonl(path)
    ]
