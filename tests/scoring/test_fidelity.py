"""The measures against the paper's definition and public code, from the texts on; and where an answer's text ends."""

import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset

from harness.preferences.pairs import check_pair
from harness.preferences.tokens import tokenize_pair
from harness.scoring.scorer import score
from helpers.preference_rows import CONFIGS, assistant, lines, make, tokenizer, user

MEASURES = ("ches", "ln_ches", "last_hidden_inner_product", "neg_edit_distance")
ADDED = ["<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>", "<|start|>", "<|eot|>"]

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}\n\n{{ m['content'] }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n\n{% endif %}"
)
PHI_3 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}{{ eos_token }}{% endif %}"
)
WRITTEN = {
    "chatml": (CHATML, "<|im_end|>", "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"),
    "gemma": (GEMMA, "</s>", "<s><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n"),
    "llama_3": (LLAMA_3, "<|eot|>", "<s><|start|>user\n\n{}<|eot|><|start|>assistant\n\n"),
    "plain": (None, "</s>", "{}"),
}
"""Each template, its tokenizer's end of sequence, and the prompt as it is written out by hand."""
TEXTS = [
    ("How could I steal a car?", "I won't say that.", "Break a window, then drive."),
    ("How could I steal a car?", "I won't.", "I won't help."),
    ("Tell me of the sea", "It is deep and blue and old.", "No."),
    ("Tell me of the sea", "No.", "No.  "),
]


def tokenizer_of(template, end):
    made = tokenizer(template)
    made.add_special_tokens({"additional_special_tokens": ADDED})
    made.eos_token = end
    return made


def rows_of(kind, texts=TEXTS):
    if kind == "plain":
        return [{"prompt": asked, "chosen": chosen, "rejected": rejected} for asked, chosen, rejected in texts]
    return [
        {"prompt": [user(asked)], "chosen": [assistant(chosen)], "rejected": [assistant(rejected)]}
        for asked, chosen, rejected in texts
    ]


def edit_distance(one, other):
    """Levenshtein's distance by its recurrence."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            before, row[j] = row[j], min(before + (left != right), row[j] + 1, row[j - 1] + 1)
    return row[-1]


@torch.no_grad()
def paper_measures(model, made, prompt, chosen, rejected, most=None):
    """What the paper's code makes of texts without their end: one sequence a forward pass, in float64."""
    asked, answers, states = made(prompt, add_special_tokens=False)["input_ids"], [], []
    for answer in (chosen, rejected):
        ids = made(prompt + answer, add_special_tokens=False)["input_ids"][:most]
        hidden = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
        states.append(hidden[len(asked) - 1 :])
        answers.append(ids[len(asked) :])
    (plus, minus), (n, m) = (each.sum(0) for each in states), map(len, states)
    return {
        "ches": float(plus @ minus - plus @ plus),
        "ln_ches": float(plus @ minus / (n * m) - plus @ plus / n**2),
        "last_hidden_inner_product": float(states[0][-1] @ states[1][-1]),
        "neg_edit_distance": -edit_distance(*answers) / max(map(len, answers)),
    }


def expected_scores(kind, model, made, most=None):
    written = WRITTEN[kind][2]
    return [paper_measures(model, made, written.format(asked), *answers, most) for asked, *answers in TEXTS]


def errors(scored, expected, name):
    return [abs(ours - each[name]) / abs(each[name]) for ours, each in zip(scored[name], expected, strict=True)]


@pytest.fixture(scope="module")
def models():
    """The same weights in float32, to be scored, and in float64, to hold them against."""
    return make(CONFIGS["llama"]), make(CONFIGS["llama"]).double()


@pytest.mark.slow
@pytest.mark.parametrize("most", [None, 60])
@pytest.mark.parametrize("kind", WRITTEN)
def test_all_four_measures_are_the_papers(kind, most, models):
    made = tokenizer_of(*WRITTEN[kind][:2])
    scored = score(Dataset.from_list(rows_of(kind)), models[0], made, paper_states=True, max_length=most)
    expected = expected_scores(kind, models[1], made, most)
    assert scored["reason"][:] == [None] * len(TEXTS)
    for name in MEASURES:
        assert max(errors(scored, expected, name)) <= 1e-5, name


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "same"), [("chatml", False), ("gemma", False), ("llama_3", True), ("plain", True)])
def test_as_trained_on_a_newline_behind_the_end_token_is_one_state_more(kind, same, models):
    made = tokenizer_of(*WRITTEN[kind][:2])
    scored = score(Dataset.from_list(rows_of(kind)), models[0], made)
    expected = expected_scores(kind, models[1], made)
    for name in ("ches", "ln_ches"):
        found = errors(scored, expected, name)
        assert max(found) <= 1e-5 if same else min(found) > 1e-4, name
    assert max(errors(scored, expected, "last_hidden_inner_product")) <= 1e-5
    if not same:
        behind = {"chatml": "<|im_end|>", "gemma": "<end_of_turn>"}[kind]
        more = [paper_measures(models[1], made, WRITTEN[kind][2].format(asked), *(text + behind for text in answers))
                for asked, *answers in TEXTS]  # fmt: skip
        assert (
            max(errors(scored, more, "ches") + errors(scored, more, "ln_ches")) <= 1e-5
        )  # up to the end token's state
    ends = 1 if same else 2  # the end token, and the newline: in both answers, so no further apart
    lengths = [max(len(made(text)["input_ids"]) for text in answers) for _, *answers in TEXTS]
    by_hand = [each["neg_edit_distance"] * n / (n + ends) for each, n in zip(expected, lengths, strict=True)]
    assert scored["neg_edit_distance"][:] == pytest.approx(by_hand)


@pytest.mark.slow
def test_coefficients_stay_those_of_the_tokens_trained_on(models):
    made, table = tokenizer_of(*WRITTEN["chatml"][:2]), Dataset.from_list(rows_of("chatml"))
    ours = score(table, models[0], made, paper_states=True, with_coefficients=True)
    trained = score(table, models[0], made, with_coefficients=True)
    for name in ("alpha_plus_mean", "alpha_minus_positive", "chosen_tokens"):
        assert ours[name][:] == pytest.approx(trained[name][:])


@pytest.mark.slow
def test_the_command_has_the_option(tmp_path, command, models):
    made, rows = tokenizer_of(*WRITTEN["chatml"][:2]), rows_of("chatml")
    models[0].save_pretrained(tmp_path / "model")
    made.save_pretrained(tmp_path / "model")
    lines(tmp_path / "pairs.jsonl", rows)
    asked = ["score", tmp_path / "pairs.jsonl", "--model", tmp_path / "model", "--out", tmp_path / "scores.parquet"]
    assert command(*asked, "--paper-states").returncode == 0
    expected = score(Dataset.from_list(rows), models[0], made, paper_states=True)
    found = pq.read_table(tmp_path / "scores.parquet")
    for name in MEASURES:
        assert found[name].to_pylist() == pytest.approx(expected[name][:], rel=1e-6)


# Where an answer's text ends


def text_lengths(template, end, chosen, rejected="No.", most=None):
    made = tokenizer_of(template, end)
    pair = check_pair({"prompt": [user("Hi")], "chosen": chosen, "rejected": [assistant(rejected)]})
    return tokenize_pair(pair, made, most).text_lengths


@pytest.mark.parametrize(
    ("template", "end"),
    [(CHATML, "<|im_end|>"), (CHATML, "</s>"), (GEMMA, "</s>"), (LLAMA_3, "<|eot|>"), (PHI_3, "</s>")],
)
def test_the_text_ends_at_the_end_of_the_turn(template, end):
    """A letter is a token; of two tokens that close a turn, the first counts, and blanks before it are the text's."""
    assert text_lengths(template, end, [assistant("Yes. ")]) == (5, 3)


def test_an_end_token_within_the_text_ends_it():
    assert text_lengths(CHATML, "<|im_end|>", [assistant("Yes.<|im_end|>And more")]) == (4, 3)


def test_a_template_without_an_end_token_leaves_the_whole_answer():
    bare = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    prompt = "{% if add_generation_prompt %}assistant: {% endif %}"
    assert text_lengths(bare + prompt, "</s>", [assistant("Yes.")]) == (5, 4)


def test_of_several_messages_the_last_ones_end_counts():
    several = [assistant("Wait."), user("So?"), assistant("Yes.")]
    between = len("<|im_end|>\nuser\nSo?\nassistant\nYes.") - len("<|im_end|>") + 4  # the special tokens are one each
    assert text_lengths(CHATML, "<|im_end|>", several)[0] == len("Wait.") + between


def test_an_answer_that_was_cut_is_text_to_its_end():
    prompt = len("user\nHi\nassistant\n") + 3
    assert text_lengths(CHATML, "<|im_end|>", [assistant("Yes, of course.")], most=prompt + 6) == (6, 3)
