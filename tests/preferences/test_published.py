"""Published preference data: a row in each set's own columns, written by hand, and the pair that it is."""

import pytest
from datasets import Dataset

from harness.preferences.pairs import trainable_rows
from harness.preferences.tables import check_table, load_preferences
from harness.support.errors import HarnessError
from helpers.preference_rows import assistant, lines, user

SYSTEM = {"role": "system", "content": "Be brief."}
TEA = [user("How long does tea steep?")]
LONGER = [*TEA, assistant("Which tea?"), user("Green.")]
GOOD, BAD = [assistant("Two minutes.")], [assistant("It depends.")]

HH = {
    "chosen": "\n\nHuman: How long does tea steep?\n\nAssistant: Two minutes.",
    "rejected": "\n\nHuman: How long does tea steep?\n\nAssistant: It depends.",
}
HH_START = "\n\nHuman: How long does tea steep?\n\nAssistant: Which tea?\n\nHuman: Green.\n\nAssistant:"
PKU = {
    "prompt": "How long does tea steep?",
    "prompt_source": "Alpaca-7B",
    "response_0": "It depends.",
    "response_1": "Two minutes.",
    "response_0_source": "Alpaca-7B",
    "response_1_source": "WizardLM-30B-Uncensored",
    "is_response_0_safe": True,
    "is_response_1_safe": True,
    "response_0_harm_category": {"Animal Abuse": False},
    "response_1_harm_category": {"Animal Abuse": False},
    "response_0_severity_level": 0,
    "response_1_severity_level": 0,
    "better_response_id": 0,
    "safer_response_id": 1,
    "response_0_sha256": "0" * 64,
    "response_1_sha256": "1" * 64,
}
HELPSTEER2 = {
    "split": "train",
    "prompt": "How long does tea steep?",
    "response_1": "Two minutes.",
    "response_2": "It depends.",
    "preference_strength": -1,
    "preference_statement": "Response 1 is slightly better than Response 2.",
    "preference_elaboration": "It answers.",
    "three_most_similar_preferences": [{"statement": "Response 1 is better.", "elaboration": "", "strength": -1}],
    "all_preferences_unprocessed": [{"statement": "Response 1 is better.", "elaboration": "", "strength": -1}],
}
HELPSTEER2_TURNS = "How long does tea steep?\n<extra_id_1>Assistant\nWhich tea?\n<extra_id_1>User\nGreen."
HELPSTEER3 = {
    "domain": "general",
    "language": "english",
    "context": LONGER,
    "response1": "It depends.",
    "response2": "Two minutes.",
    "overall_preference": 2,
    "individual_preference": [{"score": 2, "reasoning": "It answers.", "feedback1": "", "feedback2": ""}],
}
ULTRAFEEDBACK = {
    "prompt": "How long does tea steep?",
    "prompt_id": "0" * 64,
    "chosen": TEA + GOOD,
    "rejected": TEA + BAD,
    "messages": TEA + GOOD,
    "score_chosen": 8.5,
    "score_rejected": 4.0,
}
ARGILLA_CLEANED = {
    "source": "sharegpt",
    "prompt": "How long does tea steep?",
    "chosen": TEA + GOOD,
    "chosen-rating": 4.5,
    "chosen-model": "gpt-4",
    "rejected": TEA + BAD,
    "rejected-rating": 2.0,
    "rejected-model": "llama-2-7b-chat",
}
ARGILLA_MIX = {
    "dataset": "argilla/distilabel-capybara-dpo-9k-binarized",
    "chosen": LONGER + GOOD,
    "rejected": LONGER + BAD,
    "chosen_rating": 5.0,
    "rejected_rating": 2.0,
}
ARGILLA_CAPYBARA = {
    "source": "Dove",
    "conversation": [{"input": "How long does tea steep?", "output": "Which tea?"}, {"input": "Green.", "output": ""}],
    "original_response": "Two minutes.",
    "generation_prompt": ["", "", ""],
    "raw_generation_responses": ["It depends."],
    "new_generations": ["It depends."],
    "prompt": "Below is a conversation.",
    "chosen": LONGER + GOOD,
    "rejected": LONGER + BAD,
    "rating_chosen": 5,
    "rating_rejected": 2,
    "chosen_model": "original",
    "rejected_model": "zephyr",
}
ARGILLA_ORCA = {
    "system": "Be brief.",
    "input": "How long does tea steep?",
    "chosen": "Two minutes.",
    "rejected": "It depends.",
    "generations": ["Two minutes.", "It depends."],
    "order": ["chosen", "rejected"],
    "labelling_model": "gpt-4-1106-preview",
    "labelling_prompt": [SYSTEM],
    "raw_labelling_response": "9\n5",
    "rating": [9.0, 5.0],
    "rationale": "It answers.",
    "status": "unchanged",
    "original_chosen": "Two minutes.",
    "original_rejected": "It depends.",
    "chosen_score": 9.0,
    "in_gsm8k_train": False,
}
ARGILLA_BINARIZED = {
    "source": "sharegpt",
    "instruction": "How long does tea steep?",
    "chosen_response": "Two minutes.",
    "rejected_response": "It depends.",
    "chosen_avg_rating": 4.5,
    "rejected_avg_rating": 2.0,
    "chosen_model": "gpt-4",
}
ARGILLA_MATH = {
    "metadata": "{}",
    "instruction": "How long does tea steep?",
    "chosen_response": "Two minutes.",
    "chosen_rating": 9.0,
    "rejected_response": "It depends.",
    "rejected_rating": 5.0,
}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        pytest.param(HH, TEA, id="hh-rlhf"),
        pytest.param({"chosen": f"{HH_START} Two minutes.", "rejected": f"{HH_START} It depends."}, LONGER,
                     id="hh-rlhf, several turns"),
        pytest.param(PKU, TEA, id="PKU-SafeRLHF"),
        pytest.param(
            {name: value for name, value in PKU.items() if name != "safer_response_id"} | {"better_response_id": 1},
            TEA, id="PKU-SafeRLHF-single-dimension"),
        pytest.param(HELPSTEER2, TEA, id="HelpSteer2, preference"),
        pytest.param({**HELPSTEER2, "prompt": HELPSTEER2_TURNS}, LONGER, id="HelpSteer2, several turns"),
        pytest.param(HELPSTEER3, LONGER, id="HelpSteer3"),
        pytest.param(ULTRAFEEDBACK, TEA, id="ultrafeedback_binarized"),
        pytest.param(ARGILLA_CLEANED, TEA, id="argilla/ultrafeedback-binarized-preferences-cleaned"),
        pytest.param(ARGILLA_MIX, LONGER, id="argilla/dpo-mix-7k"),
        pytest.param(ARGILLA_CAPYBARA, LONGER, id="argilla/distilabel-capybara-dpo-7k-binarized"),
        pytest.param(ARGILLA_ORCA, [SYSTEM, *TEA], id="argilla/distilabel-intel-orca-dpo-pairs"),
        pytest.param({**ARGILLA_ORCA, "system": ""}, TEA, id="argilla/distilabel-intel-orca-dpo-pairs, no system"),
        pytest.param(ARGILLA_BINARIZED, TEA, id="argilla/ultrafeedback-binarized-preferences"),
        pytest.param(ARGILLA_MATH, TEA, id="argilla/distilabel-math-preference-dpo"),
    ],
)  # fmt: skip
def test_a_row_as_published_is_this_pair(tmp_path, row, prompt):
    (pair,) = load_preferences(lines(tmp_path / "pairs.jsonl", [row]))
    assert {name: pair[name] for name in ("prompt", "chosen", "rejected")} == {
        "prompt": prompt,
        "chosen": GOOD,
        "rejected": BAD,
    }
    assert {*row} <= {*pair}


def test_dialogues_that_part_before_their_last_answers_share_what_they_begin_with(tmp_path):
    start = "\n\nHuman: How long does tea steep?\n\nAssistant:"
    row = {
        "chosen": f"{start} Which tea?\n\nHuman: Green.\n\nAssistant: Two minutes.",
        "rejected": f"{start} It depends.",
    }
    (pair,) = load_preferences(lines(tmp_path / "pairs.jsonl", [row]))
    assert pair["prompt"] == TEA
    assert (pair["chosen"], pair["rejected"]) == ([*LONGER[1:], *GOOD], BAD)


def test_answers_begin_with_the_assistants_words_where_it_is_the_users_that_differ(tmp_path):
    start = "\n\nHuman: How long does tea steep?\n\nAssistant: Which tea?\n\nHuman:"
    row = {
        "chosen": f"{start} Green.\n\nAssistant: Two minutes.",
        "rejected": f"{start} Black.\n\nAssistant: It depends.",
    }
    (pair,) = load_preferences(lines(tmp_path / "pairs.jsonl", [row]))
    assert pair["prompt"] == TEA
    assert (pair["chosen"], pair["rejected"]) == (
        [*LONGER[1:], *GOOD],
        [LONGER[1], {"role": "user", "content": "Black."}, *BAD],
    )


def test_an_empty_answer_and_two_alike_are_answers_of_a_dialogue(tmp_path):
    start = "\n\nHuman: How long does tea steep?\n\nAssistant:"
    rows = [
        {"chosen": start, "rejected": f"{start} It depends."},
        {"chosen": f"{start} Yes.", "rejected": f"{start} Yes."},
    ]
    empty, alike = load_preferences(lines(tmp_path / "pairs.jsonl", rows))
    assert (empty["prompt"], empty["chosen"], empty["rejected"]) == (TEA, [assistant("")], BAD)
    assert (alike["prompt"], alike["chosen"], alike["rejected"]) == (TEA, [assistant("Yes.")], [assistant("Yes.")])


@pytest.mark.parametrize("row", [ULTRAFEEDBACK, ARGILLA_MIX])
def test_two_conversations_alike_have_a_prompt_as_well(tmp_path, row):
    (pair,) = load_preferences(lines(tmp_path / "pairs.jsonl", [{**row, "rejected": row["chosen"]}]))
    assert (pair["prompt"], pair["chosen"], pair["rejected"]) == (row["chosen"][:-1], GOOD, GOOD)


def test_text_that_only_speaks_of_turns_stays_text(tmp_path):
    row = {
        "chosen": "The play.\n\nHuman: Who?\n\nAssistant: I.",
        "rejected": "The play.\n\nHuman: Who?\n\nAssistant: He.",
    }
    (pair,) = load_preferences(lines(tmp_path / "pairs.jsonl", [row]))
    assert (pair["prompt"], pair["chosen"]) == ("The play.\n\nHuman: Who?\n\nAssistant:", " I.")


def test_that_dialogues_become_messages_is_noted(tmp_path, capsys):
    check_table(lines(tmp_path / "pairs.jsonl", [HH, HH]))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hh-rlhf's dialogues are read as messages")


def test_rows_that_prefer_neither_answer_are_left_out_with_a_note(tmp_path, capsys):
    rows = [{**ARGILLA_ORCA, "status": "tie"}, ARGILLA_ORCA, {**ARGILLA_ORCA, "status": "tie"}]
    assert len(load_preferences(lines(tmp_path / "pairs.jsonl", rows))) == 1
    assert "left out 2 rows that prefer neither answer (first row 1: status is tie)" in capsys.readouterr().err
    steer = [{**HELPSTEER2, "preference_strength": 0}, {**HELPSTEER2, "preference_strength": 3}]
    (pair,) = load_preferences(lines(tmp_path / "steer.jsonl", steer))
    assert (pair["chosen"], pair["rejected"], pair["pair_id"]) == (BAD, GOOD, "row-00000001")
    with pytest.raises(HarnessError, match="prefers no answer in any row"):
        load_preferences(lines(tmp_path / "ties.jsonl", steer[:1]))


def test_single_rated_answers_are_no_pairs_and_say_where_pairs_are(tmp_path):
    scores = dict.fromkeys(("helpfulness", "correctness", "coherence", "complexity", "verbosity"), 3)
    rows = [
        {"prompt": "How long does tea steep?", "response": text, **scores} for text in ("Two minutes.", "It depends.")
    ]
    with pytest.raises(HarnessError, match="HelpSteer rates single answers; its pairs are HelpSteer2's `preference`"):
        check_table(lines(tmp_path / "pairs.jsonl", rows))


def test_a_folder_of_the_hub_is_found_where_no_configuration_is_called_so(monkeypatch):
    asked = []

    def load(name, config=None, **options):
        asked.append((name, config, options))
        if config is not None:
            raise ValueError(f"BuilderConfig '{config}' not found. Available: ['default']")
        return Dataset.from_list([HH]).to_iterable_dataset()

    monkeypatch.setattr("harness.preferences.tables.load_dataset", load)
    (pair,) = load_preferences("Anthropic/hh-rlhf", config="harmless-base", split="test")
    assert pair["prompt"] == TEA
    assert asked[1] == ("Anthropic/hh-rlhf", None, {"data_dir": "harmless-base", "split": "test", "streaming": True})


def test_kept_dialogues_train_as_they_were_scored():
    """What `harness filter` writes of them."""
    (row,) = trainable_rows([HH])
    assert (row["prompt"], row["chosen"], row["rejected"]) == (TEA, GOOD, BAD)
