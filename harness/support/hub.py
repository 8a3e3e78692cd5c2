"""Models and data sets on the Hugging Face hub, fixed to one commit: `org/name@commit` stays what it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import huggingface_hub

from harness.support.console import safe_line
from harness.support.errors import HarnessError

RepoType = Literal["model", "dataset"]

_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
TABLE_KINDS = (".csv", ".json", ".jsonl", ".ndjson", ".parquet", ".tsv")
"""How the names of tables in files end."""
PACKED = ".gz"
"""What may follow, but for Parquet."""
MODEL_FILE = ".gguf"
"""How the name of a whole model in one file ends."""
_CARDS = ("config.json", "README.md")
WEIGHT_FILES = "*.safetensors"
MODEL_FILES = ("*.json", WEIGHT_FILES, "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py")
"""What a model is loaded from: no weights but safetensors."""
_COPIES = ("*/*.safetensors", "original/*")
"""The same weights once more, in the form of another library."""


def split_revision(source: str) -> tuple[str, str | None]:
    """A hub id, and the revision after its `@` if it names one."""
    name, _, revision = source.partition("@")
    return name, revision or None


def is_on_hub(source: str) -> bool:
    """Whether a name is of something on the hub: in the form of a hub id, and no file or directory here."""
    name, _ = split_revision(source)
    is_file = Path(name).suffix.lower() in {*TABLE_KINDS, PACKED, MODEL_FILE}
    return bool(_ID.fullmatch(name)) and not is_file and not Path(source).exists()


def is_commit(revision: str) -> bool:
    """Whether a revision is a whole commit hash, which never moves."""
    return bool(_COMMIT.fullmatch(revision))


def pin_to_commit(source: str, kind: RepoType) -> str:
    """`org/name@commit` of what is on the hub under a name now, or of the revision after its `@`.

    Asks the hub, or where it is out of reach what was fetched from it before. Raises HarnessError where neither knows.
    """
    name, revision = split_revision(source)
    if revision is not None and is_commit(revision):
        return source
    return f"{name}@{Path(_fetch_snapshot(source, kind, _CARDS)).name}"


def fetch_directory(source: str, kind: RepoType = "model", *, weights: bool = True) -> str:
    """The local directory of a model or data set: the source itself, or for a hub id the files of its revision.

    Without `weights` those of a model are not fetched. Raises HarnessError where the hub does not have it, or is out of
    reach and it was not fetched before.
    """
    files = [name for name in MODEL_FILES if weights or name != WEIGHT_FILES] if kind == "model" else None
    return _fetch_snapshot(source, kind, files) if is_on_hub(source) else source


def _fetch_snapshot(source: str, kind: RepoType, files: Sequence[str] | None) -> str:
    name, revision = split_revision(source)
    wanted = list(files) if files else None
    try:
        return str(
            huggingface_hub.snapshot_download(  # loads the hub client, when it is first used
                name, repo_type=kind, revision=revision, allow_patterns=wanted, ignore_patterns=[*_COPIES]
            )
        )
    except Exception as error:  # the hub client raises dozens of kinds here
        raise HarnessError(
            f"cannot be fetched from the hub ({safe_line(f'{type(error).__name__}: {error}', 160)})",
            place=source,
            hint="Check the name, the revision and the network; log in with `hf auth login` where access is asked for; "
            "or give a local copy.",
        ) from error
