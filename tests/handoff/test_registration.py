"""Since when a policy is fixed, by histories of git made here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.handoff.registration import find_registration

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
EVALUATED = "2026-06-01T12:00:00Z"


def git(*arguments: str, when: str = "2026-05-01T00:00:00+02:00", cwd: Path = Path()) -> str:
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_COMMITTER_DATE": when}
    names = {f"GIT_{role}_{kind}": "a@b" for role in ("AUTHOR", "COMMITTER") for kind in ("NAME", "EMAIL")}
    return subprocess.run(
        ["git", *arguments], cwd=cwd, env={**os.environ, **own, **names}, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def policy(tmp_path, monkeypatch):
    """A policy in a work tree, committed on the first of May at 0:00 in Berlin; later commits leave it as it is."""
    (tmp_path / "work" / "rules").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    git("init", "-q", "-b", "main")
    path = Path("rules/policy.yaml")
    path.write_text("alpha: 0.02\n")
    git("add", ".")
    git("commit", "-q", "-m", "register")
    Path("other").write_text("x")
    git("add", ".")
    git("commit", "-q", "-m", "later", when="2026-07-01T00:00:00Z")
    return path


def test_a_policy_committed_before_the_evaluation_was_fixed_before_it(policy):
    found = find_registration(policy, EVALUATED)
    assert found.commit == git("rev-parse", "HEAD~1")
    assert (found.time, found.before_evaluation) == ("2026-04-30T22:00:00Z", True)
    assert found.told == (
        f"rules/policy.yaml was last changed by commit {found.commit[:12]} of 2026-04-30T22:00:00Z, before the first "
        f"evaluation after training ({EVALUATED})"
    )


def test_a_link_may_lead_elsewhere_since_yesterday(policy):
    """Both policies were committed long before; which of them the link names was not."""
    Path("policy.yaml").symlink_to(policy)
    Path("current").symlink_to("rules")
    for link in ("policy.yaml", "current/policy.yaml"):
        found = find_registration(Path(link), EVALUATED)
        assert (found.commit, found.before_evaluation) == (None, None)
        assert found.told == f"{link} is behind a link: nothing says since when it leads to that policy"


def test_a_work_tree_behind_a_link_is_one_all_the_same(policy, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "work")
    assert find_registration(tmp_path / "link" / policy, EVALUATED).before_evaluation is True


@pytest.mark.parametrize("name", [":(glob)*.yaml", "policy[a].yaml", ":!x", "*"])
def test_a_files_name_is_no_pattern(policy, name):
    own = policy.rename(policy.with_name(name))
    git("--literal-pathspecs", "add", str(own))
    git("commit", "-q", "-m", "rename", when="2026-05-02T00:00:00Z")
    Path("rules/policya.yaml").write_text("alpha: 0.1\n")
    git("add", ".")
    git("commit", "-q", "-m", "another", when="2026-07-01T00:00:00Z")
    found = find_registration(own, EVALUATED)
    assert (found.time, found.before_evaluation) == ("2026-05-02T00:00:00Z", True)


@pytest.mark.parametrize("when", ["2026-06-01T12:00:00Z", "2026-06-01T12:00:01Z", "2026-06-02T00:00:00Z"])
def test_one_that_was_changed_later_was_not(policy, when):
    policy.write_text("alpha: 0.2\n")
    git("commit", "-q", "-a", "-m", "laxer", when=when)
    found = find_registration(policy, EVALUATED)
    assert found.before_evaluation is False
    assert "not before the first evaluation after training" in found.told


def test_one_that_was_edited_since_is_not_as_it_was_committed(policy):
    policy.write_text("alpha: 0.2\n")
    found = find_registration(policy, EVALUATED)
    assert (found.commit, found.before_evaluation) == (None, None)
    assert "is not as it was committed" in found.told


def test_one_that_git_does_not_know_is_in_no_history(policy, tmp_path):
    for path in (Path("rules/new.yaml"), tmp_path / "outside.yaml"):
        path.write_text("alpha: 0.2\n")
        found = find_registration(path, EVALUATED)
        assert (found.commit, found.before_evaluation) == (None, None)
        assert "git knows no commit of" in found.told


def test_without_git_nothing_is_known(policy, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "git is not installed here" in find_registration(policy, EVALUATED).told


def test_without_a_policy_file_the_defaults_are_named():
    assert find_registration(None, EVALUATED).told.startswith("no policy file: these are the defaults")


def test_a_shallow_history_accuses_nobody(policy, tmp_path):
    git("clone", "-q", "--depth", "1", Path.cwd().as_uri(), str(tmp_path / "shallow"))
    found = find_registration(tmp_path / "shallow" / policy, EVALUATED)
    assert (found.time, found.before_evaluation) == ("2026-07-01T00:00:00Z", None)
    assert "fetch-depth: 0" in found.told


def test_a_time_that_no_calendar_has_is_not_compared(policy):
    found = find_registration(policy, "1e99")
    assert (found.before_evaluation, found.time) == (None, "2026-04-30T22:00:00Z")


def test_nothing_that_the_repository_names_is_run(policy, tmp_path):
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    for key in ("core.fsmonitor", "core.pager", "gpg.program"):
        git("config", key, str(hook))
    git("config", "log.showSignature", "true")
    assert find_registration(policy, EVALUATED).before_evaluation is True
    assert not (tmp_path / "ran").exists()
