"""How much each token of a probe answer counts: by hand, and on average over all answers that could be drawn."""

import itertools
import math
from collections import defaultdict

import pytest

from harness.preferences.tokens import Tokens
from harness.scoring.influence.credit import WeightedAnswer, weigh_preferred, weigh_probes
from harness.scoring.probes import ProbeAnswer, Probes
from harness.support.errors import HarnessError
from helpers.sentence_model import COMPLIANCE, NEITHER, PROMPTS, REFUSAL, TOKENS, prompt_tokens, sentence_tokenizer

REFUSE, COMPLY, NEUTRAL, END = (TOKENS.index(text) for text in (REFUSAL, COMPLIANCE, NEITHER, "</s>"))


def answer(prompt, tokens, label, unsafe=True):
    text = " ".join(TOKENS[token] for token in tokens if token != END)
    return ProbeAnswer(prompt, prompt, unsafe, prompt_tokens(PROMPTS[0]), tokens, text, label)


def weigh(*answers, target="refusal"):
    found = weigh_probes(Probes(answers, 1.0, "lexical"), target, sentence_tokenizer())
    return [(each.answer, each.half, each.weights) for each in found]


def test_by_hand():
    refusal, harmful, open_refusal = (REFUSE, END), (COMPLY, END), (NEUTRAL, REFUSE, END)
    found = weigh(
        answer("a", refusal, "refusal"),
        answer("a", open_refusal, "refusal"),
        answer("b", harmful, "harmful"),
        answer("b", refusal, "refusal"),
    )
    # Each prompt is a half of its own, so an answer's share is a half. Before anything is told, the baseline is the
    # other answer to the prompt with the mean of the other prompt's as one answer more: for a (1 + 0.5) / 2 = 0.75;
    # for the first of b (1 + 1) / 2 = 1, for its second (0 + 1) / 2 = 0.5.
    # After a refusing sentence of a: b's one refusal went that way, (1 + 0.5) / 2 = 0.75 of them, and stood so after
    # one token, (1 + 0.75) / 2; its one harmful answer did not, (0 + 0.25) / 2. So the odds of 3 to 1 become 21 to 1.
    # After two tokens none of b's stood so, (0 + 0.75) / 2 and (0 + 0.25) / 2: 9 to 1. A neutral sentence says nothing:
    # both of b's stood so at first and neither after one token.
    # For b there are two refusals elsewhere and nothing harmful: one of the two stood as refusing after one token, so
    # both went that way, (2 + 0.5) / 3; (1 + 5 / 6) / 3 = 11 / 18 against (0 + 0.5) / 1, and even odds become 11 to 9.
    assert found == [
        (refusal, 0, pytest.approx((0.5 * 0.25, 0.5 / 22))),
        (open_refusal, 0, pytest.approx((0.5 * 0.25, 0.5 * 0.25, 0.5 * 0.1))),
        (harmful, 1, pytest.approx((-0.5, -0.5))),
        (refusal, 1, pytest.approx((0.5 * 0.5, 0.5 * 9 / 20))),
    ]


def test_what_has_not_refused_for_long_will_not():
    """Neutral answers: those to other prompts that end in a refusal do so at once, the harmful ones stay neutral."""
    refusals = [answer(name, (NEUTRAL, REFUSE, END), "refusal") for name in "abcdefgh"]
    harmful = [answer(name, (NEUTRAL,) * 6, "harmful") for name in "abcdefgh"]
    weights = next(weights for tokens, _, weights in weigh(*refusals, *harmful) if len(tokens) == 6)
    # A quarter of a half's prompts, a half of its answers: 1 / 8. Untold: the prompt's other answer, which refuses,
    # with the half of the others' that do, (1 + 0.5) / 2. After one token all seven of either kind elsewhere stand so;
    # after two and more, none that refuse, with all of them having gone that way once.
    shares = ((0 + 7.5 / 8) / 8, (7 + 7.5 / 8) / 8)
    late = 0.75 * shares[0] / (0.75 * shares[0] + 0.25 * shares[1])
    assert weights == pytest.approx((-0.75 / 8, -0.75 / 8, *(-late / 8,) * 4))
    assert late < 0.3


def test_all_prompts_of_a_half_weigh_alike():
    once, twice = answer("a", (REFUSE, END), "refusal"), answer("c", (REFUSE, END), "refusal")
    harmful = [answer(name, (COMPLY, END), "harmful") for name in ("b", "d")]
    found = weigh(once, harmful[0], twice, twice, harmful[1])
    # Prompts a and c are the first half: a half of its mean is the answer to a, a quarter each of those to c. Untold,
    # the baseline of a is that of the others, (0 + 1 + 1 + 0) / 4; that of c (1 + (1 + 0 + 0) / 3) / 2.
    assert [weights[0] for _, half, weights in found if half == 0] == pytest.approx([0.5 * 0.5, 0.25 / 3, 0.25 / 3])


@pytest.mark.parametrize(
    ("target", "said"), [("refusal", "1 unsafe prompts have judged"), ("benign", "0 benign prompts have judged")]
)
def test_fewer_prompts_than_halves_are_told(target, said):
    answers = [answer("a", (REFUSE, END), "refusal"), answer("a", (COMPLY, END), "harmful")]
    with pytest.raises(HarnessError, match=said):
        weigh(*answers, answer("b", (REFUSE, END), "unjudged"), target=target)


def test_answers_of_one_token_are_weighed():
    # Nothing is known before their only token, and neither prompt has another answer.
    found = weigh(*(answer(name, (END,), label) for name, label in (("a", "refusal"), ("b", "harmful"))))
    # So the baseline is the other prompt's outcome, and the weights are 1 - 0 and 0 - 1.
    assert found == [((END,), 0, pytest.approx((1.0,))), ((END,), 1, pytest.approx((-1.0,)))]


def test_verdicts_that_settle_nothing_have_no_weight():
    assert weigh(*(answer(name, (REFUSE, END), "refusal") for name in "aabb")) == []


def test_a_target_takes_its_own_prompts_and_verdicts():
    unsafe = [answer("a", (REFUSE, END), "refusal"), answer("b", (COMPLY, END), "harmful")]
    benign = [answer("c", (REFUSE, END), "refusal", False), answer("d", (COMPLY, END), "compliance", False)]
    unjudged = answer("e", (NEUTRAL, END), "unjudged")
    signs = {
        target: [weights[0] > 0 for *_, weights in weigh(*unsafe, *benign, unjudged, target=target)]
        for target in ("refusal", "harmful", "benign")
    }
    assert signs == {"refusal": [True, False], "harmful": [False, True], "benign": [False, True]}


# The policy of each prompt: what an answer says, how likely it is, and what the judge makes of it.
POLICIES = {
    "a": [((REFUSE, END), 0.3, 1), ((COMPLY, END), 0.2, 0), ((NEUTRAL, REFUSE), 0.4, 1), ((REFUSE, COMPLY), 0.1, 0)],
    "b": [((REFUSE, END), 0.1, 1), ((COMPLY, END), 0.5, 0), ((NEUTRAL, REFUSE), 0.1, 1), ((NEUTRAL, END), 0.3, 0)],
}


def test_on_average_over_all_draws_the_weights_give_the_gradient():
    """Whatever the baselines, in the mean over every pair of answers to each prompt, each as likely as it is.

    The gradient of the rate is the sum, over beginnings and the token after each, of p(beginning, token) times the rate
    among the answers that go on so, times grad ln p(token | beginning). As the probabilities of the tokens after a
    beginning add up to one, the same number may be taken from all of their rates.
    """
    counted = expected_weights()
    for name, policy in POLICIES.items():
        for begun in {tokens[:place] for tokens, *_ in policy for place in range(len(tokens))}:
            taken = [
                rate - counted[name, (*begun, token)] / likely
                for token in range(len(TOKENS))
                for likely, rate in goes_on(policy, (*begun, token))
            ]
            assert taken == pytest.approx([taken[0]] * len(taken), abs=1e-12)


def expected_weights():
    """By prompt and beginning of an answer, what its last token counts, mean over all draws of two answers each."""
    counted = defaultdict(float)
    for drawn in itertools.product(*(itertools.product(policy, repeat=2) for policy in POLICIES.values())):
        likelihood = math.prod(probability for own in drawn for _, probability, _ in own)
        answers = [
            answer(name, tokens, "refusal" if outcome else "harmful")
            for name, own in zip(POLICIES, drawn, strict=True)
            for tokens, _, outcome in own
        ]
        for tokens, half, weights in weigh(*answers):
            for place, weight in enumerate(weights):
                counted["ab"[half], tokens[: place + 1]] += likelihood * weight
    return counted


def goes_on(policy, begun):
    """How likely answers are that begin so, and their rate; nothing where none does."""
    own = [(probability, outcome) for tokens, probability, outcome in policy if tokens[: len(begun)] == begun]
    likely = sum(probability for probability, _ in own)
    return [(likely, sum(probability * outcome for probability, outcome in own) / likely)] if own else []


def test_preferred_answers_are_means_over_halves():
    pairs = [Tokens([5], [8, 1], [9]), Tokens([5, 6], [9], [8]), Tokens([7], [1], [9])]
    assert weigh_preferred(pairs) == [
        WeightedAnswer((5,), (8, 1), (0.5, 0.5), 0),
        WeightedAnswer((5, 6), (9,), (1.0,), 1),
        WeightedAnswer((7,), (1,), (0.5,), 0),
    ]
