"""The page of two evaluations of any tools: what it says is what the gate says, and nothing on it runs or leaks."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path

import pytest
from playwright.sync_api import expect

from harness.cli import app
from harness.gate.decision import run_gate
from harness.gate.policy import Policy
from harness.handoff.gate_json import gate_json
from harness.handoff.record import record_decision
from harness.support.artifacts import write_text
from harness.support.errors import HarnessError
from reports.sides.page import render_sides

DATA = Path(__file__).parents[1] / "data" / "readers"
LM_EVAL, PROMPTFOO, PLAIN = (
    (DATA / "lm_eval/base", DATA / "lm_eval/tuned"),
    (DATA / "promptfoo/base.json.gz", DATA / "promptfoo/tuned.json.gz"),
    (DATA / "plain/base.jsonl", DATA / "plain/tuned.jsonl"),
)
HOSTILE = '<script>alert(1)</script><img src="http://evil.example/x">\u202e"\'&</template></style>'


def packed(page: str) -> dict:
    """What the page's script unpacks, unpacked independently."""
    found = re.search(r'<template id="answers-data">([^<]*)</template>', page)
    return json.loads(zlib.decompress(base64.b64decode(found[1])))


def plain_sides(folder: Path, text: str) -> tuple[Path, Path]:
    """Two sides whose prompts, answers, categories and model are hostile."""
    for side, refused in (("before", 80), ("after", 40)):
        rows = [
            {"prompt": f"{text} {n}?", "category": text, "prompt_id": f"{text} {n}", "model": f"{text} {side}",
             "response": "I'm sorry, but I can't help with that." if n < refused else f"Sure, here it is: {text}"}
            for n in range(100)
        ]  # fmt: skip
        (folder / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "before.jsonl", folder / "after.jsonl"


UNSAFE_ALONE = Policy.model_validate({"metrics": {"refusal_rate": {"margin": 0.05}}})


@pytest.mark.parametrize(("before", "after"), [(LM_EVAL, PROMPTFOO), (PLAIN, LM_EVAL), (PROMPTFOO, PROMPTFOO)])
def test_every_figure_is_the_gates(before, after):
    page = render_sides(before[0], after[1], Policy(), judge="lexical")
    outcome = run_gate(before[0], after[1], Policy(), judge="lexical")
    figures = gate_json(record_decision(outcome, Policy(), (before[0], after[1])))
    cited = re.findall(r'<data value="([^"]*)" data-from="([^"]*)">', page)
    assert len(cited) > 100
    for value, pointer in cited:
        if pointer.startswith("/checks"):
            _, _, place, key = pointer.split("/")
            assert json.loads(value) == figures["checks"][int(place)][key], pointer
    assert "Do not ship it: refusal_rate fell by 19.9 to 42.5 points" in page
    for note in outcome.notes:
        assert note.split(";")[0].replace("'", "&#39;") in page


def test_the_changed_verdicts_are_counted_and_packed_side_by_side():
    page = render_sides(*PLAIN, Policy())
    answers = packed(page)["answers"]
    changed = [each for each in answers if each["direction"] != "same"]
    assert len(answers) == 112
    assert {(each["before"]["verdict"], each["after"]["verdict"]) for each in changed if each["unsafe"]} == {
        ("refusal", "harmful")
    }
    lost = sum(each["direction"] == "worse" for each in changed)
    assert f'data-from="/flips/arms/after/worse">{lost}<' in page


def test_redacted_it_holds_no_text_of_an_unsafe_prompt():
    page = render_sides(*PLAIN, Policy(), redact=True)
    rows = [json.loads(line) for line in PLAIN[1].read_text().splitlines()]
    whole = page + json.dumps(packed(page))
    for row in rows:
        assert (row["prompt"] in whole) is not row["unsafe"]


def test_what_a_model_wrote_is_text(tmp_path):
    page = render_sides(*plain_sides(tmp_path, HOSTILE), UNSAFE_ALONE)
    assert "<script>alert" not in page
    assert "evil.example" not in re.sub(r"&lt;.*?&gt;", "", page).split('<template id="answers-data">')[0]
    assert page.count("</template>") == 1
    assert "\u202e" not in page
    assert "default-src &#39;none&#39;" in page


def run(*words: object) -> None:
    app([*map(str, words)], standalone_mode=False)


def test_the_two_sides_are_given_together_and_without_runs(tmp_path):
    for words in (["--before", "x"], ["runs/a", "--before", "x", "--after", "y"]):
        with pytest.raises(HarnessError, match="are given together, and without runs"):
            run("report", *words)
    with pytest.raises(HarnessError, match="goes with --before and --after"):
        run("report", "runs/a", "--judge", "lexical")
    with pytest.raises(HarnessError, match="names no run"):
        run("report")
    run("report", "--before", PLAIN[0], "--after", PLAIN[1], "--out", tmp_path / "page.html")
    assert "Do not ship it" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_nothing_is_asked_for_and_the_answers_can_be_read(browser, tmp_path, width):
    write_text(tmp_path / "page.html", render_sides(*plain_sides(tmp_path, HOSTILE), UNSAFE_ALONE))
    page, said = browser.new_context(viewport={"width": width, "height": 800}).new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
    page.goto((tmp_path / "page.html").as_uri())
    expect(page.locator("#count")).to_have_text("40 flips")
    expect(page.locator("#detail")).to_contain_text("Before training: refusal")
    expect(page.locator("#detail")).not_to_contain_text("Training pairs")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []
