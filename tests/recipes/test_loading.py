"""Recipes: packaged ones, files, overrides, and what is wrong with them in one line."""

import pytest

from harness.experiments.any_recipe import load_any_recipe
from harness.recipes.loading import load_recipe, packaged_recipes
from harness.recipes.pinning import pin_recipe
from harness.recipes.schema import INFLUENCES, Recipe
from harness.scoring.targets import TARGETS, influence_column
from harness.support.errors import HarnessError

MINIMAL = "name: mine\nmodel: some/model\narms: {raw: {}}\n"
REFRESHED = "name: a\nmodel: m\narms: {a: {filter: {keep_highest: 0.5, by: refusal_influence, refresh: 4}}}\n"


def write(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize("name", packaged_recipes())
def test_packaged_recipes_load(name):
    assert load_any_recipe(name).name == name
    assert packaged_recipes()[name]


def test_defaults_are_the_papers(tmp_path):
    loaded = load_recipe(write(tmp_path, MINIMAL))
    assert (loaded.training.learning_rate, loaded.training.beta, loaded.training.batch_size) == (5e-6, 0.1, 32)
    assert (loaded.evaluation.temperature, loaded.evaluation.max_new_tokens) == (0.7, 512)
    assert (loaded.pairs.temperature, loaded.pairs.max_new_tokens, loaded.pairs.tie_break) == (1.0, 512, "random")


def test_published_figures_are_read(tmp_path):
    text = MINIMAL + "published: {source: Somebody, arms: {raw: {refusal_rate: {value: 0.5, spread: 0.1}}}}\n"
    published = load_recipe(write(tmp_path, text)).published
    assert (published.source, published.arms["raw"]["refusal_rate"].value) == ("Somebody", 0.5)


@pytest.mark.parametrize(
    ("name", "start", "raw", "change"),
    [("gemma_2b_sorrybench", 0.805, 0.548, (-59.2, 5.3)), ("llama3_8b_sorrybench", 0.744, 0.334, (-48.1, 22.1))],
)
def test_the_papers_figures_and_settings(name, start, raw, change):
    """Section 6 and Figure 3 of Razin et al. 2025."""
    loaded = load_recipe(name)
    figures = loaded.published.arms
    assert (figures["baseline"]["refusal_rate"].value, figures["raw"]["refusal_rate"].value) == (start, raw)
    told = figures["raw"]["trained_logprob_change"]
    assert (told.value, told.spread) == change
    assert (loaded.training.learning_rate, loaded.training.beta, loaded.training.batch_size) == (5e-6, 0.1, 32)
    assert (loaded.pairs.samples, loaded.pairs.temperature, loaded.pairs.max_new_tokens) == (2, 1.0, 512)
    assert (loaded.evaluation.temperature, loaded.evaluation.max_new_tokens, len(loaded.seeds)) == (0.7, 512, 3)


def test_the_influences_are_those_that_scores_have():
    assert [influence_column(target) for target in TARGETS] == list(INFLUENCES)


def test_the_worst_pairs_may_be_kept_and_what_is_kept_goes_there_and_back(tmp_path):
    text = "name: a\nmodel: m\narms: {a: {filter: {keep_lowest: 0.3, by: refusal_influence}}, b: {}}\n"
    loaded = load_recipe(write(tmp_path, text))
    assert loaded.influences == ("refusal_influence",)
    assert Recipe.model_validate(loaded.model_dump()) == loaded


def test_overrides_reach_any_key():
    loaded = load_recipe("miniature", ["training.learning_rate=1e-4", "arms.raw.loss=ipo", "pairs.tie_break=random"], 5)
    assert loaded.training.learning_rate == 1e-4
    assert loaded.arms["raw"].loss == "ipo"
    assert loaded.seeds == (0, 1, 2, 3, 4)


def test_paths_start_at_the_recipe(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "set.csv").write_text("prompt\n")
    text = "name: mine\nmodel: model\nprompts: set.csv\narms: {raw: {}}\n"
    loaded = load_recipe(write(tmp_path, text))
    assert (loaded.model, loaded.prompts) == (str(tmp_path / "model"), str(tmp_path / "set.csv"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MINIMAL + "jugde: lexical\n", "unknown key 'jugde'. Did you mean 'judge'?"),
        (
            MINIMAL + "training: {learning_rat: 1}\n",
            "unknown key 'training.learning_rat'. Did you mean 'learning_rate'?",
        ),
        ("name: a\nmodel: m\narms: {raw: {filter: {keep_lowst: 0.1}}}\n", "Did you mean 'keep_lowest'?"),
        (MINIMAL + "training: {learning_rate: fast}\n", "training.learning_rate: needs a number, not 'fast'"),
        (MINIMAL + "training: {learning_rate: .nan}\n", "training.learning_rate"),
        (MINIMAL + "training: {lr: 1}\n", "unknown key 'training.lr'. Did you mean 'learning_rate'?"),
        (MINIMAL + "learning_rate: 1\n", "unknown key 'learning_rate'. Did you mean 'training.learning_rate'?"),
        (MINIMAL + "zzz: 1\n", "unknown key 'zzz'. There are: name, about, model, "),
        (MINIMAL + "seeds: [1, 1]\n", "each seed once"),
        (MINIMAL + "seeds: 5\n", "seeds: is a list such as [0, 1, 2], not 5; --seeds N takes the first N"),
        (MINIMAL + "pairs: {tie_break: 5}\n", "pairs.tie_break: must be 'engaging' or 'random', not 5"),
        (
            MINIMAL + "pairs: {tie_break: {rewad_model: m}}\n",
            "'pairs.tie_break.rewad_model'. Did you mean 'reward_model'?",
        ),
        ("name: a\nmodel: m\narms:\n\traw: {}\n", "line 4, column 1: a tab; YAML is indented with spaces"),
        ("name: a\nmodel: m\narms: {raw: }\n", "arms.raw: needs keys with values, or {} for none, not null"),
        (
            "name: a\nmodel: m\narms: {raw: {filter: {keep_lowest: 5}}}\n",
            "arms.raw.filter.keep_lowest: is a share, above 0 and at most 1, not 5; 0.05 is 5 %",
        ),
        ("nam: a\nmodel: m\narms: {raw: {}}\n", "unknown key 'nam'. Did you mean 'name'?"),
        ("name: a\nmodel: m\narms: {}\n", "name at least one arm"),
        ("name: a\nmodel: m\narms: {baseline: {}}\n", "baseline is the untrained model"),
        ("name: a\nmodel: m\narms: {../up: {}}\n", "arms"),
        ("name: a\nmodel: m\narms: {a: {filter: {keep_lowest: 0.1, random: 0.1}}}\n", "not two of them"),
        (
            "name: a\nmodel: m\narms: {a: {filter: {keep_highest: 0.5}}}\n",
            "arms.a.filter: keep_highest: say by which measure, such as by: refusal_influence",
        ),
        (
            "name: a\nmodel: m\narms: {a: {filter: {random: 0.5, by: refusal_influence}}}\n",
            "by: refusal_influence says what keep_lowest or keep_highest go by; give one of them",
        ),
        (
            "name: a\nmodel: m\ngold: g\narms: {a: {pairs: gold, filter: {keep_highest: 1, by: refusal_influence}}}\n",
            "arms.a: refusal_influence is measured of on_policy pairs only",
        ),
        (
            "name: a\nmodel: m\narms: {a: {filter: {keep_lowest: 0.5, refresh: 4}}}\n",
            "refresh: only an influence is measured anew; filter by one, such as by: refusal_influence",
        ),
        (REFRESHED + "training: {lora: {}}\n", "arms.a: filter.refresh takes all weights in one process"),
        (
            REFRESHED + "training: {launch: {config: ddp, processes: 2}}\n",
            "takes all weights in one process; leave out training.launch",
        ),
        (REFRESHED.replace("4", "0"), "arms.a.filter.refresh: must be at least 1, not 0"),
        ("name: a\nmodel: m\narms: {a: {filter: {by: refusal_influenc}}}\n", "arms.a.filter.by: must be 'ches'"),
        (MINIMAL + "probes: {samples: 1}\n", "probes.samples: must be at least 2, not 1"),
        (MINIMAL + "probes: {subspace: lora}\n", "probes.subspace: must be of the form"),
        ("name: a\nmodel: m\narms: {a: {loss: simpo}}\n", "the loss simpo needs target_margin"),
        ("name: a\nmodel: m\narms: {a: {loss: ipo, alpha: 1}}\n", "the loss ipo takes no alpha"),
        ("name: a\nmodel: m\narms: {a: {loss: alphapo, alpha: 0, target_margin: 1}}\n", "choose the loss simpo"),
        ("name: a\nmodel: m\narms: {a: {loss: dpo_shift}}\n", "the loss dpo_shift needs rejected_weight"),
        ("name: a\nmodel: m\narms: {a: {loss: dpo_shift, rejected_weight: 1}}\n", "must be below 1, not 1"),
        ("name: a\nmodel: m\narms: {a: {loss: sgdpo}}\n", "the loss sgdpo needs pilot_share"),
        ("name: a\nmodel: m\narms: {a: {loss: pro, alpha: 0}}\n", "PRO's weight of the regulariser is above 0"),
        ("name: a\nmodel: m\narms: {a: {loss: reward_distillation}}\n", "the loss reward_distillation needs rewards"),
        ("name: a\nmodel: m\narms: {a: {rewards: verdicts}}\n", "the loss sigmoid takes no rewards"),
        ("name: a\nmodel: m\narms: {a: {loss: nthr, alpha: 1}}\n", "the loss nthr takes no alpha"),
        ("name: a\nmodel: m\narms: {a: {filter: {by: log_margin}}}\n", "by: log_margin says what keep_lowest or"),
        (
            "name: a\nmodel: m\ngold: g\narms: {a: {pairs: gold, order: easy_first}}\n",
            "order: how hard a pair is is measured of on_policy pairs only",
        ),
        (
            REFRESHED.replace("refresh: 4}", "refresh: 4}, order: easy_first"),
            "order: pairs that are chosen anew while they are trained on have none",
        ),
        ("name: a\nmodel: m\narms: {a: {pairs: mixed}}\n", "give the recipe off_policy: TABLE"),
        (MINIMAL + "pairs: {samples: 1}\n", "pairs.samples"),
        ("model: m\n", "name: is missing"),
        ("[1, 2]", "holds no keys"),
        ("name: [", "is not YAML"),
        ("name: !!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)
def test_broken_recipes_are_told_in_one_line(tmp_path, text, told):
    with pytest.raises(HarnessError) as error:
        load_recipe(write(tmp_path, text))
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert "mine.yaml" in str(error.value)


@pytest.mark.parametrize("override", ["training", "=1", "training.beta.x=1", "training.beta=[", "trainin.beta=1"])
def test_broken_overrides(override):
    with pytest.raises(HarnessError):
        load_recipe("miniature", [override])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("minature", "Did you mean 'miniature'?"),
        ("my-modle.yaml", "Did you mean 'my-model.yaml'?"),
        ("nothing-like-it", "Packaged recipes: "),
        ("far/away.yaml", "Packaged recipes: "),
    ],
)
def test_a_missing_recipe_names_the_one_that_was_meant_or_those_there_are(tmp_path, monkeypatch, given, told):
    (tmp_path / "my-model.yaml").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError) as error:
        load_recipe(given)
    assert str(error.value).startswith(f"{given}: no such recipe. {told}")


def test_an_arm_is_left_out_where_it_is_set_to_null():
    assert [*load_recipe("miniature", ["arms.random=null", "arms.ches_filtered=null"]).arms] == [
        "raw",
        "ches_filtered_matched",
        "random_matched",
        "influence_filtered",
        "random_half",
    ]
    assert "random" in load_recipe("miniature").arms
    with pytest.raises(HarnessError, match=r"no arm 'rando' to leave out. Did you mean 'random'\?"):
        load_recipe("miniature", ["arms.rando=null"])


def test_a_limit_stands_for_the_recipes_prompts_and_is_of_no_experiment(tmp_path):
    assert load_any_recipe("miniature", limit=60).prompts == "bundled:60"
    (tmp_path / "prompts.csv").write_text("prompt\nHow?\nWhen?\n")
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nmodel: miniature\nprompts: prompts.csv:2\narms: {raw: {}}\n")
    assert load_any_recipe(str(file)).prompts == f"{tmp_path}/prompts.csv:2"
    assert load_any_recipe(str(file), limit=1).prompts == f"{tmp_path}/prompts.csv:1"
    with pytest.raises(HarnessError, match="--limit does not know the experiment 'catastrophic'"):
        load_any_recipe("catastrophic", limit=60)


def test_a_published_set_keeps_its_limit_when_it_is_pinned(monkeypatch):
    commit = "0123456789" * 4
    monkeypatch.setattr("harness.support.hub.pin_to_commit", lambda source, _: f"{source.partition('@')[0]}@{commit}")
    recipe = load_recipe("miniature", ["prompts=xstest:50"])
    pinned, pins = pin_recipe(recipe, {})
    assert pinned.prompts == f"xstest@{commit}:50"
    assert [*pins] == ["prompts"]


def test_variants_of_prompts_stay_behind_their_set(tmp_path, monkeypatch):
    (tmp_path / "prompts.csv").write_text("prompt\nHow?\nWhen?\n")
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nmodel: miniature\nprompts: prompts.csv+attacks=persona,base64:2\narms: {raw: {}}\n")
    assert load_any_recipe(str(file)).prompts == f"{tmp_path}/prompts.csv:2+attacks=persona,base64"
    assert load_any_recipe(str(file), limit=1).prompts == f"{tmp_path}/prompts.csv:1+attacks=persona,base64"
    commit = "0123456789" * 4
    monkeypatch.setattr("harness.support.hub.pin_to_commit", lambda source, _: f"{source.partition('@')[0]}@{commit}")
    pinned, _ = pin_recipe(load_recipe("miniature", ["prompts=xstest+attacks:50"]), {})
    assert pinned.prompts == f"xstest@{commit}:50+attacks"
    pinned, _ = pin_recipe(load_recipe("miniature", ["prompts=sorrybench_gold+attacks"]), {})
    assert pinned.prompts == f"sorrybench_gold@{commit}+{commit}+attacks"
    with pytest.raises(HarnessError, match=r"bundled\+attacks: names variants of its prompts"):
        load_any_recipe("selection", ["prompts=bundled+attacks"])


def test_a_set_with_variants_outside_the_recipes_folder_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.csv").write_text("prompt\nHow?\n")
    text = "name: a\nmodel: miniature\nprompts: ../secret.csv+attacks\narms: {raw: {}}\n"
    with pytest.raises(HarnessError, match="lies outside the recipe's folder"):
        load_recipe(write(tmp_path / "in", text))
