"""How a command ends: its exit code, one line where it went wrong, and standard streams that cannot be written."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

START = """\
import os, signal, sys, threading
from harness.support.console import progress_bar
from harness.support.ending import end_process
from harness.support.errors import HarnessError

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

def work():
{body}
    return 0

end_process(work)
"""


def ended(body: str, tmp_path: Path, **settings) -> subprocess.CompletedProcess[str]:
    """A process of its own that does the work; what of its streams is not given is captured."""
    program = START.format(body="\n".join(f"    {row}" for row in body.split("\n")))
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings
    settings["env"] = {**os.environ, "TMPDIR": str(tmp_path)} | settings.get("env", {})
    return subprocess.run([sys.executable, "-c", program], text=True, **settings)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ValueError('wrong \\x1b[31m')", "ValueError: wrong [31m at <string>:"),
        ("sys.exit(1)", "SystemExit: 1"),
        ("sys.exit()", "SystemExit"),
        ("raise type('Odd', (BaseException,), {})", "Odd"),
        ("raise BrokenPipeError(32, 'a worker left')", "a worker left"),
        ("work()", "RecursionError: maximum recursion depth exceeded"),
        ("float(10**400)", "OverflowError: int too large to convert to float"),
        ("''.join(7)", "TypeError"),
        ("raise type('Mute', (Exception,), {'__str__': lambda error: 1 / 0})", "Mute: <exception str() failed>"),
        ("os.environ['MY_KEY'] = 'a' * 34\nraise ValueError('with ' + 'a' * 34)", "ValueError: with ***"),
    ],
)
def test_a_defect_is_one_line_that_names_its_traceback(tmp_path, body, told):
    done = ended(body, tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("harness: a defect of harness, please report it: ")
    assert told in done.stderr
    kept = Path(done.stderr.split("its traceback is in ")[1].strip())
    assert kept.read_text().startswith("Traceback")
    assert "a" * 34 not in kept.read_text()


def test_a_traceback_that_cannot_be_kept_is_told(tmp_path):
    done = ended("import tempfile\ntempfile.tempdir = '/nowhere'\nraise ValueError", tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith("its traceback could not be kept (No such file or directory)\n")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("raise HarnessError('is bad', place='x', hint='Mend it.')", "harness: x: is bad. Mend it."),
        ("raise MemoryError", "harness: the memory ran out. Use a machine with more, or ask for less at a time."),
    ],
)
def test_what_a_person_can_mend_is_one_line(tmp_path, body, line):
    done = ended(body, tmp_path)
    assert (done.returncode, done.stderr) == (2, f"{line}\n")


# Standard streams


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_full_standard_output_is_an_error(tmp_path, code):
    for text in ("'PASS'", "'PASS' * 100_000"):
        with Path("/dev/full").open("w") as full:
            done = ended(f"print({text})\nreturn {code}", tmp_path, stdout=full)
        assert done.returncode == 2
        assert done.stderr == "harness: standard output cannot be written (No space left on device)\n"


def test_a_closed_standard_output_is_an_error_and_nobody_elses_file(tmp_path):
    body = f"file = open({str(tmp_path / 'file')!r}, 'w')\nprint('PASS')\nassert file.fileno() > 2"
    done = ended(body, tmp_path, stdout=None, preexec_fn=lambda: os.close(1))
    assert done.returncode == 2
    assert done.stderr == "harness: standard output cannot be written (it is closed)\n"
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_reader_who_leaves_early_changes_nothing(tmp_path, code):
    """The work goes on to its end, and its code stands."""
    for stream in ("stdout", "stderr"):
        reader, writer = os.pipe()
        os.close(reader)
        body = f"print('x' * 300_000, file=sys.{stream}, flush=True)\nopen('done', 'w').close()\nreturn {code}"
        done = ended(body, tmp_path, cwd=tmp_path, **{stream: writer})
        os.close(writer)
        assert (done.returncode, done.stdout or done.stderr or "") == (code, "")
        (tmp_path / "done").unlink()


@pytest.mark.parametrize("how", ["full", "closed"])
def test_without_standard_error_the_code_stands_and_notes_go_nowhere(tmp_path, how):
    body = "print('note', file=sys.stderr)\nprint('PASS')\nreturn 1"
    with Path("/dev/full").open("w") as full:
        given = {"full": {"stderr": full}, "closed": {"stderr": None, "preexec_fn": lambda: os.close(2)}}[how]
        done = ended(body, tmp_path, **given)
    assert (done.returncode, done.stdout) == (1, "PASS\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_text_is_printed_in_any_encoding(tmp_path, encoding):
    done = ended("print('\\u2026 \\udcff')", tmp_path, env={"PYTHONIOENCODING": encoding})
    assert done.returncode == 0
    assert done.stdout == ("\u2026 \\udcff\n" if encoding == "utf-8" else "\\u2026 \\udcff\n")


# Ctrl-C

STOPPED = "harness: stopped; the same command goes on from here\n"


@pytest.mark.parametrize(
    "body",
    [
        "interrupt()",
        "try:\n    interrupt()\nexcept KeyboardInterrupt:\n    raise ImportError('numpy could not be loaded')",
        "try:\n    interrupt()\nexcept KeyboardInterrupt:\n    sys.exit(1)",
        "try:\n    interrupt()\nfinally:\n    threading.Thread(target=lambda: 1 / 0).start()",
        "class Sore:\n    def __del__(self):\n        1 / 0\nsore = Sore()\ninterrupt()",
        "exec('interrupt()')",
        "raise KeyboardInterrupt",
    ],
)
def test_an_interruption_is_one_line_wherever_it_strikes(tmp_path, body):
    done = ended(body, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", STOPPED)


def test_an_interruption_waits_for_no_thread_and_closes_what_is_to_be_closed(tmp_path):
    body = (
        "import atexit, time\natexit.register(print, 'closed')\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\ninterrupt()"
    )
    done = ended(body, tmp_path, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "closed\n", STOPPED)


def test_a_second_interruption_ends_what_does_not_end(tmp_path):
    body = "try:\n    interrupt()\nexcept KeyboardInterrupt:\n    interrupt()\n    while True: ..."
    done = ended(body, tmp_path, timeout=60)
    assert (done.returncode, done.stderr) == (130, STOPPED)


def test_an_interruption_that_is_ignored_stays_so(tmp_path):
    body = "signal.getsignal(signal.SIGINT) == signal.SIG_IGN or sys.exit()\ninterrupt()\nprint('went on')"
    done = ended(body, tmp_path, preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_IGN))
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")


def read_terminal(own: int) -> bytes:
    """All that was written to a terminal whose other end is closed: one read may give a part of it."""
    parts = []
    with open(own, "rb", buffering=0) as stream, suppress(OSError):  # EIO is how Linux tells the end
        while part := stream.read(1 << 16):
            parts.append(part)
    return b"".join(parts)


def test_an_interruption_under_a_progress_bar_leaves_a_whole_line(tmp_path):
    own, other = pty.openpty()
    done = ended("with progress_bar('Working', 9) as advance:\n    advance()\n    interrupt()", tmp_path, stderr=other)
    os.close(other)
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", read_terminal(own).decode()).replace("\r", "")
    assert done.returncode == 130
    assert "Working" in seen
    assert seen.endswith(f"\n{STOPPED}")
    assert "Traceback" not in seen
