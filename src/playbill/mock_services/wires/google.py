"""The mock server's side of Google's generateContent and streamGenerateContent. Streams are always SSE."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

from playbill.mock_services.answers import Answer, Ask
from playbill.mock_services.faults import FaultKind as Kind
from playbill.mock_services.wires.base import (
    ErrorReply,
    Json,
    Listed,
    Problem,
    Told,
    WireError,
    as_dict,
    as_int,
    as_strings,
    dump,
    pieces,
    sse,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from playbill.mock_services.http import HttpRequest

__all__ = ["GoogleWire"]

# status, the service's own name of it, message
ERRORS: dict[Kind, tuple[int, str, str]] = {
    Kind.BAD_REQUEST: (400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    Kind.BAD_KEY: (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    Kind.PAYMENT: (402, "FAILED_PRECONDITION", "Billing is not set up."),
    Kind.FORBIDDEN: (403, "PERMISSION_DENIED", "The caller does not have permission."),
    Kind.NOT_FOUND: (404, "NOT_FOUND", "The model is not found, or is not supported for generateContent."),
    Kind.TIMEOUT: (408, "DEADLINE_EXCEEDED", "The request took too long."),
    Kind.RATE_LIMIT: (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    Kind.SERVER_ERROR: (500, "INTERNAL", "An internal error has occurred."),
    Kind.BAD_GATEWAY: (502, "UNAVAILABLE", "Bad gateway."),
    Kind.UNAVAILABLE: (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    Kind.GATEWAY_TIMEOUT: (504, "DEADLINE_EXCEEDED", "The request took too long."),
    Kind.OVERLOADED: (529, "UNAVAILABLE", "Overloaded."),
    Kind.QUOTA: (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    Kind.CONTEXT: (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    ),
}
DETAIL = "type.googleapis.com/google.rpc."
FINISH = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "length": "MAX_TOKENS",
    "refused": "SAFETY",
    "tool": "STOP",
}


class GoogleWire:
    """``POST …/models/NAME:generateContent`` and ``:streamGenerateContent``."""

    name = "google"

    def serves(self, method: str, path: str) -> bool:
        return method == "POST" and path.endswith((":generateContent", ":streamGenerateContent"))

    def key(self, request: HttpRequest) -> str | None:
        given = parse_qs(request.query).get("key", [None])[0]
        return request.headers.get("x-goog-api-key") or given

    def ask(self, request: HttpRequest, body: Json) -> Ask:
        name, _, method = unquote(request.path).rpartition(":")
        contents = body.get("contents")
        if not isinstance(contents, list) or not contents:
            raise bad("* GenerateContentRequest.contents: contents is not specified")
        messages = [message_of(as_dict(content)) for content in contents]
        if system := text_of(as_dict(part(body, "systemInstruction")).get("parts")):
            messages.insert(0, {"role": "system", "content": system})
        config = as_dict(part(body, "generationConfig"))
        return Ask(
            model=name.rpartition("/models/")[2] or name.rpartition("/")[2],
            messages=tuple(messages),
            stream=method == "streamGenerateContent",
            stream_usage=True,
            max_tokens=as_int(part(config, "maxOutputTokens")),
            stop=as_strings(part(config, "stopSequences")),
            show_thinking=part(as_dict(part(config, "thinkingConfig")), "includeThoughts") is True,
            body=body,
        )

    def parameters(self, body: Json) -> Json:
        return as_dict(part(body, "generationConfig"))

    def unsupported(self, param: str, value: object) -> Problem | None:
        return Problem(Kind.BAD_REQUEST, f"{param} is not supported by this model.")

    def error(self, problem: Problem, number: int) -> ErrorReply:
        code, status, message = ERRORS.get(problem.kind, ERRORS[Kind.SERVER_ERROR])
        error: Json = {"code": code, "message": problem.message or message, "status": status}
        if details := details_of(problem):
            error["details"] = details
        return ErrorReply(code, {"error": error})

    def refusal(self, told: Told) -> ErrorReply:
        feedback = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        body = {**feedback, **self._frame(told)}
        return ErrorReply(200, body, events=(sse(dump(body), newline=b"\r\n"),))

    def without_choices(self, told: Told) -> Json:
        return self._frame(told)

    def body(self, told: Told) -> Json:
        return {**self._candidate(parts(told.answer), told, last=True), **told.answer.extra}

    def events(self, told: Told, *, usage_asked: bool = True) -> list[bytes]:
        streamed = [{**part, "text": piece} for part in parts(told.answer) for piece in pieces(part.get("text", ""))]
        streamed = streamed or parts(told.answer)
        bodies = [self._candidate([part], told, last=False) for part in streamed[:-1]]
        bodies.append(self._candidate(streamed[-1:], told, last=True))
        return [sse(dump(body), newline=b"\r\n") for body in bodies]

    def error_event(self, problem: Problem, number: int) -> bytes:
        return sse(dump(self.error(problem, number).body), newline=b"\r\n")

    def models(self, listed: Iterable[Listed]) -> Json:
        rest = {"supportedGenerationMethods": ["generateContent"]}
        current = [m for m in listed if not m.retired]
        return {"models": [{"name": f"models/{m.name}", **rest, "inputTokenLimit": m.context} for m in current]}

    def _candidate(self, content: list[Json], told: Told, *, last: bool) -> Json:
        candidate: Json = {
            "content": {**({"parts": content} if content else {}), "role": "model"},
            "index": 0,
        }
        if last:
            candidate["finishReason"] = FINISH[told.answer.finish]
        return {"candidates": [candidate], **self._frame(told)}

    def _frame(self, told: Told) -> Json:
        return {
            "usageMetadata": usage(told),
            "modelVersion": told.model,
            "responseId": f"mock-{told.number}",
        }


def part(values: Json, name: str) -> object:
    """Return a value by its name, which this service takes in either spelling, as does its client: aName or a_name."""
    snake = re.sub("[A-Z]", lambda letter: f"_{letter.group().lower()}", name)
    return values.get(name, values.get(snake))


def bad(message: str) -> WireError:
    """Return the error for a request of the wrong form."""
    return WireError(Problem(Kind.BAD_REQUEST, message))


def message_of(content: Json) -> dict[str, str]:
    """Return one of the request's contents, with the role's usual name."""
    role = content.get("role", "user")
    if role not in ("user", "model"):
        raise bad("Please use a valid role: user, model.")
    return {"role": "assistant" if role == "model" else "user", "content": text_of(content.get("parts"))}


def details_of(problem: Problem) -> list[Json]:
    """Return the structured half of an error, which is where this service says why and for how long."""
    details: list[Json] = []
    if problem.kind is Kind.BAD_KEY:
        details.append({"@type": f"{DETAIL}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"})
    if problem.kind is Kind.QUOTA:
        violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"}
        details.append({"@type": f"{DETAIL}QuotaFailure", "violations": [violation]})
    if problem.retry_after is not None:
        details.append({"@type": f"{DETAIL}RetryInfo", "retryDelay": f"{math.ceil(problem.retry_after)}s"})
    return details


def parts(answer: Answer) -> list[Json]:
    """Return the parts of an answer's content; none at all where there is nothing to say."""
    found: list[Json] = []
    if answer.thinking:
        found.append({"text": answer.thinking, "thought": True})
    if answer.finish == "tool":
        found.append({"functionCall": {"name": "mock_tool", "args": {}}})
    elif answer.text:
        found.append({"text": answer.text})
    return found


def usage(told: Told) -> Json:
    """Return the token counts, in this wire's names: thoughts are not among the candidates' tokens."""
    count = told.usage
    names = {
        "promptTokenCount": count.input,
        "candidatesTokenCount": count.output - count.thinking,
        "totalTokenCount": count.input + count.output,
        "thoughtsTokenCount": count.thinking,
        "cachedContentTokenCount": count.cached,
    }
    return {name: value for name, value in names.items() if value or name.startswith(("prompt", "total"))}
