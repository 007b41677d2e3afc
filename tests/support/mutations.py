"""Mutations of valid documents, as hypothesis draws them: of their values, of their text and of their bytes."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

__all__ = ["json_bytes", "json_values", "mutated_bytes"]

_RAW = re.compile(r'"@@raw:(\d+)@@"')
_TWICE = "@@twice"


def _deep(levels: int) -> tuple[str, ...]:
    return "[" * levels + "]" * levels, '{"a":' * levels + "1" + "}" * levels


RAW = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e400", "9" * 400, "9" * 5000, "-0.0", "0.1e-400"),
    *(*_deep(120), *_deep(600), *_deep(3000)),
    *('"\\ud83d"', '"\\ude00\\ud83d"', '"a\\u0000b"', '"\\u001b[2J"'),
)
"""Texts that Python's own values can't stand for, or that JSON doesn't know."""

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, 2**31, 2**53, 2**63, -(2**64), 1e308),
    *("", " ", "0", "12", "1e999", "NaN", "null", "true", "a" * 20_000, "é" * 300, "😀", "\ufeff", "\ud83d", "\udcff"),
    *(
        "\x00",
        "\x1b[2J\x1b]0;x\x07",
        "\u202e\u2028",
        "\r\n",
        "../x",
        "/",
        "~",
        "a/b",
        "con",
        "<|im_end|>",
        "{{ 1 / 0 }}",
    ),
    *([], {}, [[]], [{}], {"": None}, [None], ["a"], [1, 2], {"a": 1}, [["a", 1]], {"a": {"b": []}}),
    *("2026-13-45", "0001-01-01T00:00:00", "9999-12-31T23:59:59.999+00:00", "http://[", "file:///etc/passwd"),
)
"""Values that a field's reader didn't think of."""

BYTES = (
    *(b"", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\n", b"\r", b"\x85", b'"', b"\\", b"{", b"}", b"[", b"]"),
    *(b",", b":", b"\xc3", b"\xed\xa0\xbd", b"\x1b[2J", b"\\ud83d", b"}\n{", b"data: ", b"\n\n", b"\xe2\x80\xa8"),
)

Path = tuple[Any, ...]


def _paths(value: Any, here: Path = ()) -> list[Path]:
    found = [here]
    if isinstance(value, dict):
        for key, inside in value.items():
            found += _paths(inside, (*here, key))
    elif isinstance(value, list):
        for i, inside in enumerate(value):
            found += _paths(inside, (*here, i))
    return found


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _confused(value: Any, which: int) -> Any:
    """The value as another type: what a careless service or a hand would write."""
    if isinstance(value, str):
        return ([value], {"text": value}, [{"type": "text", "text": value}], f" {value}\n", len(value))[which % 5]
    if isinstance(value, bool) or value is None:
        return (str(value).lower(), int(bool(value)), [value], {})[which % 4]
    if isinstance(value, (int, float)):
        return (str(value), bool(value), float(value), [value], -value)[which % 5]
    if isinstance(value, dict):
        return (list(value.values()), list(value), [value], str(value), None)[which % 5]
    return ({str(i): each for i, each in enumerate(value)}, value[0] if value else None, [value], str(value))[which % 4]


def _mutate(draw: Any, document: Any) -> Any:
    paths = _paths(document)
    path = paths[draw(st.integers(0, len(paths) - 1))]
    kind = draw(st.integers(0, 9))
    number = draw(st.integers(0, 1000))
    old = _at(document, path)
    if kind <= 2:
        new: Any = copy.deepcopy(ODD[number % len(ODD)])
    elif kind == 3:
        new = f"@@raw:{number % len(RAW)}@@"
    elif kind == 4:
        new = _confused(old, number)
    elif kind == 5:
        new = copy.deepcopy(_at(document, paths[number % len(paths)]))  # of elsewhere in the same document
    else:
        return _restructure(document, path, kind, number)
    return _put(document, path, new)


def _put(document: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    _at(document, path[:-1])[path[-1]] = new
    return document


def _restructure(document: Any, path: Path, kind: int, number: int) -> Any:
    """Delete, repeat, or add to what holds the value."""
    if not path:
        return document
    holder, last = _at(document, path[:-1]), path[-1]
    if kind == 6:
        del holder[last]
    elif isinstance(holder, list):
        holder[last:last] = [copy.deepcopy(holder[last])] * (1, 2, 50)[number % 3]
    elif kind == 7:
        holder[f"{last}{_TWICE}"] = copy.deepcopy(ODD[number % len(ODD)])
    elif kind == 8:
        holder[str(ODD[number % len(ODD)])[:50]] = holder[last]
    else:
        holder[f"{last}{('s', ' ', 'X', chr(0xD83D))[number % 4]}"] = holder.pop(last)
    return document


@st.composite
def json_values(draw: Any, documents: Sequence[Any], most: int = 3) -> Any:
    """One of the documents, with up to so many mutations. Markers of raw texts are in it: for `written` only."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(0, most))):
        document = _mutate(draw, document)
    return document


def written(document: Any, *, ascii_only: bool = False, indent: int | None = None) -> bytes:
    """The JSON text of a mutated document. Half surrogates are escaped, since UTF-8 has none."""
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(document, indent=indent)
    return _RAW.sub(lambda m: RAW[int(m[1])], text).replace(_TWICE, "").encode()


@st.composite
def mutated_bytes(draw: Any, content: bytes) -> bytes:
    """The bytes, cut, spliced or doubled in a place or two; most often as they were."""
    for _ in range(max(0, draw(st.integers(-3, 2)))):
        place = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from((0, 1, 1, 2, 8, 100, 10_000)))
        kind = draw(st.integers(0, 2))
        if kind == 0:
            content = content[:place]
        elif kind == 1:
            content = content[:place] + draw(st.sampled_from(BYTES)) + content[place + length :]
        else:
            content = content[:place] + content[place : place + length] * 2 + content[place + length :]
    return content


@st.composite
def json_bytes(draw: Any, documents: Sequence[Any], most: int = 3) -> bytes:
    """The bytes of a mutated document."""
    form = draw(st.sampled_from(({}, {"ascii_only": True}, {"indent": 2})))
    return draw(mutated_bytes(written(draw(json_values(documents, most)), **form)))


@st.composite
def json_lines(draw: Any, documents: Sequence[Any], most: int = 3) -> bytes:
    """Some mutated documents, one a line."""
    lines = draw(st.lists(json_values(documents, most), min_size=1, max_size=4))
    return draw(mutated_bytes(b"\n".join(map(written, lines)) + draw(st.sampled_from((b"\n", b"", b"\r\n")))))
