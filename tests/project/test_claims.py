"""Numbers in the pages' prose: each is what a committed result gives, or listed as something else."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RECIPES = sorted((ROOT / "harness" / "recipes").glob("*.yaml"))


def load_script(name: str):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


claims = load_script("check_claims")
PAGES = claims.pages_there()


@pytest.mark.parametrize("page", PAGES)
def test_every_number_of_a_page_is_a_result_or_listed(page):
    assert not (told := claims.report_on(page)), f"\n{told}"


def test_no_page_is_left_out_silently():
    numbered = [page for page in PAGES if claims.numbers_in(claims.page_text(page))]
    without = {page for page in numbered if not claims.claims_file(page).exists()}
    assert not without, "`python docs/check_claims.py PAGE` says what its file in docs/claims/ needs"
    known = {claims.claims_file(page) for page in PAGES} | {claims.CLAIMS / "paper.yaml"}
    assert set(claims.CLAIMS.rglob("*.yaml")) <= known


def test_only_tables_that_are_drawn_from_results_are_left_out():
    source = (DOCS / "figures_experiments.py").read_text()  # read, as it loads what draws
    known = set(re.findall(r'^        \("([\w-]+)", "\w+", \w+\),$', source, re.MULTILINE))
    assert len(known) > 10
    for page in PAGES:
        for found in claims.GENERATED.findall(claims.page_text(page)):
            name = re.match(r"<!-- ([^>]+) -->", found)[1]
            # the others are held by test_docs.py and tests/forecast/test_accuracy.py
            assert name in known or name.startswith(("table ", "draws ")) or name == "accuracy", (page, name)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_papers_figures_are_those_of_the_recipes(path):
    published = claims.parse_yaml(path.read_text()).get("published") or {}
    paper = claims.read_source("paper")
    rows = [(row["chosen"], row["rejected"], row["before"], row["after"]) for row in paper["section_3"]["falls"]]
    for row in published.get("falls", ()):
        assert (row["chosen"], row["rejected"], row["before"], row["after"]) in rows
    if "arms" in published:
        told = paper["section_6"]["gemma" if "Gemma" in published["source"] else "llama"]
        for name, arm in published["arms"].items():
            if rate := arm.get("refusal_rate"):
                assert rate["value"] == told["refusals"][name]
            if change := arm.get("trained_logprob_change"):
                assert (change["value"], change["spread"]) == (told["change"][name], told["spread"][name])


PAGE = """\
# Since 2024, at 50 % kept

Refusals fell from 80 to .55 (Razin et al. 2025, Table 1 and section 3.2) on Llama-3-8B,
by -1.5e-6 of 1,024, `code 7` and [a 9](link-8.md).

    command --with 3

<!-- table measured -->
| raw | 12 |
<!-- end -->

1. Python 3.11 and torch 2.13.0; 0.1.2 is older, Qwen 2.5 and Llama 2 as well.
"""


def test_the_numbers_of_a_page_are_those_in_its_prose():
    found = [(each.text, each.line) for each in claims.numbers_in(PAGE)]
    assert found == [("50", 1), ("80", 3), (".55", 3), ("-1.5e-6", 4), ("1,024", 4), ("9", 4)]


def test_years_and_equations_are_names_and_numbers_of_four_digits_are_not():
    page = "| Li & Khashabi 2025 | eq. 3-5 | Lang 2014). Statist. Med. 17, 1998), (1978), of 2000 prompts, to 2013.5"
    assert [each.text for each in claims.numbers_in(page)] == ["2000", "2013.5"]


def test_a_number_behind_a_models_name_is_no_version():
    assert [each.text for each in claims.numbers_in("Gemma 0.04, Llama 33.4 %, Gemma .5, Llama 5 %")] == [
        *("0.04", "33.4", ".5", "5")
    ]


def test_numbers_in_words_count_where_they_count_results():
    page = "Four of the five fell, in six tables and *eight* short trainings; three keys, one of two ways."
    assert [each.text for each in claims.numbers_in(page)] == ["Four", "six", "eight"]


TOLD = {
    "claims": {"Refusals fell from {} to {} (Razin": ["80", "0.55 as bare .2f"]},
    "not_results": {
        "setting": ["by -1.5e-6 of 1,024", "at 50 % kept"],
        "elsewhere": {"by hand": ["[a 9]"]},
    },
}


def test_a_page_whose_numbers_are_all_told_has_nothing_wrong():
    assert claims.check(PAGE, TOLD) == claims.Checked([], [])


def test_a_number_that_nothing_covers_is_named_with_its_line():
    checked = claims.check(PAGE, {"claims": TOLD["claims"], "not_results": {"setting": ["at 50 % kept"]}})
    assert [(each.text, each.line) for each in checked.uncovered] == [("-1.5e-6", 4), ("1,024", 4), ("9", 4)]
    assert checked.uncovered[0].around == "by -1.5e-6 of 1,024, `code 7`"


def test_a_changed_number_a_changed_result_and_a_stale_listing_are_wrong():
    changed = PAGE.replace("80", "81")
    assert claims.check(changed, TOLD).missing == [
        "the results say 'Refusals fell from 80 to .55 (Razin': 80; 0.55 as bare .2f"
    ]
    assert [each.text for each in claims.check(changed, TOLD).uncovered] == ["81", ".55"]
    other = {**TOLD, "claims": {"Refusals fell from {} to {} (Razin": ["80", "0.56 as bare .2f"]}}
    assert len(claims.check(PAGE, other).missing) == 1
    assert claims.check(PAGE.replace("at 50 %", "at half"), TOLD).missing == [
        "'at 50 % kept' (setting) is not in the page"
    ]


def test_a_claim_covers_the_numbers_it_gives_and_no_others():
    told = {"claims": {"from 80 to {}": "0.55 as bare .2f"}}
    assert [each.text for each in claims.check(PAGE, told).uncovered][:2] == ["50", "80"]


def test_lines_may_be_broken_otherwise_and_a_listing_may_leave_out_a_middle():
    told = {"not_results": {"setting": ["Llama-3-8B, by -1.5e-6", "from 80 [...] (Razin"]}}
    assert [each.text for each in claims.check(PAGE, told).uncovered] == ["50", "1,024", "9"]


def test_part_of_a_number_is_not_the_number():
    assert claims.check("Of 110.5 words", {"not_results": {"setting": ["10.5 words"]}}).missing
    assert claims.check("word 10.5", {"not_results": {"setting": ["word 10"]}}).missing
    assert claims.check("a 0.5 word", {"not_results": {"setting": [".5 word"]}}).missing
    assert claims.check("of (10 words)", {"not_results": {"setting": ["of (", "10 words"]}}) == claims.Checked([], [])


@pytest.mark.parametrize(
    "told",
    [
        {"not_results": {"typo": ["at 50 % kept"]}},
        {"not_results": {"setting": ["50"]}},
        {"not_results": {"setting": [{"at": "50 % kept"}]}},
        {"claims": {"from {} to {}": ["80"]}},
        {"claims": {"from {}": "paper:section_7.nothing"}},
        {"claims": {"from {}": "paper:section_3.falls.*.before"}},
        {"claims": {"from {}": "min(80"}},
        {"claims": {"from {}": "80 81"}},
        {"claims": {"from {}": "__import__('os').getcwd()"}},
        {"claims": {"from {}": "open(80)"}},
    ],
)
def test_what_cannot_be_read_is_an_error(told):
    with pytest.raises(ValueError):
        claims.check(PAGE, told)


CONTENT = {
    "recipe": {"seeds": [3, 4], "a key": 5},
    "rows": [{"arm": "raw", "value": 0.25}, {"arm": "ipo", "value": 0.75}],
    "series": [[1, 3, 2], [4, 2, 6]],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("recipe.seeds.0", 3),
        ("recipe.seeds.-1", 4),
        ("recipe.'a key'", 5),
        ("rows.*.value", [0.25, 0.75]),
        ("rows[arm=ipo].value", 0.75),
        ("series.*.0", [1, 4]),
        ("series", [[1, 3, 2], [4, 2, 6]]),
    ],
)
def test_a_path_leads_to_a_value_or_to_a_list(path, value):
    assert claims.found_at(CONTENT, path) == value


@pytest.mark.parametrize("path", ["recipe.steps", "rows[arm=gold].value", "rows.2.value"])
def test_a_path_that_leads_nowhere_is_an_error(path):
    with pytest.raises(LookupError):
        claims.found_at(CONTENT, path)


@pytest.mark.parametrize(
    ("call", "values", "result"),
    [
        ("mean", ([1, 2], 6), 3),
        ("count", ([[1, 2], [3]],), 3),
        ("distinct", ([1, 1, 2],), 2),
        ("difference", ([5, 7], [1, 2]), [4, 5]),
        ("product", (-1, [5, 7]), [-5, -7]),
        ("above", ([5, 7], 6), [0, 1]),
        ("max_each", ([[1, 3], [4, 2]],), [3, 4]),
        ("mean_each", ([[1, 3], [4, 2]],), [2, 3]),
        ("largest_fall", ([1, 3, 2],), 1),
        ("largest_fall", ([[1, 3, 2], [6, 4, 1]],), [1, 5]),
        ("first_below_start", ([2, 3, 1],), 2),
        ("first_below_start", ([2, 3, 4],), 3),
        # of 1, 2, 3: t of two degrees of freedom is 4.3027, the deviation 1
        ("student_reach", ([1, 2, 3],), pytest.approx(4.3027 / 3**0.5, abs=1e-4)),
        ("at_most", (5, [1, 5]), 5),
        ("at_most", (5, [1, 6]), 6),
        ("at_least", (5, [4, 6]), 4),
    ],
)
def test_functions_by_hand(call, values, result):
    assert claims.FUNCTIONS[call](*values) == result


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ("0.125 as percent .1f", "12.5"),
        ("0.125 as percent +.0f", "+12"),
        ("-0.04 as bare .2f", "-.04"),
        ("0.5 as bare +.1f", "+.5"),
        ("10.25 as bare .2f", "10.25"),
        ("1838 as ,d", "1,838"),
        ("1838.2 as tens ,.0f", "1,840"),
        ("4 as word", "four"),
        ("12 as Word", "Twelve"),
        ("0.00005", "5e-5"),
        ("max(1, 2.50)", "2.5"),
        ("difference(max(3, 5), mean(1, 3))", "3"),
    ],
)
def test_a_value_is_shown_in_its_format(told, text):
    assert claims.shown(told) == text


def test_the_constants_of_a_module_are_read_and_not_run():
    code = '''
LIMIT: int = 5
"""How many."""
OTHER = compute()
EVERY, _ROWS = 25, 1 << 4
LARGE = 2**3 * 10
UNKNOWN = 2 * LIMIT
class Arm(BaseModel):
    beta: float = Field(0.1, gt=0)
    rate: float = Field(default=2.5)
    name: str
def draw(prompts, samples=4, *, temperature: float = 1.0, model=None): ...
'''
    assert claims.constants_of(ast.parse(code).body) == {
        "LIMIT": 5,
        "EVERY": 25,
        "_ROWS": 16,
        "LARGE": 80,
        "Arm": {"beta": 0.1, "rate": 2.5},
        "draw": {"samples": 4, "temperature": 1.0, "model": None},
    }


def test_the_tables_of_a_page_are_read_by_their_columns():
    page = "| arm | rate, % |\n|---|---|\n| raw | 2.5, -.5 |\n\ntext\n\n| arm |\n|---|\n| ipo |\n"
    assert claims.tables_of(page) == {"arm": [{"arm": "raw", "rate, %": "2.5, -.5"}], "arm 2": [{"arm": "ipo"}]}
    assert claims.FUNCTIONS["numbers"](["2.5, -.5", "1,024 and"]) == [2.5, -0.5, 1024]


def test_the_command_prints_what_to_add(monkeypatch, capsys, tmp_path):
    (tmp_path / "page.yaml").write_text(json.dumps({"claims": TOLD["claims"]}))
    monkeypatch.setattr(claims, "CLAIMS", tmp_path)
    monkeypatch.setattr(claims, "page_text", lambda page: {"page.md": PAGE}[page])
    monkeypatch.setattr(claims, "pages_there", lambda: ["page.md"])
    monkeypatch.setattr(sys, "argv", ["check_claims.py", "pages"])
    assert claims.main() == 2
    monkeypatch.setattr(sys, "argv", ["check_claims.py", "page"])
    assert claims.main() == 1
    printed = capsys.readouterr().out
    assert 'page.md, line 4: 9 in "`code 7` and [a 9](link-8.md)."' in printed
    assert '  - "# Since 2024, at 50 % kept"' in printed
