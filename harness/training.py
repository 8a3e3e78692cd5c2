"""Training one arm with TRL's DPOTrainer: the only module that imports TRL."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness import artifacts, console, losses
from harness.displacement import PairLogprobs
from harness.models import ModelPath, load_model
from harness.recipe import LOSS_SETTINGS, Arm, FineTuning, Training

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import DPOTrainer

    Loss = Callable[[losses.Batch], Tensor]

Watch = Callable[["PreTrainedModel", int], None]
"""Called with the model in training and the number of optimizer steps taken: before the first, and after each."""


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


def train(
    model_path: str | ModelPath,
    pairs: Dataset,
    reference: Mapping[str, PairLogprobs],
    arm: Arm,
    training: Training,
    *,
    steps: int,
    seed: int,
    label: str,
    chat_template: str | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Trains a copy of the model on the pairs.

    Args:
        model_path: checkpoint directory or hub id of the starting (and reference) model.
        pairs: explicit preference pairs with `pair_id`.
        reference: the starting model's log-probabilities of every pair, so no reference model is held.
        arm: the objective.
        training: DPOTrainer's settings; as in the paper's runs the rate is constant and gradients are not clipped.
        steps: optimizer steps.
        seed: of the batch order.
        label: what the bar calls the run.
        chat_template: for a tokenizer that has none.
        watch: sees the model before the first step and after each.
    """
    model, tokenizer = _loaded(model_path, seed, chat_template)
    with _callbacks(f"Training {label}", steps, watch) as callbacks, tempfile.TemporaryDirectory() as scratch:
        trainer = _trainer(arm, training)(
            model=model,
            args=_config(arm, training, steps, seed, scratch),
            train_dataset=_table(pairs, reference),
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        return _trained(trainer, tokenizer)


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

    model, tokenizer = _loaded(model_path, seed, chat_template)
    steps = -(-len(answers) // settings.batch_size)
    with _callbacks("Fine-tuning", steps) as callbacks, tempfile.TemporaryDirectory() as scratch:
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(num_train_epochs=1, max_length=None, **_shared(settings, seed, scratch)),
            train_dataset=answers,
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        return _trained(trainer, tokenizer)


def _loaded(
    model_path: str | ModelPath, seed: int, chat_template: str | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """In float32, as the paper's code trains: half-precision weights would round steps of 5e-6 away."""
    from transformers import set_seed

    set_seed(seed)
    model, tokenizer = load_model(model_path, chat_template=chat_template)
    return model.float(), tokenizer


def _trained(trainer: Any, tokenizer: PreTrainedTokenizerBase) -> Trained:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return Trained(trainer.model, tokenizer, [row for row in trainer.state.log_history if "loss" in row])


def _table(pairs: Dataset, reference: Mapping[str, PairLogprobs]) -> Dataset:
    """The columns TRL reads, the reference's log-probabilities among them."""
    table = pairs.select_columns(["prompt", "chosen", "rejected"])
    known = [reference[name] for name in pairs["pair_id"]]
    table = table.add_column("ref_chosen_logps", [each.chosen for each in known])
    return table.add_column("ref_rejected_logps", [each.rejected for each in known])


def _config(arm: Arm, training: Training, steps: int, seed: int, scratch: str) -> Any:
    from trl import DPOConfig

    own = _own_loss(arm, _beta(arm, training)) is not None
    return DPOConfig(
        max_steps=steps,
        beta=_beta(arm, training),
        loss_type=["sigmoid" if own else arm.loss] + ["sft"] * bool(arm.sft_weight),
        label_smoothing=arm.label_smoothing or 0.0,
        precompute_ref_log_probs=True,
        max_length=training.max_length,
        **_shared(training, seed, scratch) | {"learning_rate": arm.learning_rate or training.learning_rate},
    )


def _shared(settings: Training | FineTuning, seed: int, scratch: str) -> dict[str, Any]:
    """What both trainers are told."""
    import torch

    micro = min(settings.micro_batch_size, settings.batch_size)
    return {
        "output_dir": scratch,
        "seed": seed,
        "data_seed": seed,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": settings.batch_size // micro,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "optim": "rmsprop",
        "bf16": torch.cuda.is_available(),
        "gradient_checkpointing": torch.cuda.is_available(),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def _beta(arm: Arm, training: Training) -> float:
    return arm.beta or training.beta


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


def _trainer(arm: Arm, training: Training) -> type[DPOTrainer]:
    """DPOTrainer with the arm's loss where TRL lacks it, and the SFT term over whole answers."""
    from trl import DPOTrainer

    own = _own_loss(arm, _beta(arm, training))

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
    """A bar that follows the training, and one who watches it."""
    from transformers import TrainerCallback

    with console.bar(label, steps, "steps") as advance:

        class Follower(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
                if watch:
                    watch(model, 0)

            def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
                if watch:
                    watch(model, state.global_step)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
                if logs and "loss" in logs:
                    advance(extra=f"loss {logs['loss']:.3f}")

        yield [Follower()]
