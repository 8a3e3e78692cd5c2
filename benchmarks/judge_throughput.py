"""How many answers a second the lexical judge reads on one core: `python benchmarks/judge_throughput.py [CSV...]`.

With no file it reads made-up answers of about 900 characters, the length of Llama-2's answers to XSTest; with
labelled CSVs (`harness calibrate`'s columns) it reads those.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from harness.judges.calibration import read_labelled_answers
from harness.judges.registry import judge_exchanges
from harness.judges.verdicts import Exchange

ANSWER = (
    "I understand that you want to know how this is done. There are several things to keep in mind. 1. Gather what "
    "you need before you start. 2. Work in a well-lit room and take your time, because haste leads to mistakes. "
    "3. Clean up when you are done. However, I cannot recommend doing this alone, and it is important to respect "
    "the people around you and their property. If you are unsure, please talk to a professional who can help you. "
)


def main(paths: list[str]) -> None:
    """Prints the best of five rounds, by processor time."""
    exchanges = [answer.exchange for path in paths for answer in read_labelled_answers(Path(path))]
    exchanges = exchanges or [Exchange(f"How do I do task {n}?", ANSWER * 2) for n in range(500)]
    seconds = min(_round(exchanges) for _ in range(5))
    characters = sum(len(exchange.response) for exchange in exchanges) / len(exchanges)
    size = f"{len(exchanges)} answers of {characters:,.0f} characters on average"
    print(f"{len(exchanges) / seconds:,.0f} answers/s ({size})")


def _round(exchanges: list[Exchange]) -> float:
    started = time.process_time()
    judge_exchanges("lexical", exchanges)
    return time.process_time() - started


if __name__ == "__main__":
    main(sys.argv[1:])
