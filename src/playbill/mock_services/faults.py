"""The faults that the mock server can have, by name, and how often each befalls a request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from playbill.backends.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Fault", "FaultKind", "FaultMix"]


class FaultKind(StrEnum):
    """The faults that the mock server can produce; the values are what one types."""

    BAD_REQUEST = "400"
    BAD_KEY = "401"
    PAYMENT = "402"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    TIMEOUT = "408"
    RATE_LIMIT = "429"
    SERVER_ERROR = "500"
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    GATEWAY_TIMEOUT = "504"
    OVERLOADED = "529"
    QUOTA = "quota"
    """The account has no money or daily quota left; waiting does not help."""
    REFUSED = "refused"
    """The service refuses the content of the prompt."""
    CONTEXT = "context"
    """The prompt is longer than the model's context."""
    RESET = "reset"
    """The connection is reset before a byte of the answer."""
    CLOSE = "close"
    """The connection is closed in an orderly way before a byte of the answer."""
    HANG = "hang"
    """Nothing comes, and the connection stays open."""
    HALF_BODY = "half_body"
    """Fewer bytes come than ``Content-Length`` promised, then the connection closes."""
    CUT_STREAM = "cut_stream"
    """A stream stops in the middle of an event, its last chunk missing."""
    SHORT_STREAM = "short_stream"
    """A stream ends in an orderly way, but before the message does."""
    RESET_STREAM = "reset_stream"
    """The connection is reset in the middle of the answer."""
    HANG_STREAM = "hang_stream"
    """Half the answer comes, then nothing, and the connection stays open."""
    ERROR_STREAM = "error_stream"
    """After 200 and a part of the answer, the stream reports an error."""
    INVALID_JSON = "invalid_json"
    HTML = "html"
    """200 with a web page, as a proxy or a captive portal sends it."""
    NO_BODY = "no_body"
    NO_CHOICES = "no_choices"
    """200 and valid JSON without a single choice, content or candidate."""
    ERROR_200 = "error_200"
    """200 whose body is an error, as some gateways send it."""
    EMPTY = "empty"
    """A well-formed answer with empty text."""
    NULL = "null"
    """A well-formed answer whose text is null or absent."""


DEFAULT_HANG_SECONDS = 3600.0
WITHOUT_STREAM = {
    FaultKind.CUT_STREAM: FaultKind.HALF_BODY,
    FaultKind.SHORT_STREAM: FaultKind.INVALID_JSON,
    FaultKind.ERROR_STREAM: FaultKind.ERROR_200,
}


@dataclass(frozen=True)
class Fault:
    """One fault: its kind and the one number that some kinds take.

    ``seconds`` is the ``Retry-After`` of an error (``None``: the header is absent), or how long a hang lasts
    before the connection closes (``None``: an hour). ``as_date`` sends ``Retry-After`` as an HTTP date.
    """

    kind: FaultKind
    seconds: float | None = None
    as_date: bool = False

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``KIND``, ``KIND@SECONDS`` or ``KIND@date:SECONDS``: ``503``, ``429@2``, ``429@date:5``."""
        name, at, rest = text.strip().partition("@")
        try:
            kind = FaultKind(name)
        except ValueError:
            names = ", ".join(FaultKind)
            raise ParameterError(f"mock fault {name!r} is unknown; known are: {names}") from None
        as_date = rest.startswith("date:")
        number = rest.removeprefix("date:")
        try:
            seconds = float(number) if at else None
        except ValueError:
            seconds = math.nan
        if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
            raise ParameterError(f"mock fault {text!r}: after '@' comes a number of seconds, as in '429@2'")
        return cls(kind, seconds, as_date)

    def on(self, *, stream: bool) -> Fault:
        """This fault for a request that streams or not: faults of a stream have a twin for a plain body."""
        kind = self.kind if stream else WITHOUT_STREAM.get(self.kind, self.kind)
        return Fault(kind, self.seconds, self.as_date)

    def __str__(self) -> str:
        if self.seconds is None:
            return str(self.kind)
        return f"{self.kind}@{'date:' if self.as_date else ''}{self.seconds:g}"


class FaultMix:
    """Faults with the share of requests that each befalls; the rest goes well."""

    def __init__(self, shares: Mapping[Fault | str, float]) -> None:
        self._shares = tuple(
            (fault if isinstance(fault, Fault) else Fault.parse(fault), share) for fault, share in shares.items()
        )
        for fault, share in self._shares:
            if not 0 <= share <= 1:
                raise ParameterError(f"mock fault {fault}: its share is {share}, and must be between 0 and 1")
        total = sum(share for _, share in self._shares)
        if total > 1 + 1e-9:
            raise ParameterError(f"mock faults: the shares add up to {total:g}, and may be 1 at most")

    def draw(self, number: float) -> Fault | None:
        """Return the fault that a number drawn uniformly from [0, 1) stands for, or none."""
        for fault, share in self._shares:
            if number < share:
                return fault
            number -= share
        return None
