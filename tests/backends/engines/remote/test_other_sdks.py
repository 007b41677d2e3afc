"""Bodies of requests against the types of the other services' official SDKs, in an environment of their own.

Every current family, plain, in each mode and with each effort word that `check` lets pass, with each parameter.
Cohere's SDK has the types of its own API alone, not of the compatible one that is used here.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import support
from playbill.backends import ParameterError
from playbill.backends.registry.fields.parameters import PARAMETERS
from playbill.backends.registry.service_models import model_families
from playbill.backends.registry.services import SERVICES
from playbill.backends.registry.validate import flatten, judge_entry
from support.environments import environment

openai = pytest.importorskip("playbill.backends.engines.remote.wires.openai", reason="needs the extra `openai`")
pytestmark = pytest.mark.slow

SDKS = ("groq>=1.7", "mistralai>=3.7", "together>=3.1", "fireworks-ai>=1.2", "openrouter>=1.3", "xai-sdk>=1.21")
JUDGE = Path(support.__file__).parent / "sdk_judges.py"
HELLO = ({"role": "system", "content": "Be short."}, {"role": "user", "content": "hello"})
VALUES = {"stop": ["END"], "top_k": 5, "seed": 1, "logprobs": 2, "max_tokens": 7, "max_thinking_tokens": 2048}
LAGGING = {
    "groq": {},
    "mistral": {},
    "together": {"reasoning_effort='max'": "docs.together.ai/docs/inference/chat/reasoning, and litellm's table"},
    "fireworks": dict.fromkeys(
        ["reasoning_effort='max'", "reasoning_effort='xhigh'"], "docs.fireworks.ai/guides/reasoning, by model"
    ),
    "openrouter": dict.fromkeys(
        ["reasoning.enabled", "reasoning.max_tokens"], "openrouter.ai/docs/use-cases/reasoning-tokens"
    ),
    "xai": {},
}
"""What the services document and their types lack, with where it is documented."""


def entries(service, family):
    plain = {"model_name": "m", "backend": service, "model_id": family.model}
    more = [{}, {"thinking": "on"}, {"thinking": "off"}, {"reasoning_model": True}]
    more += [{"reasoning_effort": word} for word in (*family.thinking.efforts, "none")]
    more += [{"thinking": "on", "max_thinking_tokens": 2048}]
    more += [{name: VALUES.get(name, 0.5)} for name in PARAMETERS]
    for each in more:
        entry = {**plain, **each, **({"require_parameters": False} if service == "openrouter" else {})}
        if not any(f.severity == "error" for f in judge_entry(flatten(entry))):
            yield entry


def judged(cases):
    """What the SDKs' types say against each body."""
    python = environment("service-sdks", *SDKS) / "python"
    lines = "".join(json.dumps({"service": service, "body": body}) + "\n" for service, body in cases)
    done = subprocess.run([python, JUDGE], input=lines, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("service", sorted(LAGGING))
def test_every_body_fits_the_services_own_sdk(service):
    """No unknown field and no unknown word but those that the service documents and its types lack."""
    cases = []
    for family in (f for f in model_families() if service in f.services and service not in f.retired):
        for entry in entries(service, family):
            try:
                cases.append((entry, openai.request_body(entry, HELLO, {})))
            except ParameterError as e:
                pytest.fail(f"check lets pass what a call refuses: {entry}: {e}")
    found = judged([(service, body) for _, body in cases])
    assert len(found) == len(cases) > 20
    said = [(set(words) - LAGGING[service].keys(), entry) for words, (entry, _) in zip(found, cases, strict=True)]
    assert not [(words, entry) for words, entry in said if words]
    unused = LAGGING[service].keys() - {word for words in found for word in words}
    assert not unused, "the types have caught up: take these out"


@pytest.mark.parametrize(
    ("service", "fault"),
    [
        ("groq", {"min_p": 0.1}),
        ("groq", {"reasoning_effort": "greatest"}),
        ("mistral", {"stream_options": {"include_usage": True}}),
        ("mistral", {"seed": 1}),
        ("mistral", {"reasoning_effort": "greatest"}),
        ("together", {"stream_options": {}}),
        ("together", {"logprobs": "many"}),
        ("fireworks", {"random_seed": 1}),
        ("openrouter", {"minimum": 1}),
        ("openrouter", {"reasoning": {"effort": "greatest"}}),
        ("openrouter", {"provider": {"pin": "x"}}),
        ("xai", {"reasoning_effort": "max"}),
    ],
)
def test_the_types_can_say_no(service, fault):
    """An unknown field, an unknown word: also inside of objects."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    good, bad = judged([(service, body), (service, {**body, **fault})])
    assert (good, len(bad)) == ([], 1)
    assert SERVICES[service].wire == "openai"
