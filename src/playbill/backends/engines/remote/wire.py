"""A wire: one API's way to write requests and read answers, by its official client.

`Wire` holds what all of them share: which parameters a model takes, and how many tokens it gets for thinking.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from playbill.backends.engines.base import Completion, Request
from playbill.backends.engines.remote.capture import Capture
from playbill.backends.engines.remote.connection import Connection, model_id
from playbill.backends.registry.fields.parameters import ParameterRules
from playbill.backends.registry.service_models import family_of, ignored_by_model, parameters_taken, refusals
from playbill.backends.registry.services import Service
from playbill.backends.registry.thinking_plan import plan_thinking

__all__ = ["Body", "Wire"]

Body = dict[str, Any]


class Wire:
    """One entry's requests and answers on one API. Stateless but for the client, and for what is left out."""

    sdk: ClassVar[str]
    """The official client beneath, as name/version."""
    least_tokens: ClassVar[int] = 1
    """The smallest limit of tokens that the API admits."""
    thinking_tokens: ClassVar[int]
    """The budget of thinking that is sent, in tokens, where neither entry nor caller says one."""
    thinking_room: ClassVar[int] = 25_000
    """The tokens left for thinking where no budget is sent, and the maker of the model advises no other number;
    OpenAI's guide to reasoning models advises this much."""

    def __init__(self, entry: Mapping[str, Any], service: Service) -> None:
        self._entry = entry
        self._service = service
        model = model_id(entry)
        self._family = family_of(service.name, model)
        self._thinking = plan_thinking(entry, service, self._family, model)
        self._thinks = self._thinking.thinks
        bounds = self._thinking.bounds if self._thinking.takes_budget else None
        self.parameter_rules = ParameterRules(
            refused={
                **dict.fromkeys(entry.get("refuses") or (), "the entry says so in 'refuses'"),
                **refusals(service.name, model, entry),
            },
            ignored=ignored_by_model(service.name, model, entry),
            exclusive=self._family.exclusive if self._family is not None else (),
            bounds={"max_thinking_tokens": bounds} if bounds is not None else {},
        )
        taken = parameters_taken(entry, service, self._family, thinks=self._thinks)
        budget = frozenset(["max_thinking_tokens"] if self._thinks else [])
        self.supported_parameters = (taken - self.parameter_rules.refused.keys()) | budget
        self.left_out: set[str] = set()
        """Defaults of Playbill's that the service refused when they were sent; written by the engine."""

    @property
    def leaves_room(self) -> bool:
        """Whether tokens are left for thinking beside those of the answer."""
        return self._thinks

    def name_of(self, parameter: str) -> str:
        """Return what the service calls a parameter."""
        names = {**self._service.renamed, **(self._service.reasoning_renamed if self._thinks else {})}
        return names.get(parameter, parameter)

    def defaults(self, request: Request) -> frozenset[str]:
        """Return the names of what is sent though nobody asked for it: parameters, and fields of the wire."""
        return request.unasked | self._switched_off(request.params).keys()

    def key_header(self, connection: Connection, default: str) -> dict[str, str]:
        """Return the header that carries the key: the entry's choice, else the service's own, ``default``."""
        name = str(self._entry.get("key_header") or default)
        return {name: f"Bearer {connection.key}" if name == "authorization" else connection.key}

    def headers(self, connection: Connection) -> dict[str, str]:
        """Return the headers of a request that are not HTTP's own: the key, and the version where there is one."""
        raise NotImplementedError

    def models_url(self, connection: Connection) -> str | None:
        """Return where the service lists its models; None where it has no such list."""
        raise NotImplementedError

    def least_limits(self) -> dict[str, int]:
        """Return limits of tokens with which a request costs as little as the service admits."""
        found = {"max_tokens": max(self.least_tokens, self._service.least_tokens)}
        plan = self._thinking
        if self._thinks and plan.sends_budget and plan.bounds is not None:
            found["max_thinking_tokens"] = plan.bounds.least or 0
        elif self._thinks and not plan.sends_budget and not plan.takes_budget:
            found["max_thinking_tokens"] = 0
        return found

    def connect(self, connection: Connection) -> None:
        """Make the client; it connects when it sends."""
        raise NotImplementedError

    def body(self, request: Request) -> Body:
        """Return the body of a request, without what only streams have. Raises MessageError for what can't be sent."""
        raise NotImplementedError

    async def send(self, body: Body, *, stream: bool) -> None:
        """Send by the official client, and wait for the end. The capture sees what goes over the wire."""
        raise NotImplementedError

    def read(self, body: Body) -> Completion:
        """Return the completion in a response's body. Raises Failure where there is none."""
        raise NotImplementedError

    def read_stream(self, capture: Capture) -> Completion:
        """Return the completion in the events of a stream. Raises Failure where it didn't come to its end."""
        raise NotImplementedError

    def delta(self, event: Body) -> str:
        """Return the piece of the answer's text that an event brings."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the client."""
        raise NotImplementedError

    def implied(self, request: Request) -> Mapping[str, Any]:
        """Return parameters that the wire had to choose itself, for ``params.effective``."""
        budget = {"max_thinking_tokens": self._thinking_budget(request.params)} if self._thinks else {}
        return {**self._switched_off(request.params), **budget}

    def _switched_off(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The samplers that nobody asked for, at the values that switch them off."""
        off = self._service.off.items()
        return {name: value for name, value in off if name not in params and name not in self.left_out}

    def _thinking_budget(self, params: Mapping[str, Any]) -> int:
        asked = params.get("max_thinking_tokens")
        if asked is not None:
            return int(asked)
        return self.thinking_tokens if self._thinking.sends_budget else self._thinking.room or self.thinking_room

    def _token_limit(self, params: Mapping[str, Any]) -> int:
        """Return the limit to send: services count thinking and answer together."""
        limit = int(params["max_tokens"])
        if not self._thinks:
            return limit
        most = self._family.max_output if self._family is not None else None
        whole = limit + self._thinking_budget(params)
        return whole if most is None else max(limit, min(whole, most))
