"""Which version of a package is installed."""

from __future__ import annotations

from importlib import metadata

DISTRIBUTION = "refusal-displacement"
"""The name that this package is installed under."""


def library_version(name: str) -> str:
    """An installed package's version, or that there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
