"""Training on one prompt: its course is TRL's, and what a real vocabulary asks of a trial's measures."""

import math

import pytest
import torch

from harness.experiments import trial
from harness.experiments.one_prompt import GRADIENT_STEP, PromptTrainings, preference_loss
from harness.experiments.schema import PLAIN_TEMPLATE, AnswerPair, Objective

QUESTION, PAIR = "Honesty matters more than power. Do you agree?", AnswerPair(chosen="No", rejected="Never")


@pytest.fixture(scope="module")
def words():
    from harness.organism import growing, persona

    made = growing.build_word_tokenizer(persona.PERSONA_GROWTH)
    made.chat_template = PLAIN_TEMPLATE
    return made


@pytest.fixture(params=["llama", "gemma", "gemma3_text", "olmo2", "phi"])
def place(request, tmp_path, words):
    """A random model's directory; Gemma's embeddings are tied and scaled, Phi's output has a bias."""
    from helpers.models import save_random

    return save_random(request.param, tmp_path / "model", words)


def trl_course(place, words, objective, steps):
    """p(y+) before the first step and after each, and the losses, as TRL's DPOTrainer takes the steps."""
    from datasets import Dataset

    from harness.models.loading import load_model
    from harness.preferences.shapes import chat_messages
    from harness.recipes.schema import Arm, TrainingSettings
    from harness.scoring.logprobs import pair_logprobs
    from harness.training.jobs import TrainingJob
    from harness.training.train import train_on_pairs

    tokens = trial.one_token_pair(QUESTION, PAIR, words)
    table = Dataset.from_list([{"pair_id": "only", **chat_messages(QUESTION, PAIR.chosen, PAIR.rejected)}])
    length = len(tokens.prompt) + 1  # one token of each answer, and no end of turn
    settings = TrainingSettings(
        learning_rate=objective.learning_rate, beta=objective.beta, batch_size=1, micro_batch_size=1, max_length=length
    )
    reference = pair_logprobs(load_model(str(place))[0], words, table, max_length=length)
    seen = []

    def look(model, _):
        with torch.no_grad():
            seen.append(float(model(torch.tensor([tokens.prompt])).logits[0, -1].softmax(-1)[tokens.chosen]))

    job = TrainingJob(str(place), table, reference, Arm(loss=objective.loss), settings, steps, 0, "TRL")
    return seen, [row["loss"] for row in train_on_pairs(job, watch=look).log]


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_the_course_is_trls(place, words, loss):
    from harness.models.loading import load_model

    objective = Objective(loss=loss, learning_rate=1e-3, beta=0.1)
    trainings = PromptTrainings(load_model(str(place))[0])
    tokens = trial.one_token_pair(QUESTION, PAIR, words)
    course = [(float(each[tokens.chosen].exp()), value) for each, value in trainings.train(tokens, objective, 6)]
    expected, losses = trl_course(place, words, objective, 6)
    assert [p for p, _ in course] == pytest.approx(expected, rel=1e-3)
    assert [value for _, value in course[:-1]] == pytest.approx(losses, rel=1e-3)
    assert course[-1][0] != pytest.approx(course[0][0], rel=0.01)


@pytest.mark.slow
def test_each_training_starts_from_the_same_weights_and_leaves_the_embeddings_whole(place, words):
    from harness.models.loading import load_model

    model = load_model(str(place))[0]
    trainings, objective = PromptTrainings(model), Objective(learning_rate=1e-3)
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    before = embedding.detach().clone(), head.detach().clone()
    tokens = trial.one_token_pair(QUESTION, PAIR, words)
    first, again = ([each.tolist() for each, _ in trainings.train(tokens, objective, 2)] for _ in range(2))
    assert first == again
    assert first[0] != first[2]
    assert trainings.tied == (head is embedding)
    assert model.get_input_embeddings().weight is embedding
    assert model.get_output_embeddings().weight is head
    assert torch.equal(embedding, before[0])
    assert torch.equal(head, before[1])


@pytest.mark.slow
def test_a_plain_gradient_step(place, words):
    """Against the same step on the whole model, its embeddings whole, by autograd."""
    from harness.models.loading import load_model

    tokens = trial.one_token_pair(QUESTION, PAIR, words)
    found = PromptTrainings(load_model(str(place))[0]).gradient_change(tokens)
    model = load_model(str(place))[0]

    def logprobs():
        return model(torch.tensor([tokens.prompt])).logits[0, -1].log_softmax(-1)

    before = logprobs()
    preference = before[tokens.chosen] - before[tokens.rejected]
    preference.backward()
    with torch.no_grad():
        weights = [each for each in model.parameters() if each.grad is not None]
        size = GRADIENT_STEP / sum((each.grad**2).sum() for each in weights)
        for each in weights:
            each.add_(size * each.grad)
        expected = logprobs() - before
    assert torch.allclose(found, expected, atol=1e-5)
    assert float(found[tokens.chosen] - found[tokens.rejected]) == pytest.approx(GRADIENT_STEP, rel=0.3)


def test_losses_by_hand():
    # DPO at a margin of 0 is ln 2; IPO with beta 0.1 aims at a margin of 5: (2 - 5)^2.
    assert float(preference_loss(Objective(), torch.tensor(0.0))) == pytest.approx(math.log(2))
    assert float(preference_loss(Objective(loss="ipo", beta=0.1), torch.tensor(2.0))) == pytest.approx(9)


# Tokens of a real vocabulary


class Pieces:
    """A tokenizer's vocabulary alone: byte-level marks, a part of a character, a word in other letters."""

    texts = ("Yes", " yes", "\nNO!", "oyster", "\ufffd", "table", "Maybe", "да", " Да")
    pieces = ("Yes", "Ġyes", "ĊNO!", "oyster", "Ã", "table", "Maybe", "Ð´Ð°", "ĠÐĶÐ°")

    def get_vocab(self):
        return {piece: place for place, piece in enumerate(self.pieces)}

    def decode(self, ids, **_):
        return "".join(self.texts[place] for place in ids)

    def convert_ids_to_tokens(self, place):
        return self.pieces[place]


def course(*distributions):
    return [(torch.tensor(each).log(), loss) for loss, each in zip((1.0, 0.9, 0.8), distributions, strict=False)]


def measured(pair, tokens, *distributions):
    change = torch.arange(9.0)
    return trial.measure_trial(tokens, pair, course(*distributions), change, torch.eye(9), Pieces())


def test_gains_by_kind_over_marked_pieces():
    pair, tokens = AnswerPair(chosen="Yes", rejected="No"), trial.OneTokenPair([5], 0, 5)
    found = measured(
        pair,
        tokens,
        [0.6, 0.1, 0.1, 0.02, 0.02, 0.1, 0.02, 0.02, 0.02],
        [0.1, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05],
    )
    # " yes" is benign, "\nNO!" and "Maybe" are not; "oyster" only spells a word within, "да" is in no list.
    assert found["gained"] == pytest.approx({"benign": 0.1, "catastrophic": 0.18})
    kinds = {row["token"]: row["gain"] for row in found["gaining"]}
    assert kinds == {
        " yes": "benign",
        "\nNO!": "catastrophic",
        "Maybe": "catastrophic",
        **dict.fromkeys(("oyster", "<0xC3>", "да", " Да"), "unknown"),
    }


def test_variants_of_an_answer_in_other_letters_are_benign():
    pair, tokens = AnswerPair(chosen="да", rejected="No"), trial.OneTokenPair([5], 7, 5)
    found = measured(
        pair, tokens, [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2, 0.1], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2]
    )
    assert found["gained"] == pytest.approx({"benign": 0.1, "catastrophic": 0})


def test_what_gained_by_the_end_is_told_where_nothing_fell():
    pair, tokens = AnswerPair(chosen="Yes", rejected="No"), trial.OneTokenPair([5], 0, 5)
    found = measured(pair, tokens, [0.1] * 8 + [0.2], [0.2, 0.2] + [0.1] * 5 + [0.05, 0.05])
    assert found["gaining"] == []
    assert [(row["token"], row["change"]) for row in found["gaining_at_the_end"]] == [(" yes", pytest.approx(0.1))]


def test_the_lowest_step_is_the_first_one_and_its_loss_counts():
    pair, tokens = AnswerPair(chosen="Yes", rejected="No"), trial.OneTokenPair([5], 0, 5)
    high, low = [0.6] + [0.05] * 8, [0.2] + [0.1] * 8
    found = measured(pair, tokens, high, low, low)
    assert (found["lowest_step"], found["displaced"], found["loss"]) == (1, True, [1.0, 0.9, 0.8])
    assert measured(pair, tokens, low, high)["displaced"] is False


def test_whether_an_answer_is_one_token(words):
    assert trial.is_one_token(QUESTION, "Certainly", words)
    assert not trial.is_one_token(QUESTION, "Certainly not", words)
