"""The public face of Playbill's backends: every name that outsiders may rely on.

Importing it loads no engine, no torch, no transformers and no SDK.
"""

from playbill.backends.answer.clean import CleaningRule
from playbill.backends.answer.thinking_budget import TokenLimits
from playbill.backends.common.findings import Finding, Rule, Severity
from playbill.backends.common.secret import Secret
from playbill.backends.credentials import Credential, Credentials
from playbill.backends.engines.base import Completion, Context, Engine, Extent, Loaded, OnText, Request
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
    ReplicasLost,
    RequestRefused,
    RunError,
    SelectionError,
    TemplateError,
    TemplateFault,
    TemplateRefusal,
    UnificationError,
    UnknownModel,
    WeightsError,
)
from playbill.backends.generation import FinishReason, Generation, Outcome, Usage
from playbill.backends.loading import find_spec, load_model, load_prompt_path, load_spec, model_from_function
from playbill.backends.model import Model, Prompt, Stream, make_prompt
from playbill.backends.prompt.chat_template import Template
from playbill.backends.prompt.messages import Message
from playbill.backends.prompt.pictures import ExpandedPrompt, Picture, PictureProcessor
from playbill.backends.prompt.prompt_path import Bos, PromptPath
from playbill.backends.prompt.stops import StopId, Stops
from playbill.backends.prompt.template import render
from playbill.backends.prompt.thinking_families import Tags
from playbill.backends.prompt.tokenizer import Tokenizer
from playbill.backends.registry.backends import BACKENDS, Backend
from playbill.backends.registry.fields.entry_key import EntryKey
from playbill.backends.registry.fields.parameters import Parameters
from playbill.backends.registry.fields.types import ValueType
from playbill.backends.registry.lookup import ModelRegistry, RegistryEntry
from playbill.backends.registry.spec import ModelSpec

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendUnavailable",
    "Bos",
    "CleaningRule",
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
    "EntryKey",
    "ExpandedPrompt",
    "Extent",
    "FileFormatError",
    "Finding",
    "FinishReason",
    "Generation",
    "InputError",
    "Loaded",
    "Message",
    "MessageError",
    "Model",
    "ModelRegistry",
    "ModelSpec",
    "NoTemplate",
    "OnText",
    "Outcome",
    "ParameterError",
    "Parameters",
    "Picture",
    "PictureProcessor",
    "PlaybillError",
    "Prompt",
    "PromptPath",
    "QuotaUsedUp",
    "Refused",
    "RegistryEntry",
    "ReplicasLost",
    "Request",
    "RequestRefused",
    "Rule",
    "RunError",
    "Secret",
    "SelectionError",
    "Severity",
    "StopId",
    "Stops",
    "Stream",
    "Tags",
    "Template",
    "TemplateError",
    "TemplateFault",
    "TemplateRefusal",
    "TokenLimits",
    "Tokenizer",
    "UnificationError",
    "UnknownModel",
    "Usage",
    "ValueType",
    "WeightsError",
    "find_spec",
    "load_model",
    "load_prompt_path",
    "load_spec",
    "make_prompt",
    "model_from_function",
    "render",
]
