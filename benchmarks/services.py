"""Services under load, on the project's own mock server in a process of its own. Knows no real service.

python benchmarks/services.py load [--clem-python PYTHON]   256 dialogues of 4 turns at 64, against the bare client
python benchmarks/services.py memory                        1,000 requests in flight in one process
python benchmarks/services.py adaptive [FILE.svg]           the way of the adaptive concurrency to its level
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

DIALOGUES, TURNS, THREADS, LATENCY = 256, 4, 64, 0.5
SAMPLE = 8  # dialogues for clemcore, which makes one call at a time

CLEMCORE = """
import sys, time
from clemcore.backends import ModelSpec
from clemcore.backends.openai_compatible_api import GenericOpenAI
url, dialogues, turns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
class Local(GenericOpenAI):
    def __init__(self):
        self.key = {"api_key": "none", "base_url": url}
        self.client = self._make_api_client()
model = Local().get_model_for(ModelSpec(model_name="m", model_id="m", backend="openai_compatible", model_config={}))
model.set_gen_args(temperature=0.0, max_tokens=300)
started = time.perf_counter()
for d in range(dialogues):
    messages = []
    for t in range(turns):
        messages.append({"role": "user", "content": f"dialogue {d}, turn {t}"})
        messages.append({"role": "assistant", "content": model.generate_response(messages)[2]})
print(time.perf_counter() - started)
"""


@contextmanager
def mock_server(*options: str) -> Iterator[str]:
    """The base_url of a mock server in a process of its own."""
    line = [sys.executable, "-m", "playbill", "mock-server", "--port", "0", *options]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr is not None
        yield process.stderr.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


def bare_client(url: str) -> float:
    """Seconds that the official client takes with threads, dialogues in a pool."""
    import openai

    client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)

    def talk(d: int) -> None:
        messages: list[dict[str, str]] = []
        for t in range(TURNS):
            messages.append({"role": "user", "content": f"dialogue {d}, turn {t}"})
            got = client.chat.completions.create(model="m", messages=messages, temperature=0.0, max_tokens=300)
            messages.append({"role": "assistant", "content": got.choices[0].message.content or ""})

    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(talk, range(DIALOGUES)))
    return time.perf_counter() - started


def bare_async_client(url: str) -> float:
    """Seconds that the official asynchronous client takes, in the one thread that it has."""
    import openai

    async def talks() -> None:
        places = asyncio.Semaphore(THREADS)
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

            async def talk(d: int) -> None:
                messages: list[dict[str, str]] = []
                async with places:
                    for t in range(TURNS):
                        messages.append({"role": "user", "content": f"dialogue {d}, turn {t}"})
                        got = await client.chat.completions.create(
                            model="m", messages=messages, temperature=0.0, max_tokens=300
                        )
                        messages.append({"role": "assistant", "content": got.choices[0].message.content or ""})

            await asyncio.gather(*(talk(d) for d in range(DIALOGUES)))

    started = time.perf_counter()
    asyncio.run(talks())
    return time.perf_counter() - started


def playbill_run(url: str) -> float:
    """Seconds that a whole run takes, loading, manifest and records included."""
    from playbill.runs import run

    dialogues = [{"id": str(d), "turns": [f"dialogue {d}, turn {t}" for t in range(TURNS)]} for d in range(DIALOGUES)]
    model = {"model_name": "m", "backend": "openai_compatible", "base_url": url}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = run(dialogues, model, out=Path(folder) / "out", concurrency=THREADS)
        seconds = time.perf_counter() - started
        answered = sum(record["outcome"] == "answered" for record in result.records())
    assert answered == DIALOGUES * TURNS, answered
    return seconds


def load(clem_python: str | None) -> None:
    ideal = DIALOGUES * TURNS / THREADS * LATENCY
    with mock_server("--latency", str(LATENCY)) as url:
        import openai  # noqa: F401 - imported before any clock runs, for both

        import playbill.backends.engines.remote.wires.openai
        import playbill.runs  # noqa: F401

        bare, bare_async, ours, cpu = [], [], [], []
        for _ in range(3):  # in turns, so that what disturbs the machine disturbs both
            for seconds, once in ((bare, bare_client), (bare_async, bare_async_client), (ours, playbill_run)):
                before = time.process_time()
                seconds.append(once(url))
                cpu.append((time.process_time() - before) / (DIALOGUES * TURNS) * 1000)
        print(
            f"{DIALOGUES} dialogues of {TURNS} turns at {THREADS}, {LATENCY * 1000:.0f} ms; the ideal is {ideal:.1f} s"
        )
        print("bare client, threads:", *(f"{s:.2f}" for s in bare), "s")
        print("bare client, asyncio:", *(f"{s:.2f}" for s in bare_async), "s")
        print("playbill run:        ", *(f"{s:.2f}" for s in ours), "s")
        print(f"ratio of the medians: {sorted(ours)[1] / sorted(bare)[1]:.3f}; of each pair:", end=" ")
        print(*(f"{o / b:.3f}" for o, b in zip(ours, bare, strict=True)))
        print("CPU ms a request, the three in turns:", *(f"{ms:.2f}" for ms in cpu))
        if clem_python is not None:
            with tempfile.TemporaryDirectory() as folder:
                line = [clem_python, "-c", CLEMCORE, url, str(SAMPLE), str(TURNS)]
                done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=folder)
            seconds = float(done.stdout.split()[-1])
            whole = seconds * DIALOGUES / SAMPLE
            print(f"clemcore, {SAMPLE} dialogues one call at a time: {seconds:.2f} s, so {whole:.0f} s for all of them")


def memory(in_flight: int = 1000) -> None:
    from playbill.backends import load_model

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * in_flight)), hard))
    with mock_server("--latency", "20") as url:
        entry = {"model_name": "m", "backend": "openai_compatible", "base_url": url, "concurrency": in_flight}
        with load_model(entry) as model:
            futures = [model.submit([{"role": "user", "content": f"number {n}"}]) for n in range(in_flight)]
            answered = sum(future.result().outcome == "answered" for future in futures)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            seconds = max(future.result().seconds for future in futures)
    threads = threading.active_count()
    print(f"{answered} of {in_flight} answered, all in flight at once for 20 s (the slowest took {seconds:.1f} s)")
    print(f"peak resident memory of the process: {peak:.0f} MB; {threads} threads")


def adaptive(target: Path) -> None:
    """60 requests a second are taken, of 0.5 s each, so that 30 in flight would fill the service; more get 429."""
    from playbill.backends import load_model

    message = [{"role": "user", "content": "hello"}]
    points: list[tuple[float, int]] = []
    with mock_server("--latency", "0.5", "--rate", "60") as url:
        entry = {"model_name": "m", "backend": "openai_compatible", "base_url": url, "max_attempts": 50}
        with load_model(entry) as model:
            started = time.perf_counter()
            pending = [model.submit(message) for _ in range(2400)]
            while not all(future.done() for future in pending):
                points.append((time.perf_counter() - started, model.concurrency))
                time.sleep(0.05)
            answered = sum(future.result().outcome == "answered" for future in pending)
            attempts = sum(future.result().attempts for future in pending)
    seconds = points[-1][0]
    print(f"{answered} of {len(pending)} answered in {seconds:.1f} s, {answered / seconds:.0f} a second of 60 allowed;")
    print(f"{attempts - answered} attempts were rate limits or other faults")
    target.write_text(svg(points), encoding="utf-8")
    print(f"wrote {target}")


def svg(points: list[tuple[float, int]], width: int = 720, height: int = 300) -> str:
    """A line plot of the limit over time."""
    seconds, most = points[-1][0], max(limit for _, limit in points)
    left, bottom, top = 45, height - 35, 20

    def place(t: float, limit: float) -> str:
        return f"{left + (width - left - 10) * t / seconds:.1f},{bottom - (bottom - top) * limit / most:.1f}"

    line = " ".join(place(t, limit) for t, limit in points)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<polyline points="{place(0, most)} {place(0, 0)} {place(seconds, 0)}" fill="none" stroke="black"/>'
        f'<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>'
        f'<text x="{left - 8}" y="{top + 5}" text-anchor="end">{most}</text>'
        f'<text x="{left - 8}" y="{bottom}" text-anchor="end">0</text>'
        f'<text x="{width - 10}" y="{bottom + 16}" text-anchor="end">{seconds:.0f} s</text>'
        f'<text x="{left}" y="{height - 8}">adaptive concurrency (requests in flight allowed) over time; the service '
        f"takes 60 requests a second at 500 ms</text></svg>\n"
    )


def main(arguments: list[str]) -> None:
    match arguments:
        case ["load"]:
            load(None)
        case ["load", "--clem-python", python]:
            load(python)
        case ["memory"]:
            print(json.dumps({"limit of files": resource.getrlimit(resource.RLIMIT_NOFILE)}))
            memory()
        case ["adaptive", *rest]:
            adaptive(Path(rest[0]) if rest else Path(__file__).with_name("adaptive.svg"))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
