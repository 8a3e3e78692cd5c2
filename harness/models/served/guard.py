"""Runs a command until it ends, or until standard input does: with whoever started this, however that one ended.

    python guard.py COMMAND...

Started as the leader of a process group, which it ends with the command and all that the command has started.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

GRACE_SECONDS = 10.0


def main() -> None:
    """Runs the command of the command line."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)  # noqa: S603
    threading.Thread(target=_end_with_the_starter, args=(child,), daemon=True).start()
    child.wait()
    os.killpg(os.getpgrp(), signal.SIGKILL)  # what it left behind, and this process


def _end_with_the_starter(child: subprocess.Popen[bytes]) -> None:
    sys.stdin.buffer.read()
    os.killpg(os.getpgrp(), signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: None)  # is for the others of the group
    main()
