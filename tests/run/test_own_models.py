"""Models under names of their own: the miniature and SmolLM2."""

from harness.cli.options import resolve_own_model
from harness.models.paths import ModelPath
from harness.organism.store import DEFAULT_DIRECTORY
from harness.recipes.schema import OWN_MODELS
from harness.run import own_models


def test_every_own_model_is_found_by_its_name(monkeypatch, tmp_path):
    monkeypatch.setattr(own_models, "ensure_smollm2", lambda: ModelPath("tuned"))
    assert [str(own_models.find_own_model(name)) for name in OWN_MODELS] == [str(DEFAULT_DIRECTORY), "tuned"]
    assert own_models.find_own_model("org/smollm2") is None


def test_a_directory_of_that_name_comes_first(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert resolve_own_model("miniature") == str(DEFAULT_DIRECTORY)
    (tmp_path / "miniature").mkdir()
    assert resolve_own_model("miniature") == "miniature"
    assert resolve_own_model("org/model") == "org/model"
