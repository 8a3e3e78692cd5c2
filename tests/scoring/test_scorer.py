"""Scores against a float64 reference that takes one answer at a time, on several architectures; streaming, resuming."""

from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from transformers import (
    BloomConfig,
    Llama4TextConfig,
    LlamaConfig,
    MambaConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from harness.preferences.tokens import Tokens
from harness.scoring import ches, packing, streaming
from harness.scoring import scorer as scorer_module
from harness.scoring.filtering import filter_lowest
from harness.scoring.packing import build_trie
from harness.scoring.scorer import Scorer, cut_windows, pack_pairs, score
from harness.scoring.streaming import score_file, score_window, weights_mark
from harness.support.errors import HarnessError
from helpers.devices import rename_device
from helpers.preference_rows import (
    CONFIGS,
    CONVERSATION,
    GROUPED,
    PLAIN,
    assistant,
    conversations,
    lines,
    make,
    ragged_pairs,
    tokenizer,
    user,
)


@torch.no_grad()
def reference(model, pair, padding=None, pad=5):
    """Definitions 2 and 3, one answer a forward pass, with `pad` padding tokens on one side or none.

    With each measure, the size of the terms it is the difference (or the signed sum) of.
    """
    sums, lasts = [], []
    for answer in (pair.chosen, pair.rejected):
        ids = pair.prompt + answer
        before, after = (pad if padding == side else 0 for side in ("left", "right"))
        inputs = {
            "input_ids": [0] * before + ids + [0] * after,
            "attention_mask": [0] * before + [1] * len(ids) + [0] * after,
            "position_ids": [0] * before + list(range(len(ids) + after)),
        }
        states = model(**{name: torch.tensor([row]) for name, row in inputs.items()}, output_hidden_states=True)
        hidden = states.hidden_states[-1][0, before : before + len(ids)]
        sums.append(hidden[len(pair.prompt) - 1 : -1].sum(0))
        lasts.append(hidden[-1])
    (plus, minus), n, m = sums, len(pair.chosen), len(pair.rejected)
    crossed, square, last = plus @ minus, plus @ plus, lasts[0] @ lasts[1]
    measures = {
        "ches": (crossed - square, crossed.abs() + square),
        "ln_ches": (crossed / (n * m) - square / n**2, crossed.abs() / (n * m) + square / n**2),
        "last_hidden_inner_product": (last, lasts[0].norm() * lasts[1].norm()),
    }
    return {name: (float(value), float(size)) for name, (value, size) in measures.items()}


def worst(ours, theirs):
    """The largest error relative to the value, or to 1 % of its terms where they nearly cancel.

    Where they do, float32 hidden states cannot give more: the one-at-a-time script in float32 is off as far there.
    """
    errors = []
    for row, exact in zip(ours, theirs, strict=True):
        errors += [abs(row[name] - value) / max(abs(value), size / 100) for name, (value, size) in exact.items()]
    return max(errors)


def same(rows):
    """Scores as a reference for `worst`."""
    return [{name: (row[name], abs(row[name])) for name in ("ches", "ln_ches")} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", CONFIGS)
def test_float32_is_the_float64_reference(name, attention, capsys):
    model, data = make(CONFIGS[name], attention), ragged_pairs(40)
    ours = Scorer(model, budget=700)(data)
    assert "padded" not in capsys.readouterr().err  # the fast pass, not a fallback
    assert worst(ours, [reference(model.double(), pair) for pair in data]) <= 1e-5


@pytest.mark.slow
def test_a_model_that_calls_another_part_its_decoder_is_scored_as_any():
    """Llama 4's `get_decoder` gives the whole model, whose output has logits in place of hidden states."""
    config = Llama4TextConfig(**GROUPED, head_dim=12, intermediate_size_mlp=64, num_local_experts=2)
    model, data = make(config), ragged_pairs(8)
    ours = Scorer(model)(data)
    assert worst(ours, [reference_without_mask(model.double(), pair) for pair in data]) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "mistral with a short window", "gpt_neox"])
@pytest.mark.parametrize("padding", ["left", "right"])
def test_padding_makes_no_difference(name, padding):
    model, data = make(CONFIGS[name]), ragged_pairs(8)
    ours = Scorer(model)(data)
    assert worst(ours, [reference(model.double(), pair, padding) for pair in data]) <= 1e-5


@pytest.mark.slow
def test_the_tokenizers_padding_side_makes_no_difference():
    model, rows = make(CONFIGS["llama"]), Dataset.from_list([CONVERSATION] * 3)
    tables = []
    for side in ("left", "right"):
        made = tokenizer()
        made.padding_side = side
        tables.append(score(rows, model, made)["ches"][:])
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_bfloat16_orders_pairs_as_float32():
    model, data = make(CONFIGS["llama"]), ragged_pairs(500, seed=3)
    exact = Scorer(model)(data)
    rough = Scorer(model.to(torch.bfloat16))(data)
    for name in ("ches", "ln_ches"):
        assert all(row["reason"] is None for row in rough)
        assert spearmanr([row[name] for row in exact], [row[name] for row in rough]).statistic >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "attention"),
    [
        (BloomConfig(vocab_size=270, hidden_size=48, n_layer=2, n_head=4), "eager"),  # ALiBi, built from the mask
        (MambaConfig(vocab_size=270, hidden_size=32, num_hidden_layers=2), "eager"),  # recurrent
        (LlamaConfig(**{**GROUPED, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
                        "max_position_embeddings": 64}), "sdpa"),  # positions stretch with the longest of a batch
    ],
    ids=["alibi", "recurrent", "dynamic rope"],
)  # fmt: skip
def test_other_architectures_fall_back_and_say_so(config, attention, capsys):
    model, data = make(config, attention), ragged_pairs(6, longest=20)
    ours = Scorer(model)(data)
    assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("scoring")]) == 1
    model = model.double() if attention == "sdpa" else model
    assert worst(ours, [reference_without_mask(model, pair) for pair in data]) <= 2e-4


@torch.no_grad()
def reference_without_mask(model, pair):
    states = [model(input_ids=torch.tensor([pair.prompt + answer]), output_hidden_states=True).hidden_states[-1][0]
              for answer in (pair.chosen, pair.rejected)]  # fmt: skip
    plus, minus = (hidden[len(pair.prompt) - 1 : -1].double().sum(0) for hidden in states)
    return {"ches": (float(plus @ minus - plus @ plus), float((plus @ minus).abs() + plus @ plus))}


@pytest.mark.slow
def test_an_encoder_decoder_is_refused():
    model = T5ForConditionalGeneration(T5Config(vocab_size=50, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2))
    with pytest.raises(HarnessError, match="is an encoder-decoder"):
        Scorer(model)


@pytest.mark.slow
def test_a_body_that_is_not_what_the_unembedding_sees_is_refused():
    model = make(CONFIGS["llama"])
    model.lm_head = torch.nn.Sequential(model.lm_head)  # stays an unembedding, but a wrapper halves what it gets
    model.lm_head.register_forward_pre_hook(lambda _, arguments: (arguments[0] / 2,))
    with pytest.raises(HarnessError, match="changes its hidden states before the unembedding"):
        Scorer(model)


@pytest.mark.slow
def test_each_distinct_token_is_computed_once_and_no_logits_are():
    """Four pairs of one prompt, answers that begin alike: by hand 3 + 2 + (1 + 1 + 2) + 1 = 10 distinct tokens."""
    model = make(CONFIGS["llama"])
    scorer = Scorer(model)
    seen = []
    model.model.embed_tokens.register_forward_hook(lambda _, arguments, __: seen.append(arguments[0].numel()))
    model.lm_head.register_forward_hook(lambda *_: pytest.fail("the vocabulary projection ran"))
    prompt = [10, 11, 12]
    scorer([Tokens(prompt, [20, 21, 30], [20, 21, 31]), Tokens(prompt, [20, 21, 32, 33], [40])])
    assert seen == [10]


sequences = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8).map(tuple), min_size=1, max_size=12)


@given(sequences)
def test_a_trie_has_one_node_for_each_prefix_and_leads_back_to_every_sequence(data):
    laid = build_trie(data)
    assert len(laid.tokens) == len({sequence[:end] for sequence in data for end in range(1, len(sequence) + 1)})
    for sequence in data:
        path = laid.paths[sequence]
        assert tuple(laid.tokens[path].tolist()) == sequence
        assert laid.depths[path].tolist() == list(range(len(sequence)))


@given(st.integers(0, 999), st.integers(1, 400))
@settings(max_examples=30)
def test_packs_hold_every_pair_once_and_keep_to_the_budget(seed, budget):
    data = dict(enumerate(ragged_pairs(12, seed)))
    groups = pack_pairs(data, budget)
    assert sorted(place for group in groups for place in group) == list(data)
    for group in groups:
        distinct = len(
            build_trie(tuple(data[p].prompt + a) for p in group for a in (data[p].chosen, data[p].rejected)).tokens
        )
        assert len(group) == 1 or distinct <= budget


@pytest.mark.slow
def test_buckets_padded_as_on_a_gpu_give_the_same_scores(monkeypatch):
    """Off the CPU, segments of like sizes are attended together, padded: the same code with the device renamed."""
    model, data = make(CONFIGS["gemma2"]), ragged_pairs(16)
    plain = Scorer(model)(data)
    rename_device(monkeypatch, packing)
    assert worst(Scorer(model)(data), same(plain)) <= 1e-5


@pytest.mark.slow
def test_out_of_memory_halves_the_budget_and_goes_on(capsys, monkeypatch):
    model, data = make(CONFIGS["llama"]), ragged_pairs(30)
    expected = Scorer(model)(data)

    def cramped(body, sequences):
        if sum(map(len, sequences)) > 900:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return packing.trie_pass(body, sequences)

    monkeypatch.setattr(scorer_module, "choose_pass", lambda _: cramped)
    scorer = Scorer(model, budget=4000)
    assert worst(scorer(data), same(expected)) <= 1e-5
    assert scorer.budget < 4000
    assert "the device ran out of memory: going on with 2000 tokens a pass" in capsys.readouterr().err


@pytest.mark.slow
def test_a_pair_too_long_for_the_device_alone_gets_a_reason(monkeypatch):
    def never(body, sequences):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(scorer_module, "choose_pass", lambda _: never)
    assert {row["reason"] for row in Scorer(make(CONFIGS["llama"]))(ragged_pairs(3))} == {
        "too long for the device's memory"
    }


@pytest.mark.slow
def test_other_failures_are_not_taken_for_memory(monkeypatch):
    def broken(body, sequences):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(scorer_module, "choose_pass", lambda _: broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        Scorer(make(CONFIGS["llama"]))(ragged_pairs(1))


@pytest.mark.slow
def test_the_model_is_left_as_it_was():
    model = make(CONFIGS["llama"]).train()
    Scorer(model)(ragged_pairs(2))
    assert model.training
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.slow
def test_pairs_the_model_cannot_take_get_reasons():
    scorer = Scorer(make(CONFIGS["llama"]))
    rows = scorer([Tokens([7] * 500, [8] * 20, [9]), Tokens([7], [999], [9]), Tokens([7], [8], [9])])
    assert [row["reason"] for row in rows] == ["longer than the model's 512 tokens",
                                               "a token id outside the model's vocabulary", None]  # fmt: skip
    assert "ches" not in rows[0]
    assert rows[0]["prompt_tokens"] == 500


@pytest.mark.slow
def test_states_that_are_not_finite_give_a_reason():
    model = make(CONFIGS["llama"])
    scorer = Scorer(model)
    model.model.norm.weight.data[0] = float("inf")
    assert scorer(ragged_pairs(1))[0]["reason"] == "the model's hidden states are not finite"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_coefficients_come_from_the_models_own_probabilities(name):
    model, data = make(CONFIGS[name]), ragged_pairs(3)
    rows = Scorer(model, with_coefficients=True)(data)
    for pair, row in zip(data, rows, strict=True):
        residuals = []
        for answer in (pair.chosen, pair.rejected):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([pair.prompt + answer])).logits[0, len(pair.prompt) - 1 : -1]
            residuals.append(torch.nn.functional.one_hot(torch.tensor(answer), 270) - logits.softmax(-1))
        plus, minus = residuals[0] @ residuals[0].T, residuals[0] @ residuals[1].T
        expected = [plus.mean(), minus.mean(), (plus > 0).float().mean(), (minus > 0).float().mean()]
        assert [row[column] for column in ches.COEFFICIENTS] == pytest.approx([float(e) for e in expected], abs=2e-3)


@pytest.fixture(scope="module")
def model():
    return make(CONFIGS["llama"])


@pytest.mark.slow
def test_score_joins_a_row_to_every_pair(model):
    rows = [*conversations(5), {**CONVERSATION, "chosen": [], "hazard": "a"}]
    table = score(Dataset.from_list(rows), model, tokenizer())
    assert list(table["hazard"]) == [row["hazard"] for row in rows]
    assert list(table["pair_id"]) == [f"row-{i:08d}" for i in range(6)]
    assert set(ches.MEASURES) <= set(table.column_names)
    assert list(table["reason"]) == [None] * 5 + ["empty chosen answer"]
    assert table["ches"][5] is None
    assert score(table, model, tokenizer())["ches"][:] == table["ches"][:]  # scored tables can be scored again


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [True, False])
def test_a_text_prompt_beside_messages_becomes_what_trl_trains_on(model, repeats):
    """As UltraFeedback has them: DPOTrainer takes what `score` gives, and makes the tokens of it that were scored."""
    from trl.trainer.dpo_trainer import DPOTrainer

    before = [[user(f"Name river {i}.")] if repeats else [] for i in range(4)]
    rows = [{"prompt": f"Name river {i}.", "chosen": [*turns, assistant("The Rhine." + "!" * i)],
             "rejected": [*turns, assistant("No.")], "score": 8.0} for i, turns in enumerate(before)]  # fmt: skip
    made, scored = tokenizer(), score(Dataset.from_list(rows), model, tokenizer())
    assert scored.column_names[:4] == ["prompt", "chosen", "rejected", "score"]
    assert scored[1]["prompt"] == [user("Name river 1.")]
    kept = filter_lowest(scored, 3)
    arguments = SimpleNamespace(dataset_num_proc=None, max_length=None, truncation_mode="keep_start")
    trained = DPOTrainer._prepare_dataset(SimpleNamespace(_tokenizer=made), kept, made, arguments, "train")
    for row in trained:
        lengths = [len(row[name]) for name in ("prompt_ids", "chosen_ids", "rejected_ids")]
        assert lengths == [row[name] for name in ("prompt_tokens", "chosen_tokens", "rejected_tokens")]


@pytest.mark.slow
def test_a_data_sets_own_columns_are_kept_and_its_other_columns_named(model, capsys):
    rows = [{**row, "reason": "good", "given_reason": 1} for row in conversations(3)]
    table = score(Dataset.from_list(rows), model, tokenizer())
    assert (table["reason"][:], table["given_given_reason"][:], table["given_reason"][:]) == (
        [None] * 3,
        ["good"] * 3,
        [1] * 3,
    )
    assert "reason (given_given_reason)" in capsys.readouterr().err
    with pytest.raises(
        HarnessError, match="the data set: has no columns 'chosen' and 'rejected'; it has: prompt, answer"
    ):
        score(Dataset.from_list([{"prompt": "a", "answer": "b"}]), model, tokenizer())


@pytest.mark.slow
def test_messages_and_text_do_not_mix(model):
    rows = [{"pair_id": str(i), **row} for i, row in enumerate([CONVERSATION, PLAIN, CONVERSATION])]
    ((_, window),) = cut_windows(rows)
    scored = score_window(window, Scorer(model), tokenizer())
    assert [row.scores["reason"] for row in scored] == [None, "plain text in a table of messages", None]


@pytest.mark.slow
def test_no_row_that_can_be_scored_is_bad_input(model):
    with pytest.raises(HarnessError, match=r"no pair that can be scored.*3 of 3 rows: cannot be tokenised"):
        score(Dataset.from_list(conversations(3)), model, tokenizer(template=None))


@pytest.mark.slow
def test_score_file_keeps_every_row_in_order(tmp_path, model, monkeypatch):
    monkeypatch.setattr(scorer_module, "WINDOW", 4)
    data = conversations(10)
    mixed = [
        *data[:3],
        "nonsense",
        *data[3:],
        {"prompt": 3},
        {**data[0], "hazard": 7},
        {**data[1], "extra": {"a": [1]}},
    ]
    summary = score_file(lines(tmp_path / "in.jsonl", mixed), model, tokenizer(), tmp_path / "out.parquet")
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (summary.rows, summary.scored) == (14, 12)
    assert summary.reasons == {"not JSON": 1, "no chosen answer": 1}
    assert [row["pair_id"] for row in rows] == [f"row-{i:08d}" for i in range(14)]
    assert (rows[3]["reason"], rows[3]["unreadable"], rows[3]["ches"]) == ("not JSON", "nonsense\n", None)
    assert rows[11]["unreadable"] == '{"prompt": 3}'
    assert [row["hazard"] for row in rows[-3:]] == [None, "7", "b"]  # a column of two types becomes text
    assert rows[-1]["extra"] == {"a": [1]}
    expected = score(Dataset.from_list(data), model, tokenizer())["ches"][:]
    assert [row["ches"] for row in rows[:3] + rows[4:11]] == pytest.approx(expected, rel=1e-6)
    assert not (tmp_path / "out.parquet.parts").exists()


@pytest.mark.slow
def test_a_killed_run_continues_and_ends_with_the_same_file(tmp_path, model, monkeypatch):
    monkeypatch.setattr(scorer_module, "WINDOW", 4)
    source = lines(tmp_path / "in.jsonl", ["{", *conversations(30)])
    score_file(source, model, tokenizer(), tmp_path / "whole.parquet")
    killed, whole = tmp_path / "killed.parquet", score_window
    for survive in (3, 2):  # killed twice
        done = []

        def dying(*arguments, survive=survive, done=done):
            if len(done) == survive:
                raise KeyboardInterrupt
            done.append(1)
            return whole(*arguments)

        monkeypatch.setattr(streaming, "score_window", dying)
        with pytest.raises(KeyboardInterrupt):
            score_file(source, model, tokenizer(), killed)
    assert not killed.exists()
    windows = []
    monkeypatch.setattr(streaming, "score_window", lambda *a: windows.append(1) or whole(*a))
    summary = score_file(source, model, tokenizer(), killed)
    assert len(windows) == 3  # 31 rows are 8 windows, 5 were there
    assert summary.reasons == {"not JSON": 1}
    assert killed.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.slow
def test_parts_of_another_run_are_refused(tmp_path, model, monkeypatch):
    source, out = lines(tmp_path / "in.jsonl", conversations(4)), tmp_path / "out.parquet"
    monkeypatch.setattr(streaming, "score_window", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        score_file(source, model, tokenizer(), out)
    for change in ({"max_length": 9}, {"model": make(CONFIGS["llama"], seed=1)}):
        arguments = {"model": model, **change}
        with pytest.raises(HarnessError, match="holds the parts of a different run"):
            score_file(source, arguments.pop("model"), tokenizer(), out, **arguments)


@pytest.mark.slow
def test_an_output_that_cannot_be_written_is_found_before_scoring(tmp_path, model, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(streaming, "score_window", lambda *a: pytest.fail("scored"))
    with pytest.raises(HarnessError, match="cannot be written"):
        score_file(
            lines(tmp_path / "in.jsonl", conversations(2)), model, tokenizer(), tmp_path / "file" / "out.parquet"
        )


@pytest.mark.slow
def test_the_mark_of_the_weights_changes_with_any_weight():
    model = make(CONFIGS["llama"])
    before = weights_mark(model)
    assert before == weights_mark(make(CONFIGS["llama"]))
    model.model.layers[2].mlp.up_proj.weight.data[5, 5] += 1e-3
    assert weights_mark(model) != before


@pytest.mark.parametrize(
    ("lengths", "ends"),
    [
        ([10, 10, 20, 30, 30, 90, 120], [3, 5, 6, 7]),  # three; two, as 3 x 90 is too much; 90, as 2 x 120 is; 120
        ([50, 10, 60], [2, 3]),  # two of 50, padded; with the third, 3 x 60
        ([1] * 7, [3, 6, 7]),
        ([], []),
    ],
)
def test_padded_batches_by_hand(monkeypatch, lengths, ends):
    """Of three sequences at most, and 100 tokens."""
    monkeypatch.setattr(packing, "PADDED_TOKENS", 100)
    found = [*packing.padded_batches(lengths, 3)]
    assert [part.stop for part in found] == ends
    assert [part.start for part in found] == [0, *ends[:-1]][: len(ends)]
