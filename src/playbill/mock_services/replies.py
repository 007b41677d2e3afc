"""Make the reply to an answer or a fault, in a wire's own words. Doesn't decide when a fault is due."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING

from playbill.mock_services.answers import Answer, Ask, as_answer, fit, usage_of
from playbill.mock_services.faults import DEFAULT_HANG_SECONDS, Fault
from playbill.mock_services.faults import FaultKind as Kind
from playbill.mock_services.http import Ending, Reply
from playbill.mock_services.wires.base import Problem, Told, Wire, dump

if TYPE_CHECKING:
    from playbill.mock_services.wires.base import ErrorReply, Json

__all__ = ["answer_reply", "error_reply", "fault_reply", "json_reply"]

JSON = ("content-type", "application/json")
EVENTS = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>"
SILENT = {Kind.RESET: Ending.RESET, Kind.CLOSE: Ending.CLOSE, Kind.HANG: Ending.HANG}
BROKEN = {
    Kind.HALF_BODY: Ending.CLOSE,
    Kind.CUT_STREAM: Ending.CLOSE,
    Kind.RESET_STREAM: Ending.RESET,
    Kind.HANG_STREAM: Ending.HANG,
}
SAMPLE = Answer("This answer is not going to arrive whole, because the mock server was told to break it off.")


def json_reply(body: Json, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Return a whole JSON body."""
    return Reply(status, (JSON, *headers), (dump(body),))


def error_reply(wire: Wire, problem: Problem, number: int, *, as_date: bool = False) -> Reply:
    """Return an error in the wire's form, with ``Retry-After`` if the problem says when to try again."""
    error = wire.error(problem, number)
    return json_reply(error.body, error.status, error.headers + retry_after(problem.retry_after, as_date=as_date))


def retry_after(seconds: float | None, *, as_date: bool) -> tuple[tuple[str, str], ...]:
    """Return the header, in whole seconds rounded up, as the standard has it, or as a date."""
    if seconds is None:
        return ()
    value = formatdate(math.ceil(time.time() + seconds), usegmt=True) if as_date else str(math.ceil(seconds))
    return (("retry-after", value),)


def answer_reply(wire: Wire, ask: Ask, answer: Answer, number: int, chunk_seconds: float) -> Reply:
    """Return an answer, whole or streamed as the request wants it."""
    told = tell(ask, answer, number)
    if ask.stream:
        events = tuple(wire.events(told, usage_asked=ask.stream_usage))
        return Reply(200, EVENTS, events, streamed=True, chunk_seconds=chunk_seconds)
    return json_reply(wire.body(told))


def tell(ask: Ask, answer: Answer, number: int) -> Told:
    """Return an answer with its token counts, its thinking left out if the request hides it."""
    fitted = fit(answer, ask)
    usage = usage_of(fitted, ask)
    if not ask.show_thinking and fitted.thinking is not None:
        fitted = replace(fitted, thinking="")
    return Told(fitted, usage, number, int(time.time()), fitted.model or ask.model)


def fault_reply(wire: Wire, ask: Ask, fault: Fault, number: int, chunk_seconds: float) -> Reply:
    """Return the reply that a fault is, in the wire's own form."""
    fault = fault.on(stream=ask.stream)
    if (answer := as_answer(fault)) is not None:
        return answer_reply(wire, ask, answer, number, chunk_seconds)
    hang = DEFAULT_HANG_SECONDS if fault.seconds is None else fault.seconds
    if fault.kind in SILENT:
        return Reply(ending=SILENT[fault.kind], silent=True, hang_seconds=hang)
    whole = answer_reply(wire, ask, SAMPLE, number, chunk_seconds)
    if fault.kind in BROKEN:
        return broken(whole, BROKEN[fault.kind], hang)
    if fault.kind is Kind.SHORT_STREAM:
        return broken(whole, Ending.WHOLE, hang)
    return told_fault(wire, ask, fault, number, whole)


def told_fault(wire: Wire, ask: Ask, fault: Fault, number: int, whole: Reply) -> Reply:
    """Return a fault that comes as a complete HTTP response, though what it says is no good."""
    told = tell(ask, SAMPLE, number)
    if fault.kind is Kind.INVALID_JSON:
        return Reply(200, (JSON,), (dump(wire.body(told))[:-20],))
    if fault.kind is Kind.HTML:
        return Reply(200, (("content-type", "text/html; charset=utf-8"),), (PAGE,))
    if fault.kind is Kind.NO_BODY:
        return Reply(200, (JSON,), (b"",))
    if fault.kind is Kind.NO_CHOICES:
        return json_reply(wire.without_choices(told))
    problem = Problem(Kind.SERVER_ERROR)
    if fault.kind is Kind.ERROR_200:
        return json_reply(wire.error(problem, number).body)
    if fault.kind is Kind.ERROR_STREAM:
        kept = whole.chunks[: len(whole.chunks) // 2]
        return Reply(200, EVENTS, (*kept, wire.error_event(problem, number)), streamed=True)
    if fault.kind is Kind.REFUSED:
        return refusal_reply(wire.refusal(told), stream=ask.stream)
    return error_reply(wire, Problem(fault.kind, retry_after=fault.seconds), number, as_date=fault.as_date)


def refusal_reply(refusal: ErrorReply, *, stream: bool) -> Reply:
    """Return a refused prompt: an error, or an answer that says so, which then is streamed like any other."""
    if stream and refusal.events:
        return Reply(200, EVENTS, refusal.events, streamed=True)
    return json_reply(refusal.body, refusal.status, refusal.headers)


def broken(whole: Reply, ending: Ending, hang_seconds: float) -> Reply:
    """Return a reply that stops half way; with a whole ending, it stops in an orderly way between two events."""
    chunks = whole.chunks[: len(whole.chunks) // 2] if ending is Ending.WHOLE else whole.chunks
    return Reply(
        whole.status,
        whole.headers,
        chunks,
        streamed=whole.streamed,
        ending=ending,
        chunk_seconds=whole.chunk_seconds,
        hang_seconds=hang_seconds,
    )
