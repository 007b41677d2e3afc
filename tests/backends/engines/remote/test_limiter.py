"""How many requests a service gets at once, and when it counts as dead."""

from __future__ import annotations

import asyncio

import pytest

from playbill.backends import EndpointDown
from playbill.backends.engines.remote.limiter import DEAD_ATTEMPTS, Limiter


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


async def rounds(gate, clock, count, most=1000):
    """So many rounds of as many requests as go in, all answered within a second, but no more than ``most`` in one."""
    for _ in range(count):
        places = gate.limit
        for _ in range(places):
            await gate.enter()
        for _ in range(places):
            clock.now += max(1 / places, 1 / most)
            gate.succeeded()
        for _ in range(places):
            gate.leave()


def test_it_grows_fast_until_the_first_rate_limit_and_slowly_after(clock):
    """Doubling with each round first; then halved, and one more with each round."""

    async def scene():
        gate = Limiter("s", None, clock)
        await rounds(gate, clock, 3)
        assert 20 <= gate.limit <= 32
        before = gate.limit
        gate.rate_limited(clock.now, None)
        assert gate.limit == before // 2
        after = gate.limit
        await rounds(gate, clock, 3)
        assert after + 1 <= gate.limit <= after + 4

    asyncio.run(scene())


def test_it_stops_growing_where_more_at_once_brings_no_more_answers(clock):
    """A service that queues in silence, or a machine at its limit, is not flooded."""

    async def scene():
        gate = Limiter("s", None, clock)
        await rounds(gate, clock, 200, most=30)
        assert 30 <= gate.limit <= 60

    asyncio.run(scene())


def test_requests_that_went_out_together_halve_it_once(clock):
    """Their rate limits are one piece of news; that of a later request is another."""
    gate = Limiter("s", None, clock)
    started, width = clock.now, gate.width
    clock.now += 1
    for _ in range(5):
        gate.rate_limited(started, None)
    assert gate.width == width // 2
    gate.rate_limited(clock.now, None)
    assert gate.width == width // 4


def test_a_fixed_number_stays(clock):
    """Whatever the service says; and no more than that go in."""

    async def scene():
        gate = Limiter("s", 2, clock)
        await gate.enter()
        await gate.enter()
        gate.rate_limited(clock.now, None)
        gate.succeeded()
        third = asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        assert gate.limit == 2
        assert not third.done()
        gate.leave()
        await third

    asyncio.run(scene())


def test_nothing_goes_in_before_the_time_that_was_asked_for(clock):
    """A Retry-After holds for all."""

    async def scene():
        gate = Limiter("s", 4, clock)
        gate.rate_limited(clock.now, 0.05)
        waiting = asyncio.create_task(gate.enter())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        clock.now += 0.06
        await asyncio.wait_for(waiting, 5)

    asyncio.run(scene())


def test_who_waits_and_is_cancelled_takes_no_place(clock):
    """Neither while waiting nor when let in at that moment."""

    async def scene():
        gate = Limiter("s", 1, clock)
        await gate.enter()
        waiting = [asyncio.create_task(gate.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        gate.leave()  # lets the second in
        waiting[1].cancel()
        await asyncio.wait_for(waiting[2], 5)

    asyncio.run(scene())


def test_an_endpoint_that_never_answered_is_dead_after_twenty_attempts(clock):
    """All that wait fail at once with one message, and so do new ones for a while; then one may try again."""

    async def scene():
        gate = Limiter("s at h", 1, clock)
        await gate.enter()
        waiting = asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        for _ in range(DEAD_ATTEMPTS):
            assert gate.down_reason is None
            gate.failed(clock.now, "refused")
        with pytest.raises(EndpointDown, match=r"s at h answered none of 20 attempts .* refused\. Is it running"):
            await waiting
        with pytest.raises(EndpointDown):
            await gate.enter()
        gate.leave()
        clock.now += 60
        await gate.enter()
        gate.succeeded()
        assert gate.down_reason is None

    asyncio.run(scene())


def test_it_is_dead_after_thirty_seconds_without_any_answer(clock):
    """Connections that time out are slow to count."""
    gate = Limiter("s", 4, clock)
    for _ in range(3):
        gate.failed(100.0, "timeout")
    assert gate.down_reason is None
    clock.now += 31

    async def scene():
        gate.failed(100.0, "timeout")
        assert gate.down_reason is not None

    asyncio.run(scene())


def test_who_once_answered_is_given_time_and_never_fails(clock):
    """After twenty failures in a row one request at a time probes, later and later; an answer opens it again."""

    async def scene():
        gate = Limiter("s", 8, clock)
        gate.succeeded()
        for _ in range(3 * DEAD_ATTEMPTS):
            gate.failed(clock.now, "500")
        assert gate.down_reason is None
        assert gate.limit == 1
        assert gate.width == 8
        gate.succeeded()
        assert gate.limit == 8

    asyncio.run(scene())
