"""Judge bodies of requests by the types of their services' official SDKs. Run in an environment that has these alone.

Reads JSON lines ``{"service": …, "body": …}``; prints one JSON list for each: what the types have against the body. An
unknown field is named by its path, a wrong value by its path and the value.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError

TYPED_DICTS = {
    "groq": ("groq.types.chat.completion_create_params", "CompletionCreateParams"),
    "together": ("together.types.chat.completion_create_params", "CompletionCreateParamsNonStreaming"),
    "fireworks": ("fireworks.types.chat.completion_create_params", "CompletionCreateParamsNonStreaming"),
}
MODELS = {
    "mistral": ("mistralai.client.models", "ChatCompletionRequest"),
    "openrouter": ("openrouter.components", "ChatRequest"),
}


def typed_dict_complaints(typed: Any, body: dict[str, Any]) -> list[str]:
    """What a TypedDict says: keys that it and its bases don't have, and values that don't fit."""
    known = {k for each in (typed, *getattr(typed, "__orig_bases__", ())) for k in getattr(each, "__annotations__", {})}
    found = sorted(body.keys() - known)
    try:
        TypeAdapter(typed).validate_python(body)
    except ValidationError as error:
        found += [f"{'.'.join(map(str, e['loc'][:1]))}={e['input']!r}" for e in error.errors()]
    return sorted(set(found))


def model_complaints(model: type[BaseModel], body: dict[str, Any], path: str = "") -> list[str]:
    """What a model says, and those inside of it: they ignore unknown fields, and take unknown words of open enums."""
    found = []
    hints = get_type_hints(model)
    names = {field.alias or name: hints[name] for name, field in model.model_fields.items()}
    for key, value in body.items():
        if key not in names:
            found.append(f"{path}{key}")
            continue
        inner = parts(names[key])
        words = {word for part in inner if get_origin(part) is Literal for word in get_args(part)}
        classes = {part for part in inner if isinstance(part, type) and issubclass(part, BaseModel)}
        models = [part for part in classes if part.__name__ != "Unset"]
        if isinstance(value, str) and words and value not in words:
            found.append(f"{path}{key}={value!r}")
        if isinstance(value, dict) and len(models) == 1:
            found += model_complaints(models[0], value, f"{path}{key}.")
    if not path:
        try:
            model.model_validate(body)
        except ValidationError as error:
            found += [f"{e['loc'][0]}={e['input']!r}" for e in error.errors()]
    return found


def parts(hint: Any) -> list[Any]:
    """The types that a hint is made of: members of unions, what annotations are about, and what aliases stand for."""
    if get_origin(hint) is Literal:
        return [hint]
    inner = [*get_args(hint), *([value] if (value := getattr(hint, "__value__", None)) is not None else [])]
    return [hint, *(part for each in inner for part in parts(each))] if inner else [hint]


def xai_complaints(body: dict[str, Any]) -> list[str]:
    """Its SDK speaks another protocol than the API that is used here; the effort words are the same."""
    words = import_module("xai_sdk.proto.v6.chat_pb2").ReasoningEffort.keys()
    effort = body.get("reasoning_effort")
    return [f"reasoning_effort={effort!r}"] if effort and f"EFFORT_{effort.upper()}" not in words else []


def complaints(service: str, body: dict[str, Any]) -> list[str]:
    if service == "xai":
        return xai_complaints(body)
    module, name = (TYPED_DICTS | MODELS)[service]
    typed = getattr(import_module(module), name)
    return typed_dict_complaints(typed, body) if service in TYPED_DICTS else model_complaints(typed, body)


if __name__ == "__main__":
    for line in sys.stdin:
        case = json.loads(line)
        print(json.dumps(complaints(case["service"], case["body"])), flush=True)
