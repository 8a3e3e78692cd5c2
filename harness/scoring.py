"""Scores for preference pairs: packed by what they share, one row out per row in."""

from __future__ import annotations

import itertools
import math
import sys
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from torch import Tensor

from harness import ches
from harness.console import note
from harness.errors import HarnessError
from harness.packing import choose_pass, decoder_body
from harness.preferences import Broken, Pair, Row, Tokens, Unscorable, check, common_prefix, pair_id, tokenize

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CPU_TOKENS, DEVICE_TOKENS = 4096, 32768
"""Tokens in one forward pass, on a CPU and elsewhere."""
WINDOW = 256
"""Pairs packed together and written as one part; what a kill can lose."""


# Scores

Scores = dict[str, Any]
"""The measures of one pair and its numbers of tokens, or a `reason` why there are none."""

Progress = Callable[[int, int], None]
"""Told how many pairs, and how many tokens, were just done."""


class Scorer:
    """Scores tokenised pairs with one model, in packs of at most `budget` tokens.

    Args:
        model: a causal language model of `transformers`; left in the mode it was in.
        budget: tokens in one forward pass; `CPU_TOKENS` or `DEVICE_TOKENS` without it. Halved where a device runs
            out of memory.
        with_coefficients: also the Theorem 3/6 coefficients, which take the vocabulary projection.

    Raises HarnessError where the model is no causal language model CHES is defined on.
    """

    def __init__(self, model: PreTrainedModel, budget: int | None = None, *, with_coefficients: bool = False) -> None:
        self.model, self.body = model, decoder_body(model)
        self.budget = budget or (CPU_TOKENS if self.body.device.type == "cpu" else DEVICE_TOKENS)
        self.with_coefficients = with_coefficients
        self._vocabulary = self.body.get_input_embeddings().weight.shape[0]
        self._context = getattr(self.body.config, "max_position_embeddings", None) or sys.maxsize
        with _evaluating(model):
            _refuse_rescaled(model, self.body)
            self._pass = choose_pass(self.body)

    def __call__(self, pairs: Sequence[Tokens], progress: Progress | None = None) -> list[Scores]:
        """The scores of each pair, in the order given; a pair without any has a `reason`."""
        scores = {place: _unscored(pair, reason) for place, pair in enumerate(pairs) if (reason := self._refusal(pair))}
        waiting = packs({place: pair for place, pair in enumerate(pairs) if place not in scores}, self.budget)
        with _evaluating(self.model):
            while waiting:
                pack = waiting.pop(0)
                done = self._tried([pairs[place] for place in pack])
                if done is None:
                    self._halve()
                    waiting[:0] = packs({place: pairs[place] for place in pack}, self.budget)
                    continue
                scores.update(zip(pack, done, strict=True))
                if progress:
                    progress(len(pack), sum(_size(pairs[place]) for place in pack))
        return [scores[place] for place in range(len(pairs))]

    def _refusal(self, pair: Tokens) -> str | None:
        if max(len(pair.chosen), len(pair.rejected)) + len(pair.prompt) > self._context:
            return f"longer than the model's {self._context} tokens"
        if max(map(max, (pair.prompt, pair.chosen, pair.rejected))) >= self._vocabulary:
            return "a token id outside the model's vocabulary"
        return None

    def _tried(self, pairs: list[Tokens]) -> list[Scores] | None:
        """The scores of a pack, or None where it has to be tried again in smaller ones."""
        try:
            return self._score(pairs)
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
        if len(pairs) == 1:
            return [_unscored(pairs[0], "too long for the device's memory")]
        return None

    def _halve(self) -> None:
        self.budget //= 2
        note(f"the device ran out of memory: going on with {self.budget} tokens a pass")
        if self.body.device.type == "cuda":
            torch.cuda.empty_cache()

    def _score(self, pairs: list[Tokens]) -> list[Scores]:
        sequences = [sequence for pair in pairs for sequence in _sequences(pair)]
        hidden, paths = self._pass(self.body, sequences)
        lasts = hidden[torch.stack([paths[sequence][-1] for sequence in sequences]).to(hidden.device)]
        predicting = [paths[sequence][len(pair.prompt) - 1 : -1] for pair in pairs for sequence in _sequences(pair)]
        rows = hidden[torch.cat(predicting).to(hidden.device)]
        lengths = torch.tensor([len(part) for part in predicting], device=hidden.device)
        figures = _measures(ches.hidden_sums(rows, lengths), lasts, lengths)
        scores = [_scored(pair, row) for pair, row in zip(pairs, figures, strict=True)]
        if self.with_coefficients:
            answers = torch.split(rows, lengths.tolist())
            for place, (pair, score) in enumerate(zip(pairs, scores, strict=True)):
                score |= self._coefficients(pair, answers[2 * place], answers[2 * place + 1])
        return scores

    def _coefficients(self, pair: Tokens, chosen: Tensor, rejected: Tensor) -> Scores:
        spread = ches.coefficients(self._residuals(chosen, pair.chosen), self._residuals(rejected, pair.rejected))
        return spread._asdict()

    def _residuals(self, hidden: Tensor, tokens: Sequence[int]) -> Tensor:
        return ches.residuals(unembed(self.model, hidden), torch.tensor(tokens, device=hidden.device))


def packs(pairs: Mapping[int, Tokens], budget: int) -> list[list[int]]:
    """Groups the keys of `pairs` into packs of at most `budget` distinct tokens, those that begin alike together."""
    groups: list[list[int]] = []
    used, before = 0, None
    for place in sorted(pairs, key=lambda place: _sequences(pairs[place])):
        pair = _sequences(pairs[place])
        cost = _new_tokens(pair, before or ())
        if before is None or used + cost > budget:
            groups.append([])
            used, cost = 0, _new_tokens(pair, ())
        groups[-1].append(place)
        used, before = used + cost, pair
    return groups


def _new_tokens(pair: tuple[tuple[int, ...], ...], before: tuple[tuple[int, ...], ...]) -> int:
    """How many tokens a pair adds to a pack, at most, seen against the pair before it."""
    known, cost = list(before), 0
    for sequence in pair:
        cost += len(sequence) - max((common_prefix(sequence, other) for other in known), default=0)
        known.append(sequence)
    return cost


def _sequences(pair: Tokens) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(pair.prompt + pair.chosen), tuple(pair.prompt + pair.rejected)


def _size(pair: Tokens) -> int:
    return len(pair.prompt) + len(pair.chosen) + len(pair.rejected)


def _measures(sums: Tensor, lasts: Tensor, lengths: Tensor) -> list[list[float]]:
    """CHES, its length-normalised form and the last inner product [pairs, 3]; chosen and rejected rows alternate."""
    chosen, rejected = sums[0::2], sums[1::2]
    columns = (
        ches.ches(chosen, rejected),
        ches.ln_ches(chosen, rejected, lengths[0::2], lengths[1::2]),
        ches.last_hidden_inner_product(lasts[0::2], lasts[1::2]),
    )
    figures: list[list[float]] = torch.stack(columns, dim=1).tolist()
    return figures


def _scored(pair: Tokens, figures: Sequence[float]) -> Scores:
    if not all(map(math.isfinite, figures)):
        return _unscored(pair, "the model's hidden states are not finite")
    figures = (*figures, ches.neg_edit_distance(pair.chosen, pair.rejected))
    return dict(zip(ches.MEASURES, figures, strict=True)) | _lengths(pair) | {"reason": None}


def _unscored(pair: Tokens, reason: str) -> Scores:
    return _lengths(pair) | {"reason": reason}


def _lengths(pair: Tokens) -> Scores:
    lengths = {"prompt_tokens": pair.prompt, "chosen_tokens": pair.chosen, "rejected_tokens": pair.rejected}
    return {name: len(tokens) for name, tokens in lengths.items()} | {"prompt_merged": pair.merged}


def _refuse_rescaled(model: PreTrainedModel, body: PreTrainedModel) -> None:
    """Raises HarnessError where something stands between the body's output and the unembedding (Definition 2's h)."""
    head = model.get_output_embeddings()
    if head is None:
        return
    fed: list[Tensor] = []
    with head.register_forward_pre_hook(lambda _module, arguments: fed.append(arguments[0])):
        ids = torch.zeros(1, 2, dtype=torch.long, device=body.device)
        model(input_ids=ids, use_cache=False)
        hidden = body(input_ids=ids, use_cache=False).last_hidden_state
    if not fed or fed[0].shape != hidden.shape or not torch.allclose(fed[0], hidden, rtol=0.05, equal_nan=True):
        raise HarnessError(
            f"{body.config.model_type} changes its hidden states before the unembedding",
            place=model.config.name_or_path,
            mend="CHES is defined on what feeds the unembedding; this model cannot be scored.",
        )


def unembed(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """The model's own logits [n, vocabulary] for hidden states [n, d], with its scale or cap, in float32."""
    config = model.config.get_text_config()
    logits: Tensor = model.get_output_embeddings()(hidden).float()
    logits = logits * getattr(config, "logit_scale", 1.0) / getattr(config, "logits_scaling", 1.0)
    cap = getattr(config, "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


# Tables


@dataclass(frozen=True, slots=True)
class Scored:
    """One row of a table: as it came, as a checked pair (None where it is none), and its scores or reason."""

    pair_id: str
    row: Row | Broken
    pair: Pair | None
    scores: Scores


def score(
    dataset: Dataset,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None = None,
    with_coefficients: bool = False,
    budget: int | None = None,
) -> Dataset:
    """The data set with a score row joined to every pair.

    Args:
        dataset: preference pairs in any of TRL's formats.
        model: the causal language model about to be trained, on any device.
        tokenizer: its tokenizer, with the chat template training will use.
        max_length: cut off longer sequences as DPOTrainer's `max_length` does.
        with_coefficients: also the Theorem 3/6 coefficients.
        budget: tokens in one forward pass.

    Returns the columns of `dataset` and `pair_id` (made where there is none), the four measures (`ches`, `ln_ches`,
    `last_hidden_inner_product`, `neg_edit_distance`; None where a pair has none), `prompt_tokens`, `chosen_tokens`,
    `rejected_tokens`, `prompt_merged` and `reason`. Raises HarnessError where no row can be scored.
    """
    scorer = Scorer(model, budget, with_coefficients=with_coefficients)
    rows = [row for _, window in windows(dataset) for row in score_window(window, scorer, tokenizer, max_length)]
    reasons = Counter(row.scores["reason"] for row in rows)
    refuse_scoreless(len(rows), reasons.pop(None, 0), reasons, "the data set")
    names = [*score_columns(with_coefficients)]
    scored = dataset.remove_columns([name for name in ("pair_id", *names) if name in dataset.column_names])
    scored = scored.add_column("pair_id", [row.pair_id for row in rows])
    for name, kind in score_columns(with_coefficients).items():
        values = pa.array([row.scores.get(name) for row in rows], kind)
        scored = scored.add_column(name, values)
    return scored


Checked = tuple[str, Row | Broken, Pair | str]
"""A row's id, the row as it came, and the pair it is or the reason why it is none."""


def windows(rows: Iterable[Row | Broken], skip: Container[int] = ()) -> Iterator[tuple[int, list[Checked]]]:
    """Cuts a stream of rows into numbered windows of `WINDOW` rows (the last may be shorter), but those in `skip`.

    A window is what is packed together, so its scores do not depend on who scores it, or when.
    """
    checked = _checked(rows)
    for number in itertools.count():
        window = list(islice(checked, WINDOW))
        if not window:
            return
        if number not in skip:
            yield number, window


def _checked(rows: Iterable[Row | Broken]) -> Iterator[Checked]:
    """Each row with its id, and as a pair or the reason why it is none; all pairs are of the first one's kind."""
    kind: bool | None = None
    for number, row in enumerate(rows):
        name = pair_id({} if isinstance(row, Broken) else row, number)
        try:
            pair = check(row)
        except Unscorable as error:
            yield name, row, str(error)
            continue
        kind = pair.conversational if kind is None else kind
        yield name, row, pair if pair.conversational == kind else _OTHER_KIND[kind]


_OTHER_KIND = {True: "plain text in a table of messages", False: "messages in a table of plain text"}


def score_window(
    window: Sequence[Checked],
    scorer: Scorer,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    progress: Progress | None = None,
) -> list[Scored]:
    """One `Scored` a row of the window, in its order."""
    tokens = [_tokens(pair, tokenizer, max_length) for _, _, pair in window]
    scores = iter(scorer([pair for pair in tokens if isinstance(pair, Tokens)], progress))
    rows = []
    for (name, row, pair), ids in zip(window, tokens, strict=True):
        found = next(scores) if isinstance(ids, Tokens) else {"reason": ids}
        rows.append(Scored(name, row, pair if isinstance(pair, Pair) else None, found))
    return rows


def _tokens(pair: Pair | str, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> Tokens | str:
    if isinstance(pair, str):
        return pair
    try:
        return tokenize(pair, tokenizer, max_length)
    except Unscorable as error:
        return str(error)


def score_columns(with_coefficients: bool) -> dict[str, pa.DataType]:
    """Names and types of the columns scoring adds, `pair_id` aside."""
    measures = ches.MEASURES + (ches.COEFFICIENTS if with_coefficients else ())
    counts = ("prompt_tokens", "chosen_tokens", "rejected_tokens")
    types = dict.fromkeys(measures, pa.float64()) | dict.fromkeys(counts, pa.int64())
    return types | {"prompt_merged": pa.bool_(), "reason": pa.string()}


def refuse_scoreless(rows: int, scored: int, reasons: Mapping[str, int], place: str) -> None:
    """Raises HarnessError where a table of `rows` has no pair with a score."""
    if rows == 0:
        raise HarnessError("holds no rows", place=place)
    if scored == 0:
        commonest = max(reasons, key=lambda reason: reasons[reason])
        mend = f"The commonest reason, {reasons[commonest]} of {rows} rows: {commonest}."
        raise HarnessError("holds no pair that can be scored", place=place, mend=mend)
