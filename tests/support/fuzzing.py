"""How a target is fuzzed: a small fixed part in every test run, and as long as wanted in `make fuzz`.

The oracle: an error is one of Playbill's own, in words; nothing hangs; nothing grows; what is printed is printable.
"""

from __future__ import annotations

import functools
import io
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from playbill.cli import main

__all__ = ["bounded", "command", "fuzz", "peak_memory"]

HANGS = 30.0
"""Seconds; what should take milliseconds and takes so long, hangs, on a busy machine too."""
GROWS = 200 * 2**20
"""Bytes by which one example, or all of a target after the first hundred, may raise the memory of the process."""
_BATCH = 100
_CONTROL = frozenset(map(chr, (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), 0x202E, 0x2066)))


def fuzz(
    strategy: st.SearchStrategy[Any], *, quick: int, fixture: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a test of a check ``(example, place)``: ``quick`` examples of a fixed seed, and, slow, for a time.

    A check may take one more fixture, by its name.
    """

    def decorate(check: Callable[..., None]) -> Callable[..., None]:
        @pytest.mark.parametrize("long", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["quick", "long"])
        def test(long: bool, fuzz_seconds: float, place: Any, request: Any) -> None:
            given = (place,) if fixture is None else (place, request.getfixturevalue(fixture))
            if not long:
                _examples(functools.partial(_bounded_check, check, given), strategy, quick, fixed=True)
                return
            until = time.monotonic() + fuzz_seconds
            done, failed = 0, False

            def one(example: Any) -> None:
                nonlocal done, failed
                if not failed and time.monotonic() > until:
                    return
                done += 1
                try:
                    _bounded_check(check, given, example)
                except Exception:
                    failed = True  # it is shrunk, however long that takes
                    raise

            warm = 0
            while time.monotonic() < until:
                _examples(one, strategy, _BATCH, fixed=False)
                warm = warm or peak_memory()
            grown = peak_memory() - warm
            rate = done / max(fuzz_seconds, 0.001)
            print(f"\n{check.__name__}: {done} examples, {rate:.0f} a second, grown by {grown >> 20} MiB")
            assert grown < GROWS, f"grows: {grown >> 20} MiB in {done} examples"

        test.__name__, test.__doc__, test.__module__ = check.__name__, check.__doc__, check.__module__
        return test

    return decorate


def _examples(one: Callable[[Any], None], strategy: st.SearchStrategy[Any], count: int, *, fixed: bool) -> None:
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=fixed,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        print_blob=True,
    )
    @given(example=strategy)
    def run(example: Any) -> None:
        one(example)

    (run if fixed else seed(random.getrandbits(64))(run))()


def _bounded_check(check: Callable[..., None], given: tuple[Any, ...], example: Any) -> None:
    with bounded():
        check(example, *given)


class _Hangs(BaseException):
    pass


@contextmanager
def bounded(seconds: float = HANGS, size: int = GROWS) -> Iterator[None]:
    """Fail where what is inside takes longer or needs more memory; on Windows neither is interrupted nor measured."""
    before = peak_memory()
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: Any) -> None:
        raise _Hangs

    started = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    outer, _ = signal.setitimer(signal.ITIMER_REAL, seconds)  # pytest-timeout's own
    try:
        yield
    except _Hangs:
        raise AssertionError(f"hangs: not done within {seconds:g} s") from None
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, max(0.1, outer - (time.monotonic() - started)) if outer else 0)
    grown = peak_memory() - before
    assert grown < size, f"grows: {grown >> 20} MiB for one example"


def peak_memory() -> int:
    """Bytes that this process held at once so far; 0 where the system doesn't say."""
    try:
        import resource
    except ImportError:
        return 0
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def command(*args: str, encoding: str = "utf-8") -> tuple[int, str, str]:
    """Run a command in this process, hold what it says against the oracle, and return exit code, stdout, stderr."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n") for _ in range(2)]
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        try:
            main(list(args))
        except SystemExit as e:
            code = e.code
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode(encoding, "replace") for stream in streams)
    said = f"playbill {' '.join(args)}: {code!r}\n{out[-2000:]}\n{err[-2000:]}"
    assert code in (0, 1, 2, None), said
    assert "internal error" not in err, said
    assert "Traceback" not in err, said
    assert not _CONTROL.intersection(out + err), f"control characters: {said!r}"
    return int(code or 0), out, err
