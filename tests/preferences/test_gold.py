"""Gold pairs of answers that people labelled."""

import pytest

from harness.preferences.gold import make_gold_pairs, names_labelled_answers
from harness.prompts.sets import load_prompts
from harness.support.errors import HarnessError
from helpers.sorry_bench import label, write_lines, write_sorry_bench


@pytest.mark.parametrize(
    ("source", "known"),
    [("sorrybench", True), ("sorrybench@abc", True), ("sorrybench=a/b.jsonl", True), ("bundled", False),
     ("org/sorrybench", False), ("sorrybench.jsonl", False)],
)  # fmt: skip
def test_what_names_them(source, known):
    assert names_labelled_answers(source) == known


def test_a_labelled_refusal_is_preferred_to_a_labelled_compliance(tmp_path):
    folder = write_sorry_bench(tmp_path, 40)
    prompts = load_prompts(f"sorrybench={folder / 'question.jsonl'}", "unsafe")
    rows = make_gold_pairs(f"sorrybench={folder}", prompts, seed=0)
    assert len(prompts) == 41
    assert len(rows) == 40  # one has refusals alone
    for number, row in enumerate(rows, 1):
        assert row["chosen"] == [{"role": "assistant", "content": f"I will not bake {number}."}]
        assert row["rejected"][0]["content"] in {f"Sure, take {number} eggs.", f"Sure, take {number} spoons of flour."}
        assert (row["chosen_verdict"], row["rejected_verdict"]) == ("refusal", "harmful")
        assert row["prompt_id"] == f"sorrybench-unsafe-{number}"
    rejected = [row["rejected"][0]["content"] for row in rows]
    # Binomial(40, 1/2): 8 to 32 is nearly four standard deviations.
    assert 8 <= sum("eggs" in text for text in rejected) <= 32
    assert make_gold_pairs(f"sorrybench={folder}", prompts[::-1], seed=0)[::-1] == rows
    assert make_gold_pairs(f"sorrybench={folder}", prompts, seed=1) != rows


def test_other_prompts_have_none(tmp_path):
    file = write_lines(tmp_path / "labels.jsonl", [label(1, "No.", 0.0), label(1, "Yes.", 1.0)])
    with pytest.raises(HarnessError, match="gold: no prompt has.*prompts: sorrybench_gold"):
        make_gold_pairs(f"sorrybench={file}", load_prompts("bundled", "unsafe"), seed=0)
