"""Where organisms lie: the default miniature in the package, all others grown on demand and kept in a cache.

Each is an ordinary `transformers` directory. The default miniature is shipped because processors round differently:
grown elsewhere from the same seed it would be another model, and training on it would go another way.
"""

from __future__ import annotations

import ast
import platform
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata, resources
from pathlib import Path

from harness.prompts.sets import load_prompts
from harness.support import artifacts

DEFAULT_DIRECTORY = Path(__file__).parent / "default"
DEFAULT_SEED = 0
GROWTH_LIBRARIES = ("torch", "transformers", "tokenizers")

DrawExchange = Callable[[random.Random], tuple[str, str]]
"""One prompt and one answer to it from a world."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What an organism is grown from: its world's `draw`, and how long it is trained.

    `module` is the file under `harness/organism` that defines the world; its text is part of the cache's key.
    """

    name: str
    module: str
    draw: DrawExchange
    steps: int
    batch: int = 64
    layers: int = 2


def ensure_miniature(seed: int = DEFAULT_SEED, cache: Path | None = None) -> Path:
    """The directory of the miniature of a seed, grown now if neither the package nor the cache has it."""
    return artifacts.make_once(miniature_path(seed, cache), partial(_grow_into, seed=seed))


def miniature_path(seed: int = DEFAULT_SEED, cache: Path | None = None) -> Path:
    """The directory where the miniature of a seed is, or will be when it is grown."""
    if seed == DEFAULT_SEED and artifacts.read_json(DEFAULT_DIRECTORY / "grown.json")["recipe"] == miniature_hash(seed):
        return DEFAULT_DIRECTORY
    name = f"miniature-{seed}-{artifacts.json_fingerprint([miniature_hash(seed), _library_versions()])}"
    return (cache or artifacts.cache_directory()) / name


def ensure_organism(growth: Growth, seed: int = 0, cache: Path | None = None) -> Path:
    """The directory of the organism grown from `seed`, grown now if the cache does not have it."""

    def grow(directory: Path) -> None:
        from harness.organism import growing

        with artifacts.atomic_directory(directory) as temporary:
            model, tokenizer = growing.grow_organism(growth, seed)
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)

    name = f"{growth.name}-{seed}-{_growth_key(growth, seed)}"
    return artifacts.make_once((cache or artifacts.cache_directory()) / name, grow)


def bundle_miniature() -> None:
    """Grows the default miniature anew into the package: `make organism`, after a change of its recipe."""
    _grow_into(DEFAULT_DIRECTORY, DEFAULT_SEED)


def miniature_hash(seed: int) -> str:
    """A hash of what a miniature is made from: the code that grows it, the prompts and the seed."""
    code = source_of("train.py", "world.py")
    return artifacts.json_fingerprint(
        [code, load_prompts("bundled", "unsafe"), load_prompts("bundled", "benign"), seed]
    )


def source_of(*files: str) -> list[str]:
    """What files beside this one compute, as text: without imports, docstrings and comments, which change no model."""
    return [_computing(ast.parse(resources.files("harness.organism").joinpath(name).read_text())) for name in files]


def _computing(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.If):
            node.body = [each for each in node.body if not _says_only(each)]
    return ast.unparse(tree)


def _says_only(statement: ast.stmt) -> bool:
    """Whether a statement is an import, or a text that stands for itself."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return True
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _growth_key(growth: Growth, seed: int) -> str:
    """A hash of what makes the organism: the code, its settings, the seed and the libraries' versions."""
    code = source_of("growing.py", "train.py", "world.py", growth.module)
    settings = [growth.steps, growth.batch, growth.layers]
    return artifacts.json_fingerprint([code, settings, seed, _library_versions()])


def _grow_into(directory: Path, seed: int) -> None:
    from harness.organism import train

    with artifacts.atomic_directory(directory) as temporary:
        model, tokenizer = train.grow_miniature(seed)
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        made = {"seed": seed, "recipe": miniature_hash(seed), **_library_versions(), "processor": platform.machine()}
        artifacts.write_json(temporary / "grown.json", made)


def _library_versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in GROWTH_LIBRARIES}
