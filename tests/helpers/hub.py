"""A hub's cache with models and data in it."""

from __future__ import annotations

import shutil
from pathlib import Path

COMMITS = ("1" * 40, "2" * 40)


def put_on_hub(cache: Path, repository: str, files: Path, commit: str) -> Path:
    """Lays files into the hub's cache as a download of `main` would (`models--org--name`), where it is read offline."""
    folder = cache / repository.replace("/", "--")
    snapshot = folder / "snapshots" / commit
    shutil.copytree(files, snapshot)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    return snapshot
