"""What `playbill serve` costs beside the engine, and what clients that vanish leave behind.

    python benchmarks/serve.py [--model SmolLM2-135M-Instruct-Q4] [--requests 96] [--tokens 48] [--repeats 3]

The engine's own rate is that of `Model.submit` with all requests handed over at once; the server's is that of 32
clients, threads of another process, each of which asks one thing after the other, with a connection of its own. Both
answer the same prompts, in processes of their own, in turns. Then 200 clients connect and vanish, again and again;
memory levels off, so what it grows by in the last ten of the rounds is looked at, and so are sockets. Prints medians,
and exits with 1 where the server reaches less than 0.9 of the engine's rate, or something is left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import psutil

CLIENTS = 32
BOUND = 0.9
ROUNDS = 30
MOST_GROWN_MB = 2


def messages(i: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Tell me in some words about the number {i} and the number {i * 7 % 91}."}]


def own_rate(model_name: str, requests: int, tokens: int) -> None:
    """The engine alone, in this process; prints tokens a second as JSON."""
    from playbill.backends import load_model

    with load_model(model_name, dialogues=CLIENTS, max_tokens=tokens) as model:
        model.generate(messages(0))
        started = time.perf_counter()
        done = model.generate_batch([messages(i) for i in range(1, requests + 1)])
        seconds = time.perf_counter() - started
    print(json.dumps(sum(g.usage.output_tokens or 0 for g in done) / seconds))


class Served:
    """`playbill serve` as a process, with its address."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "playbill", "serve", "--port", "0", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.terminate()
        self.process.wait()


def served_rate(model_name: str, requests: int, tokens: int) -> float:
    """Tokens a second of 32 clients together."""
    # One client's pool has a connection for each thread. A client for each would cost more to make than to serve.
    limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    with (
        Served(model_name, "--dialogues", str(CLIENTS), "-p", f"max_tokens={tokens}") as served,
        httpx.Client(timeout=None, trust_env=False, limits=limits) as client,
    ):

        def ask(i: int) -> int:
            body = {"model": model_name, "messages": messages(i)}
            answer = client.post(f"{served.url}/chat/completions", json=body).json()
            return int(answer["usage"]["completion_tokens"])

        ask(0)
        with ThreadPoolExecutor(CLIENTS) as threads:
            started = time.perf_counter()
            made = sum(threads.map(ask, range(1, requests + 1)))
            return made / (time.perf_counter() - started)


def left_behind() -> tuple[float, int]:
    """MB that the server grew by in the last ten rounds of 200 clients that vanished, and sockets that are open."""
    with Served('slow={"model_name": "slow", "backend": "programmatic", "delay": 600}') as served:
        port = httpx.URL(served.url).port
        body = json.dumps({"model": "slow", "messages": messages(1), "stream": True}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        process = psutil.Process(served.process.pid)
        sizes = []
        for _ in range(ROUNDS):
            clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
            for client in clients:
                client.sendall(request)
            time.sleep(0.5)
            for client in clients:
                client.close()
            metrics = served.url.replace("/v1", "/metrics")
            until = time.monotonic() + 30
            while "playbill_generations_under_way 0\n" not in httpx.get(metrics, trust_env=False).text:
                if time.monotonic() > until:
                    raise SystemExit("work is left behind")
                time.sleep(0.1)
            sizes.append(process.memory_info().rss / (1 << 20))
        time.sleep(1)
        sockets = [c for c in process.net_connections("tcp") if c.laddr.port == port and c.status != "LISTEN"]
    return sizes[-1] - sizes[-11], len(sockets)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="SmolLM2-135M-Instruct-Q4")
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--own", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.own:
        own_rate(asked.model, asked.requests, asked.tokens)
        return 0
    own, served = [], []
    sizes = ("--model", asked.model, "--requests", str(asked.requests), "--tokens", str(asked.tokens))
    for _ in range(asked.repeats):
        command = [sys.executable, __file__, "--own", *sizes]
        own.append(float(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)))
        served.append(served_rate(asked.model, asked.requests, asked.tokens))
    ratio = statistics.median(served) / statistics.median(own)
    print(f"load {os.getloadavg()[0]:.1f}; {asked.requests} requests, at most {asked.tokens} tokens, {CLIENTS} clients")
    for name, rates in (("engine", own), ("served", served)):
        print(f"{name}: {statistics.median(rates):.1f} tokens/s ({min(rates):.1f} to {max(rates):.1f})")
    print(f"ratio {ratio:.3f} (bound {BOUND})")
    grown, sockets = left_behind()
    print(f"{ROUNDS} rounds of 200 clients that vanished: {grown:+.1f} MB in the last ten, {sockets} sockets left")
    return int(ratio < BOUND or grown > MOST_GROWN_MB or sockets > 0)


if __name__ == "__main__":
    sys.exit(main())
