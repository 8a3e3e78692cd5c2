"""What all tests share: their markers, their environment, a random micro model, the command, a browser."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings

from helpers.models import save_random

ROOT = Path(__file__).parents[1]

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# One of torch's threads a process, where a test's own work does not set another number: micro models gain nothing from
# more, two workers of pytest's would be in each other's way, and the threads' number changes the sums.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The processes that a test starts run this checkout's code, from whatever folder and whichever one is installed.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
# How long an example takes, or how slowly they come, says how busy the machine is.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FIXTURES = {"browser": "browser", "cluster": "ray", "tokenizer": "slow", "micro": "slow"}
"""Fixtures, and the marker of every test that uses one."""
NEEDS = {
    "browser": None if CHROMIUM else "no Chromium on this machine (apt-get install chromium)",
    "ray": None if find_spec("ray") else "Ray is not installed: pip install '.[ray]'",
    "serving": None
    if all(map(find_spec, ("fastapi", "openai", "uvicorn")))
    else "`transformers serve` needs more: pip install 'transformers[serving]'",
}
"""Markers, and what is missing here for the tests that have them."""
VERSIONS_SHOWN = ("torch", "transformers", "trl", "lm_eval", "datasets", "accelerate", "peft", "numpy", "pydantic")
SLOWEST_FIRST = (
    "workers/test_ray.py",
    "training/test_trl.py",
    "run/test_regression.py",
    "project/test_gpu_benchmark.py",
    "reports/test_browser.py",
    "prompts/test_published.py",
    "scoring/test_scorer.py",
    "experiments/test_experiments.py",
    "gate/test_gate_simulation.py",
    "project/test_safety.py",
    "run/test_dry_run.py",
    "cli/test_score.py",
    "reports/test_page.py",
    "gate/test_decision.py",
)
"""Begun first, so that the workers end at about the same time."""


def pytest_report_header():
    return "beside " + ", ".join(f"{name} {version(name)}" for name in VERSIONS_SHOWN)


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items):
    for item in items:
        for fixture, marker in FIXTURES.items():
            if fixture in item.fixturenames:
                item.add_marker(marker)
        if not {"slow", "browser", "ray", "long", "vllm"} & {mark.name for mark in item.iter_markers()}:
            item.add_marker("quick")
    folder = Path(__file__).parent
    order = {str(folder / name): place for place, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: order.get(str(item.path), len(order)))


def pytest_runtest_setup(item):
    """What is missing skips a test, and in continuous integration fails it."""
    for marker, missing in NEEDS.items():
        if missing and item.get_closest_marker(marker):
            (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Keeps `make quick` quick: what builds a model, itself or in a fixture, has to be marked as slow."""
    modeling = sys.modules.get("transformers.modeling_utils")
    if modeling is None or item.get_closest_marker("quick") is None:
        return (yield)

    def refuse(*_, **__):
        pytest.fail("builds a model: mark it as slow")

    with mock.patch.object(modeling.PreTrainedModel, "__init__", refuse):
        return (yield)


@pytest.fixture
def command(capfd):
    """The `harness` command in this process: what `helpers.command.harness` returns, without loading all anew."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        from harness.cli import main

        factory, words = logging.getLogRecordFactory(), ["harness", *map(str, arguments)]
        with (
            mock.patch.dict(os.environ, COLUMNS="100"),
            mock.patch.object(sys, "argv", words),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        logging.setLogRecordFactory(factory)
        said = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, said.out, said.err)

    return run


@pytest.fixture(scope="module")
def browser():
    """Chromium; for a module alone, as no other event loop may run in this process until it has ended."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    with sync_playwright() as started, started.chromium.launch(executable_path=CHROMIUM, args=flags) as opened:
        yield opened


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub, which is out of reach."""
    from huggingface_hub import constants

    place = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return place


@pytest.fixture(scope="session")
def tokenizer():
    from harness.organism import train, world
    from harness.prompts.sets import load_prompts

    rows = load_prompts("bundled", "unsafe"), load_prompts("bundled", "benign")
    return train.build_bpe_tokenizer(
        world.world_requests(rows[0], unsafe=True) + world.world_requests(rows[1], unsafe=False)
    )


@pytest.fixture(scope="session")
def micro(tmp_path_factory, tokenizer) -> Path:
    """A randomly initialised Llama of 16 dimensions: it answers gibberish, but quickly."""
    return save_random("llama", tmp_path_factory.mktemp("models") / "micro", tokenizer)
