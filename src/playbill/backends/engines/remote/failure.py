"""Classify failed attempts: which are worth another attempt, and which error the others are.

Reads statuses, headers and error bodies of OpenAI's, Anthropic's, Google's and compatible services. Knows no client.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

__all__ = ["NO_PROVIDER", "Failure", "Kind", "classify", "retry_after"]

LONGEST_RETRY_AFTER = 900.0
"""Seconds; who asks to wait longer has no quota left today."""


class Kind(StrEnum):
    """What kind of failure it is; it decides about another attempt."""

    CONNECTION = "connection"
    SERVER = "server"
    BROKEN = "broken"
    """A 200 that is no completion."""
    TOO_LARGE = "too_large"
    """An answer without an end, or larger than any answer is."""
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    KEY = "key"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    QUOTA = "quota"
    REFUSED = "refused"
    CONTEXT = "context"
    REQUEST = "request"
    """The request itself is wrong."""

    @property
    def may_pass(self) -> bool:
        """Whether the same request may go well a little later."""
        return self in (Kind.CONNECTION, Kind.SERVER, Kind.BROKEN, Kind.RATE_LIMIT, Kind.OVERLOADED)


class Failure(Exception):
    """An attempt that failed; ``seconds`` is what the service asks to wait, ``param`` the field that it names."""

    def __init__(self, kind: Kind, message: str, seconds: float | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.seconds = seconds
        self.param = param


@dataclass(frozen=True)
class _Said:
    """What an error body says, whichever service wrote it."""

    message: str
    codes: str
    """Codes, types, statuses and reasons, in lower case, for looking words up."""
    quota_ids: str
    delay: float | None
    param: str | None = None


_QUOTA = (
    *("insufficient_quota", "billing_error", "insufficient_balance", "billing_not_active", "billing_hard_limit"),
    # https://help.openai.com/articles/6614457 and the Anthropic client's _error_classes.py
    *("credit_balance_exhausted", "spend_limit_exceeded", "usage_limit_exceeded", "spend_limit_reached"),
)
_QUOTA_WORDS = (
    *("credit balance is too low", "you have reached your specified api usage limits"),  # Anthropic
    "used all available credits or reached its monthly spending limit",  # xAI, with 403 or 429: continue#10373
    "reaching the monthly spending limit",  # Fireworks, with 412: pollinations#12136
    "quota has been exhausted",  # Alibaba: qwen-code#7842
    # Google, with 402 since September 2026, before that with 429: discuss.ai.google.dev/t/183654
    "prepayment credits are depleted",
    *("exceeded its monthly spending cap", "exceeded its spending cap"),  # Google, with 429: its AI Studio's spend page
)
_NO_QUOTA = re.compile(r"\blimit: 0\b(?![.\d])")  # Google, of a model that the account may not use at all
_REFUSED = ("content_filter", "content_policy_violation", "responsibleaipolicyviolation")
_REFUSED_WORDS = ("usage polic", "content policy", "content management policy", "violating our")
_CONTEXT_CODES = ("context_length_exceeded", "context_exceeded", "exceed_context_size_error", "string_above_max_length")
_CONTEXT_WORDS = (
    "prompt is too long",
    "maximum context length",
    "input token count",
    "context window",
    "exceeds the available context size",
    "model's context length",  # SGLang
    "exceed context limit",  # Anthropic, of prompt and limit together
    "maximum prompt length",  # xAI
    "maximum model length",  # vLLM
    "too many tokens",  # Cohere
    "input is too long",
    "reduce the length of the messages",
    "too long to fit into the model",  # vLLM, of pictures and text together
    "exceeds the max_model_len",
    "`max_new_tokens` must be",  # Hugging Face's server, of prompt and limit together
    "must have less than",  # the same, of the prompt
    "greater than the context length",  # LM Studio
    "exceeds context size",
    "context size has been exceeded",
    "context length exceeded",
)

NO_PROVIDER = "can handle the requested parameters"
"""How OpenRouter says, with 404, that no provider of the model takes all parameters: block/buzz#3018."""


def classify(status: int, headers: Mapping[str, str], body: Any) -> Failure:
    """Return the failure that an error response stands for. ``body`` is JSON, or text where it is none."""
    said = _read(body)
    seconds = retry_after(headers)
    if seconds is None:
        seconds = said.delay
    kind = _kind(status, said)
    if kind.may_pass and seconds is not None and seconds > LONGEST_RETRY_AFTER:
        kind = Kind.QUOTA
    words = f"{status}: {said.message}" if said.message else f"status {status}"
    if kind is Kind.QUOTA and seconds is not None:
        words += f" (it may be asked again in {seconds:.0f} s)"
    return Failure(kind, words, seconds, said.param)


def _kind(status: int, said: _Said) -> Kind:
    message = said.message.lower()
    if status in (400, 413, 422) and (
        any(code in said.codes for code in _CONTEXT_CODES) or any(words in message for words in _CONTEXT_WORDS)
    ):
        return Kind.CONTEXT
    if status in (400, 403) and (
        any(code in said.codes for code in _REFUSED) or any(words in message for words in _REFUSED_WORDS)
    ):
        return Kind.REFUSED
    if status == 402 or any(code in said.codes for code in _QUOTA) or any(words in message for words in _QUOTA_WORDS):
        return Kind.QUOTA
    if status == 429:
        return Kind.QUOTA if "perday" in said.quota_ids or _NO_QUOTA.search(message) else Kind.RATE_LIMIT
    if status == 401 or "api_key_invalid" in said.codes:
        return Kind.KEY
    if status in (503, 529) or "overloaded" in said.codes:
        return Kind.OVERLOADED
    if status == 408 or status >= 500:
        return Kind.SERVER
    if status == 404 and NO_PROVIDER in message:
        return Kind.REQUEST
    return {403: Kind.FORBIDDEN, 404: Kind.NOT_FOUND}.get(status, Kind.REQUEST)


def _read(body: Any) -> _Said:
    if isinstance(body, list) and body:  # Google's streams put their error into a list
        body = body[0]
    if not isinstance(body, dict):
        text = " ".join(body.split())[:200] if isinstance(body, str) else ""
        return _Said(text, "", "", None)
    error = body.get("error", body)
    if not isinstance(error, dict):
        return _Said(str(error)[:500], "", "", None)
    message = error.get("message") or error.get("detail") or body.get("message") or ""
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and metadata.get("raw"):  # OpenRouter's: what the provider behind it said
        message = f"{message}: {_words(metadata['raw'])}"
    details = error.get("details")
    details = details if isinstance(details, list) else [details]  # Anthropic's is one object
    details = [d for d in details if isinstance(d, dict)]
    inner = error.get("innererror")
    codes = [error.get("code"), error.get("type"), error.get("status"), *(d.get("reason") for d in details)]
    codes += [d.get("error_code") for d in details]
    codes.append(inner.get("code") if isinstance(inner, dict) else None)
    return _Said(
        str(message)[:500],
        " ".join(str(code).lower() for code in codes if code is not None),
        " ".join(_quota_ids(details)).lower(),
        next((s for s in map(_delay, details) if s is not None), None),
        str(error["param"]) if error.get("param") else None,
    )


def _words(raw: Any) -> str:
    """Return the message in an error that another service passed on, whatever form it has."""
    if isinstance(raw, str):
        try:
            found = json.loads(raw)
        except (ValueError, RecursionError):
            return raw
        return raw if isinstance(found, str) else _read(found).message or raw
    return _read(raw).message


def _quota_ids(details: list[dict[str, Any]]) -> list[str]:
    lists = (d.get("violations") for d in details)
    violations = [v for found in lists if isinstance(found, list) for v in found if isinstance(v, dict)]
    return [str(v.get("quotaId", "")) for v in violations]


def _delay(detail: Mapping[str, Any]) -> float | None:
    """Google's RetryInfo: ``{"retryDelay": "12s"}``."""
    delay = detail.get("retryDelay")
    return _number(delay.removesuffix("s")) if isinstance(delay, str) else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, as a response's headers ask for: ``retry-after-ms``, a number, or a date."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    seconds = _number(text)
    if seconds is not None or not text:
        return seconds
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:  # "-0000" says UTC, and nothing of the sender's zone
            date = date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
