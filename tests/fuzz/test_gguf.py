"""Headers of GGUF files: read, or refused as WeightsError, in bounded time and memory."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from playbill.backends import WeightsError
from playbill.backends.engines.llamacpp.gguf_header import read_header
from support.fuzzing import fuzz
from support.gguf_header import ARRAY, FLOAT, INT32, SOUND, STRING, UINT32, UINT64, gguf_bytes, text
from support.mutations import mutated_bytes

NUMBERS = st.sampled_from((0, 1, 2, 5, 127, 2**31 - 1, 2**32 - 1))
TEXTS = st.sampled_from(("", "a", "b", "a\x00", "\x00", "{{ 1 }}", "llama", "gpt2", "[EMPTY_3]", "é" * 200, "\ufeff"))
FLOATS = st.sampled_from((0.0, -1.0, float("nan"), float("inf")))
VALUES: dict[int, st.SearchStrategy[Any]] = {
    UINT32: NUMBERS,
    INT32: st.sampled_from((-1, 0, 1, 6, 2**31 - 1)),
    FLOAT: FLOATS,
    STRING: TEXTS,
    UINT64: st.sampled_from((0, 1, 2**63, 2**64 - 1)),
}
PAIR_VALUES = st.one_of(*(st.tuples(st.just(kind), values) for kind, values in VALUES.items()))
ARRAYS = st.one_of(
    *(st.tuples(st.just(kind), st.lists(values, max_size=6)) for kind, values in VALUES.items()),
    st.just((ARRAY, [(UINT32, [1])])),
)
ANY_VALUE = PAIR_VALUES | st.tuples(st.just(ARRAY), ARRAYS)
TENSOR = text("blk.0.attn_q.weight") + struct.pack("<IQQIQ", 2, 8, 8, 0, 0)
HUGE = st.sampled_from((2**16, 2**31, 2**32, 2**40, 2**63, 2**64 - 1))


@st.composite
def headers(draw: Any) -> bytes:
    """A sound header with values of other types, keys twice or missing, lengths out of all bounds, and cuts."""
    pairs = [(key, *pair) for key, pair in SOUND.items()]
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(pairs) - 1))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            pairs[place] = (pairs[place][0], *draw(ANY_VALUE))
        elif kind == 1:
            pairs.insert(place, (draw(st.sampled_from((*SOUND, "x", ""))), *draw(ANY_VALUE)))
        elif len(pairs) > 1:
            del pairs[place]
    tensors = draw(st.sampled_from((0, 0, 1, 3)))
    content = gguf_bytes(pairs, TENSOR * tensors, tensors)
    if draw(st.booleans()):
        place = draw(st.integers(0, len(content)))
        content = content[:place] + struct.pack("<Q", draw(HUGE)) + content[place + 8 :]
    return draw(mutated_bytes(content))


@fuzz(headers(), quick=100)
def test_a_header(example, place):
    """No struct.error, no list of a billion values."""
    Path("m.gguf").write_bytes(example)
    with contextlib.suppress(WeightsError):
        read_header(Path("m.gguf"))
