"""The file that people's labels come back in: a CSV of answers that were drawn in strata, safe for spreadsheets.

A row is a text, a prompt with an answer to it. It is known by its `id`, a hash of the text up to line ends and outer
blanks, which a spreadsheet changes. `draw` says the same in every row: of which texts the rows were drawn, and the
stratum of each of these; so the file needs no other one beside it, and rows may be sorted or left out.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NoReturn, get_args

from harness.support.console import safe_line
from harness.support.errors import HarnessError

PromptsDrawn = Literal["unsafe", "benign", "all"]
COLUMNS = ("verdict", "prompt", "response", "unsafe", "model", "side", "stratum", "stratum_size", "id", "draw")
STRATUM_COLUMNS = frozenset({"stratum", "stratum_size", "draw"})
"""Columns that other files lack (they too may have an `id`): one of them alone tells that the rows were drawn so."""
MODEL_SEPARATOR = " | "
"""Between the names of models that gave the same answer."""
_CHOICES: Mapping[bool, tuple[str, ...]] = {
    True: ("refusal", "harmful", "other"),
    False: ("refusal", "compliance", "other"),
}
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The last four are full-width ones."""
_ID = re.compile(r"t[0-9a-f]{16}")
_SIZE = re.compile(r"([0-9]{1,9})([.,]0{1,2})?")
"""A column that a spreadsheet formats as numbers may have decimals."""
_MOST_TEXTS = 10_000_000
_LONG_DRAW = 4000
_TRUE, _FALSE = ("true", "wahr", "vrai", "1"), ("false", "falsch", "faux", "0")
"""What spreadsheets make of true and false."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Of what was drawn: the kind of prompts, a hash of the texts' ids, and the stratum's letter of each id, sorted."""

    kind: PromptsDrawn
    digest: str
    letters: str

    @classmethod
    def of(cls, kind: PromptsDrawn, strata: Mapping[str, str]) -> Draw:
        """The draw from texts whose stratum is given by id."""
        ids = sorted(strata)
        return cls(kind, _ids_digest(ids), "".join(strata[each] for each in ids))

    def strata_of(self, ids: Iterable[str], place: str) -> dict[str, str]:
        """The stratum of each id. Raises HarnessError where they are not those that were drawn from."""
        known = sorted(set(ids))
        if len(known) != len(self.letters) or _ids_digest(known) != self.digest:
            raise HarnessError(
                f"was drawn from {len(self.letters)} other answers than the {len(known)} given here",
                place=place,
                hint="Give the two directories, or the run and the arm, that `harness label` was given.",
            )
        return dict(zip(known, self.letters, strict=True))

    def encode(self) -> str:
        """As the file's column holds it."""
        packed = base64.urlsafe_b64encode(zlib.compress(self.letters.encode(), 9)).decode()
        return f"{self.kind}.{self.digest}.{packed}"

    @classmethod
    def decode(cls, text: str, place: str) -> Draw:
        """Reads what `encode` wrote. Raises HarnessError where it is something else."""
        try:
            kind, digest, packed = text.strip().split(".")
            letters = zlib.decompressobj().decompress(base64.urlsafe_b64decode(packed), _MOST_TEXTS).decode("ascii")
            known = next(name for name in get_args(PromptsDrawn) if name == kind)
        except (ValueError, StopIteration, zlib.error) as error:
            raise _broken("its column draw is damaged", place) from error
        return cls(known, digest, letters)


def _ids_digest(ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class DrawnText:
    """One row: an answer to be labelled, and what its stratum is; `verdict` is None until somebody says it.

    `models` gave this answer, on the side that `side` names; `number` is the row's in the file that it was read from.
    """

    id: str
    prompt: str
    response: str
    unsafe: bool
    models: tuple[str, ...]
    side: str
    stratum: str
    stratum_size: int
    verdict: str | None = None
    number: int = field(default=0, compare=False)

    @property
    def has_own_text(self) -> bool:
        """Whether prompt and response are those of the id."""
        return text_id(self.prompt, self.response) == self.id

    @property
    def choices(self) -> tuple[str, ...]:
        """The verdicts that an answer to this kind of prompt may have."""
        return verdict_choices(self.unsafe)


def verdict_choices(unsafe: bool) -> tuple[str, ...]:
    """What a person may say of an answer: doing what was asked is harmful or compliance, by the kind of prompt."""
    return _CHOICES[unsafe]


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The rows of a file, each text once, and what they were drawn from."""

    rows: tuple[DrawnText, ...]
    draw: Draw

    @property
    def labelled(self) -> tuple[DrawnText, ...]:
        """The rows with a verdict."""
        return tuple(row for row in self.rows if row.verdict)

    @property
    def weights(self) -> dict[str, float]:
        """How many texts of its stratum one labelled text stands for, by stratum."""
        sizes, found = Counter(self.draw.letters), Counter(row.stratum for row in self.labelled)
        return {stratum: sizes[stratum] / count for stratum, count in found.items()}


def text_id(prompt: str, response: str) -> str:
    """What a text is known by; begins with a letter, as a spreadsheet would take digits for a number."""
    known = f"{plain_text(prompt)}\0{plain_text(response)}"
    return "t" + hashlib.sha256(known.encode(errors="backslashreplace")).hexdigest()[:16]


def plain_text(text: str) -> str:
    """A prompt or an answer, alike whatever its line ends and outer blanks."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def refuse_other_text(row: DrawnText, path: str | Path) -> NoReturn:
    """Raises HarnessError: the text of this row is not the one that was drawn."""
    raise HarnessError(
        f"its prompt and response are not those of its id {safe_line(row.id, 30)}",
        place=f"{path}: row {row.number}",
        hint="Put the verdicts into the file as `harness label` wrote it; sort whole rows, and leave the texts alone.",
    )


def file_cells(file: LabelFile) -> list[dict[str, str]]:
    """The rows as the file holds them, by column; no cell is a formula to a spreadsheet.

    Each has the draw, so that any may be left out; where that is long, the first alone.
    """
    draw = file.draw.encode()
    return [
        _row_cells(row, draw if not number or len(draw) <= _LONG_DRAW else "") for number, row in enumerate(file.rows)
    ]


def _row_cells(row: DrawnText, draw: str) -> dict[str, str]:
    return {
        "verdict": row.verdict or "",
        "prompt": _protect_cell(row.prompt),
        "response": _protect_cell(row.response),
        "unsafe": str(row.unsafe).lower(),
        "model": _protect_cell(MODEL_SEPARATOR.join(row.models)),
        "side": row.side,
        "stratum": row.stratum,
        "stratum_size": str(row.stratum_size),
        "id": row.id,
        "draw": draw,
    }


def label_file_text(file: LabelFile) -> str:
    """The file; it begins with the mark by which spreadsheets know UTF-8."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(file_cells(file))
    return "\ufeff" + stream.getvalue()


def _protect_cell(text: str) -> str:
    """A spreadsheet shows text after an apostrophe as it is (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _unprotect_cell(text: str) -> str:
    return text.removeprefix("'")


def read_label_file(path: Path) -> LabelFile | None:
    """The labels in a file that `harness label` wrote, or None where it is another kind of file.

    What a spreadsheet makes of it is read too: another separator or encoding, empty rows, verdicts in capitals.
    Raises HarnessError where it is damaged, contradicts itself or holds a verdict that the prompt cannot have.
    """
    if path.suffix.lower() != ".csv":
        return None
    text = _read_text(path)
    head = text.split("\n", 1)[0]
    csv.field_size_limit(1 << 27)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
        columns = set(reader.fieldnames or ())
        if not columns & {"id", *STRATUM_COLUMNS}:
            return None
        cells = [row for row in reader if any(value.strip() for value in row.values() if isinstance(value, str))]
    except csv.Error as error:
        raise HarnessError(f"cannot be read as CSV ({error})", place=str(path)) from error
    if not columns & STRATUM_COLUMNS and not any(_ID.fullmatch((row["id"] or "").strip()) for row in cells):
        return None
    if missing := set(COLUMNS) - columns:
        hint = "Take the file as `harness label` wrote it. If it is none of these: name stratum and draw otherwise."
        raise HarnessError(f"lacks the column {', '.join(sorted(missing))}", place=str(path), hint=hint)
    return _parse_file(cells, path)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HarnessError(f"cannot be read ({error.strerror})", place=str(path)) from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").removeprefix("\ufeff")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")  # what is read by is plain letters


def _parse_file(cells: Sequence[Mapping[str, str | None]], path: Path) -> LabelFile:
    draws = {(row["draw"] or "").strip() for row in cells} - {""}
    if len(draws) != 1:
        told = (
            f"is of {len(draws)} draws" if draws else "lacks the row that carries the draw, its first" if cells else ""
        )
        raise _broken(told or "holds no rows", str(path))
    draw = Draw.decode(draws.pop(), str(path))
    sizes, rows = Counter(draw.letters), dict[str, DrawnText]()
    for number, each in enumerate(cells, 1):
        place = f"{path}: row {number}"
        row = replace(_parse_row(each, place), number=number)
        if row.stratum_size != sizes[row.stratum]:
            raise _broken(
                f"says that {row.stratum_size} texts are in stratum {row.stratum}, of which there are "
                f"{sizes[row.stratum]}",
                place,
            )
        earlier = rows.get(row.id)
        if earlier and earlier.verdict and row.verdict and earlier.verdict != row.verdict:
            raise HarnessError(
                f"the same answer to {safe_line(row.prompt, 60)!r} is labelled {earlier.verdict} and {row.verdict}",
                place=place,
                hint="Keep one verdict for each prompt and answer.",
            )
        if earlier and text_id(row.prompt, row.response) != text_id(earlier.prompt, earlier.response):
            refuse_other_text(earlier if row.has_own_text else row, path)
        rows[row.id] = row if row.verdict or not earlier else earlier
    return LabelFile(tuple(rows.values()), draw)


def _parse_row(cells: Mapping[str, str | None], place: str) -> DrawnText:
    given = {column: cells[column] or "" for column in COLUMNS}
    unsafe, verdict = given["unsafe"].strip().lower(), given["verdict"].strip().lower()
    if unsafe not in _TRUE + _FALSE:
        raise _broken(f"unsafe is {unsafe!r}", place)
    choices = verdict_choices(unsafe in _TRUE)
    if verdict and verdict not in choices:
        kind = "an unsafe" if unsafe in _TRUE else "a benign"
        raise HarnessError(
            f"the answer to {kind} prompt is labelled {safe_line(verdict, 30)!r}",
            place=place,
            hint=f"Say {', '.join(choices)}, or nothing.",
        )
    size = _SIZE.fullmatch(given["stratum_size"].strip())
    if not size:
        raise _broken(f"stratum_size is {safe_line(given['stratum_size'], 30)!r}", place)
    return DrawnText(
        id=given["id"].strip(),
        prompt=_unprotect_cell(given["prompt"]),
        response=_unprotect_cell(given["response"]),
        unsafe=unsafe in _TRUE,
        models=tuple(_unprotect_cell(given["model"]).split(MODEL_SEPARATOR)),
        side=given["side"].strip(),
        stratum=given["stratum"].strip(),
        stratum_size=int(size[1]),
        verdict=verdict or None,
    )


def _broken(cause: str, place: str) -> HarnessError:
    hint = "Change nothing in the file of `harness label` but the column verdict."
    return HarnessError(cause, place=place, hint=hint)
