"""The files that a gate's decision is handed on in, and the comment that says it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from harness.evaluation.manifest import RunManifest
from harness.handoff.annotations import annotation_lines, run_url
from harness.handoff.gate_json import gate_json
from harness.handoff.hub import MODEL_CARD, make_hub_files
from harness.handoff.markdown import code_span, markdown_text
from harness.handoff.record import add_registration
from harness.handoff.rendering import junit_text
from harness.handoff.sarif import sarif_log
from harness.handoff.statement import gate_statement
from harness.support.artifacts import explain_write_errors, write_text, write_together
from harness.support.console import print_note
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from harness.handoff.record import GateRecord


_COMMENT_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ELSEWHERE = "Name another file."
_ESCAPED = "backslashreplace"
"""What becomes of characters that UTF-8 does not have."""


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """Where each output goes, called like its option; None: it is not asked for.

    `comment` is the id of a comment, `hub` the folder of a model, `hub_dataset` the id of a benchmark.
    """

    junit: Path | None = None
    markdown: Path | None = None
    json: Path | None = None
    sarif: Path | None = None
    statement: Path | None = None
    annotations: Path | None = None
    comment: str | None = None
    hub: Path | None = None
    hub_dataset: str | None = None

    @property
    def paths(self) -> dict[str, Path]:
        """The files asked for, by their options."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        given["hub"] = self.hub / MODEL_CARD if self.hub else None
        return {f"--{name}": path for name, path in given.items() if isinstance(path, Path)}


def refuse_bad_outputs(files: OutputFiles, inputs: Sequence[tuple[str, Path | None]]) -> None:
    """Raises HarnessError where two outputs are one file, an output is a directory, one of the inputs (by their
    options) or a file of a run, or a benchmark is named for no model's folder.
    """
    if files.hub_dataset is not None and files.hub is None:
        hint = "Add --hub DIR, the model's folder."
        raise HarnessError("is for --hub", place=f"--hub-dataset {files.hub_dataset}", hint=hint)
    known = {path.resolve(): option for option, path in inputs if path is not None}
    for option, path in files.paths.items():
        place = path.resolve()
        if place in known:
            raise HarnessError(f"is both {known[place]} and {option}", place=str(path), hint="Give each its own file.")
        if place.is_dir():
            raise HarnessError("is a directory", place=f"{option} {path}", hint="Name a file.")
        if place.is_file() and RunManifest.find_around(place.parent).records(place):
            raise HarnessError(f"is a file of a run, and would be lost to {option}", place=str(path), hint=_ELSEWHERE)
        known[place] = option


def refuse_unhashable(inputs: Sequence[tuple[str, Path | None]]) -> None:
    """Raises HarnessError where an input (by its option) is a pipe or a device: read again, its hash is another's."""
    for option, path in inputs:
        if path is not None and path.exists() and not (path.is_file() or path.is_dir()):
            hint = "Write it into a file: its hash is among what the gate hands on."
            raise HarnessError("is no file", place=f"{option} {path}", hint=hint)


def _refuse_evidence(record: GateRecord, files: OutputFiles) -> None:
    """Raises HarnessError where an output would take the place of a file that the decision was made from."""
    read = {(Path(side.path) / name).resolve() for side in record.outcome.sides for name, _ in side.files}
    for option, path in files.paths.items():
        if path.resolve() in read:
            cause = f"is a file that was gated, and would be lost to {option}"
            raise HarnessError(cause, place=str(path), hint=_ELSEWHERE)


def write_outputs(record: GateRecord, files: OutputFiles, *, texts: bool = False) -> GateRecord:
    """Writes all files or none, each whole, and then the comment; returns the record with what was found out for it.

    All are made before the first is written. `texts`: prompts and answers too, in Markdown and JSON: harmful text.
    Raises HarnessError where a file cannot be written, or is one that was gated. That there is no comment is a warning.
    """
    _refuse_evidence(record, files)
    if files.statement:
        record = add_registration(record)
    made: list[tuple[Path | None, Callable[[], str]]] = [
        (files.junit, lambda: junit_text(record.outcome)),
        (files.json, lambda: _json_text(gate_json(record, texts=texts))),
        (files.sarif, lambda: _json_text(sarif_log(record))),
        (files.statement, lambda: _json_text(gate_statement(record, run_url(os.environ)))),
        (files.annotations, lambda: annotation_lines(record.outcome)),
    ]
    texts_made = [(path, make().encode(errors=_ESCAPED)) for path, make in made if path]
    if files.markdown:
        texts_made.append((files.markdown, _appended(files.markdown, markdown_text(record.outcome, texts=texts))))
    of_model = make_hub_files(record.outcome, record.policy, files.hub, files.hub_dataset) if files.hub else []
    write_together([*texts_made, *of_model])
    warnings = _put_comment(markdown_text(record.outcome), files.comment)
    if files.annotations and warnings:
        write_text(files.annotations, annotation_lines(record.outcome, warnings))
    return record


@contextmanager
def comment_on_error(identity: str | None) -> Iterator[None]:
    """Where the block raises, the comment says that nothing was decided, rather than what an earlier run decided.

    Raises HarnessError where the comment's id could not stand in a hidden mark.
    """
    if identity is not None and not _COMMENT_ID.fullmatch(identity):
        hint = "Take letters, digits, dots, dashes and underscores, 64 at most."
        raise HarnessError("is no id of a comment", place=f"--comment {identity}", hint=hint)
    try:
        yield
    except Exception as error:
        why = code_span(str(error)) if isinstance(error, HarnessError) else "The log of the run says why."
        _put_comment(f"## Safety gate: ERROR\n\nNothing was decided. {why}\n", identity)
        raise


def _json_text(content: dict[str, object]) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"  # all ASCII: nothing in it acts on a terminal


def _appended(path: Path, text: str) -> bytes:
    """What a file holds, byte for byte, and the text behind it, from a line of its own on."""
    known = b""
    if path.is_file():
        with explain_write_errors(path):
            known = path.read_bytes()
    return known + (b"" if known.endswith((b"\n", b"\r")) or not known else b"\n") + text.encode(errors=_ESCAPED)


def _put_comment(text: str, identity: str | None) -> list[str]:
    """Why there is no comment, told on standard error too; nothing where there is one, or none is asked for."""
    if identity is None:
        return []
    from harness.handoff.comment import put_comment

    problem = put_comment(text, identity, os.environ)
    if problem is None:
        return []
    print_note(f"warning: {problem}")
    return [problem]
