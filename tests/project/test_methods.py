"""The page of methods: its lines of recipes load, are those of the packaged recipe, and each paper has a row."""

import re
from pathlib import Path

import pytest
import yaml

from harness.recipes.loading import load_recipe
from harness.recipes.schema import Arm

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()
LINES = re.findall(r"`(\w+: \{[^`]+\})`", PAGE)
ARMS = {name: Arm.model_validate(keys) for line in LINES for name, keys in yaml.safe_load(line).items()}


def test_every_method_that_is_here_is_an_arm_of_the_packaged_recipe():
    packaged = load_recipe("mitigations").arms
    assert len(ARMS) >= 13
    assert {name: packaged.get(name) for name in ARMS} == ARMS


@pytest.mark.parametrize(
    "paper",
    [
        "2505.23316", "2505.23761", "2505.18830", "2505.16869", "2505.12435", "2505.11595", "2505.05465", "2505.02363",
        "2502.09650", "2502.05773", "2501.03884", "2405.19316", "2502.07599", "2412.17696", "2505.04560", "2502.10505",
        "2505.19770",
    ],
)  # fmt: skip
def test_each_paper_of_the_list_has_a_row(paper):
    assert re.search(rf"^\|.*\b{re.escape(paper)}\b", PAGE, re.MULTILINE)
