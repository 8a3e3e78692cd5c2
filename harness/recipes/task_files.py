"""The YAML files of lm-eval tasks of the user's own: what they read and run, before lm-eval takes them."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from harness.recipes.schema import OUR_TASKS, OwnTask, Recipe
from harness.support import artifacts
from harness.support.errors import HarnessError
from harness.support.plain_yaml import parse_tagged_yaml

_CODE_KEYS = {"class", "unsafe_code"}
"""Keys of a task that name Python code, or let that of a model run."""
_TRUST_HINT = "If you trust it, say so: --set trust_task_code=true, or `trust_task_code: true` in the recipe."


@dataclass(frozen=True, slots=True)
class TaskFile:
    """A task's or a group's file, with those that it includes and, of a group, all beside it.

    `name`: what the task or group is called. `needs_packaged`: whether a group holds others than those beside it.
    `yaml_files`: itself first. `data`: the tables that it names, as it names
    them. `metrics`: names of the metrics that it asks for. `code`: what of it would run, in words; None where nothing
    does.
    """

    path: Path
    name: str
    is_group: bool
    needs_packaged: bool
    yaml_files: tuple[Path, ...]
    data: tuple[str, ...]
    metrics: tuple[str, ...]
    code: str | None

    @property
    def data_folder(self) -> Path:
        """Where relative names of tables start: at the file where they are there, else where the command runs."""
        here = any(_matches(name, self.path.parent) for name in self.data)
        return self.path.parent.resolve() if here else Path.cwd()

    def fingerprint(self) -> dict[str, object]:
        """What an evaluation of it depends on: its YAML, Python code beside it, and local tables."""
        code = sorted(self.path.parent.glob("*.py")) if self.code else []
        tables = [found for name in self.data for found in _matches(name, self.data_folder)]
        return {str(file): artifacts.sha256_of(file) for file in (*self.yaml_files, *code, *tables)}


def fingerprint_tasks(recipe: Recipe) -> list[dict[str, Any]]:
    """What an evaluation of a recipe's tasks depends on: their settings, and all that their files read."""
    trusted = recipe.trust_task_code
    return [
        task.model_dump(exclude={"metric"})
        | ({"files": read_task_file(task, trusted=trusted).fingerprint()} if task.is_file else {})
        for task in recipe.tasks
    ]


def check_task_files(recipe: Recipe) -> None:
    """Raises HarnessError where a task's file is none, or does what it must not."""
    for task in recipe.tasks:
        if task.is_file:
            read_task_file(task, trusted=recipe.trust_task_code)


def read_task_file(task: OwnTask, *, trusted: bool) -> TaskFile:
    """What a task's file says. Raises HarnessError where it is none, or does what it must not.

    A file that is not trusted runs no code, and the tables that it names lie below its own folder or the working
    directory.
    """
    path = Path(task.name)
    contents = _read_chain(path)
    whole = {key: value for content, _ in reversed(contents.values()) for key, value in content.items()}
    name = whole.get("group") or whole.get("task")
    if not isinstance(name, str):
        hint = "lm-eval's guide on new tasks says what it holds: `task: NAME` first of all."
        raise HarnessError("is no task of lm-eval: it names no task or group", place=str(path), hint=hint)
    if name.startswith(OUR_TASKS):
        raise HarnessError(f"calls itself {name}, as the harness's own tasks do", place=str(path), hint="Rename it.")
    if "group" in whole:
        for beside in sorted(path.parent.rglob("*.yaml")):
            contents |= _read_chain(beside)
    found = TaskFile(
        path.resolve(),
        name,
        "group" in whole,
        "group" in whole and bool(_members(whole) - _names(contents)),
        tuple(contents),
        tuple(dict.fromkeys(table for content, _ in contents.values() for table in _named_tables(content))),
        tuple(dict.fromkeys(metric for content, _ in contents.values() for metric in _named_metrics(content))),
        next((told for file, (content, tags) in contents.items() if (told := _find_code(file, content, tags))), None),
    )
    if not trusted:
        _refuse_distrusted(found)
    return found


def _read_chain(path: Path) -> dict[Path, tuple[Mapping[str, Any], Sequence[str]]]:
    """A YAML file and all that it includes, with the tags of each. Raises HarnessError where one cannot be read."""
    found: dict[Path, tuple[Mapping[str, Any], Sequence[str]]] = {}
    waiting = [path.resolve()]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        try:
            content, tags = parse_tagged_yaml(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise HarnessError(
                "no such task", place=str(file), hint="Name an lm-eval task or its YAML file."
            ) from error
        except ValueError as error:
            raise HarnessError(str(error), place=str(file), hint="Mend the line it names.") from error
        if not isinstance(content, dict):
            raise HarnessError("is no task of lm-eval: it holds no keys", place=str(file))
        found[file] = content, tags
        included = content.get("include", [])
        waiting += [file.parent / str(name) for name in (included if isinstance(included, list) else [included])]
    return found


def _members(group: Mapping[str, Any]) -> set[str]:
    """The tasks and groups that a group names."""
    listed = group.get("task")
    entries = listed if isinstance(listed, list) else [listed]
    return {str(each.get("task") or each.get("group")) if isinstance(each, dict) else str(each) for each in entries}


def _names(contents: Mapping[Path, tuple[Mapping[str, Any], Sequence[str]]]) -> set[str]:
    """What the tasks and groups in some files are called, and their tags."""
    found = [content for content, _ in contents.values()]
    tags = (tag for content in found for tag in _texts(content.get("tag")))
    return {str(content[key]) for content in found for key in ("task", "group") if key in content} | {*tags}


def _named_tables(content: Mapping[str, Any]) -> Iterator[str]:
    """The files and folders that a task reads as its data."""
    settings = content.get("dataset_kwargs")
    given = settings if isinstance(settings, dict) else {}
    yield from _texts(given.get("data_files"))
    yield from _texts(given.get("data_dir"))
    source = content.get("dataset_path")
    if isinstance(source, str) and (Path(source).exists() or source.startswith((".", "/", "~", "file:"))):
        yield source


def _named_metrics(content: Mapping[str, Any]) -> Iterator[str]:
    for entry in content.get("metric_list") or []:
        if isinstance(entry, dict) and isinstance(entry.get("metric"), str):
            yield entry["metric"]


def _texts(value: object) -> Iterator[str]:
    """The texts in a value, however nested."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _find_code(file: Path, content: Mapping[str, Any], tags: Sequence[str]) -> str | None:
    if tags:
        return f"{file.name} names code ({tags[0]})"
    if named := sorted(_CODE_KEYS & content.keys()):
        return f"{file.name} asks to run code ({named[0]})"
    if any(isinstance(entry, dict) and entry.get("hf_evaluate") for entry in content.get("metric_list") or []):
        return f"{file.name} asks for a metric's script from the hub (hf_evaluate)"
    scripts = [name for name in _texts(content.get("dataset_path")) if name.endswith(".py")]
    return f"{file.name} reads its data by a script ({scripts[0]})" if scripts else None


def _refuse_distrusted(task: TaskFile) -> None:
    if task.code:
        raise HarnessError(f"{task.code}, which does not run unasked", place=str(task.path), hint=_TRUST_HINT)
    roots = task.path.parent, Path.cwd().resolve()
    files = [*task.yaml_files, *(found for name in task.data for found in _resolved(name, task.data_folder))]
    for file in files:
        if not any(file.is_relative_to(root) for root in roots):
            told = f"names {file}, which lies outside the task's folder and the working directory"
            raise HarnessError(told, place=str(task.path), hint=_TRUST_HINT)


def _resolved(name: str, folder: Path) -> Iterator[Path]:
    """Every local file that a table's name may be read as, links followed, whether it is there or not."""
    if "://" in name and not name.lower().startswith("file:"):
        return
    path = folder / (Path(unquote(urlsplit(name).path)) if "://" in name else Path(name).expanduser())
    yield path.resolve()
    yield from (found.resolve() for found in _matches(name, folder))


def _matches(name: str, folder: Path) -> list[Path]:
    """The files that a table's name, which may be a pattern, means below a folder; of a folder, all in it."""
    if "://" in name:
        return []
    pattern = str(folder / Path(name).expanduser())
    found = [Path(each) for each in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - it is absolute
    inside = (sorted(file for file in each.rglob("*") if file.is_file()) if each.is_dir() else [each] for each in found)
    return [file for files in inside for file in files]
