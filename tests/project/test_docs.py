"""What the pages name is there: files, modules, commands, options, links. The tables are what was measured."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from harness.cli import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SPEC = importlib.util.spec_from_file_location("figures", DOCS / "figures.py")
figures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(figures)

PAGES = [*ROOT.glob("*.md"), *sorted(DOCS.rglob("*.md"))]
TEMPLATES = sorted((ROOT / "reports" / "templates").glob("*.j2"))
TREE = re.compile(r"^  (\w+)/ +(.+?)  +(\S+)$", re.MULTILINE)
"""A folder's line in the README: its name, what is there, the file to open first."""

named_by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.mark.parametrize("name", figures.DRAWN_PAGES)
def test_the_pages_tables_are_the_committed_results(name):
    page = (DOCS / f"{name}.md").read_text()
    assert "<!-- table " in page
    assert page == figures.with_tables(page), "run `python docs/figures.py`"


def test_every_committed_result_on_nested_draws_is_shown():
    pages = "".join((DOCS / f"{name}.md").read_text() for name in figures.DRAWN_PAGES)
    assert {*re.findall(r"<!-- table \w+ of (\w+) -->", pages)} == {*figures.NESTED, *figures.ONE_DRAW}
    assert all((DOCS / f"{name}.svg").is_file() for name in figures.PICTURES)


@pytest.mark.parametrize(("name", "ran"), figures.NESTED.items())
def test_the_results_are_of_the_packaged_recipe(name, ran):
    """As it is, or with what the page says was set; on at least five tables of three starting models."""
    from harness.recipes.loading import load_recipe
    from harness.recipes.schema import Recipe

    recipe, overrides = ran
    packaged = load_recipe(recipe, overrides).model_copy(update={"published": None})
    assert Recipe.model_validate(figures.read(name)["recipe"]) == packaged
    assert len(packaged.pair_seeds) >= 5
    assert len(packaged.organism_seeds) >= 3


@pytest.mark.parametrize("name", figures.ONE_DRAW)
def test_results_on_one_draw_are_of_the_packaged_recipe(name):
    from harness.recipes.loading import load_recipe
    from harness.recipes.schema import Recipe

    assert Recipe.model_validate(figures.read(name)["recipe"]) == load_recipe(name)


@pytest.mark.parametrize(("name", "draws"), figures.DRAWS.items())
def test_tables_over_several_draws_are_the_packaged_recipe_on_each(name, draws):
    from harness.recipes.loading import load_recipe
    from harness.recipes.schema import Recipe

    page = (DOCS / "real-model.md").read_text()
    assert f"<!-- draws refusals of {name} -->" in page
    assert page == figures.with_draws(page), "run `python docs/figures.py`"
    packaged = load_recipe(name)
    for number in range(draws):
        pairs = packaged.pairs.model_copy(update={"seed": number})
        again = packaged.model_copy(update={"pairs": pairs, "seeds": (number,)})
        assert Recipe.model_validate(figures.read(f"{name}_draw{number}")["recipe"]) == again


def code_of(page: str) -> list[str]:
    """A page's blocks of code, fenced or indented, and what stands in backticks; lines that go on are one line."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^ {4,}\S.*$", rest, re.MULTILINE)
    return [text.replace("\\\n", " ") for text in (*fenced, *indented, *re.findall(r"`([^`]+)`", rest))]


@pytest.mark.parametrize("page", [*PAGES, *TEMPLATES], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page):
    folders = "harness|reports|tests|benchmarks|docs|tasks"
    named = set(re.findall(rf"(?<![\w/.-])(?:{folders})/[\w./*-]*", page.read_text()))
    assert not [path for path in named if not any(ROOT.glob(path.rstrip("./")))]


def names_in(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """What a file or a class defines or imports under a name of its own, each with the body it has."""
    found: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name: [] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: [] for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node.body if isinstance(node, ast.ClassDef) else []
        elif isinstance(node, ast.If):  # `if TYPE_CHECKING` names what the package's own face has
            found |= names_in(node.body)
    return found


def is_there(dotted: str) -> bool:
    """Whether `harness.a.b`, a name in it, or a member of a class in it is there; read without importing it."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if module.is_file():
            body = ast.parse(module.read_text()).body
            for name in parts[length:]:
                known = names_in(body)
                if name not in known:
                    return False
                body = known[name]
            return True
    return False


@named_by_page
def test_every_module_and_name_that_a_page_names_is_there(page):
    text = page.read_text()
    dotted = re.compile(r"(?<![\w/.-])(?:harness|reports)(?:\.[A-Za-z_]\w*)+")
    named = {name for code in code_of(text) for name in dotted.findall(code)}
    for example in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(example)):
            if isinstance(node, ast.ImportFrom):
                named |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert not [name for name in named if not is_there(name)]


def commands_in(page: str) -> Iterator[tuple[str, set[str]]]:
    """Each `harness COMMAND` in a page's code, with the options given to it there."""
    for code in code_of(page):
        for command, rest in re.findall(r"(?<![\w./-])(?<!from )harness ([a-z][\w-]*)([^\n#|;]*)", code):
            yield command, set(re.findall(r"(?<!\S)--[a-z][a-z-]*", rest))


@named_by_page
def test_every_command_and_option_that_a_page_shows_is_there(page):
    known = typer.main.get_command(app).commands
    for command, options in commands_in(page.read_text()):
        assert command in known, f"there is no `harness {command}`"
        there = {name for parameter in known[command].params for name in parameter.opts}
        assert options <= there, f"`harness {command}` has no {options - there}"


@named_by_page
def test_every_make_target_that_a_page_names_is_there(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    code = "\n".join(code_of(page.read_text()))
    assert set(re.findall(r"^make ([a-z0-9-]+)", code, re.MULTILINE)) <= targets


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    lines = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


@named_by_page
def test_every_link_between_the_pages_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or linked.suffix != ".md" or anchor in headings(linked), target


def test_every_page_is_linked_from_the_readme():
    readme = (ROOT / "README.md").read_text()
    assert not [page.name for page in DOCS.glob("*.md") if f"](docs/{page.name})" not in readme]


def test_every_door_is_linked_from_their_list_and_is_a_screen_at_most():
    listed = (DOCS / "doors.md").read_text()
    doors = sorted((DOCS / "doors").glob("*.md"))
    assert not [page.name for page in doors if f"](doors/{page.name})" not in listed]
    assert not [page.name for page in doors if len(page.read_text().splitlines()) > 60]


def test_the_readmes_tree_lists_every_room_and_a_file_to_open_first():
    lines = TREE.findall((ROOT / "README.md").read_text())
    rooms = {folder.name for folder in (ROOT / "harness").iterdir() if any(folder.glob("*.py"))}
    assert sorted(room for room, _, _ in lines) == sorted(rooms)
    assert not [f"{room}/{first}" for room, _, first in lines if not (ROOT / "harness" / room / first).is_file()]
