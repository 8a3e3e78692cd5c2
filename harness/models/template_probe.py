"""Renders a chat template on short conversations under limits: a program of its own, which may be killed.

Reads the template on standard input and prints how many characters its longest text has, or the first with more than
`CHARACTERS`; ends with `OUT_OF_MEMORY` where it takes more memory than `BYTES`, and is ended by the system where it
takes more of a processor than `SECONDS`. Run as a file, so it imports nothing of this package.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS, BYTES, CHARACTERS = 2, 1 << 29, 1 << 20
OUT_OF_MEMORY = 3

_USER, _ANSWER = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello yourself"}
_TOOL = {"type": "function", "function": {"name": "add", "description": "", "parameters": {"type": "object"}}}
_CONVERSATIONS: list[dict[str, Any]] = [
    {"messages": [_USER], "add_generation_prompt": True},
    {"messages": [_USER, _ANSWER]},
    {"messages": [{"role": "system", "content": "Be kind."}, _USER, _ANSWER, _USER], "add_generation_prompt": True},
    {"messages": [_USER], "tools": [_TOOL], "add_generation_prompt": True},
]
_TOKENS = {f"{name}_token": f"<{name}>" for name in ("bos", "eos", "pad", "unk")}


class _GenerationTag(Extension):
    """The block around an assistant's turn that transformers knows; its content is what counts here."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 has it

    def parse(self, parser: Parser) -> nodes.Node:
        """The block as its content alone."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def template_environment() -> ImmutableSandboxedEnvironment:
    """The sandbox that transformers renders chat templates in (`transformers.utils.chat_template_utils`)."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _raise_exception
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return made


def longest_text(template: str) -> int:
    """Characters of the longest of the short conversations; those that the template refuses are left out."""
    compiled = template_environment().from_string(template)
    longest = 0
    for text in _rendered_texts(compiled.render):
        longest = max(longest, len(text))
        if longest > CHARACTERS:
            break
    return longest


def _rendered_texts(render: Callable[..., str]) -> Iterator[str]:
    for conversation in _CONVERSATIONS:
        try:
            yield render(**_TOKENS, **conversation)
        except MemoryError:
            raise
        except Exception:  # noqa: S112 - templates raise whatever their author chose; a real conversation will tell it
            continue


def _to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _set_limits() -> None:
    for kind, limit in ((resource.RLIMIT_AS, BYTES), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # not every system has each of them; the caller's clock stands behind
            resource.setrlimit(kind, (limit, limit))


if __name__ == "__main__":
    template = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
    _set_limits()
    try:
        print(longest_text(template))
    except MemoryError:
        sys.exit(OUT_OF_MEMORY)
    except (TemplateError, RecursionError, OverflowError):  # it cannot be compiled, which transformers will say
        print(0)
