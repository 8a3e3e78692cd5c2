"""One model's view of a preference table: ln p of every answer token, and where its next-token probability lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.models.loading import evaluation_mode
from harness.preferences.pairs import PreferenceRow, TooLong, Unscorable, check_pair
from harness.preferences.tokens import Tokens, tokenize_pair
from harness.scoring.anchoring import ANCHORED_PAIRS, Anchor, Side, head_device, keep_anchor
from harness.scoring.packing import decoder_body, padded_batches, padded_pass
from harness.scoring.scorer import beyond_model, refuse_scoreless
from harness.scoring.unembedding import split_rows, unembed
from harness.support import artifacts, console
from harness.support.errors import HarnessError
from harness.support.spacing import evenly_spaced

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


FloatArray = NDArray[np.float64]

SIDES: tuple[Side, ...] = get_args(Side)

POSITIONS = 16
"""Answer positions whose mean next-token distribution is kept; later ones count in the mean over all."""


@dataclass(frozen=True, slots=True)
class PairLogprobs:
    """Summed log-probabilities (nats) of one pair's two answers given the prompt, end of turn included."""

    chosen: float
    rejected: float

    @property
    def log_margin(self) -> float:
        """How far apart the two are, in nats; noisy pairs (ComPO, Chen et al. 2025, arXiv 2505.05465) have little."""
        return abs(self.chosen - self.rejected)


@dataclass(frozen=True, slots=True)
class Spread:
    """How wide the next-token distributions along one side's answers are, as means by position.

    Row t is over the pairs whose answer has a token t, the last row over all positions of all pairs; NaN where there
    is none.

    Attributes:
        entropy: in nats [POSITIONS + 1].
        top: probability of the likeliest token [POSITIONS + 1].
        divergence: KL(this model || an anchor's), in nats [POSITIONS + 1], over the places that the anchor has, and
            of the last row over all of these; None where there was no anchor.
        compared: how many places each mean of `divergence` is over [POSITIONS + 1].
    """

    entropy: FloatArray
    top: FloatArray
    divergence: FloatArray | None = None
    compared: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """What one model makes of a table of pairs.

    Attributes:
        chosen: by `pair_id`, ln p (nats) of each token of y+ given the prompt and the tokens before it.
        rejected: the same of y-.
        mass: mean next-token probabilities [POSITIONS + 1, vocabulary] along y+: row t over the pairs whose y+ has a
            token t, the last row over all positions of all pairs.
        spread: how wide the distributions are, by side; empty in a file of an older version.
    """

    chosen: Mapping[str, FloatArray]
    rejected: Mapping[str, FloatArray]
    mass: FloatArray
    spread: Mapping[Side, Spread] = field(default_factory=dict)

    def pair_sums(self) -> dict[str, PairLogprobs]:
        """Ln p(y+|x) and ln p(y-|x) by `pair_id`."""
        return {
            name: PairLogprobs(float(self.chosen[name].sum()), float(self.rejected[name].sum())) for name in self.chosen
        }

    def save(self, path: Path) -> None:
        """Writes it as one .npz file, atomically."""
        names = list(self.chosen)
        sides = {"chosen": self.chosen, "rejected": self.rejected}
        arrays = {side: np.concatenate([logprobs[name] for name in names]) for side, logprobs in sides.items()}
        lengths = {f"{side}_lengths": [len(logprobs[name]) for name in names] for side, logprobs in sides.items()}
        arrays |= {f"{side}_entropy": spread.entropy for side, spread in self.spread.items()}
        arrays |= {f"{side}_top": spread.top for side, spread in self.spread.items()}
        with artifacts.atomic_file(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, names=np.array(names), mass=self.mass, **arrays, **lengths)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Reads what `save` wrote: all but the divergence from an anchor."""
        with np.load(path) as stored:
            names = [str(name) for name in stored["names"]]
            chosen, rejected = (
                dict(zip(names, _split_by_lengths(stored[side], stored[f"{side}_lengths"]), strict=True))
                for side in ("chosen", "rejected")
            )
            spread: dict[Side, Spread] = {
                side: Spread(stored[f"{side}_entropy"], stored[f"{side}_top"])
                for side in SIDES
                if f"{side}_top" in stored
            }
            return cls(chosen, rejected, stored["mass"], spread)


def tokenize_pairs(
    pairs: Iterable[PreferenceRow], tokenizer: PreTrainedTokenizerBase, max_length: int | None = None
) -> dict[str, Tokens]:
    """The tokens of each pair as DPOTrainer trains on them, by `pair_id`.

    Args:
        pairs: preference pairs with `pair_id` (`harness.preferences.tables.load_preferences`).
        tokenizer: the model's tokenizer, with the chat template of the training.
        max_length: cut off longer sequences as DPOTrainer does.

    Raises HarnessError naming a pair that cannot be tokenised.
    """
    tokens: dict[str, Tokens] = {}
    for row in pairs:
        try:
            tokens[row["pair_id"]] = tokenize_pair(check_pair(row), tokenizer, max_length)
        except Unscorable as error:
            raise _unusable_error(row, error) from error
    return tokens


def usable_tokens(
    pairs: Iterable[PreferenceRow],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    left_out: type[Unscorable] = Unscorable,
) -> tuple[dict[str, Tokens], Counter[str]]:
    """The tokens of the pairs that a model can take, by `pair_id`, and how many are left out, by reason.

    Args:
        pairs: preference pairs with `pair_id`.
        model: whose context and vocabulary bound them.
        tokenizer: its tokenizer, with the chat template of the training.
        max_length: cut off longer sequences as DPOTrainer does.
        left_out: what a pair may be to be left out.

    Raises HarnessError naming a pair that is not to be left out, and where none can be taken.
    """
    tokens, reasons = dict[str, Tokens](), Counter[str]()
    for row in pairs:
        try:
            made = tokenize_pair(check_pair(row), tokenizer, max_length)
            if reason := beyond_model(made, decoder_body(model)):
                raise TooLong(reason)
            tokens[row["pair_id"]] = made
        except left_out as error:
            reasons[str(error)] += 1
        except Unscorable as error:
            raise _unusable_error(row, error) from error
    refuse_scoreless(len(tokens) + reasons.total(), len(tokens), reasons, "the table of pairs")
    return tokens, reasons


def _unusable_error(row: PreferenceRow, error: Unscorable) -> HarnessError:
    return HarnessError(str(error), place=f"pair {row['pair_id']}", hint="Mend or remove the pair.")


def pair_logprobs(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Dataset,
    *,
    max_length: int | None = None,
    batch_size: int = 32,
) -> dict[str, PairLogprobs]:
    """Ln p(y+|x) and ln p(y-|x) by `pair_id`, over the tokens TRL's DPOTrainer trains on.

    Args:
        model: a causal language model, on any device; left in the mode it was in.
        tokenizer: its tokenizer, with the chat template of the training.
        pairs: explicit preference pairs with `pair_id` (`harness.preferences.tables.load_preferences`).
        max_length: cut off longer sequences as DPOTrainer does.
        batch_size: pairs in one forward pass, fewer where they are long.

    Raises HarnessError naming a pair that cannot be tokenised.
    """
    return profile_model(model, tokenize_pairs(pairs, tokenizer, max_length), batch_size=batch_size).pair_sums()


def profile_model(
    model: PreTrainedModel, tokens: Mapping[str, Tokens], *, batch_size: int = 32, anchor: Anchor | None = None
) -> Profile:
    """Measures one model on tokenised pairs.

    Args:
        model: a causal language model, on any device; left in the mode it was in.
        tokens: the pairs by `pair_id` (`tokenize_pairs`).
        batch_size: pairs in one forward pass, fewer where they are long.
        anchor: of the model from which the divergence is wanted, on the same tokens (`anchored_profile`).

    Memory beyond the model: the hidden states of a batch, 2**26 logits three times over, with an anchor five times
    and its unembedding once, and `mass` in float64.
    """
    anchor = anchor and anchor.to_device(head_device(model))
    return _measure_profile(model, tokens, batch_size, {side: _SideReading(model, side, anchor) for side in SIDES})


def anchored_profile(
    model: PreTrainedModel, tokens: Mapping[str, Tokens], *, batch_size: int = 32
) -> tuple[Profile, Anchor]:
    """`profile_model` of a starting model, and what is needed of it to tell how far another is from it.

    The anchor is of at most `ANCHORED_PAIRS` pairs and the first `POSITIONS` places of their answers.
    """
    anchored = {*evenly_spaced([*tokens], ANCHORED_PAIRS)}
    readings = {side: _SideReading(model, side, anchored=anchored) for side in SIDES}
    found = _measure_profile(model, tokens, batch_size, readings)
    kept = {side: {name: readings[side].kept[name] for name in tokens if name in anchored} for side in SIDES}
    return found, keep_anchor(model, kept)


def _measure_profile(
    model: PreTrainedModel, tokens: Mapping[str, Tokens], batch_size: int, readings: Mapping[Side, _SideReading]
) -> Profile:
    with evaluation_mode(model), console.progress_bar("Measuring log-probabilities", len(tokens), "pairs") as advance:
        for names in _batches_by_length(tokens, batch_size):
            for side, reading in readings.items():
                reading.read({name: (tokens[name].prompt, getattr(tokens[name], side)) for name in names})
            advance(len(names))
    chosen, rejected = ({name: reading.logprobs[name] for name in tokens} for reading in readings.values())
    return Profile(
        chosen,
        rejected,
        readings["chosen"].mass / _position_counts(chosen)[:, None],
        {side: reading.spread() for side, reading in readings.items()},
    )


def _batches_by_length(tokens: Mapping[str, Tokens], batch_size: int) -> Iterator[list[str]]:
    # Alike in length, for little padding; equal ones by name, so that the order of the table changes no sum.
    names = sorted(tokens, key=lambda name: (len(tokens[name].prompt) + len(tokens[name].chosen), name))
    pairs = [tokens[name] for name in names]
    longest = [len(each.prompt) + max(len(each.chosen), len(each.rejected)) for each in pairs]
    for batch in padded_batches(longest, batch_size):
        yield names[batch]


class _SideReading:
    """What is read along one side's answers: ln p by pair, sums by position, and states where they are kept."""

    def __init__(
        self,
        model: PreTrainedModel,
        side: Side,
        anchor: Anchor | None = None,
        *,
        anchored: Container[str] = (),
    ) -> None:
        self.model, self.side, self.anchor, self.anchored = model, side, anchor, anchored
        self.logprobs: dict[str, FloatArray] = {}
        self.kept: dict[str, Tensor] = {}
        self.mass = np.zeros((POSITIONS + 1, model.get_output_embeddings().weight.shape[0] if side == "chosen" else 0))
        # Columns: entropy, probability of the likeliest token, one for each place; divergence, one for each compared.
        self._sums, self._diverged = np.zeros((POSITIONS + 1, 3)), np.zeros((POSITIONS + 1, 2))

    def read(self, sequences: Mapping[str, tuple[list[int], list[int]]]) -> None:
        """One batch of prompts and answers by `pair_id`.

        Right-padded, and only the answers' positions are projected to the vocabulary.
        """
        whole = [tuple(prompt + answer) for prompt, answer in sequences.values()]
        hidden, paths = padded_pass(decoder_body(self.model), whole)
        # The state at a place predicts the token at the next one: from the prompt's last token to the last but one.
        before = [paths[ids][len(prompt) - 1 : -1] for ids, (prompt, _) in zip(whole, sequences.values(), strict=True)]
        for name, rows in zip(sequences, before, strict=True):
            if name in self.anchored:
                self.kept[name] = hidden[rows[:POSITIONS].to(hidden.device)].cpu()
        lengths = {name: len(answer) for name, (_, answer) in sequences.items()}
        targets = torch.tensor([token for _, answer in sequences.values() for token in answer])
        positions = torch.cat([torch.arange(length) for length in lengths.values()])
        parts = hidden[torch.cat(before).to(hidden.device)], targets, positions, self._anchor_rows(lengths)
        taken = [self._read_rows(*rows) for rows in split_rows(self.model, *parts)]
        # Float64 from here on: ln p of an answer is a sum over hundreds of tokens, a change the difference of two.
        flat = torch.cat(taken).cpu().double().numpy()
        self.logprobs |= dict(zip(sequences, _split_by_lengths(flat, [*lengths.values()]), strict=True))

    def _anchor_rows(self, lengths: Mapping[str, int]) -> Tensor:
        if self.anchor is None:
            return torch.full((sum(lengths.values()),), -1)
        return torch.tensor([row for each in lengths.items() for row in self.anchor.rows_of(self.side, *each)])

    def _read_rows(self, states: Tensor, targets: Tensor, positions: Tensor, anchored: Tensor) -> Tensor:
        """Ln p of the targets [n] where `states` [n, d] predict them; everything else is added up."""
        logprobs = unembed(self.model, states).log_softmax(-1)
        positions, targets = positions.to(logprobs.device), targets.to(logprobs.device)
        taken = logprobs.gather(-1, targets[:, None])[:, 0]
        # Where a model gives a token no chance at all, zero times a finite number is what it adds.
        probabilities, logprobs = logprobs.exp(), logprobs.clamp_(min=torch.finfo(logprobs.dtype).min)
        if self.mass.size:  # of y+ alone
            self.mass += _sum_by_position(probabilities, positions)
        entropy = -torch.linalg.vecdot(probabilities, logprobs)
        figures = torch.stack([entropy, probabilities.amax(-1), torch.ones_like(entropy)], dim=1)
        self._sums += _sum_by_position(figures, positions)
        if self.anchor is not None:
            for places in (anchored >= 0).nonzero()[:, 0].chunk(4):  # several copies of a row's distribution are made
                theirs = self.anchor.logprobs(self.side, anchored[places]).to(logprobs.device)
                here = places.to(logprobs.device)
                divergence = _divergence(probabilities[here], logprobs[here], theirs)
                figures = torch.stack([divergence, torch.ones_like(divergence)], dim=1)
                self._diverged += _sum_by_position(figures, positions[here])
        return taken

    def spread(self) -> Spread:
        """The means of what was added up."""
        with np.errstate(invalid="ignore"):  # a place that no answer reaches has no mean: 0 / 0
            entropy, top = (self._sums[:, :2] / self._sums[:, 2:]).T
            if self.anchor is None:
                return Spread(entropy, top)
            return Spread(entropy, top, self._diverged[:, 0] / self._diverged[:, 1], self._diverged[:, 1])


def _divergence(probabilities: Tensor, logprobs: Tensor, theirs: Tensor) -> Tensor:
    """KL (nats) of distributions [n, vocabulary] from others of as many tokens, or of a padded vocabulary -> [n]."""
    width = min(logprobs.shape[-1], theirs.shape[-1])  # a padded vocabulary has the same tokens at its beginning
    apart = logprobs[:, :width] - theirs[:, :width].clamp_(min=torch.finfo(theirs.dtype).min)
    # Rounding may take what is 0 below it.
    divergence: Tensor = torch.linalg.vecdot(probabilities[:, :width], apart)
    return divergence.clamp(min=0)


def _split_by_lengths(flat: FloatArray, lengths: Sequence[int]) -> list[FloatArray]:
    ends = np.cumsum(lengths)
    return [flat[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _sum_by_position(rows: Tensor, position: Tensor) -> FloatArray:
    """Numbers [n, k] summed over the rows of each of the first positions, and over all rows [POSITIONS + 1, k]."""
    member = position == torch.arange(POSITIONS, device=position.device)[:, None]
    # A product, not `index_add_`, whose order of summing changes from call to call on a GPU.
    member = torch.cat([member, torch.ones_like(member[:1])]).to(rows.dtype)
    summed: FloatArray = (member @ rows).cpu().double().numpy()
    return summed


def _position_counts(chosen: Mapping[str, FloatArray]) -> FloatArray:
    """How many rows went into each row of `mass`, at least one."""
    lengths = np.array([len(logprobs) for logprobs in chosen.values()], dtype=float)
    counts = [float((lengths > position).sum()) for position in range(POSITIONS)]
    return np.maximum([*counts, lengths.sum()], 1.0)  # a place that no answer reaches has no mass: 0 / 1
