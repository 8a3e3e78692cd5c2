"""Tasks of the user's own: YAML files with a table beside each, small enough for micro models."""

from __future__ import annotations

import json
from pathlib import Path

SUMS = """\
task: my_sums
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["."], max_gen_toks: 4, do_sample: false}
filter_list:
  - {name: strict-match, filter: [{function: regex, regex_pattern: "^(\\\\w+)$"}, {function: take_first}]}
  - {name: flexible-extract, filter: [{function: regex, regex_pattern: "(\\\\w)"}, {function: take_first}]}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
CAPITALS = """\
task: my_capitals
dataset_path: json
dataset_kwargs: {data_files: {test: capitals.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: label
doc_to_choice: choices
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def write_tasks(folder: Path) -> tuple[Path, Path]:
    """A task that generates, with two filters, and one of multiple choice that asks one question of several choices."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = [{"question": f"What is {n} plus {n}?", "answer": "e"} for n in range(6)]
    capitals = [{"question": "A capital?", "choices": ["Rome", f"Town {n}"], "label": n % 2} for n in range(5)]
    for name, text, rows in (("sums", SUMS, sums), ("capitals", CAPITALS, capitals)):
        (folder / f"{name}.yaml").write_text(text)
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "sums.yaml", folder / "capitals.yaml"
