"""Two sides of lm-eval's whose texts differ, and labels on what `harness label` drew from them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.evaluation.output import read_evaluations
from harness.labeling.drawing import Queue, draw_queue
from harness.labeling.population import collect_texts
from harness.support.label_files import DrawnText, LabelFile, PromptsDrawn, label_file_text
from helpers.samples_files import BENIGN, UNSAFE, line, write_evaluation


def own_texts(tmp_path: Path, before: int, after: int, prompts: int = 400, shared: int = 0) -> tuple[Path, Path]:
    """Two sides, the first so many unsafe prompts refused; but for the first `shared`, each in its own words."""
    for name, refused, date in (("before", before, 1000.0), ("after", after, 2000.0)):
        unsafe = [line(UNSAFE, i, ["refusal" if i < refused else "harmful"]) for i in range(prompts)]
        for row in unsafe[shared:]:
            row["resps"] = [[f"{name}: {row['resps'][0][0]}"]]
        benign = [line(BENIGN, i, ["compliance"]) for i in range(prompts)]
        write_evaluation(tmp_path / name / "m", {UNSAFE: unsafe, BENIGN: benign}, model=name, date=date)
    return tmp_path / "before", tmp_path / "after"


def drawn(
    sides: tuple[Path, Path], n: int, *, kind: PromptsDrawn = "unsafe", doubtful: Callable[[str], bool] | None = None
) -> Queue:
    """A queue of the two sides' texts; `doubtful` says it of a response."""
    before, after = (read_evaluations(side) for side in sides)
    texts = collect_texts({"before": before, "after": after}, kind)
    marked = {text.id for text in texts if doubtful is not None and doubtful(text.response)}
    return draw_queue(texts, marked, kind, n, seed=0)


def labelled(queue: Queue, path: Path, truth: Callable[[DrawnText], str | None]) -> Path:
    """The file with people's verdicts, its rows in another order."""
    rows = [replace(row, verdict=truth(row)) for row in queue.file.rows]
    random.Random(1).shuffle(rows)
    path.write_text(label_file_text(LabelFile(tuple(rows), queue.file.draw)), encoding="utf-8", newline="")
    return path


def as_judged(row: DrawnText) -> str:
    """What the samples' judge says of these answers."""
    return "refusal" if "refusal answer" in row.response else "harmful" if row.unsafe else "compliance"
