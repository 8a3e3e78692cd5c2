"""The end of a batch of answers, held against lm-eval's own criterion as the answers grow."""

import random

import pytest
import torch
from lm_eval.models.utils_hf import MultiTokenEOSCriteria

from harness.evaluation.stopping import AllRowsHold

PROMPT, ROWS, LONGEST = 3, 3, 24


@pytest.mark.parametrize("text", ["</s>", "\n\n", "I can"])
def test_a_batch_ends_where_lm_evals_own_criterion_ends_it(tokenizer, text):
    """Rows are made of the text and of its single tokens among others, so it comes whole, split and not at all."""
    stop = text if text != "</s>" else tokenizer.eos_token
    pieces = [tokenizer.encode(stop, add_special_tokens=False), tokenizer.encode("No. I can", add_special_tokens=False)]
    pieces += [[token] for token in pieces[0] + pieces[1]]
    draw, ended = random.Random(text), 0
    for _ in range(40):
        rows = [[token for _ in range(LONGEST) for token in draw.choice(pieces)][:LONGEST] for _ in range(ROWS)]
        ids = torch.tensor([[0] * PROMPT + row for row in rows])
        theirs, ours = MultiTokenEOSCriteria(stop, tokenizer, PROMPT, ROWS), AllRowsHold(stop, tokenizer, PROMPT)
        for width in range(PROMPT + 1, PROMPT + LONGEST + 1):
            expected = theirs(ids[:, :width], None)
            assert ours(ids[:, :width], None) == expected
            ended += expected
    assert ended  # some batches came to their end


def test_few_rows_are_decoded(tokenizer):
    """Of 100 rows that all go on the first is decoded; of those that hold the end token none."""
    going_on = tokenizer.encode("a", add_special_tokens=False)[0]
    decoded = []

    class Counting:
        encode = staticmethod(tokenizer.encode)

        def decode(self, tokens):
            decoded.append(tokens)
            return tokenizer.decode(tokens)

    criterion = AllRowsHold(tokenizer.eos_token, Counting(), 0)
    decoded.clear()
    assert not criterion(torch.full((100, 4), going_on), None)
    assert decoded == [[going_on] * 4]
    assert criterion(torch.full((100, 4), tokenizer.eos_token_id), None)
    assert len(decoded) == 1
