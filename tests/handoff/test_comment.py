"""The comment under a pull request, against a server that answers as GitHub's API does."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from markdown_it import MarkdownIt

from harness.handoff.comment import LONGEST_COMMENT, comment_mark, cut_markdown, put_comment
from helpers.samples_files import sides

BOT = {"login": "github-actions[bot]", "type": "Bot"}
PAGE = 30
"""Comments that the server gives at once, whatever it is asked for."""


class GitHub(ThreadingHTTPServer):
    """What is under pull request 5 of o/r."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.comments: list[dict] = []
        self.viewer = "github-actions[bot]"
        self.status = {"GET": 200, "POST": 201, "PATCH": 200}
        self.seen: list[str] = []

    def add(self, body: str, user: dict = BOT) -> dict:
        self.comments.append({"id": 100 + len(self.comments), "body": body, "user": user})
        return self.comments[-1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: GitHub

    def answer(self) -> None:
        place = urlsplit(self.path)
        self.server.seen.append(f"{self.command} {place.path}")
        data = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        assert self.headers["Authorization"] == "Bearer t0ken-t0ken"
        if place.path == "/graphql":
            return self.say(200, {"data": {"viewer": {"login": self.server.viewer}}})
        status = self.server.status[self.command]
        if status >= 400:
            return self.say(status, {"message": "Resource not accessible by integration"})
        if self.command == "GET":
            assert place.path == "/repos/o/r/issues/5/comments"
            return self.list_comments(int(parse_qs(place.query)["page"][0]))
        if len(data["body"].encode("utf-16-le")) // 2 > 65_536:
            return self.say(422, {"message": "body is too long"})
        if self.command == "POST":
            assert place.path == "/repos/o/r/issues/5/comments"
            return self.say(status, self.server.add(data["body"]))
        number = int(re.fullmatch(r"/repos/o/r/issues/comments/(\d+)", place.path)[1])
        (found,) = [each for each in self.server.comments if each["id"] == number]
        found["body"] = data["body"]
        return self.say(status, found)

    def list_comments(self, page: int) -> None:
        more = page * PAGE < len(self.server.comments)
        link = f'<{self.server.url}/repos/o/r/issues/5/comments?page={page + 1}>; rel="next"' if more else ""
        self.say(200, self.server.comments[(page - 1) * PAGE : page * PAGE], link)

    def say(self, status: int, content: object, link: str = "") -> None:
        self.send_response(status)
        if link:
            self.send_header("Link", link)
        data = json.dumps(content).encode()
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def github():
    server = GitHub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def workflow(github, tmp_path):
    """What a workflow's environment says of a pull request."""
    event = {"pull_request": {"number": 5, "head": {"sha": "0123456789abcdef"}}}
    (tmp_path / "event.json").write_text(json.dumps(event))
    return {
        "GITHUB_TOKEN": "t0ken-t0ken",
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_API_URL": github.url,
        "GITHUB_GRAPHQL_URL": f"{github.url}/graphql",
        "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_RUN_ID": "77",
    }


def test_it_is_created_once_and_updated_after(github, workflow):
    assert put_comment("first\n", "gate", workflow) is None
    assert put_comment("second\n", "gate", workflow) is None
    (comment,) = github.comments
    assert comment["body"] == (
        "<!-- refusal-displacement-gate: gate -->\nsecond\n\n"
        "Of commit `0123456789ab` ([run](https://github.example/o/r/actions/runs/77)).\n"
    )
    assert [line.split()[0] for line in github.seen if "graphql" not in line] == ["GET", "POST", "GET", "PATCH"]


def test_another_id_is_another_comment(github, workflow):
    for name in ("one", "two", "one"):
        assert put_comment(name, name, workflow) is None
    assert len(github.comments) == 2


@pytest.mark.parametrize("viewer", ["github-actions[bot]", "github-actions"])
def test_it_is_found_behind_many_others(github, workflow, viewer):
    github.viewer = viewer
    for number in range(2 * PAGE + 5):
        github.add(f"comment {number}", {"login": "someone", "type": "User"})
    ours = github.add(f"{comment_mark('gate')}\nold")
    for number in range(PAGE):
        github.add(f"later {number}")
    assert put_comment("new", "gate", workflow) is None
    assert "new" in ours["body"]
    assert len(github.comments) == 3 * PAGE + 6


@pytest.mark.parametrize(
    "user",
    [
        {"login": "someone", "type": "User"},
        {"login": "other-app[bot]", "type": "Bot"},
        None,
    ],
)
def test_somebody_elses_comment_is_left_alone_whatever_its_mark(github, workflow, user):
    theirs = github.add(f"{comment_mark('gate')}\ntheirs", user)
    assert put_comment("ours", "gate", workflow) is None
    assert theirs["body"].endswith("theirs")
    assert [comment["user"] for comment in github.comments] == [user, BOT]


def test_our_own_comment_that_quotes_a_mark_is_left_alone(github, workflow):
    quoting = github.add(f"they wrote {comment_mark('gate')}")
    assert put_comment("ours", "gate", workflow) is None
    assert quoting["body"].startswith("they wrote")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [403, 404, 500])
def test_what_github_refuses_is_told_and_raises_nothing(github, workflow, method, status):
    github.status[method] = status
    told = put_comment("text", "gate", workflow)
    assert f"GitHub answers {status}" in told
    assert ("pull-requests: write" in told) == (status != 500)
    assert "t0ken" not in told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"GITHUB_TOKEN": ""}, "GITHUB_TOKEN and GITHUB_REPOSITORY are needed"),
        ({"GITHUB_EVENT_PATH": "none.json"}, "names no event"),
        ({"GITHUB_API_URL": "http://127.0.0.1:9", "GITHUB_GRAPHQL_URL": ""}, "cannot be used"),
    ],
)
def test_where_there_is_no_way_to_comment_it_says_why(workflow, changes, told):
    assert told in put_comment("text", "gate", workflow | changes)


@pytest.mark.parametrize(
    ("event", "url"),
    [
        ([1], None),
        ("text", None),
        ({"pull_request": {"number": 5, "head": None}}, None),
        ({"pull_request": {"number": "x"}}, None),
        (None, "http://[::1"),
    ],
)
def test_what_is_of_another_shape_raises_nothing(github, workflow, event, url):
    if event is not None:
        Path(workflow["GITHUB_EVENT_PATH"]).write_text(json.dumps(event))
    places = {"GITHUB_API_URL": url, "GITHUB_GRAPHQL_URL": url} if url else {}
    assert "cannot be used" in put_comment("text", "gate", workflow | places)


@pytest.mark.parametrize("comments", ["page", {"a": 1}, ["text"], [[]], [{"user": "x", "body": 1}]])
def test_an_answer_of_another_shape_raises_nothing(github, workflow, comments, monkeypatch):
    monkeypatch.setattr(Answers, "list_comments", lambda self, page: self.say(200, comments))
    assert "cannot be used" in put_comment("text", "gate", workflow)
    assert not github.comments


@pytest.mark.parametrize(
    ("event", "count"),
    [
        ({"ref": "refs/heads/main"}, 0),
        ({"issue": {"number": 5}}, 0),
        ({"issue": {"number": 5, "pull_request": {}}}, 1),
    ],
)
def test_which_events_are_a_pull_requests(github, workflow, event, count, capsys):
    Path(workflow["GITHUB_EVENT_PATH"]).write_text(json.dumps(event))
    assert put_comment("text", "gate", workflow) is None
    assert len(github.comments) == count
    assert ("does not run for a pull request" in capsys.readouterr().err) == (count == 0)


# The length


def test_a_long_text_is_cut_at_a_line_with_its_folds_closed(github, workflow):
    rows = "".join(f"| `row {number}` | \u00a0 \U0001f600 |\n" for number in range(5000))
    text = f"## Head\n\n<details><summary>all</summary>\n\n| a | b |\n| --- | --- |\n{rows}\n</details>\n\nend\n"
    assert put_comment(text, "gate", workflow) is None
    body = github.comments[0]["body"]
    assert LONGEST_COMMENT - 200 < len(body.encode("utf-16-le")) // 2 <= LONGEST_COMMENT
    assert body.count("<details>") == body.count("</details>") == 1
    assert "**Cut**" in body
    assert body.endswith("runs/77)).\n")
    parsed = MarkdownIt("commonmark").enable("table").parse(body)
    assert [token.type for token in parsed].count("table_close") == 1


def test_a_text_that_fits_is_whole():
    text = "a line\n" * 3
    assert cut_markdown(text, len(text)) == text
    assert "**Cut**" in cut_markdown(text * 20, len(text) * 20 - 1)
    assert len(cut_markdown(text * 20, 400)) <= 400


# By the gate


@pytest.fixture
def gated(tmp_path, command, monkeypatch, workflow):
    for name, value in workflow.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    sides(tmp_path, 90, 60)
    return lambda *arguments: command("gate", "--before", "before", "--after", "after", *arguments)


def test_the_gate_comments_without_harmful_text(github, gated):
    done = gated("--comment", "gate", "--with-text")
    assert done.returncode == 1
    body = github.comments[0]["body"]
    assert "## Safety gate: FAIL" in body
    assert "| `unsafe-00" in body
    assert "harmful answer" not in body
    assert "Request" not in body


def test_a_comment_that_cannot_be_made_is_a_warning_and_the_decision_stands(github, gated):
    github.status["POST"] = 403
    done = gated("--comment", "gate", "--annotations", "told.txt")
    assert done.returncode == 1
    assert done.stdout.startswith("FAIL: ")
    assert "warning: no comment under the pull request: GitHub answers 403" in done.stderr
    assert "::warning title=Safety gate%3A comment::no comment" in Path("told.txt").read_text()


def test_where_nothing_was_decided_the_comment_does_not_go_on_saying_pass(github, gated):
    ours = github.add(f"{comment_mark('gate')}\n## Safety gate: PASS")
    done = gated("--comment", "gate", "--policy", "missing.yaml")
    assert done.returncode == 2
    assert "## Safety gate: ERROR\n\nNothing was decided. ``missing.yaml: cannot be read" in ours["body"]


@pytest.mark.parametrize("identity", ["a --> b", "", "x" * 65, "a\nb"])
def test_an_id_that_would_end_its_mark_is_refused(gated, github, identity):
    done = gated("--comment", identity)
    assert done.returncode == 2
    assert "is no id of a comment" in done.stderr
    assert not github.comments
