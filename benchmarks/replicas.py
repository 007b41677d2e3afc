"""What replicas cost: one replica beside a plain run, the driver's time with a hundred of them, and each part alone.

    python benchmarks/replicas.py one [--rounds 2] [--ray]   SmolLM2: plain, one local replica, one through Ray
    python benchmarks/replicas.py many [--replicas 100] [--dialogues 10000]   no-op engines through Ray
    python benchmarks/replicas.py parts   what a turn costs the driver, piece by piece, and how many bytes it is

Needs the GGUF file of SmolLM2, which `playbill run … -m SmolLM2-135M-Instruct-Q4` fetches, and Ray.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import pickle
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from playbill.backends import load_model, load_prompt_path, make_prompt
from playbill.backends.engines.base import Completion, Loaded, Request
from playbill.backends.engines.programmatic import _limit
from playbill.replicas import Ask, LocalPlaces
from playbill.replicas.worker import Worker
from playbill.runs import Silent, run
from playbill.runs.folder.record import TurnId, make_record, to_line
from playbill.runs.folder.store import RecordStore

NAME = "SmolLM2-135M-Instruct-Q4"
TALK = ["Describe a {}, number {}.", "And what is it for?", "Who needs it?", "Say it in one sentence."]
WORDS = ["tower", "river", "lamp", "stone", "bird", "clock", "garden", "ship"]


def dialogues(count: int) -> Iterator[dict[str, Any]]:
    for i in range(count):
        yield {"id": f"d{i}", "turns": [TALK[0].format(WORDS[i % len(WORDS)], i), *TALK[1:]]}


def one(rounds: int, ray: bool, count: int) -> None:
    """Rates of the same run in three ways, in turn, so that what else runs here troubles all alike."""
    model = {"model_name": NAME, "n_ctx": 1024, "max_tokens": 16, "threads": 1}
    given, rates = list(dialogues(count)), {}
    for number, way in itertools.product(range(rounds), ["plain", "local", *(["ray"] if ray else [])]):
        with tempfile.TemporaryDirectory() as folder, places_of(way) as places:
            result = run(given, model, out=folder, places=places)
            summary = next(iter(result.models.values()))
            assert result.ok
            rates.setdefault(way, []).append(summary.tokens_per_second)
            print(f"round {number + 1}, {way}: {summary.tokens_per_second:.1f} tokens a second", file=sys.stderr)
    best = {way: max(found) for way, found in rates.items()}
    print(json.dumps({way: round(rate / best["plain"], 3) for way, rate in best.items()}))


@contextmanager
def places_of(way: str) -> Iterator[Any]:
    if way == "ray":
        from playbill.replicas.ray_places import ray_places

        with ray_places(replicas=1) as places:
            yield places
    else:
        with nullcontext(LocalPlaces(1) if way == "local" else None) as places:
            yield places


class Delayed:
    """Answers after a second, as many at once as are asked, with one thread for all: it costs next to nothing."""

    supported_parameters = frozenset(["temperature", "max_tokens"])
    concurrency = 1000

    def __init__(self, seconds: float) -> None:
        self._seconds, self._heap, self._order = seconds, [], itertools.count()
        self._changed = threading.Condition()
        threading.Thread(target=self._work, daemon=True).start()

    def submit(self, request: Request, on_text: Callable[[str], None] | None = None) -> Future[Completion]:
        future: Future[Completion] = Future()
        with self._changed:
            heapq.heappush(self._heap, (time.monotonic() + self._seconds, next(self._order), future, request))
            self._changed.notify()
        return future

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._heap or self._heap[0][0] > time.monotonic():
                    self._changed.wait(self._heap[0][0] - time.monotonic() if self._heap else None)
                _, _, future, request = heapq.heappop(self._heap)
            if future.set_running_or_notify_cancel():
                future.set_result(_limit("fine, and a few words more of an answer " * 4, request))

    def close(self) -> None:
        return None

    def facts(self) -> Mapping[str, Any]:
        return {}


def load(entry: Mapping[str, Any], context: Any) -> Loaded:
    """Load the engine above in place of the programmatic one; `sitecustomize` in `many` says so to each process."""
    return Loaded(Delayed(1.0))


class Watch(Silent):
    """Driver's CPU time, memory and rate at eight moments, from the time on when all replicas are there."""

    def __init__(self, replicas: int, turns: int) -> None:
        self.replicas, self.step, self.seen, self.began, self.statuses = replicas, turns // 8, [], None, None

    def started(self, label: str, work: Any) -> None:
        self.statuses = work.replicas

    def ready(self) -> int:
        return sum(status.state == "ready" for status in self.statuses())

    def said(self, label: str, text: str) -> None:
        if "is ready" not in text:
            print(text, file=sys.stderr)

    def recorded(self, label: str, tick: Any) -> None:
        if self.began is None:
            if tick.recorded % 200 == 0 and self.ready() == self.replicas:
                self.began = tick.recorded, time.process_time(), time.monotonic()
                print(f"all {self.replicas} ready after {tick.recorded} turns", file=sys.stderr)
        elif (tick.recorded - self.began[0]) % self.step == 0:
            turns, cpu, since = self.began
            count, spent, took = tick.recorded - turns, time.process_time() - cpu, time.monotonic() - since
            memory = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
            print(
                f"{count} turns: {count / took:.0f} a second, driver {spent / count * 1e3:.3f} ms of CPU a turn "
                f"({3000 * spent / count:.2f} cores at 3,000 a second), {memory:.0f} MiB",
                file=sys.stderr,  # stdout is Ray's while it is joined
            )


class Host:
    """A process with the replicas of many actors, since a hundred processes start for minutes on two cores."""

    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}

    def where(self, replica: int) -> tuple[str, str, str]:
        return "", "", ""

    def load(self, replica: int, order: Any) -> tuple[str, Any]:
        self.workers[replica] = Worker(order)
        return "ready", self.workers[replica].portrait()

    def exchange(self, replica: int, *given: Any) -> list[Any]:
        return self.workers[replica].exchange(*given)


class Part:
    """One replica of a host, called like an actor of its own: for the driver it costs the same."""

    def __init__(self, host: Any, replica: int) -> None:
        for name in ("where", "load", "exchange"):
            setattr(self, name, SimpleNamespace(remote=partial(getattr(host, name).remote, replica)))


def many(replicas: int, count: int, hosts: int) -> None:
    """A hundred replicas of 32 dialogues each, whose engines do nothing but wait: what is left is the driver's part."""
    here = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(
            "import dataclasses, playbill.backends.registry.backends as b\n"
            "b._built_in()['programmatic'] = dataclasses.replace(b._built_in()['programmatic'], module='replicas')\n"
        )
        paths = [folder, str(here), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        from playbill.replicas import ray_places

        with ray_places.ray_places(replicas=replicas, silence=600) as places:
            import ray

            there = [ray.remote(Host).options(max_concurrency=400, num_cpus=0).remote() for _ in range(hosts)]

            class Place(ray_places.ActorPlace):
                def _started(self, need: Any) -> Any:
                    return Part(there[self._replica % hosts], self._replica)

            ray_places.ActorPlace = Place
            began = time.monotonic()
            watch = Watch(replicas, count * 4)
            model = {"model_name": "noop", "backend": "programmatic", "dialogues_per_replica": 32, "num_cpus": 0.01}
            given = Path(folder, "in.jsonl")
            with given.open("w") as file:
                file.writelines(json.dumps(each) + "\n" for each in dialogues(count))
            result = run(given, model, out=Path(folder, "out"), places=places, observer=watch)
            took = time.monotonic() - began
        size = next(iter(result.files.values())).stat().st_size
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(
            f"{count} dialogues, {count * 4} turns in {took:.0f} s, {size / count / 4:.0f} bytes a record; driver: "
            f"{most:.0f} MiB at the most; ok: {result.ok}"
        )


def parts() -> None:
    """Each piece of a turn's work alone, in CPU time of this process, and its bytes on the way."""
    spec, path = load_prompt_path({"model_name": NAME, "n_ctx": 1024})
    messages = []
    for i in range(4):
        told = f"In reply {i}, a tower is a tall building that people made of stone. " * 6
        messages.append({"role": "assistant", "content": told})
        messages.append({"role": "user", "content": f"Question {i}: tell me what you know of towers, please. " * 6})
    messages = messages[1:]
    prompt = make_prompt(spec, path, messages)
    with load_model(spec) as model:
        generation = model.generate(messages, max_tokens=60)
    ask = Ask(1, messages, {"seed": 1}, "0:d1")
    print(f"prompt of {len(prompt.ids)} tokens, answer of {len(generation.output_ids)}")
    spent("render and encode", lambda: make_prompt(spec, path, messages), 100)
    spent("pickle and unpickle a turn", lambda: pickle.loads(pickle.dumps(ask, 5)))
    spent("pickle and unpickle an answer", lambda: pickle.loads(pickle.dumps(generation, 5)))
    with tempfile.TemporaryDirectory() as folder, RecordStore(Path(folder, "m")) as store:
        spent(
            "make and write a record",
            lambda: store.append(make_record(TurnId("d", 0, 0), "l", "m", messages, generation)),
        )
    line = to_line(make_record(TurnId("d", 0, 0), "l", "m", messages, generation))
    sizes = {"turn": pickle.dumps(ask, 5), "answer": pickle.dumps(generation, 5), "record": line}
    print("bytes:", ", ".join(f"{name} {len(content)}" for name, content in sizes.items()))


def spent(name: str, work: Callable[[], Any], times: int = 1000) -> None:
    began = time.process_time()
    for _ in range(times):
        work()
    print(f"{name}: {(time.process_time() - began) / times * 1e3:.3f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["one", "many", "parts"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--replicas", type=int, default=100)
    parser.add_argument("--hosts", type=int, default=4, help="processes that the replicas share")
    parser.add_argument("--dialogues", type=int)
    given = parser.parse_args()
    if given.what == "one":
        one(given.rounds, given.ray, given.dialogues or 32)
    elif given.what == "many":
        many(given.replicas, given.dialogues or 12_000, given.hosts)
    else:
        parts()


if __name__ == "__main__":
    main()
