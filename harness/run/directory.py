"""The run directory: its manifest, and stages that run once for the same inputs and leave whole files."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

from harness.support import artifacts, console
from harness.support.errors import HarnessError
from harness.support.layout import MANIFEST, RunFiles
from harness.support.redaction import redact_json
from harness.support.versions import DISTRIBUTION, library_version
from harness.workers.machine import describe_machine, use_planned_threads

LIBRARIES = (DISTRIBUTION, "torch", "transformers", "trl", "lm-eval", "datasets", "tokenizers", "numpy")


class RunDirectory:
    """A run directory and its manifest.json: recipe, versions, machine, model, stages, and every file's hash.

    `finished` in it is false from the start of a stage's work until the results are written: before that work the
    results and the page of an earlier run are taken away, so that none stands beside files that it does not rest on.

    `facts` are further parts of the manifest, on which no stage depends. Secrets are blotted out. Processes that share
    a run each have a copy of this object; what one of them records is added to the file.
    """

    def __init__(
        self, path: Path, recipe: Mapping[str, Any], model: Mapping[str, Any], facts: Mapping[str, Any] | None = None
    ) -> None:
        old = _read_manifest(path / MANIFEST)
        _refuse_another_recipe(old, recipe, path)
        libraries = (*LIBRARIES, "vllm") if recipe.get("backend") == "vllm" else LIBRARIES
        self.path = path
        self.manifest: dict[str, Any] = {
            "schema_version": 1,
            "recipe": redact_json(recipe),
            "model": redact_json(model),
            **redact_json(facts or {}),
            "source": _checkout_revision(),
            "versions": {name: library_version(name) for name in libraries} | {"python": platform.python_version()},
            "machine": describe_machine(),
            "finished": False,
            "stages": old["stages"],
            "files": old["files"],
        }
        self._done_before, self._worked = 0, False
        _warn_of_another_machine(old, self.manifest)
        _warn_of_other_code(old, self.manifest)

    @property
    def files(self) -> RunFiles:
        """Where its files lie."""
        return RunFiles(self.path)

    def run_stage(
        self, name: str, inputs: Mapping[str, object], outputs: Sequence[Path], work: Callable[[], None]
    ) -> None:
        """Runs `work` unless it finished before with the same inputs and its outputs are as it left them.

        Args:
            name: what the manifest calls it.
            inputs: everything its outputs depend on, by what a reader would call it; model and versions are added.
            outputs: files and directories that it writes.
            work: writes them.
        """
        known = self._input_fingerprints(inputs)
        reason = self._reason_to_run(name, known, outputs)
        if reason is None:
            self._done_before += 1
            return
        self.tell_done_stages()
        if reason:
            console.print_note(f"{name}: again, because {reason}")
        self._worked = True
        self._withdraw_outcome()
        started = perf_counter()
        with use_planned_threads():
            work()
        seconds = round(perf_counter() - started, 2)
        if console.is_verbose():
            console.print_note(f"{name}: {console.duration_text(seconds)}")
        with self._open_manifest():
            self.manifest["stages"][name] = {"inputs": known, "seconds": seconds}
            self._record_hashes(outputs)

    def reason_to_run(self, name: str, inputs: Mapping[str, object], outputs: Sequence[Path]) -> str | None:
        """Why a stage has to run: in words, empty where it never ran; None where it has not. Nothing is written.

        Arguments as `run_stage`.
        """
        return self._reason_to_run(name, self._input_fingerprints(inputs), outputs)

    def begin(self) -> None:
        """Records that a run has begun whose work lies in other runs; what an earlier one came to is taken away."""
        self._withdraw_outcome()
        with self._open_manifest():
            pass

    def tell_done_stages(self) -> None:
        """Says in one line how many stages were found done since it last said so."""
        if self._done_before:
            console.print_note(f"{self._done_before} stage{'s' * (self._done_before > 1)} done before")
            self._done_before = 0

    def record_outcome(self, results: Mapping[str, Any]) -> None:
        """Writes results.json and its hash: the run is finished. The page of earlier results is taken away first."""
        if self._done_before and not self._worked:
            console.print_note(f"nothing to do: all {self._done_before} stages were done before")
        else:
            self.tell_done_stages()
        self.files.report.unlink(missing_ok=True)
        artifacts.write_json(self.files.results, results)
        with self._open_manifest():
            self.manifest["finished"] = True
            self._record_hashes([self.files.results])

    def _withdraw_outcome(self) -> None:
        """Takes away what an earlier run into this directory came to; its stages' files stay until others replace them.

        Nothing is written where no stage has recorded anything.
        """
        if not self.files.manifest.is_file():
            return
        with self._open_manifest():
            self.manifest["files"].pop(self.files.results.name, None)
        for claim in (self.files.results, self.files.report):
            claim.unlink(missing_ok=True)

    def _input_fingerprints(self, inputs: Mapping[str, object]) -> dict[str, str]:
        given = {**inputs, "the model": self.manifest["model"], "the libraries' versions": self.manifest["versions"]}
        return {name: artifacts.json_fingerprint(value) for name, value in given.items()}

    def _reason_to_run(self, name: str, known: Mapping[str, str], outputs: Sequence[Path]) -> str | None:
        done = self.manifest["stages"].get(name)
        if not done:
            return ""
        before = done.get("inputs", {})
        if changed := [what for what in {**before, **known} if before.get(what) != known.get(what)]:
            return f"{', '.join(changed)} changed"
        damaged = [path for path in outputs if not self._is_intact(path)]
        return f"{damaged[0].relative_to(self.path)} is not as it was left" if damaged else None

    def _record_hashes(self, paths: Sequence[Path]) -> None:
        for path in paths:
            for name in self._hashes_on_record(path):
                del self.manifest["files"][name]
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.is_file():
                    self.manifest["files"][file.relative_to(self.path).as_posix()] = artifacts.sha256_of(file)

    def _hashes_on_record(self, path: Path) -> dict[str, str]:
        """The recorded hashes of a file or of all below a directory."""
        inside = path.relative_to(self.path).as_posix()
        files: dict[str, str] = self.manifest["files"]
        return {name: digest for name, digest in files.items() if name == inside or name.startswith(f"{inside}/")}

    def _is_intact(self, path: Path) -> bool:
        known = self._hashes_on_record(path)
        return bool(known) and all(
            (self.path / name).is_file() and artifacts.sha256_of(self.path / name) == digest
            for name, digest in known.items()
        )

    @contextmanager
    def _open_manifest(self) -> Iterator[None]:
        """The manifest as it is on the disk now, and held until the block's changes are written."""
        with artifacts.lock_directory(self.path, ".manifest.lock", wait=True):
            self.manifest |= {part: _read_manifest(self.files.manifest)[part] for part in ("stages", "files")}
            yield
            self._save_manifest()

    def _save_manifest(self) -> None:
        artifacts.write_json(self.files.manifest, self.manifest)


def read_pins(path: Path) -> dict[str, Any]:
    """What a run took from the hub when it began (`harness.recipes.pinning`); nothing where it is new."""
    found: dict[str, Any] = _read_manifest(path / MANIFEST).get("hub", {})
    return found


def refuse_other_layout(path: Path, folder: str, told: str) -> None:
    """Raises HarnessError where the directory holds the folder of a run laid out otherwise: files of both would mix."""
    if (path / folder).is_dir():
        hint = "Choose another --out, or remove the directory."
        raise HarnessError(f"holds a run on {told} ({folder}/)", place=str(path), hint=hint)


def is_finished(path: Path) -> bool:
    """Whether a run came to its results here, and nothing ran after them."""
    return bool(_read_manifest(path / MANIFEST).get("finished"))


def _read_manifest(path: Path) -> dict[str, Any]:
    """What an earlier run recorded. Raises HarnessError where its manifest is broken."""
    if not path.is_file():
        return {"stages": {}, "files": {}}
    content = artifacts.read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(key), dict) for key in ("stages", "files")):
        raise HarnessError("is no manifest of a run", place=str(path), hint="Choose another --out, or remove it.")
    return content


def _refuse_another_recipe(old: Mapping[str, Any], recipe: Mapping[str, Any], path: Path) -> None:
    """A changed recipe goes on in its directory; one of another name would take away what this one came to."""
    recorded = old.get("recipe", {})
    before = recorded.get("name") if isinstance(recorded, Mapping) else None
    name = recipe.get("name")
    if before is not None and name is not None and before != name:
        hint = f"Choose another --out, or say that this is that recipe, changed: --set name={before}"
        raise HarnessError(f"holds a run of the recipe {before!r}, not of {name!r}", place=str(path), hint=hint)


def _warn_of_another_machine(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Versions are inputs of every stage; a machine is not, but its sums may differ in the last digits."""
    before = old.get("machine", {})
    changed = [
        f"{name} {before[name]} -> {value}"
        for name, value in new["machine"].items()
        if name in before and before[name] != value
    ]
    if changed:
        console.print_note(
            f"warning: this run was begun on another machine ({', '.join(changed)}); its numbers may differ"
        )


def _warn_of_other_code(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Between releases the version stays while the code does not."""
    before, now = old.get("source"), new["source"]
    if before and now and before != now:
        told = " -> ".join(f"{each['revision'][:12]}{', edited' if each['edited'] else ''}" for each in (before, now))
        console.print_note(
            f"warning: this run was begun with other code of the harness ({told}); its numbers may differ"
        )


@cache
def _checkout_revision() -> dict[str, Any] | None:
    """The revision of the checkout that the harness runs from, and whether it was edited since; None for a package."""
    root, git = Path(__file__).parents[2], shutil.which("git")
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
