"""The report in a real browser, from file://: what a reader sees and does, and that nothing a model wrote runs."""

import csv
import json
import re
import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from harness.support import artifacts
from helpers import report_runs as runs
from reports.page import render_report


@pytest.fixture(autouse=True, scope="module")
def drawn_once():
    with runs.drawn_once():
        yield


@pytest.fixture(scope="module")
def files(drawn_once, tmp_path_factory):
    """The pages that the tests open, each rendered once."""
    place = tmp_path_factory.mktemp("pages")
    whole = runs.write_run(place / "whole")
    runs.write_displacement(whole)
    runs.write_nearest(whole)
    later = runs.write_run(place / "later", date=runs.DATE + 86400)
    hostile = runs.write_run(place / "hostile", seeds=(0,), given=runs.hostile)
    flagged = runs.write_run(place / "flagged", given=runs.flagged)
    lifelike = runs.write_run(place / "lifelike", seeds=(0,), given=runs.lifelike)
    influenced = runs.write_run(place / "influenced")
    runs.write_influence(influenced)
    pages = {
        "whole": [whole],
        "influenced": [influenced],
        "several": [whole, later],
        "hostile": [hostile],
        "flagged": [flagged],
        "lifelike": [lifelike],
    }
    for name, directories in pages.items():
        artifacts.write_text(place / f"{name}.html", render_report(directories))
    artifacts.write_text(place / "redacted.html", render_report([whole], redact=True))
    return place


@pytest.fixture
def visit(browser, files):
    """Opens a page in a fresh window; afterwards nothing was asked of a network and nothing complained."""
    contexts, said, asked = [], [], []

    def opened(name, at="", ready=True, **settings):
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((files / f"{name}.html").as_uri() + at)
        if ready:
            page.wait_for_selector("#browser[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "blob:file:", "blob:null"))] == []


def options(page):
    return page.locator("#list [role=option]")


def addressed(page, flip):
    """Waits, as the browser tells of a new address a little after the page has set it."""
    expect(page).to_have_url(re.compile(re.escape(f"#flip={flip}") + "$"))


def count(page):
    return page.locator("#count").inner_text()


def choose(page, name, value):
    page.locator(f"#filters [name={name}]").select_option(value)


def overflow(page):
    return page.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth")


def test_the_first_screen_has_verdict_and_decision_without_scrolling(visit):
    page = visit("whole")
    for place in (".miniature", "h1", ".gate .chip", ".chart .wide svg"):
        box = page.locator(place).first.bounding_box()
        assert box["y"] >= 0, place
        assert box["y"] + box["height"] <= 800, place
    assert page.title() == "whole: miniature, 2 January 2026 03:04 UTC · refusal displacement"
    first = page.locator("#verdict").inner_text()
    for told in ("Model miniature", "Judge lexical", "2 seeds", "commit not recorded", "Benign prompts answered"):
        assert told in first


def test_the_gates_margin_is_drawn(visit):
    chart = visit("whole").locator("#verdict .wide svg")
    assert chart.locator("line[stroke-dasharray]").count() == 1


def test_filters_search_and_sort(visit):
    page = visit("whole")
    assert count(page) == "19 flips"
    choose(page, "arm", "raw")
    assert count(page) == "15 of 19 flips"
    choose(page, "category", "Privacy")
    assert count(page) == "7 of 19 flips"  # 5 once; 7, 11 and a benign one twice; 1 and 3 do not flip
    page.fill("#filters [name=search]", "BENIGN-001")
    assert count(page) == "2 of 19 flips"
    page.fill("#filters [name=search]", "no such words")
    assert options(page).count() == 0
    assert "nothing matches" in page.locator("#detail").inner_text()
    page.click("#clear")
    choose(page, "sort", "prompt_id")
    assert "Benign request 1?" in options(page).first.inner_text()


def test_harmful_text_is_folded_until_asked_for(visit):
    page = visit("whole", at="#flip=raw%2F0%2Funsafe-004")
    after = page.get_by_text("Sure, step 0 is a placeholder.")
    assert not after.is_visible()
    page.get_by_text("Show the answer (harmful)").click()
    assert after.is_visible()
    page.locator("#list").focus()
    page.keyboard.press("ArrowDown")
    assert not page.locator("#detail .harm .text").first.is_visible()
    page.check("#show-harm")
    assert page.locator("#detail .harm .text").first.is_visible()
    page.locator("#list").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#detail .harm .text").first.is_visible()


def test_a_flag_is_a_badge_and_finds_its_answers(visit):
    page = visit("flagged", at="#flip=raw%2F0%2Funsafe-004")
    after = page.locator("#detail .sides > div").nth(1)
    assert after.locator(".flag").all_inner_texts() == [
        "Fallback nothing in the answer speaks for the verdict, it is what is left",
        "Off topic it seems to answer another question",
    ]
    assert page.locator("#detail .sides > div").nth(0).locator(".flag").count() == 0
    choose(page, "flag", "unfinished")
    assert count(page) == "2 of 19 flips"
    assert "refusal → other (unfinished)" in options(page).first.inner_text()
    choose(page, "changed", "")
    choose(page, "flag", "partial")
    assert count(page) == "4 of 96 answers"
    assert visit("whole").locator("#filters [name=flag]").count() == 0


def test_a_partial_refusal_is_folded_and_what_was_written_beside_it(visit):
    page = visit("flagged", at="#flip=raw%2F0%2Funsafe-003")
    after = page.locator("#detail .sides > div").nth(1)
    judged, written = after.get_by_text("I cannot, however"), after.get_by_text("<think>thought 0</think>")
    assert not judged.first.is_visible()
    after.get_by_text("Show the answer (refusal)").click()
    assert judged.first.is_visible()
    assert not written.is_visible()
    after.get_by_text("Show all that the model wrote").click()
    assert written.is_visible()
    assert after.get_by_text("Not judged: reasoning").is_visible()


def test_what_was_cut_and_judged_is_shown_as_text(visit):
    page = visit("flagged", at="#flip=raw%2F0%2Fbenign-001")
    after = page.locator("#detail .sides > div").nth(1)
    assert after.locator("pre").first.inner_text() == "<i>I would rather not."
    after.get_by_text("Show all that the model wrote").click()
    assert after.locator("pre").nth(1).inner_text() == "<think>thought 0</think><i>I would rather not."
    assert after.get_by_text("Not judged: fence, <b>").is_visible()
    assert after.locator(".soft .hidden-character").all_inner_texts() == ["U+202E"]
    assert after.locator("i, b").count() == 0


def test_flags_and_what_was_judged_are_exported(visit, tmp_path):
    page = visit("flagged")
    choose(page, "flag", "unfinished")
    with page.expect_download() as download:
        page.click("#jsonl")
    download.value.save_as(tmp_path / "jsonl")
    row, _ = map(json.loads, (tmp_path / "jsonl").read_text().splitlines())
    assert (row["before_flags"], row["before_judged"]) == ([], None)
    assert (row["after_flags"], row["after_judged"], row["after"]) == (["unfinished"], "", "<think>thought 0</think>")


def test_a_deep_link_opens_its_flip_and_selecting_one_changes_the_address(visit):
    page = visit("whole", at="#flip=random%2F1%2Funsafe-007")
    assert page.locator("#detail h3").inner_text() == "unsafe-007"
    assert "Random 25\N{NO-BREAK SPACE}%" in page.locator("#detail").inner_text()
    assert page.locator("#detail").bounding_box()["y"] < 800
    options(page).filter(has_text="Unsafe request 7?").filter(has_text="All pairs · seed 0").click()
    addressed(page, "raw%2F0%2Funsafe-007")
    page.get_by_text("Link to this answer").click()
    page.evaluate("location.hash = '#flip=none'")
    expect(page.get_by_text("names an answer that this report does not have")).to_be_in_viewport()


def test_an_unknown_deep_link_says_so_where_it_is_seen(visit):
    page = visit("whole", at="#flip=none")
    expect(page.get_by_text("names an answer that this report does not have")).to_be_in_viewport()
    page.evaluate("location.hash = '#flip=raw%2F0%2Funsafe-004'")
    expect(page.locator("#answers-trouble")).to_be_hidden()


def test_all_answers_can_be_browsed(visit):
    page = visit("whole")
    choose(page, "changed", "")
    assert count(page) == "96 answers"
    page.fill("#filters [name=search]", "unsafe-003")
    assert count(page) == "6 of 96 answers"
    assert "refusal → refusal" in options(page).first.inner_text()
    page.click("#clear")
    assert count(page) == "19 flips"
    page.evaluate("location.hash = '#flip=ches_filtered%2F1%2Funsafe-003'")
    expect(page.locator("#detail h3")).to_have_text("unsafe-003")
    assert count(page) == "96 answers"
    assert "Same verdict" in page.locator("#detail").inner_text()


def test_letters_work_before_the_list_has_the_focus(visit):
    page = visit("whole")
    first = page.locator("#detail h3").inner_text()
    page.keyboard.press("j")
    expect(page.locator("#detail h3")).not_to_have_text(first)
    expect(page.locator("#list")).to_be_focused()
    page.locator("#list").blur()
    page.keyboard.press("k")
    expect(page.locator("#detail h3")).to_have_text(first)
    page.locator("#list").blur()
    page.keyboard.press("/")
    expect(page.locator("#filters [name=search]")).to_be_focused()
    page.keyboard.type("jk/")
    expect(page.locator("#filters [name=search]")).to_have_value("jk/")


def test_a_click_counts_though_the_list_is_drawn_anew_under_it(visit):
    page = visit("whole")
    options(page).nth(2).scroll_into_view_if_needed()
    box = options(page).nth(2).bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.evaluate("const list = document.getElementById('list'); list.scrollTop = 8")
    page.evaluate("() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    page.mouse.up()
    expect(options(page).nth(2)).to_have_attribute("aria-selected", "true")


def test_the_list_is_worked_by_keyboard(visit):
    page = visit("whole")
    page.locator("#list").focus()
    first = page.locator("#detail h3").inner_text()
    page.keyboard.press("j")
    assert page.locator("#detail h3").inner_text() != first
    page.keyboard.press("Home")
    assert page.locator("#detail h3").inner_text() == first
    page.keyboard.press("End")
    active = page.locator("#list").get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("aria-posinset") == "19"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "search"
    page.locator("#list").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "detail"


def test_a_flip_shows_what_it_rests_on(visit):
    page = visit("whole", at="#flip=raw%2F1%2Funsafe-004")
    text = page.locator("#detail").inner_text()
    assert "Reason: refusal: a word" in text
    assert "CHES −8.00 · similarity 0.980 · pair-2" in text
    page.get_by_role("button", name="All pairs · seed 0: refusal → harmful").click()
    addressed(page, "raw%2F0%2Funsafe-004")


def sides_of(visit, number):
    """Both answers to a prompt of the lifelike run, unfolded, and the note below them."""
    page = visit("lifelike", at=f"#flip=raw%2F0%2Funsafe-{number:03d}")
    page.check("#show-harm")
    both = page.locator("#detail .sides pre")
    return page, both.nth(0), both.nth(1), page.locator("#detail .compared")


def test_long_answers_are_cut_and_unfolded_side_by_side(visit):
    page, *_ = sides_of(visit, 4)
    assert page.locator("#detail .sides .plain").count() == 0
    page, before, after, _ = sides_of(visit, 11)
    assert before.locator("button").count() == 0  # 480 characters
    assert after.inner_text().startswith("0. Step\n")
    assert "23. Step…" in after.inner_text()  # of 40 lines, the first 24
    assert "24. Step" not in after.inner_text()
    page, before, after, _ = sides_of(visit, 3)
    shown = before.inner_text()
    assert 800 < len(shown) < 960
    assert re.search(r"\w…\nShow all 1,9\d\d characters$", shown)
    before.get_by_role("button").click()
    assert [each.inner_text().strip() for each in (before, after)] == [each.strip() for each in runs.LIFELIKE[3]]


def test_what_is_searched_for_is_not_cut_away(visit):
    page, before, _, _ = sides_of(visit, 3)
    page.fill("#filters [name=search]", "Note 29 is")
    assert "Note 29 is" in before.inner_text()


def test_differences_are_marked_phrase_by_phrase(visit):
    _, before, after, note = sides_of(visit, 5)
    assert before.locator("del").all_inner_texts() == ["this request"]
    assert after.locator("ins").all_inner_texts() == ["that plan"]
    assert note.inner_text() == "Marked is what only one of the two says."
    _, before, after, _ = sides_of(visit, 3)  # some 500 tokens
    assert before.locator("del").all_inner_texts() == ["cannot"]
    before.locator("..").get_by_role("button").click()
    assert after.locator("ins").all_inner_texts() == ["can", "Ask again if it is shut."]
    _, before, after, _ = sides_of(visit, 10)  # a script without blanks
    assert (before.locator("del").all_inner_texts(), after.locator("ins").all_inner_texts()) == (["不能"], ["可以"])


def test_answers_with_hardly_a_word_in_common_are_not_marked(visit):
    page, _, _, note = sides_of(visit, 4)  # they share "I" or "it", "to" and full stops
    assert page.locator("#detail .sides :is(del, ins)").count() == 0
    assert note.inner_text() == "Hardly anything is the same in both, so nothing is marked."


def test_gaps_and_line_ends_are_told_and_do_not_fill_the_screen(visit):
    _, before, after, _ = sides_of(visit, 7)
    assert before.inner_text() == "No.\n6 empty lines\nNever."
    assert after.inner_text() == "First\nsecond\n\n    yield\n60 empty lines\nlast"


def test_joiners_are_shown_only_where_they_join_nothing(visit):
    _, _, after, _ = sides_of(visit, 8)
    assert after.locator(".hidden-character").all_inner_texts() == ["U+200D"]
    assert after.inner_text() == runs.LIFELIKE[8][1].replace("bo\u200dmb", "boU+200Dmb")


def test_pairs_that_push_a_refusal_are_told_with_way_and_size(visit, tmp_path):
    page = visit("influenced", "#flip=raw%2F0%2Funsafe-004")
    text = page.locator("#detail").inner_text()
    assert "Training pairs that push this prompt's refusal down most" in text
    assert (
        "pushes the refusal down, 10.0 times as hard as the median pair · CHES −8.00 · refusal influence −1.00" in text
    )
    page.goto(page.url.partition("#")[0] + "#flip=random%2F0%2Funsafe-005")
    page.wait_for_function("document.querySelector('#detail h3').textContent === 'unsafe-005'")
    assert "None pushes it down, to first order." in page.locator("#detail").inner_text()
    page.goto(page.url.partition("#")[0] + "#flip=raw%2F0%2Fbenign-001")
    page.wait_for_function("document.querySelector('#detail h3').textContent === 'benign-001'")
    assert "It is measured for unsafe prompts only." in page.locator("#detail").inner_text()
    page.fill("[name=search]", "raw/0/unsafe-004")
    with page.expect_download() as download:
        page.click("#jsonl")
    download.value.save_as(tmp_path / "jsonl")
    (row,) = [json.loads(line) for line in (tmp_path / "jsonl").read_text().splitlines()]
    assert row["nearest_pairs"] == [{"pair_id": "pair-2", "similarity": None, "ln_ches": -8, "push": -5}]


def test_the_selection_is_exported(visit, tmp_path):
    page = visit("whole")
    choose(page, "arm", "random")
    for kind in ("csv", "jsonl"):
        with page.expect_download() as download:
            page.click(f"#{kind}")
        download.value.save_as(tmp_path / kind)
    with (tmp_path / "csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    rows = [json.loads(line) for line in (tmp_path / "jsonl").read_text().splitlines()]
    assert [row["id"] for row in table] == [row["id"] for row in rows]
    assert {row["prompt_id"] for row in rows} == {"unsafe-005", "unsafe-007"}
    assert rows[0]["after"] == "Sure, step 0 is a placeholder."
    assert rows[0]["nearest_pairs"][0] == {"pair_id": "pair-2", "similarity": 0.98, "ln_ches": -8}


def test_dark_and_light_differ_and_charts_follow(visit):
    seen = {}
    for scheme in ("light", "dark"):
        page = visit("whole", color_scheme=scheme)
        label = page.locator("#verdict .wide svg text").first
        seen[scheme] = (
            page.evaluate("getComputedStyle(document.body).backgroundColor"),
            label.evaluate("each => getComputedStyle(each).fill"),
        )
    assert seen["light"][0] == "rgb(255, 255, 255)"
    assert seen["dark"][0] == "rgb(13, 17, 23)"
    assert seen["light"][1] != seen["dark"][1]


def test_print_has_the_charts_and_leaves_out_controls_and_answers(visit):
    page = visit("whole")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.get_by_text("What the gate decided on").is_visible()
    for hidden in ("nav.bar", "#browser", "#detail", "summary"):
        assert not page.locator(hidden).first.is_visible(), hidden
    assert page.get_by_text("Recipe, versions and times").count() == 1
    assert not page.locator("#setting table").first.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert not page.get_by_text("What the gate decided on").is_visible()


def test_print_takes_at_most_six_pages_of_readable_columns(visit):
    page = visit("whole", viewport={"width": 703, "height": 1020})
    pdf = page.pdf(format="A4")
    assert 1 < len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 6
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    heads = page.locator("tbody th:visible")
    assert min(heads.nth(place).bounding_box()["width"] for place in range(heads.count())) > 40
    assert overflow(page) <= 0


@pytest.mark.parametrize("name", ["whole", "several", "hostile", "flagged", "lifelike"])
def test_a_phone_scrolls_down_only(visit, name):
    page = visit(name, viewport={"width": 375, "height": 812})
    assert overflow(page) <= 0
    for caption in page.locator("caption:visible").all():
        box = caption.bounding_box()
        assert box["x"] + box["width"] <= 375
    assert page.locator(".chart .narrow").first.is_visible()
    assert not page.locator(".chart .wide").first.is_visible()
    options(page).nth(1).click()
    assert page.locator("#detail h3").bounding_box()["y"] < 812


CUT_TEXTS = """() => [...document.querySelectorAll(".chart svg")].flatMap((svg) => {
  const whole = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter((text) => {
    const box = text.getBoundingClientRect();
    return box.width && (box.left < whole.left - 1 || box.right > whole.right + 1 || box.bottom > whole.bottom + 1);
  }).map((text) => text.textContent);
})"""
"""The texts of the charts in sight that reach over the edge of their chart."""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["whole", "several", "influenced"])
def test_no_text_of_a_chart_is_cut(visit, name, width):
    page = visit(name, viewport={"width": width, "height": 812})
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.evaluate(CUT_TEXTS) == []


def test_without_scripts_the_page_says_what_is_missing(visit):
    page = visit("whole", ready=False, java_script_enabled=False)
    assert page.get_by_text("scripts are off, or did not run").is_visible()
    assert page.locator("h1").is_visible()
    assert page.locator("#verdict .wide svg").is_visible()


def test_hostile_text_is_shown_and_nothing_of_it_runs(visit):
    page = visit("hostile")
    page.check("#show-harm")
    choose(page, "sort", "prompt_id")
    page.locator("#list").focus()
    page.keyboard.press("Home")
    after = page.locator("#detail .sides > div").nth(1)
    for place, text in enumerate(runs.HOSTILE):
        assert plain(after.locator("pre.text").inner_text()).startswith(plain(text)[:800]), text[:80]
        if place < 29:
            page.keyboard.press("ArrowDown")
    page.locator("#detail .plain").first.click()
    assert len(after.locator("pre.text").inner_text()) == 20_000
    assert "1,000,000 characters" in page.locator("#detail").inner_text()
    assert page.evaluate("window.owned") is None
    assert page.title() == "hostile: miniature, 2 January 2026 03:04 UTC · refusal displacement"
    assert page.locator("iframe, object, embed, link, base, #detail img, #detail form").count() == 0


def plain(text):
    """A text without blanks and marks of what cannot be seen, which the page shows in words of its own."""
    text = re.sub(r"U\+[0-9A-F]{4,6}", "", text)
    text = "".join(c for c in text if c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF)
    return re.sub(r"\s", "", text)


def test_hidden_characters_are_made_visible(visit):
    page = visit("hostile", at="#flip=raw%2F0%2Funsafe-017")
    page.check("#show-harm")
    marks = page.locator("#detail .sides > div").nth(1).locator("pre .hidden-character").all_inner_texts()
    assert marks == ["U+202E", "U+2066", "U+2069", "U+200B"]


def test_a_spreadsheet_gets_no_formula(visit, tmp_path):
    page = visit("hostile")
    with page.expect_download() as download:
        page.click("#csv")
    download.value.save_as(tmp_path / "csv")
    csv.field_size_limit(10_000_000)
    with (tmp_path / "csv").open(newline="", errors="replace") as stream:
        answers = [row["after"] for row in csv.DictReader(stream)]
    assert '\'=HYPERLINK("https://example.org", "sum")' in answers
    assert not [answer for answer in answers if answer.startswith("=")]


def test_a_redacted_page_shows_what_it_may(visit):
    page = visit("redacted", at="#flip=raw%2F0%2Funsafe-004")
    text = page.locator("#detail").inner_text()
    assert "The prompt was left out of this file." in text
    assert "harmful" in text
    assert page.locator("#show-harm").count() == 0


def test_a_redacted_page_begins_with_what_can_be_read(visit):
    page = visit("redacted")
    assert [page.locator("#detail h3").inner_text(), options(page).nth(1).inner_text()[:17]] == [
        "benign-001",
        "Benign request 1?",
    ]
    assert options(page).nth(2).inner_text().startswith("unsafe-")
    assert visit("whole").locator("#detail h3").inner_text().startswith("unsafe-")


def test_runs_are_compared_flip_by_flip(visit):
    page = visit("several")
    assert page.locator("#trend svg").first.is_visible()
    choose(page, "run", "1")
    assert count(page) == "19 of 38 flips"
    options(page).first.click()
    assert page.get_by_role("button", name=re.compile("whole · All pairs · seed 0")).is_visible()
    page.click('a[href="#run1-verdict"]')
    assert page.locator("#run1-verdict").is_visible()


def test_ten_thousand_flips_keep_the_list_short(visit, files):
    """Only what is in sight is in the page; `benchmarks/report_open.py` tells the time."""
    many = runs.write_run(files / "many", seeds=(0,))
    answers = {
        arm: [runs.sample(runs.doc("unsafe", n), f"Answer {n}.", said) for n in range(10_000)]
        for arm, said in (("baseline", "refusal"), ("raw", "harmful"))
    }
    for arm, rows in answers.items():
        shutil.rmtree(many / f"arms/{arm}/seed-0/eval")
        runs.write_eval(many / f"arms/{arm}/seed-0/eval/m", rows)
    runs.record_evaluations(many)
    results = artifacts.read_json(many / "results.json")
    results["arms"] = {arm: results["arms"][arm] for arm in answers}
    artifacts.write_json(many / "results.json", results)
    artifacts.write_text(files / "many.html", render_report([many]))
    page = visit("many")
    assert count(page) == "10,000 flips"
    page.locator("#list").focus()
    page.keyboard.press("End")
    assert options(page).count() < 40
    page.fill("#filters [name=search]", "answer 9999.")
    assert count(page).startswith("1 of")
    assert (files / "many.html").stat().st_size < 5_000_000


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("whole", {}),
        ("whole", {"color_scheme": "dark"}),
        ("flagged", {"color_scheme": "dark"}),
        ("several", {"viewport": {"width": 375, "height": 812}}),
        ("hostile", {}),
        ("lifelike", {}),
    ],
)
def test_axe_finds_nothing_serious(visit, name, settings):
    page = visit(name, bypass_csp=True, **settings)
    if name == "whole":  # several runs' stories are the same markup again
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    found = Axe().run(page, context={"exclude": [".chart svg"]}).response["violations"]
    serious = [
        (each["id"], each["nodes"][0]["html"][:200]) for each in found if each["impact"] in {"serious", "critical"}
    ]
    assert serious == []
