"""Plain tables of answers: what is read of them, how they are judged, and what is refused, by file and line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.gate.decision import run_gate
from harness.gate.policy import Guard, Policy
from harness.readers.detect import read_side
from harness.support.errors import HarnessError

REFUSAL, DONE = "I'm sorry, but I can't help with that.", "Sure. Start with a plan, and go through it step by step."
UNSAFE_ALONE = Policy(metrics={"refusal_rate": Guard(), "harmful_completion_rate": Guard()})


def rows(refused: int, prompts: int = 100, **more: object) -> list[dict[str, object]]:
    """Answers to unsafe prompts, the first `refused` of them refusals; the words of the others tell the sides apart."""
    return [
        {"prompt": f"Request number {n}?", "response": REFUSAL if n < refused else f"{DONE} ({refused})", **more}
        for n in range(prompts)
    ]


def write_lines(path: Path, table: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    return path


def write_csv(path: Path, table: list[dict[str, object]], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(table[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(table)
    path.write_bytes(stream.getvalue().encode(encoding))
    return path


def losses(before: Path, after: Path, policy: Policy = UNSAFE_ALONE, judge: str | None = None) -> dict[str, float]:
    outcome = run_gate(before, after, policy, judge=judge)
    return {check.metric: check.loss for check in outcome.checks if check.category is None}


def refused(path: Path, message: str, place: str = "") -> None:
    with pytest.raises(HarnessError, match=message) as caught:
        read_side(path, ())
    assert f"{path}{place}" in str(caught.value)


def read_or_refused(path: Path) -> str:
    """Where a file could be read, and else what is said of it."""
    try:
        return str(read_side(path, ()).evaluations[0].path)
    except HarnessError as error:
        return str(error)


# What is read


def test_answers_without_verdicts_are_judged_on_the_way_in(tmp_path):
    before, after = write_lines(tmp_path / "a.jsonl", rows(90)), write_lines(tmp_path / "b.jsonl", rows(60))
    assert losses(before, after) == pytest.approx({"refusal_rate": 0.3, "harmful_completion_rate": 0.3})
    assert read_side(before, ()).evaluations[0].settings["unsafe prompts"].judge == "lexical"
    assert losses(before, after, judge="prefixes") == losses(before, after)
    assert read_side(before, (), judge="prefixes").evaluations[0].settings["unsafe prompts"].judge == "prefixes"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_csv_with_any_usual_separator_and_mark_says_what_json_lines_say(tmp_path, delimiter, encoding):
    before = write_csv(tmp_path / "a.csv", rows(90, unsafe="TRUE"), delimiter, encoding)
    assert losses(before, write_lines(tmp_path / "b.jsonl", rows(60))) == losses(
        write_lines(tmp_path / "a.jsonl", rows(90)), tmp_path / "b.jsonl"
    )


def test_verdicts_of_the_file_count_whatever_the_answer_says(tmp_path):
    table = [row | {"verdict": "Harmful", "judge": "people"} for row in rows(100, 100)]
    side = read_side(write_lines(tmp_path / "a.jsonl", table), ())
    assert {answer.verdict for answer in side.evaluations[0].answers} == {"harmful"}
    assert side.evaluations[0].settings["unsafe prompts"].judge == "people"


def test_what_harness_judge_wrote_is_read_with_its_flags(tmp_path):
    told = {"verdict": "harmful", "reason": "so", "flags": ["partial", "fallback"], "cut": ["thinking"], "judged": "x"}
    answer = read_side(write_lines(tmp_path / "a.jsonl", rows(1, 1, **told)), ()).evaluations[0].answers[0]
    assert (answer.reason, answer.flags, answer.cut, answer.judged) == (
        "so",
        {"partial", "fallback"},
        ("thinking",),
        "x",
    )


def test_who_judged_is_compared_where_both_say_so_and_told_where_one_does_not(tmp_path):
    table = [row | {"verdict": "refusal" if row["response"] == REFUSAL else "harmful"} for row in rows(90)]
    after = write_lines(tmp_path / "b.jsonl", rows(60))
    named = write_lines(tmp_path / "a.jsonl", [row | {"judge": "gpt"} for row in table])
    with pytest.raises(HarnessError, match=r"judge of unsafe prompts differs \(gpt and lexical\)"):
        run_gate(named, after, UNSAFE_ALONE)
    outcome = run_gate(write_lines(tmp_path / "c.jsonl", table), after, UNSAFE_ALONE)
    assert any("not compared: " in note and "who judged" in note for note in outcome.notes)
    assert losses(tmp_path / "c.jsonl", after) == pytest.approx({"refusal_rate": 0.3, "harmful_completion_rate": 0.3})


def test_every_judge_of_a_file_counts_not_only_that_of_its_first_answer(tmp_path):
    told = [row | {"verdict": "refusal", "judge": "strict"} for row in rows(100)]
    before, second = write_lines(tmp_path / "a.jsonl", told), {"response": "No.", "judge": "lenient"}
    after = write_lines(tmp_path / "b.jsonl", [told[0], *(row | second for row in told[1:])])
    with pytest.raises(HarnessError, match=r"judge of unsafe prompts differs \(strict and lenient, strict\)"):
        run_gate(before, after, UNSAFE_ALONE)


def test_benign_prompts_and_categories_are_told_by_their_columns(tmp_path):
    def table(refused: int) -> list[dict[str, object]]:
        kinds = [{"unsafe": n % 2 == 0, "category": "even" if n % 4 < 2 else "odd"} for n in range(200)]
        return [row | kind for row, kind in zip(rows(refused, 200), kinds, strict=True)]

    outcome = run_gate(
        write_lines(tmp_path / "a.jsonl", table(20)), write_lines(tmp_path / "b.jsonl", table(60)), Policy()
    )
    found = {(check.metric, check.category): check for check in outcome.checks}
    assert found["refusal_rate", None].loss == pytest.approx(-0.2)
    assert found["benign_compliance_rate", None].loss == pytest.approx(0.2)
    assert {category for _, category in found} == {None, "even", "odd"}


def test_any_other_column_may_be_the_policys_field(tmp_path):
    before = write_lines(tmp_path / "a.jsonl", [r | {"source": "own"} for r in rows(90)])
    policy = UNSAFE_ALONE.model_copy(update={"category": "source"})
    outcome = run_gate(before, write_lines(tmp_path / "b.jsonl", rows(80)), policy)
    assert ("refusal_rate", "own") in {(check.metric, check.category) for check in outcome.checks}


def test_a_prompt_that_changed_its_category_counts_in_that_of_before_and_is_told(tmp_path):
    before = write_lines(tmp_path / "a.jsonl", rows(90, category="own"))
    after = write_lines(tmp_path / "b.jsonl", [*rows(60, category="own")[:97], *rows(60, category="other")[97:]])
    outcome = run_gate(before, after, UNSAFE_ALONE)
    assert "3 prompts are in another category after: that of --before counts" in outcome.notes
    assert {check.category for check in outcome.checks} == {None, "own"}


# Several answers, seeds and files


def test_the_order_of_the_file_is_kept(tmp_path):
    table = list(reversed(rows(90)))
    answers = read_side(write_lines(tmp_path / "a.jsonl", table), ()).evaluations[0].answers
    assert [answer.prompt for answer in answers] == [row["prompt"] for row in table]


def test_seeds_of_one_file_are_evaluations_of_one_side(tmp_path):
    table = [row | {"seed": seed} for seed in (1, 2) for row in rows(90)]
    side = read_side(write_lines(tmp_path / "a.jsonl", table), ())
    assert [json.loads(each.seeds) for each in side.evaluations] == [{"seed": "1"}, {"seed": "2"}]
    with pytest.raises(HarnessError, match="--before holds 2 seeds or repeats, --after 1"):
        run_gate(tmp_path / "a.jsonl", write_lines(tmp_path / "b.jsonl", rows(60, seed=1)), UNSAFE_ALONE)


def test_files_below_a_directory_are_repeats_where_they_answer_the_same_and_else_parts(tmp_path):
    (tmp_path / "side").mkdir()
    for number in range(2):
        write_lines(tmp_path / "side" / f"unsafe-{number}.jsonl", rows(90 - number))
        write_lines(tmp_path / "side" / f"benign-{number}.jsonl", rows(5 + number, 60, unsafe=False))
    side = read_side(tmp_path / "side", ())
    assert [(list(each.settings), each.seeds) for each in side.evaluations] == [
        (["benign prompts"], "{}"),
        (["benign prompts"], '{"repeat": 2}'),
        (["unsafe prompts"], "{}"),
        (["unsafe prompts"], '{"repeat": 2}'),
    ]


def test_a_prompt_that_is_put_twice_counts_once_and_more_answers_on_one_side_are_refused(tmp_path):
    once, twice = rows(90), rows(90) + rows(80)
    before, after = write_lines(tmp_path / "a.jsonl", once), write_lines(tmp_path / "b.jsonl", twice)
    with pytest.raises(HarnessError, match=r'generation of unsafe prompts differs.*"answers a prompt": 1.*: 2'):
        run_gate(before, after, UNSAFE_ALONE)
    outcome = run_gate(write_lines(tmp_path / "c.jsonl", rows(95) + rows(85)), after, UNSAFE_ALONE)
    assert outcome.checks[0].prompts == 100
    assert outcome.checks[0].loss == pytest.approx(0.05)


def test_answers_that_are_gone_among_several_to_a_prompt_are_refused(tmp_path):
    """One harmful and one refusing answer to each prompt: where the harmful ones are dropped, all look refused."""
    kept = rows(100) + rows(0)[:1]
    before = write_lines(tmp_path / "a.jsonl", [row | {"response": f"{REFUSAL} No."} for row in rows(100) * 2])
    with pytest.raises(HarnessError, match=r"99 prompts have not as many answers on both sides \(such as .*: 2 and 1"):
        run_gate(before, write_lines(tmp_path / "b.jsonl", kept), UNSAFE_ALONE)
    for seed in (0, 1):
        (tmp_path / "side").mkdir(exist_ok=True)
        write_lines(tmp_path / f"side/{seed}.jsonl", rows(90 - seed))
    assert losses(write_lines(tmp_path / "c.jsonl", rows(95)), tmp_path / "side")["refusal_rate"] == pytest.approx(
        0.055
    )


# What keeps two sides from being compared


def test_a_prompt_that_one_side_lacks_is_refused(tmp_path):
    before, after = write_lines(tmp_path / "a.jsonl", rows(90)), write_lines(tmp_path / "b.jsonl", rows(90)[:-1])
    with pytest.raises(HarnessError, match=r"1 prompts of unsafe prompts are not on both sides"):
        run_gate(before, after, UNSAFE_ALONE)


def test_an_early_look_does_not_say_that_all_prompts_were_put(tmp_path):
    before, after = write_lines(tmp_path / "a.jsonl", rows(190, 200)), write_lines(tmp_path / "b.jsonl", rows(90))
    looks = UNSAFE_ALONE.model_copy(update={"sequential": True})
    assert "100 prompts answered on both sides (so far)" in run_gate(before, after, looks).notes[0]


def test_the_same_file_the_same_answers_and_one_model_twice_are_refused(tmp_path):
    one = write_lines(tmp_path / "a.jsonl", rows(90))
    with pytest.raises(HarnessError, match="same directory"):
        run_gate(one, one, UNSAFE_ALONE)
    spaced = tmp_path / "b.jsonl"
    spaced.write_text(one.read_text().replace('": "', '":  "'))
    with pytest.raises(HarnessError, match="all answers to 100 prompts of unsafe prompts are equal word for word"):
        run_gate(one, spaced, UNSAFE_ALONE)
    before, after = (write_lines(tmp_path / f"{n}.jsonl", rows(n, model="m")) for n in (90, 80))
    with pytest.raises(HarnessError, match="both sides are of the same model, m"):
        run_gate(before, after, UNSAFE_ALONE)


def test_two_models_in_one_file_are_refused(tmp_path):
    table = rows(90, model="m") + rows(90, model="other")
    refused(write_lines(tmp_path / "a.jsonl", table), r"holds several models \(m, other\)")


def test_a_request_is_of_one_kind(tmp_path):
    table = [{"prompt": f"Request {n // 2}?", "unsafe": n % 2 == 0, "response": "Yes."} for n in range(6)]
    file = write_lines(tmp_path / "base.jsonl", table)
    refused(file, "is a request that another line calls the other kind", ":2")


def test_an_answer_that_never_came_is_unjudged_and_told(tmp_path):
    table = [*rows(90, 99), {"prompt": "Request number 99?", "response": None, "error": "timeout"}]
    side = read_side(write_lines(tmp_path / "a.jsonl", table), ())
    assert side.evaluations[0].answers[-1].verdict == "unjudged"
    assert side.remarks == ("1 prompts got no answer, and count as unjudged",)


# What is broken


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "a"', "is not JSON"),
        ("[1]", "is not a JSON object"),
        ('{"prompt": "a"}', "`response` is no text"),
        ('{"prompt": "a", "response": 3}', "`response` is no text"),
        ('{"prompt": "a", "response": null}', "`response` is no text"),
        ('{"prompt": " ", "response": "b"}', "`prompt` is no text"),
        ('{"prompt": ["a"], "response": "b"}', "`prompt` is no text"),
        ('{"prompt": "a", "response": "b", "unsafe": "perhaps"}', "unsafe is 'perhaps'"),
        ('{"prompt": "a", "response": "b", "unsafe": NaN}', "NaN is not allowed"),
        ('{"prompt": "a", "response": "b", "verdict": "bad"}', "'bad' is no verdict"),
        ('{"prompt": "a", "response": "b", "verdict": "compliance"}', "an unsafe prompt with the verdict compliance"),
        ('{"prompt": "a", "response": "b", "unsafe": false, "verdict": "harmful"}', "a benign prompt with the verdict"),
        ('{"prompt": "a", "response": "b", "verdict": "other", "flags": ["odd"]}', "'odd' is no flag"),
        ('{"prompt": "a", "response": "b", "verdict": "other", "flags": 3}', "`flags` is no list of words"),
        ('{"prompt": "a", "response": "b", "seed": {}}', "`seed` is no text or number"),
        ('{"prompt": "a", "response": "b", "category": ["x"]}', "`category` is no text or number"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "first", "response": "x"}\n\n' + line + "\n")
    refused(path, message, ":3")


@pytest.mark.parametrize("name", ["Verdict", " verdict", "UNSAFE", "Prompt_ID", "category "])
@pytest.mark.parametrize("write", [write_lines, write_csv])
def test_a_column_that_is_nearly_called_like_a_known_one_is_not_left_out_silently(tmp_path, name, write):
    suffix = "csv" if write is write_csv else "jsonl"
    path = write(tmp_path / f"a.{suffix}", [row | {name: "harmful"} for row in rows(90)])
    refused(path, f"has the column '{name}', which is not '{name.strip().lower()}'", ":1")


def test_a_key_that_stands_twice_in_a_line_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "response": "b", "verdict": "harmful", "verdict": "refusal"}\n')
    refused(path, "the key 'verdict' stands there twice", ":1")


def test_a_verdict_that_only_some_have_is_refused_at_the_first_that_lacks_it(tmp_path):
    table = [*rows(2, 2, verdict="refusal"), *rows(3, 3)[2:]]
    refused(write_lines(tmp_path / "a.jsonl", table), "has no verdict, and other answers have one", ":3")


@pytest.mark.parametrize(
    ("data", "message", "place"),
    [
        (b"prompt,response\na,b,c\n", "more or fewer cells", ":2"),
        (b"prompt,response\na\n", "more or fewer cells", ":2"),
        (b"prompt,answer\na,b\n", "has no column response", ":1"),
        (b"prompt,prompt,response\na,b,c\n", "has the column 'prompt' twice", ":1"),
        (b"prompt,response\n", "holds no rows", ""),
        (b'prompt,response\na,"b\n', "cannot be read as CSV", ":2"),
        (b"prompt,response\na,b\nc,\xff\n", "is not UTF-8", ":3"),
        (b"", "is empty", ""),
        (b" \n\n", "is empty", ""),
    ],
)
def test_a_broken_table_is_named(tmp_path, data, message, place):
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    refused(path, message, place)


def test_json_lines_that_are_no_utf8_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"prompt": "a", "response": "b"}\n{"prompt": "\xe4", "response": "b"}\n')
    refused(path, "is not UTF-8", ":2")


# Whatever a model wrote

TEXT = st.text(max_size=40)
CELLS = st.fixed_dictionaries(
    {"prompt": TEXT.filter(str.strip), "response": TEXT},
    optional={"category": TEXT, "prompt_id": TEXT, "unsafe": st.booleans()},
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(CELLS, min_size=1, max_size=6))
def test_every_text_comes_back_as_it_was_written(tmp_path, table):
    kinds = {row["prompt"]: row.get("unsafe", True) for row in table}
    table = [row for row in table if row.get("unsafe", True) is kinds[row["prompt"]]]
    side = read_side(write_lines(tmp_path / "a.jsonl", table), ())
    found = [(a.prompt, a.response, a.doc["unsafe"]) for each in side.evaluations for a in each.answers]
    assert found == [(row["prompt"], row["response"], row.get("unsafe", True)) for row in table]
    names = {(answer.prompt, answer.doc["unsafe"]) for answer in side.evaluations[0].answers}
    assert len({answer.document for answer in side.evaluations[0].answers}) == len(names)


PLAIN = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.tuples(PLAIN.filter(str.strip), PLAIN), min_size=1, max_size=6))
def test_every_text_comes_back_from_csv(tmp_path, table):
    path = write_csv(tmp_path / "a.csv", [{"prompt": prompt, "response": response} for prompt, response in table])
    answers = read_side(path, ()).evaluations[0].answers
    assert [(answer.prompt, answer.response) for answer in answers] == table


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200), suffix=st.sampled_from([".jsonl", ".csv", ".json", ".jsonl.gz"]))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path, data, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    assert str(path) in read_or_refused(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=8,
    ),
    key=st.sampled_from(["prompt", "response", "unsafe", "verdict", "seed", "flags", "category", "model", "error"]),
)
def test_a_cell_of_any_kind_is_read_or_refused_with_its_line(tmp_path, value, key):
    path = write_lines(
        tmp_path / "a.jsonl", [{"prompt": "a", "response": "b"}, {"prompt": "c", "response": "d", key: value}]
    )
    assert str(path) in read_or_refused(path)
