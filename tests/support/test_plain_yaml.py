"""YAML of plain data: what is read, and what is refused in one line."""

from __future__ import annotations

import pytest

from harness.support.plain_yaml import parse_yaml


def test_plain_data_is_read():
    assert parse_yaml("a: {b: 1, c: [1, 2]}\nd: {b: 1}") == {"a": {"b": 1, "c": [1, 2]}, "d": {"b": 1}}
    assert parse_yaml("[]") == []


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("margin: 0.05\nmargin: 0.9", "'margin'"),
        ("a: [{b: 1, c: 2, b: 3}]", "'b'"),
        ('a: 1\n"a": 2', "'a'"),
        ("1: a\n1.0: b", "1.0"),
        ("a: 2\n<<: {a: 1}", "'a'"),
    ],
)
def test_a_key_given_twice_is_refused(text, key):
    with pytest.raises(ValueError, match=f"the key {key} is given twice"):
        parse_yaml(text)


@pytest.mark.parametrize("text", ["a: &x 1\nb: *x", "? [1]\n: 2", "a: [", "!!python/name:os.system"])
def test_what_is_no_plain_data_is_refused(text):
    with pytest.raises(ValueError, match="is not YAML"):
        parse_yaml(text)
