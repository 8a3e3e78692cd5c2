"""The environment that every page is rendered in: autoescaped, and a name a template lacks is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import words

if TYPE_CHECKING:
    from jinja2 import Environment


def environment() -> Environment:
    """Jinja over `reports/templates`, with the filters that figures and a model's text go through."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("reports", "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        percent=words.percent,
        points=words.points,
        nats=words.nats,
        number=words.number,
        visible=words.visible,
        short=words.short,
    )
    return made
