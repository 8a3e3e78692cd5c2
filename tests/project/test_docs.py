"""The experiments' pages say what their committed results say."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SPEC = importlib.util.spec_from_file_location("figures", DOCS / "figures.py")
figures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(figures)


@pytest.mark.parametrize("name", figures.EXPERIMENTS)
def test_the_pages_tables_are_the_committed_results(name):
    page = (DOCS / f"{name}.md").read_text()
    assert "<!-- table " in page
    assert page == figures.with_tables(page, figures.read(name)), "run `python docs/figures.py`"
    assert (DOCS / f"{name}.svg").is_file()


@pytest.mark.parametrize("name", figures.EXPERIMENTS)
def test_the_results_are_of_the_packaged_recipe(name):
    from harness.recipes.loading import load_recipe
    from harness.recipes.schema import Recipe

    packaged = load_recipe(name).model_copy(update={"published": None})
    assert Recipe.model_validate(figures.read(name)["recipe"]) == packaged
    assert len(figures.read(name)["recipe"]["seeds"]) >= 5
