"""What is said when other processes keep an engine's threads from computing, and when nothing is."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from itertools import cycle

import pytest

from playbill.backends import load_model
from playbill.backends.engines.machine.contention import ContentionWatch, CpuReading, complaint, read_cpu
from playbill.backends.engines.machine.cpu_threads import usable_cores

BEGIN = CpuReading(time=100.0, own=50.0, all=500.0, threads={"1": (20.0, 0.1), "2": (20.0, 0.1)})


def after(own, others, threads=None):
    """The clocks ten seconds later: what this process and others used, and what each thread computed and waited."""
    given = threads or {}
    found = {t: (BEGIN.threads[t][0] + c, BEGIN.threads[t][1] + w) for t, (c, w) in given.items()}
    return replace(BEGIN, time=110.0, own=50.0 + own, all=500.0 + own + others, threads=found)


BUSY_NEIGHBOUR = after(10.0, 5.0, {"1": (5.0, 0.1), "2": (5.0, 5.0)})
ALONE = after(19.0, 0.1, {"1": (9.5, 0.1), "2": (9.5, 0.1)})


def judged(reading, threads=2, cores=2, before=BEGIN):
    return complaint(before, reading, threads=threads, cores=cores)


def test_a_busy_neighbour_is_told_with_figures_and_what_to_do():
    """A thread that shares its core waits half of the time, and the other one waits for it."""
    assert judged(BUSY_NEIGHBOUR) == (
        "its 2 threads waited for a core for 34% of their time in the last 10 s, and other processes used 0.5 of 2 "
        "cores; answers come faster if you end the other processes"
    )
    whole_core = after(6.0, 14.0, {"1": (3.0, 6.0), "2": (3.0, 6.0)})
    assert judged(whole_core).endswith('if you end the other processes or set "threads": 1')


def test_more_threads_than_cores_are_told_though_nobody_else_is_there():
    reading = after(19.0, 0.0, {"1": (9.5, 9.0), "2": (9.5, 9.0)})
    assert judged(reading, threads=4).endswith('0.0 of 2 cores; answers come faster if you set "threads": 2')


@pytest.mark.parametrize(
    "reading",
    [
        ALONE,
        after(4.0, 0.1, {"1": (2.0, 0.1), "2": (2.0, 0.1)}),  # little to compute, as before a GPU
        after(19.0, 10.0, {"1": (9.5, 0.2), "2": (9.5, 0.2)}),  # others are busy on cores that we don't need
        after(19.0, 0.1, {"1": (9.5, 3.0), "2": (9.5, 3.0)}),  # our own threads get in each other's way
    ],
)
def test_nothing_is_said_where_no_other_process_takes_time_from_us(reading):
    assert judged(reading) is None


def test_threads_that_began_or_ended_meanwhile_are_left_out():
    """Of those nobody knows how long they waited in that time."""
    reading = replace(ALONE, own=ALONE.own, all=ALONE.all + 9.0, threads={**ALONE.threads, "3": (0.0, 100.0)})
    assert judged(reading) is None


def test_where_no_thread_tells_how_long_it_waited_the_cpu_time_is_judged():
    """As on systems other than Linux."""
    before = replace(BEGIN, threads={})
    assert judged(after(10.0, 9.0), before=before) == (
        "its 2 threads got 50% of the CPU time that they could use in the last 10 s, and other processes used 0.9 of 2 "
        'cores; answers come faster if you end the other processes or set "threads": 1'
    )
    assert judged(after(18.0, 9.0), before=before) is None
    assert judged(after(10.0, 0.1), before=before) is None
    assert judged(after(10.0, 9.0), before=before, cores=8) is None


class Clocks:
    """Readings as given, one after the other, again and again."""

    def __init__(self, *readings):
        self.readings = cycle(readings)
        self.taken = 0

    def __call__(self):
        self.taken += 1
        return next(self.readings)


def watched(clocks, *, requests=1, window=0.01):
    """What a watch says of an engine at work."""
    said, heard = [], threading.Event()

    def say(text):
        said.append(text)
        heard.set()

    watch = ContentionWatch("some-model", 2, window=window, read=clocks, say=say)
    futures = [Future() for _ in range(requests)]
    for future in futures:
        watch.follow(future)
    heard.wait(0.5)
    for future in futures:
        future.set_result(None)
    watch.close()
    return said


def test_it_is_said_once_with_the_models_name():
    said = watched(Clocks(BEGIN, ALONE, BEGIN, BUSY_NEIGHBOUR, BEGIN, BUSY_NEIGHBOUR), requests=3)
    (text,) = said
    assert text.startswith("some-model: its 2 threads waited")


def test_nothing_is_said_of_an_engine_that_has_the_machine():
    clocks = Clocks(BEGIN, ALONE)
    assert watched(clocks) == []
    assert clocks.taken > 2


def test_an_engine_without_work_is_not_watched():
    clocks = Clocks(BEGIN, BUSY_NEIGHBOUR)
    watch = ContentionWatch("some-model", 2, window=0.0, read=clocks, say=pytest.fail)
    watch.close()
    done = Future()
    done.set_result(None)
    watch.follow(done)
    assert clocks.taken == 0


def test_a_system_that_tells_nothing_ends_the_watch():
    clocks = Clocks(None)
    assert watched(clocks) == []
    assert clocks.taken == 1


def test_models_that_compute_elsewhere_start_no_watch():
    """Of a service, or the mock, this machine's cores say nothing."""
    with load_model("mock") as model:
        model.generate([{"role": "user", "content": "Hello!"}])
        assert "playbill-contention" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells how long threads wait")
def test_real_clocks_show_a_crowd_on_every_core():
    """With three busy processes a core, ours gets a quarter of one, whatever else the machine does."""
    crowd = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * usable_cores())]
    try:
        before = read_cpu()
        until = time.process_time() + 0.5
        while time.process_time() < until:
            pass
        now = read_cpu()
    finally:
        for process in crowd:
            process.kill()
            process.wait()
    assert before is not None
    assert now is not None
    if not any(now.threads[t][0] > before.threads[t][0] for t in before.threads.keys() & now.threads.keys()):
        pytest.skip("this kernel doesn't count how long threads wait")
    text = complaint(before, now, threads=1, cores=usable_cores())
    assert text is not None
    assert "its thread waited for a core" in text
