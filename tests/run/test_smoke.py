"""A smoke run (`harness run --limit`) says what it is wherever its results are, and no gate decides by it."""

import json
import re

import pytest

from harness.cli.printing.results import print_results
from harness.experiments.any_recipe import load_any_recipe
from harness.gate.decision import run_gate
from harness.gate.policy import Policy
from harness.support.artifacts import read_json, write_json
from harness.support.errors import HarnessError
from harness.support.run_results import DrawResults, parse_experiment_results, parse_run_results, smoke_limit
from helpers import report_runs as runs
from reports.page import render_report

SAID = "A smoke run, on at most 60 unsafe prompts: it shows that all works, and its rates decide nothing."


def marked(run):
    """The run as it would be, had it been one on at most 60 prompts."""
    for name in ("results.json", "manifest.json"):
        content = read_json(run / name)
        content.setdefault("recipe", {})["limit"] = 60
        write_json(run / name, content)
    return run


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    return marked(runs.write_run(tmp_path_factory.mktemp("smoke") / "smoke"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return runs.write_run(tmp_path_factory.mktemp("smoke") / "whole")


def first_screen_of(page):
    return page.split('id="verdict"')[1].split("</section>")[0]


def test_the_recipe_says_it_and_takes_no_more_prompts_of_each_hazard_than_its_share(tmp_path):
    recipe = load_any_recipe("miniature", limit=60)
    assert (recipe.limit, recipe.prompts) == (60, "bundled:60")
    assert recipe.model_dump(mode="json")["limit"] == 60, "as the manifest and results.json have it"
    assert load_any_recipe("miniature").limit is None
    assert load_any_recipe("smollm2").limit is None, "that it takes 120 of the prompts is what that recipe is"
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nmodel: miniature\nlimit: 20\narms: {raw: {}}\n")
    assert load_any_recipe(str(file)).prompts == "bundled:20"
    assert load_any_recipe(str(file), limit=7).prompts == "bundled:7"


@pytest.mark.parametrize("limit", ["0", "many", "[1]"])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(HarnessError, match="packaged miniature: limit: "):
        load_any_recipe("miniature", [f"limit={limit}"])


def test_its_page_says_it_in_the_title_and_on_the_first_screen(smoke, whole):
    page = render_report([smoke])
    assert SAID in first_screen_of(page)
    assert re.search(r"<title>\s*Smoke run smoke: ", page)
    plain = render_report([whole])
    assert "moke run" not in plain.partition("</title>")[0] + first_screen_of(plain)


def test_its_page_has_no_decision(smoke):
    page = first_screen_of(render_report([smoke]))
    assert page.count("The gate could not decide") == 1
    assert "The gate could not decide: this is a smoke run" in page
    assert 'class="chip pass"' not in page
    assert 'class="chip fail"' not in page


def test_beside_a_whole_run_it_is_the_one_that_is_marked(smoke, whole):
    rows = re.findall(r'<tr><th scope="row"><a href="#run\d-verdict">(.*?)</th>', render_report([smoke, whole]))
    assert sorted("a smoke run" in row for row in rows) == [False, True]
    assert any(row.startswith("smoke<") and "a smoke run" in row for row in rows)


def test_the_gate_refuses_it_unless_the_policy_allows_it(smoke, command, tmp_path):
    sides = smoke / "arms/baseline", smoke / "arms/raw"
    done = command("gate", "--before", sides[0], "--after", sides[1])
    assert (done.returncode, done.stdout) == (2, "")
    assert "a smoke run (harness run --limit): --before on at most 60 unsafe prompts; --after on" in done.stderr
    assert "allow: [limit]" in done.stderr
    notes = run_gate(*sides, Policy(allow=("limit",))).notes
    assert [note for note in notes if note.startswith("allowed by the policy: a smoke run")]


def test_of_two_runs_the_smoke_one_is_named(smoke, whole):
    with pytest.raises(HarnessError, match=r"a smoke run \(harness run --limit\): --before on at most 60"):
        run_gate(smoke / "arms/baseline", whole / "arms/raw", Policy())
    assert (smoke_limit(smoke), smoke_limit(whole), smoke_limit(whole / "arms")) == (60, None, None)


def test_what_a_run_prints_begins_with_it(smoke, whole, capsys):
    for run, said in ((smoke, SAID), (whole, None)):
        print_results(parse_run_results(read_json(run / "results.json"), "results.json"))
        first = capsys.readouterr().out.splitlines()[0]
        assert (first == said) if said else "smoke" not in first


def test_the_dry_run_says_it(capsys):
    from types import SimpleNamespace

    from harness.cli.printing.dry_run import print_dry_run

    recipe = load_any_recipe("miniature", limit=60)
    shape, plan = SimpleNamespace(parameters=1), SimpleNamespace(devices=(), threads=1, processes=1)
    print_dry_run(
        SimpleNamespace(
            recipe=recipe, shape=shape, plan=plan, costs=[], memory={}, available=0, missing=[], seconds=None
        )
    )
    assert capsys.readouterr().out.splitlines()[1] == SAID


def test_several_draws_say_it_too(tmp_path, capsys):
    from pathlib import Path

    content = json.loads((Path(__file__).parents[2] / "docs/results/unalignment.json").read_text())
    content["recipe"]["limit"] = 60
    results = parse_experiment_results(content, "results.json")
    assert isinstance(results, DrawResults)
    print_results(results)
    assert capsys.readouterr().out.startswith(f"{SAID}\n")
