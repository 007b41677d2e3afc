"""A Model whose work is done elsewhere: parameters are checked here, all else where the replica is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from playbill.backends.engines.base import OnText, Request
from playbill.backends.errors import EngineError
from playbill.backends.generation import Generation
from playbill.backends.model import Model
from playbill.backends.prompt.pictures import ExpandedPrompt, Picture
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.fields.parameters import Parameters, resolve_parameters
from playbill.backends.registry.spec import ModelSpec
from playbill.replicas.engine import ReplicaEngine
from playbill.replicas.places import Places, ReplicaStatus
from playbill.replicas.wire import LoadOrder, Portrait, ProcessorPortrait

__all__ = ["ReplicatedModel"]


class ReplicatedModel(Model):
    """A model in many processes. Use `load`; close it as any other."""

    def __init__(self, spec: ModelSpec, engine: ReplicaEngine, portrait: Portrait) -> None:
        self._portrait = portrait
        self.replicas = engine
        super().__init__(spec, engine, _prompt_path(engine, portrait), str(spec["backend"]))
        self._rule = portrait.cleaning
        self.defaults = portrait.defaults

    @classmethod
    def load(
        cls,
        places: Places,
        order: LoadOrder,
        *,
        say: Callable[[str], None] = lambda text: None,
        joined: Callable[[], None] = lambda: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> ReplicatedModel:
        """Start the replicas, and return the model as soon as the first of them is ready; the others join it.

        ``say`` gets what happens in the meantime and later, in words; ``joined`` is called when `census` has news;
        where ``stopped`` says so, an EngineError ends the wait.
        Raises what loading raises, and ReplicasLost where no replica could be started.
        """
        engine = ReplicaEngine(places, order, say=say, joined=joined)
        try:
            return cls(order.spec, engine, engine.wait_ready(stopped))
        except BaseException:
            engine.close()
            raise

    def statuses(self) -> Sequence[ReplicaStatus]:
        """Return how each replica does now."""
        return self.replicas.statuses()

    def census(self) -> Sequence[Mapping[str, Any]]:
        """Return each replica that ever was ready: its node, device and versions, and how many turns it answered."""
        return self.replicas.census()

    def _resolve(self, params: Mapping[str, Any]) -> Parameters:
        found = self._portrait
        return resolve_parameters(found.wishes, params, self._supported_parameters, self._backend, found.rules)

    def submit(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        on_text: OnText | None = None,
        dialogue: str | None = None,
        folder: Path | None = None,
        **params: Any,
    ) -> Future[Generation]:
        """As `Model.submit`. What is wrong with messages is raised by the future, since a replica finds it."""
        given = {name: value for name, value in params.items() if value is not None}
        if given:
            self._resolve(given)
        if self.is_closed:
            raise EngineError(f"the model {self.name} is closed; load it again")
        request = Request(messages=tuple(messages), params=given, dialogue=dialogue, folder=folder)  # type: ignore[arg-type]
        return self.replicas.generate(request, on_text)


class _RemoteTokenizer:
    """The tokenizer of a replica: only what is needed beside its own work."""

    def __init__(self, engine: ReplicaEngine, facts: Mapping[str, Any]) -> None:
        self._engine = engine
        self._facts = facts

    def encode(self, text: str) -> list[int]:
        raise EngineError("a replica encodes where it is")

    def decode(self, ids: Sequence[int]) -> str:
        return self._engine.decode(ids)

    def special_ids(self) -> frozenset[int]:
        raise EngineError("a replica keeps its vocabulary where it is")

    def facts(self) -> Mapping[str, Any]:
        return self._facts


class _RemoteProcessor:
    """The processor of pictures that a replica has: what is told of it."""

    def __init__(self, portrait: ProcessorPortrait) -> None:
        self.placeholder, self.markers = portrait.placeholder, portrait.markers
        self._facts = portrait.facts

    def expand(self, text: str, pictures: Sequence[Picture]) -> ExpandedPrompt:
        raise EngineError("a replica reads pictures where it is")

    def facts(self) -> Mapping[str, Any]:
        return self._facts


def _prompt_path(engine: ReplicaEngine, portrait: Portrait) -> PromptPath | None:
    path = portrait.path
    if path is None:
        return None
    return PromptPath(
        template=path.template,
        tokenizer=_RemoteTokenizer(engine, path.tokenizer),
        stops=path.stops,
        date=path.date,
        context_size=path.context_size,
        recommended=path.recommended,
        response=path.response,
        processor=_RemoteProcessor(path.processor) if path.processor is not None else None,
    )
