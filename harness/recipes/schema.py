"""A recipe says what to run: model, prompts, preference pairs, arms, training and evaluation settings, all typed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from harness.models.backends import AnyBackend
from harness.support.layout import ON_POLICY, OTHER_SOURCES


def _check_share(value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError(f"is a share, above 0 and at most 1, not {value:g}; 0.05 is 5 %")
    return value


def _check_seeds(value: object) -> object:
    if isinstance(value, int):
        raise ValueError(f"is a list such as [0, 1, 2], not {value}; --seeds N takes the first N")
    return value


ShareOfPairs = Annotated[
    float, AfterValidator(_check_share), Field(json_schema_extra={"exclusiveMinimum": 0, "maximum": 1})
]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every library's generator takes; NumPy's takes no other."""
Seeds = Annotated[tuple[Seed, ...], BeforeValidator(_check_seeds), Field(min_length=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
RecipeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
ArmName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class Strict(BaseModel):
    """A part of a recipe: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RewardModel(Strict):
    """A reward model that breaks ties: a sequence classifier with one output, or PairRM; a directory or a hub id.

    `reward_model`: the directory or hub id. `both_orders`: whether PairRM compares two answers both ways round, or as
    they were sampled alone.
    """

    reward_model: Annotated[str, Field(min_length=1)]
    both_orders: bool = True


class PairSettings(Strict):
    """How preference pairs are sampled: so many answers a training prompt, the refusal preferred.

    A prompt with an `unjudged` answer gives no pair of it, or one in random order; one whose answers are `identical`
    gives none, or one of two equal answers. The paper's code does the latter of each.

    `samples`: answers drawn to each training prompt. `temperature`: at which they are drawn. `max_new_tokens`: their
    greatest length. `batch_size`: prompts answered at a time. `tie_break`: which of two answers judged alike is
    preferred: the `engaging` one, one at `random`, or what a reward model prefers. `unjudged`, `identical`: what
    becomes of such answers. `seed`: of the draw.
    """

    samples: Annotated[int, Field(ge=2)] = 2
    temperature: Positive = 1.0
    max_new_tokens: Count = 512
    batch_size: Count = 64
    tie_break: Literal["engaging", "random"] | RewardModel = "random"
    unjudged: Literal["drop", "random"] = "drop"
    identical: Literal["drop", "keep"] = "drop"
    seed: Seed = 0


Influence = Literal["refusal_influence", "harmful_influence", "benign_influence", "preferred_influence"]
"""Measures of what training on a pair does to a rate, or to ln p(y+): columns of `harness.scoring.targets`."""
INFLUENCES: tuple[Influence, ...] = get_args(Influence)


class ProbeSettings(Strict):
    """What influence is measured with: so many answers to each training prompt, drawn apart from the pairs.

    They are drawn at temperature 1, as long as the evaluation's, and judged by the recipe's judge. `samples`: answers
    to each prompt. `seed`: of the draw. `subspace`: `lora:RANK` or `last:LAYERS`, where the gradient of all weights is
    too much.
    """

    samples: Annotated[int, Field(ge=2)] = 4
    seed: Seed = 1
    subspace: Annotated[str, Field(pattern=r"^(lora|last):[1-9]\d{0,3}$")] | None = None


class Filter(Strict):
    """Which pairs an arm trains on; with none of the four, all of them.

    `keep_lowest`, `keep_highest`: that share, with the lowest or highest values of the measure `by`. `random`: that
    share, the control. `only`: pairs of one type. `by`: the measure that shares go by. `validation_loss` is Selective
    DPO's measure of how hard a pair is (`harness.training.difficulty`), `log_margin` ComPO's of how far apart its
    answers are; the influences are how fast a rate rises when the pair is trained on. `refresh`: optimizer steps after
    which an influence is measured anew, of the model as it is then, and the choice made again.
    """

    keep_lowest: ShareOfPairs | None = None
    keep_highest: ShareOfPairs | None = None
    random: ShareOfPairs | None = None
    only: Literal["two_refusals", "two_non_refusals", "mixed"] | None = None
    by: Literal[
        "ches", "ln_ches", "last_hidden_inner_product", "neg_edit_distance", "validation_loss", "log_margin", Influence
    ] = "ln_ches"  # fmt: skip
    refresh: Count | None = None

    @property
    def share(self) -> float | None:
        """The share of the pairs that is kept; None where it is not said."""
        return self.keep_lowest or self.keep_highest or self.random

    @property
    def influence(self) -> Influence | None:
        """The influence that the filter goes by, if it does."""
        return next((name for name in INFLUENCES if name == self.by), None)

    @model_validator(mode="after")
    def _rules_that_go_together(self) -> Filter:
        rules = {name: getattr(self, name) for name in ("keep_lowest", "keep_highest", "random", "only")}
        given = [name for name, value in rules.items() if value is not None]
        if len(given) > 1:
            raise ValueError("give keep_lowest, keep_highest, random or only, not two of them")
        if self.keep_highest is not None and "by" not in self.model_fields_set:
            raise ValueError("keep_highest: say by which measure, such as by: refusal_influence")
        if self.by != "ln_ches" and not {*given} & {"keep_lowest", "keep_highest"}:
            raise ValueError(f"by: {self.by} says what keep_lowest or keep_highest go by; give one of them")
        if self.refresh is not None and self.influence is None:
            raise ValueError(
                "refresh: only an influence is measured anew; filter by one, such as by: refusal_influence"
            )
        return self


LOSS_SETTINGS: Mapping[str, frozenset[str]] = {
    "robust": frozenset({"label_smoothing"}),
    "exo_pair": frozenset({"label_smoothing"}),
    "dpop": frozenset({"penalty"}),
    "simpo": frozenset({"target_margin"}),
    "alphapo": frozenset({"target_margin", "alpha"}),
    "dpo_shift": frozenset({"rejected_weight"}),
    "sgdpo": frozenset({"pilot_share"}),
    "pro": frozenset({"alpha"}),
    "reward_distillation": frozenset({"rewards"}),
}
"""The settings that a loss needs and no other loss takes."""


class Arm(Strict):
    """One training run per seed: which pairs, a filter, an objective, and how long.

    `pairs`: sampled from the model (`on_policy`), of the tables `gold` or `off_policy`, or both kinds (`mixed`).
    `loss`: the objective, DPO's where left out. `label_smoothing`: of `robust` and `exo_pair`. `penalty`: of `dpop`.
    `target_margin`: of `simpo` and `alphapo`. `alpha`: of `alphapo` and `pro`. `rejected_weight`: of `dpo_shift`.
    `pilot_share`: of `sgdpo`. `steps`: one pass over the arm's pairs (`epoch`), or as many steps as all pairs take
    (`as_raw`), so that a filter is not compared with a longer training.

    `beta` and `learning_rate`: the recipe's where left out. `sft_weight`: coefficient of -ln p(y+|x). `rewards`: those
    of the table's columns `chosen_reward` and `rejected_reward`, or 1 for an answer judged a refusal and 0 for another.
    `order`: `easy_first` takes the pairs of each epoch by their validation loss, the lowest first, as Selective DPO.
    """

    pairs: Literal["on_policy", "gold", "off_policy", "mixed"] = "on_policy"
    filter: Filter = Filter()
    loss: Literal[
        "sigmoid", "ipo", "hinge", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down",
        "ipo_sequence", "cpo", "dpop", "simpo", "alphapo", "dpo_shift", "sgdpo", "pro", "reward_distillation", "nthr",
        "pipa", "ccpo",
    ] = "sigmoid"  # fmt: skip
    beta: Positive | None = None
    learning_rate: Positive | None = None
    label_smoothing: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    penalty: Positive | None = None
    target_margin: Annotated[float, Field(ge=0)] | None = None
    alpha: float | None = None
    rejected_weight: Annotated[float, Field(gt=0, lt=1)] | None = None
    pilot_share: Annotated[float, Field(gt=0, le=1)] | None = None
    rewards: Literal["columns", "verdicts"] | None = None
    sft_weight: Annotated[float, Field(ge=0)] = 0.0
    order: Literal["shuffled", "easy_first"] = "shuffled"
    steps: Literal["epoch", "as_raw"] = "epoch"

    @property
    def reads_start_by_token(self) -> bool:
        """Whether the loss reads more of the starting model than ln p of whole answers."""
        return self.loss in ("sgdpo", "nthr")

    @property
    def needs_difficulty(self) -> bool:
        """Whether the arm chooses or orders its pairs by how hard they are."""
        return self.filter.by == "validation_loss" or self.order == "easy_first"

    @model_validator(mode="after")
    def _settings_of_the_loss(self) -> Arm:
        needed = LOSS_SETTINGS.get(self.loss, frozenset())
        for name in sorted(frozenset().union(*LOSS_SETTINGS.values())):
            if (getattr(self, name) is None) == (name in needed):
                raise ValueError(f"the loss {self.loss} {'needs' if name in needed else 'takes no'} {name}")
        if self.alpha == 0 and self.loss == "alphapo":
            raise ValueError("alpha: with 0 AlphaPO is SimPO; choose the loss simpo")
        if self.loss == "pro" and self.alpha is not None and self.alpha <= 0:
            raise ValueError("alpha: PRO's weight of the regulariser is above 0; 1 is DPO's")
        return self

    @model_validator(mode="after")
    def _pairs_have_an_order(self) -> Arm:
        if self.order == "easy_first" and self.pairs != ON_POLICY:
            raise ValueError("order: how hard a pair is is measured of on_policy pairs only")
        if self.order == "easy_first" and self.filter.refresh is not None:
            raise ValueError("order: pairs that are chosen anew while they are trained on have none")
        return self


class Optimization(Strict):
    """What TRL's trainers share.

    `learning_rate`: constant over the training. `batch_size`: pairs a step. `micro_batch_size`: pairs that one process
    takes at a time, at most. `bf16`: autocast, weights stay float32; where there is a GPU, unless said.
    `gradient_checkpointing`: less memory, more time; where there is a GPU, unless said.
    """

    learning_rate: Positive
    batch_size: Count = 32
    micro_batch_size: Count = 4
    bf16: bool | None = None
    gradient_checkpointing: bool | None = None


class Lora(Strict):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) trained in place of the weights, then merged into them.

    `rank`, `alpha`, `dropout`: the adapters', as peft has them. `target_modules`: the layers that get some.
    `quantize`: the frozen weights in 4 bits meanwhile (QLoRA, Dettmers et al. 2023, arXiv 2305.14314).
    """

    rank: Count = 16
    alpha: Count = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    quantize: Literal["nf4"] | None = None


class Launch(Strict):
    """`accelerate launch` for each arm: so many processes (GPUs) over so many machines.

    `config`: `ddp`, `fsdp2` or `deepspeed`, or the path of an Accelerate configuration. `processes`: in all, a
    multiple of `machines`. `machines`: how many.
    """

    config: Annotated[str, Field(min_length=1)]
    processes: Count
    machines: Count = 1

    @model_validator(mode="after")
    def _machines_share_evenly(self) -> Launch:
        if self.processes % self.machines:
            raise ValueError("processes: as many on each machine, so a multiple of machines")
        return self


Tracker = Literal["wandb", "mlflow", "trackio", "tensorboard"]


def _list_trackers(value: object) -> object:
    return [] if value == "none" else [value] if isinstance(value, str) else value


class TrainingSettings(Optimization):
    """TRL's DPOTrainer settings shared by all arms; the defaults are the paper's for DPO (section 6).

    `beta`: how strongly the objective holds to the starting model. `epochs`: passes over the pairs. `max_length`:
    tokens of prompt and answer that are trained on; all without it. `packed`: each distinct token of a micro-batch is
    computed once, where that is exact; TRL's padded batches without it. `checkpoint_every`: steps after which a
    training can go on when it is killed. `report_to`: experiment trackers, each a package of its own; what is trained
    does not depend on them, so they are no part of what is written down.
    """

    learning_rate: Positive = 5e-6
    beta: Positive = 0.1
    epochs: Count = 1
    max_length: Count | None = None
    packed: bool = True
    checkpoint_every: Count = 100
    lora: Lora | None = None
    launch: Launch | None = None
    report_to: Annotated[
        tuple[Tracker, ...],
        BeforeValidator(_list_trackers, json_schema_input_type=Tracker | Literal["none"] | tuple[Tracker, ...]),
    ] = Field(default=(), exclude=True)

    @property
    def quantize(self) -> str | None:
        """How the weights under LoRA's adapters are quantized, where they are."""
        return self.lora.quantize if self.lora else None

    @model_validator(mode="after")
    def _batches_can_be_shared(self) -> TrainingSettings:
        if self.launch and self.batch_size % self.launch.processes:
            raise ValueError(
                f"batch_size: {self.launch.processes} processes cannot share {self.batch_size} pairs evenly"
            )
        return self


class FineTuning(Optimization):
    """TRL's SFTTrainer settings; the defaults are the paper's (section 3)."""

    learning_rate: Positive = 1e-7


class EvaluationSettings(Strict):
    """lm-eval settings shared by the baseline and all arms; the defaults are the paper's (section 6).

    `temperature`: at which answers are drawn; 0 takes the likeliest token each time. `max_new_tokens`: their greatest
    length. `batch_size`: prompts answered at a time.
    """

    temperature: Annotated[float, Field(ge=0)] = 0.7
    max_new_tokens: Count = 512
    batch_size: Count = 64


class Endpoint(Strict):
    """What the backend `api` asks: a model at an address, or whatever checkpoint a command serves meanwhile.

    `base_url`: of an OpenAI-compatible API, up to /v1; `model`: what the API calls the model, the checkpoint's path for
    one that is served. `serve`: a command in whose words `{model}` and `{port}` are replaced. `concurrency`: requests
    at a time. `attempts`: for each, with growing pauses between them. `timeout`: seconds for one attempt. The key is in
    the environment's HARNESS_ENDPOINT_KEY, never here.
    """

    base_url: Annotated[str, Field(pattern=r"^https?://[^\s@?#]+$")] | None = None
    model: Annotated[str, Field(min_length=1)] | None = None
    serve: str | None = None
    concurrency: Count = 8
    attempts: Count = 6
    timeout: Positive = 120.0

    @model_validator(mode="after")
    def _one_way_to_a_model(self) -> Endpoint:
        if (self.base_url is None) == (self.serve is None):
            raise ValueError("give base_url, where a model is asked, or serve, which serves checkpoints")
        if self.base_url is not None and self.model is None:
            raise ValueError("model: say what the API at base_url calls the model")
        if self.serve is not None and "{port}" not in self.serve:
            raise ValueError("serve: say where the command takes its port, as in `vllm serve {model} --port {port}`")
        try:
            shlex.split(self.serve or "")
        except ValueError as error:
            raise ValueError(f"serve: is no command ({error})") from error
        return self


TASK_SUFFIXES = (".yaml", ".yml")
"""What tells the file of an lm-eval task from the name of one."""
OUR_TASKS = "refusal_displacement"
"""What the names of the harness's own lm-eval tasks begin with."""


class OwnTask(Strict):
    """An lm-eval task of the user's own, measured beside ours: a packaged task, group or tag, or a YAML file.

    `name`: a task, group or tag, or the file. `limit`: so many of its documents, the first. `metric`: the one that the
    run's gate guards, with a filter behind a comma where there are several (`exact_match,flexible-extract`); without it
    every metric, through its first filter.
    """

    name: Annotated[str, Field(min_length=1)]
    limit: Count | None = None
    metric: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @property
    def is_file(self) -> bool:
        """Whether it is a YAML file rather than the name of a task that comes with lm-eval."""
        return self.name.endswith(TASK_SUFFIXES)

    @model_validator(mode="after")
    def _none_of_ours(self) -> OwnTask:
        if self.name.startswith(OUR_TASKS):
            raise ValueError(f"{self.name} is one of the harness's own; name its prompt set in the recipe's `prompts`")
        return self


class Figure(Strict):
    """A published value.

    `value`: the figure. `spread`: its standard deviation over seeds, where one was printed.
    """

    value: float
    spread: Annotated[float, Field(ge=0)] | None = None


class PublishedFigures(Strict):
    """Figures that somebody published; shown beside what is measured and never mixed with it.

    `source`: who printed them, and where. `arms`: the figures, by arm and quantity.
    """

    source: Annotated[str, Field(min_length=1)]
    arms: dict[str, dict[str, Figure]]


OWN_MODELS = ("miniature", "smollm2")
"""Models that come with the package or are made by it (`harness.run.own_models`), not taken from a recipe's place."""


class RecipeBase(Strict):
    """What every kind of recipe says of itself and of the model it starts from.

    `name`: what its run directory is called. `about`: a line for `harness recipes`. `model`: `miniature`, `smollm2`, a
    checkpoint directory, a GGUF file or a hub id. `revision`: the hub's branch, tag or commit; what is newest without
    it. `trust_remote_code`: whether Python code that lies beside the weights may run. `organism_seed`: which miniature,
    where that is the model.
    """

    name: RecipeName
    about: str = ""
    model: Annotated[str, Field(min_length=1)]
    revision: Annotated[str, Field(pattern=r"^[\w./-]{1,100}$")] | None = None
    trust_remote_code: bool = False
    organism_seed: Seed = 0


class Recipe(RecipeBase):
    """What to run.

    `prompts`: `bundled` or a file, with `:200` after it so many of them. `preferences`: a table to train on in place of
    pairs sampled from the model. `gold`, `off_policy`: tables for the arms whose `pairs` name them, or `bundled`,
    written by the miniature's world; for `gold` also `sorrybench`, SORRY-Bench's answers that people labelled.
    `backend`: what samples and evaluates, transformers (`hf`), vLLM or, with an `endpoint`, an OpenAI-compatible API.
    `paper_states`: pairs are scored up to the answers' end tokens, as in the paper's code.
    `tasks`: lm-eval tasks measured on every arm beside ours. `trust_task_code`: whether Python code that such a task
    names, or that the model writes for it, may run.

    `seeds` are trainings on one table of pairs of one model. Above them lie `pair_seeds`, tables of pairs drawn anew
    in place of the one of `pairs.seed`, and `organism_seeds` or `models`, starting models in place of the one: every
    table of every model is a run of its own (`harness.run.draws`).

    `judge`: who says which answers refuse; `harness judges` lists them. `seeds`: of the trainings of each arm.
    `pair_seeds`: of tables of pairs drawn anew. `organism_seeds`: of miniatures to start from. `models`: to start from,
    in place of `model`. `limit`: a smoke run, on at most so many unsafe prompts. `arms`: what is trained and compared,
    by name; the untrained `baseline` is always there.
    """

    prompts: str = "bundled"
    preferences: str | None = None
    gold: str | None = None
    off_policy: str | None = None
    judge: str = "lexical"
    backend: AnyBackend = "hf"
    endpoint: Endpoint | None = None
    seeds: Seeds = (0, 1, 2)
    pair_seeds: Seeds | None = None
    organism_seeds: Seeds | None = None
    models: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=2)] | None = None
    pairs: PairSettings = PairSettings()
    probes: ProbeSettings = ProbeSettings()
    training: TrainingSettings = TrainingSettings()
    paper_states: bool = False
    evaluation: EvaluationSettings = EvaluationSettings()
    tasks: tuple[OwnTask, ...] = ()
    trust_task_code: bool = False
    arms: dict[ArmName, Arm]
    published: PublishedFigures | None = None
    limit: Count | None = None

    @model_validator(mode="after")
    def _arms_and_seeds(self) -> Recipe:
        if "baseline" in self.arms:
            raise ValueError("arms: baseline is the untrained model and is always there; name the arm otherwise")
        if not self.arms:
            raise ValueError("arms: name at least one arm")
        return self

    @model_validator(mode="before")
    @classmethod
    def _models_name_the_model(cls, keys: object) -> object:
        if isinstance(keys, Mapping) and isinstance(models := keys.get("models"), list | tuple) and models:
            return {**keys, "model": models[0]}
        return keys

    @model_validator(mode="after")
    def _tasks_once_each(self) -> Recipe:
        names = [task.name for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tasks: {twice[0]} is there twice")
        return self

    @property
    def is_drawn(self) -> bool:
        """Whether pairs or starting models are drawn more than once, each a run of its own."""
        return any(each is not None for each in (self.pair_seeds, self.organism_seeds, self.models))

    @model_validator(mode="after")
    def _drawn_once_each(self) -> Recipe:
        for name in ("seeds", "pair_seeds", "organism_seeds", "models"):
            drawn = getattr(self, name) or ()
            if len(set(drawn)) != len(drawn):
                raise ValueError(f"{name}: each {'model' if name == 'models' else 'seed'} once")
        for name, key, value in (
            ("organism_seeds", "organism_seed", self.organism_seed),
            ("pair_seeds", "pairs.seed", self.pairs.seed),
        ):
            if value and getattr(self, name) is not None:
                raise ValueError(
                    f"{key}: {value} has no effect beside {name}; put it there, or leave {name} out (null)"
                )
        return self

    @model_validator(mode="after")
    def _draws_go_together(self) -> Recipe:
        if self.models is not None and self.organism_seeds is not None:
            raise ValueError("models: give these or organism_seeds, not both")
        if self.models is not None and self.revision is not None:
            raise ValueError("revision: which of models is it of? Write it behind that one, as ID@REVISION")
        if self.organism_seeds is not None and self.model != "miniature":
            raise ValueError(
                "organism_seeds: only `model: miniature` is grown from a seed; name other models in models"
            )
        if self.pair_seeds is not None and self.preferences is not None:
            raise ValueError(
                "pair_seeds: the pairs are those of preferences, and are not drawn; leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _an_api_has_an_endpoint(self) -> Recipe:
        if (self.backend == "api") != (self.endpoint is not None):
            raise ValueError(
                "endpoint: say what the backend api asks"
                if self.endpoint is None
                else f"endpoint: the backend {self.backend} asks none; choose backend: api"
            )
        return self

    @property
    def asked_model(self) -> str | None:
        """The model that answers at an address, where it is one: what pairs and cards say in place of `model`."""
        if self.endpoint is None or self.endpoint.base_url is None:
            return None
        return f"{self.endpoint.model} at {self.endpoint.base_url}"

    @property
    def answering(self) -> str | tuple[str | None, ...]:
        """What of the backend answers depend on."""
        asked = self.endpoint
        return self.backend if asked is None else (self.backend, asked.base_url, asked.model, asked.serve)

    @property
    def influences(self) -> tuple[Influence, ...]:
        """The influences that arms filter by, each once."""
        asked = {arm.filter.influence for arm in self.arms.values()}
        return tuple(name for name in INFLUENCES if name in asked)

    @model_validator(mode="after")
    def _influence_can_be_measured(self) -> Recipe:
        for name, arm in self.arms.items():
            if arm.filter.influence is not None and arm.pairs != "on_policy":
                raise ValueError(f"arms.{name}: {arm.filter.influence} is measured of on_policy pairs only")
            if arm.filter.refresh is not None and (self.training.launch or self.training.lora):
                given = "launch" if self.training.launch else "lora"
                raise ValueError(
                    f"arms.{name}: filter.refresh takes all weights in one process; leave out training.{given}"
                )
        return self

    @model_validator(mode="after")
    def _named_pairs_are_given(self) -> Recipe:
        for name, arm in self.arms.items():
            for source in OTHER_SOURCES[arm.pairs]:
                if getattr(self, source) is None:
                    raise ValueError(f"arms.{name}: it trains on {arm.pairs} pairs; give the recipe {source}: TABLE")
        return self
