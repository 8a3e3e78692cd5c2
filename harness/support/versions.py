"""Which version of a package is installed, and how one that is not is."""

from __future__ import annotations

from importlib import metadata

DISTRIBUTION = "refusal-displacement"
"""The name that this package is installed under."""


def install_hint(extra: str = "") -> str:
    """What to type where a package is missing that this one needs, or needs for one of its extras.

    There is no release yet, so it is typed in a checkout.
    """
    return f"pip install '.[{extra}]' in a checkout" if extra else "pip install . in a checkout"


def library_version(name: str) -> str:
    """An installed package's version, or that there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
