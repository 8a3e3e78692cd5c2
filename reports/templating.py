"""The environment that every page is rendered in: autoescaped, and a name a template lacks is an error."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from reports.words import FIGURE_FORMS, make_visible, shorten_commit


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
