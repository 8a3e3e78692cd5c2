"""Training beyond one process and one life: checkpoints, adapters, 4-bit weights, `accelerate launch`."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import psutil
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from harness.cli import app
from harness.models.loading import load_model
from harness.models.paths import ModelPath
from harness.recipes.loading import load_recipe
from harness.recipes.schema import Arm, FineTuning, Launch, Lora, TrainingSettings
from harness.scoring.logprobs import pair_logprobs
from harness.support.errors import HarnessError
from harness.training.jobs import COMPLETE_MARK, TrainingJob, micro_batch
from harness.training.train import train_on_pairs
from harness.training.trl import build_trainer, load_quantized
from harness.workers import launching
from harness.workers.launching import LAUNCHER_VARIABLE, _launch_command, check_launch

SETTINGS = {"batch_size": 4, "micro_batch_size": 1, "learning_rate": 1e-3}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def job(pairs, reference, micro):
    def made(steps=3, arm=None, **settings):
        return TrainingJob(
            str(micro),
            pairs,
            reference,
            arm or Arm(),
            TrainingSettings(**SETTINGS | settings),
            steps,
            seed=0,
            label="test",
        )

    return made


def weights(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Settings


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "expected"),
    [(32, 4, 1, 4), (32, 5, 1, 4), (2, 4, 1, 2), (32, 4, 8, 4), (32, 8, 8, 4), (12, 5, 2, 3), (7, 4, 1, 1)],
)
def test_a_micro_batch_shares_the_batch_evenly(batch, micro, processes, expected):
    assert micro_batch(FineTuning(batch_size=batch, micro_batch_size=micro), processes) == expected


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"config": "ddp", "processes": 3}, "3 processes cannot share 32 pairs evenly"),
        ({"config": "ddp", "processes": 4, "machines": 3}, "a multiple of machines"),
    ],
)
def test_processes_that_cannot_share_a_batch_are_refused(keys, told):
    given = [f"training.launch.{name}={value}" for name, value in keys.items()]
    with pytest.raises(HarnessError, match=told):
        load_recipe("miniature", given)


def test_a_launch_that_cannot_be_is_told_before_any_work(monkeypatch):
    monkeypatch.setattr(launching, "gpu_names", list)
    monkeypatch.delenv(LAUNCHER_VARIABLE, raising=False)
    check_launch(Launch(config="ddp", processes=2))
    with pytest.raises(HarnessError, match=r"no-such\.yaml: no such Accelerate configuration"):
        check_launch(Launch(config="no-such.yaml", processes=2))
    monkeypatch.setattr(launching, "find_spec", lambda _: None)
    with pytest.raises(HarnessError, match=r"pip install '\.\[deepspeed\]' in a checkout"):
        check_launch(Launch(config="deepspeed", processes=2))
    with pytest.raises(HarnessError, match="fsdp2 needs GPUs, and this machine has none"):
        check_launch(Launch(config="fsdp2", processes=2))
    with pytest.raises(HarnessError, match="Set HARNESS_LAUNCHER to a command that does"):
        check_launch(Launch(config="fsdp2", processes=4, machines=2))
    monkeypatch.setattr(launching, "gpu_names", lambda: ["GPU"] * 2)
    with pytest.raises(HarnessError, match="4 processes on a machine with 2 GPUs"):
        check_launch(Launch(config="fsdp2", processes=4))
    check_launch(Launch(config="fsdp2", processes=2))


@pytest.mark.parametrize(("config", "kind"), [("ddp", "MULTI_GPU"), ("fsdp2", "FSDP"), ("deepspeed", "DEEPSPEED")])
def test_accelerate_reads_the_packaged_configurations(config, kind):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    # Private, as to start eight processes takes eight GPUs; Accelerate's own reader says what they would be.
    command = _launch_command(Launch(config=config, processes=8), "harness.training.launched", "folder")
    given = launch_command_parser().parse_args(command[command.index("accelerate.commands.launch") + 1 :])
    assert load_config_from_file(given.config_file).distributed_type.value == kind
    arguments, _, _ = _validate_launch_command(given)
    assert (arguments.multi_gpu, arguments.use_fsdp, arguments.use_deepspeed) == (
        kind == "MULTI_GPU",
        kind == "FSDP",
        kind == "DEEPSPEED",
    )
    assert (arguments.num_processes, arguments.num_machines) == (8, 1)
    if kind == "FSDP":
        assert (arguments.fsdp_version, arguments.fsdp_state_dict_type) == (2, "FULL_STATE_DICT")
    if kind == "DEEPSPEED":
        assert (arguments.zero_stage, arguments.zero3_save_16bit_model) == (3, True)


# Checkpoints


class StopError(Exception):
    pass


def stop_after(step):
    def watch(_, done):
        if done == step:
            raise StopError

    return watch


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_same_weights(job, tmp_path):
    whole = train_on_pairs(job(steps=4, checkpoint_every=1))
    with pytest.raises(StopError):
        train_on_pairs(job(steps=4, checkpoint_every=1), watch=stop_after(3), keep=tmp_path)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    seen = []
    resumed = train_on_pairs(job(steps=4, checkpoint_every=1), watch=lambda _, step: seen.append(step), keep=tmp_path)
    assert seen == [2, 3, 4]
    assert same(weights(resumed.model), weights(whole.model))
    assert [row["loss"] for row in resumed.log] == [row["loss"] for row in whole.log]
    assert len(whole.log) == 4


@pytest.mark.slow
def test_half_a_checkpoint_is_not_gone_on_from(job, tmp_path):
    with pytest.raises(StopError):
        train_on_pairs(job(steps=3, checkpoint_every=1), watch=stop_after(2), keep=tmp_path)
    (tmp_path / "checkpoint-1" / COMPLETE_MARK).unlink()
    seen = []
    train_on_pairs(job(steps=3, checkpoint_every=1), watch=lambda _, step: seen.append(step), keep=tmp_path)
    assert seen == [0, 1, 2, 3]


@pytest.mark.slow
def test_other_settings_start_anew(micro, tmp_path):
    """The run directory's own training: what another rate began is thrown away."""
    from harness.support import artifacts

    begun = artifacts.resume_or_clear(tmp_path / "a", {"rate": 1})
    (begun / "checkpoint-1").mkdir()
    assert (artifacts.resume_or_clear(tmp_path / "a", {"rate": 1}) / "checkpoint-1").is_dir()
    assert not (artifacts.resume_or_clear(tmp_path / "a", {"rate": 2}) / "checkpoint-1").exists()


# Adapters


@pytest.mark.slow
def test_adapters_change_the_linear_layers_by_a_matrix_of_their_rank(job, micro):
    lora = Lora(rank=2, alpha=8)
    trained = train_on_pairs(job(lora=lora, learning_rate=0.01))
    before, after = weights(load_model(str(micro))[0]), weights(trained.model)
    assert before.keys() == after.keys()
    assert after["lm_head.weight"].dtype == torch.float32
    changed = {name for name in before if not torch.equal(before[name].float(), after[name])}
    assert changed == {name for name in before if name.endswith("_proj.weight")}
    for name in changed:
        singular = torch.linalg.svdvals(after[name] - before[name].float())
        assert singular[0] > 1e-3
        assert singular[2:].max() < 1e-5 * singular[0] + 1e-7


def wide(micro, out):
    """The micro model in sizes that bitsandbytes has kernels for."""
    config = AutoConfig.from_pretrained(micro, hidden_size=64, intermediate_size=128, head_dim=32)
    AutoModelForCausalLM.from_config(config).save_pretrained(out)
    AutoTokenizer.from_pretrained(micro).save_pretrained(out)
    return str(out)


@pytest.mark.slow
def test_adapters_on_weights_in_four_bits(job, micro, pairs, tmp_path):
    """The objective refers to the quantized weights it starts from, so its first loss is ln 2."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install '.[qlora]'")
    path = wide(micro, tmp_path)
    model, tokenizer = load_quantized(path, "nf4")
    assert model.is_loaded_in_4bit
    given = job(lora=Lora(rank=2, quantize="nf4"))
    trained = train_on_pairs(replace(given, model_path=path, reference=pair_logprobs(model, tokenizer, pairs)))
    assert trained.log[0]["loss"] == pytest.approx(0.6931, abs=0.02)  # bfloat16 sums of some 100 nats
    assert trained.log[-1]["loss"] < trained.log[0]["loss"] - 0.02
    assert trained.model.dtype == torch.float32
    assert not getattr(trained.model, "is_loaded_in_4bit", False)


@pytest.mark.slow
def test_a_four_bit_model_keeps_its_gradients_after_it_was_measured(micro, tmp_path):
    """On processors with AVX512-BF16 bitsandbytes would lay its weights out anew, and end the gradient there."""
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install '.[qlora]'")
    model, _ = load_quantized(wide(micro, tmp_path), "nf4")
    ids = torch.arange(8)[None]

    def gradient():
        states = model.get_input_embeddings()(ids).detach().requires_grad_()
        model.train()(inputs_embeds=states).logits.float().square().sum().backward()
        return states.grad

    before = gradient()
    with torch.no_grad():
        model.eval()(input_ids=ids)
    assert torch.equal(gradient(), before)


def test_four_bits_without_bitsandbytes_are_told_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setattr("harness.training.jobs.find_spec", lambda _: None)
    result = CliRunner().invoke(app, ["run", "--out", str(tmp_path / "run"), "--set", "training.lora.quantize=nf4"])
    assert isinstance(result.exception, HarnessError)
    assert "pip install '.[qlora]' in a checkout" in str(result.exception)
    assert not (tmp_path / "run").exists()


# The reference model


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_no_reference_model_is_held(job, tmp_path, monkeypatch, sharded):
    """Under FSDP TRL would load one; whether it is enabled is all that its constructor asks there."""
    from transformers import Trainer

    prepared = Trainer.create_accelerator_and_postprocess

    def create(self):
        prepared(self)
        self.is_fsdp_enabled = sharded

    monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", create)
    assert build_trainer(job(), tmp_path, [], keeps=False).ref_model is None


# Several processes


def changes(model, tokenizer, pairs, reference):
    after = pair_logprobs(model, tokenizer, pairs)
    return [
        change
        for name in reference
        for change in (after[name].chosen - reference[name].chosen, after[name].rejected - reference[name].rejected)
    ]


@pytest.fixture(scope="module")
def in_one_process(pairs, reference, micro):
    trained = train_on_pairs(
        TrainingJob(str(micro), pairs, reference, Arm(), TrainingSettings(**SETTINGS), 2, seed=0, label="one")
    )
    found = changes(trained.model, trained.tokenizer, pairs, reference)
    assert max(map(abs, found)) > 0.1, "training has to move something for a comparison to mean anything"
    return found, [row["loss"] for row in trained.log]


@pytest.mark.slow
def test_two_processes_train_what_one_does(job, in_one_process, pairs, reference, tmp_path):
    launch = Launch(config="ddp", processes=2)
    trained = train_on_pairs(job(steps=2, launch=launch, checkpoint_every=2), keep=tmp_path)
    assert len(list((tmp_path / "checkpoint-2").glob("rng_state_*.pth"))) == 2, "one process alone would write one"
    moved, losses = in_one_process
    assert changes(trained.model, trained.tokenizer, pairs, reference) == pytest.approx(moved, abs=1e-3)
    assert [row["loss"] for row in trained.log] == pytest.approx(losses, abs=1e-3)


TWO_MACHINES = """#!/bin/sh
# Starts the command twice, as a cluster's launcher does on two machines; the second has rank 1.
second=$(printf '%s\\n' "$*" | sed 's/--machine_rank 0/--machine_rank 1/')
"$@" & sleep 2; $second; status=$?; wait; exit $status
"""


@pytest.mark.long  # the two processes of the test above, by a cluster's launcher
def test_two_machines_train_what_one_does(job, in_one_process, pairs, reference, tmp_path, monkeypatch):
    launcher = tmp_path / "launcher.sh"
    launcher.write_text(TWO_MACHINES)
    launcher.chmod(0o755)
    monkeypatch.setenv(LAUNCHER_VARIABLE, str(launcher))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29477")
    launch = Launch(config="ddp", processes=2, machines=2)
    trained = train_on_pairs(job(steps=2, launch=launch, checkpoint_every=2), keep=tmp_path / "keep")
    assert len(list((tmp_path / "keep" / "checkpoint-2").glob("rng_state_*.pth"))) == 2
    moved, _ = in_one_process
    assert changes(trained.model, trained.tokenizer, pairs, reference) == pytest.approx(moved, abs=1e-3)


@pytest.mark.slow
def test_a_launched_training_that_fails_names_its_log(job, tmp_path):
    (tmp_path / "empty").mkdir()
    given = replace(job(launch=Launch(config="ddp", processes=2)), model_path=ModelPath(str(tmp_path / "empty")))
    with pytest.raises(HarnessError, match=r"a training process failed \(exit code 1\)") as told:
        train_on_pairs(given, keep=tmp_path)
    assert told.value.place == str(tmp_path / "launch.log")
    assert "empty: cannot be loaded as a causal language model" in (tmp_path / "launch.log").read_text()


@pytest.mark.slow
def test_a_killed_run_takes_its_launched_processes_with_it(micro, tmp_path):
    code = (
        "import sys; from harness.workers import launching; from harness.recipes.schema import Launch;"
        "from pathlib import Path; launch = Launch(config='ddp', processes=2);"
        "launching.launch_processes(launch, 'sleeping', Path('x'), Path('launch.log'), lambda: None)"
    )
    (tmp_path / "sleeping.py").write_text(
        "import os, time; from pathlib import Path; from harness.workers import launching;"
        "launching.end_with_launcher(); Path(f'pid-{os.getpid()}').touch(); time.sleep(900)"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path})
    while len(pids := [int(file.name[4:]) for file in tmp_path.glob("pid-*")]) < 2:
        assert process.poll() is None, (tmp_path / "launch.log").read_text()
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=200)
    assert not alive


@pytest.mark.slow
def test_a_run_with_launched_adapters_end_to_end(micro, tmp_path):
    """An arm by LoRA in two processes: the run directory is as ever, and nothing of the training is left over."""
    out = tmp_path / "run"
    given = {
        "model": micro,
        "pairs.max_new_tokens": 8,
        "evaluation.max_new_tokens": 4,
        "training.batch_size": 8,
        "training.lora.rank": 2,
        "training.launch.config": "ddp",
        "training.launch.processes": 2,
        "arms": "{raw: {}}",
        "judge": "lexical",
    }
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(
        "".join(
            json.dumps(
                {"prompt_id": f"{kind}-{n}", "prompt": f"{kind} {n}?", "label": kind, "hazard": "x", "split": "train"}
            )
            + "\n"
            for kind in ("unsafe", "safe")
            for n in range(8)
        )
    )
    arguments = [f"--set={name}={value}" for name, value in (given | {"prompts": prompts}).items()]
    CliRunner().invoke(app, ["run", "--out", str(out), "--seeds", "1", *arguments], catch_exceptions=False)
    home = out / "arms" / "raw" / "seed-0"
    assert {path.name for path in home.iterdir()} == {"model", "training.json", "displacement.json", "eval"}
    assert json.loads((home / "training.json").read_text())["log"]
