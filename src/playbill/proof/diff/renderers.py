"""The two sides of a `diff`: a model's prompt path here, or a server that renders and tokenizes itself.

Each side gets the same prepared messages, and returns its text and ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from playbill.backends.common.home import expanded
from playbill.backends.credentials import Credentials
from playbill.backends.engines.base import Context
from playbill.backends.errors import InputError, TemplateError
from playbill.backends.loading import find_spec, open_prompt_path
from playbill.backends.prompt.messages import Message, prepare
from playbill.backends.prompt.pictures import TextPart, has_pictures, parts_of, read_picture
from playbill.backends.prompt.prompt_path import PromptPath, make_prompt
from playbill.backends.registry.lookup import ModelRegistry
from playbill.backends.registry.spec import ModelSpec
from playbill.proof.add.sources import propose
from playbill.proof.add.sources.servers import from_server
from playbill.proof.add.web import Server, ServerError
from playbill.proof.diff.pictures import Around, around_of

__all__ = ["Rendering", "Renderer", "open_renderer"]


@dataclass(frozen=True, slots=True)
class Rendering:
    """What a side makes of messages: text and ids, None where it doesn't give them; or why it refuses.

    ``stops`` are the texts of the stop ids by id, and the stop strings under their own text; None where a side doesn't
    say at what an answer ends. ``around`` is said of a prompt with pictures; a server's ``text`` and ``ids`` are None
    then, since it expands pictures after it wrote them.
    """

    text: str | None = None
    ids: tuple[int, ...] | None = None
    pieces: tuple[str, ...] | None = None
    refused: str | None = None
    stops: Mapping[int | str, str] | None = None
    around: Around | None = None

    def to_dict(self) -> dict[str, Any]:
        stops = None if self.stops is None else [{"stop": stop, "text": text} for stop, text in self.stops.items()]
        ids = list(self.ids) if self.ids is not None else None
        said = {"text": self.text, "ids": ids, "stops": stops, "refused": self.refused}
        return said if self.around is None else {**said, "around_pictures": self.around.to_dict()}


class Renderer(Protocol):
    """One of the two things that are compared."""

    def make(self, messages: Any) -> Rendering:
        """Text and ids for messages as given. Raises MessageError for malformed ones, ServerError."""
        ...


@dataclass(frozen=True)
class _Entry:
    """A model's prompt path in this process."""

    spec: ModelSpec
    path: PromptPath
    folder: Path | None = None

    def make(self, messages: Any) -> Rendering:
        try:
            prompt = make_prompt(self.spec, self.path, messages, folder=self.folder)
        except TemplateError as e:
            return Rendering(refused=str(e))
        ids = prompt.ids or ()
        pieces = tuple(self.path.decode([token]) for token in ids)
        stops: dict[int | str, str] = {stop.id: stop.text for stop in sorted(self.path.stops.ids, key=lambda s: s.id)}
        stops |= {text: text for text in self.path.stops.strings}
        return Rendering(prompt.text, ids, pieces, stops=stops, around=around_of(self.path, prompt))


@dataclass(frozen=True)
class _LlamaServer:
    """A server of llama.cpp: ``/apply-template``, then ``/tokenize``, as its own chat route does.

    Of a prompt with pictures ``/completion`` says what it read, without an answer: it writes marks around pictures that
    are in no text before.
    """

    server: Server
    folder: Path | None = None

    def make(self, messages: Any) -> Rendering:
        prepared = _prepared(messages, self.folder)
        try:
            text = self.server.post("/apply-template", {"messages": prepared}).get("prompt")
            if has_pictures(prepared):
                return self._around(str(text), prepared)
        except ServerError as e:
            return _refusal(e)
        asked = {"content": text, "add_special": True, "parse_special": True, "with_pieces": True}
        tokens = self.server.post("/tokenize", asked).get("tokens")
        if not isinstance(text, str) or not isinstance(tokens, list):
            raise ServerError(f"{self.server.root} answers otherwise than a server of llama.cpp")
        return Rendering(text, tuple(int(token["id"]) for token in tokens), tuple(_piece(t["piece"]) for t in tokens))

    def _around(self, text: str, messages: Sequence[Message]) -> Rendering:
        asked = {"prompt": {"prompt_string": text, "multimodal_data": _data_of(messages)}, "n_predict": 0}
        read = self.server.post("/completion", asked)
        said, tokens = read.get("prompt"), read.get("tokens_evaluated")
        if not isinstance(said, str) or not isinstance(tokens, int):
            raise ServerError(f"{self.server.root} answers otherwise than a server of llama.cpp")
        return Rendering(around=Around(said, tokens))


def _data_of(messages: Sequence[Message]) -> list[str]:
    """Return the pictures of prepared messages in base64, in their order."""
    parts = [part for m in messages if isinstance(m["content"], list) for part in m["content"]]
    return [part["image_url"]["url"].partition(",")[2] for part in parts if part["type"] == "image_url"]


def _piece(piece: Any) -> str:
    """Return a token's text; llama.cpp gives bytes where they are no UTF-8 alone."""
    return piece if isinstance(piece, str) else bytes(piece).decode("utf-8", "replace")


@dataclass(frozen=True)
class _Vllm:
    """A server of vLLM: ``/tokenize`` takes messages and gives ids, ``/detokenize`` the text.

    It expands pictures later, so its ids hold a placeholder for each, which the other side's processor names.
    """

    server: Server
    model: str
    folder: Path | None = None

    def make(self, messages: Any) -> Rendering:
        prepared = _prepared(messages, self.folder)
        asked = {"model": self.model, "messages": prepared, "add_generation_prompt": True}
        try:
            ids = self.server.post("/tokenize", asked).get("tokens")
        except ServerError as e:
            return _refusal(e)
        if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
            raise ServerError(f"{self.server.root} answers otherwise than a server of vLLM")
        text = self.server.post("/detokenize", {"model": self.model, "tokens": ids}).get("prompt")
        if has_pictures(prepared):
            return Rendering(around=Around(text)) if isinstance(text, str) else Rendering()
        return Rendering(text if isinstance(text, str) else None, tuple(ids))


def _refusal(e: ServerError) -> Rendering:
    """Return the refusal where a server refused the conversation (status 400, 422 or 500); raise anything else."""
    if e.status not in (400, 422, 500):
        raise e
    return Rendering(refused=str(e))


def _prepared(messages: Any, folder: Path | None) -> Sequence[Message]:
    """Return messages as a server of OpenAI's form takes them: pictures as parts with the data in them."""
    return [_with_data(message, f"messages[{i}]", folder) for i, message in enumerate(prepare(messages).messages)]


def _with_data(message: Message, where: str, folder: Path | None) -> Message:
    if not has_pictures([message]):
        return message
    shown = [
        {"type": "text", "text": part.text}
        if isinstance(part, TextPart)
        else {"type": "image_url", "image_url": {"url": read_picture(part, folder).data_url}}
        for part in parts_of(message, where)
    ]
    return {**{key: value for key, value in message.items() if key != "image"}, "content": shown}


def open_renderer(
    target: str | dict[str, Any], registry: ModelRegistry, context: Context, folder: Path | None = None
) -> Renderer:
    """Open a server's address, a GGUF file or model folder, or a selector of an entry, ready to compare.

    Pictures that messages name by a path are below ``folder``; a server here is given them as data.

    Raises as `load_prompt_path` and `propose`; ServerError for a server that doesn't tokenize, InputError for an
    entry without a prompt path.
    """
    name = target if isinstance(target, str) else str(target.get("model_name"))
    if name.startswith(("http://", "https://")):
        return _open_server(name, context, folder)
    if isinstance(target, str) and _is_model(expanded(name)):
        spec = ModelSpec.from_dict(propose(name, context)[0].entry)
    else:
        spec = find_spec(target, registry=registry)
    path = open_prompt_path(spec, credentials=context.credentials, progress=context.progress)
    if path is None:
        raise InputError(f"{name} takes messages, so there is no prompt here to compare")
    return _Entry(spec, path, folder)


def _is_model(path: Path) -> bool:
    return path.is_dir() or (path.is_file() and path.suffix == ".gguf")


def _open_server(url: str, context: Context, folder: Path | None) -> Renderer:
    address, _, model = url.partition("#")
    server = Server(address, context.credentials)
    probe = [{"role": "user", "content": "Hello"}]
    try:
        server.post("/apply-template", {"messages": probe})
        return _LlamaServer(server, folder)
    except ServerError as e:
        if e.status not in (404, 405):
            raise
    name = model or _first_model(server, context.credentials)
    try:
        server.post("/tokenize", {"model": name, "messages": probe})
    except ServerError as e:
        raise ServerError(f"{server.root} has neither /apply-template nor /tokenize for messages: {e}", e.status) from e
    return _Vllm(server, name, folder)


def _first_model(server: Server, credentials: Credentials) -> str:
    return str(from_server(server.v1, credentials)[0].values["model_id"])
