"""The thread adapter: every future is resolved, in whatever order things are submitted, cancelled and closed."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, wait

import pytest

from playbill.backends import Completion, EngineError, FinishReason, Request
from playbill.backends.engines.threads import Threads


def request(text="x"):
    return Request(messages=({"role": "user", "content": text},), params={})


def echo(request, on_text, stop_wanted):
    return Completion(text=request.messages[0]["content"], finish_reason=FinishReason.STOP)


class Limiter:
    """Work that begins, and goes on only once it is let, or nobody wants it any more."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()
        self.threads = set()

    def __call__(self, request, on_text, stop_wanted):
        self.threads.add(threading.current_thread().name)
        self.begun.release()
        while not self.open.wait(0.005):
            if stop_wanted():
                raise EngineError("stopped")
        return echo(request, on_text, stop_wanted)


@pytest.fixture
def gate():
    gate = Limiter()
    yield gate
    gate.open.set()


def test_each_request_gets_its_own_answer():
    """Many at once, few threads."""
    threads = Threads(echo, 3, "t")
    futures = [threads.submit(request(str(i))) for i in range(50)]
    assert [future.result(10).text for future in futures] == [str(i) for i in range(50)]
    threads.close()


def test_no_more_threads_run_than_are_wanted(gate):
    """The limit holds, and it is used."""
    threads = Threads(gate, 2, "t")
    futures = [threads.submit(request()) for _ in range(5)]
    gate.begun.acquire()
    gate.begun.acquire()
    assert not gate.begun.acquire(timeout=0.05)
    gate.open.set()
    assert not wait(futures, 10).not_done
    assert len(gate.threads) == 2
    threads.close()


@pytest.mark.parametrize("error", [EngineError("no"), ValueError("bad"), SystemExit(1), KeyboardInterrupt()])
def test_whatever_is_raised_is_handed_to_who_waits(error):
    """Also what would end a thread; the next request is served."""

    def fail_first(request, on_text, stop_wanted):
        if request.messages[0]["content"] == "fail":
            raise error
        return echo(request, on_text, stop_wanted)

    threads = Threads(fail_first, 1, "t")
    assert threads.submit(request("fail")).exception(10) is error
    assert threads.submit(request("next")).result(10).text == "next"
    threads.close()


def test_cancelling_what_waits_keeps_it_from_running(gate):
    """It never begins; the others do."""
    threads = Threads(gate, 1, "t")
    first, second, third = (threads.submit(request(str(i))) for i in range(3))
    gate.begun.acquire()
    assert second.cancel()
    gate.open.set()
    assert (first.result(10).text, third.result(10).text) == ("0", "2")
    with pytest.raises(CancelledError):
        second.result(10)
    assert not wait([first, second, third], 10).not_done
    threads.close()


def test_cancelling_what_runs_asks_it_to_stop(gate):
    """Its future ends with what the work makes of that."""
    threads = Threads(gate, 1, "t")
    future = threads.submit(request())
    gate.begun.acquire()
    assert not future.cancel()
    with pytest.raises(EngineError, match="stopped"):
        future.result(10)
    threads.close()


def test_closing_resolves_everything_and_ends_the_threads(gate):
    """What waits is cancelled, what runs is asked to stop; twice is once; then nothing is taken."""
    threads = Threads(gate, 2, "closing-test")
    futures = [threads.submit(request()) for _ in range(6)]
    gate.begun.acquire()
    gate.begun.acquire()
    threads.close()
    threads.close()
    assert not wait(futures, 10).not_done
    for thread in [t for t in threading.enumerate() if "closing-test" in t.name]:
        thread.join(10)
    assert not [t for t in threading.enumerate() if "closing-test" in t.name]
    with pytest.raises(EngineError, match="closed"):
        threads.submit(request())


def test_submitting_and_closing_from_many_threads_leaves_no_future_behind():
    """Whoever gets a future gets an end to it."""
    for _ in range(20):
        threads = Threads(echo, 4, "race")
        futures, barrier = [], threading.Barrier(5)

        def submit(threads=threads, futures=futures, barrier=barrier):
            barrier.wait()
            for _ in range(20):
                try:
                    futures.append(threads.submit(request()))
                except EngineError:
                    return

        workers = [threading.Thread(target=submit) for _ in range(4)]
        for worker in workers:
            worker.start()
        barrier.wait()
        threads.close()
        for worker in workers:
            worker.join(10)
        assert not wait(futures, 10).not_done


def test_work_may_be_submitted_from_a_finished_works_callback():
    """One thread is enough for a dialogue that goes on by itself."""
    threads = Threads(echo, 1, "t")
    done = threading.Event()
    turns = []

    def go_on(future):
        turns.append(future.result().text)
        if len(turns) < 5:
            threads.submit(request(str(len(turns)))).add_done_callback(go_on)
        else:
            done.set()

    threads.submit(request("0")).add_done_callback(go_on)
    assert done.wait(10)
    assert turns == ["0", "1", "2", "3", "4"]
    threads.close()


def test_join_waits_for_what_was_asked_to_stop():
    """After `close`, `join` says whether all work has ended, and waits no longer than it was told to."""
    started, stopped, may_end = threading.Event(), threading.Event(), threading.Event()

    def work(request, on_text, stop_wanted):
        started.set()
        while not stop_wanted():
            stopped.wait(0.001)
        may_end.wait(10)
        return echo(request, on_text, stop_wanted)

    threads = Threads(work, 1, "t")
    threads.submit(request())
    started.wait(10)
    threads.close()
    assert not threads.join(0.01)
    may_end.set()
    assert threads.join(10)
