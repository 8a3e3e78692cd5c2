"""Figures of the code's structure over `harness/` and `reports/`, each with the bound it must hold.

    python benchmarks/structure.py [REPOSITORY] [--verbose] [--json]

Exits 1 where a bound is exceeded. The files are read, never imported. `--verbose` also lists the names that are
defined in several files, and the import circles that would be there if lazy imports ran with their module.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ROOTS = ("harness", "reports")
BOUNDS = {
    "fullest_folder": 16,
    "lazy_imports": 4,
    "repeated_names": 12,
    "single_words": 35,
    "longest_function": 60,
    "import_circles": 0,
}
SEVERAL = 3
"""In how many files a name is defined before it counts as repeated."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Import = ast.Import | ast.ImportFrom
Graph = Mapping[str, set[str]]


@dataclass(frozen=True, slots=True)
class Module:
    """One file: its dotted name (a package's is that of its `__init__`), its path from the repository, its code."""

    name: str
    path: Path
    lines: int
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        """Whether the file is a package's `__init__`."""
        return self.path.name == "__init__.py"

    @property
    def functions(self) -> list[Function]:
        """Every function, methods and nested ones included."""
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, the bound it must not exceed (None: there is none), where it was found, and what it counts."""

    key: str
    label: str
    value: float
    bound: float | None
    note: str = ""
    members: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the value is within its bound."""
        return self.bound is None or self.value <= self.bound


def read_modules(repository: Path) -> list[Module]:
    """Every module under the roots, in the order of their paths."""
    files = [file for root in ROOTS for file in sorted((repository / root).rglob("*.py"))]
    return [_read_module(file, file.relative_to(repository)) for file in files]


def measure_structure(modules: Sequence[Module], verbose: bool = False) -> list[Figure]:
    """The figures; if verbose also the repeated names themselves, and the circles that lazy imports would close."""
    figures = [
        measure_folders(modules),
        measure_lazy_imports(modules),
        measure_repeated_names(modules, verbose),
        measure_single_words(modules),
        measure_longest_function(modules),
        measure_circles(modules),
    ]
    return [*figures, measure_circles(modules, lazy=True)] if verbose else figures


def measure_folders(modules: Iterable[Module]) -> Figure:
    """The most modules, packages' `__init__` aside, that one folder holds; subfolders are folders of their own."""
    counts = Counter(module.path.parent.as_posix() for module in modules if not module.is_package)
    folder, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
    return _bounded("fullest_folder", "modules in the fullest folder", count, folder)


def measure_lazy_imports(modules: Sequence[Module]) -> Figure:
    """Import statements inside functions, per thousand lines."""
    total = sum(lazy for module in modules for _, lazy in iterate_imports(module.tree))
    lines = sum(module.lines for module in modules)
    note = f"{total} in {lines} lines"
    return _bounded("lazy_imports", "lazy imports per 1000 lines", _divide(1000 * total, lines), note)


def measure_repeated_names(modules: Iterable[Module], verbose: bool = False) -> Figure:
    """How many names several files define at their top level."""
    files = defaultdict(list)
    for module in modules:
        for name in sorted(top_level_names(module.tree)):
            files[name].append(module.path.as_posix())
    found = {name: paths for name, paths in sorted(files.items()) if len(paths) >= SEVERAL}
    members = tuple(f"{name}: {', '.join(paths)}" for name, paths in found.items()) if verbose else ()
    return _bounded("repeated_names", f"names defined in {SEVERAL} or more files", len(found), members=members)


def measure_single_words(modules: Iterable[Module]) -> Figure:
    """The share of functions whose name is one word, in %; dunders are left out."""
    names = [function.name for module in modules for function in module.functions if not _is_dunder(function.name)]
    single = sum("_" not in name.strip("_") for name in names)
    note = f"{single} of {len(names)} functions"
    return _bounded("single_words", "single-word function names, %", _divide(100 * single, len(names)), note)


def measure_longest_function(modules: Iterable[Module]) -> Figure:
    """The lines of the longest function, from its `def` to its end; decorators aside."""
    sizes = {
        f"{module.path.as_posix()}:{function.lineno} {function.name}": _count_lines(function)
        for module in modules
        for function in module.functions
    }
    place, size = max(sizes.items(), key=lambda item: item[1], default=("", 0))
    return _bounded("longest_function", "longest function, lines", size, place)


def measure_circles(modules: Sequence[Module], lazy: bool = False) -> Figure:
    """Groups of modules that import each other as they are imported; with `lazy`, as their functions run too."""
    circles = tuple(", ".join(circle) for circle in find_circles(import_graph(modules, lazy)))
    if lazy:
        return Figure("circles_with_lazy", "import circles with lazy imports", len(circles), None, members=circles)
    return _bounded("import_circles", "import circles", len(circles), members=circles)


def iterate_imports(node: ast.AST, lazy: bool = False) -> Iterator[tuple[Import, bool]]:
    """Each import statement and whether it is in a function; none under a module's `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node) if lazy else _executed_children(node):
        if isinstance(child, Import):
            yield child, lazy
        yield from iterate_imports(child, lazy or isinstance(child, Function))


def top_level_names(tree: ast.Module) -> set[str]:
    """The functions, classes, variables and type aliases that a module's own statements define; no dunders."""
    return {name for statement in tree.body for name in _defined_names(statement) if not _is_dunder(name)}


def import_graph(modules: Sequence[Module], lazy: bool = False) -> Graph:
    """The own modules that each module imports by name; a package counts only where it is itself named."""
    known = {module.name for module in modules}
    return {
        module.name: {
            target
            for statement, within in iterate_imports(module.tree)
            if lazy or not within
            for target in _imported_modules(module, statement, known)
        }
        for module in modules
    }


def find_circles(graph: Graph) -> list[list[str]]:
    """The strongly connected components of several modules, or of one that imports itself; each sorted."""
    reached = {name: _reachable_from(name, graph) for name in graph}
    circular = (name for name in sorted(graph) if name in reached[name])
    circles = {tuple(sorted(other for other in reached[name] if name in reached[other])) for name in circular}
    return [list(circle) for circle in sorted(circles)]


def format_table(figures: Sequence[Figure]) -> str:
    """A row a figure, in aligned columns, and below them what a figure lists."""
    cells = [("figure", "value", "bound", "", ""), *map(_format_row, figures)]
    label, value, bound, state, _ = (max(map(len, column)) for column in zip(*cells, strict=True))
    lines = [f"{a:<{label}}  {b:>{value}}  {c:>{bound}}  {d:<{state}}  {e}".rstrip() for a, b, c, d, e in cells]
    for figure in figures:
        if figure.members:
            lines += ["", f"{figure.label}:", *(f"  {member}" for member in figure.members)]
    return "\n".join(lines)


def format_json(figures: Iterable[Figure]) -> str:
    """One JSON object, a key a figure."""
    rows = {
        figure.key: {
            "value": round(figure.value, 2),
            "bound": figure.bound,
            "ok": figure.holds,
            "note": figure.note,
            "members": figure.members,
        }
        for figure in figures
    }
    return json.dumps(rows, indent=2)


def _read_module(file: Path, path: Path) -> Module:
    text = file.read_text(encoding="utf-8")
    parts = path.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    lines = text.count("\n") + (not text.endswith("\n") and text != "")
    return Module(name, path, lines, ast.parse(text, str(path)))


def _bounded(key: str, label: str, value: float, note: str = "", members: tuple[str, ...] = ()) -> Figure:
    return Figure(key, label, value, BOUNDS[key], note, members)


def _executed_children(node: ast.AST) -> Iterable[ast.AST]:
    """The parts of a node outside of functions that run: of `if TYPE_CHECKING:` only its `else`."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return node.orelse
        case _:
            return ast.iter_child_nodes(node)


def _defined_names(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            for target in targets:
                yield from _assigned_names(target)
        case ast.AnnAssign(target=target):
            yield from _assigned_names(target)


def _assigned_names(target: ast.expr) -> Iterator[str]:
    """The names in a target, unpacked ones too; not those that are only read, as in `name.attribute = ...`."""
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _is_dunder(name: str) -> bool:
    return len(name) > 4 and name.startswith("__") and name.endswith("__")


def _count_lines(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _divide(part: float, whole: int) -> float:
    return part / whole if whole else 0.0


def _imported_modules(module: Module, statement: Import, known: set[str]) -> Iterator[str]:
    """The own modules that a statement imports: `from a import b` means a.b where that is one, otherwise a."""
    if isinstance(statement, ast.Import):
        candidates = [(alias.name, *_enclosing_packages(alias.name)) for alias in statement.names]
    else:
        source = _import_source(module, statement)
        candidates = [(f"{source}.{alias.name}", source) for alias in statement.names]
    for names in candidates:
        yield from [name for name in names if name in known][:1]


def _enclosing_packages(name: str) -> list[str]:
    """The packages around a dotted name, the nearest first."""
    parts = name.split(".")
    return [".".join(parts[:size]) for size in range(len(parts) - 1, 0, -1)]


def _import_source(module: Module, statement: ast.ImportFrom) -> str:
    """The dotted name after `from`, its leading dots resolved."""
    if not statement.level:
        return statement.module or ""
    parts = module.name.split(".")
    base = parts[: len(parts) - statement.level + module.is_package]
    return ".".join([*base, *filter(None, [statement.module])])


def _reachable_from(start: str, graph: Graph) -> set[str]:
    """What is reached from a module in one step or more."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name]
    return found


def _format_row(figure: Figure) -> tuple[str, str, str, str, str]:
    value = f"{figure.value:.2f}" if isinstance(figure.value, float) else str(figure.value)
    if figure.bound is None:
        return figure.label, value, "", "", figure.note
    return figure.label, value, str(figure.bound), "ok" if figure.holds else "over", figure.note


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the figures; 1 where one is over its bound, otherwise 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path, nargs="?", default=REPOSITORY)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    modules = read_modules(given.repository)
    if not modules:
        parser.error(f"{given.repository} has no Python file under {' or '.join(ROOTS)}")
    figures = measure_structure(modules, given.verbose)
    print(format_json(figures) if given.json else format_table(figures))
    return int(not all(figure.holds for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
