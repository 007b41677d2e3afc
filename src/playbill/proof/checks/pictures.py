"""Check how a vision model is shown pictures: the places in its prompts, and the image tokens. Needs no weights."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping

from playbill.backends.common.findings import Finding
from playbill.backends.errors import PlaybillError, TemplateError, WeightsError
from playbill.backends.prompt.messages import Message, prepare
from playbill.backends.prompt.picture_forms import count_placeholders
from playbill.backends.prompt.pictures.picture import Picture, make_picture
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.fields.table import setting
from playbill.proof.checks.path import PathSubject
from playbill.proof.rules import pictures as rules

__all__ = ["picture_places", "image_tokens"]

_BEFORE, _AFTER = "Quokka before.", "Narwhal after."
_PART = {"type": "image", "path": "probe.png"}
_TEXT = {"type": "text", "text": _BEFORE}
_MORE = {"type": "text", "text": _AFTER}
_ANSWER = {"role": "assistant", "content": "Axolotl answer."}
_SIZES = ((64, 64), (320, 64), (64, 320), (640, 480))


def _user(*parts: Mapping[str, str]) -> Message:
    return {"role": "user", "content": [dict(part) for part in parts]}


_ONE = (_user(_PART, _MORE),)
_TALKS: Mapping[str, tuple[Message, ...]] = {
    "no picture": ({"role": "user", "content": _MORE["text"]},),
    "a picture before the text": _ONE,
    "a picture after the text": (_user(_TEXT, _PART),),
    "two pictures": (_user(_PART, _PART, _MORE),),
    "a picture in an earlier turn": (*_ONE, _ANSWER, {"role": "user", "content": _MORE["text"]}),
    "a picture in each of two turns": (*_ONE, _ANSWER, *_ONE),
}


def picture_places(subject: PathSubject) -> Iterator[Finding]:
    """Count the places for pictures in prompts of all shapes, and say where they stand."""
    path = subject.path
    if path.processor is None:
        return
    texts = {name: _rendered(subject, talk) for name, talk in _TALKS.items()}
    one = texts["a picture before the text"]
    if one is None or not count_placeholders(one, path.processor.placeholder):
        message = f"a message with a picture is shown without {path.processor.placeholder!r}"
        yield rules.PICTURE_UNREAD.at(subject.where, message, "set custom_chat_template")
        return
    for name, text in texts.items():
        wanted = sum(part == _PART for m in _TALKS[name] if isinstance(m["content"], list) for part in m["content"])
        found = None if text is None else count_placeholders(text, path.processor.placeholder)
        if found is not None and found != wanted:
            message = f"for {name} the prompt has {found} times {path.processor.placeholder!r}, not {wanted} times"
            yield rules.PICTURE_PLACES.at(subject.where, message)
    after = texts["a picture after the text"] or ""
    if _BEFORE in after and after.find(path.processor.placeholder) < after.find(_BEFORE):
        message = "a picture that stands after a message's text is shown before it"
        yield rules.PICTURE_MOVED.at(subject.where, message)


def _rendered(subject: PathSubject, talk: tuple[Message, ...]) -> str | None:
    """Return the prompt of a conversation; None where the template refuses it, which other checks judge."""
    entry = subject.template.entry
    prepared = prepare(talk, consecutive_roles="keep", system_role=setting(entry, "system_role"))
    try:
        return subject.path.render(prepared.messages)
    except (TemplateError, PlaybillError):
        return None


def image_tokens(subject: PathSubject) -> Iterator[Finding]:
    """Show the processor pictures of several sizes; it counts the image tokens that it made against the ids."""
    text = _rendered(subject, _ONE) if subject.path.processor is not None else None
    if text is None or subject.path.processor is None:
        return
    if count_placeholders(text, subject.path.processor.placeholder) != 1:
        return
    for size in _SIZES:
        problem = _problem(subject.path, text, _probe(*size))
        if problem is not None:
            yield rules.IMAGE_TOKENS.at(subject.where, f"for a picture of {size[0]} x {size[1]}: {problem}")
            return


def _problem(path: PromptPath, text: str, picture: Picture) -> str | None:
    try:
        made = path.expand(text, (picture,)).made
    except WeightsError:  # the look at the weights says it
        return None
    except PlaybillError as e:
        return str(e)
    return None if made and made[0].get("tokens") else "the prompt holds no image token"


def _probe(width: int, height: int) -> Picture:
    """Return a PNG of this size with a gradient, made by hand: `check` needs no library to make one."""
    rows = b"".join(b"\0" + bytes((x + y) % 256 for x in range(width) for _ in range(3)) for y in range(height))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    body = b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return make_picture(b"\x89PNG\r\n\x1a\n" + body, "probe", "a probe")
