"""Since when a policy file is fixed: the commit of git that last changed it, held against the evaluations' time."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.support.console import safe_line

_AS_THEY_ARE = ("--literal-pathspecs", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")
"""A file's name is no pattern, and nothing that a repository's own settings name is run."""
_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Registration:
    """When a policy was fixed, as far as git knows, `told` in words; `time` is the committer's, ISO 8601 in UTC.

    `before_evaluation`: whether that was before the trained model was first evaluated; None where it is not known.
    """

    told: str
    commit: str | None = None
    time: str | None = None
    before_evaluation: bool | None = None


def find_registration(policy_file: Path | None, evaluated: str) -> Registration:
    """The registration of a policy file, held against the first evaluation after training (ISO 8601)."""
    if policy_file is None:
        return Registration("no policy file: these are the defaults, and nothing says since when they were to be used")
    name = safe_line(str(policy_file))
    if shutil.which("git") is None:
        return Registration(f"git is not installed here: nothing says since when {name} is fixed")
    if _is_behind_link(policy_file):
        return Registration(f"{name} is behind a link: nothing says since when it leads to that policy")
    found = _last_change(policy_file)
    if found is None:
        return Registration(f"git knows no commit of {name}: nothing says since when it is fixed")
    commit, time = found
    if _committed_bytes(policy_file, commit) != policy_file.read_bytes():
        return Registration(f"{name} is not as it was committed: nothing says since when it is fixed")
    return _compare_times(policy_file, commit, time, evaluated)


def _compare_times(policy_file: Path, commit: str, time: str, evaluated: str) -> Registration:
    """A policy that is as it was committed, held against the first evaluation after training."""
    changed = f"{safe_line(str(policy_file))} was last changed by commit {commit[:12]} of {time}"
    try:
        earlier = datetime.fromisoformat(time) < datetime.fromisoformat(evaluated)
    except ValueError:
        return Registration(f"{changed}; when the evaluations were made is not known", commit, time)
    if earlier:
        return Registration(f"{changed}, before the first evaluation after training ({evaluated})", commit, time, True)
    if _ask_git(policy_file, "rev-parse", "--is-shallow-repository") == b"true\n":
        return Registration(f"{changed} or earlier: the history at hand is shallow (fetch-depth: 0)", commit, time)
    late = (
        f"{changed}, not before the first evaluation after training ({evaluated}): it may have been chosen by results"
    )
    return Registration(late, commit, time, False)


def _is_behind_link(path: Path) -> bool:
    """Whether the file is a symbolic link, or lies below one of its own work tree: git dates what it leads to alone."""
    if path.is_symlink():
        return True
    top = _ask_git(path, "rev-parse", "--show-toplevel")
    root = Path(os.fsdecode(top.rstrip(b"\n"))) if top else None
    parents = path.absolute().parents
    return root is not None and any(
        each.is_symlink() and each.parent.resolve().is_relative_to(root) for each in parents
    )


def _last_change(path: Path) -> tuple[str, str] | None:
    """The last commit that changed a file, and its committer's time in UTC."""
    said = _ask_git(path, "log", "-1", "--no-show-signature", "--format=%H %ct", "--", path.resolve().name)
    if not said:
        return None
    commit, seconds = said.decode().split()
    return commit, datetime.fromtimestamp(int(seconds), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _committed_bytes(path: Path, commit: str) -> bytes | None:
    return _ask_git(path, "cat-file", "blob", f"{commit}:./{path.resolve().name}")


def _ask_git(path: Path, *arguments: str) -> bytes | None:
    """What git says in the folder of a file; None where it is missing, or knows nothing."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, *_AS_THEY_ARE, *arguments]
    try:
        done = subprocess.run(command, cwd=path.resolve().parent, capture_output=True, timeout=_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
