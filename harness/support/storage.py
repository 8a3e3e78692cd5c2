"""Files here or in object storage (`s3://`, `gs://`, `file://`): read as a stream, written whole or not at all."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
from pyarrow import fs

from harness.support.artifacts import atomic_file, json_fingerprint, sha256_of
from harness.support.console import safe_line
from harness.support.errors import HarnessError


def is_remote(place: str) -> bool:
    """Whether the name is a URI rather than a local path."""
    return "://" in place


def is_file(place: str) -> bool:
    """Whether there is such a file. Raises HarnessError where the storage cannot be asked."""
    if not is_remote(place):
        return Path(place).is_file()
    with _resolve_for_reading(place) as (system, path):
        return bool(system.get_file_info(path).is_file)


def is_directory(place: str) -> bool:
    """Whether there is such a directory (in object storage: anything whose name begins so)."""
    if not is_remote(place):
        return Path(place).is_dir()
    with _resolve_for_reading(place) as (system, path):
        return str(system.get_file_info(path.rstrip("/")).type.name) == "Directory"


def file_names(directory: str) -> list[str]:
    """Names of the files in a directory, sorted; none where there is no such directory."""
    if not is_remote(directory):
        folder = Path(directory)
        return sorted(entry.name for entry in folder.iterdir() if entry.is_file()) if folder.is_dir() else []
    with _resolve_for_reading(directory) as (system, path):
        found = system.get_file_info(fs.FileSelector(path.rstrip("/"), allow_not_found=True))
    return sorted(entry.base_name for entry in found if entry.is_file)


def join_path(directory: str, name: str) -> str:
    """The place of a file in a directory."""
    return f"{directory.rstrip('/')}/{name}"


@contextmanager
def open_for_reading(place: str) -> Iterator[BinaryIO]:
    """The bytes of a file, to read and seek in. Local files raise OSError, object storage HarnessError."""
    if not is_remote(place):
        with Path(place).open("rb") as stream:
            yield stream
        return
    with _resolve_for_reading(place) as (system, path):
        source = system.open_input_file(path)
    with source, io.BufferedReader(source, buffer_size=1 << 20) as stream:
        yield stream


@contextmanager
def open_for_writing(place: str) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file when the block ends without error; otherwise nothing is left.

    Raises HarnessError where the place cannot be written.
    """
    if not is_remote(place):
        with atomic_file(Path(place)) as temporary, temporary.open("wb") as stream:
            yield stream
        return
    # An object appears when its upload ends, even one cut short: what it will hold is complete before that begins.
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as waiting:
        yield cast(BinaryIO, waiting)
        waiting.seek(0)
        _upload_stream(cast(BinaryIO, waiting), place)


def _upload_stream(content: BinaryIO, place: str) -> None:
    system, path = _resolve_uri(place)
    try:
        if system.type_name == "local":  # object storage has no directories to make
            system.create_dir(path.rpartition("/")[0])
        with system.open_output_stream(path) as upload:
            shutil.copyfileobj(content, upload, 1 << 20)
    except OSError as error:
        raise HarnessError(f"cannot be written ({_error_text(error)})", place=place, hint=_CREDENTIALS) from error


def write_bytes(place: str, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with open_for_writing(place) as stream:
        stream.write(content)


def remove_path(place: str) -> None:
    """Removes a file, or a directory and all in it."""
    directory = is_directory(place)
    if not is_remote(place):
        shutil.rmtree(place) if directory else Path(place).unlink()
        return
    with _resolve_for_reading(place) as (system, path):
        system.delete_dir(path.rstrip("/")) if directory else system.delete_file(path)


def content_mark(place: str) -> str:
    """What changes with the content: a local file's or directory's hash, in object storage names, sizes and dates."""
    if not is_remote(place):
        return sha256_of(Path(place))
    with _resolve_for_reading(place) as (system, path):
        info = system.get_file_info(path.rstrip("/"))
        entries = [info] if info.is_file else system.get_file_info(fs.FileSelector(info.path))
    return json_fingerprint(sorted([entry.path, entry.size, str(entry.mtime_ns)] for entry in entries))


_CREDENTIALS = "Check the address, the credentials and the network."
_IN_MEMORY = 1 << 26
"""Bytes of an upload that wait in memory; more wait in a temporary file."""


@contextmanager
def _resolve_for_reading(place: str) -> Iterator[tuple[fs.FileSystem, str]]:
    try:
        yield _resolve_uri(place)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        cause = "no such file" if missing else f"cannot be read ({_error_text(error)})"
        raise HarnessError(cause, place=place, hint="" if missing else _CREDENTIALS) from error


def _resolve_uri(place: str) -> tuple[fs.FileSystem, str]:
    try:
        system, path = fs.FileSystem.from_uri(place)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise HarnessError(
            "is no address of a file", place=place, hint="Use a path, or s3://, gs:// or file://."
        ) from error
    return system, path


def _error_text(error: OSError) -> str:
    return safe_line(str(error).splitlines()[0], 200) if str(error) else type(error).__name__
