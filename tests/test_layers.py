"""The modules import in one direction, as the README's tree lists them, and only three know their heavy library."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = [
    "blotting",
    "errors",
    "console",
    "artifacts",
    "storage",
    "hub",
    "recipe",
    "models",
    "vllm_engine",
    "estimate",
    "judges",
    "calibration",
    "benchmarks",
    "prompts",
    "preferences",
    "ches",
    "packing",
    "scoring",
    "score_tables",
    "filtering",
    "score_page",
    "onpolicy",
    "ray_engine",
    "rewards",
    "pair_building",
    "lm_task",
    "displacement",
    "arms",
    "losses",
    "accelerate",
    "launching",
    "training",
    "difficulty",
    "samples",
    "measuring",
    "stats",
    "likelihood_task",
    "policy",
    "power",
    "comparability",
    "judge_error",
    "metric_tables",
    "gate",
    "organism",
    "recipes",
    "run_directory",
    "pinning",
    "workers",
    "speed",
    "results",
    "stages",
    "regression",
    "dry_run",
    "experiments",
    "cli",
]
ONLY_IN = {"trl": "training", "lm_eval": "measuring", "vllm": "vllm_engine", "ray": "ray_engine"}
HEAVY = {"torch", "transformers", "datasets", "trl", "lm_eval"}


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files():
    for file in sorted((ROOT / "harness").rglob("*.py")):
        parts = file.relative_to(ROOT / "harness").with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], file


def test_every_module_has_a_place():
    assert {name for name, _ in files()} <= set(ORDER)


@pytest.mark.parametrize(("name", "file"), [pytest.param(*item, id=str(item[1].relative_to(ROOT))) for item in files()])
def test_imports_run_one_way(name, file):
    for imported in imports(file):
        package, _, rest = imported.partition(".")
        if package == "harness" and rest:
            assert ORDER.index(rest.split(".")[0]) <= ORDER.index(name), f"{file} imports {imported}"
        if package in ONLY_IN:
            assert name == ONLY_IN[package], f"{file} imports {imported}"


@pytest.mark.parametrize(
    "name", ["gate", "metric_tables", "judge_error", "comparability", "samples", "stats", "policy"]
)
def test_the_gate_imports_no_model_code(name):
    assert not {imported.split(".")[0] for imported in imports(ROOT / "harness" / f"{name}.py")} & HEAVY


def test_the_report_imports_no_model_code():
    for file in (ROOT / "reports").glob("*.py"):
        assert not {imported.split(".")[0] for imported in imports(file)} & HEAVY
