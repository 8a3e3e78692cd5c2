"""Training one arm with TRL's DPOTrainer: the only module that imports TRL."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness import artifacts, console, launching, losses
from harness.displacement import PairLogprobs
from harness.errors import HarnessError
from harness.models import ModelPath, load_model, located
from harness.recipe import LOSS_SETTINGS, Arm, FineTuning, Launch, Lora, Optimization, Training

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import DPOTrainer

    Loss = Callable[[losses.Batch], Tensor]

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # says at import that a faster kernel is not installed

Watch = Callable[["PreTrainedModel", int], None]
"""Called with the model in training and the number of optimizer steps taken: before the first of them, after each."""


SAVED, LOG, COMPLETE = "saved", "log.jsonl", "complete"
"""In a training's folder: what it ends with, its log, and the mark of a whole checkpoint."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model with its tokenizer, and TRL's log, a row a step."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    log: list[dict[str, float]]

    def save(self, out: Path) -> None:
        """Writes the checkpoint directory, whole or not at all."""
        with artifacts.atomic_directory(out) as temporary:
            self.model.save_pretrained(temporary)
            self.tokenizer.save_pretrained(temporary)


@dataclass(frozen=True, slots=True)
class Job:
    """One training of a copy of a model on preference pairs.

    Attributes:
        model_path: checkpoint directory or hub id of the starting (and reference) model.
        pairs: explicit preference pairs with `pair_id`.
        reference: the starting model's log-probabilities of every pair, so no reference model is held.
        arm: the objective.
        training: DPOTrainer's settings; as in the paper's runs the rate is constant and gradients are not clipped.
        steps: optimizer steps.
        seed: of the batch order, and of the adapters' weights.
        label: what the bar calls the run.
        chat_template: for a tokenizer that has none.
    """

    model_path: str | ModelPath
    pairs: Dataset
    reference: Mapping[str, PairLogprobs]
    arm: Arm
    training: Training
    steps: int
    seed: int
    label: str
    chat_template: str | None = None


def train(job: Job, *, watch: Watch | None = None, keep: Path | None = None) -> Trained:
    """Does the training, in this process or, where the settings name a launch, in several.

    Args:
        job: what to train.
        watch: sees the model before the first step and after each; not in a launched training.
        keep: directory for checkpoints, from which the same training goes on; nothing is kept without it.

    Raises HarnessError where launched processes fail, or what the settings need is not installed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        if job.training.launch is not None:
            return _launched(job, job.training.launch, folder)
        with _callbacks(f"Training {job.label}", job.steps, watch) as callbacks:
            trainer = _trainer(job, folder, callbacks, keeps=keep is not None)
            with artifacts.told(folder):
                _run(trainer, _complete_checkpoint(folder))
        if job.training.lora is None:
            return Trained(trainer.model, trainer.processing_class, _log(trainer))
        trainer.save_model(str(folder / SAVED))
        return _merged(job, folder / SAVED, _log(trainer))


def fine_tune(
    model_path: str | ModelPath,
    answers: Dataset,
    settings: FineTuning,
    *,
    seed: int,
    chat_template: str | None = None,
) -> Trained:
    """One epoch of supervised fine-tuning with TRL's SFTTrainer.

    Args:
        model_path: checkpoint directory or hub id.
        answers: `input_ids` and `labels`, -100 where no loss is taken.
        settings: learning rate and batch.
        seed: of the batch order.
        chat_template: for a tokenizer that has none; saved with the model.
    """
    from trl import SFTConfig, SFTTrainer

    steps = -(-len(answers) // settings.batch_size)
    with _callbacks("Fine-tuning", steps) as callbacks, tempfile.TemporaryDirectory() as scratch:
        config = SFTConfig(num_train_epochs=1, max_length=None, **_shared(settings, seed, Path(scratch)))
        model, tokenizer = _loaded(model_path, seed, chat_template)
        trainer = SFTTrainer(
            model=model, args=config, train_dataset=answers, processing_class=tokenizer, callbacks=callbacks
        )
        _run(trainer)
        return Trained(trainer.model, tokenizer, _log(trainer))


# The trainer


def _trainer(job: Job, folder: Path, callbacks: list[Any], *, keeps: bool, processes: int = 1) -> DPOTrainer:
    """TRL's trainer, ready to train. The configuration comes first: it tells transformers how to load the weights."""
    config = _config(job, folder, keeps, processes)
    model, tokenizer = _loaded(job.model_path, job.seed, job.chat_template, job.training.lora)
    with _no_reference_model():
        return _trainer_class(job)(
            model=model,
            args=config,
            train_dataset=_table(job.pairs, job.reference),
            processing_class=tokenizer,
            callbacks=callbacks,
            peft_config=adapters(job.training.lora),
        )


def _loaded(
    model_path: str | ModelPath, seed: int, chat_template: str | None, lora: Lora | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """In float32, as the paper's code trains: half-precision weights would round steps of 5e-6 away."""
    from transformers import set_seed

    set_seed(seed)
    if lora is not None and lora.quantize is not None:
        return load_quantized(model_path, lora.quantize, chat_template)
    model, tokenizer = load_model(model_path, chat_template=chat_template, placed=False)
    return model.float(), tokenizer


def _run(trainer: Any, checkpoint: Path | None = None) -> None:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _log(trainer: Any) -> list[dict[str, float]]:
    return [row for row in trainer.state.log_history if "loss" in row]


def _table(pairs: Dataset, reference: Mapping[str, PairLogprobs]) -> Dataset:
    """The columns TRL reads, the reference's log-probabilities among them."""
    table = pairs.select_columns(["prompt", "chosen", "rejected"])
    known = [reference[name] for name in pairs["pair_id"]]
    table = table.add_column("ref_chosen_logps", [each.chosen for each in known])
    return table.add_column("ref_rejected_logps", [each.rejected for each in known])


def _config(job: Job, folder: Path, keeps: bool, processes: int) -> Any:
    from trl import DPOConfig

    arm, training = job.arm, job.training
    own = _own_loss(arm, _beta(job)) is not None
    return DPOConfig(
        max_steps=job.steps,
        beta=_beta(job),
        loss_type=["sigmoid" if own else arm.loss] + ["sft"] * bool(arm.sft_weight),
        label_smoothing=arm.label_smoothing or 0.0,
        precompute_ref_log_probs=True,
        max_length=training.max_length,
        **_shared(training, job.seed, folder, processes)
        | {"learning_rate": arm.learning_rate or training.learning_rate}
        | ({"save_strategy": "steps", "save_steps": training.checkpoint_every, "save_total_limit": 1} if keeps else {}),
    )


def _shared(settings: Optimization, seed: int, folder: Path, processes: int = 1) -> dict[str, Any]:
    """What both trainers are told."""
    import torch

    gpu = torch.cuda.is_available()
    micro = micro_batch(settings, processes)
    return {
        "output_dir": str(folder),
        "seed": seed,
        "data_seed": seed,
        "use_cpu": not gpu,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": settings.batch_size // (micro * processes),
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "optim": "rmsprop",
        "bf16": gpu if settings.bf16 is None else settings.bf16,
        "gradient_checkpointing": gpu if settings.gradient_checkpointing is None else settings.gradient_checkpointing,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def micro_batch(settings: Optimization, processes: int = 1) -> int:
    """Pairs that a process takes at a time: the most that the settings allow and that share a batch evenly."""
    share = settings.batch_size // processes
    return next(size for size in range(min(settings.micro_batch_size, share), 0, -1) if share % size == 0)


def adapters(lora: Lora | None) -> Any:
    """What peft is told of the adapters; None where there are none."""
    if lora is None:
        return None
    from peft import LoraConfig

    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=modules,
        task_type="CAUSAL_LM",
    )


def load_quantized(
    model_path: str | ModelPath, kind: str, chat_template: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model as QLoRA trains it: weights in 4-bit normal floats, with quantized constants (section 3 of its paper).

    Raises HarnessError where bitsandbytes is missing.
    """
    check_quantization()
    import torch
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_quant_storage=torch.bfloat16,  # FSDP shards weights of one type only
    )
    options = {"quantization_config": quantization}
    return load_model(model_path, chat_template=chat_template, placed=False, options=options)


def check_quantization() -> None:
    """Raises HarnessError where 4-bit weights need a package that is not there."""
    if find_spec("bitsandbytes") is None:
        mend = "pip install 'refusal-displacement[qlora]', or leave out training.lora.quantize."
        raise HarnessError("bitsandbytes is not installed", place="training.lora.quantize", mend=mend)


def _merged(job: Job, trained: Path, log: list[dict[str, float]]) -> Trained:
    """The starting model with the trained adapters added to its weights, which are in float32 and never quantized."""
    from peft import PeftModel

    base, tokenizer = load_model(job.model_path, chat_template=job.chat_template)
    return Trained(PeftModel.from_pretrained(base.float(), str(trained)).merge_and_unload(), tokenizer, log)


@contextmanager
def _no_reference_model() -> Iterator[None]:
    """Inside the block TRL loads no reference model, as under FSDP it does though the log-probabilities are given."""
    from trl.trainer import dpo_trainer

    loads = dpo_trainer.create_model_from_path
    dpo_trainer.create_model_from_path = lambda *_, **__: None
    try:
        yield
    finally:
        dpo_trainer.create_model_from_path = loads


def _beta(job: Job) -> float:
    return job.arm.beta or job.training.beta


def _own_loss(arm: Arm, beta: float) -> Loss | None:
    """The arm's loss where it is one of `harness.losses`, None where it is TRL's."""
    settings = {name: getattr(arm, name) for name in LOSS_SETTINGS.get(arm.loss, ())}
    own: Mapping[str, Callable[..., Tensor]] = {
        "ipo_sequence": losses.ipo_sequence,
        "cpo": losses.cpo,
        "dpop": losses.dpop,
        "simpo": losses.simpo,
        "alphapo": losses.alphapo,
    }
    return partial(own[arm.loss], beta=beta, **settings) if arm.loss in own else None


def _trainer_class(job: Job) -> type[DPOTrainer]:
    """DPOTrainer with the arm's loss where TRL lacks it, and the SFT term over whole answers."""
    from trl import DPOTrainer

    arm, own = job.arm, _own_loss(job.arm, _beta(job))

    class Trainer(DPOTrainer):  # type: ignore[misc]
        def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:  # noqa: ARG002
            return dataset  # it carries the starting model's log-probabilities, so none is loaded

        def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
            if own is None:
                chosen = inputs["completion_mask"].chunk(2)[0]
                # TRL's SFT term is a mean over the batch's tokens: times tokens a pair, it is one over pairs.
                self.loss_weights = [1.0, arm.sft_weight * float(chosen.sum()) / len(chosen)][: len(self.loss_types)]
                return super()._compute_loss(model, inputs, return_outputs)
            batch, outputs = _batch(model, inputs)
            loss = (own(batch) + arm.sft_weight * losses.sft(batch)).mean()
            return (loss, outputs) if return_outputs else loss

    return cast("type[DPOTrainer]", Trainer)


def _batch(model: Any, inputs: Mapping[str, Tensor]) -> tuple[losses.Batch, Any]:
    """A padded batch of TRL's, chosen answers first, as what our losses take; computed as TRL does."""
    mask = inputs["completion_mask"]
    outputs = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        labels=inputs["input_ids"].masked_fill(mask == 0, -100),
        use_cache=False,
        fused_lm_head=True,
    )
    (chosen, rejected), (chosen_tokens, rejected_tokens) = outputs.log_probs.sum(1).chunk(2), mask.sum(1).chunk(2)
    references = inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]
    return losses.Batch(chosen, rejected, *references, chosen_tokens, rejected_tokens), outputs


@contextmanager
def _callbacks(label: str, steps: int, watch: Watch | None = None) -> Iterator[list[Any]]:
    """A bar that follows the training, one who watches it, and a mark on each checkpoint that is whole."""
    from transformers import TrainerCallback

    with console.bar(label, steps, "steps") as advance:

        class Follower(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
                advance(state.global_step)
                if watch:
                    watch(model, state.global_step)

            def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
                if watch:
                    watch(model, state.global_step)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
                if logs and "loss" in logs:
                    advance(extra=f"loss {logs['loss']:.3f}")

        yield [Follower(), _marker()]


# Checkpoints


def _marker() -> Any:
    """Marks each checkpoint when all processes have written their part: one that is killed half-way has no mark."""
    from accelerate import PartialState
    from transformers import TrainerCallback

    class Marker(TrainerCallback):  # type: ignore[misc]
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
            PartialState().wait_for_everyone()
            if state.is_world_process_zero:
                (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()

    return Marker()


def _complete_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint of an earlier try; what is not whole is removed."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [path for path in checkpoints if (path / COMPLETE).is_file()]
    for path in checkpoints:
        if path not in whole:
            shutil.rmtree(path)
    return whole[-1] if whole else None


# Several processes: what they need is written to a folder, and each of them runs this module on it


def _launched(job: Job, launch: Launch, folder: Path) -> Trained:
    with console.bar(f"Training {job.label}", job.steps, "steps") as advance:
        _write(job, folder)
        _free_memory()
        launching.run(launch, "harness.training", folder, folder / "launch.log", _follower(folder / LOG, advance))
    log = artifacts.read_jsonl(folder / LOG)
    if job.training.lora is not None:
        return _merged(job, folder / SAVED, log)
    model, tokenizer = load_model(str(folder / SAVED))
    return Trained(model, tokenizer, log)


def _write(job: Job, folder: Path) -> None:
    """The job as files; the log starts anew, as the trainer writes all of it again."""
    checkpoint = _complete_checkpoint(folder)
    pairs = folder / "pairs"
    shutil.rmtree(pairs, ignore_errors=True)
    job.pairs.save_to_disk(str(pairs))
    (folder / LOG).unlink(missing_ok=True)
    artifacts.write_json(
        folder / "job.json",
        {
            "model_path": asdict(located(job.model_path)),
            "reference": {name: [each.chosen, each.rejected] for name, each in job.reference.items()},
            "arm": job.arm.model_dump(),
            "training": job.training.model_dump(),
            "steps": job.steps,
            "seed": job.seed,
            "label": job.label,
            "chat_template": job.chat_template,
            "checkpoint": str(checkpoint) if checkpoint else None,
        },
    )


def _read(folder: Path) -> tuple[Job, Path | None]:
    from datasets import Dataset

    written = artifacts.read_json(folder / "job.json")
    checkpoint = written.pop("checkpoint")
    typed = {
        "model_path": ModelPath(**written["model_path"]),
        "pairs": Dataset.load_from_disk(str(folder / "pairs")),
        "reference": {name: PairLogprobs(*pair) for name, pair in written["reference"].items()},
        "arm": Arm.model_validate(written["arm"]),
        "training": Training.model_validate(written["training"]),
    }
    return Job(**(written | typed)), Path(checkpoint) if checkpoint else None


def _free_memory() -> None:
    """Hands what this process holds of a GPU to those that will train."""
    import gc

    import torch

    gc.collect()
    torch.cuda.empty_cache()


def _follower(log: Path, advance: console.Advance) -> Callable[[], None]:
    """Moves the bar on by the rows that the log has gained."""
    seen = 0

    def follow() -> None:
        nonlocal seen
        rows = log.read_text(encoding="utf-8").count("\n") if log.is_file() else 0
        advance(rows - seen)
        seen = rows

    return follow


def _logger(log: Path) -> Any:
    """Writes the trainer's log, a row a step, for the process that waits."""
    from transformers import TrainerCallback

    class Logger(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
            if state.is_world_process_zero:
                rows = [row for row in state.log_history if "loss" in row]
                artifacts.write_jsonl(log, rows)

    return Logger()


def main(folder: Path) -> None:
    """One of the processes of a launched training: trains, and saves the model or its adapters."""
    from accelerate import PartialState

    launching.end_with_launcher()
    job, checkpoint = _read(folder)
    import torch

    processes = PartialState(cpu=not torch.cuda.is_available()).num_processes
    trainer = _trainer(job, folder, [_logger(folder / LOG), _marker()], keeps=True, processes=processes)
    _run(trainer, checkpoint)
    trainer.save_model(str(folder / SAVED))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
