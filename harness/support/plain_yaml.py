"""YAML of plain data: no types beyond JSON's, no aliases, no key twice, no file longer than people write."""

from __future__ import annotations

from typing import Any

import yaml

LONGEST_YAML = 1 << 18
"""Characters of a YAML file, at most: no recipe or policy is longer, and reading one takes seconds at worst."""


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without aliases, a few lines of which stand for billions of values, and without a key given twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not taken, write the value out", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        content: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(content) < len(node.value):
            seen: set[Any] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if key in seen:
                    told = f"the key {key!r} is given twice"
                    raise yaml.constructor.ConstructorError(None, None, told, key_node.start_mark)
                seen.add(key)
        return content


class _TaggedLoader(_PlainLoader):
    """What has a tag of its own, such as `!function`, is read as the text that it holds, and the tag is kept."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tags: list[str] = []

    def keep_tag(self, suffix: str, node: yaml.Node) -> object:
        """The text of a tagged value; nothing of a tagged list or mapping."""
        self.tags.append(f"!{suffix}")
        return self.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_TaggedLoader.add_multi_constructor("!", _TaggedLoader.keep_tag)


def parse_yaml(text: str) -> Any:
    """The value in a YAML text, of plain data only. Raises ValueError, in one line, where there is none."""
    return _load_yaml(text, _PlainLoader)


def parse_tagged_yaml(text: str) -> tuple[Any, list[str]]:
    """The value in a YAML text whose values may have tags of their own, as plain data, and these tags.

    Raises ValueError, in one line, where there is none.
    """
    tags: list[str] = []

    def keep_loader(stream: str) -> _TaggedLoader:
        loader = _TaggedLoader(stream)
        loader.tags = tags
        return loader

    return _load_yaml(text, keep_loader), tags


def _load_yaml(text: str, loader: Any) -> Any:
    if len(text) > LONGEST_YAML:
        raise ValueError(f"is longer than {LONGEST_YAML} characters")
    try:
        return yaml.load(text, loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"is not YAML ({_yaml_problem(error)})") from error


def _yaml_problem(error: Exception) -> str:
    """What is wrong and where, in one line; of a tab, what to write in its place."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())
    if "'\\t'" in problem:
        problem = "a tab; YAML is indented with spaces"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
