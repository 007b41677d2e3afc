"""What `list` and `show` say of stamps: how deep an entry is proven, and whether it still is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playbill.backends.registry.lookup import RegistryEntry
from playbill.backends.registry.stamps.files import StampFiles
from playbill.backends.registry.stamps.stamp import Content
from playbill.backends.registry.stamps.state import StampState, newest_state

__all__ = ["proven", "state_of"]


def state_of(entry: RegistryEntry, files: StampFiles, *, spec: Mapping[str, Any] | None = None) -> StampState | None:
    """Return the state of an entry's stamp, by what can be known without hashing large files. ``spec`` is what is used
    in the entry's place, with the caller's values."""
    stamps = files.of(entry)
    content = Content()
    if any(stamp.content.weights for stamp in stamps):
        from playbill.backends.weights.identity import weights_identity  # seldom needed, and brings more imports

        content = Content(weights_identity(entry.spec, quick=True))
    return newest_state(stamps, entry.flat.entry if spec is None else spec, content) if stamps else None


def proven(state: StampState | None) -> str:
    """Return the word for a list: a depth, with ? where large files weren't read to be sure; ``stale``, or nothing."""
    if state is None:
        return ""
    return "stale" if state.depth is None else f"{state.depth.value}{'?' if state.unsure else ''}"
