"""What is known of a run's tokens before it: its prompts and tables, and with them the work of each of its stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.displacement.pushes import is_affordable, push_tokens
from harness.displacement.run_files import START_PROMPTS
from harness.forecast.results import LookAhead
from harness.models.sampling import render_turns
from harness.organism import answers
from harness.preferences.gold import make_gold_pairs, names_labelled_answers
from harness.preferences.shapes import chat_messages
from harness.preferences.tables import load_training_rows
from harness.prompts.asked import load_variants
from harness.prompts.sets import PromptRow, load_prompts
from harness.recipes.schema import Arm, Recipe
from harness.run.cost.tokens import (
    TokenTable,
    Workload,
    difficulty_work,
    influence_work,
    mean_length,
    pairs_kept,
    reference_work,
    sampling_work,
    scoring_work,
    training_work,
    unsampled_table,
)
from harness.run.stages import Stage
from harness.run.state import FORECAST_PROMPTS, Run, training_prompts
from harness.scoring.logprobs import tokenize_pairs
from harness.scoring.targets import asks_unsafe, influence_column
from harness.support import artifacts
from harness.support.layout import ON_POLICY
from harness.training.arms import optimizer_steps
from harness.training.jobs import TRAINING_ROUNDS, micro_batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from harness.preferences.tokens import Tokens

_TOKENIZED_AT_ONCE = 1000
"""Prompts that are counted at a time."""


@dataclass(frozen=True, slots=True)
class AnswerLengths:
    """How long answers are, in tokens, and how many prompts give a pair.

    Attributes:
        sampled: lengths of those sampled for pairs.
        evaluated: of those of the evaluation.
        probed: of those that influence is measured on.
        paired: the share of prompts whose sampled answers give a pair.
    """

    sampled: tuple[int, ...]
    evaluated: tuple[int, ...]
    probed: tuple[int, ...]
    paired: float = 1.0


def most_tokens(recipe: Recipe) -> AnswerLengths:
    """The most that the recipe allows."""
    sampled, evaluated = (recipe.pairs.max_new_tokens,), (recipe.evaluation.max_new_tokens,)
    return AnswerLengths(sampled, evaluated, evaluated)


class KnownTokens:
    """What is known before the run: the prompts in tokens, and the tables of pairs that are already there.

    `due`: the sources whose pairs are still to be made.
    """

    def __init__(
        self, run: Run, tokenizer: PreTrainedTokenizerBase, due: frozenset[str], parameters: int, *, on_gpu: bool
    ) -> None:
        self.run, self.recipe, self.parameters, self.on_gpu = run, run.recipe, parameters, on_gpu
        self._tokenizer, self._due = tokenizer, due
        unsafe, benign = (load_prompts(self.recipe.prompts, kind) for kind in ("unsafe", "benign"))
        self.rows = {"unsafe": unsafe, "benign": benign}
        self.unsafe, self.benign = self._prompt_lengths(unsafe), self._prompt_lengths(benign)
        self.asked = [*self.unsafe, *self.benign, *self._prompt_lengths(load_variants(self.recipe.prompts))]
        trained = {row["prompt_id"] for row in training_prompts(self.recipe)}
        self.training = [size for row, size in zip(unsafe, self.unsafe, strict=True) if row["prompt_id"] in trained]
        self.benign_training = [size for row, size in zip(benign, self.benign, strict=True) if row["split"] == "train"]
        kinds = {asks_unsafe(target) for target in run.influence_targets if target != "preferred"}
        self.probed = [*(self.training if True in kinds else ()), *(self.benign_training if False in kinds else ())]
        self.openings = min(START_PROMPTS, len({row["prompt"] for row in unsafe}))
        self._longest = 0
        sources = (ON_POLICY, *run.other_sources)
        self._tables = {source: self._count_source_tokens(source) for source in sources}
        self._unsampled: dict[AnswerLengths, TokenTable] = {}

    def of_another(self, run: Run) -> KnownTokens:
        """The same of another run with this model, all of whose pairs are still to be made."""
        due = frozenset((ON_POLICY, *run.other_sources))
        return KnownTokens(run, self._tokenizer, due, self.parameters, on_gpu=self.on_gpu)

    def _prompt_lengths(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """The tokens of each prompt as one user turn, or of its turns, ready for the answer."""
        lengths: list[int] = []
        for start in range(0, len(rows), _TOKENIZED_AT_ONCE):
            turns = (row.get("turns") or [row["prompt"]] for row in rows[start : start + _TOKENIZED_AT_ONCE])
            texts = [render_turns(self._tokenizer, each) for each in turns]
            lengths += map(len, self._tokenizer(texts, add_special_tokens=False)["input_ids"])
        return lengths

    @property
    def pairs_at_once(self) -> int:
        """Pairs of a forward and backward pass of a training."""
        launch = self.recipe.training.launch
        return micro_batch(self.recipe.training, launch.processes if launch else 1)

    @property
    def padded_pairs(self) -> int | None:
        """`pairs_at_once` where a training's passes are padded, None where they are packed."""
        return None if self.recipe.training.packed else self.pairs_at_once

    def source_table(self, source: str, lengths: AnswerLengths) -> TokenTable:
        """A source's pairs; where they are still to be sampled, those that answers so long may give."""
        table = self._tables[ON_POLICY if source == "mixed" else source]
        if table is None:
            if lengths not in self._unsampled:
                paired = self.training[: max(1, round(lengths.paired * len(self.training)))]
                limit = self.recipe.training.max_length
                self._unsampled[lengths] = unsampled_table(paired, lengths.sampled, limit)
            table = self._unsampled[lengths]
        return table

    def tokens_at_once(self) -> int:
        """The most tokens that a forward and backward pass of a training may have."""
        tables = [self.source_table(source, most_tokens(self.recipe)) for source in self._tables]
        if self.padded_pairs is None:
            return self.pairs_at_once * max((size for table in tables for size in table.distinct), default=0)
        return 2 * self.pairs_at_once * max((size for table in tables for size in table.longest), default=0)

    def longest_sequence(self) -> int:
        """Tokens of the longest prompt with its answer that may be trained on."""
        sampled = max(self.training, default=0) + self.recipe.pairs.max_new_tokens
        longest = max(self._longest, sampled if self.is_sampled(ON_POLICY) else 0)
        return min(longest, self.recipe.training.max_length or longest)

    def is_sampled(self, source: str) -> bool:
        """Whether the model has to sample these pairs."""
        return self._tables[source] is None

    def _count_source_tokens(self, source: str) -> TokenTable | None:
        rows = self._source_rows(source)
        if rows is None:
            return None
        table = table_of(tokenize_pairs(rows, self._tokenizer, self.recipe.training.max_length))
        self._longest = max(self._longest, *table.longest)
        return table

    def _source_rows(self, source: str) -> Sequence[Mapping[str, Any]] | None:
        """The rows of a table that is there: of the finished stage, the recipe's own, or written by the world."""
        given = self.recipe.preferences if source == ON_POLICY else getattr(self.recipe, source)
        if source not in self._due:
            return artifacts.read_jsonl(self.run.files.source(source).pairs)
        if given == "bundled" and source != ON_POLICY:
            return _world_rows(source, training_prompts(self.recipe))
        if source == "gold" and given is not None and names_labelled_answers(given):
            return make_gold_pairs(given, training_prompts(self.recipe), self.recipe.pairs.seed)
        return None if given is None else load_training_rows(given)


def _world_rows(source: str, rows: Sequence[PromptRow]) -> list[dict[str, Any]]:
    """The world's two answers to each prompt, as if all of them gave a pair."""
    written = answers.gold_answers(rows) if source == "gold" else answers.off_policy_answers(rows)
    return [
        {"pair_id": row["prompt_id"], **chat_messages(row["prompt"], chosen, rejected)}
        for row, (chosen, rejected) in zip(rows, written, strict=True)
    ]


def table_of(tokens: Mapping[str, Tokens]) -> TokenTable:
    """The lengths of tokenized pairs."""
    rows = [(len(each.prompt), len(each.chosen), len(each.rejected)) for each in tokens.values()]
    return TokenTable(*zip(*rows, strict=True))


def stage_work(known: KnownTokens, stage: Stage, lengths: AnswerLengths) -> Workload:
    """A stage's work, where answers are so long."""
    recipe = known.recipe
    if stage.kind == "evaluate":
        return sampling_work(known.asked, 1, mean_length(lengths.evaluated))
    if stage.kind == "probes":
        return sampling_work(known.probed, recipe.probes.samples, mean_length(lengths.probed))
    table = known.source_table(ON_POLICY if stage.kind == "train" else stage.of, lengths)
    if stage.kind == "pairs":
        sampling = sampling_work(known.training, recipe.pairs.samples, mean_length(lengths.sampled))
        return sampling if known.is_sampled(stage.of) else Workload(pairs=table.pairs)
    if stage.kind == "train":
        return _arm_training_work(known, stage.of, lengths)
    return _measuring_work(known, stage, table, lengths)


def _measuring_work(known: KnownTokens, stage: Stage, table: TokenTable, lengths: AnswerLengths) -> Workload:
    """The work of a stage that measures something of a source's pairs."""
    recipe, targets = known.recipe, known.run.influence_targets
    if stage.kind == "scores":
        return scoring_work(table)
    if stage.kind == "influence":
        probes = sampling_work(known.probed, recipe.probes.samples, mean_length(lengths.probed))
        return influence_work(table, sum(known.probed) + probes.written, len(targets), "preferred" in targets)
    if stage.kind == "pushes":
        return _pushes_work(known, table)
    if stage.kind == "forecast":
        return _forecast_work(known, table, mean_length(lengths.probed))
    if stage.kind == "difficulty":
        settings = recipe.training
        return difficulty_work(table, TRAINING_ROUNDS, settings.epochs, settings.batch_size)
    others = [known.source_table(source, lengths) for source in known.run.other_sources]
    return reference_work(table, others, known.unsafe, known.openings)


def _pushes_work(known: KnownTokens, table: TokenTable) -> Workload:
    tokens = push_tokens(known.unsafe, table.sequences)
    entries = len(known.unsafe) * table.pairs
    if not is_affordable(known.parameters, tokens, entries, on_cpu=not known.on_gpu):
        return Workload()
    openings = len(known.unsafe) // 3  # only likely branches are walked: about a third of the others' work
    return Workload(table.pairs, len(known.unsafe), openings=openings, trained=tokens)


def _forecast_work(known: KnownTokens, table: TokenTable, probed: int) -> Workload:
    """The first steps of some trainings, twice, and ln p of the probe answers before and after them."""
    arms, look, settings = known.run.forecast_arms, LookAhead(), known.recipe.training
    asked = min(FORECAST_PROMPTS, len(known.probed))
    prompt = -(-sum(known.probed) // max(len(known.probed), 1))
    answers = asked * (prompt + known.recipe.probes.samples * probed)  # packed: a prompt once
    trainings = len(arms) * look.draws
    steps = trainings * look.steps
    trained = table.trained_for(steps * settings.batch_size, known.padded_pairs)
    # After each, and once before all.
    return Workload(table.pairs, steps=steps, trained=trained, read=(1 + trainings) * answers)


def _arm_training_work(known: KnownTokens, name: str, lengths: AnswerLengths) -> Workload:
    arm, settings = known.recipe.arms[name], known.recipe.training
    pool, measured = known.source_table(arm.pairs, lengths), known.source_table(ON_POLICY, lengths)
    kept = pairs_kept(pool.pairs, arm.filter.share)
    count = optimizer_steps(arm, settings, kept, measured.pairs)
    others = {ON_POLICY: 0, "mixed": kept // 2}.get(arm.pairs, kept)
    work = training_work(pool, kept, count, settings.batch_size, known.padded_pairs, measured, others, known.openings)
    if arm.reads_start_by_token:
        work = replace(work, read=work.read + pool.tokens_for(kept))
    return work if arm.filter.refresh is None else _with_refreshes(known, arm, work, measured, lengths)


def _with_refreshes(
    known: KnownTokens, arm: Arm, work: Workload, table: TokenTable, lengths: AnswerLengths
) -> Workload:
    """Influence measured anew every so many steps: answers drawn, then the gradient and the passes over the table."""
    refreshes = (work.steps - 1) // (arm.filter.refresh or work.steps)
    own = arm.filter.influence == influence_column("preferred")
    asked = (
        [] if own else known.benign_training if arm.filter.influence == influence_column("benign") else known.training
    )
    drawn = sampling_work(asked, known.recipe.probes.samples, mean_length(lengths.probed))
    measured = influence_work(table, sum(asked) + drawn.written, 1, own)
    return replace(
        work,
        prompts=refreshes * drawn.prompts,
        answers=refreshes * drawn.answers,
        read=work.read + refreshes * (drawn.read + measured.read),
        trained=work.trained + refreshes * measured.trained,
        written=refreshes * drawn.written,
    )
