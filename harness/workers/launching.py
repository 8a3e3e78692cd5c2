"""Several processes for one training: `accelerate launch`, on this machine or on several."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import psutil

from harness.recipes.schema import Launch
from harness.support.errors import HarnessError
from harness.support.versions import install_hint
from harness.workers.machine import gpu_names, thread_count

PACKAGED_CONFIGS = ("ddp", "fsdp2", "deepspeed")
LAUNCHER_VARIABLE = "HARNESS_LAUNCHER"
"""Environment variable: the command that starts another one on each machine (`srun --nodes 2 --ntasks-per-node 1`)."""
_PARENT_VARIABLE = "HARNESS_LAUNCHED_BY"


def accelerate_config(launch: Launch) -> Path:
    """The Accelerate configuration that a recipe names. Raises HarnessError where there is none."""
    if launch.config in PACKAGED_CONFIGS:
        return Path(str(resources.files("harness.workers.accelerate").joinpath(f"{launch.config}.yaml")))
    path = Path(launch.config)
    if not path.is_file():
        hint = f"Give {', '.join(PACKAGED_CONFIGS)} or the path of a file that `accelerate config` wrote."
        raise HarnessError("no such Accelerate configuration", place=launch.config, hint=hint)
    return path.resolve()


def check_launch(launch: Launch) -> None:
    """Raises HarnessError where the processes could not be started, before any work."""
    accelerate_config(launch)
    if launch.config == "deepspeed" and find_spec("deepspeed") is None:
        hint = f"{install_hint('deepspeed')}, or use config: fsdp2."
        raise HarnessError("DeepSpeed is not installed", place="training.launch", hint=hint)
    here, gpus = launch.processes // launch.machines, len(gpu_names())
    if gpus and here > gpus:
        raise HarnessError(
            f"{here} processes on a machine with {gpus} GPUs", place="training.launch", hint="Give processes as many."
        )
    if launch.config in PACKAGED_CONFIGS[1:] and not gpus and launch.machines == 1:
        raise HarnessError(
            f"{launch.config} needs GPUs, and this machine has none", place="training.launch", hint="Use config: ddp."
        )
    if launch.machines > 1 and not os.environ.get(LAUNCHER_VARIABLE):
        raise HarnessError(
            f"{launch.machines} machines, and nothing to start processes on them with",
            place="training.launch",
            hint=f"Set {LAUNCHER_VARIABLE} to a command that does, such as "
            f"'srun --nodes {launch.machines} --ntasks-per-node 1'.",
        )


def launch_processes(launch: Launch, module: str, argument: Path, log: Path, follow: Callable[[], None]) -> None:
    """Runs `python -m module argument` in the processes and waits for them.

    Args:
        launch: how many, where and with what.
        module: a module whose main runs in each process.
        argument: a path that means the same on all machines.
        log: where what they print goes.
        follow: called a few times a second meanwhile.

    Raises HarnessError where one of them fails; all are stopped then, as they are when this process ends.
    """
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(  # noqa: S603 (the prefix is the user's own)
            _launch_command(launch, module, argument),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=_launch_environment(launch),
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                follow()
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if process.returncode:
        told = f"a training process failed (exit code {process.returncode}); the file tells why, at its end"
        raise HarnessError(told, place=str(log))
    follow()


def end_with_launcher() -> None:
    """In a launched process: ends it when the run that asked for it has ended on this machine, however that ended."""
    host, _, parent = os.environ.get(_PARENT_VARIABLE, "").rpartition(":")
    if host == socket.gethostname():
        threading.Thread(target=_exit_when_gone, args=(int(parent),), daemon=True).start()


def _exit_when_gone(parent: int) -> None:
    while psutil.pid_exists(parent):
        time.sleep(1)
    os._exit(1)


def _launch_command(launch: Launch, module: str, argument: Path) -> list[str]:
    several = [
        *("--machine_rank", "0", "--rdzv_backend", "c10d"),
        *("--main_process_ip", os.environ.get("MASTER_ADDR", socket.gethostname())),
        *("--main_process_port", os.environ.get("MASTER_PORT", "29500")),
    ]
    return [
        *shlex.split(os.environ.get(LAUNCHER_VARIABLE, "") if launch.machines > 1 else ""),
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", str(accelerate_config(launch))),
        *("--num_processes", str(launch.processes), "--num_machines", str(launch.machines)),
        *(several if launch.machines > 1 else ["--machine_rank", "0", "--main_process_port", "0"]),
        *("-m", module, str(argument)),
    ]


def _launch_environment(launch: Launch) -> dict[str, str]:
    threads = max(1, thread_count() // (launch.processes // launch.machines))
    kept = {name: value for name, value in os.environ.items() if name not in {"RANK", "WORLD_SIZE", "LOCAL_RANK"}}
    return kept | {
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        _PARENT_VARIABLE: f"{socket.gethostname()}:{os.getpid()}",
    }
