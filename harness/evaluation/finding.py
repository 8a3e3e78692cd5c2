"""Which files below a directory lm-eval wrote, and which of them belong together. Nothing is passed over in silence."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import NoReturn

from harness.evaluation.lines import REEVALUATE_HINT
from harness.evaluation.manifest import RunManifest
from harness.support.errors import HarnessError
from harness.support.layout import SEED_PREFIX

_TIME_STAMP = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?"
_SAMPLES_NAME = re.compile(rf"samples_(?P<task>.+)_(?P<stamp>{_TIME_STAMP})\.jsonl(?:\.gz)?")
_RESULTS_NAME = re.compile(rf".+_(?P<stamp>{_TIME_STAMP})\.json")
_LEFTOVER_NAME = re.compile(r"\.(?P<whole>.+)\.[a-z0-9_]{8}")
"""What `harness.support.artifacts.atomic_directory` calls a directory that is not whole yet."""


@dataclass(frozen=True, slots=True)
class EvaluationFiles:
    """One run of lm-eval: its results file, and the samples of each task."""

    results: Path
    samples: Mapping[str, Path]


def find_evaluations(root: Path, manifest: RunManifest) -> list[EvaluationFiles]:
    """Every evaluation below a directory, in the order of their paths.

    Samples may be compressed with gzip, and links are followed. Raises HarnessError where there is none, where files
    are missing, lie in a hidden folder or cannot be read, or a `seed-*` folder holds none.
    """
    if gone := [path for path in manifest.files_below(root) if is_written_by_lm_eval(path) and not path.is_file()]:
        raise HarnessError("is recorded in the run's manifest.json but gone", place=str(gone[0]), hint=REEVALUATE_HINT)
    seeds, files = _seeds_and_files(root)
    samples = {path: match for path in files if (match := _SAMPLES_NAME.fullmatch(path.name))}
    if not samples:
        raise HarnessError(
            "holds no samples_*.jsonl: nothing was evaluated here, or the evaluation did not finish",
            place=str(root),
            hint="Run lm_eval with --log_samples and --output_path.",
        )
    _refuse_unfinished_seeds(seeds, list(samples))
    results = [path for path in files if path not in samples]
    found: dict[Path, dict[str, Path]] = {}
    for path, match in samples.items():
        tasks = found.setdefault(_results_beside(path, match["stamp"], results), {})
        if match["task"] in tasks:
            raise HarnessError(
                f"holds the same samples as {tasks[match['task']].name}", place=str(path), hint="Keep one of them."
            )
        tasks[match["task"]] = path
    if alone := [path for path in results if path not in found]:
        raise HarnessError("has no samples beside it", place=str(alone[0]), hint="Run lm_eval with --log_samples.")
    return [EvaluationFiles(path, tasks) for path, tasks in found.items()]


def is_written_by_lm_eval(path: Path) -> bool:
    """Whether a file is called like one of lm-eval's samples or results."""
    return bool(_SAMPLES_NAME.fullmatch(path.name) or _RESULTS_NAME.fullmatch(path.name))


def _seeds_and_files(root: Path) -> tuple[list[Path], list[Path]]:
    """The folders of seeds, and lm-eval's files, in order."""
    seeds: list[Path] = []
    files: list[Path] = []
    for folder, names in walk_folders(root):
        hidden = [part for part in folder.relative_to(root).parts if part.startswith(".")]
        if hidden and _is_leftover(root, folder):
            continue
        if folder.name.startswith(SEED_PREFIX) and folder != root:
            seeds.append(folder)
        found = [folder / name for name in names if is_written_by_lm_eval(folder / name)]
        if found and hidden:
            raise HarnessError(
                "lies in a hidden folder", place=str(found[0]), hint="Rename the folder, or move it elsewhere."
            )
        files.extend(map(_require_file, found))
    return sorted(seeds), sorted(files)


def walk_folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below and what is no folder in it; each but once, by whatever link.

    Raises HarnessError on a link that leads nowhere, and where a folder cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    for name, folders, files in os.walk(root, followlinks=True, onerror=_refuse_unreadable):
        folder, status = Path(name), Path(name).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        if broken := [each for each in files if not (folder / each).exists()]:
            raise HarnessError("is a link that leads nowhere", place=str(folder / broken[0]), hint="Mend or remove it.")
        yield folder, files


def _refuse_unreadable(error: OSError) -> NoReturn:
    raise HarnessError(f"cannot be read ({error.strerror})", place=str(error.filename)) from error


def _is_leftover(root: Path, folder: Path) -> bool:
    """Whether it lies in what a killed run left of a folder that is whole by now."""
    below = [folder, *folder.parents]
    return any(
        (match := _LEFTOVER_NAME.fullmatch(each.name)) and (each.parent / match["whole"]).is_dir()
        for each in below[: below.index(root)]
    )


def _require_file(path: Path) -> Path:
    if not S_ISREG(path.stat().st_mode):
        raise HarnessError("is no file", place=str(path), hint=REEVALUATE_HINT)
    return path


def _refuse_unfinished_seeds(seeds: Sequence[Path], samples: Sequence[Path]) -> None:
    for seed in seeds:
        if not any(path.is_relative_to(seed) for path in samples):
            raise HarnessError(
                "holds no evaluation: this seed did not finish",
                place=str(seed),
                hint="Finish it with `harness run`, or remove the directory.",
            )


def _results_beside(samples: Path, stamp: str, results: Sequence[Path]) -> Path:
    beside = [
        path
        for path in results
        if path.parent == samples.parent and (match := _RESULTS_NAME.fullmatch(path.name)) and match["stamp"] == stamp
    ]
    if len(beside) != 1:
        raise HarnessError(
            f"has {len(beside)} results files of its time stamp beside it, not one: "
            "the evaluation did not finish, or files were moved",
            place=str(samples),
            hint=REEVALUATE_HINT,
        )
    return beside[0]
