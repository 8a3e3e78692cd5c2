"""What of the backend vLLM can be told without it."""

import subprocess
import sys
from itertools import islice

import pytest
from transformers import AutoConfig

from harness.evaluation.lm_eval import AskedPrompts, evaluate_model
from harness.models.loading import stop_options
from harness.models.sampling import sample_on_vllm
from harness.models.vllm import llm_options, request_seeds
from harness.recipes.loading import load_recipe
from harness.recipes.schema import EvaluationSettings
from harness.run.regression import run_regression
from harness.support.errors import HarnessError


@pytest.fixture
def no_vllm(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_a_missing_vllm_is_told_before_any_work(no_vllm, tmp_path, micro):
    chosen = load_recipe("miniature", [f"model={micro}", "backend=vllm"])
    with pytest.raises(HarnessError) as error:
        run_regression(chosen, tmp_path / "run")
    assert "backend: vLLM is not installed. pip install '.[vllm]' in a checkout" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_backend_that_is_none_is_refused():
    assert load_recipe("miniature").backend == "hf"
    with pytest.raises(HarnessError, match="backend: must be 'hf', 'vllm' or 'api', not "):
        load_recipe("miniature", ["backend=sglang"])


def test_the_key_that_was_called_engine_is_told_its_name_of_now(tmp_path):
    with pytest.raises(HarnessError, match="unknown key 'engine'. It is called 'backend' now"):
        load_recipe("miniature", ["engine=vllm"])
    (tmp_path / "old.yaml").write_text("name: old\nmodel: m\nengine: hf\narms: {raw: {}}\n")
    with pytest.raises(HarnessError, match="It is called 'backend' now"):
        load_recipe(str(tmp_path / "old.yaml"))
    with pytest.raises(HarnessError, match="unknown key 'training.engine'. There are: "):
        load_recipe("miniature", ["training.engine=vllm"])


@pytest.mark.parametrize(
    ("longest", "new_tokens", "expected"),
    [(40, 64, 104), (448, 64, 512), (449, 64, 512), (9000, 64, 512)],  # the micro model has 512 positions
)
def test_the_context_is_what_is_needed_and_the_model_has(micro, longest, new_tokens, expected):
    options = llm_options(AutoConfig.from_pretrained(micro), longest, new_tokens)
    assert (options["max_model_len"], options["dtype"]) == (expected, "float32")


def test_requests_have_seeds_of_their_own_that_repeat():
    first, again, other = (list(islice(request_seeds(seed), 100)) for seed in (0, 0, 1))
    assert first == again
    assert len({*first, *other}) == 200


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        (2, {}),
        ([2, 9], {}),
        (9, {"eos_token_id": [9, 2]}),
        ([8, 9], {"eos_token_id": [8, 9, 2]}),
        (None, {"eos_token_id": [2]}),
    ],
)
def test_generation_also_stops_at_the_tokenizers_end(published, expected, tokenizer):
    from transformers import GenerationConfig

    assert tokenizer.eos_token_id == 2
    assert stop_options(GenerationConfig(eos_token_id=published), tokenizer) == expected


def test_answers_as_long_as_the_context_are_told(micro, tmp_path):
    settings = EvaluationSettings(max_new_tokens=512)
    with pytest.raises(HarnessError, match="512 tokens leave no room for a prompt"):
        evaluate_model(str(micro), tmp_path / "eval", settings, AskedPrompts("bundled", "lexical", 0))


def test_a_prompt_as_long_as_the_context_is_told(micro):
    with pytest.raises(HarnessError, match="leaves no room for an answer"):
        sample_on_vllm(str(micro), ["steal " * 600], temperature=1.0, max_new_tokens=8, seed=0)


@pytest.mark.slow
def test_choosing_no_vllm_imports_none():
    code = "import sys, harness.run.regression, harness.evaluation.lm_eval; assert 'vllm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
