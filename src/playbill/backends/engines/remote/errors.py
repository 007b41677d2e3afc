"""Judge a failed attempt by what was captured, and say what a user should do about a failure that stays.

Whatever a client raises, the bytes on the wire say what happened.
"""

from __future__ import annotations

import ssl
from typing import Any

from playbill.backends.engines.remote.capture import MOST_BYTES, Capture
from playbill.backends.engines.remote.connection import Connection
from playbill.backends.engines.remote.failure import NO_PROVIDER, Failure, Kind, classify
from playbill.backends.errors import (
    ContextExceeded,
    CredentialsError,
    EngineError,
    PlaybillError,
    QuotaUsedUp,
    Refused,
)

__all__ = ["checked", "error_of", "failure_of", "status_failure", "with_facts"]

Body = dict[str, Any]
_OLD_GOOGLE_KEY = (
    " (Google's standard keys, which begin with AIza, are being withdrawn since 2026-06; auth keys begin with AQ.: "
    "https://ai.google.dev/gemini-api/docs/api-key)"
)


def failure_of(e: Exception, capture: Capture) -> Exception:
    """Return what an exception of the client means: by what the capture saw."""
    if isinstance(e, (Failure, PlaybillError)):
        return e
    if capture.sent is None:
        return EngineError(f"nothing could be sent: {type(e).__name__}: {e}")
    if capture.status is None:
        cause = _innermost(e)
        if isinstance(cause, ssl.SSLCertVerificationError):
            words = f"its certificate is not trusted ({cause.verify_message}); for a private CA set 'ca_bundle'"
            return Failure(Kind.REQUEST, words)
        return Failure(Kind.CONNECTION, f"no answer: {type(cause).__name__}{f': {cause}' if str(cause) else ''}")
    if capture.status >= 300:
        return status_failure(capture)
    if capture.too_large:
        return Failure(Kind.TOO_LARGE, f"{capture.status}, but the answer is larger than {MOST_BYTES:,} bytes")
    for event in capture.events:
        if "error" in event:
            return _in_body(event)
    return Failure(Kind.BROKEN, f"200, but the answer broke off: {type(_innermost(e)).__name__}")


def _innermost(e: BaseException) -> BaseException:
    seen = e
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    return seen


def status_failure(capture: Capture) -> Failure:
    status = capture.status or 0
    if status < 400:
        target = capture.headers.get("location", "another address")
        return Failure(Kind.REQUEST, f"{status}: it points to {target}; set 'base_url' to where the service is")
    return classify(status, capture.headers, capture.response_body())


def checked(body: Body) -> Body:
    """Return the body, or an event of a stream. Raise Failure if it is an error, as gateways send them with status
    200."""
    if body.get("error"):
        raise _in_body(body)
    return body


def _in_body(body: Body) -> Failure:
    error = body["error"]
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and 400 <= code < 600:
        return classify(code, {}, body)
    told = classify(400, {}, body)  # words that are clear whatever the status
    return told if told.kind in (Kind.CONTEXT, Kind.REFUSED, Kind.QUOTA) else classify(502, {}, body)


def error_of(failure: Failure, connection: Connection) -> PlaybillError:
    words = f"{connection.name}: {failure}"
    if failure.kind is Kind.KEY:
        told = f"the key from {connection.key_from}" if connection.key_from else "a request without a key"
        old = connection.service.name == "google" and connection.key.startswith("AIza")
        return CredentialsError(
            f"{connection.name} refuses {told} ({failure}); set another with `playbill keys set {connection.section}`"
            f"{_OLD_GOOGLE_KEY if old else ''}"
        )
    if failure.kind is Kind.QUOTA:
        used_up = "the quota or the money of this account is used up, see the service's billing page"
        return QuotaUsedUp(f"{words}; {used_up if failure.seconds is None else 'nobody waits that long: run it later'}")
    if failure.kind is Kind.CONTEXT:
        return ContextExceeded(words)
    if failure.kind is Kind.REFUSED:
        return Refused(words)
    advice = {
        Kind.FORBIDDEN: "; this key may not use this model, or not from here",
        Kind.NOT_FOUND: "; check the entry's 'model_id' and 'base_url'",
    }
    if NO_PROVIDER in str(failure):
        words += '; take out what none takes, or let OpenRouter drop it without a word: "require_parameters": false'
    return EngineError(words + advice.get(failure.kind, ""))


def with_facts(e: PlaybillError, attempts: int, capture: Capture) -> PlaybillError:
    """Return the error, with what a record should keep of it."""
    e.__dict__.update(attempts=attempts, request=capture.request_body(), response=capture.response_body())
    return e
