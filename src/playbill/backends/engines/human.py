"""The backend human: a person at the terminal reads each message and types the answer."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from playbill.backends.common.terminal import printable
from playbill.backends.engines.base import Completion, Context, Loaded, OnText, Request
from playbill.backends.engines.threads import Threads
from playbill.backends.errors import EngineError
from playbill.backends.generation import FinishReason
from playbill.backends.prompt.messages import Message
from playbill.backends.prompt.prompt_path import PromptPath

__all__ = ["Human", "load", "preview"]


def load(entry: Mapping[str, Any], context: Context) -> Loaded:
    return Loaded(Human())


def preview(entry: Mapping[str, Any], context: Context) -> PromptPath | None:
    return None


class Human:
    """One person, who answers one question at a time. A person honours a length or a temperature as they like."""

    supported_parameters: frozenset[str] = frozenset()
    concurrency = 1

    def __init__(self) -> None:
        self._threads = Threads(self._complete, 1, "human")
        self._shown: tuple[Message, ...] = ()

    def submit(self, request: Request, on_text: OnText | None = None) -> Future[Completion]:
        return self._threads.submit(request, on_text)

    def close(self) -> None:
        self._threads.close()

    def facts(self) -> Mapping[str, Any]:
        return {}

    def _complete(self, request: Request, on_text: OnText | None, stop_wanted: Callable[[], bool]) -> Completion:
        self._show(request.messages)
        sys.stderr.write("your answer> ")
        sys.stderr.flush()
        line = _read_line(stop_wanted)
        if not line:
            raise EngineError("the person left: the input ended")
        return Completion(text=line.rstrip("\r\n"), finish_reason=FinishReason.STOP)

    def _show(self, messages: tuple[Message, ...]) -> None:
        """What the person has not seen yet: all of it, or what came since their last answer."""
        known = len(self._shown)
        goes_on = known and len(messages) > known + 1 and messages[:known] == self._shown
        new = messages[known + 1 :] if goes_on else messages
        sys.stderr.write("\n" if goes_on else "\n--- a new dialogue ---\n")
        for message in new:
            sys.stderr.write(f"[{message['role']}] {printable(_text(message))}\n")
        self._shown = messages


def _read_line(stop_wanted: Callable[[], bool]) -> str:
    """Return a line of the terminal. A thread that blocks in a read would hold stdin at the process's end, which kills
    it."""
    if os.name == "posix" and sys.stdin.isatty():
        while not select.select([sys.stdin], [], [], 0.1)[0]:
            if stop_wanted():
                raise EngineError("nobody waits for the person's answer any more")
    return sys.stdin.readline()


def _text(message: Message) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text") or f"({part['type']})") for part in content)
