"""Where the `harness` command starts, `python -m harness` too: Ctrl-C is told alike from here on."""

from __future__ import annotations

from importlib import import_module
from typing import NoReturn

from harness.support.ending import end_process


def main() -> NoReturn:
    """Runs the command and ends the process."""
    end_process(lambda: int(import_module("harness.cli").run_command_line()))


if __name__ == "__main__":
    main()
