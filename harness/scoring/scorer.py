"""Scores for preference pairs: packed by what they share, one row out per row in."""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from torch import Tensor

from harness.models.loading import evaluation_mode, max_positions
from harness.preferences.pairs import BrokenRow, Pair, PreferenceRow, Unscorable, check_pair, pair_id
from harness.preferences.shapes import refuse_other_columns
from harness.preferences.tables import note_doubts, with_explicit_prompts
from harness.preferences.tokens import Tokens, common_prefix, tokenize_pair
from harness.scoring import ches
from harness.scoring.influence.directions import Directions, build_directions
from harness.scoring.influence.measuring import measure_influences
from harness.scoring.influence.shifting import in_float32
from harness.scoring.influence.subspace import Subspace, check_layers
from harness.scoring.packing import Paths, choose_pass, decoder_body
from harness.scoring.probes import PROBE_SAMPLES, Probes, draw_probes, load_probe_prompts
from harness.scoring.targets import Target, error_column, influence_column
from harness.scoring.unembedding import token_logprobs, unembed
from harness.support.console import print_note
from harness.support.errors import HarnessError

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

Progress = Callable[[float, float], None]
"""Told how many pairs, and how many tokens, were just done; a part of one for each pass over it."""


class Scorer:
    """Scores tokenised pairs with one model, in packs of at most `budget` tokens.

    Args:
        model: a causal language model of `transformers`; left in the mode it was in.
        budget: tokens in one forward pass; `CPU_TOKENS` or `DEVICE_TOKENS` without it. Halved where a device runs
            out of memory.
        paper_states: `S` over the states that the paper's code sums, from the prompt's last token to the answer's last
            before its end token, and the edit distance between what stands before the end tokens. Without, over those
            that predict the tokens trained on.
        with_coefficients: also the Theorem 3/6 coefficients, which take the vocabulary projection.
        directions: also the influence on these targets, by three passes for each.

    Raises HarnessError where the model is no causal language model CHES is defined on, and where there are directions
    and its weights are not in float32 or wider.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        budget: int | None = None,
        *,
        paper_states: bool = False,
        with_coefficients: bool = False,
        directions: Directions | None = None,
    ) -> None:
        self.model, self.body = model, decoder_body(model)
        self.budget = budget or (CPU_TOKENS if self.body.device.type == "cpu" else DEVICE_TOKENS)
        self.paper_states, self.with_coefficients, self.directions = paper_states, with_coefficients, directions
        with evaluation_mode(model):
            _refuse_rescaled(model, self.body)
            self._pass = choose_pass(self.body)

    def __call__(self, pairs: Sequence[Tokens], progress: Progress | None = None) -> list[Scores]:
        """The scores of each pair, in the order given; a pair without any has a `reason`."""
        scores = {
            place: _unscored_pair(pair, reason)
            for place, pair in enumerate(pairs)
            if (reason := beyond_model(pair, self.body))
        }
        left = {place: pair for place, pair in enumerate(pairs) if place not in scores}
        passes = 1 + (self.directions.passes if self.directions else 0)

        def progress_of_pass(count: float, tokens: float) -> None:
            if progress:
                progress(count / passes, tokens / passes)

        with evaluation_mode(self.model):
            scores |= self._run_packs(left, self._score_pack, progress_of_pass)
            if self.directions:
                scored = {place: pair for place, pair in left.items() if scores[place]["reason"] is None}
                found = self._measure_influences(scored, progress_of_pass)
                for place, pair in scored.items():
                    scores[place] = scores[place] | found[place] if place in found else _unmoved_pair(pair)
        return [scores[place] for place in range(len(pairs))]

    def _run_packs(
        self, pairs: Mapping[int, Tokens], work: Callable[[list[Tokens]], list[Scores]], progress: Progress
    ) -> dict[int, Scores]:
        """What `work` makes of each pair, by its key, pack by pack."""
        done: dict[int, Scores] = {}
        waiting = pack_pairs(pairs, self.budget)
        while waiting:
            pack = waiting.pop(0)
            found = self._try_pack([pairs[place] for place in pack], work)
            if found is None:  # what fits is not known before it is tried: kernels need memory of their own
                self._halve_budget()
                waiting[:0] = pack_pairs({place: pairs[place] for place in pack}, self.budget)
                continue
            done.update(zip(pack, found, strict=True))
            progress(len(pack), sum(_pair_size(pairs[place]) for place in pack))
        return done

    def _try_pack(self, pairs: list[Tokens], work: Callable[[list[Tokens]], list[Scores]]) -> list[Scores] | None:
        """What `work` makes of a pack, or None where it has to be tried again in smaller ones."""
        try:
            return work(pairs)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
        if len(pairs) == 1:
            return [_unscored_pair(pairs[0], "too long for the device's memory")]
        return None

    def _measure_influences(self, pairs: Mapping[int, Tokens], progress: Progress) -> dict[int, Scores]:
        """The influence columns of each pair that has any."""
        if self.directions is None:
            return {}

        def margins() -> dict[int, float]:
            found = self._run_packs(pairs, self._pack_margins, progress)
            return {place: score["margin"] for place, score in found.items() if "margin" in score}

        measured = measure_influences(self.model, self.directions, margins, pairs)
        return {place: _influence_scores(figures) for place, figures in measured.items()}

    def _pack_margins(self, pairs: list[Tokens]) -> list[Scores]:
        """The margin ln p(y+|x) - ln p(y-|x), in nats, of each pair of a pack."""
        hidden, paths = self._pass(self.body, [sequence for pair in pairs for sequence in _pair_sequences(pair)])
        rows = hidden[torch.cat(_predicting_places(pairs, paths)).to(hidden.device)]
        answers = [answer for pair in pairs for answer in (pair.chosen, pair.rejected)]
        tokens = torch.tensor([token for answer in answers for token in answer], device=hidden.device)
        logprobs = token_logprobs(self.model, rows, tokens).to(ches.sum_dtype(hidden.device))
        sums = torch.stack([part.sum() for part in torch.split(logprobs, [len(answer) for answer in answers])])
        return [{"margin": margin} for margin in (sums[0::2] - sums[1::2]).tolist()]

    def _halve_budget(self) -> None:
        self.budget //= 2
        print_note(f"the device ran out of memory: going on with {self.budget} tokens a pass")
        if self.body.device.type == "cuda":
            torch.cuda.empty_cache()

    def _score_pack(self, pairs: list[Tokens]) -> list[Scores]:
        sequences = [sequence for pair in pairs for sequence in _pair_sequences(pair)]
        hidden, paths = self._pass(self.body, sequences)
        text = _text_places(pairs, paths)
        lasts = hidden[torch.stack([places[-1] for places in text]).to(hidden.device)]
        predicting = _predicting_places(pairs, paths)
        summed = text if self.paper_states else predicting
        lengths = torch.tensor([len(part) for part in summed], device=hidden.device)
        sums = ches.hidden_sums(hidden[torch.cat(summed).to(hidden.device)], lengths)
        figures = _pair_measures(sums, lasts, lengths)
        scores = [self._pair_scores(pair, row) for pair, row in zip(pairs, figures, strict=True)]
        if self.with_coefficients:
            answers = [hidden[part.to(hidden.device)] for part in predicting]
            # Sequences, and so rows, alternate: chosen, rejected.
            for place, (pair, score) in enumerate(zip(pairs, scores, strict=True)):
                score |= self._pair_coefficients(pair, answers[2 * place], answers[2 * place + 1])
        return scores

    def _pair_scores(self, pair: Tokens, figures: Sequence[float]) -> Scores:
        if not all(map(math.isfinite, figures)):
            return _unscored_pair(pair, "the model's hidden states are not finite")
        compared = pair.texts if self.paper_states else (pair.chosen, pair.rejected)
        figures = (*figures, ches.neg_edit_distance(*compared))
        return dict(zip(ches.MEASURES, figures, strict=True)) | _token_counts(pair) | {"reason": None}

    def _pair_coefficients(self, pair: Tokens, chosen: Tensor, rejected: Tensor) -> Scores:
        spread = ches.alpha_coefficients(
            self._answer_residuals(chosen, pair.chosen), self._answer_residuals(rejected, pair.rejected)
        )
        return spread._asdict()

    def _answer_residuals(self, hidden: Tensor, tokens: Sequence[int]) -> Tensor:
        return ches.token_residuals(unembed(self.model, hidden), torch.tensor(tokens, device=hidden.device))


def beyond_model(pair: Tokens, body: PreTrainedModel) -> str | None:
    """Why a decoder body cannot take a pair's tokens, or None where it can."""
    context = max_positions(body.config) or sys.maxsize
    if max(len(pair.chosen), len(pair.rejected)) + len(pair.prompt) > context:
        return f"longer than the model's {context} tokens"
    if max(map(max, (pair.prompt, pair.chosen, pair.rejected))) >= body.get_input_embeddings().weight.shape[0]:
        return "a token id outside the model's vocabulary"
    return None


def pack_pairs(pairs: Mapping[int, Tokens], budget: int) -> list[list[int]]:
    """Groups the keys of `pairs` into packs of at most `budget` distinct tokens, those that begin alike together."""
    groups: list[list[int]] = []
    used, before = 0, None
    # In the order of the trie, pairs that begin alike are neighbours, and one look back finds most of what they share.
    for place in sorted(pairs, key=lambda place: _pair_sequences(pairs[place])):
        pair = _pair_sequences(pairs[place])
        cost = _new_tokens(pair, before or ())
        if before is None or used + cost > budget:
            groups.append([])
            used, cost = 0, _new_tokens(pair, ())  # nothing is shared with another pack
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


def _pair_sequences(pair: Tokens) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(pair.prompt + pair.chosen), tuple(pair.prompt + pair.rejected)


def _predicting_places(pairs: Sequence[Tokens], paths: Paths) -> list[Tensor]:
    """Where the states lie that predict each answer's tokens; chosen and rejected alternate."""
    # The state at a place predicts the token at the next one: from the prompt's last token to the last but one.
    return [paths[sequence][len(pair.prompt) - 1 : -1] for pair in pairs for sequence in _pair_sequences(pair)]


def _text_places(pairs: Sequence[Tokens], paths: Paths) -> list[Tensor]:
    """Where the states of the prompt's last token and of each answer's own text lie; chosen and rejected alternate."""
    return [
        paths[sequence][len(pair.prompt) - 1 : len(pair.prompt) + len(text)]
        for pair in pairs
        for sequence, text in zip(_pair_sequences(pair), pair.texts, strict=True)
    ]


def _pair_size(pair: Tokens) -> int:
    return len(pair.prompt) + len(pair.chosen) + len(pair.rejected)


def _pair_measures(sums: Tensor, lasts: Tensor, lengths: Tensor) -> list[list[float]]:
    """CHES, its length-normalised form and the last inner product [pairs, 3]; chosen and rejected rows alternate."""
    chosen, rejected = sums[0::2], sums[1::2]
    columns = (
        ches.ches(chosen, rejected),
        ches.ln_ches(chosen, rejected, lengths[0::2], lengths[1::2]),
        ches.last_hidden_inner_product(lasts[0::2], lasts[1::2]),
    )
    figures: list[list[float]] = torch.stack(columns, dim=1).tolist()
    return figures


def _unscored_pair(pair: Tokens, reason: str) -> Scores:
    return _token_counts(pair) | {"reason": reason}


def _unmoved_pair(pair: Tokens) -> Scores:
    return _unscored_pair(pair, "its ln p is not finite with the weights moved")


def _influence_scores(found: Mapping[Target, tuple[float, float]]) -> Scores:
    columns = [(influence_column(target), error_column(target), *figures) for target, figures in found.items()]
    return {name: value for mean, error, *values in columns for name, value in zip((mean, error), values, strict=True)}


def _token_counts(pair: Tokens) -> Scores:
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
    # Five per cent lets half precision's noise through; states that are NaN are told later, pair by pair.
    if not fed or fed[0].shape != hidden.shape or not torch.allclose(fed[0], hidden, rtol=0.05, equal_nan=True):
        raise HarnessError(
            f"{body.config.model_type} changes its hidden states before the unembedding",
            place=model.config.name_or_path,
            hint="CHES is defined on what feeds the unembedding; this model cannot be scored.",
        )


def _is_out_of_memory(error: RuntimeError) -> bool:
    # A GPU's allocator has a class for it, the CPU's only a text.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


# Tables


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One row of a table: as it came, as a checked pair (None where it is none), and its scores or reason."""

    pair_id: str
    row: PreferenceRow | BrokenRow
    pair: Pair | None
    scores: Scores


def score(
    dataset: Dataset,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None = None,
    paper_states: bool = False,
    with_coefficients: bool = False,
    budget: int | None = None,
    probes: str | Probes | None = None,
    probe_samples: int = PROBE_SAMPLES,
    targets: Sequence[Target] = ("refusal",),
    judge: str = "lexical",
    subspace: str | None = None,
) -> Dataset:
    """The data set with a score row joined to every pair.

    Args:
        dataset: preference pairs in any of TRL's formats.
        model: the causal language model about to be trained, on any device.
        tokenizer: its tokenizer, with the chat template training will use.
        max_length: cut off longer sequences as DPOTrainer's `max_length` does.
        paper_states: over the answers up to their end tokens, as in the paper's code, not all tokens trained on.
        with_coefficients: also the Theorem 3/6 coefficients.
        budget: tokens in one forward pass.
        probes: also the influence of each pair, by probe answers drawn here or by prompts to draw them with (`bundled`,
            a file, a published set).
        probe_samples: answers to draw for each prompt.
        targets: what the influence is on, of `harness.scoring.targets.TARGETS`.
        judge: of the answers drawn here.
        subspace: `lora:RANK` or `last:LAYERS`, where the gradient of all weights is too much.

    Returns the columns of `dataset` and `pair_id` (made where there is none), the four measures (`ches`, `ln_ches`,
    `last_hidden_inner_product`, `neg_edit_distance`; None where a pair has none), `prompt_tokens`, `chosen_tokens`,
    `rejected_tokens`, `prompt_merged` and `reason`; with `probes` also `refusal_influence` and `refusal_influence_se`,
    and likewise for other targets. Columns of `dataset` named like these are kept as `given_...`, with a note. Where
    TRL would not take its pairs as they are (a text prompt beside lists of messages), their prompt is made explicit.
    Raises HarnessError where no row can be scored, or a target has no gradient.
    """
    refuse_other_columns([dict.fromkeys(dataset.column_names)], "the data set")
    with in_float32(model) if probes is not None else nullcontext():
        directions = None
        if probes is not None:
            within = Subspace.parse(subspace) if subspace else None
            check_layers(model, within)
            if isinstance(probes, str):
                prompts = load_probe_prompts(probes, targets)
                probes = draw_probes(model, tokenizer, prompts, samples=probe_samples, judge=judge)
            own = "preferred" in targets
            pairs = sample_pair_tokens(cut_windows(dataset), tokenizer, max_length) if own else ()
            directions = build_directions(model, tokenizer, probes, targets, pairs, within)
        options = {"paper_states": paper_states, "with_coefficients": with_coefficients}
        scorer = Scorer(model, budget, **options, directions=directions)
        rows = [
            row for _, window in cut_windows(dataset) for row in score_window(window, scorer, tokenizer, max_length)
        ]
    reasons = Counter(row.scores["reason"] for row in rows)
    refuse_scoreless(len(rows), reasons.pop(None, 0), reasons, "the data set")
    note_doubts([row.row for row in rows[:WINDOW] if not isinstance(row.row, BrokenRow)])
    return _join_scores(dataset, rows, score_columns(with_coefficients, directions.targets if directions else ()))


def _join_scores(dataset: Dataset, rows: Sequence[ScoredRow], columns: Mapping[str, pa.DataType]) -> Dataset:
    scored = with_explicit_prompts(dataset, [row.pair for row in rows])
    scored = _free_names(scored, [*columns])
    scored = scored.add_column("pair_id", [row.pair_id for row in rows])
    for name, kind in columns.items():
        scored = scored.add_column(name, pa.array([row.scores.get(name) for row in rows], kind))
    return scored


_PREFERRED_PAIRS = 512
"""Pairs, drawn from the table, that the mean of ln p(y+) is taken over where it is a target."""


def sample_pair_tokens(
    windows: Iterable[tuple[int, list[CheckedRow]]], tokenizer: PreTrainedTokenizerBase, max_length: int | None = None
) -> list[Tokens]:
    """The tokens of up to `_PREFERRED_PAIRS` pairs, drawn evenly from a table of any size; the same ones each time."""
    draw, kept = random.Random(0), list[CheckedRow]()
    pairs = (row for _, window in windows for row in window if isinstance(row[2], Pair))
    for number, row in enumerate(pairs):
        if number < _PREFERRED_PAIRS:
            kept.append(row)
        elif (place := draw.randrange(number + 1)) < _PREFERRED_PAIRS:
            kept[place] = row
    tokens = (_tokens_or_reason(pair, tokenizer, max_length) for _, _, pair in kept)
    return [each for each in tokens if isinstance(each, Tokens)]


def _free_names(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The data set without its `pair_id`, and with columns that are named like those to come renamed."""
    renamed = {}
    for name in (name for name in names if name in dataset.column_names):
        new = f"given_{name}"
        while new in dataset.column_names:
            new = f"given_{new}"
        renamed[name] = new
    if renamed:
        said = ", ".join(f"{name} ({new})" for name, new in renamed.items())
        print_note(f"the data set has columns named like scores, which are kept under other names: {said}")
    kept = dataset.remove_columns([name for name in dataset.column_names if name == "pair_id"])
    return kept.rename_columns(renamed)


CheckedRow = tuple[str, PreferenceRow | BrokenRow, Pair | str]
"""A row's id, the row as it came, and the pair it is or the reason why it is none."""


def cut_windows(
    rows: Iterable[PreferenceRow | BrokenRow], skip: Container[int] = ()
) -> Iterator[tuple[int, list[CheckedRow]]]:
    """Cuts a stream of rows into numbered windows of `WINDOW` rows (the last may be shorter), but those in `skip`.

    A window is what is packed together, so its scores do not depend on who scores it, or when.
    """
    checked = _check_rows(rows)
    for number in itertools.count():
        window = list(islice(checked, WINDOW))
        if not window:
            return
        if number not in skip:
            yield number, window


def _check_rows(rows: Iterable[PreferenceRow | BrokenRow]) -> Iterator[CheckedRow]:
    """Each row with its id, and as a pair or the reason why it is none; all pairs are of the first one's kind."""
    kind: bool | None = None
    for number, row in enumerate(rows):
        name = pair_id({} if isinstance(row, BrokenRow) else row, number)
        try:
            pair = check_pair(row)
        except Unscorable as error:
            yield name, row, str(error)
            continue
        kind = pair.is_conversational if kind is None else kind
        yield name, row, pair if pair.is_conversational == kind else _OTHER_KIND[kind]


_OTHER_KIND = {True: "plain text in a table of messages", False: "messages in a table of plain text"}


def score_window(
    window: Sequence[CheckedRow],
    scorer: Scorer,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    progress: Progress | None = None,
) -> list[ScoredRow]:
    """One `ScoredRow` a row of the window, in its order."""
    tokens = [_tokens_or_reason(pair, tokenizer, max_length) for _, _, pair in window]
    scores = iter(scorer([pair for pair in tokens if isinstance(pair, Tokens)], progress))
    rows = []
    for (name, row, pair), ids in zip(window, tokens, strict=True):
        found = next(scores) if isinstance(ids, Tokens) else {"reason": ids}
        rows.append(ScoredRow(name, row, pair if isinstance(pair, Pair) else None, found))
    return rows


def _tokens_or_reason(pair: Pair | str, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> Tokens | str:
    if isinstance(pair, str):
        return pair
    try:
        return tokenize_pair(pair, tokenizer, max_length)
    except Unscorable as error:
        return str(error)


def score_columns(with_coefficients: bool, targets: Sequence[Target] = ()) -> dict[str, pa.DataType]:
    """Names and types of the columns scoring adds, `pair_id` aside."""
    measures = ches.MEASURES + (ches.COEFFICIENTS if with_coefficients else ())
    influences = [name for target in targets for name in (influence_column(target), error_column(target))]
    counts = ("prompt_tokens", "chosen_tokens", "rejected_tokens")
    types = dict.fromkeys((*measures, *influences), pa.float64()) | dict.fromkeys(counts, pa.int64())
    return types | {"prompt_merged": pa.bool_(), "reason": pa.string()}


def refuse_scoreless(rows: int, scored: int, reasons: Mapping[str, int], place: str) -> None:
    """Raises HarnessError where a table of `rows` has no pair with a score."""
    if rows == 0:
        raise HarnessError("holds no rows", place=place)
    if scored == 0:
        commonest = max(reasons, key=lambda reason: reasons[reason])
        hint = f"The commonest reason, {reasons[commonest]} of {rows} rows: {commonest}."
        raise HarnessError("holds no pair that can be scored", place=place, hint=hint)
