"""Playbill's models for clemcore: messages go to a Playbill process over the loopback, answers come back.

Runs in clemcore's environment, where Playbill need not be installed: knows clemcore and the standard library only.
"""

from __future__ import annotations

import atexit
import base64
import http.client
import json
import mimetypes
import os
import subprocess
import threading
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from clemcore.backends import BatchGenerativeModel, ModelSpec
from clemcore.backends.utils import ContextExceededError, augment_response_object

__all__ = ["Door", "NoAnswer", "PlaybillModel", "model_for"]

CLEM_DEFAULTS = {"temperature": 0.0, "max_tokens": 300}
MOST_AT_ONCE = 256


class NoAnswer(RuntimeError):
    """Playbill has no answer; the message says why."""


@dataclass
class Door:
    """Where a Playbill process answers. ``waiting`` is entered while an answer is waited for."""

    url: str
    key: str
    waiting: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext)

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the completion object. Raises NoAnswer, and clemcore's ContextExceededError."""
        sent = json.dumps(body).encode()
        with self.waiting():
            status, text = self._post(sent)
        answer: dict[str, Any] = json.loads(text)
        if status != 200:
            error = answer["error"]
            if error.get("code") == "context_length_exceeded":
                raise ContextExceededError(error["message"])
            raise NoAnswer(f"{body['model']}: {error['message']}")
        return answer

    def _post(self, body: bytes) -> tuple[int, bytes]:
        address = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        try:
            connection.request("POST", f"{address.path}/chat/completions", body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except OSError as e:
            raise NoAnswer(f"the Playbill process at {self.url} is gone: {e}") from e
        finally:
            connection.close()


class PlaybillModel(BatchGenerativeModel):  # type: ignore[misc] # clemcore is not typed
    """A model of Playbill as clemcore knows models. ``dialogue`` begins the names of its dialogues."""

    def __init__(self, model_spec: Any, door: Door, dialogue: str | None = None) -> None:
        super().__init__(model_spec)
        self._door = door
        self._dialogue = dialogue

    @augment_response_object  # type: ignore[untyped-decorator]
    def generate_response(self, messages: list[dict[str, Any]]) -> tuple[Any, Any, str]:
        return self._ask(messages)

    @augment_response_object  # type: ignore[untyped-decorator]
    def generate_batch_response(self, batch_messages: list[list[dict[str, Any]]]) -> list[tuple[Any, Any, str]]:
        with ThreadPoolExecutor(min(len(batch_messages), MOST_AT_ONCE)) as threads:
            return list(threads.map(self._ask, batch_messages))

    def _ask(self, messages: list[dict[str, Any]]) -> tuple[Any, Any, str]:
        with self._door.waiting() if any("image" in m for m in messages) else nullcontext():
            sent = [with_images(message) for message in messages]  # which may fetch them from far away
        body = {"model": self.name, "messages": sent, **self._asked()}
        answer = self._door.ask({**body, "playbill": {"record": "clembench", "dialogue": self._name_of(messages)}})
        outcome = answer["playbill"]["outcome"]
        message = answer["choices"][0]["message"]
        if outcome == "refused":
            raise NoAnswer(f"{self.name}: {message.get('refusal') or 'the service refused to answer'}")
        return answer["playbill"]["prompt"], answer["playbill"]["response"], message["content"]

    def _asked(self) -> dict[str, Any]:
        """clemcore always gives its defaults along, asked for or not; so they don't count as asked for."""
        return {name: value for name, value in self.gen_args.items() if CLEM_DEFAULTS.get(name) != value}

    def _name_of(self, messages: list[dict[str, Any]]) -> str | None:
        """Return a dialogue's name: who began with the same message, in the same episode, goes on with it."""
        if self._dialogue is None:
            return None
        return f"{self._dialogue}-{zlib.crc32(str(messages[0].get('content')).encode()):08x}"


def with_images(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose ``image``, a path or an address or several, became parts with the pictures in them.

    Pictures go before the text, as clemcore has it, and its games' mark of their place goes out of the text.
    """
    images = message.get("image")
    if not images:
        return {key: value for key, value in message.items() if key in ("role", "content")}
    named = [images] if isinstance(images, str) else images
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in named]
    if text := str(message["content"] or "").replace(" <image> ", " "):
        parts.append({"type": "text", "text": text})
    return {"role": message["role"], "content": parts}


@lru_cache(maxsize=256)  # each turn of a dialogue sends all its pictures
def _data_url(image: str) -> str:
    if image.startswith("data:"):
        return image
    if image.startswith(("http://", "https://")):
        with urllib.request.urlopen(image, timeout=60) as response:
            content = response.read()
    else:
        with open(image, "rb") as file:
            content = file.read()
    kind = mimetypes.guess_type(urllib.parse.urlsplit(image).path)[0] or "image/png"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def model_for(model_spec: Any, command: list[str]) -> PlaybillModel:
    """Return a model of Playbill, in a Playbill process that is started for it, once for each model.

    ``command`` starts the process; it ends when this one does, however that comes about.
    """
    selector = {k: v for k, v in model_spec.to_dict().items() if k not in ("backend", "lookup_source")}
    name = json.dumps(selector, sort_keys=True)
    with _starting:
        if name not in _started:
            _started[name] = _start(selector, command)
        started = _started[name]
    told = {"version": started.told["version"], "entry": started.told["entry"]}
    known = ModelSpec.from_dict({**model_spec.to_dict(), "playbill": told})
    return PlaybillModel(known, Door(started.told["url"], started.told["key"]))


@dataclass
class _Started:
    """A Playbill process, and what it told: address, key, the entry that it found, its version."""

    process: subprocess.Popen[bytes]
    told: dict[str, Any]

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()  # which it is waiting for
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()


_starting = threading.Lock()
_started: dict[str, _Started] = {}


def _start(selector: dict[str, Any], command: list[str]) -> _Started:
    if not os.path.exists(command[0]):
        raise NoAnswer(f"Playbill's Python {command[0]} is gone; run `playbill clem init` again in this folder")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(selector).encode() + b"\n")
    process.stdin.flush()
    line = process.stdout.readline()
    told = json.loads(line) if line else {"error": "its process ended; what it said stands above"}
    if "error" in told:
        process.stdin.close()
        process.wait()
        raise NoAnswer(f"Playbill can't load {selector['model_name']}: {told['error']}")
    started = _Started(process, told)
    atexit.register(started.end)
    return started
