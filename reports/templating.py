"""The environment that every page is rendered in: autoescaped, and a name a template lacks is an error."""

from __future__ import annotations

import base64
import hashlib

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


def security_policy(style: str, script: str) -> str:
    """The Content-Security-Policy: no network, and of inline code only our own style and script, by their hash."""
    return (
        f"default-src 'none'; script-src '{_source_hash(script)}'; style-src '{_source_hash(style)}'; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _source_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
