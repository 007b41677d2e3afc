"""The trial on load of a vision model: whether its rows can be computed together, pictures and all.

A prompt with a picture is computed beside one without, and compared with what the model's own steps give for it alone;
one with two pictures shows whether each can be encoded apart.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch

from playbill.backends.engines.base import Request
from playbill.backends.engines.huggingface_local.batching.step import Piece, Step
from playbill.backends.engines.huggingface_local.decoder import SingleDecoder
from playbill.backends.engines.huggingface_local.sequence import SampledSequence
from playbill.backends.engines.huggingface_local.vision.embedded_prompt import PromptEmbedder
from playbill.backends.prompt.pictures import ExpandedPrompt, Picture, PictureProcessor
from playbill.backends.prompt.pictures.picture import make_picture

__all__ = ["find_fault"]

_SIZES = ((112, 56), (56, 112))
"""Of the two pictures: the ratio that gives the fewest tiles, and unlike, so that one has padding beside the other."""
_ANSWER = (1, 2)
"""Ids that stand for an answer's first tokens."""


def find_fault(
    embedder: PromptEmbedder, reference: SingleDecoder, step: Step, processor: PictureProcessor
) -> str | None:
    """Return why the rows of a vision model can't be computed together, None where they can. What has to be known of
    its prompts with pictures is known to ``embedder`` and ``step`` afterwards."""
    embedder.memory.apart = _encodes_apart(embedder, processor)
    one = _prompt(processor, _SIZES[:1])
    embedder.settle(one.ids, one.features)
    step.planes = embedder.planes
    request = Request(messages=(), params={"max_tokens": 3}, prompt_ids=one.ids, features=one.features)
    row = SampledSequence(request, None, str)
    with embedder.usual_attention():
        alone = [_next(reference, row, token) for token in (None, *_ANSWER)]
    together = _together(embedder, step, one)
    step.kv_cache.runs.clear()
    embedder.memory.clear()
    if any(_differ(a, b) for a, b in zip(together, alone, strict=True)):
        return f"{type(step.model).__name__} computes something else for a picture beside other rows"
    return None


def _next(reference: SingleDecoder, row: SampledSequence, token: int | None) -> torch.Tensor:
    row.ids += [] if token is None else [token]
    return reference.next_logits(row, torch.tensor([row.ids]))[0].clone()


def _together(embedder: PromptEmbedder, step: Step, prompt: ExpandedPrompt) -> list[torch.Tensor]:
    """Return the logits after a prompt and after each token of an answer, computed beside a row of text."""
    embedded, length = embedder.look(prompt.ids, prompt.features), len(prompt.ids)
    run, other = step.kv_cache.take(length + len(_ANSWER)), step.kv_cache.take(8)
    if run is None or other is None:
        raise NotImplementedError(f"a small picture has {length} tokens")
    if done := embedded.whole:
        made = embedder.compute_whole(prompt.ids, prompt.features, done, step.kv_cache, run)[0]
    text: list[Piece] = [Piece(other, 0, (3, 2, 1))]
    found = []
    while done < length:
        end = min((done // step.border + 1) * step.border, length)
        made = step.prompts([embedded.piece(run, done, prompt.ids[done:end]), *text], [0]).logits[0].clone()
        done, text = end, []
    found.append(made)
    for i, token in enumerate(_ANSWER):
        pieces = [Piece(other, 3 + i, [token]), embedded.piece(run, length + i, [token])]
        found.append(step.answers(pieces).logits[1].clone())
    return found


def _encodes_apart(embedder: PromptEmbedder, processor: PictureProcessor) -> bool:
    """Tell whether a picture may be encoded without the others of its prompt."""
    embedder.memory.apart = False
    try:
        two = _prompt(processor, _SIZES)
        together = embedder.given(two.ids, two.features)
        embedder.memory.apart = True
        apart = embedder.given(two.ids, two.features)
        return not _differ(apart["inputs_embeds"], together["inputs_embeds"])
    except torch.OutOfMemoryError:
        raise
    except Exception:  # noqa: BLE001 - of an unknown model's code; all are encoded together then, as the facts say
        return False
    finally:
        embedder.memory.apart = False


def _prompt(processor: PictureProcessor, sizes: Sequence[tuple[int, int]]) -> ExpandedPrompt:
    pictures = [_picture(*size) for size in sizes]
    return processor.expand("".join(f"{processor.placeholder} one " for _ in pictures) + "two", pictures)


def _picture(width: int, height: int) -> Picture:
    """Return a picture that has something to see everywhere."""
    from PIL import Image

    bands = Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L").rotate(90)
    file = io.BytesIO()
    Image.merge("RGB", [band.resize((width, height)) for band in bands]).save(file, "PNG")
    return make_picture(file.getvalue(), "a trial's picture", "made here")


def _differ(some: torch.Tensor, others: torch.Tensor) -> bool:
    """Tell whether numbers differ by more than rounding explains in their format. Where the others aren't finite,
    nothing is compared."""
    if some.shape != others.shape:
        return True
    limit, known = 1e-3 if others.dtype == torch.float32 else 0.1, others.isfinite()
    apart = (some - others)[known].float().norm()
    return not bool(apart <= limit * others[known].float().norm())
