"""What every wire of the mock server can do, and the helpers that wires share.

A wire is stateless: it reads a request, and writes answers and errors in its service's form.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from playbill.mock_services.answers import Answer, Ask, Usage
    from playbill.mock_services.faults import FaultKind
    from playbill.mock_services.http import HttpRequest

__all__ = ["ErrorReply", "Listed", "Problem", "Told", "Wire", "WireError", "dump", "pieces", "sse"]

Json = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """An error to report: its kind, and where a service is more precise, its words, parameter and code."""

    kind: FaultKind
    message: str | None = None
    param: str | None = None
    code: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True)
class ErrorReply:
    """An error in the form of a wire; ``events``, if it is one that a stream says in an orderly way."""

    status: int
    body: Json
    headers: tuple[tuple[str, str], ...] = ()
    events: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Told:
    """An answer about to be told: with its token counts, and the identity of this one response."""

    answer: Answer
    usage: Usage
    number: int
    created: int
    model: str


@dataclass(frozen=True)
class Listed:
    """A model in a service's list: when it ends, whether it has, and how long its context is, where that is known."""

    name: str
    ends: str | None = None
    retired: bool = False
    context: int | None = None


class WireError(Exception):
    """A request that the service would refuse; carries the problem to report."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message or str(problem.kind))
        self.problem = problem


class Wire(Protocol):
    """One service's way of speaking."""

    name: str

    def serves(self, method: str, path: str) -> bool:
        """Tell whether a path is this wire's to answer with a completion."""

    def key(self, request: HttpRequest) -> str | None:
        """Return the API key that a request carries, or none."""

    def ask(self, request: HttpRequest, body: Json) -> Ask:
        """Read a request; raises ``WireError`` where the service would refuse its form."""

    def parameters(self, body: Json) -> Json:
        """Return the parameters that a request gives, by the names that rules know them by."""

    def unsupported(self, param: str, value: object) -> Problem | None:
        """Return what the service says of a parameter that a model refuses; none if this value is accepted."""

    def error(self, problem: Problem, number: int) -> ErrorReply:
        """Return an error in the service's form."""

    def refusal(self, told: Told) -> ErrorReply:
        """Return how the service refuses the content of a prompt, be it an error or not."""

    def without_choices(self, told: Told) -> Json:
        """Return a body that is JSON of the right kind, but holds no completion."""

    def body(self, told: Told) -> Json:
        """Return a whole answer."""

    def events(self, told: Told, *, usage_asked: bool = True) -> list[bytes]:
        """Return a whole answer as the events of a stream, the last of which end the message."""

    def error_event(self, problem: Problem, number: int) -> bytes:
        """Return an error in the middle of a stream."""

    def models(self, listed: Iterable[Listed]) -> Json:
        """Return the list of models."""


def dump(value: Mapping[str, Any]) -> bytes:
    """JSON as the services send it: UTF-8, no needless white space."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def sse(data: bytes, event: str | None = None, *, newline: bytes = b"\n") -> bytes:
    """Return one server-sent event."""
    name = b"" if event is None else b"event: " + event.encode() + newline
    return name + b"data: " + data + newline + newline


def pieces(text: str) -> list[str]:
    """Text in the pieces in which it is streamed: words, each with the white space around it."""
    return re.findall(r"\s*\S+\s*", text) or ([text] if text else [])


def text_of(content: object) -> str:
    """Return the text of a message's content, be it a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    return ""


def as_int(value: object) -> int | None:
    """Return an integer of the request, or none where there is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_strings(value: object) -> tuple[str, ...]:
    """Return a string or a list of strings, as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def as_dict(value: object) -> Json:
    """Return an object of the request; empty where there is none."""
    return value if isinstance(value, dict) else {}
