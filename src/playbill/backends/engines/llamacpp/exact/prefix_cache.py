"""Prefix caching across dialogues: compute a shared prompt prefix once, and copy its KV cache into other slots.

llama.cpp finds a shared beginning only in the slot that a request goes to, or in the memory of slots that were
given away; dialogues that start at the same time each compute it. Here the second prompt that begins as one before
has the shared part computed apart and saved, and those that follow restore it, which takes some milliseconds.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from playbill.backends.common.prefixes import shared_length
from playbill.backends.errors import EngineError

__all__ = ["PrefixCache"]

_log = logging.getLogger(__name__)
_WORTHWHILE = 64
_LEFT_OUT = 8  # of what is shared, so that what follows is computed in one go with more than one token
_SEEN = 64
_KEPT = 4
_MOST_BYTES = 256 << 20  # of one on disk; where a token takes more room, less is shared


class Post(Protocol):
    """Post JSON to the server, and give its answer."""

    def __call__(self, path: str, body: Mapping[str, Any], /) -> Any: ...


@dataclass(frozen=True, slots=True)
class _Saved:
    name: str
    ids: tuple[int, ...]


class PrefixCache:
    """What was saved of prompts' beginnings, in files of a folder that the server reads and writes too.

    ``bytes_per_token`` is what keys and values of a token take.
    """

    def __init__(self, folder: Path, bytes_per_token: int = 1) -> None:
        self._folder = folder
        self._most = _MOST_BYTES // bytes_per_token
        self._seen: deque[tuple[int, ...]] = deque(maxlen=_SEEN)
        self._saved: deque[_Saved] = deque()
        self._made = 0
        self._seen_lock = threading.Lock()
        self._making = threading.Lock()

    def fill(self, slot: int, prompt: Sequence[int], post: Post) -> int:
        """Put the beginning that a prompt shares with others into an empty slot, if there is one worth it.

        Returns how many tokens were computed for it. What the server can't do costs time, never an answer.
        """
        ids = tuple(prompt)
        with self._seen_lock:
            shared = min(self._most, max((shared_length(ids, other) for other in self._seen), default=0) - _LEFT_OUT)
            self._seen.append(ids)
        if shared < _WORTHWHILE:
            return 0
        try:
            with self._making:
                best = self._best(ids)
                if best is None or shared >= shared_length(ids, best.ids) + _WORTHWHILE:
                    return self._make(slot, ids[:shared], post)
            post(f"/slots/{slot}?action=restore", {"filename": best.name})
        except EngineError as e:
            _log.debug("a prompt's beginning was not shared: %s", e)
        return 0

    def _best(self, ids: tuple[int, ...]) -> _Saved | None:
        return max(self._saved, key=lambda saved: shared_length(ids, saved.ids), default=None)

    def _make(self, slot: int, ids: tuple[int, ...], post: Post) -> int:
        """Compute a beginning in a slot, and save it; the oldest of those saved is forgotten."""
        body = {"prompt": list(ids), "n_predict": 0, "id_slot": slot, "cache_prompt": True, "temperature": 0}
        computed: int = post("/completion", body)["timings"]["prompt_n"]
        saved = _Saved(f"{self._made}.slot", ids)
        self._made += 1
        post(f"/slots/{slot}?action=save", {"filename": saved.name})
        self._saved.append(saved)
        if len(self._saved) > _KEPT:
            # Who is just reading it computes its beginning anew.
            (self._folder / self._saved.popleft().name).unlink(missing_ok=True)
        return computed
