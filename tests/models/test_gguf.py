"""GGUF files as models: what is converted is what was written, and what cannot be is told in one line."""

import sys

import gguf
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness.models.loading import load_model
from harness.models.paths import ModelPath, locate_model
from harness.support.errors import HarnessError

pytestmark = pytest.mark.slow
HEADS, WIDTH = 2, 32
WORDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abcdefgh", "ab", "Ġ", "Ċ", "!"]
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REFUSAL_DISPLACEMENT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def rotate_as_llama_cpp(weight):
    """Rows of queries and keys as GGUF orders them: the two halves of each head's rotation one after the other."""
    return weight.reshape(HEADS, 2, WIDTH // HEADS // 2, WIDTH).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(model, file, kind=gguf.GGMLQuantizationType.F32, without="", scaling=None, scales=False):
    """The model as a GGUF file; matrices in `kind`, the tensor `without` left out, rotary frequencies scaled."""
    file.parent.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([3, 3, 3, *[1] * (len(WORDS) - 3)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(TEMPLATE)
    if scaling:
        writer.add_rope_scaling_type(scaling)
    if scales:
        writer.add_tensor("rope_freqs.weight", np.ones(8, np.float32))
    for name, weight in model.state_dict().items():
        if name in {"lm_head.weight", without}:
            continue
        short = name.removeprefix("model.layers.0.")
        stored = NAMES[short] if short == name else f"blk.0.{NAMES[short]}"
        values = weight.numpy().astype(np.float32)
        if "q_proj" in name or "k_proj" in name:
            values = rotate_as_llama_cpp(values)
        if values.ndim == 1 or kind == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(stored, values)
        else:
            writer.add_tensor(stored, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_the_converted_model_is_the_one_that_was_written(model, tmp_path):
    path = locate_model(str(write_gguf(model, tmp_path / "tiny.gguf")))
    read, tokenizer = load_model(path)
    for name, weight in model.state_dict().items():
        assert torch.equal(read.state_dict()[name], weight), name
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer("ab", add_special_tokens=False)["input_ids"] == [WORDS.index("ab")]
    assert tokenizer.eos_token == "<|im_end|>"


def test_quantized_weights_come_back_as_coarse_as_they_were_made(model, tmp_path):
    kind = gguf.GGMLQuantizationType.Q8_0
    read, _ = load_model(str(write_gguf(model, tmp_path / "tiny.gguf", kind)))
    given = model.model.embed_tokens.weight.detach().numpy()
    expected = gguf.quants.dequantize(gguf.quants.quantize(given, kind), kind)
    assert read.dtype == torch.float32
    assert np.array_equal(read.model.embed_tokens.weight.detach().numpy(), expected)
    assert not np.array_equal(expected, given)


def test_a_file_is_converted_once_and_named_by_its_content(model, tmp_path, capsys):
    file = write_gguf(model, tmp_path / "tiny.gguf")
    first = locate_model(str(file))
    assert "Widening tiny.gguf to float32" in capsys.readouterr().err
    assert locate_model(str(file)) == first
    assert "Widening" not in capsys.readouterr().err
    assert str(first).startswith("tiny.gguf@")
    other = write_gguf(model, tmp_path / "again" / "tiny.gguf", gguf.GGMLQuantizationType.Q8_0)
    assert locate_model(str(other)).content != first.content


def test_what_cannot_be_read_is_told_and_leaves_nothing(model, tmp_path, monkeypatch):
    whole = write_gguf(model, tmp_path / "tiny.gguf")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(HarnessError, match=r"broken.gguf: cannot be read as a language model .*Give a checkpoint"):
        locate_model(str(broken))
    part = tmp_path / "tiny-00001-of-00002.gguf"
    part.write_bytes(whole.read_bytes())
    with pytest.raises(HarnessError, match=r"00002.gguf: is one part of a GGUF file. Join the parts"):
        locate_model(str(part))
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr("harness.models.gguf.util.find_spec", lambda _: None)
    with pytest.raises(HarnessError, match=r"the package gguf is not installed. pip install '.\[gguf\]'"):
        locate_model(str(whole))
    assert not [*(tmp_path / "cache").glob("*/config.json")]


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"without": "model.layers.0.mlp.up_proj.weight"}, r"lacks? .*mlp.up_proj.weight"),
        ({"scaling": gguf.RopeScalingType.YARN}, r"scales its rotary frequencies \(llama.rope.scaling.type\)"),
        ({"scales": True}, r"scales its rotary frequencies \(rope_freqs.weight\)"),
    ],
)
def test_a_file_that_would_become_another_model_is_refused(model, tmp_path, how, told):
    with pytest.raises(HarnessError, match=f"tiny.gguf: .*{told}"):
        locate_model(str(write_gguf(model, tmp_path / "tiny.gguf", **how)))
    assert not [*(tmp_path / "cache").glob("*/config.json")]


def test_a_file_that_says_it_scales_nothing_is_read(model, tmp_path):
    assert locate_model(str(write_gguf(model, tmp_path / "tiny.gguf", scaling=gguf.RopeScalingType.NONE)))


def test_what_lies_beside_a_file_has_no_say(model, tmp_path):
    file = write_gguf(model, tmp_path / "tiny.gguf")
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/other"}')
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.py", null]}}')
    read, _ = load_model(str(file))
    assert torch.equal(read.state_dict()["model.norm.weight"], model.state_dict()["model.norm.weight"])


@pytest.mark.parametrize("name", ["absent.gguf", "org/absent.gguf", "./absent.GGUF"])
def test_a_gguf_file_that_is_not_there_is_no_hub_id(name):
    with pytest.raises(HarnessError, match=r"absent.\w+: no such GGUF file"):
        locate_model(name)


def test_elsewhere_it_is_loaded_by_its_directory(model, tmp_path):
    path = locate_model(str(write_gguf(model, tmp_path / "tiny.gguf")))
    assert path.source == path.directory
    assert ModelPath("here", f"org/name@{'0' * 40}").source == f"org/name@{'0' * 40}"
