"""A seed that a generator does not take is told when the recipe is read."""

import pytest

from harness.experiments.any_recipe import load_any_recipe
from harness.support.errors import HarnessError

KEYS = {
    "miniature": ("seeds=[{}]", "seeds=[0,{}]", "pairs.seed={}", "organism_seed={}"),
    "catastrophic": ("seeds=[{}]", "organism_seed={}"),
    "percentiles": ("seeds=[{}]", "organism_seed={}", "sample_seed={}"),
    "selection": ("seeds=[{}]", "probes.seed={}", "tables=[{{temperature: 1, seed: {}}}]"),
}
CASES = [(recipe, key) for recipe, keys in KEYS.items() for key in keys]


@pytest.mark.parametrize(("recipe", "key"), CASES)
def test_a_seed_is_of_32_bits(recipe, key):
    load_any_recipe(recipe, [key.format(2**32 - 1)])
    for bad in (-1, 2**32, 1.5):
        with pytest.raises(HarnessError, match="seed") as told:
            load_any_recipe(recipe, [key.format(bad)])
        assert "\n" not in str(told.value)
