"""Tables of a data set fetched from the hub: the only file of the room that loads `datasets`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from datasets import load_dataset


def read_hub_split(directory: str, config: str | None, split: str) -> Iterable[Mapping[str, Any]]:
    """The rows of one split of a data set's files, as its card says which they are."""
    rows: Iterable[Mapping[str, Any]] = load_dataset(directory, config, split=split)
    return rows
