"""JSON Schemas of what people write, for editors and other programs: made of the models that read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

DIALECT = GenerateJsonSchema.schema_dialect
_KEYS = re.compile(r"(?:^|(?<=[.;)] ))((?:`\w+`(?:, | and )?)+): ")
"""Where the words on one key, or on several, begin in a model's docstring."""


class UntitledSchema(GenerateJsonSchema):
    """A schema whose fields have no titles: pydantic's only repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's name
        """Never."""
        return False


class DescribedSchema(UntitledSchema):
    """A schema that says of every key what its model's docstring says of it, and of a model its first paragraph."""

    def model_schema(self, schema: Any) -> dict[str, Any]:
        """Pydantic's, with the descriptions put in."""
        made = super().model_schema(schema)
        told = describe_keys(schema["cls"])
        for name, inner in made.get("properties", {}).items():
            if name in told:
                inner.setdefault("description", told[name])
        if "description" in made:
            made["description"] = _paragraphs(made["description"])[0]
        return made


def describe_keys(kind: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a model, and of those that it extends, say of its keys.

    There, `` `key`: words. `` begins a sentence, for several keys `` `one`, `other`: words. ``, and the words on a key
    end where those on the next begin, or with the paragraph.
    """
    told: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if issubclass(each, BaseModel):
            for paragraph in _paragraphs(each.__doc__ or ""):
                told |= _keys_of(paragraph)
    return {name: words for name, words in told.items() if name in kind.model_fields}


def _keys_of(paragraph: str) -> dict[str, str]:
    begun = [*_KEYS.finditer(paragraph)]
    ends = [*(each.start() for each in begun[1:]), len(paragraph)][: len(begun)]
    return {
        name: _sentence(paragraph[each.end() : end])
        for each, end in zip(begun, ends, strict=True)
        for name in re.findall(r"`(\w+)`", each[1])
    }


def _sentence(words: str) -> str:
    told = words.strip().rstrip(";.")
    return f"{told[:1].upper()}{told[1:]}."


def _paragraphs(text: str) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip())]


def yaml_comments(text: str) -> dict[str, str]:
    """What the comments of a YAML mapping say of its keys: those above a key, or above the one before it."""
    told: dict[str, str] = {}
    comment: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        elif not line.strip():
            comment = []
        elif key := re.match(r"\w+(?=:)", line):
            told[key[0]] = " ".join(comment)
    return told


def schema_comment(package: str, file: str) -> str:
    """The first line of a YAML file by which editors find the schema that lies in a package, with or without a network.

    It is a path of this machine: elsewhere editors say that it is not there, and nothing else reads it.
    """
    return f"# yaml-language-server: $schema={Path(str(resources.files(package).joinpath(file))).as_uri()}\n"


def headed_schema(title: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with its dialect and its title in front."""
    return {"$schema": DIALECT, "title": title, **{name: part for name, part in schema.items() if name != "title"}}
