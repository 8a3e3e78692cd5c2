"""One model's view of a preference table: ln p of every answer token, and where its next-token probability lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.models.loading import evaluation_mode
from harness.preferences.pairs import PreferenceRow, TooLong, Unscorable, check_pair
from harness.preferences.tokens import Tokens, tokenize_pair
from harness.scoring.packing import decoder_body, padded_batches, padded_pass
from harness.scoring.scorer import beyond_model, refuse_scoreless
from harness.scoring.unembedding import split_rows, unembed
from harness.support import artifacts, console
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


FloatArray = NDArray[np.float64]

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
class Profile:
    """What one model makes of a table of pairs.

    Attributes:
        chosen: by `pair_id`, ln p (nats) of each token of y+ given the prompt and the tokens before it.
        rejected: the same of y-.
        mass: mean next-token probabilities [POSITIONS + 1, vocabulary] along y+: row t over the pairs whose y+ has a
            token t, the last row over all positions of all pairs.
    """

    chosen: Mapping[str, FloatArray]
    rejected: Mapping[str, FloatArray]
    mass: FloatArray

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
        with artifacts.atomic_file(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, names=np.array(names), mass=self.mass, **arrays, **lengths)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Reads what `save` wrote."""
        with np.load(path) as stored:
            names = [str(name) for name in stored["names"]]
            chosen, rejected = (
                dict(zip(names, _split_by_lengths(stored[side], stored[f"{side}_lengths"]), strict=True))
                for side in ("chosen", "rejected")
            )
            return cls(chosen, rejected, stored["mass"])


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


def profile_model(model: PreTrainedModel, tokens: Mapping[str, Tokens], *, batch_size: int = 32) -> Profile:
    """Measures one model on tokenised pairs.

    Args:
        model: a causal language model, on any device; left in the mode it was in.
        tokens: the pairs by `pair_id` (`tokenize_pairs`).
        batch_size: pairs in one forward pass, fewer where they are long.

    Memory beyond the model: the hidden states of a batch, 2**26 logits three times over, and `mass` in float64.
    """
    sides: tuple[dict[str, FloatArray], dict[str, FloatArray]] = ({}, {})
    mass = np.zeros((POSITIONS + 1, model.get_output_embeddings().weight.shape[0]))
    with evaluation_mode(model), console.progress_bar("Measuring log-probabilities", len(tokens), "pairs") as advance:
        for names in _batches_by_length(tokens, batch_size):
            pairs = [tokens[name] for name in names]
            sides[0].update(
                zip(names, _answer_logprobs(model, [(p.prompt, p.chosen) for p in pairs], mass), strict=True)
            )
            sides[1].update(zip(names, _answer_logprobs(model, [(p.prompt, p.rejected) for p in pairs]), strict=True))
            advance(len(names))
    chosen, rejected = ({name: side[name] for name in tokens} for side in sides)
    return Profile(chosen, rejected, mass / _position_counts(chosen)[:, None])


def _batches_by_length(tokens: Mapping[str, Tokens], batch_size: int) -> Iterator[list[str]]:
    # Alike in length, for little padding; equal ones by name, so that the order of the table changes no sum.
    names = sorted(tokens, key=lambda name: (len(tokens[name].prompt) + len(tokens[name].chosen), name))
    pairs = [tokens[name] for name in names]
    longest = [len(each.prompt) + max(len(each.chosen), len(each.rejected)) for each in pairs]
    for batch in padded_batches(longest, batch_size):
        yield names[batch]


def _answer_logprobs(
    model: PreTrainedModel, sequences: Sequence[tuple[list[int], list[int]]], mass: FloatArray | None = None
) -> list[FloatArray]:
    """Ln p of each answer's tokens; probabilities are added up in `mass`.

    Right-padded, and only the answers' positions are projected to the vocabulary.
    """
    whole = [tuple(prompt + answer) for prompt, answer in sequences]
    hidden, paths = padded_pass(decoder_body(model), whole)
    # The state at a place predicts the token at the next one: from the prompt's last token to the last but one.
    before = [paths[ids][len(prompt) - 1 : -1] for ids, (prompt, _) in zip(whole, sequences, strict=True)]
    predicting = hidden[torch.cat(before).to(hidden.device)]
    targets = torch.tensor([token for _, answer in sequences for token in answer])
    positions = torch.cat([torch.arange(len(answer)) for _, answer in sequences])
    taken: list[Tensor] = []
    for states, target, position in split_rows(model, predicting, targets, positions):
        logprobs = unembed(model, states).log_softmax(-1)
        taken.append(logprobs.gather(-1, target.to(logprobs.device)[:, None])[:, 0])
        if mass is not None:
            mass += _mass_by_position(logprobs, position.to(logprobs.device))
    lengths = [len(answer) for _, answer in sequences]
    # Float64 from here on: ln p of an answer is a sum over hundreds of tokens, a change the difference of two.
    return _split_by_lengths(torch.cat(taken).cpu().double().numpy(), lengths)


def _split_by_lengths(flat: FloatArray, lengths: Sequence[int]) -> list[FloatArray]:
    ends = np.cumsum(lengths)
    return [flat[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _mass_by_position(logprobs: Tensor, position: Tensor) -> FloatArray:
    """Probabilities [n, vocabulary] summed over the rows of each of the first positions, and over all rows."""
    member = position == torch.arange(POSITIONS, device=position.device)[:, None]
    # A product, not `index_add_`, whose order of summing changes from call to call on a GPU.
    member = torch.cat([member, torch.ones_like(member[:1])]).float()
    summed: FloatArray = (member @ logprobs.exp()).cpu().double().numpy()
    return summed


def _position_counts(chosen: Mapping[str, FloatArray]) -> FloatArray:
    """How many rows went into each row of `mass`, at least one."""
    lengths = np.array([len(logprobs) for logprobs in chosen.values()], dtype=float)
    counts = [float((lengths > position).sum()) for position in range(POSITIONS)]
    return np.maximum([*counts, lengths.sum()], 1.0)  # a place that no answer reaches has no mass: 0 / 1
