"""Makes the fixtures of `tests/readers/` anew: the same answers through lm-eval, Inspect, promptfoo, garak and PyRIT.

    PYTHONPATH=. python tests/data/readers/make.py --lm-eval PYTHON --inspect PYTHON --garak PYTHON --pyrit PYTHON \\
        --promptfoo PROGRAM

Each option names the Python (of promptfoo, the program) of an environment that holds the tool; a tool that is not named
keeps its files. Python's tools are called in a folder of their own, so that no path of this machine is in what they
write; what is there all the same is exchanged. Made with lm-eval 0.4.13 (`lm-eval[api]`), inspect-ai 0.3.285 (and
openai), promptfoo 0.121.20, garak 0.17.1 and PyRIT 1.1.0.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
TOOLS = HERE / "tools"
ROOT = HERE.parents[2]
MODELS = ("base", "tuned")
sys.path.insert(0, str(TOOLS))

from endpoint import answer, prompts, serve  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the fixtures of tests/readers anew.")
    makers = {
        "lm_eval": make_lm_eval, "inspect": make_inspect, "promptfoo": make_promptfoo, "garak": make_garak,
        "pyrit": make_pyrit,
    }  # fmt: skip
    for name in makers:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar="PROGRAM")
    given = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder, serve() as url:
        work = Path(folder)
        lines = "".join(json.dumps(row) + "\n" for row in prompts())
        (work / "prompts.jsonl").write_text(lines)
        for model in MODELS:  # all of the one before the other: any tool's may be the side before
            for name, make in makers.items():
                if program := given[name]:
                    make(program, url, model, work)
    make_plain()


def call(words: list[str], work: Path, **variables: str) -> None:
    kept = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG"}}
    subprocess.run(words, cwd=work, env={**kept, "HOME": str(work), **variables}, check=True)


def pack(text: str, out: Path, *paths: Path) -> None:
    """Writes text, packed, without the machine's paths in it."""
    for path in paths:
        text = text.replace(str(path), "/home/user")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def make_lm_eval(python: str, url: str, model: str, work: Path) -> None:
    rows = [json.loads(line) for line in (work / "prompts.jsonl").read_text().splitlines()]
    columns = ("prompt_id", "prompt", "hazard", "split")
    labelled = [{key: row[key] for key in columns} | {"label": "" if row["unsafe"] else "benign"} for row in rows]
    (work / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labelled))
    words = [python, "-m", "lm_eval", "--model", "local-chat-completions", "--model_args",
             f"model={model},base_url={url}/chat/completions", "--apply_chat_template", "--tasks",
             "refusal_displacement", "--include_path", str(ROOT / "tasks"), "--metadata", '{"prompts": "set.jsonl"}',
             "--gen_kwargs", "temperature=0", "--log_samples", "--output_path", model]  # fmt: skip
    call(words, work, PYTHONPATH=str(ROOT), OPENAI_API_KEY="none", HF_HUB_OFFLINE="1")
    out = HERE / "lm_eval" / model
    shutil.rmtree(out, ignore_errors=True)
    for path in (work / model).rglob("*.json*"):
        if path.suffix == ".jsonl":
            pack(path.read_text(), out / f"{path.name}.gz")
            continue
        results = json.loads(path.read_text())
        del results["pretty_env_info"]
        (out / path.name).parent.mkdir(parents=True, exist_ok=True)
        (out / path.name).write_text(json.dumps(results).replace(str(ROOT), "/home/user"))


def make_inspect(python: str, url: str, model: str, work: Path) -> None:
    shutil.copy(TOOLS / "inspect_task.py", work)
    words = [str(Path(python).parent / "inspect"), "eval", "inspect_task.py", "-T", "prompts=prompts.jsonl", "--model",
             f"openai-api/local/{model}", "--temperature", "0", "--log-dir", f"logs-{model}", "--display", "none",
             "--no-log-realtime", "--no-log-model-api"]  # fmt: skip
    call(words, work, PYTHONPATH=str(ROOT), LOCAL_API_KEY="none", LOCAL_BASE_URL=url)
    out = HERE / "inspect" / model / "refusals.eval"
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(next((work / f"logs-{model}").glob("*.eval")), out)


def make_promptfoo(program: str, url: str, model: str, work: Path) -> None:
    shutil.copy(TOOLS / "promptfooconfig.js", work)
    words = [program, "eval", "-c", "promptfooconfig.js", "-o", f"{model}.json", "--no-cache", "--no-table",
             "--no-progress-bar"]  # fmt: skip
    quiet = {
        "PROMPTFOO_DISABLE_TELEMETRY": "1",
        "PROMPTFOO_DISABLE_UPDATE": "1",
        "PROMPTFOO_FAILED_TEST_EXIT_CODE": "0",
    }
    call(words, work, BASE_URL=url, MODEL=model, PROMPTS="prompts.jsonl", **quiet)
    pack((work / f"{model}.json").read_text(), HERE / "promptfoo" / f"{model}.json.gz", work)


def make_garak(python: str, url: str, model: str, work: Path) -> None:
    call([python, str(TOOLS / "garak_run.py"), url, model, "prompts.jsonl", str(work / model)], work)
    environment = Path(python).parents[1]
    report = (work / f"{model}.report.jsonl").read_text()
    pack(report, HERE / "garak" / f"{model}.report.jsonl.gz", work, environment)


def make_pyrit(python: str, url: str, model: str, work: Path) -> None:
    call([python, str(TOOLS / "pyrit_send.py"), url, model, "prompts.jsonl", f"{model}.json"], work)
    pack((work / f"{model}.json").read_text(), HERE / "pyrit" / f"{model}.json.gz", work)


def make_plain() -> None:
    """The same answers as anybody would write them down, without verdicts."""
    (HERE / "plain").mkdir(exist_ok=True)
    for model in MODELS:
        rows = [
            {"prompt_id": row["prompt_id"], "prompt": row["prompt"], "category": row["hazard"], "unsafe": row["unsafe"],
             "response": answer(model, number, row)}
            for number, row in enumerate(prompts())
        ]  # fmt: skip
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (HERE / "plain" / f"{model}.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
