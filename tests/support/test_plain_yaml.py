"""YAML of plain data: what is read, and what is refused in one line."""

from __future__ import annotations

import pytest

from harness.support.plain_yaml import parse_tagged_yaml, parse_yaml


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


def test_tags_of_its_own_are_told_and_read_as_text():
    value, tags = parse_tagged_yaml("a: !function utils.f\nb: [!mine {c: 1}, 2]\n")
    assert (value, tags) == ({"a": "utils.f", "b": [None, 2]}, ["!function", "!mine"])
    assert parse_tagged_yaml("a: 1") == ({"a": 1}, [])


@pytest.mark.parametrize("text", ["a: &x 1\nb: *x", "a: 1\na: 2", "!!python/name:os.system", "a: !!python/tuple [1]"])
def test_a_tagged_text_is_no_less_plain(text):
    with pytest.raises(ValueError, match="YAML"):
        parse_tagged_yaml(text)
