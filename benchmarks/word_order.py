"""Learns the table of word order: `python benchmarks/word_order.py TEXTS... [--check]`.

TEXTS are labelled CSVs (`harness calibrate`'s columns) and JSONL files of preference pairs (`chosen`, `rejected`:
dialogues). One half of them, by the hash of the prompt, is learned from, the other is for checking. To the first comes
`word_order_own.txt` beside this file, written for it: slang, notes, lists, verse, which such files hold too little of.

Windows of 5 to 40 words of real text stand against the same words shuffled, words drawn from the vocabulary, and words
drawn by frequency; a logistic regression on the pairs of neighboring classes gives each pair its weight. Writes
`harness/judges/lexical/word_order_table.py` (weights and common stems, no text), or with `--check` only prints how well
the table that is there tells the other half's windows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import scipy.sparse
from scipy.optimize import minimize

from harness.judges.calibration import read_labelled_answers
from harness.judges.lexical.text import plain_text
from harness.judges.lexical.word_order import CLASSES, LEVELS, STEM, ZERO_LEVEL, order_score, word_classes

TABLE = Path(__file__).resolve().parents[1] / "harness" / "judges" / "lexical" / "word_order_table.py"
OWN, OWN_TIMES = Path(__file__).with_name("word_order_own.txt"), 5
WINDOWS, CHECKED, LENGTHS = 200_000, 20_000, (5, 8, 12, 16, 24, 40)
RIDGE, STEPS_PER_UNIT, STEM_COUNT, STEM_ANSWERS, RAREST_PAIR = 1.0, 8, 1600, 8, 10_000
COARSE = re.compile(
    r"f[au]ck|shit|bitch|cunt|nigg|fagg|whore|slut|porn|penis|vagin|raci|rape|jew|musli|niger|nazi|hitle|sex"
)


def main() -> None:
    """Learns and writes the table, or checks it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if not arguments.check:
        own = [plain_text(text) for text in OWN.read_text(encoding="utf-8").split("\n\n")]
        learned = [*read_half(arguments.texts, 0), *own * OWN_TIMES]
        stems = common_stems([list(read_half([path], 0)) for path in arguments.texts])
        write_table(fit_weights(learned), stems, letter_pairs(learned))
        print(f"wrote {TABLE} from {len(learned)} texts")
        return
    windows, real = sample_windows(list(read_half(arguments.texts, 1)), random.Random(5), CHECKED)
    scores = np.array([order_score(window)[0] for window in windows])
    for low, high in ((5, 9), (10, 14), (15, 24), (25, 60)):
        chosen = [low <= len(window.split()) <= high for window in windows]
        print(f"{low}-{high} words: {((scores > 0) == real)[chosen].mean():.3f} of {sum(chosen)} windows told")


def read_half(paths: Sequence[Path], half: int) -> Iterator[str]:
    """The plain texts whose prompt's hash is even (0) or odd (1), each once."""
    texts = dict.fromkeys(text for path in paths for prompt, text in _read_texts(path) if _half_of(prompt) == half)
    return (plain_text(re.sub(r"</?s>", "", text)) for text in texts)


def _half_of(prompt: str) -> int:
    return hashlib.sha1(prompt.encode(), usedforsecurity=False).digest()[0] % 2


def _read_texts(path: Path) -> Iterator[tuple[str, str]]:
    if path.suffix == ".csv":
        yield from ((answer.prompt, answer.response) for answer in read_labelled_answers(path))
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        for dialogue in json.loads(line).values():
            turns = re.split(r"\n\n(?:Human|Assistant): ?", dialogue)[1:]
            yield from ((turns[0], turn) for turn in turns)


def common_stems(files: Sequence[Sequence[str]]) -> list[str]:
    """The word beginnings that the most texts hold, of those at home in more than half of the files."""
    counts = [
        Counter(stem for text in texts for stem in {word[:STEM] for word in re.findall(r"[a-z]{4,}", text)})
        for texts in files
    ]
    total = sum(counts, Counter())
    return sorted(
        stem
        for stem, _ in total.most_common(STEM_COUNT)
        if total[stem] >= STEM_ANSWERS
        and not COARSE.search(stem)
        and sum(stem in count for count in counts) * 2 > len(files)
    )


def letter_pairs(texts: Sequence[str]) -> list[str]:
    """For a to z, the letters that follow it in at least one of 10,000 pairs of letters in words."""
    counts = Counter(pair for text in texts for word in re.findall("[a-z]+", text) for pair in pairwise(word))
    least = sum(counts.values()) / RAREST_PAIR
    return ["".join(b for b in ascii_lowercase if counts[a, b] >= least) for a in ascii_lowercase]


def sample_windows(texts: list[str], rng: random.Random, count: int) -> tuple[list[str], Any]:
    """Windows of texts and as many of words without order, and which are real."""
    vocabulary = sorted({word for text in texts for word in text.split()})
    windows: list[str] = []
    while len(windows) < count:
        words = re.findall(r"\S+\n?", rng.choice(texts))
        if len(words) < 3:
            continue
        length = min(len(words), rng.choice(LENGTHS))
        start = rng.randrange(len(words) - length + 1)
        window = words[start : start + length]
        windows += [" ".join(window), _without_order(window, texts, vocabulary, rng)]
    return windows, np.tile([True, False], len(windows) // 2)


def _without_order(window: list[str], texts: list[str], vocabulary: list[str], rng: random.Random) -> str:
    kind = rng.randrange(6)
    if kind < 3:
        return " ".join(rng.sample(window, len(window)))
    if kind == 3:
        return " ".join(rng.choice(rng.choice(texts).split() or ["so"]) for _ in window)
    drawn = [rng.choice(vocabulary) for _ in window]
    if kind == 4:
        drawn = [re.sub(r"[^\w']", "", word) + (rng.choice(".,!?;:\n") * (rng.random() < 0.1)) for word in drawn]
    return " ".join(drawn)


def fit_weights(texts: list[str]) -> Any:
    """Weights (classes by classes): how much a pair speaks for running text, by logistic regression."""
    windows, real = sample_windows(texts, random.Random(1), WINDOWS)
    signs, count = np.where(real, 1.0, -1.0), len(CLASSES)
    pairs = [(row, a * count + b) for row, window in enumerate(windows) for a, b in _pairs(window)]
    rows, columns = zip(*pairs, strict=True)
    matrix = scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(windows), count * count))

    def loss(weights: Any) -> tuple[float, Any]:
        margins = signs * (matrix @ weights[:-1] + weights[-1])
        slopes = -signs / (1 + np.exp(margins))
        value = np.logaddexp(0, -margins).sum() + RIDGE * (weights[:-1] @ weights[:-1])
        return value, np.append(matrix.T @ slopes + 2 * RIDGE * weights[:-1], slopes.sum())

    found = minimize(loss, np.zeros(count * count + 1), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return found.x[:-1].reshape(count, count)


def _pairs(window: str) -> Iterator[tuple[int, int]]:
    return pairwise(word_classes(window))


def write_table(weights: Any, stems: Sequence[str], letters: Sequence[str]) -> None:
    """Writes the module that the judge reads: one letter a pair of classes, the stems in lines."""
    levels = np.clip(np.round(weights * STEPS_PER_UNIT).astype(int) + ZERO_LEVEL, 0, len(LEVELS) - 1)
    rows = [
        f'    "{"".join(LEVELS[level] for level in row)}",  # {name}' for name, row in zip(CLASSES, levels, strict=True)
    ]
    lines, line = [], ""
    for stem in stems:
        if len(line) + len(stem) > 105:
            lines, line = [*lines, line], ""
        line += f"{stem} "
    body = "\n".join(f'    "{each}"' for each in [*lines, line])
    TABLE.write_text(
        '"""What `benchmarks/word_order.py` learned: made by it, not by hand."""\n\n'
        "PAIR_WEIGHTS = (\n" + "\n".join(rows) + '\n)\n"""A row for each class, a letter for the class that follows '
        '(`LEVELS` of word_order.py)."""\n\n'
        "LETTER_PAIRS = (\n" + "\n".join(f'    "{each}",' for each in letters) + '\n)\n"""For a to z, the letters that '
        'follow it in English words."""\n\n'
        f'COMMON_STEMS = (\n{body}\n)\n"""The beginnings of common English words."""\n',
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
