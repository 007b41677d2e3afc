"""What services say when they fail, and what is made of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from playbill.backends.engines.remote.failure import Kind, classify, retry_after
from playbill.mock_services import FaultKind
from playbill.mock_services.wires import WIRES, Problem

SAME = {
    FaultKind.BAD_REQUEST: Kind.REQUEST,
    FaultKind.BAD_KEY: Kind.KEY,
    FaultKind.PAYMENT: Kind.QUOTA,
    FaultKind.FORBIDDEN: Kind.FORBIDDEN,
    FaultKind.NOT_FOUND: Kind.NOT_FOUND,
    FaultKind.TIMEOUT: Kind.SERVER,
    FaultKind.RATE_LIMIT: Kind.RATE_LIMIT,
    FaultKind.SERVER_ERROR: Kind.SERVER,
    FaultKind.BAD_GATEWAY: Kind.SERVER,
    FaultKind.UNAVAILABLE: Kind.OVERLOADED,
    FaultKind.GATEWAY_TIMEOUT: Kind.SERVER,
    FaultKind.OVERLOADED: Kind.OVERLOADED,
    FaultKind.QUOTA: Kind.QUOTA,
    FaultKind.CONTEXT: Kind.CONTEXT,
}


@pytest.mark.parametrize("wire", sorted(WIRES))
@pytest.mark.parametrize("fault", sorted(SAME))
def test_each_error_means_the_same_on_every_wire(wire, fault):
    """Whatever status and words a service puts it in."""
    said = WIRES[wire].error(Problem(fault), 1)
    failure = classify(said.status, dict(said.headers), said.body)
    assert failure.kind is SAME[fault]
    assert failure.kind.may_pass == (SAME[fault] in {Kind.SERVER, Kind.RATE_LIMIT, Kind.OVERLOADED})
    assert str(said.status) in str(failure)


def test_a_content_filter_is_a_refusal():
    """As OpenAI and Azure say it, the latter with an inner code."""
    azure = {"error": {"code": "x", "message": "m", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}
    assert classify(400, {}, {"error": {"code": "content_filter", "message": "m"}}).kind is Kind.REFUSED
    assert classify(400, {}, azure).kind is Kind.REFUSED


@pytest.mark.parametrize(
    "body", [None, "", "<html>busy</html>", [], [1], {"error": "busy"}, {"detail": "busy"}, {"error": {"details": [3]}}]
)
def test_any_body_can_be_read(body):
    """Also such as no service should send."""
    assert classify(500, {}, body).kind is Kind.SERVER


def test_retry_after_is_read_in_all_its_forms():
    """A number, a date, OpenAI's milliseconds, Google's details; garbage is none."""
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert retry_after({"retry-after": "9", "retry-after-ms": "250"}) == 0.25
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < (retry_after({"retry-after": soon}) or 0) <= 30
    assert retry_after({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}) == 0
    for text in ("soon", "-3", "inf", "nan", ""):
        assert retry_after({"retry-after": text}) is None
    google = {"error": {"code": 429, "details": [{"@type": "t", "retryDelay": "12s"}]}}
    assert classify(429, {}, google).seconds == 12


def test_who_asks_to_wait_for_hours_has_no_quota_left():
    """Waiting would look like hanging; the message says how long."""
    failure = classify(429, {"retry-after": "7200"}, {"error": {"message": "slow down"}})
    assert failure.kind is Kind.QUOTA
    assert "7200 s" in str(failure)
