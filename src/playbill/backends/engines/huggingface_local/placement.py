"""Where weights go: onto one card where they fit, else over several; quantized ones where the entry says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from playbill.backends.errors import BackendUnavailable, WeightsError

__all__ = ["Placement", "free_of_cards", "need_accelerate", "place"]

_ROOM = 1.25
"""What must be free on a card for each byte of weights, for keys and values and what layers compute."""
_SPREAD = ("balanced", "balanced_low_0", "sequential")


@dataclass(frozen=True, slots=True)
class Placement:
    """``device_map`` is for transformers, which then loads straight to where weights belong; else everything is moved
    to the device ``move_to`` after the load."""

    device_map: Any = None
    move_to: str | None = None


def place(
    entry: Mapping[str, Any], wish: Any, *, size: int | None, cards: Sequence[int], elsewhere: str, quantized: bool
) -> Placement:
    """Return the placement that an entry wishes for.

    ``size`` is what the weights take in bytes (None: not known), ``cards`` what is free on each card; ``elsewhere`` is
    the device without cards. ``quantized`` weights are never moved after the load. Only what transformers places by
    itself needs accelerate.
    """
    if wish is None or wish == "auto":
        if not cards:
            return Placement(move_to=elsewhere)
        best = max(range(len(cards)), key=lambda card: cards[card])
        if find_spec("accelerate") is None:
            return Placement(move_to=f"cuda:{best}")
        fits = size is not None and size * _ROOM <= cards[best]
        return Placement({"": f"cuda:{best}"} if fits else "auto")
    single = wish.get("") if isinstance(wish, dict) and set(wish) == {""} else wish
    if isinstance(single, (int, str)) and single not in _SPREAD:
        device = f"cuda:{single}" if isinstance(single, int) else _known(entry, single)
        if quantized:
            need_accelerate(entry, "device_map")
        if quantized or (not device.startswith(("cpu", "meta")) and find_spec("accelerate") is not None):
            return Placement({"": device})
        return Placement(move_to=device)
    need_accelerate(entry, "device_map")
    return Placement(wish)


def free_of_cards() -> tuple[int, ...]:
    """Return the bytes that are free on each of torch's cards."""
    import torch

    if not torch.cuda.is_available():
        return ()
    return tuple(torch.cuda.mem_get_info(card)[0] for card in range(torch.cuda.device_count()))


def need_accelerate(entry: Mapping[str, Any], key: str) -> None:
    """Raise BackendUnavailable where accelerate is not installed."""
    if find_spec("accelerate") is None:
        raise BackendUnavailable(
            f"{entry.get('model_name')}: {key} needs accelerate, which is not installed here; install with: "
            "pip install accelerate"
        )


def _known(entry: Mapping[str, Any], name: str) -> str:
    import torch

    try:
        return str(torch.device(name))
    except RuntimeError as e:
        raise WeightsError(
            f"{entry.get('model_name')}: device_map '{name}' is no device: say 'auto', 'cpu', 'cuda:0' or such"
        ) from e
