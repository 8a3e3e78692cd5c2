"""Whether a token means yes or no: the rule behind "benign" and "catastrophic" (section 3).

A token's text is stripped of white space, word-start marks and punctuation, folded to lower case, and looked up in two
lists. They part words as the paper's fine-tuning phase does: what affirms, and what does not, so "Maybe" stands with
"No". A token gains *benignly* if it means what y+ means, *catastrophically* if it means the opposite; of tokens in
neither list, and where y+ is in neither, nothing is said but that a spelling variant of y+ itself is benign.
"""

from __future__ import annotations

import string
from typing import Literal

Meaning = Literal["affirms", "does not affirm"]
GainKind = Literal["benign", "catastrophic", "unknown"]

AFFIRMS = frozenset({
    *("yes", "yeah", "yep", "yup", "yea", "yah", "aye", "sure", "surely", "certainly", "absolutely", "definitely"),
    *("ok", "okay", "agree", "agreed", "true", "right", "correct", "indeed", "totally", "exactly", "always"),
})  # fmt: skip
DOES_NOT_AFFIRM = frozenset({
    *("no", "nope", "nah", "nay", "never", "not", "none", "neither", "nor", "cannot", "disagree", "disagreed"),
    *("false", "wrong", "incorrect", "refuse", "maybe", "perhaps", "possibly"),
})  # fmt: skip
_STRIPPED_MARKS = string.whitespace + string.punctuation + "\u2581\u0120\u00a0"


def fold_token(text: str) -> str:
    """A token's text without case, white space, word-start marks and punctuation."""
    return text.strip(_STRIPPED_MARKS).casefold()


def token_meaning(text: str) -> Meaning | None:
    """What a token means, None where it is in neither list."""
    word = fold_token(text)
    if word in AFFIRMS:
        return "affirms"
    return "does not affirm" if word in DOES_NOT_AFFIRM else None


def gain_kind(chosen: str, token: str) -> GainKind:
    """What it is for `token` to gain probability where `chosen` is preferred."""
    if fold_token(token) == fold_token(chosen):
        return "benign"
    wanted, found = token_meaning(chosen), token_meaning(token)
    if wanted is None or found is None:
        return "unknown"
    return "benign" if wanted == found else "catastrophic"
