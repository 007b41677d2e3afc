"""What a provider writes: an Engine that completes requests, and the prompt path of a local one.

A provider's module has two functions, both given the entry and a `Context`:

``load(entry, context) -> Loaded``
    the engine, ready, and its prompt path where it renders here.
``preview(entry, context) -> PromptPath | None``
    the prompt path alone: tokenizer and configuration, no weights. None for engines that take messages.

A local engine's module has a third, which loads nothing:

``fetch(entry, context) -> Fetched``
    all files that `load` needs, on this machine afterwards.

and a fourth, which downloads no weights:

``footprint(entry, context) -> Footprint | None``
    the memory that weights, keys and values take; None where the files don't tell.

Any module may have one that tells what a load would refuse; it loads and fetches nothing:

``look(entry, context) -> Look``
    at the weights as they lie here, or at the key of a service.

A service's module may have another, which sends nothing:

``request_body(entry, messages, params, folder) -> dict``
    the body that would be sent for prepared messages; ``params`` are the caller's, ``folder`` is where images are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from playbill.backends.answer.thinking_budget import TokenLimits
from playbill.backends.credentials import Credentials
from playbill.backends.generation import FinishReason, Usage
from playbill.backends.prompt.messages import Message
from playbill.backends.prompt.pictures import Picture
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.prompt.thinking_families import Tags

__all__ = [
    "Completion",
    "Context",
    "Engine",
    "Extent",
    "Fetched",
    "Footprint",
    "ListedModel",
    "Loaded",
    "Look",
    "OnText",
    "Request",
    "ServiceEngine",
    "supported_parameters",
]


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at an entry's weights or key shows before a load.

    ``fault`` says why they can't be loaded, whoever asks; ``unseen`` what couldn't be looked at here, and why.
    """

    fault: str | None = None
    unseen: str | None = None


OnText = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an engine is asked to complete.

    Engines with a prompt path get ``prompt_ids`` and answer from them alone; others get ``messages``.
    ``params`` are effective ones, only such as the engine supports. The generation ends after any of
    ``stop_ids``, which stays in the output, and at any of ``stop_strings``. Requests of one ``dialogue``
    extend each other as a rule: a hint for caches, nothing more. Files that messages name are below ``folder``
    (None: the working directory). ``tags`` are those around the model's thinking, None where it doesn't think,
    and ``limits`` says how long thinking and answer may be: what `Budget` needs. ``unasked`` are the parameters that
    nobody asked for, Playbill's own defaults: an engine may leave them out where its service refuses them.
    ``pictures`` are those of each message, in the order in which it shows them; empty where none were read.
    ``features`` are what a model's own processor made of them, for an engine whose prompt path has such a processor.
    """

    messages: tuple[Message, ...]
    params: Mapping[str, Any]
    prompt_ids: tuple[int, ...] | None = None
    stop_ids: frozenset[int] = frozenset()
    stop_strings: tuple[str, ...] = ()
    dialogue: str | None = None
    folder: Path | None = None
    tags: Tags | None = None
    limits: TokenLimits | None = None
    unasked: frozenset[str] = frozenset()
    pictures: tuple[tuple[Picture, ...], ...] = ()
    features: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What an engine answers.

    A local engine gives ``output_ids``: the new ids, the stop id included. Others give ``text``, and
    ``thinking`` where the service keeps it apart. ``stop_string`` is the one that ended the generation.
    ``effective`` are parameters that turned out otherwise than the request's, ``not_sent`` those of the request that
    were left out all the same, each with the reason. ``request`` and ``response`` are the bodies of a service's wire.
    """

    finish_reason: FinishReason
    finish_reason_raw: str | None = None
    output_ids: tuple[int, ...] | None = None
    text: str | None = None
    thinking: str | None = None
    stop_string: str | None = None
    usage: Usage = field(default_factory=Usage)
    effective: Mapping[str, Any] = field(default_factory=dict)
    not_sent: Mapping[str, str] = field(default_factory=dict)
    request: Any = None
    response: Any = None
    attempts: int = 1
    details: Mapping[str, Any] = field(default_factory=dict)


def supported_parameters(engine: Engine) -> frozenset[str]:
    """Return the names of the generation parameters that an engine takes.

    Engines written for the first edition call the attribute ``honours``; it is read where the new name is missing.
    """
    found: frozenset[str] | None = getattr(engine, "supported_parameters", None)
    return frozenset(getattr(engine, "honours", ())) if found is None else found


class Engine(Protocol):
    """Completes requests: one, many at once, from many threads.

    An engine may say more of parameters in an attribute ``parameter_rules``, a
    `playbill.backends.registry.fields.parameters.ParameterRules`: which its model refuses, ignores, bounds.

    A fault of one request is an exception in its future: `EngineError` and below (`ContextExceeded`,
    `Refused`). Cancelling the future stops the work as soon as the engine can.
    """

    supported_parameters: frozenset[str]
    """Names of the generation parameters that the engine can honour."""

    @property
    def concurrency(self) -> int:
        """How many requests in flight fill the engine now; for a service it may change as it answers."""
        ...

    def submit(self, request: Request, on_text: OnText | None = None) -> Future[Completion]:
        """Take a request; return at once. ``on_text`` gets the text as it comes, from another thread."""
        ...

    def close(self) -> None:
        """End all work and give back memory, processes and sockets. Idempotent."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Return what a stranger needs to repeat the answers: versions, weights and their hash, threads, device."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model as a service's own list has it: its date of shutdown, its stage in life and its context, where told."""

    name: str
    ends: str | None = None
    stage: str | None = None
    context: int | None = None


@runtime_checkable
class ServiceEngine(Engine, Protocol):
    """An engine that asks a service, and can find out what the service says of its models without paying for it."""

    def list_models(self) -> list[ListedModel] | None:
        """Return the service's own list of models, None where it has none. Raises what a refused key means."""
        ...

    def context_in_use(self) -> int | None:
        """Return the context of the model that the server has loaded, in tokens, where it tells that apart."""
        ...

    def least_limits(self) -> Mapping[str, int]:
        """Return limits of tokens with which a request costs as little as the service admits."""
        ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine with its prompt path; None for engines that take messages.

    ``threads`` is how many threads of this process compute, None where none do: Playbill then says when other
    processes keep them from it.
    """

    engine: Engine
    prompt_path: PromptPath | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """The files of a model on this machine, and the commit of the hub's repository that they belong to (None: theirs
    is no repository)."""

    files: tuple[Path, ...]
    revision: str | None = None

    @property
    def size(self) -> int:
        """All files together, in bytes."""
        return sum(file.stat().st_size for file in self.files)


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory that a model takes, in bytes: its weights, and keys and values for each token of context (None: its
    configuration doesn't tell). ``converted`` says how its numbers are computed otherwise than they are stored."""

    weights: int
    kv_per_token: int | None
    converted: str | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """How large dialogues get: the most UTF-8 bytes of one's given messages, and the most messages and answers.

    Each is the most of any dialogue, so together they bound every one of them.
    """

    text_bytes: int
    messages: int
    answers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the caller brings to a load beside the entry.

    ``trust_remote_code`` is the caller's yes; ``date`` is what templates see as today; ``dialogues`` is how
    many dialogues are wanted at once, and ``extent`` how large they get, for engines that allocate by it (None:
    not said); ``progress`` whether a progress bar may be drawn on stderr.
    """

    credentials: Credentials
    date: datetime
    trust_remote_code: bool = False
    dialogues: int | None = None
    extent: Extent | None = None
    progress: bool = False
