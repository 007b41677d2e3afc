"""Where weights go: onto one card where they fit, else over as few as hold them; quantized ones where the entry says.

Choosing is arithmetic over what is free, so that it can be tried for machines that aren't here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from playbill.backends.engines.machine.hardware import nvidia_cards
from playbill.backends.engines.machine.memory import free_memory
from playbill.backends.errors import BackendUnavailable, WeightsError

__all__ = ["Cards", "Placement", "choose_cards", "need_accelerate", "place", "torch_cards"]

_SHARE = 0.9
"""Of a card's free memory, what weights may take; the rest is for keys and values, and what layers compute."""
_SPREAD = ("balanced", "balanced_low_0", "sequential")


@dataclass(frozen=True, slots=True)
class Cards:
    """The cards of a machine: the free bytes of each, and the least compute capability of them (None: unknown)."""

    free: tuple[int, ...] = ()
    capability: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where transformers loads weights to.

    ``device_map`` and ``max_memory`` are its arguments of those names; None leaves them out, and everything is moved
    to the device ``move_to`` after the load.
    """

    device_map: Any = None
    move_to: str | None = None
    max_memory: Mapping[int | str, int] | None = None


def choose_cards(free: Sequence[int], size: int | None) -> tuple[int, ...]:
    """Return the cards that weights of so many bytes go to: one where they fit, else the fewest that hold them.

    Cards with the most free memory come first. All are returned where the size is unknown, or where even all don't
    hold them.

    >>> choose_cards([10, 80, 79], 60), choose_cards([10, 80, 79], 120), choose_cards([10, 80, 79], None)
    ((1,), (1, 2), (0, 1, 2))
    """
    order = sorted(range(len(free)), key=lambda card: -free[card])
    for count in range(1, len(order) + 1):
        if size is not None and size <= _SHARE * sum(free[card] for card in order[:count]):
            return tuple(sorted(order[:count]))
    return tuple(range(len(free)))


def place(
    entry: Mapping[str, Any], wish: Any, *, size: int | None, cards: Cards, elsewhere: str, quantized: bool
) -> Placement:
    """Return the placement that an entry wishes for, by its ``device_map``.

    ``size`` is what the weights take in bytes (None: not known), ``elsewhere`` the device where there is no card.
    ``quantized`` weights are never moved after the load. Only what transformers places by itself needs accelerate.
    """
    if wish is None or wish == "auto":
        return _best(entry, size, cards, elsewhere, quantized=quantized)
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


def _best(entry: Mapping[str, Any], size: int | None, cards: Cards, elsewhere: str, *, quantized: bool) -> Placement:
    if not cards.free:
        return Placement(move_to=elsewhere)
    if quantized:
        need_accelerate(entry, "device_map")
    if "max_memory" in (entry.get("engine_args") or {}):
        return Placement("auto")
    chosen = choose_cards(cards.free, size)
    if find_spec("accelerate") is None:
        return Placement(move_to=f"cuda:{max(range(len(cards.free)), key=lambda card: cards.free[card])}")
    if len(chosen) == 1:
        return Placement({"": f"cuda:{chosen[0]}"} if size is not None and size <= cards.free[chosen[0]] else "auto")
    if len(chosen) == len(cards.free):
        return Placement("auto")
    room: dict[int | str, int] = {card: cards.free[card] for card in chosen}
    # Without it, a layer that doesn't fit between two cards would go to the disk.
    return Placement("auto", max_memory=room | {"cpu": free_memory() or 0})


def torch_cards(cuda: Any) -> Cards:
    """Return the cards that torch sees, in its order; ``cuda`` is `torch.cuda`.

    Their free memory is the driver's word: to ask CUDA for it takes hundreds of megabytes of each card, for as long as
    this process lives. A card that the driver's tool doesn't name so, as a part of one, is asked all the same.
    """
    if not cuda.is_available():
        return Cards()
    numbers = range(cuda.device_count())
    told = {card.uuid.removeprefix("GPU-"): card.free for card in nvidia_cards()}
    names = [str(getattr(cuda.get_device_properties(card), "uuid", None)) for card in numbers]
    free = (
        told[name] if name in told else cuda.mem_get_info(card)[0] for card, name in zip(numbers, names, strict=True)
    )
    return Cards(tuple(free), min(cuda.get_device_capability(card) for card in numbers))


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
