"""The registry and the models of Playbill: everything that outsiders may rely on.

Importing this loads no engine, no torch, no transformers and no SDK.
"""

from playbill.backends.catalogue import BACKENDS, Backend
from playbill.backends.credentials import Credential, Credentials
from playbill.backends.engine import Completion, Context, Engine, Extent, Loaded, Request
from playbill.backends.engines.programmatic import model_from_function
from playbill.backends.errors import (
    BackendUnavailable,
    ContextExceeded,
    CredentialsError,
    EndpointDown,
    EngineError,
    EntryError,
    FileFormatError,
    InputError,
    MessageError,
    NoTemplate,
    ParameterError,
    PlaybillError,
    QuotaUsedUp,
    Refused,
    RunError,
    SelectionError,
    TemplateError,
    TemplateRefusal,
    UnificationError,
    UnknownModel,
    WeightsError,
)
from playbill.backends.findings import Finding, Rule, Severity
from playbill.backends.generation import FinishReason, Generation, Outcome, Usage
from playbill.backends.loading import load_model, load_prompt_path
from playbill.backends.model import Model, Prompt, Stream, make_prompt
from playbill.backends.parameters import Parameters
from playbill.backends.prompt_path import PromptPath, StopId, Stops, Template, Tokenizer
from playbill.backends.registry import ModelRegistry, RegistryEntry
from playbill.backends.spec import ModelSpec
from playbill.backends.template import render

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendUnavailable",
    "Completion",
    "Context",
    "ContextExceeded",
    "Credential",
    "Credentials",
    "CredentialsError",
    "EndpointDown",
    "Engine",
    "EngineError",
    "EntryError",
    "Extent",
    "FileFormatError",
    "Finding",
    "FinishReason",
    "Generation",
    "InputError",
    "Loaded",
    "MessageError",
    "Model",
    "ModelRegistry",
    "ModelSpec",
    "NoTemplate",
    "Outcome",
    "ParameterError",
    "Parameters",
    "PlaybillError",
    "Prompt",
    "PromptPath",
    "QuotaUsedUp",
    "Refused",
    "RegistryEntry",
    "Request",
    "Rule",
    "RunError",
    "SelectionError",
    "Severity",
    "StopId",
    "Stops",
    "Stream",
    "Template",
    "TemplateError",
    "TemplateRefusal",
    "Tokenizer",
    "UnificationError",
    "UnknownModel",
    "Usage",
    "WeightsError",
    "load_model",
    "load_prompt_path",
    "make_prompt",
    "model_from_function",
    "render",
]
