"""What pytest loads where this package is installed: a fixture, and the gate only once it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(name="assert_no_unalignment", scope="session")
def assert_no_unalignment_fixture() -> Callable[..., Any]:
    """The function `harness.assert_no_unalignment(before, after, policy=None)`."""
    from harness.handoff.assertions import assert_no_unalignment

    return assert_no_unalignment
