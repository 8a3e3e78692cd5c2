"""A recipe says what to run: model, prompts, preference pairs, arms, training and evaluation settings, all typed."""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.artifacts import parse_yaml
from harness.errors import HarnessError

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
TABLES = ("prompts", "preferences", "gold", "off_policy", "statements")
"""The keys that name tables to read."""
RecipeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
ArmName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Engine = Literal["hf", "vllm"]
"""What samples and evaluates: transformers, or vLLM."""


class Strict(BaseModel):
    """A part of a recipe: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RewardModel(Strict):
    """A reward model that breaks ties: a sequence classifier with one output, or PairRM; a directory or a hub id."""

    reward_model: Annotated[str, Field(min_length=1)]


class Pairs(Strict):
    """How preference pairs are sampled: so many answers a training prompt, the refusal preferred."""

    samples: Annotated[int, Field(ge=2)] = 2
    temperature: Positive = 1.0
    max_new_tokens: Count = 512
    batch_size: Count = 64
    tie_break: Literal["engaging", "random"] | RewardModel = "random"
    seed: int = 0


class Filter(Strict):
    """Which pairs an arm trains on; with none of the three, all of them.

    `keep_lowest`: that share, with the lowest values of the measure `by`. `random`: that share, the control. `only`:
    pairs of one type. `validation_loss` is Selective DPO's measure of how hard a pair is (`harness.difficulty`).
    """

    keep_lowest: Share | None = None
    random: Share | None = None
    only: Literal["two_refusals", "two_non_refusals", "mixed"] | None = None
    by: Literal["ches", "ln_ches", "last_hidden_inner_product", "neg_edit_distance", "validation_loss"] = "ln_ches"

    @model_validator(mode="after")
    def _one_at_most(self) -> Filter:
        if sum(rule is not None for rule in (self.keep_lowest, self.random, self.only)) > 1:
            raise ValueError("give keep_lowest, random or only, not two of them")
        return self


LOSS_SETTINGS: Mapping[str, frozenset[str]] = {
    "robust": frozenset({"label_smoothing"}),
    "exo_pair": frozenset({"label_smoothing"}),
    "dpop": frozenset({"penalty"}),
    "simpo": frozenset({"target_margin"}),
    "alphapo": frozenset({"target_margin", "alpha"}),
}
"""The settings that a loss needs and no other loss takes."""


class Arm(Strict):
    """One training run per seed: which pairs, a filter, an objective, and how long.

    `beta` and `learning_rate`: the recipe's where left out. `sft_weight`: coefficient of -ln p(y+|x).
    """

    pairs: Literal["on_policy", "gold", "off_policy", "mixed"] = "on_policy"
    filter: Filter = Filter()
    loss: Literal[
        "sigmoid", "ipo", "hinge", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down",
        "ipo_sequence", "cpo", "dpop", "simpo", "alphapo",
    ] = "sigmoid"  # fmt: skip
    beta: Positive | None = None
    learning_rate: Positive | None = None
    label_smoothing: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    penalty: Positive | None = None
    target_margin: Annotated[float, Field(ge=0)] | None = None
    alpha: float | None = None
    sft_weight: Annotated[float, Field(ge=0)] = 0.0
    steps: Literal["epoch", "as_raw"] = "epoch"

    @model_validator(mode="after")
    def _settings_of_the_loss(self) -> Arm:
        needed = LOSS_SETTINGS.get(self.loss, frozenset())
        for name in sorted(frozenset().union(*LOSS_SETTINGS.values())):
            if (getattr(self, name) is None) == (name in needed):
                raise ValueError(f"the loss {self.loss} {'needs' if name in needed else 'takes no'} {name}")
        if self.alpha == 0:
            raise ValueError("alpha: with 0 AlphaPO is SimPO; choose the loss simpo")
        return self


class Optimization(Strict):
    """What TRL's trainers share.

    `micro_batch_size`: pairs that one process takes at a time, at most. `bf16` (mixed precision) and
    `gradient_checkpointing`: where there is a GPU, unless said.
    """

    learning_rate: Positive
    batch_size: Count = 32
    micro_batch_size: Count = 4
    bf16: bool | None = None
    gradient_checkpointing: bool | None = None


class Lora(Strict):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) trained in place of the weights, then merged into them.

    `quantize`: the frozen weights in 4 bits meanwhile (QLoRA, Dettmers et al. 2023, arXiv 2305.14314).
    """

    rank: Count = 16
    alpha: Count = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    quantize: Literal["nf4"] | None = None


class Launch(Strict):
    """`accelerate launch` for each arm: so many processes (GPUs) over so many machines.

    `config`: `ddp`, `fsdp2` or `deepspeed`, or the path of an Accelerate configuration.
    """

    config: Annotated[str, Field(min_length=1)]
    processes: Count
    machines: Count = 1

    @model_validator(mode="after")
    def _alike(self) -> Launch:
        if self.processes % self.machines:
            raise ValueError("processes: as many on each machine, so a multiple of machines")
        return self


class Training(Optimization):
    """TRL's DPOTrainer settings shared by all arms; the defaults are the paper's for DPO (section 6).

    `checkpoint_every`: steps after which a training can go on when it is killed.
    """

    learning_rate: Positive = 5e-6
    beta: Positive = 0.1
    epochs: Count = 1
    max_length: Count | None = None
    checkpoint_every: Count = 100
    lora: Lora | None = None
    launch: Launch | None = None

    @model_validator(mode="after")
    def _batches_can_be_shared(self) -> Training:
        if self.launch and self.batch_size % self.launch.processes:
            raise ValueError(
                f"batch_size: {self.launch.processes} processes cannot share {self.batch_size} pairs evenly"
            )
        return self


class FineTuning(Optimization):
    """TRL's SFTTrainer settings; the defaults are the paper's (section 3)."""

    learning_rate: Positive = 1e-7


class Evaluation(Strict):
    """lm-eval settings shared by the baseline and all arms; the defaults are the paper's (section 6).

    A temperature of 0 takes the likeliest token each time.
    """

    temperature: Annotated[float, Field(ge=0)] = 0.7
    max_new_tokens: Count = 512
    batch_size: Count = 64


class Figure(Strict):
    """A published value, and the standard deviation over seeds where one was printed."""

    value: float
    spread: Annotated[float, Field(ge=0)] | None = None


class Published(Strict):
    """Figures that somebody published, by arm and quantity; shown beside what is measured and never mixed with it."""

    source: Annotated[str, Field(min_length=1)]
    arms: dict[str, dict[str, Figure]]


class Start(Strict):
    """What every kind of recipe says of itself and of the model it starts from.

    `model`: `miniature`, a checkpoint directory or a hub id. `revision`: the hub's branch, tag or commit; what is
    newest without it. `trust_remote_code`: whether Python code that lies beside the weights may run.
    """

    name: RecipeName
    about: str = ""
    model: Annotated[str, Field(min_length=1)]
    revision: Annotated[str, Field(pattern=r"^[\w./-]{1,100}$")] | None = None
    trust_remote_code: bool = False
    organism_seed: int = 0


class Recipe(Start):
    """What to run. `prompts`: `bundled` or a file. `preferences`: a table to
    train on in place of pairs sampled from the model. `gold`, `off_policy`: tables for the arms whose `pairs` name
    them, or `bundled`, written by the miniature's world.
    """

    prompts: str = "bundled"
    preferences: str | None = None
    gold: str | None = None
    off_policy: str | None = None
    judge: str = "lexical"
    engine: Engine = "hf"
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    pairs: Pairs = Pairs()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    arms: dict[ArmName, Arm]
    published: Published | None = None

    @model_validator(mode="after")
    def _arms_and_seeds(self) -> Recipe:
        if "baseline" in self.arms:
            raise ValueError("arms: baseline is the untrained model and is always there; name the arm otherwise")
        if not self.arms:
            raise ValueError("arms: name at least one arm")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: each seed once")
        return self

    @model_validator(mode="after")
    def _named_pairs_are_given(self) -> Recipe:
        for name, arm in self.arms.items():
            source = "off_policy" if arm.pairs == "mixed" else arm.pairs
            if source != "on_policy" and getattr(self, source) is None:
                raise ValueError(f"arms.{name}: it trains on {arm.pairs} pairs; give the recipe {source}: TABLE")
        return self


def packaged() -> dict[str, str]:
    """Name and description of every packaged recipe."""
    folder = resources.files("harness.recipes")
    files = sorted(item.name for item in folder.iterdir() if item.name.endswith(".yaml"))
    return {name.removesuffix(".yaml"): str(parse_yaml(folder.joinpath(name).read_text())["about"]) for name in files}


def load(source: str, overrides: Sequence[str] = (), seeds: int | None = None) -> Recipe:
    """The recipe in a YAML file or packaged under a name, with `key.path=value` overrides applied.

    `seeds` replaces the recipe's seeds by 0..seeds-1. Relative paths in a recipe file start at that file; those in an
    override, where the command runs. A table that the file names lies below one of the two.
    Raises HarnessError naming the file, the key and the closest known one.
    """
    return checked(*content(source, overrides, seeds), Recipe)


def content(source: str, overrides: Sequence[str] = (), seeds: int | None = None) -> tuple[dict[str, Any], str]:
    """A recipe's keys, not yet checked, with the overrides applied; and where they were found.

    Raises HarnessError where there is none, or the file names a table that is not its to name.
    """
    text, place, folder = _read(source)
    keys = _mapping(text, place)
    if folder is not None:
        keys |= _beside(keys, folder, place, {override.partition("=")[0] for override in overrides})
    for override in overrides:
        _override(keys, override)
    if seeds is not None:
        keys["seeds"] = list(range(seeds))
    return keys, place


R = TypeVar("R", bound=Strict)


def checked(keys: Mapping[str, Any], place: str, kind: type[R]) -> R:
    """The keys as a recipe of this kind. Raises HarnessError naming the place, the key and the closest known one."""
    try:
        return kind.model_validate(keys)
    except ValidationError as error:
        raise told(error, place, kind) from error


def told(error: ValidationError, place: str, model: type[BaseModel]) -> HarnessError:
    """A pydantic error as one line: the first thing that is wrong, where, and the closest known key."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return HarnessError(f"{where or 'the file'}: {first['msg'].removeprefix('Value error, ')}", place=place)
    known = _keys(model, first["loc"][:-1])
    close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.0)
    return HarnessError(f"unknown key {where!r}", place=place, mend=f"Did you mean {close[0]!r}?" if close else "")


def _keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The known keys at a path inside a model; a dict of models counts as one level."""
    for part in path:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field is not None else model
        model = next(
            (
                kind
                for kind in (inner, *getattr(inner, "__args__", ()))
                if isinstance(kind, type) and issubclass(kind, BaseModel)
            ),
            model,
        )
    return list(model.model_fields)


def _read(source: str) -> tuple[str, str, Path | None]:
    """A recipe's text, what to call the place, and its folder; none for a packaged one."""
    path = Path(source)
    try:
        if path.suffix in {".yaml", ".yml"} or path.is_file():
            return path.read_text(encoding="utf-8"), str(path), path.parent
        if path.name != source:
            raise FileNotFoundError(source)
        return resources.files("harness.recipes").joinpath(f"{source}.yaml").read_text(), f"packaged {source}", None
    except UnicodeDecodeError as error:
        raise HarnessError("is not a text file", place=source, mend="Give a YAML recipe.") from error
    except OSError as error:
        mend = f"Packaged recipes: {', '.join(packaged())}; or give the path of a YAML file."
        raise HarnessError("no such recipe", place=source, mend=mend) from error


def _mapping(text: str, place: str) -> dict[str, Any]:
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise HarnessError(str(error), place=place, mend="Mend the line it names.") from error
    if not isinstance(content, dict):
        raise HarnessError("holds no keys", place=place, mend="A recipe is a YAML mapping; see `harness recipes`.")
    return content


def _override(content: dict[str, Any], override: str) -> None:
    """Sets one dotted key; whether it exists is for the model to say."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise HarnessError(f"--set {override!r} is not key=value", mend="For example --set training.beta=0.2")
    *path, last = key.split(".")
    inner: Any = content
    for part in path:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            raise HarnessError(f"--set {override!r}: {part!r} holds a value, not keys")
    try:
        parsed = parse_yaml(value)
        inner[last] = float(value) if isinstance(parsed, str) and _is_number(value) else parsed
    except ValueError as error:
        raise HarnessError(f"--set {override!r}: the value is not YAML") from error


def _is_number(text: str) -> bool:
    """YAML 1.1 reads 5e-5 as text; people mean the number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _beside(keys: Mapping[str, Any], folder: Path, place: str, overridden: Container[str]) -> dict[str, str]:
    """The model and the tables that the file names, made to start at its folder where they are there."""
    found = {}
    for key in ("model", *TABLES):
        value = keys.get(key)
        if isinstance(value, str) and value != "bundled" and key not in overridden:
            label, equals, file = value.rpartition("=")
            found[key] = f"{label}{equals}{folder / file}" if (folder / file).exists() else value
            if key != "model":
                _refuse_elsewhere(found[key], folder, f"{place}, {key}")
    return found


def _refuse_elsewhere(value: str, folder: Path, place: str) -> None:
    """A recipe may come from anyone: what it makes the command read, and put into a report, must lie around it."""
    roots = folder.resolve(), Path.cwd().resolve()
    try:
        outside = [file for file in _named(value) if not any(file.is_relative_to(root) for root in roots)]
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name, links in a circle
        raise HarnessError(f"names no file ({error})", place=place) from error
    if outside:
        key = place.rpartition(" ")[2]
        raise HarnessError(
            f"names {value}, which lies outside the recipe's folder and the working directory",
            place=place,
            mend=f"If you mean that file, say so on the command line: --set {key}={value}",
        )


def _named(value: str) -> Iterator[Path]:
    """Every file that a table's name may be read as, links followed; in a directory, all that it links to."""
    for name in {value, value.partition("=")[2], value.rpartition("=")[2]} - {""}:
        if "://" in name and not name.lower().startswith("file:"):
            continue
        path = Path(unquote(urlsplit(name).path)) if "://" in name else Path(name)
        yield path.resolve()
        if path.is_dir():
            yield from (inside.resolve() for inside in path.rglob("*") if inside.is_symlink())
