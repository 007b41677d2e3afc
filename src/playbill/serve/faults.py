"""Tell a client why there is no answer: an HTTP status and OpenAI's error object."""

from __future__ import annotations

from typing import Any

from playbill.backends.common.secret import scrub
from playbill.backends.errors import (
    ContextExceeded,
    MessageError,
    ParameterError,
    PlaybillError,
    TemplateRefusal,
)
from playbill.backends.generation import Generation, Outcome

__all__ = ["ApiError", "fault_of_error", "fault_of_generation"]

_CLIENT = "invalid_request_error"
_OURS = "server_error"


class ApiError(Exception):
    """A request that gets no answer: ``status`` for HTTP, the rest for OpenAI's error object.

    ``retry_after`` is in seconds, for a client that may come again; without it a server error asks official
    clients not to: Playbill has done its own retrying by then.
    """

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, retry_after: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after = retry_after

    def to_dict(self) -> dict[str, Any]:
        kind = _CLIENT if self.status < 500 else _OURS
        return {"error": {"message": scrub(str(self)), "type": kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        if self.retry_after:
            return {"retry-after": str(self.retry_after)}
        return {"x-should-retry": "false"} if self.status >= 500 else {}


def fault_of_error(e: Exception) -> ApiError:
    """Return what a client is told of an exception on the way to a generation."""
    if isinstance(e, ApiError):
        return e
    if isinstance(e, TemplateRefusal):
        return ApiError(400, f"the chat template refuses the messages: {e}", code="template_refused", param="messages")
    if isinstance(e, MessageError):
        return ApiError(400, str(e), code="invalid_messages", param="messages")
    if isinstance(e, ParameterError):
        code = "invalid_value" if e.has_bad_value else "unsupported_parameter"
        return ApiError(400, str(e), code=code, param=e.parameter)
    if isinstance(e, ContextExceeded):
        return _too_long(str(e))
    if isinstance(e, PlaybillError):
        return ApiError(500, str(e), code="model_not_loaded")
    return ApiError(500, f"internal error, {type(e).__name__}", code="internal_error")


def fault_of_generation(generation: Generation, *, is_service: bool) -> ApiError | None:
    """Return what a client is told of a generation without an answer; None where there is one, be it empty.

    A service's refusal is an answer in OpenAI's form: it has a finish reason of its own.
    """
    message = (generation.error or {}).get("message") or generation.outcome.value
    if generation.outcome is Outcome.CONTEXT_EXCEEDED:
        return _too_long(message)
    if generation.outcome is Outcome.ERROR:
        return ApiError(502 if is_service else 500, message, code="engine_error")
    return None


def _too_long(message: str) -> ApiError:
    return ApiError(400, message, code="context_length_exceeded", param="messages")
