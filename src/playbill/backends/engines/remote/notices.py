"""Notice what a service did to a request in silence: a prompt that was cut, another model, thinking without a key.

Each is said once, by a warning; what concerns single answers stands in their records too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from playbill.backends.common.warn import warn_once
from playbill.backends.engines.base import Completion, Request
from playbill.backends.engines.remote.connection import Connection
from playbill.backends.engines.remote.wire import Wire
from playbill.backends.generation import FinishReason
from playbill.backends.prompt.messages import Message

__all__ = ["is_same_model", "least_tokens", "notice"]

_GAPS = re.compile(r"[ \t\r\n]+")
_VERSION = re.compile(r"(?:[-@_](?:\d{2,8}(?:-\d{2}){0,2}|latest|preview|exp|beta|stable|v\d+))*")


def notice(wire: Wire, connection: Connection, model: str, request: Request, completion: Completion) -> dict[str, Any]:
    """Say what was done to a request unasked, and return what its record keeps of it. ``model`` was asked for."""
    _tell_of_another(connection, model, completion.details)
    _tell_of_thinking(wire, connection, model, completion)
    return _tell_of_cut(connection, model, request, completion)


def _tell_of_another(connection: Connection, asked: str, details: Mapping[str, Any]) -> None:
    service, served = connection.service, details.get("served_model")
    # A server of one's own names models as it likes, and Azure is asked for a deployment.
    if service.keyless or service.name == "azure" or not isinstance(served, str) or not asked:
        return
    if not is_same_model(asked, served):
        warn_once(f"{connection.name}: asked for {asked}, and {served[:80]} answered; its records say so")


def is_same_model(asked: str, served: str) -> bool:
    """Tell whether two names are one model's: of these, one goes on with a version or a date at the most.

    >>> is_same_model("gpt-4o", "gpt-4o-2024-08-06"), is_same_model("gpt-4o", "gpt-4o-mini")
    (True, False)
    """
    ours, theirs = (name.lower().rpartition("/")[2].partition(":")[0] for name in (asked, served))
    short, long = sorted((ours, theirs), key=len)
    return long.startswith(short) and _VERSION.fullmatch(long, len(short)) is not None


def _tell_of_thinking(wire: Wire, connection: Connection, model: str, completion: Completion) -> None:
    """Thinking used up the tokens of the answer: say which key mends it."""
    cut = completion.finish_reason is FinishReason.LENGTH and not (completion.text or "").strip()
    if cut and not wire.leaves_room:
        warn_once(
            f"{connection.name}: {model} was cut before it said anything: it seems to think unasked, and thinking "
            f"counts towards max_tokens. Set reasoning_model to true, which leaves {wire.thinking_room} tokens for it "
            "(max_thinking_tokens: another number), or thinking to off"
        )


def _tell_of_cut(connection: Connection, model: str, request: Request, completion: Completion) -> dict[str, Any]:
    least, counted = least_tokens(request.messages), completion.usage.input_tokens
    if counted is None or counted >= least:
        return {}
    ollama = connection.service.name == "ollama"
    mend = "start it with OLLAMA_CONTEXT_LENGTH" if ollama else "take a model, or a server, with a longer one"
    warn_once(
        f"{connection.name}: {model} was not shown the whole prompt, as it counted fewer tokens than there are words. "
        f"Its context is too short; {mend}. The records of such answers have details.prompt_cut"
    )
    return {"prompt_cut": {"counted_tokens": counted, "words": least}}


def least_tokens(messages: Iterable[Message]) -> int:
    """Return how many tokens the prompt has at the least: a word of a system or user message is one or more.

    Tokenizers join no words across white space (but for experimental "superword" ones). Assistant messages don't
    count, for templates drop thinking from them; nor do pictures.

    >>> least_tokens([{"role": "user", "content": "Say hello."}, {"role": "assistant", "content": "Hello."}])
    2
    """
    return sum(_words(m.get("content")) for m in messages if m["role"] in ("system", "developer", "user"))


def _words(content: object) -> int:
    if isinstance(content, str):
        return sum(1 for word in _GAPS.split(content) if word)
    parts = content if isinstance(content, (list, tuple)) else ()
    return sum(_words(part.get("text")) for part in parts if isinstance(part, dict) and part.get("type") == "text")
