"""Compare two renderings of the same messages: whether they differ, and where first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from playbill.backends.common.prefixes import shared_length
from playbill.proof.diff.pictures import difference_of_counts
from playbill.proof.diff.renderers import Rendering

__all__ = ["Comparison", "Spot", "compare"]


@dataclass(frozen=True, slots=True)
class Spot:
    """The first place where two sequences differ, with a little before and after it on each side."""

    at: int
    common: str
    left: str
    right: str

    def to_dict(self) -> dict[str, Any]:
        return {"at": self.at, "common": self.common, "left": self.left, "right": self.right}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Where texts and where ids differ, and which stops only one side has; None where they don't, or where a side gives
    none.

    What a model is given are ids: where both sides give them, they alone decide. Of pictures whose tokens a side
    doesn't give, the text around them is compared, and ``counts`` says whether the numbers of tokens differ.
    """

    text: Spot | None
    ids: Spot | None
    refusal: str | None
    differs: bool
    stops: str | None = None
    counts: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "differs": self.differs,
            "text": self.text.to_dict() if self.text else None,
            "ids": self.ids.to_dict() if self.ids else None,
            "stops": self.stops,
            "refusal": self.refusal,
            **({"counts": self.counts} if self.counts is not None else {}),
        }


def compare(left: Rendering, right: Rendering) -> Comparison:
    """Compare two sides; one that refuses differs from one that doesn't, two that refuse are the same."""
    if left.refused is not None or right.refused is not None:
        both = left.refused is not None and right.refused is not None
        which = "both refuse" if both else "the first refuses" if left.refused is not None else "the second refuses"
        return Comparison(None, None, f"{which}: {left.refused or right.refused}", not both)
    if left.around is not None and right.around is not None and (left.ids is None or right.ids is None):
        spot = _text_spot(left.around.beside(right.around), right.around.beside(left.around))
        counts = difference_of_counts(left.around, right.around)
        return Comparison(spot, None, None, spot is not None or counts is not None, None, counts)
    text = _text_spot(left.text, right.text) if left.text is not None and right.text is not None else None
    counted = left.ids is not None and right.ids is not None
    ids = _id_spot(left, right) if counted else None
    stops = _stops(left, right)
    prompts = ids is not None if counted else text is not None
    return Comparison(text, ids, None, prompts or stops is not None, stops)


def _stops(left: Rendering, right: Rendering) -> str | None:
    """Return what ends an answer on one side only, in words; None where both end it alike, or one doesn't say."""
    if left.stops is None or right.stops is None:
        return None
    said = []
    for name, ours, theirs in (("A", left.stops, right.stops), ("B", right.stops, left.stops)):
        only = [stop for stop in ours if stop not in theirs]
        if only:
            shown = ", ".join(f"{stop}:{ours[stop]!r}" if isinstance(stop, int) else repr(stop) for stop in only)
            said.append(f"only {name} ends an answer at {shown}")
    return "; ".join(said) or None


def _first(left: Sequence[Any], right: Sequence[Any]) -> int | None:
    place = shared_length(left, right)
    return None if place == len(left) == len(right) else place


def _text_spot(left: str, right: str) -> Spot | None:
    at = _first(left, right)
    if at is None:
        return None
    return Spot(at, left[max(0, at - 60) : at], left[at : at + 40], right[at : at + 40])


def _id_spot(left: Rendering, right: Rendering) -> Spot | None:
    ours, theirs = left.ids or (), right.ids or ()
    at = _first(ours, theirs)
    if at is None:
        return None
    before = " ".join(map(str, ours[max(0, at - 6) : at]))
    return Spot(at, before, _shown(left, at), _shown(right, at))


def _shown(made: Rendering, at: int) -> str:
    """Ids from a place on, each with its text where it is known."""
    ids = (made.ids or ())[at : at + 6]
    pieces = (made.pieces or ())[at : at + 6]
    if not ids:
        return "(the end)"
    if len(pieces) != len(ids):
        return " ".join(map(str, ids))
    return " ".join(f"{token}:{piece!r}" for token, piece in zip(ids, pieces, strict=True))
