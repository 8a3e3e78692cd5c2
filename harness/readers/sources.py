"""Files that tools leave: found below a path, unpacked, hashed, and read as JSON with their faults told."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.evaluation.finding import walk_folders
from harness.readers.rows import refuse_file
from harness.support.artifacts import parse_json_object
from harness.support.errors import HarnessError

SUFFIXES = frozenset({".eval", ".json", ".jsonl", ".ndjson", ".csv"})
"""What the files of the tools that are read end in, `.gz` after it or not."""
_NOT_ANSWERS = (".hitlog.jsonl",)
"""Files that tools write beside them, of what is in them already."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file's content, unpacked and without the mark of UTF-8, and the hash of it as it lies on the disk."""

    path: Path
    data: bytes
    digest: str

    @property
    def kind(self) -> str:
        """The suffix that tells what it is."""
        return file_kind(self.path)

    def parse_json(self) -> Any:
        """The one JSON value in it. Raises HarnessError where there is none."""
        try:
            return json.loads(self.data)
        except (ValueError, RecursionError) as error:
            refuse_file(f"is not JSON ({error}): cut off, damaged or something else", self.path)

    def json_rows(self, *, constants: bool = True, repeats: bool = True) -> Iterator[tuple[str, dict[str, Any]]]:
        """The JSON objects of its lines, each with its place; `constants`: whether they may hold NaN and infinities,
        `repeats`: a key twice.

        Raises HarnessError naming the line that is none.
        """
        for number, line in enumerate(self.data.split(b"\n"), 1):
            place = f"{self.path}:{number}"
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise HarnessError(f"is not UTF-8 ({error.reason})", place=place, hint="Save it as UTF-8.") from error
            if text.strip():
                yield place, parse_json_object(text, place, constants=constants, repeats=repeats)


def read_source(path: Path) -> Source:
    """A file, unpacked where it is `.gz`. Raises HarnessError where it cannot be read, or is empty."""
    try:
        packed = path.read_bytes()
        data = gzip.decompress(packed) if path.suffix == ".gz" else packed
    except (OSError, EOFError, zlib.error) as error:
        raise HarnessError(f"cannot be read ({getattr(error, 'strerror', None) or error})", place=str(path)) from error
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        refuse_file("is empty", path)
    return Source(path, data, hashlib.sha256(packed).hexdigest())


def file_kind(path: Path) -> str:
    """A file's suffix, without the `.gz` of a packed one."""
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def find_files(root: Path) -> list[Path]:
    """The files below a directory that a tool's answers may lie in, in order; hidden ones are left out."""
    places = (folder / name for folder, names in walk_folders(root) for name in names if _may_hold_answers(name))
    return sorted(path for path in places if not any(part.startswith(".") for part in path.relative_to(root).parts))


def _may_hold_answers(name: str) -> bool:
    return file_kind(Path(name)) in SUFFIXES and not name.removesuffix(".gz").endswith(_NOT_ANSWERS)
