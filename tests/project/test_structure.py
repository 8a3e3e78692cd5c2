"""The bounds of the code's structure hold; `benchmarks/structure.py` prints the figures as a table."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "structure.py"
SPEC = importlib.util.spec_from_file_location("structure", FILE)
structure = importlib.util.module_from_spec(SPEC)
sys.modules["structure"] = structure
SPEC.loader.exec_module(structure)

NESTED = """\
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import json

    def typed():
        import csv

class Holder:
    import re

    def __init__(self):
        import abc

    async def read_all(self):
        def inner():
            import math, time
        from os import path
        if TYPE_CHECKING:
            import queue
"""
"""Lazy: abc, math with time, path, queue. Functions: typed, read_all, inner, and a dunder."""


def write_tree(folder: Path, **files: str) -> Path:
    """Writes the files; in their names __ stands for a slash, and init for __init__."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/').replace('init', '__init__')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def measured(folder: Path, verbose: bool = False, **files: str):
    modules = structure.read_modules(write_tree(folder, **files))
    return {figure.key: figure for figure in structure.measure_structure(modules, verbose)}


def circles(folder: Path, key: str = "import_circles", **files: str) -> list[str]:
    figure = measured(folder, True, **files)[key]
    assert figure.value == len(figure.members)
    return list(figure.members)


def test_this_repository_holds_every_bound():
    modules = structure.read_modules(structure.REPOSITORY)
    assert {module.name for module in modules} >= {"harness", "reports"}
    figures = structure.measure_structure(modules, verbose=True)
    assert all(figure.holds for figure in figures), structure.format_table(figures)


def test_the_fullest_folder_leaves_out_init_subfolders_and_other_roots(tmp_path):
    files = dict.fromkeys(["harness__init", "harness__a", "harness__in__b", "harness__in__c", "reports__d"], "")
    figure = measured(tmp_path, **files, tests__e="", tests__f="", tests__g="")["fullest_folder"]
    assert (figure.value, figure.note, figure.bound) == (2, "harness/in", 16)


def test_lazy_imports_are_those_in_functions(tmp_path):
    figure = measured(tmp_path, harness__a=NESTED, harness__b="import os\n" * 3 + "import re")["lazy_imports"]
    assert figure.note == "4 in 25 lines"
    assert figure.value == 160


def test_imports_for_types_only_are_neither_lazy_nor_run(tmp_path):
    text = "import typing as t\nif t.TYPE_CHECKING:\n    from harness import b\nelse:\n    from harness import c\n"
    modules = structure.read_modules(write_tree(tmp_path, harness__a=text, harness__b="", harness__c=""))
    assert structure.import_graph(modules)["harness.a"] == {"harness.c"}
    assert structure.import_graph(modules, lazy=True)["harness.a"] == {"harness.c"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def one(): ...\nasync def two(): ...\nclass Three:\n    four = 4\n    def five(self): ...", "one two Three"),
        ("a = b = 1\n(c, [d, *e]) = f", "a b c d e"),
        ("a: int\nB: TypeAlias = int\n", "a B"),
        ("__all__ = []\n_private = {x for x in y}\n__half = 1", "_private __half"),
        ("a.b = c[d] = 1\ne += 1\nimport f\ndel g", ""),
    ],
)
def test_the_names_that_a_module_defines(text, names):
    assert structure.top_level_names(structure.ast.parse(text)) == set(names.split())


def test_names_are_repeated_from_the_third_file_on(tmp_path):
    files = {
        "harness__a": "def run(): ...\ndef load(): ...\ndef load(): ...\n__all__ = []",
        "harness__in__b": "class run: ...\n__all__ = []",
        "reports__c": "run: int = 3\nload = 1\n__all__ = []",
    }
    assert measured(tmp_path, **files)["repeated_names"].members == ()
    figure = measured(tmp_path, True, **files)["repeated_names"]
    assert figure.value == 1
    assert figure.members == ("run: harness/a.py, harness/in/b.py, reports/c.py",)


def test_single_words_leave_out_dunders(tmp_path):
    figure = measured(tmp_path, harness__a=NESTED, harness__b="def _run_(): ...\ndef _run_all(): ...")["single_words"]
    assert figure.note == "3 of 5 functions"
    assert figure.value == 60


def test_the_longest_function_is_told_with_its_place(tmp_path):
    text = "class A:\n    @cache\n    async def long(\n        self,\n    ):\n        def inner():\n            ...\n\n"
    figure = measured(tmp_path, harness__a=text + "x = 1\n" * 9, harness__b="def one(): ...")["longest_function"]
    assert (figure.value, figure.note) == (5, "harness/a.py:3 long")


def test_circles_are_told_apart_and_with_all_their_members(tmp_path):
    files = {
        "harness__a": "from harness import b",
        "harness__b": "from harness.c import name",
        "harness__c": "import harness.a as other\nimport harness.alone",
        "harness__alone": "from reports import e",
        "reports__d": "class A:\n    from .e import name",
        "reports__e": "try:\n    from . import d\nexcept ImportError: ...",
    }
    assert circles(tmp_path, **files) == ["harness.a, harness.b, harness.c", "reports.d, reports.e"]


def test_a_package_is_in_a_circle_only_where_it_is_named(tmp_path):
    files = {
        "harness__sub__init": "from harness.sub import a",
        "harness__sub__a": "from .b import name",
        "harness__sub__b": "from harness.sub import a as name",
    }
    assert circles(tmp_path, **files) == ["harness.sub.a, harness.sub.b"]
    files["harness__sub__b"] = "from harness.sub import name"
    assert circles(tmp_path, **files) == ["harness.sub, harness.sub.a, harness.sub.b"]


def test_a_module_that_imports_itself_is_a_circle(tmp_path):
    assert circles(tmp_path, harness__init="from . import name", harness__a="import harness.b") == ["harness"]


def test_lazy_imports_close_circles_without_a_bound(tmp_path):
    files = {"harness__a": "import harness.b", "harness__b": "def load():\n    from harness import a"}
    assert circles(tmp_path, **files) == []
    assert circles(tmp_path, "circles_with_lazy", **files) == ["harness.a, harness.b"]
    assert "circles_with_lazy" not in measured(tmp_path)
    assert measured(tmp_path, True)["circles_with_lazy"].holds


@pytest.mark.parametrize(
    ("key", "within", "over"),
    [
        ("fullest_folder", {f"harness__{n}": "" for n in range(16)}, {"harness__more": ""}),
        (
            "lazy_imports",
            {"harness__a": "def a_b():\n    import os\n" + "\n" * 248},
            {"harness__b": "def a_b():\n    import os\n"},
        ),
        (
            "repeated_names",
            {f"harness__{n}": "".join(f"a{m} = 1\n" for m in range(12)) + "b = 1\n" * (n > 1) for n in range(3)},
            {f"reports__{n}": "b = 1\n" for n in range(2)},
        ),
        (
            "single_words",
            {"harness__a": "def a(): ...\n" * 7 + "def a_b(): ...\n" * 13},
            {"harness__b": "def a(): ..."},
        ),
        (
            "longest_function",
            {"harness__a": "def a_b():\n" + "    x = 1\n" * 59},
            {"harness__b": "def a_b():\n" + "    x = 1\n" * 60},
        ),
        ("import_circles", {"harness__a": "import harness.b"}, {"harness__b": "import harness.a"}),
    ],
)
def test_the_exit_code_tells_a_bound_that_is_exceeded(tmp_path, capsys, key, within, over):
    write_tree(tmp_path, **within)
    assert structure.main([str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.keys() == structure.BOUNDS.keys()
    assert told[key]["value"] == told[key]["bound"] or key == "import_circles"
    write_tree(tmp_path, **over)
    assert structure.main([str(tmp_path), "--json"]) == 1
    assert [name for name, row in json.loads(capsys.readouterr().out).items() if not row["ok"]] == [key]


def test_the_table_has_a_row_a_figure_and_lists_circles(tmp_path, capsys):
    write_tree(tmp_path, harness__a="import harness.b\ndef run_all(): ...\n", harness__b="import harness.a\n")
    assert structure.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "figure                            value  bound",
        "modules in the fullest folder         2     16  ok    harness",
        "lazy imports per 1000 lines        0.00      4  ok    0 in 3 lines",
        "names defined in 3 or more files      0     12  ok",
        "single-word function names, %      0.00     35  ok    0 of 1 functions",
        "longest function, lines               1     60  ok    harness/a.py:2 run_all",
        "import circles                        1      0  over",
        "",
        "import circles:",
        "  harness.a, harness.b",
    ]


def test_a_folder_without_code_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        structure.main([str(tmp_path)])
    assert "has no Python file under harness or reports" in capsys.readouterr().err
