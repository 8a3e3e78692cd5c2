"""Which files a preference table is: their kinds, and the splits that a folder's file names tell apart."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from harness.support import storage
from harness.support.errors import HarnessError
from harness.support.hub import PACKED, TABLE_KINDS

SAVED_BY_DATASETS = frozenset({"dataset_info.json", "dataset_dict.json", "state.json"})
ONLY_SPLIT = "train"
"""The split of a table that has none, as in `datasets`."""
_SPLIT_WORDS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
}  # fmt: skip


def file_kind(place: str) -> str | None:
    """Which of `TABLE_KINDS` a file is of by its name, packed with gzip or not; None for any other."""
    suffixes = PurePosixPath(place).suffixes
    packed = suffixes[-1:] == [PACKED]
    kind = (suffixes[:-1] if packed else suffixes)[-1:]
    return kind[0] if kind and kind[0] in TABLE_KINDS and not (packed and kind[0] == ".parquet") else None


def is_packed(place: str) -> bool:
    """Whether gzip wrote the file, by its name."""
    return place.endswith(PACKED)


def table_files(place: str, config: str | None = None, split: str = ONLY_SPLIT) -> list[str]:
    """The files of one split of a table, in the order of their names; none where the place has no such file.

    A folder may be as the hub's client lays a data set down: files named for their split (`test.jsonl`,
    `train-00000-of-00002.parquet`) at its root, in `data/`, or in a folder called like the configuration. A table
    whose files name no split has one, `train`. A folder saved by `datasets` has no such files.

    Raises HarnessError where there is no such split or configuration, or it cannot be told which files to read.
    """
    if storage.is_file(place):
        return _files_of_split([place], split, place)
    folders = [storage.join_path(place, name) for name in ([config] if config else ["", "data"])]
    for folder in folders:
        names = storage.file_names(folder)
        if SAVED_BY_DATASETS & set(names):
            return []
        if files := [storage.join_path(folder, name) for name in names if file_kind(name) and name[0] not in "._"]:
            return _files_of_split(files, split, place)
    _refuse_folder_of_folders(place, config)
    return []


def _refuse_folder_of_folders(place: str, config: str | None) -> None:
    if storage.is_remote(place) or not Path(place).is_dir():
        return
    below = [path.relative_to(place) for path in Path(place).rglob("*") if file_kind(path.name)]
    found = sorted({str(path.parent) for path in below if not any(part[0] in "._" for part in path.parts)})
    if config:
        raise HarnessError(f"holds no configuration {config!r}", place=place, hint=_named("Give one of", found))
    if found and "." not in found:
        raise HarnessError("holds tables in several folders", place=place, hint=_named("Give one of", found))


def _files_of_split(files: list[str], split: str, place: str) -> list[str]:
    splits = {file: split_of_name(PurePosixPath(file).name) for file in files}
    found = sorted({name for name in splits.values() if name is not None})
    if not found or (files == [place] and split == ONLY_SPLIT):
        if split != ONLY_SPLIT:
            hint = "The names of its files tell no splits: leave the split out, or say train."
            raise HarnessError(f"has no split {split!r}", place=place, hint=hint)
        return files
    if unnamed := [PurePosixPath(file).name for file, name in splits.items() if name is None]:
        hint = f"Give a file, or take this one out of the folder: {unnamed[0]}."
        raise HarnessError(f"holds the splits {', '.join(found)} and files of none", place=place, hint=hint)
    chosen = [file for file, name in splits.items() if name == split]
    if not chosen:
        hint = f"{_named('Give --split one of', found)} Or name a file."
        raise HarnessError(f"has no split {split!r}", place=place, hint=hint)
    return chosen


def split_of_name(name: str) -> str | None:
    """The split that a file's name tells, as `datasets` reads it from names on the hub; None where it tells none."""
    stem = name.removesuffix(PACKED).rpartition(".")[0]
    if sharded := re.fullmatch(r"(\w[\w.-]*?)-\d{5}-of-\d{5}(-[0-9a-f]+)?", stem):
        return sharded[1]
    words = re.split(r"[-_. ]", re.sub(r"[-_. ]?\d+$", "", stem).lower())
    if words[0] in _SPLIT_WORDS and len(words) > 1:
        return re.sub(r"[-_. ]?\d+$", "", stem)
    return _SPLIT_WORDS.get(words[0]) or _SPLIT_WORDS.get(words[-1])


def _named(start: str, names: list[str]) -> str:
    return f"{start}: {', '.join(names)}." if names else ""
