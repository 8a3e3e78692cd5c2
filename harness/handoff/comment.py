"""One comment under a pull request of GitHub, created once and kept up to date."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from httpx2 import Client, HTTPStatusError, Response

from harness.handoff.annotations import run_url
from harness.handoff.markdown import code_span
from harness.support.console import print_note, safe_line

LONGEST_COMMENT = 65_536
"""Characters that GitHub takes in a comment, counted as UTF-16 does."""
_CUT_NOTE = "\n**Cut**: GitHub takes no longer comment; the run's own output has all.\n"
_DETAILS_END = "\n</details>\n"
_SECONDS = 30
_MOST_PAGES = 100
_NO_RIGHTS = {401, 403, 404}


class NoCommentError(Exception):
    """Why there is no comment; the gate's decision is none the worse for it."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request that a workflow of GitHub runs for, and what is needed to comment on it."""

    api: str
    graphql: str
    repository: str
    number: int
    token: str
    commit: str
    run: str | None


def comment_mark(identity: str) -> str:
    """What a comment begins with, by which it is found again, and which nobody sees."""
    return f"<!-- refusal-displacement-gate: {identity} -->"


def put_comment(text: str, identity: str, environment: Mapping[str, str]) -> str | None:
    """Creates the comment with this id under the pull request of this workflow, or brings it up to date.

    Only a comment of the token's own account is changed, whatever marks others write. Returns why there is no comment;
    None where there is one, or the workflow runs for no pull request, which is noted on standard error.
    """
    try:
        request = _find_pull_request(environment)
        if request is None:
            print_note("no comment: this workflow does not run for a pull request")
            return None
        headers = {
            "Authorization": f"Bearer {request.token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "refusal-displacement-gate",
        }
        with Client(headers=headers, timeout=_SECONDS) as client:
            _write_comment(client, request, _comment_body(text, identity, request), comment_mark(identity))
    except NoCommentError as problem:
        return f"no comment under the pull request: {problem}"
    except HTTPStatusError as error:
        return f"no comment under the pull request: {_explain_status(error.response)}"
    except Exception as error:  # whatever a server or an event of another shape makes of it
        return f"no comment under the pull request: GitHub's API cannot be used ({safe_line(repr(error), 200)})"
    return None


def cut_markdown(text: str, limit: int) -> str:
    """The text where it has at most `limit` characters, else whole lines of it, its folds closed, and a note."""
    if _count_characters(text) <= limit:
        return text
    left = limit - _count_characters(_DETAILS_END + _CUT_NOTE)
    kept: list[str] = []
    for line in text.splitlines(keepends=True):
        left -= _count_characters(line)
        if left < 0:
            break
        kept.append(line)
    opened = sum(line.startswith("<details>") for line in kept) - sum(line.startswith("</details>") for line in kept)
    return "".join(kept) + _DETAILS_END * opened + _CUT_NOTE


def _count_characters(text: str) -> int:
    return len(text.encode("utf-16-le", errors="surrogatepass")) // 2


def _comment_body(text: str, identity: str, request: PullRequest) -> str:
    """Mark, text, and what it is of: a comment outlasts the commit that it speaks of."""
    run = f" ([run]({request.run}))" if request.run else ""
    foot = f"\nOf commit {code_span(request.commit)}{run}.\n" if request.commit else ""
    head = f"{comment_mark(identity)}\n"
    return head + cut_markdown(text, LONGEST_COMMENT - _count_characters(head + foot)) + foot


# GitHub


def _find_pull_request(environment: Mapping[str, str]) -> PullRequest | None:
    """The pull request that the workflow runs for, if for one. Raises NoCommentError where it has no token or event."""
    token, repository = environment.get("GITHUB_TOKEN", ""), environment.get("GITHUB_REPOSITORY", "")
    if not token or not repository:
        raise NoCommentError("GITHUB_TOKEN and GITHUB_REPOSITORY are needed")
    try:
        event = json.loads(Path(environment.get("GITHUB_EVENT_PATH", "")).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NoCommentError("GITHUB_EVENT_PATH names no event") from error
    pull = event.get("pull_request") or (event.get("issue") if "pull_request" in event.get("issue", {}) else None)
    if not pull:
        return None
    api = environment.get("GITHUB_API_URL") or "https://api.github.com"
    commit = pull.get("head", {}).get("sha") or ""
    graphql = environment.get("GITHUB_GRAPHQL_URL") or f"{api}/graphql"
    return PullRequest(api, graphql, repository, int(pull["number"]), token, str(commit)[:12], run_url(environment))


def _write_comment(client: Client, request: PullRequest, body: str, mark: str) -> None:
    issues = f"{request.api}/repos/{request.repository}/issues"
    found = _find_comment(client, request, f"{issues}/{request.number}/comments", mark)
    if found is None:
        client.post(f"{issues}/{request.number}/comments", json={"body": body}).raise_for_status()
    else:
        client.patch(f"{issues}/comments/{found}", json={"body": body}).raise_for_status()


def _find_comment(client: Client, request: PullRequest, place: str, mark: str) -> int | None:
    """The number of our own comment that begins with the mark."""
    said = client.post(request.graphql, json={"query": "{ viewer { login } }"}).raise_for_status().json()
    login = str(said["data"]["viewer"]["login"])
    for page in range(1, _MOST_PAGES + 1):
        answer = client.get(place, params={"per_page": 100, "page": page}).raise_for_status()
        for comment in answer.json():
            if _is_written_by(comment, login) and str(comment.get("body") or "").startswith(mark):
                return int(comment["id"])
        if "next" not in answer.links:
            return None
    raise NoCommentError(f"there are more than {_MOST_PAGES} pages of comments")


def _is_written_by(comment: Mapping[str, Any], login: str) -> bool:
    """Whether a comment is this account's; an app is called with `[bot]` behind its name, or without."""
    user = comment.get("user") or {}
    app = user.get("type") == "Bot" and user.get("login") == f"{login}[bot]"
    return user.get("login") == login or app


def _explain_status(answer: Response) -> str:
    hint = (
        "; the job needs `permissions: pull-requests: write`, which a fork's has not"
        if answer.status_code in _NO_RIGHTS
        else ""
    )
    return f"GitHub answers {answer.status_code}{hint}"
