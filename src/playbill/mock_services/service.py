"""Decide what a mock server does with each request, from the path to the reply.

Runs on one event loop's thread and takes no locks. Knows no socket.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING

from playbill.backends.errors import ParameterError
from playbill.mock_services.answers import Answers, Ask, Item, Raw, as_answer, source_of
from playbill.mock_services.families import judge_request, listed_models, would_think
from playbill.mock_services.faults import Fault, FaultKind, FaultMix
from playbill.mock_services.http import HttpRequest, Reply
from playbill.mock_services.limits import Limiter
from playbill.mock_services.replies import answer_reply, error_reply, fault_reply, json_reply
from playbill.mock_services.wires import WIRES, Problem, Wire, WireError

if TYPE_CHECKING:
    from playbill.mock_services.options import MockOptions

__all__ = ["FAULT_HEADER", "Decision", "Service"]

FAULT_HEADER = "x-mock-fault"
"""A request may ask for a fault, in this header or as ``MODEL!FAULT`` in the model's name."""
REMEMBERED_REQUESTS = 200_000
OLLAMA_CONTEXT = 4096
"""What Ollama gives a model below 24 GiB of GPU memory: https://docs.ollama.com/context-length"""
THOUGHTS = " ".join(["thought"] * 350)
"""What a model thinks that thinks unasked: more tokens than a limit that was meant for the answer alone."""


@dataclass(frozen=True)
class Decision:
    """What is done with a request, and after how many seconds."""

    reply: Reply
    outcome: str
    wire: str | None = None
    latency: float = 0.0


class Service:
    """Decides on requests, one after the other."""

    def __init__(self, answers: Answers, options: MockOptions) -> None:
        self._source = source_of(answers)
        self._options = options
        self._mix = FaultMix(options.faults)
        self._limiter = Limiter(options.requests_per_second, options.concurrency)
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def decide(self, request: HttpRequest, number: int, in_work: int) -> Decision:
        """Decide on request ``number``, while ``in_work`` others are not done."""
        wire = next((w for w in WIRES.values() if w.serves(request.method, request.path)), None)
        if wire is None:
            return self._decide_other(request, number)
        chance = self._chance(request)
        latency = chance.uniform(*self._options.latency_range)
        if not self._key_fits(wire, request):
            reply = error_reply(wire, Problem(FaultKind.BAD_KEY), number)
            return Decision(reply, FaultKind.BAD_KEY, wire.name)
        try:
            ask, demanded = self._read(wire, request)
        except WireError as error:
            return Decision(error_reply(wire, error.problem, number), "refused_form", wire.name)
        if demanded is not None:
            return self._befall(wire, ask, demanded, number, latency)
        wait = self._limiter.admit(time.monotonic(), in_work)
        if wait is not None:
            reply = error_reply(wire, Problem(FaultKind.RATE_LIMIT, retry_after=wait), number)
            return Decision(reply, "rate_limited", wire.name)
        if (fault := self._mix.draw(chance.random())) is not None:
            return self._befall(wire, ask, fault, number, latency)
        return self._respond(wire, ask, self._source(ask), number, latency)

    def _decide_other(self, request: HttpRequest, number: int) -> Decision:
        """Requests that want no completion: the list of models, and what is not there at all."""
        wire = WIRES["anthropic" if "anthropic-version" in request.headers else "openai"]
        if WIRES["google"].key(request) is not None:
            wire = WIRES["google"]
        if request.method == "GET" and request.path.endswith("/models"):
            if not self._key_fits(wire, request):
                return Decision(error_reply(wire, Problem(FaultKind.BAD_KEY), number), FaultKind.BAD_KEY, wire.name)
            listed = listed_models(wire, self._options.service, self._options.models)
            return Decision(json_reply(wire.models(listed)), "other", wire.name)
        if self._options.service == "ollama" and request.path == "/api/ps":
            loaded = [{"name": name, "context_length": OLLAMA_CONTEXT} for name in self._options.models]
            return Decision(json_reply({"models": loaded}), "other", wire.name)
        words = f"the mock server has nothing at {request.method} {request.path}"
        return Decision(error_reply(wire, Problem(FaultKind.NOT_FOUND, words), number), "other", wire.name)

    def _chance(self, request: HttpRequest) -> Random:
        """Return the dice for a request: the same for the same request at its same repetition, whenever it comes."""
        digest = hashlib.blake2b(request.path.encode() + b"\0" + request.body, digest_size=16).digest()
        times = self._seen.pop(digest, 0)
        self._seen[digest] = times + 1
        if len(self._seen) > REMEMBERED_REQUESTS:
            self._seen.popitem(last=False)
        return Random(f"{self._options.seed}:{digest.hex()}:{times}")

    def _key_fits(self, wire: Wire, request: HttpRequest) -> bool:
        return self._options.api_key is None or wire.key(request) == self._options.api_key

    def _read(self, wire: Wire, request: HttpRequest) -> tuple[Ask, Fault | None]:
        """Return the request's ask, and the fault that it demands; raises ``WireError`` where services refuse."""
        try:
            body = json.loads(request.body)
        except ValueError as error:
            raise WireError(Problem(FaultKind.BAD_REQUEST, f"the body is not JSON: {error}")) from None
        if not isinstance(body, dict):
            raise WireError(Problem(FaultKind.BAD_REQUEST, "the body is not a JSON object"))
        ask = wire.ask(request, body)
        name, _, in_name = ask.model.partition("!")
        demand = in_name or request.headers.get(FAULT_HEADER)
        ask = replace(ask, model=name)
        if self._options.models and name not in self._options.models:
            raise WireError(Problem(FaultKind.NOT_FOUND, f"The model `{name}` does not exist", "model"))
        self._check_rules(wire, ask)
        if not self._options.lenient:
            problem = judge_request(wire, ask, request, self._options.service)
            if problem is not None:
                raise WireError(problem)
        try:
            return ask, Fault.parse(demand) if demand else None
        except ParameterError as error:
            raise WireError(Problem(FaultKind.BAD_REQUEST, str(error))) from None

    def _check_rules(self, wire: Wire, ask: Ask) -> None:
        """Refuse the parameters that the model's rules refuse."""
        given = wire.parameters(ask.body)
        for rule in self._options.rules:
            if not fnmatchcase(ask.model, rule.pattern):
                continue
            for param in rule.refuses:
                problem = wire.unsupported(param, given[param]) if param in given else None
                if problem is not None:
                    raise WireError(problem)

    def _befall(self, wire: Wire, ask: Ask, fault: Fault, number: int, latency: float) -> Decision:
        reply = fault_reply(wire, ask, fault, number, self._options.chunk_seconds)
        return Decision(reply, fault.kind, wire.name, latency)

    def _respond(self, wire: Wire, ask: Ask, item: Item, number: int, latency: float) -> Decision:
        """Do what the source of answers says."""
        if isinstance(item, Raw):
            reply = Reply(item.status, (("content-type", item.content_type), *item.headers), (item.body,))
            return Decision(reply, "answered" if item.status < 400 else str(item.status), wire.name, latency)
        if isinstance(item, Fault):
            return self._befall(wire, ask, item, number, latency)
        answer = as_answer(item)
        assert answer is not None
        silent = answer.thinking is None and answer.thinking_tokens is None and not self._options.lenient
        if silent and would_think(wire, ask, self._options.service):
            answer = replace(answer, thinking=THOUGHTS)
        return Decision(
            answer_reply(wire, ask, answer, number, self._options.chunk_seconds),
            "answered",
            wire.name,
            latency,
        )
