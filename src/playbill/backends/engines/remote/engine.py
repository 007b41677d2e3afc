"""The Engine of every service: queues, sends, retries with exponential backoff, and turns faults into clear errors.

Knows no service: a `Wire` writes bodies, sends them by the official client, and reads what came.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from playbill.backends.common.surrogates import split_high, whole_characters
from playbill.backends.common.warn import warn_once
from playbill.backends.common.words import counted
from playbill.backends.engines.base import Completion, ListedModel, OnText, Request
from playbill.backends.engines.remote.capture import Capture
from playbill.backends.engines.remote.connection import Connection
from playbill.backends.engines.remote.errors import checked, error_of, failure_of, status_failure, with_facts
from playbill.backends.engines.remote.event_loop import service_loop
from playbill.backends.engines.remote.failure import NO_PROVIDER, Failure, Kind
from playbill.backends.engines.remote.limiter import Limiter, limiter_for
from playbill.backends.engines.remote.listing import fetch_context, fetch_models
from playbill.backends.engines.remote.notices import notice
from playbill.backends.engines.remote.trial import Trial, named_parameter
from playbill.backends.engines.remote.wire import Body, Wire
from playbill.backends.errors import EndpointDown, EngineError, PlaybillError
from playbill.backends.generation import FinishReason
from playbill.backends.registry.fields.table import setting

__all__ = ["RemoteEngine"]

_log = logging.getLogger(__name__)
_LONGEST_PAUSE = 60.0
_ALWAYS = frozenset(["model", "messages", "system", "contents", "systemInstruction", "generationConfig", "max_tokens"])
"""Fields of every body; a refusal that names one of them may be about one dialogue alone."""


class _RemoteFuture(Future[Completion]):
    """A future whose cancelling ends the task on the service loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self.task: asyncio.Task[None] | None = None

    def cancel(self) -> bool:
        cancelled = super().cancel()
        self._loop.call_soon_threadsafe(self._stop)
        return cancelled

    def _stop(self) -> None:
        if self.task is not None:
            self.task.cancel()


class _Talker:
    """Hands a stream's pieces to ``on_text``, in whole characters, and remembers whether anything was."""

    def __init__(self, wire: Wire, on_text: OnText) -> None:
        self._wire = wire
        self._on_text = on_text
        self._held = ""
        self.characters = 0

    def __call__(self, event: Body) -> None:
        text, self._held = split_high(self._held + self._wire.delta(event))
        self._say(text)

    def end(self) -> None:
        """Say what was held back for a second half that never came."""
        self._say(self._held)

    def _say(self, text: str) -> None:
        if text:
            self.characters += len(text)
            self._on_text(whole_characters(text))


class RemoteEngine:
    """Completes requests at one service for one entry."""

    def __init__(self, wire: Wire, connection: Connection, entry: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        self._wire = wire
        self._connection = connection
        self._facts = dict(facts)
        self._max_attempts = int(setting(entry, "max_attempts"))
        self._retry_pause = float(setting(entry, "retry_pause"))
        self._retry_empty = int(setting(entry, "retry_empty"))
        self._time_budget: float | None = setting(entry, "time_budget")
        self._loop = service_loop()
        self._trial = Trial(self._loop.time)
        self._learned: dict[str, str] = {}
        self._limiter = limiter_for(connection.limiter_key, connection.name, self._loop.time)
        self._deadline: float | None = None
        self._unfinished: set[_RemoteFuture] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.supported_parameters = wire.supported_parameters
        self.parameter_rules = wire.parameter_rules

    @property
    def concurrency(self) -> int:
        """How many requests the service takes at once, as far as is known by now."""
        return self._limiter.width

    def forget(self) -> None:
        """Begin anew with the service: forget its limits, its pauses, and which parameters it refused.

        For when nothing is under way. From then on the engine shares its limit of concurrency with no other.
        """
        self._trial = Trial(self._loop.time)
        self._learned.clear()
        self._limiter = Limiter(self._connection.name, self._connection.limiter_key.fixed, self._loop.time)

    def facts(self) -> Mapping[str, Any]:
        return {**self._facts, "service": self._connection.service.name, "base_url": self._connection.base_url}

    def list_models(self) -> list[ListedModel] | None:
        """Ask for the service's own list of models, which costs nothing; None where it has none."""
        return asyncio.run_coroutine_threadsafe(fetch_models(self._wire, self._connection), self._loop).result()

    def context_in_use(self) -> int | None:
        """Ask for the context of the model that the server has loaded; None where it doesn't tell."""
        model = str(self._facts.get("model_id"))
        return asyncio.run_coroutine_threadsafe(fetch_context(self._wire, self._connection, model), self._loop).result()

    def least_limits(self) -> Mapping[str, int]:
        """Return limits of tokens with which a request costs as little as the service admits."""
        return self._wire.least_limits()

    def submit(self, request: Request, on_text: OnText | None = None) -> Future[Completion]:
        body = self._wire.body(request)
        future = _RemoteFuture(self._loop)
        with self._lock:
            if self._closed:
                raise EngineError(f"{self._connection.name} is closed")
            self._unfinished.add(future)
        self._loop.call_soon_threadsafe(self._start, future, request, body, on_text)
        return future

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            unfinished = list(self._unfinished)
        for future in unfinished:
            future.cancel()
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._wire.close()))

    def _start(self, future: _RemoteFuture, request: Request, body: Body, on_text: OnText | None) -> None:
        if future.cancelled():
            self._unfinished.discard(future)
            return
        future.task = self._loop.create_task(self._resolve(future, request, body, on_text))

    async def _resolve(self, future: _RemoteFuture, request: Request, body: Body, on_text: OnText | None) -> None:
        try:
            completion = await self._complete(request, body, on_text)
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as e:  # noqa: BLE001 - it is handed to who waits for it
            if future.set_running_or_notify_cancel():
                future.set_exception(e)
        else:
            if future.set_running_or_notify_cancel():
                future.set_result(completion)
        finally:
            self._unfinished.discard(future)

    async def _complete(self, request: Request, body: Body, on_text: OnText | None) -> Completion:
        """Attempts until one brings an answer, or a failure that another attempt wouldn't mend."""
        if self._time_budget is not None and self._deadline is None:
            self._deadline = self._loop.time() + self._time_budget
        attempts = empty = 0
        learned: Collection[str] = ()
        while True:
            await self._trial.enter()
            if learned != self._learned.keys():  # another request found out meanwhile, or this one did
                learned = set(self._learned)
                body = self._wire.body(self._without_learned(request))
            talker = _Talker(self._wire, on_text) if on_text is not None else None
            capture = Capture(talker)
            try:
                await self._enter(again=attempts > 0)
                attempts += 1
                completion = await self._attempt(body, capture, stream=on_text is not None)
            except Failure as failure:
                if self._learn(failure, request, learned):
                    self._trial.left()
                    continue
                fatal = self._fatal(failure, attempts, talker)
                if fatal is not None:
                    self._trial.refused(failure, fatal, asked=self._names_asked(failure, request, body))
                    raise with_facts(fatal, attempts, capture) from failure
                self._trial.open()
                await asyncio.sleep(self._pause(attempts, failure))
                continue
            except BaseException:
                self._trial.left()
                raise
            self._trial.took()
            if talker is not None:
                talker.end()
            if _is_empty(completion) and empty < self._retry_empty:
                empty += 1
                continue
            model = str(self._facts.get("model_id", ""))
            noticed = notice(self._wire, self._connection, model, request, completion)
            return replace(
                completion,
                request=capture.request_body(),
                response=capture.response_body(),
                effective={**completion.effective, **self._wire.implied(request)},
                not_sent={name: why for name, why in self._learned.items() if name in learned},
                attempts=attempts,
                details={**completion.details, **_identity(capture), **noticed},
            )

    def _without_learned(self, request: Request) -> Request:
        return replace(request, params={n: v for n, v in request.params.items() if n not in self._learned})

    def _learn(self, failure: Failure, request: Request, sent_without: Collection[str]) -> bool:
        """Leave out a default of Playbill's that a service refuses, from now on; True where that mends the request."""
        ours = self._wire.defaults(request) - {"max_tokens"}  # without a limit an answer has no end
        named = named_parameter(failure, [(name, self._wire.name_of(name)) for name in sorted(ours)])
        if named is None and NO_PROVIDER in str(failure) and "temperature" in ours & request.params.keys():
            named = "temperature"  # no provider takes all parameters, and this is the only one that nobody asked for
        if named is None or named in sent_without:
            return False
        if named not in self._learned:
            self._learned[named] = f"the service refused it: {failure}"
            self._wire.left_out.add(named)
            model = self._facts.get("model_id")
            warn_once(
                f"{self._connection.name}: {model} refuses {named}, which nobody asked for; it is left out from now on "
                f"({failure})"
            )
        return True

    def _names_asked(self, failure: Failure, request: Request, body: Body) -> bool:
        """Tell whether a refusal names a parameter that entry or caller asked for, or a field that the entry brings."""
        asked = request.params.keys() - request.unasked
        unasked = {self._wire.name_of(name) for name in self._wire.defaults(request)}
        fields = body.keys() - unasked - _ALWAYS
        pairs = [*((name, self._wire.name_of(name)) for name in sorted(asked)), *((f, f) for f in sorted(fields))]
        return named_parameter(failure, pairs) is not None

    async def _enter(self, *, again: bool) -> None:
        if self._deadline is None:
            await self._limiter.enter(again=again)
            return
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._limiter.enter(again=again)
        except TimeoutError:
            raise EngineError(
                f"the time budget of {self._time_budget:g} s was used up before {self._connection.name} could be asked"
            ) from None

    async def _attempt(self, body: Body, capture: Capture, *, stream: bool) -> Completion:
        """Make one attempt in a place of the limiter, give the place back, and tell the limiter how it went."""
        started = self._loop.time()
        try:
            completion = await self._send(body, capture, stream=stream)
        except Failure as failure:
            self._tell_limiter(failure, started)
            raise
        else:
            self._limiter.succeeded()
            return completion
        finally:
            self._limiter.leave()

    async def _send(self, body: Body, capture: Capture, *, stream: bool) -> Completion:
        try:
            with capture:
                async with asyncio.timeout(self._connection.seconds):
                    await self._wire.send(body, stream=stream)
        except TimeoutError as e:
            raise Failure(Kind.CONNECTION, f"no answer within {self._connection.seconds:g} s") from e
        except Exception as e:  # what the client makes of a fault is its own matter: the capture saw what happened
            raise failure_of(e, capture) from e
        if capture.status is not None and capture.status >= 300:  # a client that doesn't mind
            raise status_failure(capture)
        if stream and capture.is_stream:
            return self._wire.read_stream(capture)
        return self._wire.read(checked(capture.completion()))

    def _tell_limiter(self, failure: Failure, started: float) -> None:
        if failure.kind in (Kind.RATE_LIMIT, Kind.OVERLOADED):
            self._limiter.rate_limited(started, failure.seconds)
        elif failure.kind in (Kind.CONNECTION, Kind.SERVER, Kind.BROKEN):
            self._limiter.failed(started, str(failure))

    def _pause(self, attempts: int, failure: Failure) -> float:
        """Seconds before the next attempt: twice as long each time, with jitter; at least what was asked for."""
        pause = min(_LONGEST_PAUSE, self._retry_pause * 2.0 ** (attempts - 1)) * random.uniform(0.5, 1.5)
        return max(pause, failure.seconds or 0.0)

    def _fatal(self, failure: Failure, attempts: int, talker: _Talker | None) -> PlaybillError | None:
        """Return the error that ends the request, or None where another attempt is worth it."""
        if not failure.kind.may_pass:
            return error_of(failure, self._connection)
        if self._limiter.down_reason is not None:
            return EndpointDown(self._limiter.down_reason)
        words = f"{self._connection.name}: {failure}"
        if talker is not None and talker.characters:
            return EngineError(f"{words}; the stream broke after {counted(talker.characters, 'character')} had come")
        if attempts >= self._max_attempts:
            return EngineError(f"{words}; given up after {counted(attempts, 'attempt')}")
        if self._deadline is not None and self._loop.time() + (failure.seconds or 0.0) >= self._deadline:
            return EngineError(f"{words}; given up, the time budget of {self._time_budget:g} s is used up")
        return None


def _is_empty(completion: Completion) -> bool:
    return not (completion.text or "").strip() and completion.finish_reason in (
        FinishReason.STOP,
        FinishReason.UNKNOWN,
    )


def _identity(capture: Capture) -> dict[str, Any]:
    """Return the request's id at the service, which its support asks for; the headers' names, and the API's version."""
    ids: Callable[[str], str | None] = capture.headers.get
    found = ids("x-request-id") or ids("request-id")
    details: dict[str, Any] = {"request_id": found} if found else {}
    details["headers"] = sorted(capture.sent_headers)
    if version := capture.sent_headers.get("anthropic-version"):
        details["api_version"] = version
    return details
