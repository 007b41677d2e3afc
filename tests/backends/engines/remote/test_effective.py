"""What a record says of parameters is what the body has: over every current family of every service, in every mode."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pytest

from playbill.backends import ParameterError
from playbill.backends.engines.base import Request
from playbill.backends.registry.fields.parameters import PARAMETERS, resolve_parameters
from playbill.backends.registry.service_models import api_of, model_families
from playbill.backends.registry.services import REMOTE, SERVICES
from playbill.backends.registry.validate import flatten, judge_entry

pytestmark = pytest.mark.skipif(not find_spec("google.genai"), reason="needs the extra `google`")
HELLO = ({"role": "user", "content": "hello"},)
VALUES = {"stop": ["END"], "top_k": 5, "seed": 1, "logprobs": 2, "max_tokens": 7, "max_thinking_tokens": 2048}


def wire_of(entry):
    """The wire that an entry's engine would have; it needs no key."""
    name = SERVICES[entry["backend"]].wire
    module = import_module(f"playbill.backends.engines.remote.wires.{name}")
    kind = {"anthropic": "AnthropicWire", "google": "GoogleWire", "openai": "OpenAIWire"}[name]
    if name == "openai" and api_of(entry) == "responses":
        module, kind = import_module("playbill.backends.engines.remote.wires.responses"), "ResponsesWire"
    return getattr(module, kind)(entry, SERVICES[entry["backend"]])


def settings(family):
    """Plain, each way to say something of thinking, and each parameter by itself and without thinking."""
    modes = [{}, {"thinking": "on"}, {"thinking": "off"}, {"reasoning_model": True}]
    modes += [{"reasoning_effort": word} for word in (*family.thinking.efforts, "none")]
    yield from modes
    for name in PARAMETERS:
        value = VALUES.get(name, 0.5)
        yield from ({**mode, name: value} for mode in (modes[0], modes[2]))


@pytest.mark.parametrize("service", REMOTE)
def test_effective_is_what_the_body_has(service):
    """Each parameter is sent and effective, or neither; a default that isn't sent has a reason."""
    count = 0
    rows = "anthropic" if service == "azure_claude" else service
    for family in (f for f in model_families() if rows in f.services and rows not in f.retired):
        for more in settings(family):
            entry = {"model_name": "m", "backend": service, "model_id": family.model, **more}
            if service == "openrouter":
                entry["require_parameters"] = False  # else nothing is ignored
            if any(f.severity == "error" for f in judge_entry(flatten(entry))):
                continue
            judge(entry, service)
            count += 1
    assert count > 20


def judge(entry, service):
    wire = wire_of(entry)
    try:
        told = resolve_parameters(entry, {}, wire.supported_parameters, service, wire.parameter_rules)
    except ParameterError:
        pytest.fail(f"check lets pass what a call refuses: {entry}")
    unasked = frozenset(told.effective.keys() - told.asked.keys())
    request = Request(messages=HELLO, params=told.effective, unasked=unasked)
    body = wire.body(request)
    fields = {**body, **body.get("generationConfig", {})}
    effective = {**told.effective, **wire.implied(request)}
    for name in PARAMETERS.keys() - {"max_thinking_tokens"}:
        assert (wire.name_of(name) in fields) is (name in effective), (entry, name, body)
    for name in ("temperature", "max_tokens"):
        assert (name in effective) is not bool(told.not_sent.get(name)), (entry, name)
    assert told.ignored.keys() <= effective.keys()
    if "max_thinking_tokens" in effective and "max_tokens" in effective:
        limit = fields[wire.name_of("max_tokens")]
        assert effective["max_tokens"] <= limit <= effective["max_tokens"] + effective["max_thinking_tokens"], entry
