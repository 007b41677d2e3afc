"""A wire: one API's way to write requests and read answers, by its official client.

`Wire` holds what all of them share: which parameters a model takes, and how many tokens it gets for thinking.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from playbill.backends.engines.base import Completion, Request
from playbill.backends.engines.remote.capture import Capture
from playbill.backends.engines.remote.connection import Connection, model_id
from playbill.backends.errors import ParameterError
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.service_models import family_of, ignored_by_model, refusals
from playbill.backends.registry.services import Service

__all__ = ["Body", "Wire"]

Body = dict[str, Any]


class Wire:
    """One entry's requests and answers on one API. Stateless but for the client."""

    thinking_tokens: ClassVar[int]
    """The budget of thinking, in tokens, where neither entry nor caller says one."""

    def __init__(self, entry: Mapping[str, Any], service: Service) -> None:
        self._entry = entry
        self._service = service
        self._mode = setting(entry, "thinking_mode")
        # With effort none a model doesn't think: it takes sampling parameters, and needs no tokens for thinking.
        asked = bool(self._mode) or bool(setting(entry, "reasoning_model"))
        self._thinks = asked and entry.get("reasoning_effort") != "none"
        self._family = family_of(service.name, model_id(entry))
        self.refused_parameters = {
            **dict.fromkeys(entry.get("refuses") or (), "the entry says so in 'refuses'"),
            **refusals(service.name, model_id(entry), entry),
        }
        """Parameters that the model doesn't take, with the reason."""
        self.ignored_parameters = ignored_by_model(service.name, model_id(entry), entry)
        """Parameters that the service accepts and ignores for this model."""
        self.exclusive_parameters = self._family.exclusive if self._family is not None else ()
        """Groups of parameters of which the model takes one alone."""
        self.supported_parameters = self._supported()

    def thinking_off(self) -> dict[str, Any]:
        """Return the fragment of the body that switches thinking off for effort none; empty where it is off anyway.

        Raises ParameterError where the model is known to think always.
        """
        if self._entry.get("reasoning_effort") != "none" or self._family is None:
            return {}
        thinking = self._family.thinking
        if not thinking.can_be_off:
            raise ParameterError(
                f"{model_id(self._entry)} can't be told not to think; take reasoning_effort out, or write one of "
                f"{', '.join(thinking.efforts) or 'its efforts'}"
            )
        return dict(thinking.off or {})

    def key_header(self, connection: Connection, default: str) -> dict[str, str]:
        """Return the header that carries the key: the entry's choice, else the service's own, ``default``."""
        name = str(self._entry.get("key_header") or default)
        return {name: f"Bearer {connection.key}" if name == "authorization" else connection.key}

    def _supported(self) -> frozenset[str]:
        """Return the service's parameters, without what the model or the entry refuses; and a budget if the model
        thinks."""
        refused = {*self.refused_parameters, *(self._service.reasoning_refuses if self._thinks else ())}
        budget = {"max_thinking_tokens"} if self._thinks else set()
        return (self._service.supported_parameters - refused) | budget

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
        return {name: value for name, value in self._service.off.items() if name not in params}

    def _thinking_budget(self, params: Mapping[str, Any]) -> int:
        asked = params.get("max_thinking_tokens")
        return self.thinking_tokens if asked is None else int(asked)

    def _token_limit(self, params: Mapping[str, Any]) -> int:
        """Return the limit to send: services count thinking and answer together."""
        limit = int(params["max_tokens"])
        return limit + self._thinking_budget(params) if self._thinks else limit
