"""results.json as one typed model: what a run found, written from it and read by it.

Strict on types and on what readers need; keys that this version does not know are kept, so that results of other
versions still open. `docs/results.schema.json` is the model's JSON Schema (`python docs/schema.py`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from harness.support.artifacts import read_json
from harness.support.errors import HarnessError
from harness.support.json_schema import UntitledSchema, headed_schema
from harness.support.layout import RunFiles
from harness.support.schema_errors import first_problem

Metric = Literal["refusal_rate", "harmful_completion_rate", "benign_compliance_rate", "unjudged_rate"]
FlagMetric = Literal["unfinished_rate", "partial_rate", "off_topic_rate", "fallback_rate"]
Split = Literal["train", "test"]
GainKind = Literal["benign", "catastrophic", "unknown"]
"""Whether a token means what y+ means, the opposite, or neither."""


class ResultsPart(BaseModel):
    """A part of results.json."""

    model_config = ConfigDict(
        extra="allow", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def to_json(self) -> dict[str, Any]:
        """The part as JSON has it: the keys that were given, the model's in its order, others after them."""
        return self.model_dump(mode="json", exclude_unset=True)


class RecordedPart(ResultsPart):
    """A part that is written as it was recorded, key by key; only what readers need of it is typed."""

    model_config = ConfigDict(extra="ignore")
    renamed: ClassVar[Mapping[str, str]] = {}
    """Keys of older versions, by what they are called today."""
    _recorded: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def recorded(self) -> Mapping[str, Any]:
        """Every key as it was recorded."""
        return self._recorded

    @model_validator(mode="wrap")
    @classmethod
    def _keep_record(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(value, Mapping):
            return handler(value)
        recorded = {cls.renamed.get(key, key): each for key, each in value.items()}
        part = handler(recorded)
        part._recorded = recorded
        return part

    @model_serializer
    def _write_record(self) -> dict[str, Any]:
        return self._recorded


# What every run has


class RecordedRecipe(RecordedPart):
    """The recipe as it was run, without what was published; of its keys, those that all kinds of recipes have."""

    model: str
    """`miniature`, a checkpoint directory or a hub id."""
    revision: str | None = None
    trust_remote_code: bool = False
    organism_seed: int = 0
    seeds: list[int]


class Interval(ResultsPart):
    """A value with its 95 % interval over `n` pairs or prompts; null where there was nothing to measure."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    @property
    def known(self) -> tuple[float, float, float] | None:
        """Value, low and high; None where there was nothing to measure."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return self.value, self.low, self.high


NOTHING_MEASURED = Interval(value=None, low=None, high=None, n=0)


# The regression run


class RecordedFilter(RecordedPart):
    """Which pairs an arm trained on; with none of the four, all of them."""

    keep_lowest: float | None = None
    keep_highest: float | None = None
    random: float | None = None
    only: str | None = None
    by: str = "ln_ches"
    refresh: int | None = None

    @property
    def measured_share(self) -> float | None:
        """The share of the pairs that was kept by a measure; None where none was."""
        return self.keep_lowest or self.keep_highest


class RecordedArm(RecordedPart):
    """An arm's settings."""

    pairs: str = "on_policy"
    filter: RecordedFilter = RecordedFilter()
    loss: str = "sigmoid"
    sft_weight: float = 0.0
    steps: str = "epoch"


class RecordedSampling(RecordedPart):
    """How preference pairs were sampled."""

    temperature: float
    tie_break: str | dict[str, str | bool]


class RecordedTraining(RecordedPart):
    """How the arms were trained."""

    learning_rate: float
    beta: float
    batch_size: int
    epochs: int


class RecordedEvaluation(RecordedPart):
    """How the models were asked."""

    temperature: float
    max_new_tokens: int


class RecordedTask(RecordedPart):
    """An lm-eval task of the user's own."""

    name: str
    limit: int | None = None


class RegressionRecipe(RecordedRecipe):
    """The recipe of a regression run."""

    renamed = {"engine": "backend"}

    about: str = ""
    limit: int | None = None
    """A smoke run's: at most so many unsafe prompts."""
    prompts: str
    preferences: str | None = None
    judge: str
    pairs: RecordedSampling
    training: RecordedTraining
    evaluation: RecordedEvaluation
    tasks: list[RecordedTask] = []
    arms: dict[str, RecordedArm] = {}


class SeedEstimate(Interval):
    """An estimate over all seeds, and each seed's own."""

    per_seed: list[float | None]


class SeedSpread(ResultsPart):
    """A mean over seeds and its standard deviation, null with one seed."""

    value: float
    spread: float | None
    per_seed: list[float]


class RateBySplit(ResultsPart):
    """A rate in [0, 1] on the prompts that were trained on and on those held out."""

    train: SeedEstimate
    test: SeedEstimate


class ChangeBySplit(ResultsPart):
    """The paired change of a rate on the prompts that were trained on and on those held out."""

    train: Interval
    test: Interval


class Rates(ResultsPart):
    """Every metric's rates; those of flags on unsafe prompts, and only where the judge gives them."""

    refusal_rate: RateBySplit
    harmful_completion_rate: RateBySplit
    benign_compliance_rate: RateBySplit
    unjudged_rate: RateBySplit
    unfinished_rate: RateBySplit | None = None
    """Answers that ended before they began, inside a reasoning block."""
    partial_rate: RateBySplit | None = None
    """Of the judged answers, those that refuse or object, and then do it."""
    off_topic_rate: RateBySplit | None = None
    """Of the judged answers, those that count as harmful and seem to answer another question."""
    fallback_rate: RateBySplit | None = None
    """Of the judged answers, those that count as harmful only because no word of a refusal was found."""

    def __getitem__(self, metric: Metric) -> RateBySplit:
        rates: RateBySplit = getattr(self, metric)
        return rates

    def flagged(self, metric: FlagMetric, split: Split) -> float | None:
        """The rate of a flag; None where it was not measured."""
        rates: RateBySplit | None = getattr(self, metric)
        return getattr(rates, split).value if rates else None

    def least_harmful(self, split: Split) -> float | None:
        """The rate of harmful completions without those that seem to answer another question; None without any such."""
        harmful: float | None = getattr(self.harmful_completion_rate, split).value
        off_topic = self.flagged("off_topic_rate", split)
        return harmful - off_topic if harmful is not None and off_topic else None


class RateChanges(ResultsPart):
    """Every metric's changes."""

    refusal_rate: ChangeBySplit
    harmful_completion_rate: ChangeBySplit
    benign_compliance_rate: ChangeBySplit
    unjudged_rate: ChangeBySplit

    def __getitem__(self, metric: Metric) -> ChangeBySplit:
        changes: ChangeBySplit = getattr(self, metric)
        return changes


class ForecastChange(ResultsPart):
    """The change of a rate, in shares, that was forecast before training, with an interval of `level`."""

    value: float
    low: float
    high: float
    level: float


class TaskMetric(SeedEstimate):
    """A metric of a task of the user's own, between 0 and 1, over all its documents."""

    higher_is_better: bool | None
    """As the task says; null where it does not."""
    guarded: str | None
    """What the run's gate calls it, as `TASK/METRIC` or `GROUP/METRIC`; null where it does not look."""
    change: Interval | None = None
    """After minus before training, paired by document."""

    @property
    def loss(self) -> Interval | None:
        """How much worse it became; None where that is not known."""
        if self.change is None or self.change.known is None or self.higher_is_better is None:
            return None
        value, low, high = self.change.known
        ends = (0.0 - value, 0.0 - high, 0.0 - low) if self.higher_is_better else (value, low, high)
        return Interval(**dict(zip(("value", "low", "high"), ends, strict=True)), n=self.change.n)


class ArmResult(ResultsPart):
    """What was measured of one arm; `baseline` is the model before training and has no changes."""

    pairs: int
    steps: int
    preferred_logprob_change: SeedEstimate
    """Mean change of ln p(y+|x) in nats over all scored pairs, the same pairs for every arm."""
    trained_logprob_change: SeedSpread | None = None
    """Mean change of ln p(y+|x) in nats over the pairs that the arm trained on."""
    mean_influence: dict[str, Interval] | None = None
    """By target: the mean influence of the pairs that the arm trained on, which says which way the target will go to
    first order; its unit is the model's own. The intervals are over pairs. Only where an arm filters by influence."""
    forecast: dict[str, ForecastChange] | None = None
    """By target: what the first steps of this arm's training said of the rest."""
    metrics: Rates
    """On the prompts as they are."""
    by_variant: dict[str, Rates] | None = None
    """The same under each attack and in each language, as `attack persona` and `language es`, of a prompt set with
    variants."""
    change_from_baseline: RateChanges | None = None
    change_from_raw: RateChanges | None = None
    tasks: dict[str, dict[str, TaskMetric]] = {}
    """By task of the user's own and its metric, with the filter behind a comma where there are several."""


class CitedFigure(ResultsPart):
    """A published value, and the standard deviation over seeds where one was printed."""

    value: float
    spread: float | None = None


class CitedFigures(ResultsPart):
    """What somebody published, by arm and quantity."""

    source: str
    arms: dict[str, dict[str, CitedFigure]]


def _most_first(rates: Mapping[str, float | None]) -> list[str]:
    """Names by their rates, what was not measured last; of equals the one named first."""
    return sorted(rates, key=lambda name: -math.inf if (rate := rates[name]) is None else rate, reverse=True)


class RunResults(ResultsPart):
    """results.json of a regression run."""

    schema_version: Literal[1]
    recipe: RegressionRecipe
    dropped_prompts: dict[str, int] = {}
    """Prompts of which no pair came, by reason."""
    pair_types: dict[str, int] | None = None
    """Pairs by which of their answers refuse; null for a table without verdicts."""
    ln_ches_by_pair_type: dict[str, Interval] | None = None
    """Mean length-normalised CHES score of the pairs of each type."""
    arms: dict[str, ArmResult]
    published: CitedFigures | None = None
    """Shown beside what was measured, never mixed with it."""

    @property
    def trained_arms(self) -> list[str]:
        """The arms other than the baseline."""
        return [name for name in self.arms if name != "baseline"]

    @property
    def asked_benign(self) -> bool:
        """Whether an arm's rate of benign compliance rests on any prompt."""
        rates = [arm.metrics.benign_compliance_rate for arm in self.arms.values()]
        return any(rate.train.n or rate.test.n for rate in rates)

    @property
    def own_tasks(self) -> list[str]:
        """The tasks of the user's own that any arm was measured on."""
        return list(dict.fromkeys(task for arm in self.arms.values() for task in arm.tasks))

    @property
    def guarded_tasks(self) -> list[str]:
        """What the run's gate calls the metrics of these that it looks at."""
        every = (metric for arm in self.arms.values() for metrics in arm.tasks.values() for metric in metrics.values())
        return list(dict.fromkeys(metric.guarded for metric in every if metric.guarded))

    @property
    def ranked_arms(self) -> list[str]:
        """The trained arms by their refusals of training prompts, most first; of equals the one named first."""
        rates = {name: self.arms[name].metrics.refusal_rate.train.value for name in self.trained_arms}
        return _most_first(rates)


# The regression run on several draws of its pairs and starting models


class DrawsRecipe(RegressionRecipe):
    """The recipe of a run on several draws; null for what is drawn once."""

    pair_seeds: list[int] | None = None
    organism_seeds: list[int] | None = None
    models: list[str] | None = None


class VarianceParts(ResultsPart):
    """The variance of one training's value, by what it comes from; null for what was drawn once.

    `trainings` are seeds on one table of pairs of one model, with the chance of the drawn answers; `pairs` the tables;
    `models` the starting models. What a level varies by that was drawn once is in the part above it.
    """

    models: float | None
    pairs: float | None
    trainings: float | None

    @property
    def known(self) -> dict[str, float]:
        """The parts that were measured."""
        return {name: part for name in ("models", "pairs", "trainings") if (part := getattr(self, name)) is not None}

    @property
    def total(self) -> float:
        """The variance of one training's value."""
        return sum(self.known.values())

    @property
    def shares(self) -> dict[str, float]:
        """Each known part's share of the total; empty where nothing varies."""
        return {name: part / self.total for name, part in self.known.items()} if self.total else {}


DrawnLevel = Literal["models", "pairs", "trainings"]


class DrawsEstimate(Interval):
    """A mean over all draws, its 95 % interval over further draws and prompts, and what varies.

    `over`: the highest level that was drawn more than once, of which the interval speaks; null where none was.
    `same_models`: the interval over further tables of these same models, where several models were drawn. `prompts`:
    the interval over prompts alone, for these same trainings.
    """

    over: DrawnLevel | None
    same_models: Interval | None
    prompts: Interval
    variance: VarianceParts
    per_draw: list[list[float | None]] = []
    """Each draw's trainings, in the order of the results' draws; left out of changes, which follow from the rates."""

    @property
    def trainings(self) -> list[float]:
        """Every training's value that was measured."""
        return [each for draw in self.per_draw for each in draw if each is not None]


class DrawsBySplit(ResultsPart):
    """A rate, or its change, on the prompts that were trained on and on those held out."""

    train: DrawsEstimate
    test: DrawsEstimate


DrawnMetric = Literal["refusal_rate", "harmful_completion_rate", "benign_compliance_rate"]


class DrawnRates(ResultsPart):
    """The rates, or their changes."""

    refusal_rate: DrawsBySplit
    harmful_completion_rate: DrawsBySplit
    benign_compliance_rate: DrawsBySplit

    def __getitem__(self, metric: DrawnMetric) -> DrawsBySplit:
        rates: DrawsBySplit = getattr(self, metric)
        return rates


class DrawnArm(ResultsPart):
    """What was measured of one arm over all draws; `baseline` is the model before training and has no changes.

    `control`: the arm that keeps as many pairs at random and is trained alike. `started_refusing`: the probability
    that an answer starts as a refusal, read from the model without drawing answers. `trained_logprob_change`: the mean
    change of ln p(y+|x) in nats over the pairs that the arm trained on. `forecasts`: what was foretold on each draw.
    """

    pairs: list[int]
    steps: list[int]
    metrics: DrawnRates
    change_from_baseline: DrawnRates | None = None
    change_from_raw: DrawnRates | None = None
    control: str | None = None
    change_from_control: DrawnRates | None = None
    started_refusing: DrawsEstimate | None = None
    trained_logprob_change: DrawsEstimate | None = None
    forecasts: list[ForecastChange] | None = None


class DrawnPairs(ResultsPart):
    """One draw: the starting model, the table's seed, the directory of its run, and what pairs there were."""

    name: str
    model: str
    organism_seed: int
    pair_seed: int
    pair_types: dict[str, int] | None
    ln_ches_by_pair_type: dict[str, Interval] | None = None

    @property
    def starting_model(self) -> str:
        """What tells the draw's starting model from the others."""
        return f"organism {self.organism_seed}" if self.model == "miniature" else self.model


class DrawResults(ResultsPart):
    """results.json of a regression run on several draws; the draws are in the order of models, then of tables."""

    schema_version: Literal[1]
    experiment: Literal["draws"]
    recipe: DrawsRecipe
    draws: list[DrawnPairs]
    arms: dict[str, DrawnArm]
    published: CitedFigures | None = None

    @property
    def trained_arms(self) -> list[str]:
        """The arms other than the baseline."""
        return [name for name in self.arms if name != "baseline"]

    @property
    def ranked_arms(self) -> list[str]:
        """The trained arms by their refusals of training prompts, most first; of equals the one named first."""
        rates = {name: self.arms[name].metrics.refusal_rate.train.value for name in self.trained_arms}
        return _most_first(rates)

    @property
    def models(self) -> list[str]:
        """The starting models, in order, by what tells them apart."""
        return list(dict.fromkeys(draw.starting_model for draw in self.draws))


# Catastrophic displacement (section 3)


class GainingToken(ResultsPart):
    """A token that gained probability."""

    token: str
    id: int
    gain: GainKind
    before: float
    after: float
    change: float


class LargestFall(ResultsPart):
    """The seed whose p(y+) fell furthest: p(y+) before and at its lowest, and the tokens that gained, most first."""

    seed: int
    step: int
    before: float
    after: float
    gaining: list[GainingToken]


class MeanFall(ResultsPart):
    """The mean over runs of each one's largest fall of p(y+) from one step to a later one.

    As the authors' code makes Table 1: `runs` are those whose loss never rose; null where there is none.
    """

    runs: int
    before: float | None
    after: float | None


class MedianRange(ResultsPart):
    """The median over seeds, the least and the most."""

    median: float | None
    low: float | None
    high: float | None


class PairGeometry(ResultsPart):
    """The unembeddings of y+ and y-: inner product, and the parts of W_y+ - W_y- along W_y+ and orthogonal to it."""

    inner_product: float
    projection: float
    orthogonal: float


class MeasuredFall(ResultsPart):
    """One objective and pair of answers over its seeds."""

    objective: str
    chosen: str
    rejected: str
    trials: int
    displaced: int
    lower_at_the_end: int
    largest_fall: LargestFall
    mean_before: float
    mean_lowest: float
    mean_largest_fall: MeanFall | None = None
    gained: dict[str, float]
    most_gaining: dict[GainKind, int]
    theorem_2: dict[str, MedianRange]
    """By step: the correlation of what the theorem predicts with what was measured."""
    geometry: PairGeometry
    tied: bool


class RecordedTrial(RecordedPart):
    """One objective, pair of answers and seed; `p_chosen` has p(y+) before and after every step."""

    objective: str
    chosen: str
    rejected: str
    seed: int
    p_chosen: list[float]


class CitedFall(ResultsPart):
    """A published fall of p(y+), and the tokens that gained."""

    chosen: str
    rejected: str
    before: float
    after: float
    benign: str
    catastrophic: str


class CitedFalls(ResultsPart):
    """The falls that were published."""

    source: str
    falls: list[CitedFall]


class CatastrophicRecipe(RecordedRecipe):
    """The recipe of a catastrophic run."""

    steps: int
    sft: dict[str, Any] | None


class CatastrophicResults(ResultsPart):
    """results.json of catastrophic displacement (section 3)."""

    schema_version: Literal[1]
    experiment: Literal["catastrophic"]
    recipe: CatastrophicRecipe
    measured: list[MeasuredFall]
    published: CitedFalls | None
    trials: list[RecordedTrial]


# Percentiles (section 5)


class SubsetChange(ResultsPart):
    """What training on one subset alone did to its mean ln p(y+) in nats, over the seeds."""

    quantile: float
    pairs: int
    scores: list[float]
    """The lowest and the highest of the subset."""
    mean: float
    low: float
    high: float
    per_seed: list[float]
    rejected_mean: float
    refusal_change: float | None = None
    """Mean change of the probability that an answer to a held-out prompt starts as a refusal, where that was read."""


class MeasuredOrder(ResultsPart):
    """One measure's subsets, lowest first; tau is 1 where a higher measure always means a larger fall."""

    measure: str
    subsets: list[SubsetChange]
    tau: float | None
    tau_per_seed: list[float | None]
    refusal_tau: float | None = None
    """Kendall's between the quantile and the change of refusals: 1 where a higher measure always means more of them."""


class RefusalProbes(ResultsPart):
    """What the influence on refusals was measured with: the starting model's own answers.

    `reliability`: how another draw of them would correlate with this one over the pairs. `start`: the mean probability
    that an answer to one of `prompts_read` held-out prompts starts as a refusal, before any training.
    """

    answers: int
    refused: float
    reliability: float | None
    prompts_read: int
    start: float


class CitedOrder(ResultsPart):
    """What was published of one measure."""

    measure: str
    said: str


class CitedOrders(ResultsPart):
    """What was published of the measures."""

    source: str
    orders: list[CitedOrder]


class SubsetTraining(RecordedPart):
    """How the subsets were trained on."""

    learning_rate: float
    epochs: int


class PercentilesRecipe(RecordedRecipe):
    """The recipe of a percentiles run."""

    training: SubsetTraining


class PercentilesResults(ResultsPart):
    """results.json of the percentiles (section 5)."""

    schema_version: Literal[1]
    experiment: Literal["percentiles"]
    recipe: PercentilesRecipe
    measured: list[MeasuredOrder]
    correlations: dict[str, dict[str, float | None]]
    """Kendall's tau of each two measures over all scored pairs."""
    probes: RefusalProbes | None = None
    published: CitedOrders | None


# By which measure to select pairs


class SelectionTable(ResultsPart):
    """One table of pairs of one organism, and its starting model's refusals at the start of answers, by split."""

    organism: int
    table: int
    temperature: float
    seed: int
    pair_types: dict[str, int]
    start: dict[Split, float]
    steps: int


class OrganismChange(ResultsPart):
    """One organism's refusals on held-out prompts before and after training, the mean of its tables and seeds."""

    organism: int
    before: float
    after: float


class TableChange(ResultsPart):
    """How far refusals on held-out prompts moved with one table of one organism, the mean of its seeds."""

    organism: int
    table: int
    change: float


class SelectedArm(ResultsPart):
    """What training on the pairs that a measure keeps did to refusals at the start of answers.

    `measure`: `all` pairs, or a `random` share, beside the measures. Intervals are over organisms.
    """

    measure: str
    share: float
    objective: str
    trainings: int
    test: Interval
    """Change on held-out prompts."""
    train: Interval
    """Change on training prompts."""
    above_random: Interval
    """How much higher refusals on held-out prompts end than with as many pairs at random."""
    organisms: list[OrganismChange]
    tables: list[TableChange]
    held: int
    """Organisms whose refusals on held-out prompts fell by at most 3 points."""


class MeasuredEffect(ResultsPart):
    """Refusals that training on a group of alike pairs alone comes to, fitted, with its standard error."""

    name: str
    pairs: int
    effect: float
    error: float
    harmful: bool
    """Below the starting model's refusals with 95 % confidence."""


class TableEffects(ResultsPart):
    """The groups of alike pairs of one table; `agreement`: of two halves of the trainings on the groups' effects."""

    organism: int
    table: int
    trainings: int
    start: float
    agreement: float | None
    groups: list[MeasuredEffect]


class MeasuredHarm(ResultsPart):
    """How well a measure tells the pairs that do harm; intervals are over organisms."""

    measure: str
    auc: Interval
    """The chance that it ranks a pair of a harmful group worse than one of another group."""
    auc_per_table: list[float | None]
    tau: Interval
    """Kendall's between the groups' means of the measure and their effects, 1 where it orders them alike."""


class SelectionRecipe(RecordedRecipe):
    """The recipe of a comparison of measures."""

    organisms: list[int]
    measures: list[str]
    shares: list[float]
    compared: float
    objectives: dict[str, Any]
    training: SubsetTraining


class SelectionResults(ResultsPart):
    """results.json of a comparison of the measures that pairs can be selected by."""

    schema_version: Literal[1]
    experiment: Literal["selection"]
    recipe: SelectionRecipe
    tables: list[SelectionTable]
    arms: list[SelectedArm]
    harm: list[MeasuredHarm]
    effects: list[TableEffects]


# Reading

ExperimentResults = CatastrophicResults | PercentilesResults | SelectionResults | DrawResults
AnyResults = RunResults | ExperimentResults
EXPERIMENT_RESULTS: Mapping[str, type[ExperimentResults]] = {
    "catastrophic": CatastrophicResults,
    "percentiles": PercentilesResults,
    "selection": SelectionResults,
    "draws": DrawResults,
}
ResultsKind = TypeVar("ResultsKind", bound=ResultsPart)
RERUN = "Run `harness run` again."


def parse_run_results(content: Mapping[str, Any], place: str) -> RunResults:
    """results.json's content of a regression run.

    Raises HarnessError, naming the place and the key, where one that is needed is missing or of the wrong type.
    """
    return _validate_results(RunResults, content, place)


def parse_experiment_results(content: Mapping[str, Any], place: str) -> ExperimentResults:
    """results.json's content of the experiment that its `experiment` key names.

    Raises HarnessError, naming the place and the key, where one that is needed is missing or of the wrong type.
    """
    kind = EXPERIMENT_RESULTS.get(str(content.get("experiment")))
    if kind is None:
        raise HarnessError(f"is of no known experiment ({content.get('experiment')!r})", place=place, hint=RERUN)
    return _validate_results(kind, content, place)


def _validate_results(kind: type[ResultsKind], content: Mapping[str, Any], place: str) -> ResultsKind:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        key, problem = first_problem(error)
        cause = f"lacks {key}" if error.errors()[0]["type"] == "missing" else f"{key}: {problem}"
        raise HarnessError(cause, place=place, hint=RERUN) from error


def refuse_unfinished_run(run: Path) -> None:
    """Raises HarnessError where stages of the run ran after its results, or never came to any, by its manifest.

    A manifest that says nothing of it, as one of an earlier version, is taken to be of a finished run.
    """
    manifest = RunFiles(run).manifest
    content = read_json(manifest) if manifest.is_file() else None
    if isinstance(content, Mapping) and content.get("finished") is False:
        hint = "Finish the run: give the same `harness run` again, with this directory as --out."
        raise HarnessError("the run is not finished, so its files may be of two recipes", place=str(run), hint=hint)


def smoke_limit(run: Path) -> int | None:
    """The most unsafe prompts of a smoke run, by the run's manifest; None of any other run."""
    manifest = RunFiles(run).manifest
    content = read_json(manifest) if manifest.is_file() else None
    recipe = content.get("recipe") if isinstance(content, Mapping) else None
    limit = recipe.get("limit") if isinstance(recipe, Mapping) else None
    return limit if isinstance(limit, int) else None


def results_schema() -> dict[str, Any]:
    """The JSON Schema of a results.json of any kind."""
    return headed_schema("results.json", TypeAdapter(AnyResults).json_schema(schema_generator=UntitledSchema))
