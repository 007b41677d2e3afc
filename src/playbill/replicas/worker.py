"""A replica's side: it holds a Model, takes turns in batches, and gives back what is finished, in batches too.

The same object works in a process of this machine and in an actor of Ray. Knows neither.
"""

from __future__ import annotations

import os
import pickle
import platform
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from playbill import __version__
from playbill.backends.common.packages import package_versions
from playbill.backends.common.secret import scrub
from playbill.backends.credentials import Credentials
from playbill.backends.engines.base import supported_parameters
from playbill.backends.errors import EngineError, PlaybillError
from playbill.backends.generation import Generation
from playbill.backends.loading import load_spec
from playbill.backends.model import Model
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.fields.table import ENTRY_KEYS
from playbill.replicas.wire import Answer, Ask, Batch, LoadOrder, PathPortrait, Portrait, ProcessorPortrait

__all__ = ["Worker", "portable"]

_LINGER_SHARE = 0.05  # of a turn's usual time
_LINGER = 0.1  # seconds at the most
_MOST = 256  # answers in one batch


class Worker:
    """Holds the model that an order asks for. Raises what loading raises."""

    def __init__(self, order: LoadOrder) -> None:
        self._model = _load(order)
        self._order = order
        self._changed = threading.Condition()
        self._under_way: dict[int, Future[Generation]] = {}
        self._finished: list[Answer] = []
        self._usual = 0.0  # seconds that a turn takes
        self._visit = self._batches = 0

    def portrait(self) -> Portrait:
        """Return what the caller's side needs to know of the model."""
        return _portrait(self._model, self._order)

    def exchange(self, asks: Sequence[Ask], cancelled: Sequence[int], seconds: float) -> Batch:
        """Take turns in, and return what is finished as soon as something is, or nothing after ``seconds``.

        A caller may come while an earlier call still waits; that one then returns at once, so that one waits at the
        most. What finishes shortly after the first answer comes along with it, for each call costs the caller's side.
        """
        self.take(asks, cancelled)
        return self.finished(seconds)

    def take(self, asks: Sequence[Ask], cancelled: Sequence[int]) -> None:
        """Begin with turns, and give up those that are cancelled."""
        for ask in asks:
            self._begin(ask)
        for number in cancelled:
            future = self._under_way.get(number)
            if future is not None:
                future.cancel()

    def finished(self, seconds: float) -> Batch:
        """Return what is finished as soon as something is, or nothing after ``seconds``; see `exchange`."""
        with self._changed:
            self._visit += 1
            visit = self._visit
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._finished or visit != self._visit, seconds)
            if self._finished:
                self._changed.wait_for(lambda: self._is_full(visit), self._linger())
            found, self._finished = self._finished[:_MOST], self._finished[_MOST:]
            batch, self._batches = Batch(self._batches, found), self._batches + 1
            return batch

    def close(self) -> None:
        """End all work and free the model."""
        self._model.close()

    def _linger(self) -> float:
        """Return how many seconds to wait for more: none where not even one more is expected in them."""
        seconds = min(_LINGER, _LINGER_SHARE * self._usual)
        return seconds if seconds * len(self._under_way) >= self._usual else 0.0

    def _is_full(self, visit: int) -> bool:
        """Whether there is nothing worth waiting for: all is finished, much is, or somebody watches a text come."""
        first = self._finished[0] if self._finished else None
        hurried = visit != self._visit or first is None or first.is_piece
        return hurried or not self._under_way or len(self._finished) >= _MOST

    def _begin(self, ask: Ask) -> None:
        if ask.decode is not None:
            self._finish(self._decoded(ask))
            return

        def piece(text: str) -> None:
            self._finish(Answer(ask.number, text=text, is_piece=True))

        try:
            on_text = piece if ask.stream else None
            future = self._model.submit(
                ask.messages, on_text=on_text, dialogue=ask.dialogue, folder=ask.folder, **ask.params
            )
        except Exception as e:  # noqa: BLE001 - the caller raises it
            self._finish(Answer(ask.number, error=portable(e)))
            return
        with self._changed:
            self._under_way[ask.number] = future
        started = time.monotonic()
        future.add_done_callback(lambda done: self._take(ask.number, done, started))

    def _take(self, number: int, done: Future[Generation], started: float) -> None:
        self._under_way.pop(number, None)
        took = time.monotonic() - started
        self._usual = took if not self._usual else 0.9 * self._usual + 0.1 * took
        if done.cancelled():
            self._finish(Answer(number, error=EngineError("cancelled")))
        elif (error := done.exception()) is not None:
            self._finish(Answer(number, error=portable(error)))
        else:
            self._finish(Answer(number, done.result()))

    def _finish(self, answer: Answer) -> None:
        with self._changed:
            self._finished.append(answer)
            self._changed.notify_all()

    def _decoded(self, ask: Ask) -> Answer:
        path = self._model.prompt_path
        if path is None or ask.decode is None:
            return Answer(ask.number, error=EngineError("the model has no tokenizer here"))
        return Answer(ask.number, text=path.decode(ask.decode))


def portable(e: BaseException) -> Exception:
    """Return an error that pickles: itself where it is ours, else one of ours with its words."""
    if isinstance(e, PlaybillError):
        with suppress(Exception):
            copy: Exception = pickle.loads(pickle.dumps(e))
            return copy
    return EngineError(str(scrub(f"{type(e).__name__}: {e}")))


def _load(order: LoadOrder) -> Model:
    with suppress(OSError):  # a node that has no such folder: absolute paths and names of the hub still hold
        os.chdir(order.folder)
    spec = order.spec
    if order.threads and spec.get("threads") is None and ENTRY_KEYS["threads"].is_read_by(str(spec.get("backend"))):
        spec = spec.override({"threads": order.threads})
    dialogues = order.dialogues if order.most is None else min(order.most, order.dialogues or order.most)
    return load_spec(
        spec,
        credentials=Credentials.load(file for file in order.key_files if file.exists()),
        trust_remote_code=order.trust_remote_code,
        fetch_pictures=order.fetch_pictures,
        dialogues=dialogues,
        extent=order.extent,
    )


def _portrait(model: Model, order: LoadOrder) -> Portrait:
    path = model.prompt_path
    facts = dict(model.engine.facts())
    return Portrait(
        concurrency=min(model.concurrency, order.most or model.concurrency),
        supported=frozenset(supported_parameters(model.engine)),
        rules=getattr(model.engine, "parameter_rules", None),
        wishes=dict(model.wishes),
        defaults=model.defaults,
        cleaning=model.cleaning,
        path=_path_portrait(path) if path is not None else None,
        facts=facts,
        versions={"playbill": __version__, "python": platform.python_version(), "packages": package_versions()},
        node=socket.gethostname(),
        pid=os.getpid(),
        device=_device(facts),
        gpus=os.environ.get("CUDA_VISIBLE_DEVICES") or None,
    )


def _path_portrait(path: PromptPath) -> PathPortrait:
    eyes = path.processor
    return PathPortrait(
        template=path.template,
        stops=path.stops,
        date=path.date,
        context_size=path.context_size,
        recommended=path.recommended,
        response=path.response,
        tokenizer=dict(path.tokenizer.facts()),
        processor=None
        if eyes is None
        else ProcessorPortrait(placeholder=eyes.placeholder, markers=tuple(eyes.markers), facts=dict(eyes.facts())),
    )


def _device(facts: dict[str, Any]) -> str:
    """Return where the engine computes, in a word; llama.cpp says how many layers are on a GPU."""
    return str(facts.get("device") or ("gpu" if facts.get("gpu_layers") else "cpu"))
