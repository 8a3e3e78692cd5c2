"""Recipes from YAML, with what the command line sets."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from harness.prompts.sets import split_limit, with_limit
from harness.prompts.variants import split_variants
from harness.recipes.schema import TASK_SUFFIXES, Recipe, Strict
from harness.support.errors import HarnessError
from harness.support.plain_yaml import parse_yaml
from harness.support.schema_errors import closest_name, explain_schema_error

TABLE_KEYS = ("prompts", "preferences", "gold", "off_policy", "statements")
"""The keys that name tables to read."""
LIMITED_KEYS = {"prompts", "statements"}
"""Those of them that a number may follow, as in `bundled:96`."""
RENAMED_KEYS = {"engine": "backend"}
"""What keys of earlier recipes are called now."""


def packaged_recipes() -> dict[str, str]:
    """Name and description of every packaged recipe."""
    folder = resources.files("harness.recipes")
    files = sorted(item.name for item in folder.iterdir() if item.name.endswith(".yaml"))
    return {name.removesuffix(".yaml"): str(parse_yaml(folder.joinpath(name).read_text())["about"]) for name in files}


def load_recipe(source: str, overrides: Sequence[str] = (), seeds: int | None = None) -> Recipe:
    """The recipe in a YAML file or packaged under a name, with `key.path=value` overrides applied.

    `seeds` replaces the recipe's seeds by 0..seeds-1. Relative paths in a recipe file start at that file; those in an
    override, where the command runs. A table that the file names lies below one of the two.
    Raises HarnessError naming the file, the key and the closest known one.
    """
    return validate_recipe(*read_recipe_keys(source, overrides, seeds), Recipe)


def read_recipe_keys(
    source: str, overrides: Sequence[str] = (), seeds: int | None = None
) -> tuple[dict[str, Any], str]:
    """A recipe's keys, not yet checked, with the overrides applied; and where they were found.

    Raises HarnessError where there is none, or the file names a table that is not its to name.
    """
    text, place, folder = _read_recipe_text(source)
    keys = _parse_mapping(text, place)
    if folder is not None:
        keys |= _resolve_relative_paths(keys, folder, place, {override.partition("=")[0] for override in overrides})
    for override in overrides:
        _apply_override(keys, override)
    if seeds is not None:
        keys["seeds"] = list(range(seeds))
    if isinstance(most := keys.get("limit"), int) and most > 0:
        keys["prompts"] = with_limit(str(keys.get("prompts", "bundled")), most)
    return keys, place


R = TypeVar("R", bound=Strict)


def validate_recipe(keys: Mapping[str, Any], place: str, kind: type[R]) -> R:
    """The keys as a recipe of this kind. Raises HarnessError naming the place, the key and the closest known one."""
    try:
        return kind.model_validate(keys)
    except ValidationError as error:
        raise explain_schema_error(error, place, kind, RENAMED_KEYS) from error


def _read_recipe_text(source: str) -> tuple[str, str, Path | None]:
    """A recipe's text, what to call the place, and its folder; none for a packaged one."""
    path = Path(source)
    try:
        if path.suffix in {".yaml", ".yml"} or path.is_file():
            return path.read_text(encoding="utf-8"), str(path), path.parent
        if path.name != source:
            raise FileNotFoundError(source)
        return resources.files("harness.recipes").joinpath(f"{source}.yaml").read_text(), f"packaged {source}", None
    except UnicodeDecodeError as error:
        raise HarnessError("is not a text file", place=source, hint="Give a YAML recipe.") from error
    except OSError as error:
        raise HarnessError("no such recipe", place=source, hint=_recipe_hint(path)) from error


def _recipe_hint(missing: Path) -> str:
    """The recipe that was meant: a file beside the missing one, or a packaged one."""
    beside = {file.stem: str(file) for file in sorted(missing.parent.glob("*.y*ml"))} if missing.suffix else {}
    packaged = {name: name for name in packaged_recipes()}
    for recipes in (beside, packaged):
        if close := closest_name(missing.stem, [*recipes]):
            return f"Did you mean {recipes[close]!r}?"
    return f"Packaged recipes: {', '.join(packaged)}; or give the path of a YAML file."


def _parse_mapping(text: str, place: str) -> dict[str, Any]:
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise HarnessError(str(error), place=place, hint="Mend the line it names.") from error
    if not isinstance(content, dict):
        raise HarnessError("holds no keys", place=place, hint="A recipe is a YAML mapping; see `harness recipes`.")
    return content


def _apply_override(content: dict[str, Any], override: str) -> None:
    """Sets one dotted key, or leaves the arm out of `arms.NAME=null`; whether a key exists is for the model to say."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise HarnessError(f"--set {override!r} is not key=value", hint="For example --set training.beta=0.2")
    *path, last = key.split(".")
    inner: Any = content
    for part in path:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            raise HarnessError(f"--set {override!r}: {part!r} holds a value, not keys")
    try:
        parsed = parse_yaml(value)
    except ValueError as error:
        raise HarnessError(f"--set {override!r}: the value {error}") from error
    if path == ["arms"] and parsed is None:
        _drop_arm(inner, last)
    else:
        inner[last] = float(value) if isinstance(parsed, str) and _is_number(value) else parsed


def _drop_arm(arms: dict[str, Any], name: str) -> None:
    if name not in arms:
        close = closest_name(name, [*arms])
        hint = f"Did you mean {close!r}?" if close else f"There are: {', '.join(arms)}."
        raise HarnessError(f"there is no arm {name!r} to leave out", place=f"--set arms.{name}=null", hint=hint)
    del arms[name]


def _is_number(text: str) -> bool:
    """YAML 1.1 reads 5e-5 as text; people mean the number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _resolve_relative_paths(
    keys: Mapping[str, Any], folder: Path, place: str, overridden: Container[str]
) -> dict[str, Any]:
    """The model and the tables that the file names, made to start at its folder where they are there."""
    found: dict[str, Any] = {}
    if isinstance(models := keys.get("models"), list) and "models" not in overridden:
        found["models"] = [str(folder / name) if (folder / str(name)).exists() else name for name in models]
    for key in ("model", *TABLE_KEYS):
        value = keys.get(key)
        if isinstance(value, str) and value != "bundled" and key not in overridden:
            base, variants = split_variants(value) if key == "prompts" else (value, "")
            label, equals, file = base.rpartition("=")
            name, most = split_limit(file) if key in LIMITED_KEYS else (file, None)
            limit = "" if most is None else f":{most}"
            found[key] = f"{label}{equals}{folder / name}{limit}{variants}" if (folder / name).exists() else value
            if key != "model":
                _refuse_elsewhere(found[key], folder, f"{place}, {key}")
    if isinstance(tasks := keys.get("tasks"), list) and "tasks" not in overridden:
        found["tasks"] = [_resolve_task(task, folder, f"{place}, tasks") for task in tasks]
    return found


def _resolve_task(task: object, folder: Path, place: str) -> object:
    """An entry of `tasks`, its file made to start at the recipe's folder where it is there."""
    name = task.get("name") if isinstance(task, dict) else task
    if not isinstance(name, str) or not name.endswith(TASK_SUFFIXES):
        return task
    found = str(folder / name) if (folder / name).exists() else name
    _refuse_elsewhere(found, folder, place)
    return {**task, "name": found} if isinstance(task, dict) else found


def _refuse_elsewhere(value: str, folder: Path, place: str) -> None:
    """A recipe may come from anyone: what it makes the command read, and put into a report, must lie around it."""
    roots = folder.resolve(), Path.cwd().resolve()
    try:
        outside = [file for file in _files_named_by(value) if not any(file.is_relative_to(root) for root in roots)]
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name, links in a circle
        raise HarnessError(f"names no file ({error})", place=place) from error
    if outside:
        key = place.rpartition(" ")[2]
        option = "--tasks " if key == "tasks" else f"--set {key}="
        raise HarnessError(
            f"names {value}, which lies outside the recipe's folder and the working directory",
            place=place,
            hint=f"If you mean that file, say so on the command line: {option}{value}",
        )


def _files_named_by(value: str) -> Iterator[Path]:
    """Every file that a table's name may be read as, links followed; in a directory, all that it links to."""
    bases = {value, split_variants(value)[0]}
    names = {name for base in bases for name in (base, base.partition("=")[2], base.rpartition("=")[2])}
    for name in (names | {split_limit(name)[0] for name in names}) - {""}:
        if "://" in name and not name.lower().startswith("file:"):
            continue
        path = Path(unquote(urlsplit(name).path)) if "://" in name else Path(name)
        yield path.resolve()
        if path.is_dir():
            yield from (inside.resolve() for inside in path.rglob("*") if inside.is_symlink())
