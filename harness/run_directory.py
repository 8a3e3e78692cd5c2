"""The run directory: its manifest, and stages that run once for the same inputs and leave whole files."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

from harness import artifacts, console
from harness.blotting import blotted_in
from harness.errors import HarnessError

LIBRARIES = ("refusal-displacement", "torch", "transformers", "trl", "lm-eval", "datasets", "tokenizers", "numpy")


class RunDirectory:
    """A run directory and its manifest.json: recipe, versions, machine, model, stages, and every file's hash.

    `facts` are further parts of the manifest, on which no stage depends. Secrets are blotted out. Processes that share
    a run each have a copy of this object; what one of them records is added to the file.
    """

    def __init__(
        self, path: Path, recipe: Mapping[str, Any], model: Mapping[str, Any], facts: Mapping[str, Any] | None = None
    ) -> None:
        old = _old(path / "manifest.json")
        libraries = (*LIBRARIES, "vllm") if recipe.get("engine") == "vllm" else LIBRARIES
        self.path = path
        self.manifest: dict[str, Any] = {
            "schema_version": 1,
            "recipe": blotted_in(recipe),
            "model": blotted_in(model),
            **blotted_in(facts or {}),
            "source": _source(),
            "versions": {name: _version(name) for name in libraries} | {"python": platform.python_version()},
            "machine": _machine(),
            "stages": old["stages"],
            "files": old["files"],
        }
        self._reasons: dict[str, str] | None = None
        _warn_of_another_machine(old, self.manifest)
        _warn_of_other_code(old, self.manifest)

    def stage(self, name: str, inputs: Mapping[str, object], outputs: Sequence[Path], work: Callable[[], None]) -> None:
        """Runs `work` unless it finished before with the same inputs and its outputs are as it left them.

        Args:
            name: what the manifest calls it.
            inputs: everything its outputs depend on, by what a reader would call it; model and versions are added.
            outputs: files and directories that it writes.
            work: writes them.
        """
        known = self._known_inputs(inputs)
        reason = self._reason_to_run(name, known, outputs)
        if self._reasons is not None:
            if reason is not None:
                self._reasons[name] = reason or "not run yet"
            return
        if reason is None:
            console.note(f"{name}: done before")
            return
        if reason:
            console.note(f"{name}: again, because {reason}")
        started = perf_counter()
        with torch_threads():
            work()
        with self._open():
            self.manifest["stages"][name] = {"inputs": known, "seconds": round(perf_counter() - started, 2)}
            self._record(outputs)

    @contextmanager
    def looking(self) -> Iterator[dict[str, str]]:
        """In the block a stage is not run: where it has to be, the mapping says why, by its name."""
        reasons: dict[str, str] = {}
        self._reasons = reasons
        try:
            yield reasons
        finally:
            self._reasons = None

    def record(self, *paths: Path) -> None:
        """Puts the hashes of these files, and of all files below these directories, into the manifest."""
        with self._open():
            self._record(paths)

    def _known_inputs(self, inputs: Mapping[str, object]) -> dict[str, str]:
        given = {**inputs, "the model": self.manifest["model"], "the libraries' versions": self.manifest["versions"]}
        return {name: artifacts.fingerprint(value) for name, value in given.items()}

    def _reason_to_run(self, name: str, known: Mapping[str, str], outputs: Sequence[Path]) -> str | None:
        """Why the stage has to run: in words, empty where it never ran; None where it has not."""
        done = self.manifest["stages"].get(name)
        if not done:
            return ""
        before = done.get("inputs", {})
        if changed := [what for what in {**before, **known} if before.get(what) != known.get(what)]:
            return f"{', '.join(changed)} changed"
        damaged = [path for path in outputs if not self._intact(path)]
        return f"{damaged[0].relative_to(self.path)} is not as it was left" if damaged else None

    def _record(self, paths: Sequence[Path]) -> None:
        for path in paths:
            for name in self._known(path):
                del self.manifest["files"][name]
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    self.manifest["files"][file.relative_to(self.path).as_posix()] = artifacts.sha256(file)

    def _known(self, path: Path) -> dict[str, str]:
        """The recorded hashes of a file or of all below a directory."""
        inside = path.relative_to(self.path).as_posix()
        files: dict[str, str] = self.manifest["files"]
        return {name: digest for name, digest in files.items() if name == inside or name.startswith(f"{inside}/")}

    def _intact(self, path: Path) -> bool:
        known = self._known(path)
        return bool(known) and all(
            (self.path / name).is_file() and artifacts.sha256(self.path / name) == digest
            for name, digest in known.items()
        )

    @contextmanager
    def _open(self) -> Iterator[None]:
        """The manifest as it is on the disk now, and held until the block's changes are written."""
        with artifacts.locked(self.path, ".manifest.lock", wait=True):
            self.manifest |= {part: _old(self.path / "manifest.json")[part] for part in ("stages", "files")}
            yield
            self._save()

    def _save(self) -> None:
        artifacts.write_json(self.path / "manifest.json", self.manifest)


def arm_directory(root: Path, arm: str, seed: int) -> Path:
    """Where one arm trained with one seed lies in a run directory."""
    return root / "arms" / arm / f"seed-{seed}"


_PLANNED: ContextVar[int | None] = ContextVar("threads", default=None)


def threads() -> int:
    """Torch's threads where a stage works: their number changes the sums, and so a run's numbers."""
    planned = _PLANNED.get()
    if planned is not None:
        return planned
    import torch

    return int(torch.get_num_threads())


@contextmanager
def planned_threads(number: int) -> Iterator[None]:
    """The stages in the block work with so many of torch's threads; torch is loaded by the first that works."""
    token = _PLANNED.set(number)
    try:
        yield
    finally:
        _PLANNED.reset(token)


@contextmanager
def torch_threads() -> Iterator[None]:
    """Sets torch's threads to those planned, where there is a plan, for the block."""
    planned = _PLANNED.get()
    if planned is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(planned)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pins(path: Path) -> dict[str, Any]:
    """What a run directory's run took from the hub when it began (`harness.pinning`); nothing where it is new."""
    found: dict[str, Any] = _old(path / "manifest.json").get("hub", {})
    return found


def _old(path: Path) -> dict[str, Any]:
    """What an earlier run recorded. Raises HarnessError where its manifest is broken."""
    if not path.is_file():
        return {"stages": {}, "files": {}}
    content = artifacts.read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(key), dict) for key in ("stages", "files")):
        raise HarnessError("is no manifest of a run", place=str(path), mend="Choose another --out, or remove it.")
    return content


def _warn_of_another_machine(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Versions are inputs of every stage; a machine is not, but its sums may differ in the last digits."""
    before = old.get("machine", {})
    changed = [
        f"{name} {before[name]} -> {value}"
        for name, value in new["machine"].items()
        if name in before and before[name] != value
    ]
    if changed:
        console.note(f"warning: this run was begun on another machine ({', '.join(changed)}); its numbers may differ")


def _warn_of_other_code(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Between releases the version stays while the code does not."""
    before, now = old.get("source"), new["source"]
    if before and now and before != now:
        told = " -> ".join(f"{each['revision'][:12]}{', edited' if each['edited'] else ''}" for each in (before, now))
        console.note(f"warning: this run was begun with other code of the harness ({told}); its numbers may differ")


@cache
def _source() -> dict[str, Any] | None:
    """The revision of the checkout that the harness runs from, and whether it was edited since; None for a package."""
    root, git = Path(__file__).parents[1], shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    asked = (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "harness", "reports", "tasks"])
    try:
        revision, edits = (
            subprocess.run([git, "-C", str(root), *each], capture_output=True, text=True, timeout=10, check=True).stdout  # noqa: S603
            for each in asked
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"revision": revision.strip(), "edited": bool(edits.strip())}


def _machine() -> dict[str, Any]:
    """What the numbers were computed on."""
    import psutil

    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "gpus": gpus(),
        "threads": threads(),
    }


def gpus() -> list[str]:
    """The GPUs that torch can use; it takes seconds to load, and a build for CPUs alone tells by its version."""
    if metadata.version("torch").endswith("+cpu"):
        return []
    import torch

    return [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]


def _cpu() -> str:
    """The processor's name as its maker gives it, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "not known")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
