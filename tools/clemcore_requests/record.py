"""Record what clemcore's backends send for entries, at a server on this machine. Runs where clemcore is installed.

python record.py      reads entries and settings as JSON from stdin, and prints for each what was sent, as JSON

Each entry is asked as a benchmark run would, with temperature 0 and 300 tokens; where clemcore refuses that, with
temperature 1. Clemcore's own code is not touched: clients get the server's address as their makers provide for it.
Knows nothing of Playbill.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ANSWERS = {
    "messages": {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Yes."}, {"type": "text", "text": "Yes."}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "completions": {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes."}}],
    },
    "generateContent": {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Yes."}]}, "finishReason": "STOP"}]
    },
}
"""By the last word of the address, an answer that clemcore can read."""


class Recorder(BaseHTTPRequestHandler):
    """Keep each request, and answer it."""

    sent: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.sent.append({"path": self.path.partition("?")[0], "body": body})
        answer = json.dumps(ANSWERS[self.path.partition("?")[0].replace(":", "/").rpartition("/")[2]]).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        pass


def record(requests: dict[str, Any], address: str, sent: list[dict[str, Any]]) -> dict[str, Any]:
    """Return for each entry the settings of the run and the request; an error where none was sent."""
    from clemcore.backends import BackendRegistry, ModelSpec

    registry = BackendRegistry.from_packaged_and_cwd_files()
    opened: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for entry in requests["entries"]:
        name = entry["backend"]
        if not registry.is_supported(name):
            continue
        if name not in opened:
            opened[name] = registry.get_backend_for(name)
            if name == "openrouter":  # the one address that stands in clemcore's code
                opened[name].client = opened[name].client.with_options(base_url=f"{address}/api/v1")
        model = opened[name].get_model_for(ModelSpec.from_dict(entry))
        refused = None
        for temperature in (0.0, 1.0):
            model.set_gen_args(temperature=temperature, max_tokens=requests["max_tokens"])
            sent.clear()
            try:
                model.generate_response([dict(message) for message in requests["messages"]])
            except ValueError as e:
                refused = str(e)
                continue
            found[entry["model_name"]] = {"temperature": temperature, **sent[-1]}
            break
        else:
            found[entry["model_name"]] = {"error": refused}
    return found


def main() -> None:
    requests = json.load(sys.stdin)
    time.sleep = lambda seconds: None  # clemcore waits ten seconds after each refusal of its own
    Recorder.sent = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    os.environ["ANTHROPIC_BASE_URL"] = os.environ["GOOGLE_GEMINI_BASE_URL"] = address
    os.environ["OPENAI_BASE_URL"] = f"{address}/v1"
    output = sys.stdout
    sys.stdout = sys.stderr  # clemcore prints
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["HOME"] = os.environ["USERPROFILE"] = folder
        keys = {name: {"api_key": "not-a-key"} for name in ("anthropic", "openai", "google", "openrouter")}
        Path("key.json").write_text(json.dumps(keys))
        found = record(requests, address, Recorder.sent)
        os.chdir("/")
    print(json.dumps(found), file=output)


if __name__ == "__main__":
    main()
