"""The hashes that a run recorded of its files, and reading such a file only where it still has its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.support.artifacts import read_json
from harness.support.errors import HarnessError
from harness.support.layout import MANIFEST, run_of_path

_EDITED_HINT = "Run `harness run` again, and keep its files as they are."


@dataclass(frozen=True, slots=True)
class RunManifest:
    """The hashes of a run directory's files, by path relative to it; `files` is None outside a run directory."""

    root: Path
    files: Mapping[str, str] | None

    @classmethod
    def find_around(cls, directory: Path) -> RunManifest:
        """The manifest of the run that a directory lies in.

        An arm's is the one beside `arms`, elsewhere the nearest. Raises HarnessError where that one is broken, or
        another lies inside the arm, where no run writes any.
        """
        place = directory.resolve()
        ancestors = [place, *place.parents]
        run = run_of_path(place)
        inside = ancestors[: ancestors.index(run)] if run else []
        if stray := [parent / MANIFEST for parent in inside if (parent / MANIFEST).exists()]:
            raise HarnessError(
                "does not belong there: a run's manifest.json lies beside `arms`",
                place=str(stray[0]),
                hint="Remove it, or move the evaluation out of the run.",
            )
        for parent in ancestors[len(inside) :]:
            if (parent / MANIFEST).is_file():
                files = _recorded_files(parent / MANIFEST)
                if files is not None:
                    return cls(parent, files)
                if parent == run:
                    raise HarnessError("is no manifest of a run", place=str(parent / MANIFEST), hint=_EDITED_HINT)
        return cls(place, None)

    def records(self, path: Path) -> bool:
        """Whether a file is one of the run's, or the manifest itself."""
        if self.files is None:
            return False
        name = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else ""
        return name == MANIFEST or name in self.files

    def read_file(self, path: Path) -> tuple[bytes, str]:
        """A file's bytes and their hash. Raises HarnessError where they are not those that the run recorded."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise HarnessError(f"cannot be read ({error.strerror})", place=str(path)) from error
        digest = hashlib.sha256(data).hexdigest()
        self._check_digest(path, digest)
        return data, digest

    def _check_digest(self, path: Path, digest: str) -> None:
        if self.files is None:
            return
        place = path.parent.absolute() / path.name
        names = [
            each.relative_to(self.root).as_posix() for each in (place, path.resolve()) if each.is_relative_to(self.root)
        ]
        recorded = next((self.files[name] for name in names if name in self.files), None)
        if recorded is None:
            raise HarnessError(
                "is not in the run's manifest.json: the arm did not finish, or the file was added later",
                place=str(path),
                hint="Finish the run with `harness run`, or move the file out of it.",
            )
        if recorded != digest:
            raise HarnessError(
                "was edited after the run (its hash is not the one in manifest.json)",
                place=str(path),
                hint=_EDITED_HINT,
            )

    def files_below(self, directory: Path) -> list[Path]:
        """The files below a directory that the run recorded, there or not."""
        inside = directory.resolve()
        return sorted(path for name in self.files or () if (path := self.root / name).is_relative_to(inside))


def read_recorded_json(path: Path) -> Any:
    """The JSON value in a run's file. Raises HarnessError where it is missing, broken, or not as the run left it."""
    data, _ = RunManifest.find_around(path.parent).read_file(path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"is not JSON ({error})", place=str(path), hint=_EDITED_HINT) from error


def _recorded_files(path: Path) -> Mapping[str, str] | None:
    content = read_json(path)
    files = content.get("files") if isinstance(content, dict) else None
    return files if isinstance(files, dict) else None
