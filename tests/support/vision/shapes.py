"""Shapes of conversations with pictures: as a user gives them, and as transformers wants them, with the pictures apart.

Pictures are a small, a wide, a tall, a tiny and a huge one, by name.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

SIZES = {
    "small": (90, 50),
    "wide": (160, 30),
    "tall": (40, 120),
    "tiny": (16, 12),
    "huge": (1400, 900),
    "speck": (7, 7),
}


@cache
def image(name: str) -> Any:
    """Return an RGB picture that has something to see everywhere."""
    from PIL import Image

    width, height = SIZES[name]
    seed = sum(map(ord, name))
    rows = Image.linear_gradient("L").resize((width, height))
    rings = Image.radial_gradient("L").resize((width, height))
    return Image.merge("RGB", (rows, rings, rings.rotate(seed % 90)))


@cache
def data_url(name: str) -> str:
    """Return the picture as a PNG in a data URL."""
    file = io.BytesIO()
    image(name).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _message(role: str, *parts: str) -> dict[str, Any]:
    """Return a message of parts; a word in angle brackets is a picture."""
    content = []
    for part in parts:
        if part.startswith("<"):
            content.append({"type": "image_url", "image_url": {"url": data_url(part.strip("<>"))}})
        else:
            content.append({"type": "text", "text": part})
    return {"role": role, "content": content}


def user(*parts: str) -> dict[str, Any]:
    return _message("user", *parts)


_PAST = {"role": "assistant", "content": "A tower."}

SHAPES: Mapping[str, list[dict[str, Any]]] = {
    "none": [{"role": "user", "content": "Say a word."}],
    "one": [user("<small>", "What is this?")],
    "clembench": [{"role": "user", "content": "What is this?", "image": data_url("small")}],
    "two": [user("<small>", "<tall>", "Compare them.")],
    "two of clembench": [{"role": "user", "content": "Both?", "image": [data_url("wide"), data_url("small")]}],
    "earlier turn": [user("<small>", "What is this?"), _PAST, {"role": "user", "content": "Are you sure?"}],
    "two turns": [user("<wide>", "And here?"), _PAST, user("<small>", "And this?")],
    "after the text": [user("Look at this:", "<small>")],
    "between texts": [user("Before", "<small>", "and after.")],
    "system": [{"role": "system", "content": "Be brief."}, user("<tall>", "What is this?")],
    "tiny": [user("<tiny>", "What is this?")],
    "huge": [user("<huge>", "What is this?")],
}


def for_transformers(messages: Iterable[Mapping[str, Any]], *, strings: bool) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return messages with bare image parts, and the opened pictures in their order.

    ``strings``: the template reads strings, so that texts alone stay such; else they become parts.
    """
    shown, pictures = [], []
    for message in messages:
        named = message.get("image") or []
        parts: list[dict[str, Any]] = []
        for url in [named] if isinstance(named, str) else named:
            pictures.append(_opened(url))
            parts.append({"type": "image"})
        content = message["content"]
        if isinstance(content, str):
            parts.append({"type": "text", "text": content})
        for part in content if isinstance(content, list) else ():
            if part["type"] == "text":
                parts.append(part)
            else:
                pictures.append(_opened(part["image_url"]["url"]))
                parts.append({"type": "image"})
        text_alone = isinstance(content, str) and not named
        shown.append({"role": message["role"], "content": content if text_alone and strings else parts})
    return shown, pictures


def _opened(url: str) -> Any:
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
