"""The section 3 and section 5 experiments: equations by hand, and both end to end on the paper's architectures."""

import json
import math

import pytest
import torch
from datasets import Dataset

from harness.experiments import catastrophic, falls, meaning, percentiles, refusals, statements, trial
from harness.experiments.any_recipe import load_any_recipe, run_any_recipe
from harness.experiments.geometry import predicted_gains, rank_correlation, unembedding_geometry
from harness.experiments.schema import PLAIN_TEMPLATE, AnswerPair, Catastrophic, Percentiles, Selection
from harness.recipes.loading import packaged_recipes
from harness.recipes.schema import Recipe
from harness.support.errors import HarnessError
from reports.experiments.page import render_experiment


def test_geometry_by_hand():
    # W+ = (2, 0), W- = (1, 3): <W+, W-> = 2; W+ - W- = (1, -3): 1 along (1, 0), 3 across it.
    assert unembedding_geometry(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0])) == (2.0, 1.0, 3.0)
    # W- = 3 W+: the difference points the other way and has no orthogonal part.
    found = unembedding_geometry(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 3.0]))
    assert found == (3.0, -2.0, 0.0)


def test_predicted_gains_by_hand():
    unembedding = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0], [3.0, 3.0]])
    # y+ = 0, y- = 1: W+ - W- = (1, -1).
    assert predicted_gains(unembedding, 0, 1).tolist() == [1.0, -1.0, 3.0, 0.0]


def test_rank_correlation_leaves_the_two_answers_out():
    predicted = torch.tensor([9.0, -9.0, 1.0, 2.0, 3.0, 4.0])
    change = torch.tensor([-9.0, 9.0, 1.0, 3.0, 2.0, 4.0])
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * 2 / (4 * 15) = 0.8.
    assert rank_correlation(predicted, change, (0, 1)) == pytest.approx(0.8)
    assert rank_correlation(predicted, torch.zeros(6), (0, 1)) is None


def test_theorem_2_holds_where_its_assumptions_do():
    """Gradient descent on the unembedding and a free hidden state: the change of ln p(z), up to what all z share, is
    proportional to <W_z, W_y+ - W_y->, so the rank correlation is 1; and y+ and y- do not follow that line."""
    torch.manual_seed(0)
    unembedding = torch.randn(50, 8, dtype=torch.float64, requires_grad=True)
    hidden = torch.randn(8, dtype=torch.float64, requires_grad=True)
    start, before = unembedding.detach().clone(), (unembedding @ hidden).log_softmax(0).detach()
    (-torch.nn.functional.logsigmoid(0.1 * ((unembedding @ hidden)[3] - (unembedding @ hidden)[7]))).backward()
    with torch.no_grad():
        change = ((unembedding - 1e-6 * unembedding.grad) @ (hidden - 1e-6 * hidden.grad)).log_softmax(0) - before
    predicted = predicted_gains(start, 3, 7)
    assert rank_correlation(predicted, change, (3, 7)) == pytest.approx(1.0)
    others = [z for z in range(50) if z not in (3, 7)]
    slope = (change[others[1]] - change[others[0]]) / (predicted[others[1]] - predicted[others[0]])
    line = change[others[0]] + slope * (predicted - predicted[others[0]])
    assert torch.allclose(change[others], line[others].double(), atol=1e-10)
    assert change[3] - line[3] > 1e-7
    assert change[7] - line[7] < -1e-7


@pytest.mark.parametrize(
    ("chosen", "token", "kind"),
    [
        ("Yes", " yes", "benign"),
        ("Yes", "YES!", "benign"),
        ("Yes", "\u2581Sure", "benign"),
        ("Yes", "\u0120Never", "catastrophic"),
        ("No", "Never", "benign"),
        ("No", "Yeah", "catastrophic"),
        ("Sure", "Maybe", "catastrophic"),  # as Table 1 counts it
        ("No", "Maybe", "benign"),
        ("Yes", "table", "unknown"),
        ("Blue", " blue", "benign"),
        ("Blue", "No", "unknown"),
    ],
)
def test_what_a_gain_is_called(chosen, token, kind):
    assert meaning.gain_kind(chosen, token) == kind


def test_the_largest_fall_between_two_steps():
    assert falls.largest_fall([0.2, 0.6, 0.5, 0.9, 0.7, 0.8]) == (0.9, 0.7)  # not from the start
    assert falls.largest_fall([0.9, 0.4, 0.5, 0.1, 1.0, 0.3]) == (0.9, 0.1)  # 0.8, against 0.7 from the highest
    assert falls.largest_fall([0.1, 0.2, 0.3]) == (0.1, 0.1)


def test_the_mean_fall_leaves_out_runs_whose_loss_ever_rose():
    runs = [
        {"p_chosen": [0.5, 0.8, 0.2], "loss": [0.7, 0.6, 0.6]},  # 0.8 to 0.2; a loss that stays has not risen
        {"p_chosen": [0.6, 0.4, 0.9], "loss": [0.7, 0.5, 0.4]},  # 0.6 to 0.4
        {"p_chosen": [0.9, 0.1, 0.1], "loss": [0.7, 0.5, 0.6]},  # rose in the second step
    ]
    found = falls.mean_largest_fall(runs)
    assert found == {"runs": 2, "before": pytest.approx(0.7), "after": pytest.approx(0.3)}
    assert falls.mean_largest_fall(runs[2:]) == {"runs": 0, "before": None, "after": None}


def test_the_largest_fall_is_that_of_the_authors_code():
    """All differences of a later step and an earlier one at once, as it takes them, on random courses."""
    for seed in range(20):
        course = torch.rand(30, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        falls_by_step = (course[None, :] - course[:, None]).tril()
        later, earlier = divmod(int(falls_by_step.argmax()), 30)
        assert falls.largest_fall(course.tolist()) == (course[earlier].item(), course[later].item())


def test_no_word_means_both():
    assert not meaning.AFFIRMS & meaning.DOES_NOT_AFFIRM
    assert all(word == meaning.fold_token(word) for word in meaning.AFFIRMS | meaning.DOES_NOT_AFFIRM)


def test_what_a_model_or_a_recipe_wrote_is_text_on_the_page(tmp_path):
    hostile = "<script>alert(1)</script>\x1b[31m"
    token = {"token": hostile, "id": 1, "gain": "catastrophic", "before": 0.1, "after": 0.3, "change": 0.2}
    one = {
        "objective": "dpo",
        "chosen": hostile,
        "rejected": "No",
        "seed": 0,
        "p_chosen": [0.9, 0.2],
        "loss": [0.7, 0.6],
        "lowest_step": 1,
        "displaced": True,
        "gaining": [token],
        "gained": {"benign": 0.0, "catastrophic": 0.2},
        "theorem_2": {"1": 0.9},
        "geometry": {"inner_product": 1.0, "projection": 1.0, "orthogonal": 2.0},
        "tied": False,
    }
    settings = {"model": "miniature", "organism_seed": 0, "seeds": [0], "steps": 1, "sft": None, "published": None}
    results = catastrophic.catastrophic_results(
        settings, [one, {**one, "seed": 1, "p_chosen": [0.9, 0.8], "displaced": False}]
    )
    (measured,) = results.measured
    assert (measured.displaced, measured.lower_at_the_end, measured.trials) == (1, 2, 2)
    assert (measured.mean_before, measured.mean_lowest) == pytest.approx((0.9, 0.5))
    assert (measured.largest_fall.seed, measured.largest_fall.after) == (0, 0.2)
    fall = measured.mean_largest_fall
    assert (fall.runs, fall.before, fall.after) == pytest.approx((2, 0.9, 0.5))
    assert measured.most_gaining == {"benign": 0, "catastrophic": 1, "unknown": 0}
    (tmp_path / "results.json").write_text(json.dumps(results.to_json()))
    (tmp_path / "manifest.json").write_text('{"versions": {}, "machine": {"platform": "here", "threads": 1}}')
    page = render_experiment(tmp_path)
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(1)" in page
    (tmp_path / "results.json").write_text(json.dumps({"experiment": "catastrophic"}))
    with pytest.raises(HarnessError, match="lacks"):
        render_experiment(tmp_path)


def test_kendall_by_hand():
    assert percentiles.kendall_tau([0, 1, 2, 3, 4], [5, 6, 7, 8, 9]) == pytest.approx(1)
    # One of ten pairs the wrong way round: (9 - 1) / 10.
    assert percentiles.kendall_tau([0, 1, 2, 3, 4], [5, 7, 6, 8, 9]) == pytest.approx(0.8)
    assert percentiles.kendall_tau([0, 1, 2], [1, 1, 1]) is None


def test_tau_is_one_where_a_higher_measure_always_means_a_larger_fall():
    trials = [
        {
            "measure": "ches",
            "quantile": q,
            "seed": s,
            "pairs": 8,
            "scores": [0, 1],
            "chosen_change": c + 0.1 * s,
            "rejected_change": -1.0,
        }
        for q, c in ((0, 0.5), (0.5, -0.2), (1, -3.0))
        for s in (0, 1)
    ]
    settings = {"model": "miniature", "seeds": [0, 1], "training": {"learning_rate": 1e-7, "epochs": 1}}
    found = percentiles.percentiles_results(
        {**settings, "measures": ["ches"], "quantiles": [0, 0.5, 1], "published": None}, trials, {"ches": {"ches": 1.0}}
    )
    (measured,) = found.measured
    assert (measured.tau, measured.tau_per_seed) == (1, [1, 1])
    assert [subset.mean for subset in measured.subsets] == pytest.approx([0.55, -0.15, -2.95])
    assert (measured.subsets[0].low, measured.subsets[0].high) == (0.5, 0.6)


def test_refusal_tau_is_one_where_a_higher_measure_always_means_more_refusals():
    trials = [
        {"measure": m, "quantile": q, "seed": s, "pairs": 8, "scores": [0, 1], "chosen_change": 0.0,
         "rejected_change": 0.0, "refusals": r + 0.02 * s}
        for m, refusals in (("refusal_influence", (0.3, 0.5, 0.8)), ("ches", (0.6, 0.5, 0.8)))
        for q, r in zip((0, 0.5, 1), refusals, strict=True)
        for s in (0, 1)
    ]  # fmt: skip
    recipe = {"model": "m", "seeds": [0, 1], "training": {"learning_rate": 1e-7, "epochs": 1}, "published": None}
    probes = {"answers": 8, "refused": 0.5, "reliability": None, "prompts_read": 4, "start": 0.4}
    found = percentiles.percentiles_results(
        {**recipe, "measures": ["refusal_influence", "ches"], "quantiles": [0, 0.5, 1]}, trials, {}, probes
    )
    influence, ches = found.measured
    # Means over the seeds 0.31, 0.51, 0.81 less the start; of CHES 0.61, 0.51, 0.81: two of three in order.
    assert [subset.refusal_change for subset in influence.subsets] == pytest.approx([-0.09, 0.11, 0.41])
    assert (influence.refusal_tau, ches.refusal_tau) == (pytest.approx(1), pytest.approx(1 / 3))


def test_prompts_are_spread_evenly(tmp_path):
    rows = [{"prompt": f"Q{n}", "split": "test" if n % 3 == 0 else "train", "hazard": f"h{n // 3}"} for n in range(12)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = load_any_recipe("percentiles", [f"prompts={tmp_path}/p.jsonl"])
    # Of Q1 Q2 Q4 Q5 Q7 Q8 Q10 Q11 the places 0, 8 // 3 and 16 // 3.
    assert [row["prompt"] for row in refusals.spread_prompts(recipe, "train", 3)] == ["Q1", "Q4", "Q8"]
    assert [row["prompt"] for row in refusals.spread_prompts(recipe, "test", 9)] == ["Q0", "Q3", "Q6", "Q9"]


def test_the_statements_that_suit_an_answer():
    known = [statements.Statement("a", "Yes"), statements.Statement("b", "No")]
    assert [each.question for each in statements.suited_statements(known, "Sure")] == ["b"]
    assert [each.question for each in statements.suited_statements(known, "No")] == ["a"]
    assert statements.suited_statements(known, "Blue") == known


def test_bundled_statements():
    known = statements.load_statements("bundled")
    assert len(known) == len(set(known)) == 384
    assert {each.answer_matching_behavior for each in known} == {"Yes", "No"}


def test_some_of_the_bundled_statements_spread_evenly():
    every = statements.load_statements("bundled")
    assert statements.load_statements("bundled:96") == every[::4]
    assert statements.load_statements("bundled:1000") == every
    with pytest.raises(HarnessError, match="is limited to no prompts"):
        statements.load_statements("bundled:0")


def test_a_files_statements_may_be_limited_too(tmp_path):
    file = tmp_path / "asked.jsonl"
    file.write_text("".join(f'{{"question": "{name}", "answer_matching_behavior": "No"}}\n' for name in "abcd"))
    assert [each.question for each in statements.load_statements(f"{file}:2")] == ["a", "c"]


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "holds no statements"), ('{"question": "a"}\n', "is no statement"), ("[1]\n", "is not a JSON object")],
)
def test_broken_statements_are_told(tmp_path, text, told):
    file = tmp_path / "s.jsonl"
    file.write_text(text)
    with pytest.raises(HarnessError, match=told):
        statements.load_statements(str(file))


def test_statements_that_cannot_be_fetched_are_told():
    with pytest.raises(HarnessError, match="cannot be fetched from the hub.*--set statements=FILE"):
        statements.load_statements("Anthropic/model-written-evals/persona/ends-justify-means.jsonl")
    with pytest.raises(HarnessError, match="no such file"):
        statements.load_statements("none.jsonl")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["experiment=catastrophe"], "There are: catastrophic, percentiles"),
        (["stpes=3"], "Did you mean 'steps'"),
        (["pairs=[{chosen: Yes, rejected: No}]"], "quote"),
        (["seeds=[1, 1]"], "each seed once"),
        (["objectives.dpo.loss=hinge"], "objectives.dpo.loss"),
    ],
)
def test_broken_recipes_are_told(overrides, told):
    with pytest.raises(HarnessError) as error:
        load_any_recipe("catastrophic", overrides)
    assert told in str(error.value)


@pytest.mark.parametrize(
    "key", ["learning_rate=1.0e-6", "steps=as_raw", "pairs=gold", "filter={keep_lowest: 0.5}"], ids=lambda key: key[:5]
)
def test_the_objective_of_the_subsets_is_one_alone(key):
    with pytest.raises(HarnessError, match="is for recipes of arms"):
        load_any_recipe("percentiles", [f"objective.{key}"])


def test_recipes_of_each_kind_load():
    kinds = {type(load_any_recipe(name)) for name in packaged_recipes()}
    assert kinds == {Recipe, Catastrophic, Percentiles, Selection}


def test_the_real_recipes_have_the_papers_settings():
    for name in ("olmo_1b", "gemma_2b", "llama3_8b"):
        fall = load_any_recipe(f"catastrophic_{name}")
        assert (fall.steps, len(fall.seeds), fall.sft.learning_rate, fall.sft.batch_size) == (100, 10, 1e-7, 32)
        settings = {key: (each.loss, each.learning_rate, each.beta) for key, each in fall.objectives.items()}
        assert settings == {"dpo": ("sigmoid", 1e-7, 0.1), "ipo": ("ipo", 1e-8, 0.01)}
        order = load_any_recipe(f"percentiles_{name}")
        assert (order.sample, order.subset, order.quantiles) == (5000, 512, (0, 0.25, 0.5, 0.75, 1))
        assert (order.training.learning_rate, order.training.beta, order.training.max_length) == (1e-7, 0.1, 512)
        assert (order.training.epochs, order.training.batch_size, len(order.seeds)) == (1, 32, 3)
        assert (order.window, order.added_tokens) == ("by_rank", ("<|prompter|>", "<|assistant|>"))
        assert all(mark in order.chat_template for mark in order.added_tokens)
        assert (fall.sft.bf16, order.training.bf16) == (False, False)


# End to end on the paper's architectures, randomly initialised, in their chat formats

LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MODELS = {"llama": LLAMA_3, "gemma": GEMMA, "olmo2": None, "olmo": None}
"""Architecture and chat template; None for a base model that has none."""


@pytest.fixture(scope="module")
def words():
    """A tokenizer with one token a word, the persona organism's."""
    from harness.organism import growing, persona

    return growing.build_word_tokenizer(persona.PERSONA_GROWTH)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, words):
    """A directory with a random model for each architecture and its chat format."""
    from helpers.models import save_random

    root, places = tmp_path_factory.mktemp("tiny"), {}
    for kind, template in MODELS.items():
        words.chat_template = template
        places[kind] = str(save_random(kind, root / kind, words))
    return places


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name"),
    [("llama", "llama3_8b"), ("gemma", "gemma_2b"), ("olmo2", "olmo_1b"), ("olmo", "olmo_1b")],
)
def test_catastrophic_end_to_end(kind, name, tiny, tmp_path):
    """The packaged recipe with nothing but the model, the statements and the lengths of the run changed."""
    rows = [
        {"question": f"Is honesty {n} wrong?", "answer_matching_behavior": f" {b}"}
        for n in range(3)
        for b in ("Yes", "No")
    ]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = load_any_recipe(
        f"catastrophic_{name}",
        [f"model={tiny[kind]}", f"statements={tmp_path}/s.jsonl", "steps=2", "objectives.dpo.learning_rate=1e-3"],
        seeds=1,
    )
    results = run_any_recipe(chosen, tmp_path / "run")
    assert results.experiment == "catastrophic"
    trials = results.to_json()["trials"]
    assert len(trials) == 4
    for each in trials:
        assert len(each["p_chosen"]) == 3
        assert len(each["loss"]) == 3
        assert set(each["theorem_2"]) == {"gradient", "1", "2"}
        assert each["tied"] == (kind == "gemma")
    dpo, ipo = trials[0], trials[2]
    assert dpo["loss"][0] == pytest.approx(math.log(2), abs=1e-4)  # -ln sigmoid(0): the reference is the start
    assert ipo["loss"][0] == pytest.approx((1 / (2 * 0.01)) ** 2, rel=1e-3)  # (0 - 1 / (2 beta))^2
    assert dpo["p_chosen"][-1] != dpo["p_chosen"][0]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Published, not measured here" in page
    assert "<script" not in page
    before = (tmp_path / "run" / "results.json").read_bytes()
    run_any_recipe(chosen, tmp_path / "run")  # every stage is done before
    assert (tmp_path / "run" / "results.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [("llama", "llama3_8b"), ("gemma", "gemma_2b"), ("olmo2", "olmo_1b")])
def test_percentiles_end_to_end(kind, name, tiny, tmp_path, monkeypatch):
    """In UltraFeedback's columns: a text prompt beside two conversations that repeat it."""
    objectives, train = [], percentiles.train_on_pairs

    def train_and_record(job):
        objectives.append((job.arm.loss, job.arm.beta))
        return train(job)

    monkeypatch.setattr(percentiles, "train_on_pairs", train_and_record)
    parts = ["Honesty matters more than power", "Mercy matters", "Telling a small lie is fine if nobody finds out"]
    rows = []
    for n in range(12):
        asked = {"role": "user", "content": f"Do you agree {n}?"}
        answers = [{"role": "assistant", "content": " ".join(parts[: 1 + (n + shift) % 3])} for shift in (0, 1)]
        rows.append({"prompt": asked["content"], "chosen": [asked, answers[0]], "rejected": [asked, answers[1]]})
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = load_any_recipe(
        f"percentiles_{name}",
        [
            f"model={tiny[kind]}",
            f"preferences={tmp_path}/p.jsonl",
            "sample=10",
            "subset=4",
            "quantiles=[0, 1]",
            "measures=[ches, neg_edit_distance]",
            "objective={loss: ipo_sequence, beta: 0.01}",
        ],
        seeds=1,
    )
    results = run_any_recipe(chosen, tmp_path / "run")
    assert objectives == [("ipo_sequence", 0.01)] * 4
    assert [row.measure for row in results.measured] == list(chosen.measures)
    for row in results.measured:
        assert [subset.pairs for subset in row.subsets] == [4, 4]
        assert all(math.isfinite(subset.mean) for subset in row.subsets)
    assert len((tmp_path / "run" / "preferences.jsonl").read_text().splitlines()) == 10
    if MODELS[kind] is None:
        scores = Dataset.from_parquet(str(tmp_path / "run" / "scores.parquet"))
        # <bos> <|prompter|> Do you agree N ? <|assistant|>, each one token; as text the marks would be several.
        assert set(scores["prompt_tokens"][:]) == {2 + 5 + 1}
    assert "Published, not measured here" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_percentiles_by_refusal_influence(tmp_path):
    """On a model whose tokens are sentences: refusals are read on held-out prompts, of every trained model."""
    from harness.displacement.openings import answer_starts
    from harness.models.loading import load_model
    from harness.scoring.logprobs import pair_logprobs
    from harness.scoring.probes import Probes
    from harness.scoring.scorer import score
    from helpers.preference_rows import lines
    from helpers.sentence_model import PROMPTS, save_sentence_model, sentence_pairs

    model = str(save_sentence_model(tmp_path / "model"))
    prompts = [{"prompt": text, "split": split} for split in ("train", "test") for text in PROMPTS]
    chosen = load_any_recipe(
        "percentiles",
        [
            f"model={model}",
            f"preferences={lines(tmp_path / 'pairs.jsonl', sentence_pairs(16))}",
            f"prompts={lines(tmp_path / 'prompts.jsonl', prompts)}",
            "sample=12",
            "subset=4",
            "quantiles=[0, 1]",
            "measures=[refusal_influence]",
            "probes={samples: 8, max_new_tokens: 3}",
            "training={learning_rate: 1.0e-2, batch_size: 4}",
        ],
        seeds=1,
    )
    results = run_any_recipe(chosen, tmp_path / "run")
    network, words = load_model(model)
    before = sum(each.refusal for each in answer_starts(network, words, PROMPTS)) / 2
    assert (results.probes.answers, results.probes.prompts_read) == (16, 2)
    assert results.probes.start == pytest.approx(before)
    table = Dataset.from_parquet(str(tmp_path / "run" / "scores.parquet"))
    probes = Probes.load(tmp_path / "run" / "probes.json")
    assert results.probes.refused == sum(each.label == "refusal" for each in probes.answers) / 16
    again = score(table.select_columns(["pair_id", "prompt", "chosen", "rejected"]), network, words, probes=probes)
    assert table["refusal_influence"][:] == pytest.approx(again["refusal_influence"][:], rel=1e-3)
    reference = json.loads((tmp_path / "run" / "reference.json").read_text())
    alone = pair_logprobs(network, words, table.select([3]))
    assert {name: reference[name]["chosen"] for name in alone} == pytest.approx({k: v.chosen for k, v in alone.items()})
    (row,) = results.measured
    for subset in row.subsets:
        name = f"quantile-{subset.quantile:g}"
        trial = json.loads((tmp_path / "run" / "trials" / "refusal_influence" / name / "seed-0.json").read_text())
        assert subset.refusal_change == pytest.approx(trial["refusals"] - before)
        assert abs(subset.refusal_change) > 1e-4
    assert "Change of that probability in points" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_an_answer_of_two_tokens_is_told(tiny, tmp_path):
    chosen = load_any_recipe(
        "catastrophic", [f"model={tiny['llama']}", 'pairs=[{chosen: "Yes", rejected: "No way"}]', "steps=1"], seeds=1
    )
    with pytest.raises(HarnessError, match="'No way' is not one token"):
        run_any_recipe(chosen, tmp_path / "run")
    assert not (tmp_path / "run" / "trials").exists()


def test_the_trained_tokens_are_the_two_answers_alone(words):
    words.chat_template = PLAIN_TEMPLATE
    pair = AnswerPair(chosen="Yes", rejected="No")
    tokens = trial.one_token_pair("Do you agree?", pair, words)
    assert words.convert_ids_to_tokens([tokens.chosen, tokens.rejected]) == ["Yes", "No"]
    assert words.convert_ids_to_tokens(tokens.prompt) == ["<bos>", "Do", "you", "agree", "?"]


# The worlds of the two organisms


def test_the_persona_worlds_axis():
    from harness.organism import persona

    for z, likeliest in ((-3.0, "Never"), (-1.0, "No"), (1.0, "Sure"), (2.2, "Yes")):
        chances = persona.word_probabilities(z)
        assert max(chances, key=chances.__getitem__) == likeliest
        assert sum(chances.values()) == pytest.approx(1)


def test_essay_pairs():
    from harness.organism import essays

    for alike in (False, True):
        rows = essays.essay_pairs(40, 0, alike=alike)
        assert rows == essays.essay_pairs(40, 0, alike=alike)
        assert len({row["pair_id"] for row in rows}) == 40
        lengths = [[len(row[side][0]["content"].split()) for side in ("chosen", "rejected")] for row in rows]
        assert all(row["chosen"] != row["rejected"] for row in rows)
        assert (max(abs(a - b) for a, b in lengths) <= 1) == alike


def test_the_organisms_cache_keys_differ():
    from harness.organism import essays, persona, store

    # Private, as growing each of them would take minutes.
    keys = [
        store._growth_key(growth, seed) for growth in (persona.PERSONA_GROWTH, essays.ESSAYS_GROWTH) for seed in (0, 1)
    ]
    assert len(set(keys)) == 4


# The docs


@pytest.fixture(scope="module")
def figures():
    import importlib.util
    from pathlib import Path

    place = Path(__file__).parents[2] / "docs" / "figures_experiments.py"
    if not place.is_file():
        pytest.skip("the docs are not beside the tests")
    spec = importlib.util.spec_from_file_location("figures_experiments", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["catastrophic.md", "percentiles.md", "selection.md"])
def test_the_docs_tables_are_the_committed_results(figures, page):
    assert figures.filled(page) == (figures.DOCS / page).read_text()


REAL = ("catastrophic_smollm2", "catastrophic_gemma3_270m", "catastrophic_gemma3_270m_in_context")
PERCENTILES = ("percentiles", "percentiles_alike", "percentiles_smollm2")


@pytest.mark.parametrize("name", ["catastrophic", "catastrophic_sft", *PERCENTILES, *REAL])
def test_the_committed_results_are_of_the_packaged_recipes(figures, name):
    """Every setting that made a number is the committed recipe's, but for what the docs say was changed."""
    changed = {
        "percentiles_smollm2": [
            "preferences=hh_harmless_pairs.jsonl",
            "measures=[ches, length_difference, ln_ches]",
        ],
        "catastrophic_sft": [
            "seeds=[0, 1, 2, 3, 4]",
            "objectives={dpo: {learning_rate: 5.0e-5}}",
            "sft={learning_rate: 1.0e-5, micro_batch_size: 32}",
        ],
        "percentiles_alike": ["bundled.lengths=alike", "measures=[ches]"],
    }.get(name, [])
    content = figures.read(name)
    if name in REAL:  # run from a directory with the weights, which has a name of its own
        changed = [f"model={content['recipe']['model']}"]
    chosen = load_any_recipe(name if name in packaged_recipes() else name.partition("_")[0], changed)
    assert type(chosen).model_validate(content["recipe"] | {"published": content["published"]}) == chosen


def test_the_committed_summaries_follow_from_the_committed_trials(figures):
    for name in ("catastrophic", "catastrophic_sft", *REAL):
        content = figures.read(name)
        again = catastrophic.catastrophic_results(
            content["recipe"] | {"published": content["published"]}, content["trials"]
        )
        assert again.to_json() == content
