"""The rooms import in one direction, and each heavy library has its file."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ORDER = [
    "harness/support",
    "harness/models",
    "harness/prompts",
    "harness/judges",
    "harness/organism",
    "harness/recipes",
    "harness/workers",
    "harness/preferences",
    "harness/scoring",
    "harness/evaluation",
    "harness/training",
    "harness/smollm2",
    "harness/displacement",
    "harness/forecast",
    "harness/labeling",
    "harness/readers",
    "harness/gate",
    "harness/handoff",
    "reports",
    "harness/run",
    "harness/experiments",
    "harness/cli",
]
FACES = {"__init__", "__main__"}
"""What lies in no room: what `import harness` gives, and where the command starts."""
OUTSIDE = {"tasks": "harness/evaluation"}
"""What is laid into lm-eval, and the highest room that it may look into."""
ONLY_IN = {
    "trl": {"harness/training/trl.py"},
    "lm_eval": {"harness/evaluation/lm_eval.py", "tasks/likelihood.py", "tasks/sampling.py"},
    "vllm": {"harness/models/vllm.py"},
    "ray": {"harness/workers/ray.py"},
    "inspect_ai": {"harness/readers/inspect_logs.py"},
}
HEAVY = {"torch", "transformers", "datasets", "trl", "lm_eval"}
FILES = sorted(
    str(file.relative_to(ROOT)) for folder in ("harness", "reports", "tasks") for file in (ROOT / folder).rglob("*.py")
)


def imports(file: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: str) -> str:
    """The room of a file or of an imported name; of the package's own faces, `harness`."""
    parts = path.replace("/", ".").removesuffix(".py").split(".")
    return "/".join(parts[:2]) if parts[0] == "harness" and parts[1] not in FACES else parts[0]


def test_every_file_lies_in_a_room():
    assert {room(file) for file in FILES} == {*ORDER, *OUTSIDE, "harness"}
    assert {file.stem for file in (ROOT / "harness").glob("*.py")} == FACES


@pytest.mark.parametrize("file", [file for file in FILES if room(file) != "harness"])
def test_imports_run_one_way(file):
    place = ORDER.index(OUTSIDE.get(room(file), room(file)))
    for imported in imports(file):
        package = imported.split(".")[0]
        if package in ("harness", "reports"):
            assert ORDER.index(room(imported)) <= place, f"{file} imports {imported}"
        assert file in ONLY_IN.get(package, {file}), f"{file} imports {imported}"


@pytest.mark.parametrize(
    "file",
    [
        file
        for file in FILES
        if room(file) in ("harness/labeling", "harness/readers", "harness/gate", "harness/handoff", "reports")
    ],
)
def test_the_gate_and_the_reports_import_no_model_code(file):
    assert not {imported.split(".")[0] for imported in imports(file)} & HEAVY
