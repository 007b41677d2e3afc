"""What services say when they fail, and what is made of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from types import SimpleNamespace

import pytest

from playbill.backends import QuotaUsedUp
from playbill.backends.engines.remote.errors import error_of
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


@pytest.mark.parametrize(
    "message",
    [
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000",
        "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
        "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
        "too many tokens: the total number of tokens in the prompt cannot exceed 4081",
        "Please reduce the length of the messages or completion.",
    ],
)
def test_a_prompt_that_is_too_long_is_known_by_each_services_words(message):
    """SGLang's, Anthropic's, xAI's, vLLM's, Cohere's and Groq's."""
    assert classify(400, {}, {"error": {"message": message}}).kind is Kind.CONTEXT
    assert classify(400, {}, {"object": "error", "message": message, "code": 400}).kind is Kind.CONTEXT


def test_a_policy_is_a_refusal_and_a_malformed_prompt_is_not():
    """OpenAI says `invalid_prompt` of both."""
    said = "Invalid prompt: your prompt was flagged as potentially violating our usage policy."
    assert classify(400, {}, {"error": {"message": said, "code": "invalid_prompt"}}).kind is Kind.REFUSED
    assert classify(400, {}, {"error": {"message": "bad role", "code": "invalid_prompt"}}).kind is Kind.REQUEST


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}}),
        (429, {"type": "x", "code": "organization_spend_limit_exceeded"}),
        (429, {"type": "x", "code": "credit_balance_exhausted"}),
        (400, {"type": "invalid_request_error", "message": "You have reached your specified API usage limits."}),
        *(
            (status, "Your team 0 has either used all available credits or reached its monthly spending limit.")
            for status in (403, 429)  # xAI
        ),
        *((status, "Your prepayment credits are depleted. Please go to AI Studio.") for status in (402, 429)),  # Google
        (429, "Your project has exceeded its monthly spending cap. Please go to AI Studio."),
        (412, {"message": "Account x is suspended, possibly due to reaching the monthly spending limit or invoices."}),
    ],
)
def test_spent_money_stops_the_model_at_once(status, error):
    """It is no rate limit: another attempt costs time and mends nothing."""
    assert classify(status, {}, {"error": error}).kind is Kind.QUOTA


@pytest.mark.parametrize(("headers", "said"), [({}, "billing page"), ({"retry-after": "99999999"}, "run it later")])
def test_the_error_tells_spent_money_from_a_long_wait(headers, said):
    """Only the first is a matter for the account's owner."""
    body = {"error": {"message": "busy", **({} if headers else {"code": "insufficient_quota"})}}
    error = error_of(classify(503 if headers else 429, headers, body), SimpleNamespace(name="x"))
    assert isinstance(error, QuotaUsedUp)
    assert said in str(error)
    assert str(error).count("billing") == ("billing" in said)


@pytest.mark.parametrize("status", [408, 429, 500, 503, 529])
def test_nobody_waits_for_years(status):
    """Whatever the status says beside it."""
    assert classify(status, {"retry-after": "99999999"}, {"error": {"message": "busy"}}).kind is Kind.QUOTA


def test_a_date_without_a_zone_is_utc(monkeypatch):
    """`-0000` says UTC; in no time zone of this machine it is local time."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    soon = formatdate(time.time() + 30)
    assert soon.endswith("-0000")
    assert 25 < (retry_after({"retry-after": soon}) or 0) <= 30
    monkeypatch.delenv("TZ")
    time.tzset()
