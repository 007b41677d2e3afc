"""What the tests of `playbill serve` share: models of every temper, an engine that counts, and questions."""

from __future__ import annotations

import time
from datetime import datetime

import pytest

pytest.importorskip("openai", reason='needs "playbill[openai]"')

import httpx2 as httpx

from playbill.backends import (
    ContextExceeded,
    EngineError,
    Model,
    ModelSpec,
    PromptPath,
    Refused,
    Stops,
    Template,
    load_model,
    model_from_function,
)
from playbill.backends.engines.programmatic import Programmatic

HELLO = [{"role": "user", "content": "Hello there, who are you?"}]


def wait_until(true, seconds: float = 20) -> bool:
    """Whether something becomes true in time; how long it took says nothing."""
    until = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < until:
        time.sleep(0.02)
    return bool(found)


def failing(messages):
    """A model's function: it fails in the way that the last message names."""
    kinds = {"engine": EngineError, "context": ContextExceeded, "refused": Refused, "bug": ZeroDivisionError}
    raise kinds[messages[-1]["content"]]("no luck")


class Letters:
    """A tokenizer whose tokens are characters."""

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]

    def decode(self, ids) -> str:
        return "".join(map(chr, ids))

    def special_ids(self) -> frozenset[int]:
        return frozenset()

    def facts(self):
        return {}


def strict_model() -> Model:
    """A model whose template refuses two messages of a role in a row, and whose context holds 400 characters."""
    text = (
        "{% for m in messages %}{% if loop.previtem and loop.previtem.role == m.role %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    )
    path = PromptPath(
        template=Template(text, "custom"), tokenizer=Letters(), stops=Stops(()), date=datetime.now(), context_size=400
    )
    spec = ModelSpec.from_dict({"model_name": "strict", "backend": "programmatic", "consecutive_roles": "keep"})
    return Model(spec, Programmatic(lambda messages: "fine"), path, "programmatic")


LOADERS = {
    "echo": lambda: load_model("mock", consecutive_roles="keep"),
    "answers": lambda: load_model({"model_name": "a", "backend": "programmatic", "answers": ["  One two three. "]}),
    "failing": lambda: model_from_function(failing),
    "strict": strict_model,
}


def ask(url: str, headers=None, **fields) -> httpx.Response:
    body = {"model": "echo", "messages": HELLO, **fields}
    return httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=30)


class Counting(Programmatic):
    """An engine that counts what it has under way; its answers take longer than any test."""

    def __init__(self) -> None:
        super().__init__(lambda messages: "late", delay=600)
        self.futures = []

    def submit(self, request, on_text=None):
        future = super().submit(request, on_text)
        self.futures.append(future)
        return future
