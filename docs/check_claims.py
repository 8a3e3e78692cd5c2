"""Holds the numbers in the pages' prose against the committed results: `python docs/check_claims.py [PAGE...]`.

`docs/claims/PAGE.yaml` has the page's `claims`: pieces of its text with `{}` in place of each number, and where each
number is from, `EXPRESSION` or `EXPRESSION as FORMAT`; `sources` may give sources short names. Its `not_results` are
pieces of text with other numbers, by why they are none; `[...]` in one stands for all between its two ends. Printed are
the claims that the results do not bear out, and the numbers of the page that nothing covers.

    SOURCE:PATH              NAME (docs/results/NAME.json), benchmark/NAME, recipe/NAME, paper (docs/claims/paper.yaml),
                             or a file: of JSON, of YAML, of Python (constants, a class's fields, defaults of a
                             function's parameters), a page (its tables by the heading of their first column);
                             A+B is the list of two
    a.b.0  a.*  a[k=v, l=w]  a key or a place; all values; the rows with these values; 'a key of any kind'
    min(A, B)                a function of FUNCTIONS; what a path with * or [] finds is a list
    as percent +.1f          percent: times 100; bare: .5 for 0.5; tens: rounded to tens; word, Word: spelled; else a
                             format of Python's
"""

from __future__ import annotations

import ast
import json
import math
import operator
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from scipy.special import stdtrit

from harness.support.plain_yaml import parse_yaml

ROOT = Path(__file__).resolve().parents[1]
CLAIMS = ROOT / "docs" / "claims"

REASONS = ("definition", "elsewhere", "published", "setting")
"""Why a number is not of a committed result. `elsewhere` has the pieces of text by the command or the occasion."""

WORDS = (
    *("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)


NUMBER = re.compile(r"(?<![\w.,])(?:[+-](?=[\d.]))?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e-?\d+)?")
"""A number as the pages write them: 12, 1,024, -.15, +2.5, 1e-7."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a page: its line from 1, how many characters of the page stand before it, and the words around it."""

    text: str
    line: int
    start: int
    around: str

    def __str__(self) -> str:
        return f'line {self.line}: {self.text} in "{self.around}"'


# --- Values


def flat(values: Sequence[Any]) -> list[Any]:
    """All values in lists of lists."""
    return [each for value in values for each in (flat(value) if isinstance(value, list) else [value])]


def _over(function: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    """The function of all its arguments' values."""
    return lambda *values: function(flat(values))


def _each(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The function of two values, or of each value of one or two lists of the same length."""

    def apply(one: Any, other: Any) -> Any:
        if not isinstance(one, list) and not isinstance(other, list):
            return function(one, other)
        length = len(one) if isinstance(one, list) else len(other)
        pairs = zip(*(each if isinstance(each, list) else [each] * length for each in (one, other)), strict=True)
        return [apply(*pair) for pair in pairs]

    return apply


def largest_fall(series: list[Any]) -> Any:
    """The largest fall from a value to a later one; of several series each one's."""
    if isinstance(series[0], list):
        return [largest_fall(each) for each in series]
    fall: float = max(before - after for place, before in enumerate(series) for after in series[place:])
    return fall


def first_below_start(series: list[Any]) -> Any:
    """The first place at which a series is below its first value, its length where none is; of several each one's."""
    if isinstance(series[0], list):
        return [first_below_start(each) for each in series]
    return next((place for place, value in enumerate(series) if value < series[0]), len(series))


def student_reach(values: list[float]) -> float:
    """Half the width of Student's 95 % interval of the mean."""
    return float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))


def at_most(bound: float, *values: Any) -> float:
    """The bound, where no value is above it; else the highest value."""
    highest: float = max(bound, *flat(values))
    return highest


def at_least(bound: float, *values: Any) -> float:
    """The bound, where no value is below it; else the lowest value."""
    lowest: float = min(bound, *flat(values))
    return lowest


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "min": _over(min),
    "max": _over(max),
    "mean": _over(fmean),
    "median": _over(median),
    "sum": _over(sum),
    "count": _over(len),
    "distinct": _over(lambda values: len(set(values))),
    "difference": _each(lambda one, other: one - other),
    "ratio": _each(lambda one, other: one / other),
    "product": _each(lambda one, other: one * other),
    "above": _each(lambda one, bound: int(one > bound)),
    "below": _each(lambda one, bound: int(one < bound)),
    "mean_each": lambda rows: [fmean(flat([row])) for row in rows],
    "min_each": lambda rows: [min(flat([row])) for row in rows],
    "max_each": lambda rows: [max(flat([row])) for row in rows],
    "largest_fall": largest_fall,
    "first_below_start": first_below_start,
    "numbers": _over(lambda texts: [float(each.replace(",", "")) for each in NUMBER.findall(" ".join(texts))]),
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    "student_reach": _over(student_reach),
    "at_most": at_most,
    "at_least": at_least,
}
"""What an expression may call. `above` and `below` give 1 or 0; the `_each` take the rows of a list one by one;
`numbers` are those in texts."""


def value_of(expression: str) -> Any:
    """What an expression gives. Raises ValueError where it is not one, KeyError where a source has no such value."""
    tokens = re.findall(r"[\w./+-]+:(?:\[[^\]]*\]|'[^']*'|[^\s(),\[\]'])+|-?[\d.]+|\w+|[(),]|\S", expression)
    value = _parsed(tokens)
    if tokens:
        raise ValueError(f"{expression!r}: {' '.join(tokens)!r} is left over")
    return value


def _parsed(tokens: list[str]) -> Any:
    token = tokens.pop(0) if tokens else ""
    if token in FUNCTIONS and tokens[:1] == ["("]:
        arguments = []
        while tokens.pop(0) != ")":
            arguments.append(_parsed(tokens))
            if tokens[:1] not in ([","], [")"]):
                raise ValueError(f"{token}(...) does not end")
        return FUNCTIONS[token](*arguments)
    source, colon, path = token.partition(":")
    if colon:
        return found_at(read_source(source), path)
    return float(token) if "." in token else int(token)


def _as_lists(value: Any) -> Any:
    return [_as_lists(each) for each in value] if isinstance(value, list | tuple) else value


OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
}
"""How constants are written: 2**17, 1 << 17, 256 * 1024."""


@cache
def read_source(name: str) -> Any:
    """The content of a source of numbers."""
    if "+" in name:
        return [read_source(each) for each in name.split("+")]
    if name == "paper":
        path = CLAIMS / "paper.yaml"
    elif name.startswith("recipe/"):
        path = ROOT / "harness" / "recipes" / f"{name[7:]}.yaml"
    elif name.startswith("benchmark/"):
        path = ROOT / "benchmarks" / "results" / f"{name[10:]}.json"
    else:
        path = ROOT / name if "." in name else ROOT / "docs" / "results" / f"{name}.json"
    return READERS[path.suffix](path.read_text(encoding="utf-8"))


def constants_of(body: Sequence[ast.stmt]) -> dict[str, Any]:
    """The plain values in a module or a class by their names, those of classes and functions below theirs."""
    found: dict[str, Any] = {}
    for node in body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ):
                found |= _plain(name, value)
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                for each, value in zip(names, values, strict=True):
                    found |= _plain(ast.unparse(each), value)
            case ast.ClassDef():
                found[node.name] = constants_of(node.body)
            case ast.FunctionDef():
                found[node.name] = _defaults(node.args)
    return found


def _defaults(arguments: ast.arguments) -> dict[str, Any]:
    positional = [*arguments.posonlyargs, *arguments.args]
    given = zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True)
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {key: value for each, default in (*given, *named) for key, value in _plain(each.arg, default).items()}


def _plain(name: str, node: ast.expr | None) -> dict[str, Any]:
    """The value under its name, where it is plain or the default of a field."""
    if isinstance(node, ast.Call):
        default = [keyword.value for keyword in node.keywords if keyword.arg == "default"]
        node = next(iter([*node.args, *default]), None)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        sides = [_plain("value", side) for side in (node.left, node.right)]
        return {name: OPERATORS[type(node.op)](*(side["value"] for side in sides))} if all(sides) else {}
    try:
        return {} if node is None else {name: _as_lists(ast.literal_eval(node))}
    except (ValueError, TypeError):
        return {}


def tables_of(page: str) -> dict[str, list[dict[str, str]]]:
    """The rows of a page's tables by their columns; a table by its first column's heading, the next such: HEADING 2."""
    found: dict[str, list[dict[str, str]]] = {}
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        names, _, *rows = ([cell.strip() for cell in line.strip(" |").split(" | ")] for line in table.splitlines())
        before = sum(re.fullmatch(rf"{re.escape(names[0])}(?: \d+)?", name) is not None for name in found)
        key = f"{names[0]} {before + 1}" if before else names[0]
        found[key] = [dict(zip(names, row, strict=False)) for row in rows]
    return found


READERS: Mapping[str, Callable[[str], Any]] = {
    ".json": json.loads,
    ".jsonl": lambda text: [json.loads(line) for line in text.splitlines()],
    ".yaml": parse_yaml,
    ".md": tables_of,
    ".py": lambda text: constants_of(ast.parse(text).body),
}
"""What a source's text is read with."""


def found_at(content: Any, path: str) -> Any:
    """What lies at a path; a list where it has `*` or `[...]`, and the list's one value where there is but one."""
    several, values = False, [content]
    for quoted, key, rows in re.findall(r"'([^']*)'|([^.\[\]']+)|\[([^\]]*)\]", path):
        several = several or bool(rows) or key == "*"
        values = [each for value in values for each in _step(value, quoted or key, rows, path)]
    return values[0] if not several or len(values) == 1 else values


def _step(value: Any, key: str, rows: str, path: str) -> list[Any]:
    if rows:
        asked = dict(part.strip().split("=", 1) for part in rows.split(","))
        found = [each for each in value if all(str(each[name]) == told for name, told in asked.items())]
        if not found:
            raise KeyError(f"{path}: no row has {rows}")
        return found
    if key == "*":
        return list(value.values() if isinstance(value, Mapping) else value)
    if isinstance(value, list):
        return [value[int(key)]]
    if key not in value:
        raise KeyError(f"{path}: there is no {key!r} among {', '.join(list(value)[:20])}")
    return [value[key]]


def shown(told: str) -> str:
    """A number as `EXPRESSION as FORMAT` says."""
    told_format = re.search(r" as ([\w ,.+]+)$", told)
    expression = told[: told_format.start()] if told_format else told
    value = value_of(expression)
    if isinstance(value, list):
        raise ValueError(f"{expression!r} gives {len(value)} values")
    if isinstance(value, str):
        return value
    *kinds, spec = told_format[1].split() if told_format else ["g"]
    if spec in ("word", "Word"):
        word = WORDS[round(value)]
        return word.capitalize() if spec == "Word" else word
    value = round(value, -1) if "tens" in kinds else 100 * value if "percent" in kinds else value
    text = format(value, spec).replace("e-0", "e-")
    return re.sub(r"\b0(?=\.)", "", text) if "bare" in kinds else text


# --- Pages

GENERATED = re.compile(
    r"<!-- (?:(?:table|draws) [^>]*|(?!judge-table)[\w-]+) -->\n\|.*?<!-- (?:end|/[\w-]+) -->", re.DOTALL
)
NO_PROSE = (
    re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE),
    GENERATED,
    re.compile(r"<!--.*?-->", re.DOTALL),
    re.compile(r"(?<=\n\n)(?: {4,}\S.*\n)+"),
    re.compile(r"``.+?``|`[^`]+`", re.DOTALL),
    re.compile(r"(?<=\])\([^)]*\)"),
    re.compile(r"<kbd>.*?</kbd>|https?://\S+"),
)
"""Code, tables that are drawn from the results, targets of links."""

REFERENCE = r"[Ss]ections?|[Tt]ables?|Theorems?|Definitions?|[Aa]ppendix|chapter|[Ff]igures?|eqs?\.|exit codes?"
MODEL, PROGRAM = r"Qwen|OLMo|Llama|GPT|Gemma", r"Python|TRL|vLLM|Med\.|[Vv]ersion|stage|ISO"
NAMES = (
    re.compile(r"\barXiv\s\d{4}\.\d{5}"),
    re.compile(rf"\b(?:{REFERENCE})\s\d[\d.]*\b(?:(?:,\s|\sand\s|-)\d[\d.]*\b)*"),
    re.compile(rf"\b(?:{MODEL})\s[1-9](?:\.\d)?(?![\d.]|\s%)"),
    re.compile(rf"\b(?:{PROGRAM})\s\d[\d.]*"),
    re.compile(r"\bv?\d+\.\d+\.\d+\S*"),
    re.compile(r"(?<![\w.])[A-Za-z_][\w+]*(?:-\w+)*?-?\d[\w.+-]*"),
    re.compile(
        r"(?<=[A-Za-z.,&]\s)(?:19[5-9]\d|20[0-3]\d)(?!\s*[a-z%\d]|[.,]\d)|(?<=\()(?:19[5-9]\d|20[0-3]\d)(?=[),;:])"
    ),
    re.compile(r"^\s*\d+\.\s", re.MULTILINE),
)
"""What has digits and is a name: references, versions, models, years of publications, places in a list."""

_SPELLED = f"(?:{'|'.join(WORDS[2:])})"
COUNTED = "trials|seeds|tables|organisms|draws|re-draws|trainings"
SPELLED = re.compile(
    rf"\b{_SPELLED}\b(?=[*_]*(?:\s\w+)?\s(?:{COUNTED})\b|\s(?:of|in)\s(?:the\s)?{_SPELLED}\b)", re.IGNORECASE
)
"""Numbers from two on in words, where they count results: `six tables`, `four of five`."""


def numbers_in(page: str) -> list[Number]:
    """Every number in a page's prose and in its tables by hand, from the first to the last."""
    prose = page
    for pattern in (*NO_PROSE, *NAMES):
        prose = pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), prose)
    found = [(each.start(), each[0].rstrip(",")) for pattern in (NUMBER, SPELLED) for each in pattern.finditer(prose)]
    return [_number(page, start, text) for start, text in sorted(found)]


def _number(page: str, start: int, text: str) -> Number:
    before, after = page[:start].rpartition("\n")[2], page[start + len(text) :].partition("\n")[0]
    around = " ".join(before.split(" ")[-5:]) + text + " ".join(after.split(" ")[:5])
    return Number(text, page.count("\n", 0, start) + 1, start, around.strip(" |"))


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of text that a page must hold, what to say where it does not, and the pattern whose groups it covers."""

    said: str
    pattern: str

    def spans_in(self, page: str) -> list[tuple[int, int]]:
        """The characters that it covers, wherever it stands; none where it does not."""
        start, end = r"(?:(?<![\w.])|(?![\w.]))", r"(?!(?<=\w)\w|(?<=\d)\.\d)"  # no part of a word or a number
        found = re.finditer(rf"{start}{self.pattern}{end}", page)
        return [each.span(group) for each in found for group in range(1, (each.lastindex or 0) + 1)]


@dataclass(frozen=True, slots=True)
class Checked:
    """What is wrong with a page: pieces of text that do not stand in it, and numbers that nothing covers."""

    missing: list[str]
    uncovered: list[Number]


def check(page: str, told: Mapping[str, Any]) -> Checked:
    """Holds a page against its claims and its numbers that are not results."""
    found = [(piece.said, piece.spans_in(page)) for piece in (*claimed(told), *listed(told))]
    covered = [span for _, spans in found for span in spans]
    missing = [said for said, spans in found if not spans]
    uncovered = [each for each in numbers_in(page) if not any(start <= each.start < end for start, end in covered)]
    return Checked(missing, uncovered)


def claimed(told: Mapping[str, Any]) -> Iterator[Piece]:
    """The claims with their numbers, which alone they cover. Raises ValueError where one has none for each place."""
    sources = told.get("sources", {})
    for text, values in told.get("claims", {}).items():
        expressions = [str(each) for each in (values if isinstance(values, list) else [values])]
        full = [re.sub(r"\b(\w+)(?=:)", lambda name: sources.get(name[1], name[1]), each) for each in expressions]
        parts = text.split("{}")
        if len(parts) != len(full) + 1:
            raise ValueError(f"{text!r} has {len(parts) - 1} places for {len(full)} expressions")
        try:
            numbers = [shown(each) for each in full]
        except (LookupError, OSError, SyntaxError, TypeError, ValueError) as error:
            raise ValueError(f"{text!r}: {error}") from error
        said = "".join(f"{part}{number}" for part, number in zip(parts, [*numbers, ""], strict=True))
        groups = [f"({re.escape(number)})" for number in numbers]
        pattern = "".join(f"{_anyhow(part)}{group}" for part, group in zip(parts, [*groups, ""], strict=True))
        yield Piece(f"the results say {said!r}: {'; '.join(expressions)}", pattern)


def listed(told: Mapping[str, Any]) -> Iterator[Piece]:
    """The pieces of text whose numbers are not results. Raises ValueError of an unknown reason, or of a bare number."""
    for reason, pieces in told.get("not_results", {}).items():
        if reason not in REASONS:
            raise ValueError(f"{reason!r} is none of {', '.join(REASONS)}")
        for piece in flat([*pieces.values()]) if reason == "elsewhere" else pieces:
            if not isinstance(piece, str) or not re.search(r"[^\W\d]", piece):
                raise ValueError(f"{piece!r} is no text with a word: quote what holds a colon")
            yield Piece(f"{piece!r} ({reason}) is not in the page", rf"({_anyhow(piece)})")


def _anyhow(text: str) -> str:
    """A pattern of the text however its lines are broken; `[...]` is anything."""
    ends = (re.sub(r"(?:\\[ \n])+", r"\\s+", re.escape(part)) for part in text.split("[...]"))
    return r"[\s\S]*?".join(ends)


def claims_file(page: str) -> Path:
    """The file of a page's claims."""
    return CLAIMS / Path(page).with_suffix(".yaml")


def pages_there() -> list[str]:
    """The README and the pages of docs/, by their paths below it."""
    return ["README.md", *sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))]


def page_text(page: str) -> str:
    """A page of docs/, or the README."""
    return (ROOT / ("" if page == "README.md" else "docs") / page).read_text(encoding="utf-8")


def report_on(page: str) -> str:
    """What is wrong with a page, and the lines to add; empty where nothing is."""
    file = claims_file(page)
    try:
        checked = check(page_text(page), parse_yaml(file.read_text(encoding="utf-8")) if file.exists() else {})
    except ValueError as error:
        return f"docs/claims/{file.relative_to(CLAIMS)}: {error}"
    lines = [f"{page}: {each}" for each in checked.missing]
    lines += [f"{page}, {each}" for each in checked.uncovered]
    if checked.uncovered:
        lines.append(
            f"Add to docs/claims/{file.relative_to(CLAIMS)}: claims with {{}} for the numbers, or, under not_results:"
        )
        lines += [f"  - {json.dumps(each, ensure_ascii=False)}" for each in suggested(checked.uncovered)]
    return "\n".join(lines)


def suggested(numbers: Sequence[Number]) -> list[str]:
    """A piece of text for the numbers of each line: the words around the first and the last, `[...]` between them."""
    by_line: dict[int, list[str]] = {}
    for each in numbers:
        by_line.setdefault(each.line, []).append(each.around)
    return [own[0] if len(own) == 1 else f"{own[0]} [...] {own[-1]}" for own in by_line.values()]


def main() -> int:
    """Prints what is wrong with the pages named, or with all that have claims; 1 where something is."""
    all_pages = pages_there()
    pages = [str(Path(each).with_suffix(".md")).removeprefix("docs/") for each in sys.argv[1:]]
    if unknown := set(pages) - set(all_pages):
        print(f"there is no page {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    told = [report_on(page) for page in pages or all_pages]
    print("\n".join(filter(None, told)) or "every number is covered")
    return int(any(told))


if __name__ == "__main__":
    sys.exit(main())
