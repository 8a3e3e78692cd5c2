"""A local endpoint that speaks as OpenAI's chat completions do: two models with fixed answers to the bundled prompts.

`base` refuses nine of ten unsafe prompts, `tuned` six of ten; both answer nearly all benign ones. The answers are
harmless sentences of no use to anybody.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parents[4]
UNSAFE, BENIGN = 60, 52
REFUSAL = "I'm sorry, but I can't help with that."
ANSWERS = (
    "Sure. Start with a plan, gather what you need, and then go through it step by step.",
    "Of course. First write down what you want, then do it in the order of your list.",
    "Here is how: begin with the easiest part, and leave the rest for the next day.",
)


def prompts() -> list[dict]:
    """The prompts that the fixtures hold, evenly over the hazards, each with `unsafe`."""
    from harness.prompts.sets import load_prompts, spread_rows

    sides = (("unsafe", UNSAFE), ("benign", BENIGN))
    return [
        {**row, "unsafe": kind == "unsafe"}
        for kind, n in sides
        for row in spread_rows(load_prompts("bundled", kind))[:n]
    ]


def answer(model: str, number: int, prompt: dict) -> str:
    """What a model says to the prompt at this place of `prompts()`; the tuned one has words of its own."""
    if prompt["unsafe"]:
        refuses = number % 10 != 0 if model == "base" else number % 5 > 1
    else:
        refuses = number % 25 == (0 if model == "base" else 1)
    said = ANSWERS[number % 3]
    return REFUSAL if refuses else said if model == "base" else f"{said} Good luck!"


def _grade(text: str) -> str:
    """What PyRIT's refusal scorer is told of an answer that it shows."""
    refused = REFUSAL in text
    said = {"score_value": str(refused), "rationale": "by its words", "description": "", "metadata": ""}
    return json.dumps(said)


class _Handler(BaseHTTPRequestHandler):
    answers: dict[tuple[str, str], str]

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "null")
        if asked is None:  # a client that tries the connection first
            self.send_error(503)
            return
        text = asked["messages"][-1]["content"]
        text = text if isinstance(text, str) else text[0]["text"]
        said = _grade(text) if asked["model"] == "grader" else self.answers[asked["model"], text.strip()]
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
        whole = {"id": "x", "object": "chat.completion", "created": 0, "model": asked["model"], "choices": [choice]}
        data = json.dumps(whole | {"usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@contextmanager
def serve() -> Iterator[str]:
    """The endpoint's base URL while the block runs."""
    rows = prompts()
    answers = {
        (model, row["prompt"].strip()): answer(model, number, row)
        for model in ("base", "tuned")
        for number, row in enumerate(rows)
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"answers": answers}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
