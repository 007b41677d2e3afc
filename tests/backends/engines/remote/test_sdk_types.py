"""Bodies of requests against the official clients' own types: an unknown field or word is a failure.

Every current family of OpenAI's, Anthropic's and Google's models: the plain entry, each effort word, each thinking mode
that `check` lets pass, and each supported parameter. What the clients' types don't know, the services don't either.
"""

from __future__ import annotations

from importlib import import_module

import pytest
from pydantic import TypeAdapter, ValidationError

from playbill.backends import ParameterError
from playbill.backends.registry.fields.parameters import PARAMETERS
from playbill.backends.registry.service_models import model_families
from playbill.backends.registry.validate import flatten, judge_entry

anthropic = pytest.importorskip("anthropic.types.message_create_params", reason="needs the extra `anthropic`")
openai = pytest.importorskip("openai.types.chat.completion_create_params", reason="needs the extra `openai`")
google = pytest.importorskip("google.genai.types", reason="needs the extra `google`")

HELLO = ({"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"})
VALUES = {"stop": ["END"], "top_k": 5, "seed": 1, "logprobs": 2, "max_tokens": 7, "max_thinking_tokens": 2048}
MODELS = [
    (service, family)
    for family in model_families()
    for service in ("openai", "anthropic", "google")
    if service in family.services and service not in family.retired and family.api != "responses"
]


def judge_openai(body):
    TypeAdapter(openai.CompletionCreateParamsNonStreaming).validate_python(body)
    return set(body) - annotated(openai.CompletionCreateParamsNonStreaming)


def judge_anthropic(body):
    TypeAdapter(anthropic.MessageCreateParamsNonStreaming).validate_python(body)
    return set(body) - annotated(anthropic.MessageCreateParamsNonStreaming)


def judge_google(body):
    config = dict(body.get("generationConfig", {}))
    thinking = config.get("thinkingConfig", {})
    if "thinkingLevel" in thinking and thinking["thinkingLevel"] not in google.ThinkingLevel.__members__:
        return {f"thinkingLevel {thinking['thinkingLevel']}"}
    google.GenerationConfig.model_validate(config)  # forbids unknown fields
    return set(body) - {"contents", "systemInstruction", "generationConfig"}


JUDGES = {"openai": judge_openai, "anthropic": judge_anthropic, "google": judge_google}


def complaints(service, body):
    """What the types say against a body."""
    try:
        return JUDGES[service](body)
    except ValidationError as e:
        return {str(error["loc"]) for error in e.errors()}


def annotated(typed):
    """The keys of a TypedDict, those of the classes that it is made of as well."""
    return {
        key for each in (typed, *getattr(typed, "__orig_bases__", ())) for key in getattr(each, "__annotations__", {})
    }


def entries(service, family):
    """The settings that an entry of the family may have, as `check` sees it."""
    plain = {"model_name": "m", "backend": service, "model_id": family.model}
    candidates = [
        {},
        {"reasoning_model": True},
        *({"reasoning_effort": word} for word in (*family.thinking.efforts, "none")),
        *({"thinking_mode": mode, "max_thinking_tokens": 2048} for mode in (True, "adaptive") if service != "openai"),
        *({name: VALUES.get(name, 0.5)} for name in PARAMETERS),
    ]
    for candidate in candidates:
        entry = {**plain, **candidate}
        if not [finding for finding in judge_entry(flatten(entry)) if finding.severity == "error"]:
            yield entry


@pytest.mark.parametrize(("service", "family"), MODELS, ids=lambda value: getattr(value, "name", value))
def test_every_body_of_a_family_fits_the_official_clients_types(service, family):
    """No unknown field and no unknown word, in whatever mode."""
    wire = import_module(f"playbill.backends.engines.remote.wires.{service}")
    judged = 0
    for entry in entries(service, family):
        try:
            body = wire.request_body(entry, HELLO, {})
        except ParameterError:  # a parameter that the service takes from no model
            continue
        assert complaints(service, body) == set(), entry
        judged += 1
    assert judged >= 2


@pytest.mark.parametrize(
    ("service", "fault"),
    [
        ("anthropic", {"temperature": 0.0}),
        ("openai", {"reasoning_effort": "greatest"}),
        ("openai", {"top_k": 5}),
        ("google", {"generationConfig": {"thinkingConfig": {"thinkingLevel": "NONE"}}}),
        ("google", {"generationConfig": {"topQ": 1}}),
    ],
)
def test_the_types_would_have_caught_it(service, fault):
    """Faults that the first edition had, or could have: the judge is one that can say no."""
    base = {"google": {"contents": []}, "openai": {"model": "m", "messages": []}}
    body = {**base.get(service, {"model": "m", "messages": [], "max_tokens": 5}), **fault}
    assert complaints(service, body)
