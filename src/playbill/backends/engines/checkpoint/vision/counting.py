"""Say what a processor made of each picture: its image tokens, and the tiles, grid or size where it tells them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from playbill.backends.errors import MessageError

__all__ = ["picture_tokens", "what_was_made"]

_GRID = "image_grid_thw"
_SIZES = "image_sizes"


def picture_tokens(processor: Any) -> tuple[str, ...]:
    """Return the tokens that stand for a patch of a picture; the model puts the picture's features in their places.

    Processors list those that mark a picture's rows and ends beside them, and some have a placeholder of its own.
    """
    tokenizer = processor.tokenizer
    ids = getattr(processor, "image_token_ids", None) or [getattr(processor, "image_token_id", None)]
    names = [str(tokenizer.convert_ids_to_tokens(int(i))) for i in ids if i is not None]
    return (processor.image_token,) if not names or processor.image_token in names else tuple(names)


def what_was_made(
    texts: Sequence[str],
    features: Mapping[str, Any],
    tokenizer: Any,
    tokens: Sequence[str],
    ids: Sequence[int],
    pictures: int,
) -> tuple[Mapping[str, Any], ...]:
    """Return for each picture its ``tokens``, and what the features say of it alone.

    ``texts`` replaced the placeholders; where the processor doesn't say them, runs of image tokens are counted.
    """
    if not pictures:
        return ()
    if texts and not any(token in text for text in texts for token in tokens):
        tokens = _commonest(texts, tokenizer)
    known = frozenset(tokenizer.convert_tokens_to_ids(list(tokens)))
    total = sum(1 for i in ids if i in known)
    counts = [sum(text.count(token) for token in tokens) for text in texts] or _runs(ids, known)
    if texts and sum(counts) != total:
        raise MessageError(
            f"messages: the model's processor puts {sum(counts)} image tokens ({', '.join(tokens)}) into the prompt, "
            f"and its tokenizer makes {total} of them; tokenizer and processor don't belong together"
        )
    if len(counts) != pictures:
        return tuple({"tokens": total} if pictures == 1 else {} for _ in range(pictures))
    return tuple({"tokens": n, **_own(features, i, n, total)} for i, n in enumerate(counts))


def _commonest(texts: Sequence[str], tokenizer: Any) -> tuple[str, ...]:
    """Return the token that stands most often for a picture, where its processor has no name for it (Ovis2)."""
    ids = Counter(i for text in texts for i in tokenizer(text, add_special_tokens=False).input_ids)
    return tuple(str(tokenizer.convert_ids_to_tokens(i)) for i, _ in ids.most_common(1))


def _runs(ids: Sequence[int], known: frozenset[int]) -> list[int]:
    return [len(list(run)) for inside, run in groupby(ids, key=known.__contains__) if inside]


def _own(features: Mapping[str, Any], i: int, tokens: int, total: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    grid, sizes = features.get(_GRID), features.get(_SIZES)
    if grid is not None and i < len(grid):
        found["grid"] = [int(n) for n in grid[i]]
    if sizes is not None and i < len(sizes):
        found["size"] = [int(n) for n in sizes[i]]
    if grid is None and sizes is None and (tiles := _tiles(features.get("pixel_values"), tokens, total)):
        found["tiles"] = tiles
    return found


def _tiles(pixels: Any, tokens: int, total: int) -> int | None:
    """Return how many tiles a picture was cut into, where each tile has as many tokens as any other."""
    shape = tuple(getattr(pixels, "shape", ()))
    count = shape[0] * shape[1] if len(shape) == 5 else shape[0] if len(shape) == 4 else 0
    return tokens * count // total if count and total and tokens * count % total == 0 else None
