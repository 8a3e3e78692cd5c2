"""TRL's trainers, the weights that they start from, and their checkpoints: the only module that imports TRL."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Sampler
from transformers import BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

from harness.models.loading import load_model
from harness.models.paths import ModelPath
from harness.recipes.schema import LOSS_SETTINGS, Arm, FineTuning, Lora, Optimization
from harness.scoring.logprobs import PairLogprobs, profile_model, tokenize_pairs
from harness.scoring.packing import decoder_body, use_trie_attention
from harness.support import artifacts, console
from harness.training.arms import reward_differences
from harness.training.by_token import (
    align_answers,
    draw_counts,
    draw_pilot,
    rejected_token_weights,
)
from harness.training.changing import ChangingPairs
from harness.training.jobs import COMPLETE_MARK, Tracking, Trained, TrainingJob, Watch, check_quantization, micro_batch
from harness.training.losses import (
    LogprobBatch,
    alphapo_loss,
    ccpo_loss,
    cpo_loss,
    dpo_loss,
    dpo_shift_loss,
    dpop_loss,
    ipo_sequence_loss,
    pipa_loss,
    pro_loss,
    reward_distillation_loss,
    sft_loss,
    sgdpo_loss,
    simpo_loss,
)
from harness.training.packed import pack_forward, packing_doubts

# bitsandbytes, which a trainer's module imports where it is installed, says at import that a faster kernel is not.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
from peft import LoraConfig, PeftModel  # noqa: E402
from transformers import PrinterCallback, TrainerCallback, set_seed  # noqa: E402
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer  # noqa: E402
from trl.trainer import dpo_trainer  # noqa: E402

Loss = Callable[[LogprobBatch], Tensor]
_ADAPTER_ARGUMENTS = {"optim": "adamw_torch", "lr_scheduler_type": "cosine", "warmup_steps": 5, "max_grad_norm": 1.0}
"""How adapters are commonly fine-tuned; the paper's constant rate without clipping is for all weights."""


# Trainers


def build_trainer(
    job: TrainingJob,
    folder: Path,
    callbacks: list[Any],
    *,
    keeps: bool,
    processes: int = 1,
    changing: ChangingPairs | None = None,
) -> DPOTrainer:
    """TRL's trainer, ready to train on all pairs, or on those of `changing` that are kept at a step.

    The configuration comes first: it tells transformers how to load the weights.
    """
    config = _dpo_config(job, folder, keeps, processes)
    model, tokenizer = load_trainable(job.model_path, job.seed, job.chat_template, job.training.lora)
    table = _with_reference_logps(job.pairs, job.reference)
    for name, column in _objective_columns(job, model, tokenizer).items():
        table = (table.remove_columns(name) if name in table.column_names else table).add_column(name, column)
    with _no_reference_model():
        trainer = _trainer_class(job, changing)(
            model=model,
            args=config,
            train_dataset=table,
            processing_class=tokenizer,
            callbacks=callbacks,
            peft_config=lora_config(job.training.lora),
        )
    trainer.packs = job.training.packed and _can_pack(trainer, job.training.lora)
    if trainer.packs:
        pack_forward(trainer.model)
    trainer.data_collator = _collate_with_columns(trainer.data_collator)
    trainer._set_signature_columns_if_needed()  # the columns that a batch is made of
    trainer._signature_columns += _OBJECTIVE_COLUMNS
    return trainer


def _can_pack(trainer: DPOTrainer, lora: Lora | None) -> bool:
    """Whether packed batches train as padded ones do; where not, a line on standard error says why."""
    if trainer.is_deepspeed_enabled:
        doubts: list[str | None] = ["DeepSpeed has parted the weights already"]
    elif trainer.aux_loss_enabled:
        doubts = ["the loss that balances experts counts every copy of a prompt"]
    else:  # under FSDP only the first process has weights to try it with
        doubts = [packing_doubts(trainer.model, lora) if trainer.accelerator.is_main_process else None]
        broadcast_object_list(doubts)
    if doubts[0] is not None:
        console.print_note(f"training in padded batches, each prompt twice: {doubts[0]}")
    return doubts[0] is None


def build_sft_trainer(
    model_path: str | ModelPath,
    answers: Dataset,
    settings: FineTuning,
    folder: Path,
    callbacks: list[Any],
    *,
    seed: int,
    chat_template: str | None,
    epochs: int = 1,
    lora: Lora | None = None,
) -> SFTTrainer:
    """TRL's trainer for supervised fine-tuning, ready to train: of all weights as the paper does, or of adapters."""
    arguments = _shared_arguments(settings, seed, folder) | (_ADAPTER_ARGUMENTS if lora else {})
    config = SFTConfig(num_train_epochs=epochs, max_length=None, **arguments)
    model, tokenizer = load_trainable(model_path, seed, chat_template)
    return SFTTrainer(
        model=model,
        args=config,
        train_dataset=answers,
        processing_class=tokenizer,
        callbacks=callbacks,
        peft_config=lora_config(lora),
    )


def run_trainer(trainer: Any, checkpoint: Path | None = None) -> None:
    """Trains, from a checkpoint where one is given, without printing the log."""
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _with_reference_logps(pairs: Dataset, reference: Mapping[str, PairLogprobs]) -> Dataset:
    """The columns TRL reads, the reference's log-probabilities among them."""
    table = pairs.select_columns(["prompt", "chosen", "rejected"])
    known = [reference[name] for name in pairs["pair_id"]]
    table = table.add_column("ref_chosen_logps", [each.chosen for each in known])
    return table.add_column("ref_rejected_logps", [each.rejected for each in known])


_CHOSEN_REFERENCE, _REJECTED_REFERENCE = "ref_chosen_token_logps", "ref_rejected_token_logps"
_REJECTED_WEIGHTS, _REWARD_DIFFERENCE = "rejected_token_weights", "reward_difference"
_OBJECTIVE_COLUMNS = (_CHOSEN_REFERENCE, _REJECTED_REFERENCE, _REJECTED_WEIGHTS, _REWARD_DIFFERENCE)
"""What some objectives read of a pair beside TRL's columns: a number, or one for each token of an answer."""


def _objective_columns(
    job: TrainingJob, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> dict[str, list[Any]]:
    """The columns that the arm's objective reads of the pairs, by name; the model is still the starting one."""
    arm, names = job.arm, job.pairs["pair_id"][:]
    if arm.rewards is not None:
        return {_REWARD_DIFFERENCE: reward_differences(job.pairs, arm.rewards)}
    if not arm.reads_start_by_token:
        return {}
    if torch.cuda.is_available() and not (job.training.launch or job.training.quantize):
        model.to("cuda")  # where the trainer would put it
    tokens = tokenize_pairs(job.pairs, tokenizer, job.training.max_length)
    profile = profile_model(model, tokens)
    if arm.loss == "sgdpo":
        sides = {_CHOSEN_REFERENCE: profile.chosen, _REJECTED_REFERENCE: profile.rejected}
        return {column: [side[name].tolist() for name in names] for column, side in sides.items()}
    weights = rejected_token_weights(model, tokens)
    weighted = [float(profile.rejected[name] @ weights[name]) for name in names]
    return {"ref_rejected_logps": weighted, _REJECTED_WEIGHTS: [weights[name] for name in names]}


@contextmanager
def _no_reference_model() -> Iterator[None]:
    """Inside the block TRL loads no reference model, as under FSDP it does though the log-probabilities are given."""
    loads = dpo_trainer.create_model_from_path
    dpo_trainer.create_model_from_path = lambda *_, **__: None
    try:
        yield
    finally:
        dpo_trainer.create_model_from_path = loads


def _dpo_config(job: TrainingJob, folder: Path, keeps: bool, processes: int) -> Any:
    arm, training = job.arm, job.training
    own = _own_loss(arm, _dpo_beta(job)) is not None
    return DPOConfig(
        max_steps=job.steps,
        beta=_dpo_beta(job),
        loss_type=["sigmoid" if own else arm.loss] + ["sft"] * bool(arm.sft_weight),
        label_smoothing=arm.label_smoothing or 0.0,
        train_sampling_strategy="random" if arm.order == "shuffled" else "sequential",
        precompute_ref_log_probs=True,
        max_length=training.max_length,
        **_shared_arguments(training, job.seed, folder, processes)
        | _tracking_arguments(job.tracking)
        | {"learning_rate": arm.learning_rate or training.learning_rate}
        | ({"save_strategy": "steps", "save_steps": training.checkpoint_every, "save_total_limit": 1} if keeps else {}),
    )


def _shared_arguments(settings: Optimization, seed: int, folder: Path, processes: int = 1) -> dict[str, Any]:
    """What both trainers are told."""
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


def _tracking_arguments(tracking: Tracking | None) -> dict[str, Any]:
    """What the trainer's callbacks are told of where to report."""
    if tracking is None:
        return {}
    return {"report_to": list(tracking.trackers), "run_name": tracking.run, "project": tracking.project}


def _dpo_beta(job: TrainingJob) -> float:
    return job.arm.beta or job.training.beta


_BATCH_SETTINGS = frozenset({"rewards", "pilot_share"})
"""Settings of a loss that say what its batches hold; the loss itself does not take them."""


def _own_loss(arm: Arm, beta: float) -> Loss | None:
    """The arm's loss where it is one of `harness.training.losses`, None where it is TRL's."""
    settings = {name: getattr(arm, name) for name in LOSS_SETTINGS.get(arm.loss, frozenset()) - _BATCH_SETTINGS}
    own: Mapping[str, Callable[..., Tensor]] = {
        "ipo_sequence": ipo_sequence_loss,
        "cpo": cpo_loss,
        "dpop": dpop_loss,
        "simpo": simpo_loss,
        "alphapo": alphapo_loss,
        "dpo_shift": dpo_shift_loss,
        "sgdpo": sgdpo_loss,
        "pro": pro_loss,
        "reward_distillation": reward_distillation_loss,
        "nthr": dpo_loss,
        "pipa": pipa_loss,
        "ccpo": ccpo_loss,
    }
    return partial(own[arm.loss], beta=beta, **settings) if arm.loss in own else None


class _ChangingBatches(Sampler[list[int]]):
    """So many batches of the pairs that are kept when each is asked for."""

    def __init__(self, changing: ChangingPairs, batches: int, size: int) -> None:
        self._changing, self._batches, self._size = changing, batches, size

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        return (self._changing.take(self._size) for _ in range(self._batches))


def _trainer_class(job: TrainingJob, changing: ChangingPairs | None) -> type[DPOTrainer]:
    """DPOTrainer with the arm's loss where TRL lacks it, the SFT term over whole answers, and pairs that change."""
    arm, own = job.arm, _own_loss(job.arm, _dpo_beta(job))

    class Trainer(DPOTrainer):  # type: ignore[misc]
        def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:  # noqa: ARG002
            return dataset  # it carries the starting model's log-probabilities, so none is loaded

        def get_train_dataloader(self) -> Any:
            if changing is None:
                return super().get_train_dataloader()
            table = self._remove_unused_columns(self.train_dataset, description="training")
            count = job.steps * self.args.gradient_accumulation_steps
            batches = _ChangingBatches(changing, count, self.args.train_batch_size)
            # Accelerate's own loader holds the next batch before a step's end, so a change would come a batch late.
            return DataLoader(table, batch_sampler=batches, collate_fn=self.data_collator)

        def training_step(self, *args: Any, **options: Any) -> Any:
            with use_trie_attention(decoder_body(self.model)) if self.packs else nullcontext():
                return super().training_step(*args, **options)

        def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool) -> Any:
            if own is None:
                chosen = inputs["completion_mask"].chunk(2)[0]
                # TRL's SFT term is a mean over the batch's tokens: times tokens a pair, it is one over pairs.
                self.loss_weights = [1.0, arm.sft_weight * float(chosen.sum()) / len(chosen)][: len(self.loss_types)]
                return super()._compute_loss(model, inputs, return_outputs)
            batch, outputs = _forward_pairs(model, inputs, arm)
            loss = (own(batch) + arm.sft_weight * sft_loss(batch)).mean()
            return (loss, outputs) if return_outputs else loss

    return cast("type[DPOTrainer]", Trainer)


def _collate_with_columns(collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]]) -> Any:
    """TRL's collator, and the `_OBJECTIVE_COLUMNS` that the pairs have: [pairs], or by token [pairs, longest]."""

    def collate_all(pairs: list[dict[str, Any]]) -> dict[str, Tensor]:
        known = [name for name in _OBJECTIVE_COLUMNS if name in pairs[0]]
        values = [[torch.tensor(pair[name]) for pair in pairs] for name in known]
        padded = [pad_sequence(each, batch_first=True) if each[0].ndim else torch.stack(each) for each in values]
        return collate(pairs) | dict(zip(known, padded, strict=True))

    return collate_all


def _forward_pairs(model: Any, inputs: Mapping[str, Tensor], arm: Arm) -> tuple[LogprobBatch, Any]:
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
    batch = LogprobBatch(chosen, rejected, *references, chosen_tokens, rejected_tokens)
    return _add_objective_terms(batch, inputs, outputs.log_probs, arm), outputs


def _add_objective_terms(
    batch: LogprobBatch, inputs: Mapping[str, Tensor], log_probs: Tensor, arm: Arm
) -> LogprobBatch:
    """The batch with what `_OBJECTIVE_COLUMNS` tell of it; `log_probs` [2 pairs, n] by token, zeros where none is."""
    if _REWARD_DIFFERENCE in inputs:
        return replace(batch, reward_difference=inputs[_REWARD_DIFFERENCE])
    if not arm.reads_start_by_token:
        return batch
    mask = inputs["completion_mask"][:, -log_probs.shape[1] :]
    chosen, rejected = align_answers(log_probs, mask).chunk(2)
    if arm.pilot_share is None:
        weights = inputs[_REJECTED_WEIGHTS]
        return replace(batch, rejected=(rejected[:, : weights.shape[1]] * weights).sum(1))
    counts = draw_counts(batch.chosen_tokens, batch.rejected_tokens, arm.pilot_share)
    sides = (chosen, _CHOSEN_REFERENCE, batch.chosen_tokens), (rejected, _REJECTED_REFERENCE, batch.rejected_tokens)
    pilots = [
        draw_pilot(logprobs[:, : inputs[name].shape[1]] - inputs[name], tokens, counts)
        for logprobs, name, tokens in sides
    ]
    return replace(batch, chosen_pilot=pilots[0], rejected_pilot=pilots[1])


# Weights: load, quantize, merge


def load_trainable(
    model_path: str | ModelPath, seed: int, chat_template: str | None, lora: Lora | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """In float32, as half-precision weights would round steps of 5e-6 away; `bf16` is autocast alone."""
    set_seed(seed)
    if lora is not None and lora.quantize is not None:
        return load_quantized(model_path, lora.quantize, chat_template)
    model, tokenizer = load_model(model_path, chat_template=chat_template, placed=False)
    return model.float(), tokenizer


_REPACKS = "support_avx512bf16_for_cpu"
"""Where it is true, bitsandbytes lays 4-bit weights out anew at a pass in evaluation mode, for good and without a
gradient: whatever is measured of a model on a CPU, before or while it is trained, would end its training."""


def load_quantized(
    model_path: str | ModelPath, kind: str, chat_template: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model as QLoRA trains it: weights in 4-bit normal floats, with quantized constants (section 3 of its paper).

    Raises HarnessError where bitsandbytes is missing.
    """
    check_quantization()
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_quant_storage=torch.bfloat16,  # FSDP shards weights of one type only
    )
    options = {"quantization_config": quantization}
    model, tokenizer = load_model(model_path, chat_template=chat_template, placed=False, options=options)
    for module in model.modules():
        if hasattr(module, _REPACKS):
            setattr(module, _REPACKS, False)
    return model, tokenizer


def lora_config(lora: Lora | None) -> Any:
    """What peft is told of the adapters; None where there are none."""
    if lora is None:
        return None
    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=modules,
        task_type="CAUSAL_LM",
    )


def merge_adapters(job: TrainingJob, trained: Path, log: list[dict[str, float]]) -> Trained:
    """The starting model with the trained adapters added to its weights, which are in float32 and never quantized."""
    base, tokenizer = load_model(job.model_path, chat_template=job.chat_template)
    return Trained(PeftModel.from_pretrained(base.float(), str(trained)).merge_and_unload(), tokenizer, log)


# Callbacks and checkpoints


@contextmanager
def progress_callbacks(label: str, steps: int, watch: Watch | None = None) -> Iterator[list[Any]]:
    """A bar that follows the training, one who watches it, and a mark on each checkpoint that is whole."""
    with console.progress_bar(label, steps, "steps") as advance:

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

        yield [Follower(), CheckpointMarker()]


class LogWriter(TrainerCallback):  # type: ignore[misc]
    """Writes the trainer's log, a row a step, for the process that waits."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Writes all of it anew."""
        if state.is_world_process_zero:
            artifacts.write_jsonl(self._log, loss_rows(state))


class CheckpointMarker(TrainerCallback):  # type: ignore[misc]
    """Marks each checkpoint when all processes have written their part: one that is killed half-way has no mark."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """The mark, once every process is there."""
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE_MARK).touch()


def loss_rows(state: Any) -> list[dict[str, float]]:
    """The rows of a trainer's log that a step wrote, from the trainer's state; the last one sums the training up."""
    return [row for row in state.log_history if "loss" in row]


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint of an earlier try; what is not whole is removed."""
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [path for path in checkpoints if (path / COMPLETE_MARK).is_file()]
    for path in checkpoints:
        if path not in whole:
            shutil.rmtree(path)
    return whole[-1] if whole else None
