"""Every shape of messages that official examples show, for templates of each kind and on each wire.

Each reaches the model as meant, or is refused with its path.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbill.backends import MessageError, PromptPath, Stops, Template, make_prompt
from playbill.backends.prompt.content_forms import roles_of
from playbill.backends.registry.services import SERVICES
from support.assets import chat_templates
from support.letters import Letters

DATE = datetime(2026, 11, 23, 12)
TURN = "<|{{ m.role }}|>%s<|end|>"
OPEN = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
STRINGS = "{% for m in messages %}" + TURN % "{{ m.content }}" + "{% endfor %}" + OPEN
JOINED = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}" + OPEN
PARTS = "{% for m in messages %}" + TURN % "{% for p in m.content %}{{ p.text }}{% endfor %}" + "{% endfor %}" + OPEN
EITHER = (
    "{% for m in messages %}"
    + TURN
    % "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endif %}"
    + "{% endfor %}"
    + OPEN
)
TEMPLATES = {"strings": STRINGS, "joined strings": JOINED, "parts": PARTS, "either": EITHER}


def m(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def text(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": each} for each in texts]


ASK = m("user", "Red quokka?")
SHOWN: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "a string": ([ASK], ["Red quokka?"]),
    "one part": ([m("user", text("Red quokka?"))], ["Red quokka?"]),
    "two parts": ([m("user", text("Red ", "quokka?"))], ["Red quokka?"]),
    "a system message": ([m("system", "Zebra."), ASK], ["Zebra.", "Red quokka?"]),
    "a system message in parts": ([m("system", text("Zebra.")), ASK], ["Zebra.", "Red quokka?"]),
    "a developer message": ([m("developer", "Zebra."), ASK], ["Zebra.", "Red quokka?"]),
    "a past answer": ([m("user", "Hm?"), m("assistant", "Axolotl."), ASK], ["Hm?", "Axolotl.", "Red quokka?"]),
    "a past answer in parts": ([m("user", "Hm?"), m("assistant", text("Axolotl.")), ASK], ["Axolotl.", "Red quokka?"]),
    "what clients send back": (
        [m("user", "Hm?"), m("assistant", "Axolotl.", refusal=None, audio=None, tool_calls=[], name=None), ASK],
        ["Axolotl.", "Red quokka?"],
    ),
    "two users in a row": ([m("user", "Narwhal."), ASK], ["Narwhal.\n\nRed quokka?"]),
    "strings and parts in a row": ([m("user", text("Narwhal.")), ASK], ["Narwhal.", "Red quokka?"]),
    "an empty system message": ([m("system", ""), ASK], ["Red quokka?"]),
}
"""Messages, and texts that stand in the prompt, in this order."""
REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "an unknown role": ([m("bot", "x"), ASK], "messages[0].role"),
    "the assistant last": ([ASK, m("assistant", "One, two,")], "messages[1].role"),
    "the assistant alone": ([m("assistant", "One, two,")], "messages[0].role"),
    "no content": ([m("user", None)], "messages[0].content"),
    "no content and no calls": ([ASK, m("assistant", None, tool_calls=[]), ASK], "messages[1].content"),
    "sound": ([m("user", [*text("Hear."), {"type": "input_audio", "input_audio": {}}])], "messages[0].content[1]"),
    "a part of an answer": ([m("user", [{"type": "output_text", "text": "x"}])], "messages[0].content[0]"),
    "a file": ([m("user", [{"type": "file", "file": {"file_id": "f"}}])], "messages[0].content[0]"),
}


def local_prompt(template: str, messages: list[dict[str, Any]]) -> str:
    path = PromptPath(template=Template(template, "custom"), tokenizer=Letters(), stops=Stops(()), date=DATE)
    return make_prompt({"model_name": "m", "backend": "llamacpp"}, path, messages).text or ""


def body_of(service: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of a request to a service, as `playbill prompt` shows it."""
    module = import_module(f"playbill.backends.engines.remote.wires.{SERVICES[service].wire}")
    spec = {"model_name": "m", "backend": service, "model_id": "m"}
    return module.request_body(spec, make_prompt(spec, None, messages).messages, {})


def texts_in(sent: Any) -> Iterator[str]:
    """The texts of messages in any service's form."""
    for value in sent.values() if isinstance(sent, dict) else sent if isinstance(sent, list) else ():
        yield from texts_in(value)
    if isinstance(sent, dict):
        yield from (sent[key] for key in ("text", "content") if isinstance(sent.get(key), str))


def stand_in_order(texts: list[str], prompt: str) -> bool:
    place = 0
    for each in texts:
        place = prompt.find(each, place)
        if place < 0:
            return False
        place += len(each)
    return True


@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize("shape", SHOWN)
def test_a_template_shows_what_is_meant(kind, shape):
    """No text is missing, and nothing of Python's or JSON's way to write a list or nothing is there."""
    messages, texts = SHOWN[shape]
    prompt = local_prompt(TEMPLATES[kind], messages)
    assert stand_in_order(texts, prompt), prompt
    assert prompt.endswith("<|end|><|assistant|>")
    assert not any(sign in prompt for sign in ("{'", '{"', "[{", "None", "<|developer|>"))


@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize("shape", REFUSED)
def test_what_a_template_can_not_show_is_refused(kind, shape):
    """With its place in the messages."""
    messages, where = REFUSED[shape]
    with pytest.raises(MessageError) as e:
        local_prompt(TEMPLATES[kind], messages)
    assert str(e.value).startswith(where)


@pytest.mark.parametrize("service", ["openai", "openai_compatible", "mistral", "anthropic", "google"])
@pytest.mark.parametrize("shape", SHOWN)
def test_a_service_is_sent_what_is_meant(service, shape):
    """The texts in their order, in roles that the service knows, and no key that says nothing."""
    for module in ("openai", "anthropic", "google.genai"):
        pytest.importorskip(module)
    messages, texts = SHOWN[shape]
    body = body_of(service, messages)
    sent = [*body.get("system", ()), body.get("systemInstruction"), *body.get("messages", body.get("contents", ()))]
    said = [paragraph for each in texts for paragraph in each.split("\n\n")]
    assert stand_in_order(said, "".join(texts_in(sent))), sent
    assert {each["role"] for each in sent if each and "role" in each} <= SERVICES[service].roles | {"model"}
    assert not any(f'"{key}"' in json.dumps(sent) for key in ("refusal", "audio", "tool_calls", "name"))


@pytest.mark.parametrize("service", ["openai", "openai_compatible", "anthropic", "google"])
@pytest.mark.parametrize("shape", REFUSED)
def test_what_a_service_can_not_be_sent_is_refused(service, shape):
    """With its place in the messages."""
    for module in ("openai", "anthropic", "google.genai"):
        pytest.importorskip(module)
    messages, where = REFUSED[shape]
    with pytest.raises(MessageError) as e:
        body_of(service, messages)
    assert str(e.value).startswith(where)


@pytest.mark.slow
def test_each_published_template_shows_parts_as_it_shows_strings():
    """The prompt of a message in one text part is that of the same text as a string."""
    for name, template in chat_templates().items():
        path = PromptPath(template=Template(template, "premade"), tokenizer=Letters(), stops=Stops(()), date=DATE)
        prompts = []
        for content in ("Red quokka?", text("Red quokka?")):
            try:
                prompts.append(make_prompt({"model_name": "m"}, path, [m("user", content)]).text)
            except Exception as e:  # noqa: BLE001 - a template that fails on a string fails on parts
                prompts.append(type(e).__name__)
        assert prompts[0] == prompts[1], name


CALLED = m(
    "assistant", None, tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
)


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_past_answer_that_only_called_tools_has_no_content(kind):
    """Neither the word None, nor an error of a template that joins strings."""
    prompt = local_prompt(TEMPLATES[kind], [m("user", "Hm?"), CALLED, m("tool", "7", tool_call_id="1"), ASK])
    assert "<|assistant|><|end|><|tool|>7<|end|>" in prompt


def test_a_template_names_the_roles_that_it_knows():
    """Beside the common ones; developer only where it is named."""
    assert "developer" not in roles_of(STRINGS)
    assert {"developer", "control"} <= roles_of("{% if m.role == 'developer' or m.role == \"control\" %}")


@given(st.lists(st.sampled_from(["system", "developer", "user", "assistant", "tool"]), min_size=1, max_size=6))
def test_roles_that_a_service_lacks_never_reach_it(roles):
    """Whatever the order; the texts stay."""
    messages = [m(role, f"text {i}.") for i, role in enumerate([*roles, "user"])]
    spec = {"model_name": "m", "backend": "anthropic"}
    if "tool" in roles:
        with pytest.raises(MessageError, match=r"^messages\[\d\]\.role"):
            make_prompt(spec, None, messages)
        return
    made = make_prompt(spec, None, messages)
    assert {each["role"] for each in made.messages} <= SERVICES["anthropic"].roles
    assert all(any(f"text {i}." in each["content"] for each in made.messages) for i in range(len(messages)))
    assert made.messages[-1]["role"] == "user"
