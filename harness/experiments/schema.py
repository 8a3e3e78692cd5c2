"""The recipes of the other experiments: section 3's, section 5's, and the comparison of measures to select pairs by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.recipes.schema import (
    Arm,
    ArmName,
    Count,
    FineTuning,
    PairSettings,
    Positive,
    RecipeBase,
    Seed,
    Seeds,
    ShareOfPairs,
    Strict,
    TrainingSettings,
)

# Section 3

PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'user' %}{{ '\n' }}{% endif %}{% endfor %}"
)
"""How a base model without a chat template is asked, as in the paper's code: the question and a line break."""


class AnswerPair(Strict):
    """Two answers of one token each.

    `chosen`: y+. `rejected`: y-.
    """

    chosen: str
    rejected: str


class Objective(Strict):
    """A loss with its settings; the defaults are the paper's for DPO.

    `loss`: which. `learning_rate`: constant over the training. `beta`: how strongly it holds to the starting model.
    `seeds`: its own, in place of the recipe's.
    """

    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    learning_rate: Positive = 1e-7
    beta: Positive = 0.1
    seeds: Seeds | None = None

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return seeds and _refuse_repeats(seeds)


class PublishedFall(AnswerPair):
    """A row of Table 1.

    `before`, `after`: p(y+) at first and at its lowest. `benign`, `catastrophic`: the tokens of either kind that
    gained.
    """

    before: float
    after: float
    benign: str = ""
    catastrophic: str = ""


class PublishedFalls(Strict):
    """What was published; shown beside what is measured, never mixed with it.

    `source`: who printed it, and where. `falls`: the rows.
    """

    source: str
    falls: tuple[PublishedFall, ...]


class Catastrophic(RecipeBase):
    """What to run. `model` is `miniature` (the persona organism), a checkpoint directory or a hub id.

    `experiment`: this kind of recipe. `statements`: what is asked about, `bundled`, a file or `NAME=TABLE`.
    `likeliest`: take only prompts to which y+ is the starting model's likeliest next token. `chat_template`: how a
    model without one is asked. `seeds`: of the trainings. `sft`: a fine-tuning on y+ before. `pairs`: each trained on
    alone. `objectives`: with each of which, by name. `steps`: of each training.
    """

    experiment: Literal["catastrophic"]
    statements: str = "bundled"
    likeliest: bool = False
    chat_template: str = PLAIN_TEMPLATE
    seeds: Seeds = tuple(range(10))
    sft: FineTuning | None = None
    pairs: Annotated[tuple[AnswerPair, ...], Field(min_length=1)]
    objectives: dict[ArmName, Objective]
    steps: Count = 100
    published: PublishedFalls | None = None

    @field_validator("pairs", mode="before")
    @classmethod
    def _refuse_unquoted(cls, value: object) -> object:
        if any(isinstance(answer, bool) for pair in _only_mappings(value) for answer in pair.values()):
            raise ValueError('quote "Yes" and "No": unquoted, YAML reads them as true and false')
        return value

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("each seed once")
        return seeds


def _only_mappings(value: object) -> Iterator[Mapping[str, object]]:
    return (each for each in value if isinstance(each, Mapping)) if isinstance(value, list | tuple) else iter(())


class ProbeSettings(Strict):
    """The answers that influence is measured with, drawn to training prompts and apart from those of the pairs.

    `samples`: answers to each prompt. `temperature`: at which they are drawn. `seed`: of the draw.
    """

    samples: Annotated[int, Field(ge=2)] = 4
    temperature: Positive = 1.0
    seed: Seed = 0


# Section 5

PROMPTER_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|prompter|>' if message['role'] == 'user' else '<|assistant|>' }}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""For a base model without a chat template, with the marks of the paper's code."""
Measure = Literal[
    "ches", "ln_ches", "last_hidden_inner_product", "neg_edit_distance", "length_difference", "refusal_influence"
]  # fmt: skip


class PublishedOrder(Strict):
    """What was published of one measure (figure 2, whose values are not printed).

    `measure`: which. `said`: what the paper says of it.
    """

    measure: Measure
    said: str


class PublishedOrders(Strict):
    """What was published; shown beside what is measured, never mixed with it.

    `source`: who printed it, and where. `orders`: what, by measure.
    """

    source: str
    orders: tuple[PublishedOrder, ...]


class Bundled(Strict):
    """How the essays organism's pairs are drawn.

    `lengths`: of the two answers, as they come or alike to a word. `seed`: of the draw.
    """

    lengths: Literal["any", "alike"] = "any"
    seed: Seed = 0


class PercentileProbes(ProbeSettings):
    """What `refusal_influence` is measured with: answers of `max_new_tokens` at most to `asked` training prompts.

    `asked`: how many. `max_new_tokens`: the answers' greatest length. `read`: held-out prompts on which it is read,
    before and after each training, how often answers start as refusals.
    """

    asked: Annotated[int, Field(ge=2)] = 48
    max_new_tokens: Count = 32
    read: Count = 24


class Percentiles(RecipeBase):
    """What to run. `model` is `miniature` (the essays organism), a checkpoint directory or a hub id.

    `experiment`: this kind of recipe. `preferences`: the pairs. `split`: of a folder or a hub id. `sample`: so many of
    them are scored. `sample_seed`: of their draw. `subset`: pairs that are trained on around each quantile.
    `quantiles`: of each measure, from 0 to 1. `measures`: that are compared. `seeds`: of the trainings. `judge`: who
    says which probe answers refuse. `prompts`: of the probes. `chat_template`: how a model without one is asked.

    `preferences` is `bundled` (drawn from the essays organism's world), a file, or the `split` of a folder or a hub id;
    `sample` of its pairs are scored. `length_difference`, |y-| - |y+| in tokens, is a control that looks at no hidden
    state. `prompts`, `judge` and `probes` are for `refusal_influence` alone. `paper_states`: as in recipes of arms.

    `added_tokens`: special tokens that the tokenizer gets beside its own, with new rows of the embeddings; so the
    authors' code adds the marks of `PROMPTER_TEMPLATE`. `window`: how the pairs around a quantile are counted off
    (`harness.scoring.filtering.keep_around_quantile`). `objective`: what the subsets are trained with, as of an arm.
    """

    experiment: Literal["percentiles"]
    preferences: str = "bundled"
    split: str = "train"
    bundled: Bundled = Bundled()
    chat_template: str = PROMPTER_TEMPLATE
    added_tokens: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    sample: Count | None = None
    sample_seed: Seed = 0
    subset: Count = 512
    quantiles: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=2)] = (0, 0.25, 0.5, 0.75, 1)
    window: Literal["centred", "by_rank"] = "centred"
    measures: Annotated[tuple[Measure, ...], Field(min_length=1)] = (
        "ches",
        "ln_ches",
        "last_hidden_inner_product",
        "neg_edit_distance",
    )
    seeds: Seeds = (0, 1, 2)
    prompts: str = "bundled"
    judge: str = "lexical"
    probes: PercentileProbes = PercentileProbes()
    objective: Arm = Arm()
    training: TrainingSettings = TrainingSettings(learning_rate=1e-7, max_length=512)
    paper_states: bool = False
    published: PublishedOrders | None = None

    @field_validator("objective")
    @classmethod
    def _objective_alone(cls, objective: Arm) -> Arm:
        for key in ("pairs", "filter", "steps", "learning_rate"):
            if getattr(objective, key) != getattr(Arm(), key):
                raise ValueError(f"{key} is for recipes of arms; the learning rate is training.learning_rate")
        return objective

    @field_validator("training")
    @classmethod
    def _in_this_process(cls, training: TrainingSettings) -> TrainingSettings:
        if training.launch or (training.lora and training.lora.quantize):
            raise ValueError("launch and lora.quantize are for recipes of arms")
        return training

    @field_validator("seeds", "quantiles", "measures", "added_tokens")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return _refuse_repeats(values)


def _refuse_repeats(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) != len(values):
        raise ValueError("each one once")
    return values


# By which measure pairs are selected

SelectionMeasure = Literal[
    "refusal_influence", "ln_ches", "ches", "theorem_2", "neg_edit_distance", "last_hidden_inner_product", "log_margin",
    "validation_loss",
]  # fmt: skip


class PairTable(Strict):
    """One table of pairs of each organism.

    `temperature`: of the answers that they are made of. `seed`: of those answers. `groups`: trainings on random groups
    of its pairs, by which the pairs that do harm are found. `objectives`: whether all objectives are tried on it, or
    the first alone.
    """

    temperature: Positive
    seed: Seed
    groups: Annotated[int, Field(ge=0)] = 0
    objectives: bool = False


class Selection(RecipeBase):
    """What to run. `model` is `miniature` (of each seed in `organisms`), or one checkpoint directory or hub id.

    `experiment`: this kind of recipe. `organisms`: the seeds of the miniatures to start from. `prompts`: `bundled` or a
    file. `judge`: who says which answers refuse. `tables`: of pairs, of each organism. `measures`: that are compared.
    `shares`: of the pairs that are kept. `compared`: the one of them at which all is tried. `random_draws`: subsets of
    each share, the control. `seeds`: of the trainings. `objectives`: by name, as arms have them. `training_prompts`: on
    so many of them, too, is read how answers start.

    Of each table and by each measure `shares` of the pairs are kept and trained on for as many steps as all of them
    take: with every seed at the share `compared`, and with every objective there; with the first seed and the first
    objective at the others. `random_draws` subsets of each share are the control. How answers start is read on all
    held-out prompts and on `training_prompts` of the others.
    """

    experiment: Literal["selection"]
    organisms: Seeds = (2, 3, 4, 5)
    prompts: str = "bundled"
    judge: str = "lexical"
    pairs: PairSettings = PairSettings()
    tables: Annotated[tuple[PairTable, ...], Field(min_length=1)]
    probes: ProbeSettings = ProbeSettings()
    measures: Annotated[tuple[SelectionMeasure, ...], Field(min_length=1)] = (
        "refusal_influence",
        "ln_ches",
        "ches",
        "theorem_2",
        "neg_edit_distance",
        "last_hidden_inner_product",
        "log_margin",
        "validation_loss",
    )
    shares: Annotated[tuple[ShareOfPairs, ...], Field(min_length=1)] = (0.15, 0.3, 0.5, 0.65, 0.85)
    compared: ShareOfPairs = 0.5
    random_draws: Count = 2
    seeds: Seeds = (0, 1)
    objectives: Annotated[dict[ArmName, Arm], Field(min_length=1)]
    training_prompts: Count = 48
    training: TrainingSettings = TrainingSettings()

    @field_validator("organisms", "measures", "shares", "seeds", "tables")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return _refuse_repeats(values)

    @field_validator("objectives")
    @classmethod
    def _trained_in_memory(cls, objectives: dict[str, Arm]) -> dict[str, Arm]:
        settings = {"loss", "beta", "learning_rate", "sft_weight"}
        for name, arm in objectives.items():
            if arm.loss not in ("sigmoid", "ipo_sequence"):
                raise ValueError(f"{name}: loss: sigmoid or ipo_sequence")
            other = {key for key, value in arm if key not in settings and value != getattr(Arm(), key)}
            if other:
                raise ValueError(f"{name}: {min(other)} is for recipes of arms")
        return objectives

    @field_validator("training")
    @classmethod
    def _of_whole_weights(cls, training: TrainingSettings) -> TrainingSettings:
        if training.launch or training.lora or training.bf16:
            raise ValueError("launch, lora and bf16 are for recipes of arms")
        return training

    @model_validator(mode="after")
    def _fits_together(self) -> Selection:
        if self.compared not in self.shares:
            raise ValueError(f"compared: {self.compared:g} is none of the shares")
        if self.model != "miniature" and len(self.organisms) > 1:
            raise ValueError("organisms: one, as the model is no organism")
        return self
