"""The environment that every page is rendered in: autoescaped, and a name a template lacks is an error."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.words import FIGURE_FORMS, make_visible, shorten_commit

PathStep = str | int
"""A key or a place on the way to a figure."""


def cite_figure(figures: Mapping[str, Any], prefix: str, form: str, *path: PathStep | Sequence[PathStep]) -> Markup:
    """A figure as text that says where it is from: a JSON pointer (RFC 6901) into the figures, after the prefix.

    Raises KeyError or IndexError where there is none.
    """
    steps = [step for part in path for step in ([part] if isinstance(part, str | int) else part)]
    value: Any = figures
    for step in steps:
        value = value[step]
    pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)
    return Markup('<data value="{}" data-from="{}">{}</data>').format(
        json.dumps(value), prefix + pointer, FIGURE_FORMS[form](value)
    )


def page_environment() -> Environment:
    """Jinja over `reports/templates`, with the filters that figures and a model's text go through."""
    made = Environment(
        loader=PackageLoader("reports", "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FIGURE_FORMS, visible=make_visible, short=shorten_commit)
    return made


def security_policy(style: str, script: str) -> str:
    """The Content-Security-Policy: no network, and of inline code only our own style and script, by their hash."""
    return (
        f"default-src 'none'; script-src '{_source_hash(script)}'; style-src '{_source_hash(style)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _source_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
