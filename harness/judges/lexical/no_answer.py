"""What is no answer at all: empty, an echo of the prompt, repetition, gibberish."""

from __future__ import annotations

from harness.judges.lexical.text import english_share, is_gibberish, is_repetitive, quote_start


def find_no_answer(prompt: str, text: str) -> str | None:
    """Why a plain text is no answer to a plain prompt; None where it may be one."""
    words = text.split()
    if not any(map(str.isalnum, text)):
        return f"no words: {quote_start(text)}" if text else "empty"
    if not any(map(str.isalnum, without_echo(prompt, text))):
        return f"only repeats the prompt: {quote_start(text)}"
    if english_share(words) < 0.2 and is_gibberish(text):
        return f"gibberish: {quote_start(text)}"
    return None


def find_repetition(text: str) -> str | None:
    """Why a plain text says nothing but the same words; None where it does not."""
    return f"repeats itself: {quote_start(text)}" if is_repetitive(text.split()) else None


def without_echo(prompt: str, text: str) -> str:
    """An answer without the prompt that it begins with."""
    return text.replace(prompt, " ").strip() if " " in prompt and prompt in text[: len(prompt) + 20] else text
