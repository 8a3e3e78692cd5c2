"""The `harness` command as a person runs it, in a process of its own; the fixture `command` is quicker."""

import os
import subprocess
import sys

CLEAN = {**os.environ, "COLUMNS": "100"}


def harness(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=CLEAN,
    )
