"""What people see in a terminal: times in words, and how long a bar will still take."""

from types import SimpleNamespace

import pytest

from harness.support.console import _left_text, duration_text, print_note, progress_bar, set_verbosity, show_token


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0.0 s"),
        (8.24, "8.2 s"),
        (9.96, "10.0 s"),
        (12.4, "12 s"),
        (59.6, "1 min"),
        (245, "4 min 5 s"),
        (3599.6, "1 h"),
        (3600 + 89, "1 h 1 min"),
        (37511.6, "10 h 25 min"),
        (86_399, "1 d"),
        (2 * 86_400 + 5 * 3600 + 59 * 60, "2 d 6 h"),
    ],
)
def test_times_are_for_people(seconds, told):
    assert duration_text(seconds) == told


@pytest.mark.parametrize(
    ("completed", "elapsed", "left"),
    [(0, 5.0, ""), (2, 120.0, "about 1 min left"), (3, 180.0, ""), (1, None, "")],
)
def test_a_bar_says_how_long_it_will_take_from_its_first_step_on(completed, elapsed, left):
    """Private, as a bar's clock is Rich's: two of three steps took two minutes, so the third takes one."""
    assert _left_text(SimpleNamespace(total=3, completed=completed, elapsed=elapsed)) == left


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" I", "␣I"),
        ("\n\n", "↵↵"),
        ("\r\n\t", "⌈U+000D⌉↵⇥"),
        (" " * 24, "␣×24"),
        ("   x", "␣␣␣x"),
        ("\n\n\n\n  **", "↵×4␣␣**"),
        ("<0xE2><0x80>", "<0xE2><0x80>"),
        ("\u00a0", "⌈U+00A0⌉"),
        ("\u2028", "⌈U+2028⌉"),
        ("\u202b", "⌈U+202B⌉"),
        ("", "(empty)"),
    ],
)
def test_a_token_is_shown_with_its_blanks(text, shown):
    assert show_token(text) == shown


def test_quiet_is_neither_notes_nor_bars(capsys, monkeypatch):
    monkeypatch.delenv("HARNESS_VERBOSITY", raising=False)
    for verbosity, told in (("normal", "a bar …\na bar: 0.0 s\na note\n"), ("quiet", "")):
        monkeypatch.setenv("HARNESS_VERBOSITY", "")
        set_verbosity(verbosity)
        with progress_bar("a bar", 2) as advance:
            advance(2)
        print_note("a note")
        assert capsys.readouterr().err == told
