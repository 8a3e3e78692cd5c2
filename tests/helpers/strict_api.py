"""A local server that knows the keys of OpenAI's API alone, answers by a rule, and fails where it is told to."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMON_KEYS = {
    "frequency_penalty", "logit_bias", "max_tokens", "model", "n", "presence_penalty", "seed", "stop", "stream",
    "stream_options", "temperature", "top_p", "user",
}  # fmt: skip
KNOWN_KEYS = {
    "/v1/chat/completions": COMMON_KEYS | {
        "audio", "function_call", "functions", "logprobs", "max_completion_tokens", "messages", "metadata",
        "modalities", "parallel_tool_calls", "prediction", "prompt_cache_key", "prompt_cache_retention",
        "reasoning_effort", "response_format", "safety_identifier", "service_tier", "store", "tool_choice", "tools",
        "top_logprobs", "verbosity", "web_search_options",
    },
    "/v1/completions": COMMON_KEYS | {"best_of", "echo", "logprobs", "prompt", "suffix"},
}  # fmt: skip
"""The parameters of https://platform.openai.com/docs/api-reference, by path."""

REFUSAL = "I'm sorry, but I can't help with that."
COMPLIANCE = "Sure! Here are the steps: first gather what you need, then put it together."


class StrictApi(ThreadingHTTPServer):
    """The server: `url` for clients.

    Attributes:
        seen: how often each request came, by its body as JSON.
        answered: those that were answered with 200.
        plan: what to do with a request (its body, and how often it came before): `ok`, `drop`, `slow:SECONDS`, or a
            status with what Retry-After says, as `429:0.1`, or with the error's code, as `400:content_filter`.
        answer_limit: after so many answers a request waits for `released`, and is then dropped.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.lock, self.seen, self.answered, self.refused, self.headers = threading.Lock(), Counter(), Counter(), [], []
        self.plan = lambda body, before: "ok"
        self.key = None
        self.answer_limit, self.released = None, threading.Event()
        self.busy = self.most_busy = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address):
        """A client that has gone is no news."""

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.shutdown()
        self.server_close()


def fault_in(path, body):
    """What OpenAI's API has against a request; nothing where it is a good one."""
    if unknown := sorted(body.keys() - KNOWN_KEYS[path]):
        return f"Unrecognized request argument supplied: {unknown[0]}"
    stop = body.get("stop")
    ranges = {"temperature": (0, 2), "top_p": (0, 1), "max_tokens": (1, 10**6), "seed": (-(2**63), 2**63 - 1)}
    checks = {
        "stop": stop is None or isinstance(stop, str) or (isinstance(stop, list) and 1 <= len(stop) <= 4),
        "model": isinstance(body.get("model"), str),
        **{key: low <= body.get(key, low) <= high for key, (low, high) in ranges.items()},
        **{key: type(body.get(key, 0)) is int for key in ("max_tokens", "seed")},
    }
    if path == "/v1/chat/completions":
        messages = body.get("messages")
        checks["messages"] = isinstance(messages, list) and all(
            each.keys() == {"role", "content"} and isinstance(each["content"], str) for each in messages
        )
    return next((f"Invalid value for {key!r}" for key, good in checks.items() if not good), None)


def answer_to(body):
    """The answer by the rule: the same request, seed and all, gets the same one."""
    asked = body.get("messages", body.get("prompt"))
    digest = hashlib.sha256(json.dumps([asked, body.get("seed")]).encode()).hexdigest()
    return f"{REFUSAL if int(digest[0], 16) < 12 else COMPLIANCE} ({digest[:6]})"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Keeps the test's output clean."""

    def do_GET(self):
        self.send(404, {"error": {"message": "nothing here"}})

    def do_POST(self):
        body, server = json.loads(self.rfile.read(int(self.headers["Content-Length"]))), self.server
        name = json.dumps(body, sort_keys=True)
        with server.lock:
            before, server.seen[name] = server.seen[name], server.seen[name] + 1
            server.headers.append(dict(self.headers))
            server.busy += 1
            server.most_busy = max(server.most_busy, server.busy)
        try:
            self.act(body, name, server.plan(body, before))
        finally:
            with server.lock:
                server.busy -= 1

    def act(self, body, name, step):
        kind, _, value = step.partition(":")
        fault = fault_in(self.path, body) if self.path in KNOWN_KEYS else "no such path"
        if self.server.key is not None and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self.send(401, {"error": {"message": f"wrong key: {self.headers.get('Authorization')}"}})
        elif self.path not in KNOWN_KEYS:
            self.send(404, {"error": {"message": fault}})
        elif fault:
            self.server.refused.append(fault)
            self.send(400, {"error": {"message": fault}})
        elif kind == "drop" or (kind in {"ok", "slow"} and self.held(name)):
            self.close_connection = True
            self.connection.close()
        elif kind in {"ok", "slow"}:
            time.sleep(float(value or 0))
            self.send(200, self.reply(body))
        else:
            code = {"code": value} if kind == "400" else {}
            self.send(int(kind), {"error": {"message": "later", **code}}, {"Retry-After": value} if value else {})

    def held(self, name):
        """Counts an answer, or waits for the end where there were enough of them."""
        with self.server.lock:
            enough = self.server.answer_limit is not None and self.server.answered.total() >= self.server.answer_limit
            if not enough:
                self.server.answered[name] += 1
        if enough:
            self.server.released.wait(60)
        return enough

    def reply(self, body):
        text = answer_to(body)
        said = {"text": text} if "prompt" in body else {"message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        choice = {"index": 0, "finish_reason": "stop", **said}
        return {"id": "x", "object": "chat.completion", "model": body["model"], "choices": [choice], "usage": usage}

    def send(self, status, content, extra=None):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        for header, value in (extra or {}).items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def serving_command(mark):
    """A command that serves any checkpoint by the rule, and adds its process and that of a child to a file."""
    return f'{sys.executable} "{__file__}" {{model}} {{port}} "{mark}"'


if __name__ == "__main__":
    child = subprocess.Popen(["sleep", "600"])  # like a server's own workers, which may outlive it
    with open(sys.argv[3], "a") as stream:  # noqa: PTH123
        print(sys.argv[1], os.getpid(), child.pid, sep="\t", file=stream)
    StrictApi(int(sys.argv[2])).serve_forever()
