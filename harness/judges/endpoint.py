"""Where the judge `openai` asks, as the environment says; nothing is asked here."""

from __future__ import annotations

import os

from harness.judges.verdicts import MOST_FAILURES
from harness.models.served.settings import EndpointSettings
from harness.support.errors import HarnessError


def endpoint_settings() -> EndpointSettings:
    """The settings in the environment. Raises HarnessError naming the variable that is missing."""
    model, key = os.environ.get("HARNESS_JUDGE_MODEL", ""), os.environ.get("OPENAI_API_KEY", "")
    url = os.environ.get("OPENAI_BASE_URL", "").rstrip("/")
    if not model:
        raise HarnessError("the judge openai needs a model", hint="Set HARNESS_JUDGE_MODEL.")
    if not url and not key:
        raise HarnessError("the judge openai needs an endpoint", hint="Set OPENAI_BASE_URL, or OPENAI_API_KEY.")
    if url and not url.startswith(("http://", "https://")):
        raise HarnessError(
            "is not an http address", place="OPENAI_BASE_URL", hint="For example http://localhost:8000/v1"
        )
    if not key.isascii() or not key.isprintable():
        raise HarnessError("holds a character no key has", place="OPENAI_API_KEY", hint="Copy the key again.")
    return EndpointSettings(url or "https://api.openai.com/v1", model, key, failures=MOST_FAILURES)
