"""Files that are whole or absent: written atomically, read with their faults told, hashed, and held by one process."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

from harness.support.errors import HarnessError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` (its folders made) that becomes `path` when the block ends without error.

    A device or a pipe is written into, not replaced. Raises HarnessError where the place cannot be written or the disk
    is full; nothing half-written stays.
    """
    special = _is_special(path)
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = None if special else path.parent
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder)
        os.fchmod(handle, 0o666 & ~_read_umask())
        os.close(handle)
    temporary = Path(name)
    try:
        with explain_write_errors(path):
            yield temporary
            if special:
                with temporary.open("rb") as source, path.open("wb") as stream:
                    shutil.copyfileobj(source, stream)
            else:
                _sync_file(temporary)
                temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Whether a path is there and neither file nor directory. Raises HarnessError for a name of an open file.

    To replace `/dev/null` would take it from the whole machine, and `/dev/stdout` the file that output is sent to.
    """
    with explain_write_errors(path):
        if not path.exists() or path.is_dir():
            return False
        folder = path.parent.resolve()
        target = folder / path.readlink() if path.is_symlink() else folder
    if path.is_file() and any(place.is_relative_to("/proc") for place in (folder, target)):
        raise HarnessError("names an open file, not a place", place=str(path), hint="Give the file's own path.")
    return not path.is_file()


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Like `atomic_file` for a directory: what the block writes becomes `path`, whole or not at all."""
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        temporary.chmod(0o777 & ~_read_umask())
    try:
        with explain_write_errors(path):
            yield temporary
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


_FULL_DISK = ("No space left", "PytorchStreamWriter failed", "unexpected pos", "iostream error")
"""What the system, safetensors and torch say of a full disk; torch has three ways to say it."""


@contextmanager
def explain_write_errors(path: Path, hint: str = "Choose another place.") -> Iterator[None]:
    """Turns a failed write inside the block into a HarnessError that names `path` and says what to do."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        full = any(said in str(error) for said in _FULL_DISK)
        if not full and not isinstance(error, OSError):
            raise
        hint = "Free some space and run the same command again." if full else hint
        raise HarnessError(f"cannot be written ({error})", place=str(path), hint=hint) from error


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically; lone surrogates are kept as backslash escapes."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_together(files: Iterable[tuple[Path, bytes]]) -> None:
    """Writes several files, all of them or none. Raises HarnessError where one cannot be written."""
    with ExitStack() as written:
        for path, content in files:
            written.enter_context(atomic_file(path)).write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Writes one JSON value atomically, indented, keys in the order given; NaN is refused with ValueError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes one JSON object a line, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_json(path: Path) -> Any:
    """The JSON value in a file. Raises HarnessError where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HarnessError(f"cannot be read ({error.strerror})", place=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"is not JSON ({error})", place=str(path), hint="Write the file anew.") from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file. Raises HarnessError naming the line that is broken."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines would also cut at U+2028 inside a string
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"cannot be read ({error})", place=str(path)) from error
    return [parse_json_object(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl, .ndjson or .csv file. Raises HarnessError where it is neither, missing or broken."""
    if path.suffix in {".jsonl", ".ndjson"}:
        return read_jsonl(path)
    if path.suffix != ".csv":
        raise HarnessError("is no table", place=str(path), hint="Give a .jsonl or a .csv file.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise HarnessError(f"cannot be read as CSV ({error})", place=str(path)) from error


def parse_json_object(
    line: str | bytes,
    place: str,
    hint: str = "Write one JSON object a line.",
    *,
    constants: bool = True,
    repeats: bool = True,
    damage: str = "",
) -> dict[str, Any]:
    """The JSON object in a line; `constants`: whether it may hold NaN and infinities, `repeats`: a key twice.

    Raises HarnessError otherwise.

    `damage` is what it says, after JSON's own words, that a broken line means.
    """
    try:
        row = json.loads(
            line,
            parse_constant=None if constants else _refuse_constant,
            object_pairs_hook=None if repeats else _refuse_repeats,
        )
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"is not JSON ({error}){damage}", place=place, hint=hint) from error
    if not isinstance(row, dict):
        raise HarnessError("is not a JSON object", place=place, hint=hint)
    return row


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return found


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not allowed")


def float_or_nan(value: object) -> float:
    """A JSON number as a float, infinite where no float is as large; NaN of anything else."""
    if not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def finite_or_null(value: Any) -> Any:
    """A value as JSON has it: a float that is no finite number becomes null, in lists and objects too."""
    if isinstance(value, list | tuple):
        return [finite_or_null(item) for item in value]
    if isinstance(value, dict):
        return {key: finite_or_null(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cache_directory() -> Path:
    """Where models that were grown or converted are kept: REFUSAL_DISPLACEMENT_CACHE, or a folder below ~/.cache."""
    root = os.environ.get("REFUSAL_DISPLACEMENT_CACHE")
    return Path(root) if root else Path.home() / ".cache" / "refusal-displacement"


def make_once(directory: Path, make: Callable[[Path], object]) -> Path:
    """A model's directory of the cache, made now by `make` if it is not there; other processes that want it wait.

    `make` writes it whole or not at all (`atomic_directory`); what a killed process left of it goes. Raises
    HarnessError where the cache cannot be written.
    """
    if (directory / "config.json").is_file():
        return directory
    cache = directory.parent
    with lock_directory(cache, f".{directory.name}.lock", wait=True, hint=_OTHER_CACHE):
        if not (directory / "config.json").is_file():
            for left in cache.iterdir():
                if left.is_dir() and left.name.startswith(f".{directory.name}."):
                    shutil.rmtree(left, ignore_errors=True)
            make(directory)
    return directory


_OTHER_CACHE = "Set REFUSAL_DISPLACEMENT_CACHE to a folder that can be written."


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, or of every file below a directory with its name, as hex."""
    if not path.is_dir():
        return _file_digest(path).hex()
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0" + _file_digest(file))
    return digest.hexdigest()


def hash_if_local(source: str | None) -> str | None:
    """A local file's or directory's hash, also of one after `NAME=`; anything else (a hub id, nothing) is itself."""
    paths = (source, source.partition("=")[2]) if source is not None else ()
    return next((sha256_of(Path(path)) for path in paths if path and Path(path).exists()), source)


def json_fingerprint(value: object) -> str:
    """A hash of any JSON value that does not depend on key order, 16 hex digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:16]


def resume_or_clear(directory: Path, inputs: object) -> Path:
    """A directory for unfinished work, emptied unless it was begun with the same inputs."""
    key, mark = json_fingerprint(inputs), directory / "begun.json"
    if not mark.is_file() or read_json(mark) != key:
        shutil.rmtree(directory, ignore_errors=True)
        write_json(mark, key)
    return directory


_DIGESTS: dict[tuple[int, ...], bytes] = {}
_SETTLED = 2_000_000_000
"""Nanoseconds after a change from which on a file's times would show another one: their clock is coarse."""


def _file_digest(path: Path) -> bytes:
    """A file's hash; one that is, by device, number, size and times, as it was read before is not read again."""
    with path.open("rb") as stream:
        now, stat = time.time_ns(), os.fstat(stream.fileno())
        key = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        if key in _DIGESTS:
            return _DIGESTS[key]
        digest = hashlib.file_digest(stream, "sha256").digest()
    if now - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED:
        _DIGESTS[key] = digest
    return digest


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def lock_directory(
    directory: Path, name: str = ".lock", *, wait: bool = False, hint: str = "Choose another place."
) -> Iterator[None]:
    """Holds a directory for one process.

    Raises HarnessError where another holds it (unless to `wait` for it is asked), or it cannot be written, with `hint`.
    """
    with explain_write_errors(directory, hint):
        directory.mkdir(parents=True, exist_ok=True)
        stream = (directory / name).open("w")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            raise HarnessError(
                "another process is running in this directory",
                place=str(directory),
                hint="Wait for it, or choose another --out.",
            ) from error
        yield
