"""The kinds of animals: each a function from an animal's input to what happened, as plain values.

docs/howto/zoo.md has a table of them. Knows nothing of what is right.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from playbill.backends import ModelRegistry, PlaybillError, load_model, load_prompt_path, make_prompt
from playbill.backends.answer.clean import CleaningRule, clean
from playbill.proof import check_all
from playbill.proof.check import Options
from playbill.runs import open_inputs, read_records, run
from support.audited import judge, names, record
from support.proof_planted import Planted, entry

Facts = dict[str, Any]
Input = Mapping[str, Any]
HELLO = [{"role": "user", "content": "Hello there, who are you?"}]
NEEDS = {
    "exchange": ("h11", "openai", "anthropic", "google.genai"),
    "run": ("h11", "openai"),
    "serve": ("h11", "psutil", "starlette", "uvicorn", "httpx2"),
    "checkpoint": ("transformers",),
}
"""The packages that a kind needs beside Playbill's own."""


class Services:
    """The local servers that all animals share: one that answers as told, and one of `playbill serve`."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self._replies: list[Input] = []
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._running.close()

    @cached_property
    def mock(self) -> Any:
        from playbill.mock_services import MockServer

        return self._running.enter_context(MockServer(lambda messages: self._answer()))

    @cached_property
    def chat_url(self) -> str:
        from playbill.serve.guard import Rules
        from playbill.serve.server import Server
        from support.serving import LOADERS

        server = Server(loaders=LOADERS, port=0, rules=Rules(body_limit=100_000))
        return self._running.enter_context(server.in_background())

    def url(self, wire: str) -> str:
        return str(self.mock.openai_url if wire == "openai" else self.mock.url)

    def tell(self, replies: Sequence[Input]) -> None:
        """Answer from now on with these replies in turn, and with the last of them for ever."""
        self._replies = list(replies)
        self._seen = self.mock.total

    def requests(self) -> list[Any]:
        """What was received since `tell`."""
        count = self.mock.total - self._seen
        return list(self.mock.requests[-count:]) if count else []

    def _answer(self) -> Any:
        from playbill.mock_services import Raw

        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        kind = reply.get("content_type", "text/event-stream" if "events" in reply else "application/json")
        return Raw(_body(reply), reply.get("status", 200), kind, tuple(reply.get("headers", {}).items()))


@dataclass(frozen=True)
class Ground:
    """What a runner stands on: an empty folder, the shared servers, the command, and the environment."""

    place: Path
    services: Services
    playbill: Callable[..., tuple[int, str, str]]
    setenv: Callable[[str, str], None]


def _body(reply: Input) -> bytes:
    if "events" in reply:
        texts = [e if isinstance(e, str) else f"data: {json.dumps(e)}\n\n" for e in reply["events"]]
        return "".join(texts).encode()
    if "bytes" in reply:
        return str(reply["bytes"]).encode("latin-1")
    return str(reply["text"]).encode() if "text" in reply else json.dumps(reply.get("body")).encode()


def _write(folder: Path, files: Input) -> None:
    """Write files: text as it is, JSON as JSON, and a list as lines of it where the name says so."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".jsonl") and isinstance(content, list):
            content = "".join(json.dumps(line) + "\n" for line in content)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


@contextmanager
def _refusals(facts: Facts) -> Iterator[None]:
    """What Playbill refuses on purpose is a fact; any other exception fails the test."""
    facts["refused"] = None
    try:
        yield
    except PlaybillError as e:
        facts["refused"] = str(e)


def _entry(given: Input, ground: Ground) -> Facts:
    """Return an entry of a service, and write the key that may go to the local server."""
    wire = given.get("wire", "openai")
    own = given.get("entry", {})
    name = own.get("backend", "openai_compatible" if wire == "openai" else wire)
    url = ground.services.url(wire)
    here = {"base_url": url} if name == "openai_compatible" else {}
    keys = given.get("keys", {} if here else {name: {"api_key": "key-of-the-zoo-1", "base_url": "URL"}})
    _write(ground.place, {"key.json": json.loads(json.dumps(keys).replace("URL", url))} if keys else {})
    return {"model_name": "m", "backend": name, "retry_pause": 0.01, "max_attempts": 2, **here, **own}


def exchange(given: Input, ground: Ground) -> Facts:
    """One request to a service that answers with the replies of the file, by the client of its wire."""
    for name, value in given.get("environment", {}).items():
        ground.setenv(name, value)
    facts: Facts = {}
    ground.services.mock  # noqa: B018 - it starts here
    ground.services.tell(given["replies"])
    with _refusals(facts), closing(load_model(_entry(given, ground))) as model:
        messages, params = given.get("messages", HELLO), given.get("params", {})
        if given.get("stream"):
            stream = model.stream(messages, **params)
            facts["streamed"] = "".join(stream)
            got = stream.generation
        else:
            got = model.generate(messages, **params)
        facts |= got.to_dict()
        facts["error"] = (got.error or {}).get("message")
        facts["effective"] = dict(got.params.effective)
    received = ground.services.requests()
    facts["requests"] = len(received)
    facts["sent"] = received[-1].json if received else None
    facts["sent_headers"] = received[-1].headers if received else {}
    return facts


def recorded(given: Input, ground: Ground) -> Facts:
    """A run of two dialogues with a service, started twice, then read back, audited and reported."""
    ground.services.mock  # noqa: B018 - it starts here
    ground.services.tell(given["replies"])
    model = _entry(given, ground)
    dialogues = given.get("dialogues", [{"id": "a", "turns": ["Hello.", "Again."]}, {"id": "b", "turns": ["Bye."]}])
    facts: Facts = {}
    for _ in range(2):
        with _refusals(facts):
            run(dialogues, model, out="out")
    records = list(read_records(ground.place / "out" / "m" / "records.jsonl"))
    facts["outcomes"] = [r["outcome"] for r in records]
    facts["records"] = records
    for command in ("audit", "report"):
        code, out, err = ground.playbill(command, "out")
        facts[command] = code
        facts[f"{command}_said"] = out + err
    facts["requests"] = len(ground.services.requests())
    return facts


def prompt(given: Input, ground: Ground) -> Facts:
    """What an entry, a template and special tokens make of messages, and what ends the answer."""
    planted = Planted(
        entry(**given.get("entry", {})),
        **{name: given[name] for name in ("eos", "premade", "context", "facts") if name in given},
        **({"special": tuple(given["special"])} if "special" in given else {}),
    )
    facts: Facts = {}
    with _refusals(facts):
        spec, path = planted.open()
        facts["stops"] = [stop.text for stop in path.stops.ids]
        facts["stop_strings"] = list(path.stops.strings)
        made = make_prompt(spec, path, given.get("messages", HELLO))
        facts |= {"text": made.text, "ids": len(made.ids or ()), "changes": list(made.changes)}
    return facts


def cleaned(given: Input, ground: Ground) -> Facts:
    """What is made of a raw text by a cleaning rule."""
    rule = {name: tuple(v) if isinstance(v, list) else v for name, v in given.get("rule", {}).items()}
    rest = {name: given[name] for name in ("prompt", "stop_string", "stop_from", "truncated") if name in given}
    made = clean(given["raw"], CleaningRule(**rule), **rest)
    return {"text": made.text, "thinking": made.thinking, "in_thinking": made.in_thinking, "problem": made.problem}


def audited(given: Input, ground: Ground) -> Facts:
    """What the audit finds in files: records of Playbill's (each a sound one with changes) or of others."""
    files = dict(given.get("files", {}))
    if "records" in given:
        files["out/m/records.jsonl"] = [record(**changes) for changes in given["records"]]
    _write(ground.place, files)
    facts: Facts = {"found": {}, "calls": 0}
    with _refusals(facts):
        found, audit = judge(ground.place)
        facts["found"] = dict(names(found))
        facts["said"] = [str(j.finding.message) for j in found]
        facts["calls"] = sum(totals.calls for totals in audit.models.values())
    return facts


def checked(given: Input, ground: Ground) -> Facts:
    """What `check` says of a registry, without fetching anything."""
    content = given["registry"]
    _write(ground.place, {**given.get("files", {}), "zoo.json": content})
    facts: Facts = {"codes": [], "said": ""}
    with _refusals(facts):
        registry = ModelRegistry.from_file(ground.place / "zoo.json")
        verdicts = list(check_all(registry, registry, Options(fetch=given.get("fetch", False))))
        facts["codes"] = [f.code for v in verdicts for f in v.findings]
        facts["said"] = "\n".join(f"{f.message} {f.fix or ''}" for v in verdicts for f in v.findings)
        facts["stopped"] = [v.stopped for v in verdicts]
        facts["names"] = [v.name for v in verdicts]
    return facts


def found(given: Input, ground: Ground) -> Facts:
    """What a selector finds in registries, each a file."""
    _write(ground.place, given["files"])
    facts: Facts = {"spec": None}
    with _refusals(facts):
        registry = ModelRegistry.load([ground.place / name for name in given.get("order", given["files"])])
        facts["spec"] = registry.find(given["selector"]).to_dict()
    return facts


def dialogues(given: Input, ground: Ground) -> Facts:
    """What is read from a file of dialogues, before anything is loaded."""
    _write(ground.place, {given["name"]: given["text"]})
    facts: Facts = {"count": 0}
    with _refusals(facts):
        read = list(open_inputs(ground.place / given["name"]))
        facts["count"] = len(read)
        facts["dialogues"] = [{"id": d.id, "opening": list(d.opening), "further": list(d.further)} for d in read]
    return facts


def served(given: Input, ground: Ground) -> Facts:
    """What `playbill serve` answers to a request of a client."""
    import httpx2 as httpx

    url = f"{ground.services.chat_url}{given.get('path', '/chat/completions')}"
    headers = {"content-type": "application/json", **given.get("headers", {})}
    body = given["text"] if "text" in given else json.dumps({"model": "echo", "messages": HELLO, **given["body"]})
    answer = httpx.post(url, content=body.encode("utf-8", "surrogatepass"), headers=headers, timeout=60)
    facts: Facts = {"status": answer.status_code, "body": answer.text}
    if "event-stream" in answer.headers["content-type"]:
        lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        facts["events"] = [json.loads(line) for line in lines if line != "[DONE]"]
        facts["streamed"] = "".join(
            c["delta"].get("content") or "" for e in facts["events"] for c in e.get("choices") or ()
        )
    else:
        facts["json"] = answer.json()
    return facts


def command(given: Input, ground: Ground) -> Facts:
    """What a command line prints where these files are, and how it ends."""
    _write(ground.place, given.get("files", {}))
    for name, value in given.get("environment", {}).items():
        ground.setenv(name, value)
    code, out, err = ground.playbill(*given["arguments"])
    there = sorted(str(p.relative_to(ground.place)) for p in ground.place.rglob("*") if p.is_file())
    return {"code": code, "out": out, "err": err, "files": there}


def gguf(given: Input, ground: Ground) -> Facts:
    """What is read from the header of a GGUF file, made of typed pairs, or given in hexadecimal digits."""
    from playbill.backends.engines.llamacpp.gguf_header import read_header

    path = ground.place / "m.gguf"
    pairs = given.get("pairs", {})
    packed = [
        _gguf_text(key) + struct.pack("<I", _GGUF[kind]) + _gguf_value(kind, v) for key, (kind, v) in pairs.items()
    ]
    count = given.get("count", len(pairs))
    whole = struct.pack("<4sIQQ", b"GGUF", given.get("version", 3), 0, count) + b"".join(packed)
    path.write_bytes(bytes.fromhex(given["hex"]) if "hex" in given else whole[: given.get("cut_at", len(whole))])
    facts: Facts = {"values": None}
    with _refusals(facts):
        facts["values"] = dict(read_header(path).values)
    return facts


_GGUF = {"uint32": 4, "int32": 5, "float32": 6, "string": 8, "array": 9, "uint64": 10}
_PACKED = {"uint32": "<I", "int32": "<i", "float32": "<f", "uint64": "<Q"}


def _gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _gguf_value(kind: str, value: Any) -> bytes:
    if kind == "string":
        return _gguf_text(value)
    if kind == "array":
        of, items = value
        return struct.pack("<IQ", _GGUF[of], len(items)) + b"".join(_gguf_value(of, item) for item in items)
    return struct.pack(_PACKED[kind], value)


def checkpoint(given: Input, ground: Ground) -> Facts:
    """What is made of messages by a folder as the hub has it: a tokenizer of words, and the files of the input."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = [*given.get("special", ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]), "[unk]", "user", "assistant", "Hi"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[unk]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([word for word in words if word.startswith("<")])
    folder = ground.place / "model"
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    files = {"tokenizer_config.json": config, "config.json": {"model_type": "llama"}, **given.get("files", {})}
    own = files.pop("tokenizer_config.json")
    _write(folder, {**files, "tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": {**config, **own}})
    spec = {"model_name": "m", "backend": "huggingface_local", "huggingface_id": "./model", "eos_to_cull": "</s>"}
    facts: Facts = {}
    with _refusals(facts):
        _, path = load_prompt_path({**spec, "premade_chat_template": True, **given.get("entry", {})})
        assert path is not None
        text = path.render(given.get("messages", [{"role": "user", "content": "Hi"}]))
        facts |= {"text": text, "ids": list(path.encode(text)), "stops": [s.text for s in path.stops.ids]}
        facts |= {"stop_strings": list(path.stops.strings), "context": path.context_size}
    return facts


KINDS: Mapping[str, Callable[[Input, Ground], Facts]] = {
    "audit": audited,
    "check": checked,
    "checkpoint": checkpoint,
    "clean": cleaned,
    "command": command,
    "dialogues": dialogues,
    "exchange": exchange,
    "find": found,
    "gguf": gguf,
    "prompt": prompt,
    "run": recorded,
    "serve": served,
}
"""The kinds by the name that a file has under ``kind``."""
