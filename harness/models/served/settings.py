"""Where a model is asked over an API; nothing that asks is imported."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.support.redaction import REDACTED


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Where a model is asked, and how patient we are with it."""

    url: str
    model: str
    key: str = field(default="", repr=False)
    attempts: int = 6
    failures: int = 10  # requests that failed for good, one after another, after which it is given up
    concurrency: int = 8
    timeout: float = 120.0  # seconds for one whole request
    backoff: float = 0.5  # seconds before the second attempt; doubles from there
    longest_wait: float = 60.0

    def hide_key(self, text: str) -> str:
        """The text without the key: some servers repeat it."""
        return text.replace(self.key, REDACTED) if self.key else text
