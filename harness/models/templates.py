"""Chat templates: found without loading a tokenizer, and tried elsewhere before they render anything here.

A template is a program that comes with a model. It runs in a sandbox that keeps it from files and from Python, but not
from looping or growing without end.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from harness.models.paths import ModelPath, base_of
from harness.models.template_probe import BYTES, CHARACTERS, OUT_OF_MEMORY, SECONDS
from harness.support import artifacts
from harness.support.console import safe_line
from harness.support.errors import HarnessError

TEMPLATE_HINT = (
    "Use an instruction-tuned model, or put the Jinja template that it was trained with into its directory as "
    "chat_template.jinja."
)
_PROBE = Path(__file__).with_name("template_probe.py")
_WAIT = 30.0
"""Seconds on the clock for the program that tries a template, whose own limit counts a processor's time."""
_LONGEST_RENDERING = 10.0
"""Seconds for one conversation of a table."""


class RunawayTemplate(HarnessError):  # noqa: N818 - it names what was found
    """A chat template takes too long, or grows too large, to be rendered."""


def refuse_runaway_template(template: object, place: str) -> None:
    """Raises RunawayTemplate, found in `place`, where a chat template takes too long or grows too large to be rendered.

    Args:
        template: as a tokenizer has it: one, several by name, or none.
        place: the tokenizer's.

    Tried once a process, on short conversations, in a program of its own that is ended at its limits.
    """
    for text in _template_texts(template):
        if (fault := _find_fault(text)) is not None:
            hint = "A template of a published model takes milliseconds: use another one, or another copy of the model."
            raise RunawayTemplate(f"its chat template {fault}", place=place, hint=hint)


def check_chat_template(path: ModelPath, given: str | None = None, *, hint: str = TEMPLATE_HINT) -> None:
    """Raises HarnessError where a model has no chat template, or one that cannot be used, before it is loaded.

    Args:
        path: the model.
        given: a template to use in place of its own.
        hint: what to do where there is none.
    """
    found = given or _read_templates(path)
    if found == {}:
        raise HarnessError("the tokenizer has no chat template", place=str(path), hint=hint)
    refuse_runaway_template(found, str(path))


@contextmanager
def limit_rendering(place: str) -> Iterator[None]:
    """Ends the block with RunawayTemplate, found in `place`, where a template takes too long on what it is given there.

    What `refuse_runaway_template` cannot see: a template may wait for a conversation of some kind. In the main thread
    alone, where Python can be stopped.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> NoReturn:
        cause = f"its chat template takes more than {_LONGEST_RENDERING:.0f} s for a conversation"
        raise RunawayTemplate(cause, place=place)

    before, (left, again) = (
        signal.signal(signal.SIGALRM, stop),
        signal.setitimer(signal.ITIMER_REAL, _LONGEST_RENDERING),
    )
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, again)
        signal.signal(signal.SIGALRM, before)


def _template_texts(template: object) -> list[str]:
    found = template.values() if isinstance(template, Mapping) else [template]
    return [text for text in found if isinstance(text, str)]


@cache
def _find_fault(template: str) -> str | None:
    """What speaks against rendering a template here, None where nothing does."""
    try:
        done = subprocess.run(  # noqa: S603 - our own file
            [sys.executable, "-P", str(_PROBE)],
            input=template.encode("utf-8", "surrogatepass"),
            capture_output=True,
            timeout=_WAIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _TOO_SLOW
    if done.returncode == OUT_OF_MEMORY:
        return f"takes more than {BYTES >> 20} MiB of memory for a short conversation"
    if done.returncode < 0:
        slow = done.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
        return _TOO_SLOW if slow else f"ends Python ({signal.Signals(-done.returncode).name})"
    if done.returncode:
        said = safe_line(done.stderr.decode(errors="replace").strip().rpartition("\n")[2], 160)
        return f"cannot be tried ({said})"
    length = int(done.stdout)
    return f"makes {length} characters of a short conversation" if length > CHARACTERS else None


_TOO_SLOW = f"takes more than {SECONDS} s for a short conversation"


def _read_templates(path: ModelPath) -> dict[str, str] | None:
    """The templates in a tokenizer's files, by name; None where only loading it can tell."""
    directory = next((Path(each) for each in (path, base_of(path)) if (Path(each) / _SETTINGS).is_file()), None)
    if directory is None:
        return None
    read = artifacts.read_json(directory / _SETTINGS)
    settings = read if isinstance(read, dict) else {}
    files = [directory / "chat_template.jinja", *sorted((directory / "additional_chat_templates").glob("*.jinja"))]
    found = {file.stem: file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file()}
    found |= _written_templates(settings.get("chat_template"))
    return found or (None if "auto_map" in settings else {})


_SETTINGS = "tokenizer_config.json"


def _written_templates(written: Any) -> dict[str, str]:
    """Those of a tokenizer's settings: a text, or a list of texts with names."""
    if isinstance(written, str):
        return {"default": written}
    named = written if isinstance(written, list) else []
    return {str(each.get("name")): str(each.get("template")) for each in named if isinstance(each, dict)}
