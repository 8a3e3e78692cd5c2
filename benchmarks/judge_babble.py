"""What the default judge makes of babble, and of real answers: `python benchmarks/judge_babble.py CSV... [--count N]`.

From labelled CSVs (`harness calibrate`'s columns) it makes N texts of each kind that a broken model writes, each after
a real prompt, and prints how many got which verdict (wanted: `other`; `harmful` is the miss that matters). Then, a file
at a time: real answers that are called no answer (false alarms), and how many real compliances, and how many
exchanged between prompts, are flagged as off topic. Seeded: the same files print the same figures.
"""

from __future__ import annotations

import argparse
import random
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.judges.calibration import LabelledAnswer, read_labelled_answers
from harness.judges.registry import judge_exchanges
from harness.judges.verdicts import Exchange, Verdict

Make = Callable[[random.Random, str], str]
"""One text of a kind, after a prompt."""

SPECIAL = ["<|endoftext|>", "<|im_end|>", "<|im_start|>", "</s>", "<s>", "<pad>", "[PAD]", "[UNK]", "<unk>", "<eos>",
           "<|eot_id|>", "<end_of_turn>", "[/INST]", "<extra_id_0>", "<|reserved_special_token_5|>"]  # fmt: skip
FOREIGN = ("привет которые также время", "これは 言葉 世界 です", "안녕 세계 사람 합니다", "كتاب مدينة على الذي",
           "λόγος και της είναι", "שלום עולם אשר", "नहीं लेकिन और में")  # fmt: skip
PIECES = ["http://www.", ".com/index", "</div>", "{return", "ing", "tion", "erAnd", "\\n\\n", "==", "_id", "();", "ðŸ",
          "»", "lexobot", "Ġthe", "##ed", "ment", "isNew", "-year-", "import", "ÃƒÂ"]  # fmt: skip
BLANKS = ["[INSERT ANSWER HERE]", "[INSERT STEP]", "[Your Name]", "[DATE]", "{response}", "Title: [INSERT TITLE]"]
SHORT = 300
"""So many of the shortest real answers that do what was asked are looked at by themselves."""


def main() -> None:
    """Prints all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csvs", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=50)
    arguments = parser.parse_args()
    files = {path.stem: read_labelled_answers(path) for path in arguments.csvs}
    answers = [answer for rows in files.values() for answer in rows if answer.response.strip()]
    print(f"babble, {arguments.count} of each kind: harmful / refusal / other / unjudged")
    for name, make in kinds_of_babble(answers).items():
        print(f"  {name:34s} {_show_labels(judge_babble(name, make, answers, arguments.count))}")
    print("real answers called no answer, then off topic: compliances as they are, exchanged between prompts")
    for name, rows in files.items():
        print(f"  {name:34s} {describe_file(rows)}")
    short = sorted((answer for answer in answers if not answer.refused), key=lambda answer: len(answer.response))[
        :SHORT
    ]
    print(f"  {f'the {len(short)} shortest compliances':34s} {_show_alarms(short, _judge(short))}")


def kinds_of_babble(answers: Sequence[LabelledAnswer]) -> dict[str, Make]:
    """The kinds, each a function that makes one."""
    texts = sorted({answer.response for answer in answers})
    prompts = sorted({answer.prompt for answer in answers if len(answer.prompt) < 200})
    asking = [
        prompt
        for prompt in prompts
        if re.fullmatch(
            r"(?:what|how|why|who|where|when|is|are|can|should|does)\b[^.!?]+\?", prompt.strip(), re.IGNORECASE
        )
    ]
    words = sorted({word for text in texts for word in re.findall(r"[A-Za-z]+(?:'[a-z]+)?", text)})
    tokens = [word for text in texts for word in text.split()]
    return {
        "words drawn from the vocabulary": lambda rng, _: " ".join(rng.choices(words, k=_length(rng))),
        "the same, marks and capitals": lambda rng, _: " ".join(map(_dressed(rng), rng.choices(words, k=_length(rng)))),
        "words drawn by frequency": lambda rng, _: " ".join(rng.choices(tokens, k=_length(rng))),
        "an answer's words shuffled": lambda rng, _: _shuffled(rng, rng.choice(texts).split()),
        "the same, without marks": lambda rng, _: _shuffled(rng, re.findall(r"[\w']+", rng.choice(texts).lower())),
        "one word repeated": lambda rng, _: _repeated(rng, rng.choice(words)),
        "one word": lambda rng, _: _dressed(rng)(rng.choice(words)),
        "special tokens": lambda rng, _: rng.choice(["", " ", "\n"]).join(rng.choices(SPECIAL, k=rng.randint(1, 40))),
        "broken pieces, scripts mixed": lambda rng, _: " ".join(_broken(rng, words) for _ in range(_length(rng, 8))),
        "letters at random": lambda rng, _: _noise(rng, string.ascii_lowercase + "     "),
        "signs at random": lambda rng, _: _noise(rng, string.printable[:95]),
        "numbers at random": lambda rng, _: " ".join(str(rng.randrange(10 ** rng.randint(1, 6))) for _ in range(15)),
        "a fragment": lambda rng, _: _fragment(rng, rng.choice(texts)),
        "questions only": lambda rng, _: rng.choice(["\n", " "]).join(rng.sample(asking, rng.randint(2, 8))),
        "an echo of the prompt": _echo,
        "blanks to fill in": lambda rng, _: rng.choice(["\n", " "]).join(rng.choices(BLANKS, k=rng.randint(1, 5))),
    }  # fmt: skip


def judge_babble(name: str, make: Make, answers: Sequence[LabelledAnswer], count: int) -> list[Verdict]:
    """Verdicts on so many texts of a kind, each after the prompt of an answer drawn."""
    rng = random.Random(name)
    prompts = [rng.choice(answers).prompt for _ in range(count)]
    return judge_exchanges("lexical", [Exchange(prompt, make(rng, prompt)) for prompt in prompts])


def describe_file(rows: Sequence[LabelledAnswer]) -> str:
    """One line on a file: false alarms, and the shares flagged as off topic."""
    verdicts = _judge(rows)
    complied = [answer for answer in rows if not answer.refused]
    rng = random.Random(0)
    others = [rng.choice([other for other in complied if other.prompt != answer.prompt]) for answer in complied]
    exchanged = judge_exchanges(
        "lexical", [Exchange(answer.prompt, other.response) for answer, other in zip(complied, others, strict=True)]
    )
    long = [verdict for verdict, other in zip(exchanged, others, strict=True) if len(other.response.split()) >= 30]
    return (
        f"{_show_alarms(rows, verdicts)}; off topic {_show_flagged(_judge(complied))}, "
        f"exchanged {_show_flagged(exchanged)}, of 30 words or more {_show_flagged(long)}"
    )


def _judge(answers: Sequence[LabelledAnswer]) -> list[Verdict]:
    return judge_exchanges("lexical", [answer.exchange for answer in answers])


def _show_alarms(rows: Sequence[LabelledAnswer], verdicts: Sequence[Verdict]) -> str:
    others = [answer for answer, verdict in zip(rows, verdicts, strict=True) if verdict.label == "other"]
    asked = sum(map(has_questions, others))
    return f"{len(others)} of {len(rows)} ({len(others) / len(rows):.1%}), {asked} of them with questions"


def has_questions(answer: LabelledAnswer) -> bool:
    """Whether an answer holds two questions or more: a list of them may be labelled an answer or none."""
    return answer.response.count("?") >= 2


def _show_flagged(verdicts: Sequence[Verdict]) -> str:
    judged = [verdict for verdict in verdicts if verdict.label in {"harmful", "compliance"}]
    flagged = sum("off_topic" in verdict.flags for verdict in judged)
    return f"{flagged} of {len(judged)} ({flagged / max(1, len(judged)):.1%})"


def _show_labels(verdicts: Sequence[Verdict]) -> str:
    counts = Counter(verdict.label for verdict in verdicts)
    shown = [counts["harmful"], counts["refusal"], counts["other"], counts["unjudged"]]
    return " / ".join(f"{count:3d}" for count in shown)


def _length(rng: random.Random, least: int = 1) -> int:
    return rng.choice([rng.randint(least, 30), rng.randint(10, 100), rng.randint(30, 300)])


def _dressed(rng: random.Random) -> Callable[[str], str]:
    often = rng.random() * 0.3
    marks = rng.choice([".", ",.", ".,!?;:", ".\n", ",.-\n"])

    def dress(word: str) -> str:
        word = word.capitalize() if rng.random() < often else word
        return word + rng.choice(marks) if rng.random() < often else word

    return dress


def _shuffled(rng: random.Random, words: list[str]) -> str:
    return " ".join(rng.sample(words, len(words)))


def _repeated(rng: random.Random, word: str) -> str:
    return rng.choice([" ", "", ", ", "\n", ". ", "! ", "-", " / "]).join([word] * rng.randint(5, 200))


def _broken(rng: random.Random, words: list[str]) -> str:
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(words)
    if kind < 0.7:
        return rng.choice(words)[: rng.randint(2, 6)] + rng.choice(words)[-rng.randint(2, 6) :]
    return rng.choice(PIECES) if kind < 0.85 else rng.choice(rng.choice(FOREIGN).split())


def _noise(rng: random.Random, letters: str) -> str:
    return "".join(rng.choices(letters, k=rng.randint(20, 600)))


def _fragment(rng: random.Random, text: str) -> str:
    words = re.findall(r"[\w']+", text)
    start = rng.randrange(max(1, len(words) - 8))
    return " ".join(words[start : start + rng.randint(2, 7)]).lower()


def _echo(rng: random.Random, prompt: str) -> str:
    bare = prompt.strip()
    words = bare.split()
    return rng.choice([
        bare, f'"{bare}"', f"Prompt: {bare}", f"User: {bare}\nAssistant:", f"Question: {bare}", " ".join([bare] * 3),
        " ".join(words[: max(4, len(words) * 3 // 4)]), f"You asked: {bare}", f"{bare.upper()}!",
        f"Please tell me: {bare}",
        f"I want to know: {bare}", "\n".join([bare] * rng.randint(2, 20)),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
