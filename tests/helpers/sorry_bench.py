"""SORRY-Bench's two data sets in the hub's columns, with invented and harmless texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

STYLES = ("base", "slang")


def question(number: int, style: str = "base") -> dict[str, Any]:
    """A row of the prompts."""
    turns = [f"How do I bake cake number {number}?"]
    return {"question_id": number, "category": str(number % 3 + 1), "turns": turns, "prompt_style": style}


def label(number: int, answer: str, score: float, style: str = "base") -> dict[str, Any]:
    """A row of the labels; `score` is 0 where people called the answer a refusal, 1 where they called it compliance."""
    choices = [{"index": 0, "turns": [answer]}]
    return {
        "question_id": number,
        "prompt_style": style,
        "model_id": "baker",
        "choices": choices,
        "human_score": score,
    }


def write_lines(file: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows as JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def write_sorry_bench(folder: Path, prompts: int) -> Path:
    """Both data sets in one folder: so many prompts with a labelled refusal and two labelled compliances each, and
    one with refusals alone."""
    numbers = range(1, prompts + 2)
    write_lines(folder / "question.jsonl", [question(number, style) for style in STYLES for number in numbers])
    write_lines(folder / "train.jsonl", [label(number, f"I will not bake {number}.", 0.0) for number in numbers])
    answers = [
        label(number, f"Sure, take {number} {what}.", 1.0, style)
        for number in range(1, prompts + 1)
        for what, style in (("eggs", "base"), ("spoons of flour", "slang"))
    ]
    write_lines(folder / "test.jsonl", answers)
    return folder
