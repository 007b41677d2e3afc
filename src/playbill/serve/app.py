"""The web application: OpenAI's routes over a pool of models. Knows no socket and no command line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from playbill.backends.engines.base import OnText
from playbill.backends.errors import PlaybillError
from playbill.backends.generation import Generation
from playbill.backends.model import Model
from playbill.backends.registry.backends import is_service
from playbill.serve.chat_reply import Reply
from playbill.serve.chat_request import ChatRequest, read_chat_request
from playbill.serve.faults import ApiError, fault_of_error, fault_of_generation
from playbill.serve.guard import Guard, Limits, Rules, refuse
from playbill.serve.metrics import Metrics
from playbill.serve.pool import Pool, resident_memory

__all__ = ["make_app"]

_SUBMITTERS = 8
_EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


def make_app(pool: Pool, rules: Rules, metrics: Metrics) -> Starlette:
    """Make the application. It starts the pool when it starts, and closes it when it ends."""
    chat = _Chat(pool, metrics)
    started = int(time.time())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await pool.start()
        try:
            yield
        finally:
            await pool.close()
            chat.close()

    def described(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": started, "owned_by": "playbill"}

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [described(name) for name in pool.names]})

    async def model(request: Request) -> Response:
        return JSONResponse(described(_known(request.path_params["name"], pool)))

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def figures(request: Request) -> Response:
        return PlainTextResponse(metrics.render(), media_type="text/plain; version=0.0.4")

    metrics.gauge("playbill_generations_under_way", "Generations under way.", lambda: pool.users)
    metrics.gauge("playbill_models_loaded", "Models in memory.", lambda: len(pool.loaded))
    metrics.gauge("playbill_resident_bytes", "Memory of the process and its children.", resident_memory)
    cross_origin = Middleware(
        CORSMiddleware, allow_origins=rules.origins, allow_methods=["GET", "POST"], allow_headers=["*"]
    )
    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/metrics", figures),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            Route("/v1/chat/completions", chat, methods=["POST"]),
        ],
        middleware=[
            Middleware(Guard, rules, metrics),
            *([cross_origin] if rules.origins else []),
            Middleware(Limits, rules, metrics),
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )


async def _http_error(request: Request, e: Exception) -> Response:
    """Return the error for a path or method that isn't served, in OpenAI's form."""
    status = e.status_code if isinstance(e, HTTPException) else 500
    said = f"{request.method} {request.url.path} is not served here; a client's base URL ends in /v1"
    error = ApiError(status, said, code="unknown_url")
    return JSONResponse(error.to_dict(), status)


def _known(name: str, pool: Pool) -> str:
    if name not in pool.names:
        served = ", ".join(pool.names)
        raise ApiError(
            404, f"the model {name!r} is not served here; served are {served}", code="model_not_found", param="model"
        )
    return name


class _Chat:
    """The endpoint of chat completions, as an ASGI application."""

    def __init__(self, pool: Pool, metrics: Metrics) -> None:
        self._pool = pool
        self._metrics = metrics
        # Rendering waits for another process, so it may not happen in the event loop.
        self._submitters = ThreadPoolExecutor(_SUBMITTERS, thread_name_prefix="playbill-serve")

    def close(self) -> None:
        self._submitters.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await Request(scope, receive).body()
            asked = await asyncio.to_thread(read_chat_request, body)  # a large one takes long, and others wait
            async with AsyncExitStack() as held:
                model = await self._leased(asked, held)
                if asked.stream:
                    await self._stream(asked, model, scope, receive, send)
                else:
                    whole = await self._whole(asked, model)
                    await JSONResponse(whole)(scope, receive, send)
        except (ApiError, PlaybillError) as e:
            error = fault_of_error(e)
            self._metrics.count("refused", code=str(error.code))
            await refuse(error, scope, receive, send)

    async def _leased(self, asked: ChatRequest, held: AsyncExitStack) -> Model:
        """Return the model, kept while ``held`` is open. What its load refuses is no fault of the client's."""
        name = _known(asked.model, self._pool)
        try:
            return await held.enter_async_context(self._pool.lease(name))
        except PlaybillError as e:
            raise ApiError(500, str(e), code="model_not_loaded") from e

    async def _whole(self, asked: ChatRequest, model: Model) -> dict[str, Any]:
        generation = await self._generate(asked, model)
        if fault := fault_of_generation(generation, is_service=is_service(model.spec)):
            raise fault
        return {**_reply(asked, model).whole(generation), **_recorded(asked, model, generation)}

    async def _stream(self, asked: ChatRequest, model: Model, scope: Scope, receive: Receive, send: Send) -> None:
        """Nothing is sent before there is text, so that what fails at once is an error with its own status."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()

        def put(text: str) -> None:  # called from the engine's thread
            loop.call_soon_threadsafe(pieces.put_nowait, text)

        work = asyncio.ensure_future(self._generate(asked, model, on_text=put))
        work.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            piece = await pieces.get()
            if piece is None and (fault := fault_of_generation(await work, is_service=is_service(model.spec))):
                raise fault
            await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
            async for event in _events(asked, model, piece, pieces, work):
                await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            work.cancel()

    async def _generate(self, asked: ChatRequest, model: Model, on_text: OnText | None = None) -> Generation:
        submit = partial(model.submit, asked.messages, on_text=on_text, dialogue=asked.dialogue, **asked.params)
        submitting = self._submitters.submit(submit)
        try:
            future = await asyncio.wrap_future(submitting)
        except asyncio.CancelledError:
            submitting.add_done_callback(_cancel_what_it_gave)
            raise
        generation = await asyncio.wrap_future(future)  # cancelled, it cancels the engine's work
        self._count(asked.model, generation)
        return generation

    def _count(self, model: str, generation: Generation) -> None:
        self._metrics.count("requests", model=model, outcome=generation.outcome.value)
        self._metrics.count("seconds", generation.seconds, model=model)
        self._metrics.count("tokens", generation.usage.input_tokens or 0, model=model, kind="input")
        self._metrics.count("tokens", generation.usage.output_tokens or 0, model=model, kind="output")


async def _events(
    asked: ChatRequest,
    model: Model,
    piece: str | None,
    pieces: asyncio.Queue[str | None],
    work: asyncio.Future[Generation],
) -> AsyncIterator[bytes]:
    """Yield the server-sent events of a stream, from its first piece on."""
    reply = _reply(asked, model)
    yield _event(reply.first())
    while piece is not None:
        if piece:
            yield _event(reply.piece(piece))
        piece = await pieces.get()
    try:
        chunks = _last_chunks(asked, model, reply, work.result())
    except Exception as e:  # noqa: BLE001 - too late for a status: the stream itself says what happened
        yield _event(fault_of_error(e).to_dict())
        return
    for chunk in chunks:
        yield _event(chunk)
    yield b"data: [DONE]\n\n"


def _last_chunks(asked: ChatRequest, model: Model, reply: Reply, generation: Generation) -> list[dict[str, Any]]:
    if fault := fault_of_generation(generation, is_service=is_service(model.spec)):
        raise fault
    if generation.details.get("stream_differs"):
        raise ApiError(500, "the whole answer is not what was streamed of it", code="stream_mismatch")
    chunks = reply.last(generation)
    chunks[-1].update(_recorded(asked, model, generation))
    return [*chunks, reply.usage(generation)] if asked.include_usage else chunks


def _recorded(asked: ChatRequest, model: Model, generation: Generation) -> dict[str, Any]:
    """Return what a client that asked for a record gets beside the answer."""
    if asked.record == "clembench":
        prompt, response = model.clembench_objects(generation, asked.messages)
        return {"playbill": {"outcome": generation.outcome.value, "prompt": prompt, "response": response}}
    return {"playbill": generation.to_dict()} if asked.record else {}


def _event(content: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"


def _reply(asked: ChatRequest, model: Model) -> Reply:
    return Reply(asked.model, model.prompt_path.decode if model.prompt_path else None)


def _cancel_what_it_gave(submitting: Future[Future[Generation]]) -> None:
    """The client left while its request was being submitted: what came of it is not wanted."""
    if not submitting.cancelled() and submitting.exception() is None:
        submitting.result().cancel()
