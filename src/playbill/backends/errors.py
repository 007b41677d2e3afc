"""The errors that Playbill raises on purpose, under one base class.

A message says what happened, where, and what to type next. It never holds a secret.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playbill.backends.common.findings import Finding

__all__ = [
    "BackendUnavailable",
    "ContextExceeded",
    "CredentialsError",
    "EndpointDown",
    "EngineError",
    "EntryError",
    "FileFormatError",
    "InputError",
    "MessageError",
    "NoTemplate",
    "ParameterError",
    "PlaybillError",
    "QuotaUsedUp",
    "Refused",
    "ReplicasLost",
    "RequestRefused",
    "RunError",
    "SelectionError",
    "TemplateError",
    "TemplateFault",
    "TemplateRefusal",
    "UnificationError",
    "UnknownModel",
    "WeightsError",
]


class PlaybillError(Exception):
    """Base of all errors that Playbill raises on purpose."""


class FileFormatError(PlaybillError):
    """A file that should be JSON of a certain form is not; the message has file, line and column."""


class EntryError(PlaybillError):
    """A registry entry can't be used; ``findings`` holds every problem that it has."""

    def __init__(self, message: str, findings: Sequence[Finding] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class SelectionError(PlaybillError):
    """No entry answers to a selector."""


class UnknownModel(SelectionError):
    """No entry has the name; the message lists the nearest names and the files searched."""


class UnificationError(SelectionError):
    """Entries have the name, but none agrees with the selector; each is listed with path and values."""


class CredentialsError(PlaybillError):
    """An API key is missing, or may not be sent where it would go."""


class BackendUnavailable(PlaybillError):
    """The backend that an entry names is unknown, or its packages are not installed."""


class WeightsError(PlaybillError):
    """Model files can't be had: missing, gated, no network, or their hash is wrong."""


class TemplateFault(StrEnum):
    """What is wrong with a template, or with the use that it was put to."""

    SYNTAX = "syntax"
    UNDEFINED = "undefined"
    FORBIDDEN = "forbidden"
    FAILED = "failed"
    RECURSION = "recursion"
    TIME = "time"
    MEMORY = "memory"
    OUTPUT = "output"
    CRASHED = "crashed"
    REFUSED = "refused"


HOSTILE_FAULTS = frozenset(
    {
        TemplateFault.FORBIDDEN,
        TemplateFault.TIME,
        TemplateFault.MEMORY,
        TemplateFault.OUTPUT,
        TemplateFault.RECURSION,
        TemplateFault.CRASHED,
    }
)
"""Faults of templates that are not to be used at all, whatever the conversation."""


class TemplateError(PlaybillError):
    """A chat template is broken, forbidden in the sandbox, or too costly.

    ``fault`` says which, and ``line`` where in the template, counted from 1, if that is known.
    """

    def __init__(self, message: str, *, fault: TemplateFault = TemplateFault.FAILED, line: int | None = None) -> None:
        super().__init__(message)
        self.fault = fault
        self.line = line


class TemplateRefusal(TemplateError):
    """The template itself refused the conversation; the message is its ``raise_exception``'s own words."""


class NoTemplate(PlaybillError):
    """An entry says that its model brings a chat template, and the model brings none."""


class MessageError(PlaybillError):
    """A list of messages is malformed; the message names the place, as ``messages[2].role``."""


class ParameterError(PlaybillError):
    """A generation parameter is unknown, has a bad value, or can't be honoured by the backend.

    ``parameter`` is its name, where one is at fault; ``has_bad_value`` tells that only the value is.
    """

    def __init__(self, message: str, parameter: str | None = None, *, has_bad_value: bool = False) -> None:
        super().__init__(message)
        self.parameter = parameter
        self.has_bad_value = has_bad_value


class EngineError(PlaybillError):
    """An engine failed to complete a request."""


class ContextExceeded(EngineError):
    """The prompt leaves no room for an answer in the model's context."""


class Refused(EngineError):
    """The service refused to answer this content."""


class EndpointDown(EngineError):
    """A service answers nothing at all, after many attempts; further requests would fail as well."""


class QuotaUsedUp(EngineError):
    """The account at a service has no money or no quota left; waiting doesn't help."""


class RequestRefused(EngineError):
    """A service refuses every request of an entry alike: a parameter, or the model's name; nothing more is sent."""


class ReplicasLost(EngineError):
    """Every replica of a model died, or could not be loaded; further requests would fail as well."""


class InputError(PlaybillError):
    """An input file of dialogues is malformed; the message has file and line."""


class RunError(PlaybillError):
    """A run can't start or go on as asked."""
