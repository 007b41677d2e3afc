"""Records of clembench and clemcore as calls: all layouts since 2023. Knows no rule.

Two files hold calls: ``requests.json``, a list for all players of an episode, and ``player_1.requests.json``,
an object with ``meta`` and ``calls`` for one player. Where a call doesn't name the text that was used (before
2024), or the player, that is taken from the ``interactions.json`` beside it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbill.backends.answer.special_tokens import is_padded
from playbill.backends.common.jsonfile import read_json
from playbill.backends.errors import FileFormatError, PlaybillError
from playbill.backends.prompt.messages import Message
from playbill.runs.audit.call import Call
from playbill.runs.audit.jsonstream import JsonStream
from playbill.runs.audit.turn_headers import headers
from playbill.runs.audit.wire import Answer, finish_of, message_text, read_answer

__all__ = ["is_clembench", "read_clembench", "sent_messages"]

# How Google and Cohere call the roles.
_ROLES = {"model": "assistant", "USER": "user", "CHATBOT": "assistant", "SYSTEM": "system"}


_NO_MODELS = frozenset({"programmatic", "custom_response", "human", "slurk", "mock"})


def is_clembench(name: str) -> bool:
    """Tell whether a file of this name holds calls."""
    return name == "requests.json" or name.endswith(".requests.json")


def read_clembench(path: Path, run: str) -> Iterator[Call]:
    """Yield the calls in a file. Raises FileFormatError where it is not of either layout."""
    with path.open("rb") as file:
        stream = JsonStream(file, path)
        if stream.peek() == "[":
            beside = _read_interactions(path.parent / "interactions.json")
            for index, item in enumerate(stream.items()):
                yield _call(item, f"{path}[{index}]", run, _Place(str(path.parent), beside=beside))
        else:
            yield from _player_file(stream, path, run)
        stream.end()


def _player_file(stream: JsonStream, path: Path, run: str) -> Iterator[Call]:
    place = _Place(str(path), padded=True, player=path.name.partition(".")[0])
    found = False
    for name in stream.members():
        if name == "meta":
            meta = stream.value()
            if isinstance(meta, dict):
                place = _Place(str(path), padded=True, player=place.player, model=_text(meta.get("model_name")))
        elif name == "calls":
            found = True
            for index, item in enumerate(stream.items()):
                where = f"{path}:calls[{index}]"
                if not isinstance(item, dict):
                    raise FileFormatError(f"{where}: is no object with 'call'")
                yield _call(item.get("call", item), where, run, place)
        else:
            stream.value()
    if not found:
        raise FileFormatError(f"{path}: is no record of calls: neither a list, nor an object with 'calls'")


@dataclass(frozen=True, slots=True)
class _Action:
    player: str
    text: str


@dataclass(frozen=True, slots=True)
class _Place:
    """What is known of a call from where it stands."""

    dialogue: str
    player: str | None = None
    model: str | None = None
    padded: bool = False
    beside: Mapping[str, _Action] | None = None


def _read_interactions(path: Path) -> dict[str, _Action]:
    """Return what the players said, by time stamp; empty where the file isn't there or is none."""
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
    except (PlaybillError, OSError):
        return {}
    turns = content.get("turns") if isinstance(content, dict) else None
    turns = turns if isinstance(turns, list) else []
    events = [event for turn in turns if isinstance(turn, list) for event in turn]
    found: dict[str, _Action] = {}
    for event in events:
        action = event.get("action") if isinstance(event, dict) else None
        if isinstance(action, dict) and action.get("type") == "get message" and isinstance(action.get("content"), str):
            found[str(event.get("timestamp"))] = _Action(str(event.get("from")), action["content"])
    return found


def _call(item: Any, where: str, run: str, place: _Place) -> Call:
    if not isinstance(item, dict) or "raw_response_obj" not in item or "manipulated_prompt_obj" not in item:
        raise FileFormatError(f"{where}: is no call: 'manipulated_prompt_obj' and 'raw_response_obj' are missing")
    sent, body = item["manipulated_prompt_obj"], item["raw_response_obj"]
    used = body.get("clem_player") if isinstance(body, dict) else None
    used = used if isinstance(used, dict) else {}
    action = (place.beside or {}).get(str(item.get("timestamp")))
    text = used.get("response")
    text = text if isinstance(text, str) else action.text if action else None
    model = _text(used.get("model_name")) or place.model or _model_of_path(where)
    who = place.player or (action.player if action else None) or f"{model}:{_opening(sent)}"
    local = isinstance(sent, dict) and isinstance(sent.get("inputs"), str)
    maker = _local if local else _remote
    return maker(sent, body, where=where, run=run, model=model, dialogue=f"{place.dialogue}:{who}", text=text, **{
        "padded": place.padded, "no_model": _answers_itself(model, body),
        "seconds": _seconds(used.get("call_duration")),
    })  # fmt: skip


def _local(sent: dict[str, Any], body: Any, *, text: str | None, **known: Any) -> Call:
    prompt: str = sent["inputs"]
    inner = body.get("response") if isinstance(body, dict) else body
    if isinstance(inner, str):
        echoed, raw = _split(prompt, inner)
        answer = Answer(raw=raw)
        known["padded"] = known.get("padded", False) or is_padded(prompt)
    else:
        echoed, answer = None, read_answer(inner if inner is not None else body)
    thinking = body.get("cot_content") if isinstance(body, dict) else None
    effective = {k: v for k, v in sent.items() if k not in ("inputs", "return_full_text")}
    return Call(
        prompt=prompt,
        echoed_prompt=echoed,
        raw=answer.raw,
        keeps_special=isinstance(inner, str),
        text=text,
        thinking=thinking if isinstance(thinking, str) else None,
        finish=finish_of(answer.finish_raw),
        finish_raw=answer.finish_raw,
        output_tokens=answer.output_tokens,
        limit=effective.get("max_new_tokens") if isinstance(effective.get("max_new_tokens"), int) else None,
        effective=effective,
        facts={("weights" if k == "model" else k): v for k, v in answer.facts.items()},
        **known,
    )


def _remote(sent: Any, body: Any, *, text: str | None, **known: Any) -> Call:
    answer = read_answer(body)
    if text is None and answer.raw:
        text = answer.raw.strip()
    return Call(
        messages=sent_messages(sent),
        raw=answer.raw,
        text=text,
        thinking=answer.thinking,
        finish=finish_of(answer.finish_raw),
        finish_raw=answer.finish_raw,
        refusal=answer.refusal,
        output_tokens=answer.output_tokens,
        thinking_tokens=answer.thinking_tokens,
        facts=answer.facts,
        **known,
    )


def _split(prompt: str, whole: str) -> tuple[str | None, str | None]:
    """Return the prompt as it was decoded back, and what was generated after it; None, None where they can't be told
    apart.

    Tokenizers change white space and may have added a BOS on the way, so only what is no space is compared.
    """
    if whole.startswith(prompt):
        return prompt, whole[len(prompt) :]
    wanted = "".join(prompt.split())
    found = "".join(whole.split())
    begin = found.find(wanted[:64])
    if begin < 0 or not found.startswith(wanted, begin):
        return None, None
    left = begin + len(wanted)
    for word in re.finditer(r"\S+", whole):
        length = word.end() - word.start()
        if left <= length:
            end = word.start() + left
            return whole[:end], whole[end:]
        left -= length
    return whole, ""


def sent_messages(sent: Any) -> tuple[Message, ...] | None:
    """Return the messages of a request's body, in whatever service's form; None where it holds none."""
    if isinstance(sent, str):  # Cohere's, as JSON
        try:
            sent = json.loads(sent)
        except (ValueError, RecursionError):
            return None
        if not isinstance(sent, dict):
            return None
    if isinstance(sent, dict) and isinstance(sent.get("message"), str):  # Cohere's first API
        before = sent.get("chat_history")
        sent = [*(before if isinstance(before, list) else []), {"role": "USER", "message": sent["message"]}]
    if isinstance(sent, dict):
        sent = sent.get("messages") or sent.get("contents") or ([sent] if "role" in sent else None)
    if not isinstance(sent, list) or not all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in sent):
        return None
    return tuple({"role": _ROLES.get(m["role"], m["role"]), "content": _content(m)} for m in sent)


def _content(message: Mapping[str, Any]) -> str:
    return message_text(message.get("content", message.get("parts", message.get("message"))))


def _answers_itself(model: str, body: Any) -> bool:
    """Tell whether a program or a person answered, as clemcore records them: there is no model to judge."""
    said = body.get("response") if isinstance(body, dict) else None
    return model in _NO_MODELS or (isinstance(said, str) and said in _NO_MODELS)


def _opening(sent: Any) -> str:
    """Return what tells two players of an episode apart: how their first turn begins, which all their calls share."""
    if isinstance(sent, dict) and isinstance(sent.get("inputs"), str):
        prompt: str = sent["inputs"]
        turns = headers(prompt[:100_000])
        first_answer = next((h for h in turns if h.role == "assistant"), None)
        return _digest("".join(prompt[: first_answer.start if first_answer else 2000].split()))
    messages = sent_messages(sent) or ()
    users = [message_text(m["content"]) for m in messages if m["role"] == "user"]
    return _digest(users[0]) if users else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def _seconds(duration: Any) -> float | None:
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", duration) if isinstance(duration, str) else None
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None


def _model_of_path(where: str) -> str:
    """Return the model's name in a results tree: ``MODEL--MODEL/game/experiment/episode_0/requests.json``."""
    pair = next((part for part in Path(where).parts if "--" in part), None)
    return pair.split("--")[0] if pair else "unknown"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
