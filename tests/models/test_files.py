"""What lies in a model's directory: told in one line, before anything is loaded; and weights that are not as saved."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.models.files import check_model_files
from harness.models.paths import locate_model
from harness.support.errors import HarnessError

WEIGHTS = "model.safetensors"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Not found</title></head></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"


def header(tensors, data=b""):
    """A safetensors file by its format: the header's length in eight bytes, the header, the data."""
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text + data


TENSOR = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
WHOLE = header(TENSOR, bytes(8))


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / WEIGHTS).write_bytes(WHOLE)
    return tmp_path


def test_whole_files_are_accepted(directory):
    (directory / "merges.txt").write_text("")
    check_model_files(directory)
    (directory / WEIGHTS).unlink()
    check_model_files(directory, weights=False)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (WEIGHTS, POINTER, "is a Git LFS pointer, not the file itself"),
        ("tokenizer.json", POINTER, "is a Git LFS pointer, not the file itself"),
        ("tokenizer.model", POINTER, "is a Git LFS pointer, not the file itself"),
        (WEIGHTS, PAGE, "is a web page, not the file itself"),
        ("config.json", PAGE, "is a web page, not the file itself"),
        (WEIGHTS, b"", "is empty"),
        ("config.json", b"", "is empty"),
        (WEIGHTS, WHOLE[:-1], f"is cut off: it has {len(WHOLE) - 1} bytes of {len(WHOLE)} at least"),
        (WEIGHTS, WHOLE[:20], "is cut off: it has 20 bytes of"),
        (WEIGHTS, WHOLE[:3], "is cut off"),
        (WEIGHTS, WHOLE + b"more", f"is damaged: it has {len(WHOLE) + 4} bytes, and its header tells of {len(WHOLE)}"),
        (WEIGHTS, b"\x80\x02}q\x00" + bytes(40), "is no safetensors file"),
        (WEIGHTS, header({"a": 1}), "is no safetensors file"),
        (WEIGHTS, header([1]), "is no safetensors file"),
        (WEIGHTS, header({"a": {"data_offsets": ["x", "y"]}}), "is no safetensors file"),
    ],
)
def test_a_file_that_is_not_whole_is_named(directory, name, content, said):
    (directory / name).write_bytes(content)
    with pytest.raises(HarnessError) as told:
        locate_model(str(directory))
    assert said in told.value.cause
    assert told.value.place == str(directory / name)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ({"weight_map": {"a": WEIGHTS, "b": "m-2.safetensors", "c": "m-3.safetensors"}}, "m-2.safetensors and 1 more"),
        ({"weight_map": {"a": 3}}, "has no weight_map"),
        ({"weight_map": [WEIGHTS]}, "has no weight_map"),
        ([], "has no weight_map"),
    ],
)  # fmt: skip
def test_shards_that_the_index_names_have_to_be_there(directory, index, said):
    place = directory / f"{WEIGHTS}.index.json"
    place.write_text(json.dumps(index))
    with pytest.raises(HarnessError, match=said) as told:
        check_model_files(directory)
    assert told.value.place == str(place)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no .safetensors weights"),
        ({"pytorch_model.bin": b"x"}, "pytorch_model.bin is not read: pickled weights can run code"),
        ({"tiny.gguf": b"GGUF"}, "holds no checkpoint but a GGUF file, tiny.gguf. Give the file itself: .*/tiny.gguf"),
    ],
)
def test_weights_of_another_kind_are_told_with_what_to_do(directory, files, said):
    (directory / WEIGHTS).unlink()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    with pytest.raises(HarnessError, match=said):
        locate_model(str(directory))


def test_what_is_no_model_directory_says_what_to_give(directory):
    (directory / "config.json").unlink()
    (directory / "tiny.gguf").write_bytes(b"GGUF")
    for path, said in (
        (directory, "holds no checkpoint but a GGUF file, tiny.gguf"),
        (directory / WEIGHTS, "is a file. Give the checkpoint directory"),
        (directory / "absent", "no such model directory"),
    ):
        with pytest.raises(HarnessError, match=said):
            locate_model(str(path))
    (directory / "tiny.gguf").unlink()
    with pytest.raises(HarnessError, match="holds no config.json"):
        locate_model(str(directory))


# Weights as they were saved


def change_copy(model: Path, place: Path, weights=None, **config) -> str:
    """A copy of a checkpoint with other weights or another configuration."""
    shutil.copytree(model, place)
    if weights is not None:
        save_file(weights(load_file(place / WEIGHTS)), place / WEIGHTS, {"format": "pt"})
    file = place / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return str(place)


def without(name):
    return lambda weights: {each: tensor for each, tensor in weights.items() if each != name}


def added(name, shape):
    return lambda weights: weights | {name: torch.zeros(shape)}


NAN = {"model.norm.weight": torch.full((16,), float("nan"))}
MISFITS = {
    "a tensor is missing": ({"weights": without("model.layers.0.mlp.up_proj.weight")}, "lack .*mlp.up_proj.weight"),
    "too few layers": ({"num_hidden_layers": 3}, r"lack .*layers.1.input_layernorm.weight and 17 more"),
    "too many layers": ({"weights": added("model.layers.1.mlp.up_proj.weight", (32, 16))}, "no place for .*layers.1"),
    "a bias too many": ({"weights": added("model.layers.0.self_attn.q_proj.bias", 16)}, "no place for .*q_proj.bias"),
    "other sizes": ({"intermediate_size": 48}, "another size than .*mlp.down_proj.weight and 2 more"),
    "a smaller vocabulary": ({"vocab_size": 7}, "another size than .*embed_tokens.weight|another size than .*lm_head"),
    "no unembedding": ({"weights": without("lm_head.weight"), "tie_word_embeddings": False}, "lack .*lm_head.weight"),
    "no numbers": ({"weights": lambda weights: weights | NAN}, "not finite in model.norm.weight"),
    "no known architecture": ({"model_type": "foo"}, "cannot be loaded as a causal language model.*`foo`"),
    "a wrong type": ({"num_attention_heads": "four"}, "cannot be loaded as a causal .*num_attention_heads"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", MISFITS)
def test_weights_that_are_not_as_saved_are_refused_in_one_line(kind, micro, tmp_path, capfd):
    from harness.models.loading import load_model

    changes, said = MISFITS[kind]
    place = change_copy(micro, tmp_path / "model", **changes)
    with pytest.raises(HarnessError, match=said) as told:
        load_model(place)
    assert told.value.place == place
    assert "REPORT" not in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_tied_weights_and_what_a_class_can_do_without_are_not_missed(tied, micro, tmp_path, capfd):
    """Saved as transformers saves it: a tied unembedding is not there. Old checkpoints hold rotary frequencies."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from harness.models.loading import load_model

    place = tmp_path / "model"
    shutil.copytree(micro, place)
    config = AutoConfig.from_pretrained(micro, tie_word_embeddings=tied)
    saved = AutoModelForCausalLM.from_config(config)
    saved.save_pretrained(place)
    weights = load_file(place / WEIGHTS)
    assert ("lm_head.weight" in weights) is not tied
    old = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    save_file(weights | old, place / WEIGHTS, {"format": "pt"})
    model, _ = load_model(str(place))
    assert model.lm_head.weight.equal(saved.lm_head.weight)
    assert "left out" not in capfd.readouterr().err


@pytest.mark.slow
def test_weights_of_a_part_that_a_language_model_lacks_are_left_out_with_a_note(micro, tmp_path, capfd):
    from harness.models.loading import load_model

    parts = {"vision_tower.layers.0.weight": torch.ones(2), "model.visual.blocks.0.weight": torch.ones(2)}
    place = change_copy(micro, tmp_path / "model", weights=lambda weights: weights | parts)
    load_model(place)
    assert "left out 2 weights of parts that the model does not have, as model.visual.bl" in capfd.readouterr().err


@pytest.mark.slow
def test_lm_eval_judges_and_reward_models_refuse_them_too(micro, tmp_path):
    """A classifier's head is what a language model's checkpoint lacks."""
    from harness.evaluation.lm_eval import AskedPrompts, evaluate_model
    from harness.judges.fine_tuned import load_judge_backend
    from harness.preferences.rewards import answer_rewards
    from harness.recipes.schema import EvaluationSettings

    one = {"id2label": {"0": "reward"}, "label2id": {"reward": 0}}
    place = change_copy(micro, tmp_path / "model", without("model.layers.0.mlp.up_proj.weight"))
    headless = change_copy(micro, tmp_path / "headless", **one)
    settings = EvaluationSettings(max_new_tokens=4)
    for load, said in (
        (
            lambda: evaluate_model(place, tmp_path / "o", settings, AskedPrompts("bundled", "lexical", 0)),
            "up_proj",
        ),
        (lambda: load_judge_backend(place), "up_proj"),
        (lambda: answer_rewards(headless, ["a?"], [["b", "c"]]), "lack .*score.weight"),
    ):
        with pytest.raises(HarnessError, match=said):
            load()
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_the_model_after_is_looked_at_before_the_one_before_is_measured(micro, directory, monkeypatch):
    from harness.displacement import compare_models

    monkeypatch.setattr(compare_models, "load_model", lambda *_, **__: pytest.fail("loads a model"))
    (directory / WEIGHTS).write_bytes(POINTER)
    with pytest.raises(HarnessError, match="is a Git LFS pointer"):
        compare_models.compare_models(str(micro), str(directory), "absent.jsonl", "bundled")


# Adapters


@pytest.fixture
def adapter(micro, tmp_path):
    """A LoRA adapter of the micro model with weights that change it, and the same merged by peft."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(micro), settings)
    wrapped.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", wrapped.merge_and_unload()


@pytest.mark.slow
def test_an_adapter_is_loaded_on_the_base_that_it_names(adapter, micro):
    from harness.models.loading import load_model

    place, merged = adapter
    model, tokenizer = load_model(str(place))  # it has no tokenizer of its own: the base's
    ids = torch.tensor([tokenizer("How do I steal a car?")["input_ids"]])
    with torch.inference_mode():
        expected, found, base = (each(ids).logits for each in (merged, model, load_model(str(micro))[0]))
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(base, expected, atol=1e-2)


@pytest.mark.slow
def test_an_adapter_that_lacks_a_tensor_or_its_base_is_refused(adapter, micro):
    from harness.models.loading import load_model

    place, _ = adapter
    weights = place / "adapter_model.safetensors"
    kept = weights.read_bytes()
    save_file(dict(sorted(load_file(weights).items())[1:]), weights, {"format": "pt"})
    with pytest.raises(HarnessError, match="lack .*lora_A"):
        load_model(str(place))
    weights.write_bytes(kept)

    told = json.loads((place / "adapter_config.json").read_text())
    for base, said in (
        (None, "does not name its base model"),
        (str(place), "adapter of .*adapter, which cannot be used .is a PEFT adapter"),
        (str(place / "absent"), "adapter of .*absent, which cannot be used .no such model directory"),
    ):
        (place / "adapter_config.json").write_text(json.dumps(told | {"base_model_name_or_path": base}))
        with pytest.raises(HarnessError, match=f"{said}.*merge it: AutoPeftModelForCausalLM"):
            load_model(str(place))
    shutil.copy(Path(micro) / WEIGHTS, place)
    with pytest.raises(HarnessError, match="holds a whole model and an adapter"):
        locate_model(str(place))


@pytest.mark.slow
def test_a_run_says_how_to_merge_an_adapter_before_anything_is_written(adapter, tmp_path):
    from harness.recipes.loading import load_recipe
    from harness.run.regression import run_regression

    chosen = load_recipe("miniature", [f"model={adapter[0]}"])
    with pytest.raises(HarnessError, match="is a PEFT adapter.*Merge it: .*merge_and_unload"):
        run_regression(chosen, tmp_path / "run")
    assert not (tmp_path / "run").exists()
