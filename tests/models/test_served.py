"""Answers over an API: each asked for once, kept as it arrives, and every failure either mended or told."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.models.served.answering import answer_requests, read_answer, sample_served, seed_requests
from harness.models.served.journal import AnswerJournal, ServedAnswer
from harness.models.served.posting import AttemptError
from harness.models.served.serving import serve_checkpoint
from harness.models.served.settings import EndpointSettings
from harness.support.errors import HarnessError
from helpers.strict_api import StrictApi, answer_to, serving_command

KEY = "sk-secret-0123456789"


@pytest.fixture
def api():
    with StrictApi() as server:
        yield server


def settings(api, **options):
    given = {"attempts": 4, "backoff": 0.01, "timeout": 30, "longest_wait": 0.3, **options}
    return EndpointSettings(api.url, "tiny", **given)


def requests(*prompts):
    asked = [{"model": "tiny", "max_tokens": 5, "messages": [{"role": "user", "content": each}]} for each in prompts]
    return seed_requests(asked, 0)


PLANS = {
    "good": ["ok"],
    "busy": ["429:0.05", "ok"],
    "broken": ["500", "503", "ok"],
    "dropped": ["drop", "ok"],
    "slow": ["slow:0.1"],
    "hanging": ["slow:60", "ok"],
    "all of it": ["429", "drop", "500", "ok"],
}
"""What the server does with a prompt, attempt by attempt; the last again and again."""


def by_prompt(body, before):
    plan = PLANS[body["messages"][0]["content"].split("|")[0]]
    return plan[min(before, len(plan) - 1)]


def test_what_passes_is_asked_for_again_until_it_is_answered(api, tmp_path):
    api.plan = by_prompt
    asked = requests(*(f"{name}|{copy}" for name in PLANS for copy in range(3)))
    answers = answer_requests(asked, settings(api, concurrency=8, timeout=4), AnswerJournal(tmp_path / "j", "x"))
    assert answers == [answer_to(request) for request in asked]
    assert not api.refused
    for request in asked:
        plan = PLANS[request["messages"][0]["content"].split("|")[0]]
        assert api.seen[json.dumps(request, sort_keys=True)] == len(plan)


def test_no_more_requests_at_a_time_than_asked_for(api, tmp_path):
    api.plan = lambda body, before: "slow:0.05"
    answer_requests(requests(*map(str, range(12))), settings(api, concurrency=3), AnswerJournal(tmp_path / "j", "x"))
    assert 1 < api.most_busy <= 3


def test_retry_after_is_waited_for(api, tmp_path):
    api.plan = lambda body, before: "ok" if before else "429:0.25"
    started = time.monotonic()
    answer_requests(requests("a"), settings(api), AnswerJournal(tmp_path / "j", "x"))
    assert time.monotonic() - started >= 0.25


def test_what_fails_for_good_is_told_and_what_was_answered_is_kept(api, tmp_path):
    api.plan = lambda body, before: "500" if body["messages"][0]["content"] == "b" else "ok"
    asked = requests("a", "b", "c")
    with pytest.raises(HarnessError, match="1 of 3 requests failed, the first: HTTP 500.*the same command asks for"):
        answer_requests(asked, settings(api), AnswerJournal(tmp_path / "j", "x"))
    api.plan = lambda body, before: "ok"
    answers = answer_requests(asked, settings(api), AnswerJournal(tmp_path / "j", "x"))
    assert answers == [answer_to(request) for request in asked]
    counts = [api.seen[json.dumps(request, sort_keys=True)] for request in asked]
    assert counts == [1, 4 + 1, 1]


@pytest.mark.parametrize(("key", "hint"), [("other", "HARNESS_ENDPOINT_KEY")])
def test_a_wrong_key_ends_it_at_once_and_is_shown_nowhere(api, tmp_path, capsys, key, hint):
    api.key = "right"
    use = settings(api, key=KEY, concurrency=1)
    with pytest.raises(HarnessError, match=f"HTTP 401.*{hint}") as told:
        answer_requests(requests(*map(str, range(20))), use, AnswerJournal(tmp_path / "j", "x"))
    assert api.seen.total() == 1
    assert KEY not in str(told.value) + capsys.readouterr().err + (tmp_path / "j").read_text() + repr(use)
    assert api.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_what_a_filter_blocks_is_an_empty_answer_and_told(api, tmp_path, capsys):
    """As Azure's filter answers: an error for this prompt, which no other attempt would mend."""
    api.plan = lambda body, _: "400:content_filter" if body["messages"][0]["content"] == "bad" else "ok"
    journal, asked = AnswerJournal(tmp_path / "answers.jsonl", api.url), requests("good", "bad", "fine")
    told = []
    for _ in range(2):  # the second time from the journal
        answers = answer_requests(asked, settings(api), journal)
        assert answers == [answer_to(asked[0]), "", answer_to(asked[2])]
        told.append(capsys.readouterr().err)
    assert all("1 of 3 answers were blocked by the endpoint's filter, not given by the model" in each for each in told)
    assert set(api.seen.values()) == {1}


def test_an_api_that_refuses_every_request_is_given_up(api, tmp_path):
    asked = [{**request, "top_k": 0} for request in requests(*map(str, range(40)))]
    with pytest.raises(HarnessError, match="10 answers failed one after another, the last: HTTP 400.*top_k"):
        answer_requests(asked, settings(api, concurrency=1), AnswerJournal(tmp_path / "j", "x"))
    assert api.seen.total() == 10


def test_seeds_are_of_the_request_and_of_how_often_it_is_made():
    one, two, again, other = (each["seed"] for each in requests("a", "a", "b", "a")[:4])
    assert len({one, two, again, other}) == 4
    assert [each["seed"] for each in requests("a", "a", "b", "a")] == [one, two, again, other]
    assert requests("b")[0]["seed"] == again
    assert seed_requests([{"seed": 5, "a": 1}], 0) == seed_requests([{"a": 1}], 0)
    assert seed_requests([{"a": 1}], 0) != seed_requests([{"a": 1}], 1)
    assert all(0 <= each["seed"] < 2**31 for each in requests(*map(str, range(200))))


def test_several_answers_to_a_prompt_are_draws_of_their_own(api, tmp_path):
    journal = AnswerJournal(tmp_path / "j", "x")
    how = {"temperature": 1.0, "max_new_tokens": 5}
    first = sample_served(settings(api), journal, ["a", "a", "b"], seed=0, **how)
    assert len(set(first)) == 3
    assert sample_served(settings(api), journal, ["a", "a", "b"], seed=0, **how) == first
    assert sample_served(settings(api), journal, ["a"], seed=1, **how)[0] not in first
    assert set(api.answered.values()) == {1}


def test_the_journal_is_of_the_request_and_of_what_stands_behind_the_address(tmp_path):
    (asked,) = requests("a")
    journal = AnswerJournal(tmp_path / "j", "this")
    journal.add(asked, ServedAnswer("\ud800 two\nlines\u2028", "stop", "tiny"))
    assert AnswerJournal(tmp_path / "j", "this").find(asked) == ServedAnswer("\ud800 two\nlines\u2028", "stop", "tiny")
    assert AnswerJournal(tmp_path / "j", "that").find(asked) is None
    for changed in ({"seed": 1}, {"max_tokens": 6}, {"model": "other"}, {"temperature": 0}):
        assert journal.find({**asked, **changed}) is None


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_a_kill_cut_off_is_taken_away(tmp_path, cut):
    first, second, third = requests("a", "b", "c")
    journal = AnswerJournal(tmp_path / "j", "x")
    journal.add(first, ServedAnswer("one"))
    journal.add(second, ServedAnswer("two"))
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole[:-cut])
    again = AnswerJournal(tmp_path / "j", "x")
    assert (again.find(first), again.find(second)) == (ServedAnswer("one"), None)
    again.add(third, ServedAnswer("three"))
    found = AnswerJournal(tmp_path / "j", "x")
    assert [found.find(each) for each in (first, second, third)] == [ServedAnswer("one"), None, ServedAnswer("three")]


@pytest.mark.parametrize("line", ["{}", '{"key": "a"}', '{"key": 1, "text": "b"}', '{"key": "a", "text": 1}', "[]", "x",
                                  '{"key": "a", "text": "b", "more": 1}'])  # fmt: skip
def test_a_journal_that_is_none_is_told(tmp_path, line):
    (tmp_path / "j").write_text(f"{line}\n")
    with pytest.raises(HarnessError, match="j(:1)?: "):
        AnswerJournal(tmp_path / "j", "x")


@pytest.mark.parametrize(("message", "text"), [
    ({"content": "Yes."}, "Yes."),
    ({"content": ""}, ""),
    ({"content": None}, ""),
    ({"content": None, "refusal": "No."}, "No."),
    ({"content": "Yes.", "refusal": None}, "Yes."),
])  # fmt: skip
def test_an_answer_is_read(message, text):
    reply = {"choices": [{"message": message, "finish_reason": "length"}], "model": "m"}
    assert read_answer(reply) == ServedAnswer(text, "length", "m")


@pytest.mark.parametrize("reply", [
    {}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": {}}]},
    {"choices": [{"message": {"content": ["a"]}}]}, {"choices": {"message": 1}},
])  # fmt: skip
def test_what_is_no_answer_is_not_taken_for_an_empty_one(reply):
    with pytest.raises(AttemptError, match="holds no answer"):
        read_answer(reply)


# Serving


def started_processes(mark):
    return [int(number) for line in mark.read_text().splitlines() for number in line.split("\t")[1:]]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pids):
    for _ in range(600):
        if not any(map(is_alive, pids)):
            return
        time.sleep(0.05)
    pytest.fail(f"still there: {[pid for pid in pids if is_alive(pid)]}")


USE = EndpointSettings("", "", timeout=5)


def test_a_checkpoint_is_served_while_the_block_lasts_and_no_longer(tmp_path):
    with serve_checkpoint(serving_command(tmp_path / "mark"), "some/dir with blanks", USE, tmp_path / "log") as reached:
        assert reached.model == "some/dir with blanks"
        assert answer_requests(requests("a"), reached, AnswerJournal(tmp_path / "j", "x"))
        pids = started_processes(tmp_path / "mark")
        assert all(map(is_alive, pids))
    wait_until_gone(pids)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_server_ends_with_what_fails_while_it_runs(tmp_path, error):
    with pytest.raises(error), serve_checkpoint(serving_command(tmp_path / "mark"), "d", USE, tmp_path / "log"):
        raise error
    wait_until_gone(started_processes(tmp_path / "mark"))


def test_a_server_ends_when_the_harness_is_killed(tmp_path):
    program = (
        "import sys, time; from pathlib import Path\n"
        "from harness.models.served.serving import serve_checkpoint\n"
        "from harness.models.served.posting import EndpointSettings\n"
        "with serve_checkpoint(sys.argv[1], 'd', EndpointSettings('', '', timeout=5), Path(sys.argv[2]) / 'log'):\n"
        "    print('ready', flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, serving_command(tmp_path / "mark"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout.readline() == "ready\n"
        os.kill(started.pid, signal.SIGKILL)
    wait_until_gone(started_processes(tmp_path / "mark"))


@pytest.mark.parametrize(("command", "told"), [
    ("echo it broke {port}", "the server ended: it broke"),
    ("false {port}", "the server ended: it printed nothing"),
])  # fmt: skip
def test_a_server_that_does_not_start_is_told(tmp_path, command, told):
    with (
        pytest.raises(HarnessError, match=f"endpoint.serve: {told}.*log"),
        serve_checkpoint(command, "d", USE, tmp_path / "log"),
    ):
        pytest.fail("there is no server")
