"""Files that a user or a stranger writes: registries, keys, dialogues, clembench's records."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import strategies as st

from support.audited import chatml, local_call, service_call
from support.fuzzing import command, fuzz
from support.mutations import json_bytes, json_lines

ENTRIES = [
    {"model_name": "m", "backend": "programmatic", "answers": ["Hello."], "temperature": 0.7},
    {
        "model_name": "local", "backend": "huggingface_local", "huggingface_id": "nobody/nothing",
        "premade_chat_template": True, "eos_to_cull": "<|im_end|>", "stop": ["x"], "context_size": 4096,
    },
    {
        "model_name": "nested", "backend": "huggingface_local", "huggingface_id": "nobody/nothing",
        "model_config": {"premade_chat_template": False, "eos_to_cull": "<\\|im_end\\|>", "multimodality": {}},
    },
    {"model_name": "llama", "backend": "llamacpp", "huggingface_id": "./no.gguf", "n_ctx": 256, "gguf_file": "*q4*",
     "premade_chat_template": False, "custom_chat_template": "{{ messages }}", "eos_to_cull": ""},
    {"model_name": "service", "backend": "openai_compatible", "base_url": "http://127.0.0.1:9/v1", "model_id": "x",
     "extra_body": {"a": [1]}, "reasoning_effort": "low", "refuses": ["top_p"], "timeout": 3},
]  # fmt: skip
REGISTRIES = [ENTRIES, [ENTRIES[0]], [ENTRIES[2], ENTRIES[0]], [{**ENTRIES[0], "lookup_source": "x"}]]
KEYS = [
    {"openai": {"api_key": "key-number-1"}, "anthropic": {"api_key": "key-number-2", "base_url": "http://a.example"}},
    {"generic": {"api_key": "key-number-3", "allowed_urls": ["https://b.example/v1"]}, "x": {"organisation": "o"}},
]
TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there."}]
DIALOGUES = [
    {"id": "d1", "messages": TALK},
    {"id": 7, "turns": ["Hello!", "Again!"], "system": "Be brief."},
    {"question_id": "q", "category": "x", "turns": ["Hello!"]},
    {"custom_id": "c", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "x", "messages": TALK}},
    {"id": "parts", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
]
ENCODINGS = st.sampled_from(("utf-8", "utf-8", "cp1252", "ascii"))


@fuzz(st.tuples(json_bytes(REGISTRIES), ENCODINGS), quick=25)
def test_a_registry(example, place):
    """It is listed, checked, imported and looked up; a bad entry is said, never a bad program."""
    content, encoding = example
    Path("r.json").write_bytes(content)
    command("list", "--registry", "r.json", encoding=encoding)
    command("check", "--all", "--registry", "r.json", encoding=encoding)
    _, out, _ = command("import", "r.json", "--json")
    command("import", "r.json", encoding=encoding)
    command("show", "m", "--registry", "r.json", encoding=encoding)
    json.loads(out or "[]")


@fuzz(st.tuples(json_bytes(KEYS), ENCODINGS), quick=25)
def test_a_key_file(example, place):
    """Keys are listed, never shown; where the file can be read, one more can be set."""
    content, encoding = example
    Path("key.json").write_bytes(content)
    code, out, _ = command("keys", "--key-file", "key.json", encoding=encoding)
    command("keys", "--json")
    command("list", encoding=encoding)
    if code == 0:
        assert "key-number-1" not in out


@fuzz(
    st.tuples(
        st.one_of(json_lines(DIALOGUES), json_bytes([DIALOGUES, DIALOGUES[0]])), st.sampled_from((".jsonl", ".json"))
    ),
    quick=15,
)
def test_dialogues(example, place):
    """What is taken is run, and its records are read by all that reads records."""
    from support.fuzzed_runs import fresh, read_back

    content, suffix = example
    folder = fresh(place)
    Path(f"in{suffix}").write_bytes(content)
    code, _, _ = command("run", f"in{suffix}", "-m", "mock", "-o", str(folder))
    if code != 2:
        read_back(folder)


PROMPT = chatml(("user", "Describe the word 'tower'."))
CALLS = [
    [local_call(PROMPT, "A tall building.<|im_end|>", "A tall building.")],
    [service_call("A tall building."), service_call("Again.", usage={"completion_tokens": 5})],
    [{
        "timestamp": "t", "manipulated_prompt_obj": {"contents": [{"role": "user", "parts": ["a"]}]},
        "raw_response_obj": {"candidates": [{"content": {"parts": [{"text": "b"}]}, "finish_reason": "STOP"}],
                             "usage_metadata": {"candidates_token_count": 3}, "clem_player": {"response": "b"}},
    }],
    [{
        "timestamp": "t", "manipulated_prompt_obj": '{"message": "a", "chat_history": [{"role": "USER"}]}',
        "raw_response_obj": {"message": {"content": [{"type": "text", "text": "c"}]}, "finish_reason": "COMPLETE"},
    }],
    {"meta": {"model_name": "m"}, "calls": [{"call": local_call(PROMPT, "Yes.<|im_end|>", "Yes.")}]},
]  # fmt: skip
EVENTS = {"players": {"Player 1": "m"}, "turns": [[
    {"from": "GM", "to": "Player 1", "timestamp": "a", "action": {"type": "send message", "content": "Hello"}},
    {"from": "Player 1", "to": "GM", "timestamp": "2024-04-26T16:52:32.067250",
     "action": {"type": "get message", "content": "A tall building."}},
]]}  # fmt: skip


@fuzz(
    st.tuples(json_bytes(CALLS), json_bytes([EVENTS]), st.sampled_from(("requests.json", "p.requests.json"))), quick=25
)
def test_records_of_clembench(example, place):
    """Calls and interactions of whatever shape are judged, or refused with the place."""
    calls, events, name = example
    Path("episode").mkdir(exist_ok=True)
    for old in Path("episode").iterdir():
        old.unlink()
    Path("episode", name).write_bytes(calls)
    Path("episode", "interactions.json").write_bytes(events)
    command("audit", "episode")
    command("audit", "episode", "--json")
