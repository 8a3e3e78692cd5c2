"""The words that the lexical judge looks at are all those that a cue can begin with."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.judges.lexical.cues import SCAN, find_phrases
from harness.judges.lexical.first_words import FIRST_LETTERS, FIRST_WORDS, SECOND_WORDS
from harness.judges.lexical.text import plain_text
from helpers.first_words import PLACE, derive_first_words, render_first_words

TEXTS = [
    plain_text(json.loads(line)["response"])
    for line in (Path(__file__).parent / "english.jsonl").read_text().splitlines()
]


def spans(matches):
    return [(match.lastgroup, match.span()) for match in matches]


def test_the_table_is_what_the_patterns_make_it():
    assert derive_first_words() == (set(FIRST_WORDS.split()), set(FIRST_LETTERS.split()))
    assert PLACE.read_text() == render_first_words()


def test_looking_words_up_first_finds_the_same():
    found = [spans(find_phrases(text)) for text in TEXTS]
    assert found == [spans(SCAN.finditer(text)) for text in TEXTS]
    assert sum(map(len, found)) > 60


@given(
    st.lists(
        st.sampled_from(
            [
                *FIRST_WORDS.split(),
                *SECOND_WORDS.replace("*", "").replace(":", "").split(),
                "cannot help",
                "'",
                "-",
                ".",
                "2nd",
                "é",
                "i",
                " ",
                "\n",
                "x",
            ]
        ),
        max_size=40,
    )
)
def test_so_it_does_in_wild_texts(pieces):
    text = " ".join(pieces)
    assert spans(find_phrases(text)) == spans(SCAN.finditer(text))
