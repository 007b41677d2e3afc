"""The decoder for many rows at once, with prefix caching across the turns of a dialogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from playbill.backends.common.prefixes import shared_length
from playbill.backends.engines.huggingface_local.batching.kv_cache import KVCache, Run
from playbill.backends.engines.huggingface_local.batching.step import MOST_PIECES, Logits, Piece, Step, room_for
from playbill.backends.engines.huggingface_local.sampling import COLUMNS, Pick, columns_of, nothing, pick
from playbill.backends.engines.huggingface_local.sequence import SampledSequence

__all__ = ["BatchDecoder", "PromptsWithPictures"]

_NO_ROOM = (
    "out of memory: there is room for {} tokens of this request, prompt and answer; lower max_tokens, or take a "
    "smaller dtype"
)


class PromptWithPictures(Protocol):
    """A prompt as a vision model gets it. ``names`` tell what it is token by token, and the first ``whole`` can't be
    computed in pieces."""

    @property
    def names(self) -> Sequence[int]: ...

    @property
    def whole(self) -> int: ...

    def piece(self, run: Run, begin: int, ids: Sequence[int]) -> Piece:
        """Return the piece from ``begin`` on, of the prompt or of its answer."""
        ...

    def computed(self) -> PromptWithPictures:
        """Return what is still needed once the prompt is computed."""
        ...


class PromptsWithPictures(Protocol):
    """Makes such prompts of what the model's processor made."""

    def look(self, ids: Sequence[int], features: Mapping[str, Any]) -> PromptWithPictures:
        """Return what the language part of a model gets."""
        ...

    def compute_whole(
        self, ids: Sequence[int], features: Mapping[str, Any], end: int, kv_cache: KVCache, run: Run
    ) -> torch.Tensor:
        """Compute the first ``end`` tokens of a prompt at once; return the logits after them: (1, vocabulary)."""
        ...

    def make_room(self) -> bool:
        """Give up what is kept of pictures; whether there was anything."""
        ...

    def close(self) -> None:
        """Leave the model as it was."""
        ...


class BatchDecoder:
    """Advances rows with each forward pass: prompts first, as many as fit, and then all answers by one token.

    A row begins when the pages for its prompt and all its new tokens are free. What is known of a prompt's beginning,
    from the dialogue's earlier turns or from another dialogue, is not computed again. With ``exact`` only what was
    computed as a prompt counts as known, in whole pieces, since a token has other bits when it is computed as an
    answer; and an answer's tokens are never computed as a prompt: a row that begins again takes them one by one.
    ``embedder`` makes the embeddings of prompts with pictures, for a vision model.
    """

    def __init__(
        self,
        step: Step,
        *,
        exact: bool,
        facts: Mapping[str, Any] | None = None,
        embedder: PromptsWithPictures | None = None,
        ahead: bool | None = None,
    ) -> None:
        """Advance rows by a step. ``ahead`` is for tests; None takes what the step's device is."""
        self.most_rows = step.most_rows
        self.facts = facts or {}
        self.ahead = step.device.type != "cpu" if ahead is None else ahead
        self._step = step
        self._exact = exact
        self._embedder = embedder
        self._kv_cache = step.kv_cache

    @property
    def runs(self) -> Sequence[Run]:
        """The pages of rows under way, and of those that are kept for their dialogues' next turns."""
        return self._kv_cache.runs

    def advance(self, rows: Sequence[SampledSequence], meanwhile: Callable[[], None] = nothing) -> list[Pick | None]:
        for row in rows:
            if row.kv_cache is None and not self._admit(row):
                break  # those behind it wait with it, lest it wait for ever
        begun = [row for row in rows if row.kv_cache is not None]
        prompts = [row for row in begun if row.computed < row.prompt_length]
        if whole := next((row for row in prompts if row.computed < _whole(row)), None):
            picks = self._compute_whole(whole, meanwhile)
        else:
            picks = self._prompts(prompts, meanwhile) if prompts else self._answers(begun, meanwhile)
        return [picks.get(id(row)) for row in rows]

    def finish(self, row: SampledSequence) -> None:
        """The row is complete; its dialogue may go on."""
        if row.kv_cache is not None:
            self._kv_cache.keep(row.kv_cache)
            row.kv_cache = row.embedded = None

    def forget(self, row: SampledSequence) -> None:
        if row.kv_cache is not None:
            self._kv_cache.clean(row.kv_cache)
            self._kv_cache.drop(row.kv_cache)
        row.kv_cache, row.computed, row.embedded = None, 0, None

    def make_room(self) -> bool:
        found = self._kv_cache.drop_idle()
        return (self._embedder is not None and self._embedder.make_room()) or found

    def close(self) -> None:
        self._step.close()
        if self._embedder is not None:
            self._embedder.close()

    def _admit(self, row: SampledSequence) -> bool:
        """Give a row its pages, with the longest known beginning of its prompt; False where they aren't free."""
        if self._embedder is not None and row.embedded is None and any(row.request.pictures):
            row.embedded = self._embedder.look(row.ids[: row.prompt_length], row.request.features)
        known = [(self._usable(run, row), not run.busy, run.used, run) for run in self._kv_cache.runs]
        length, idle, _, best = max(known, key=lambda k: k[:3], default=(0, False, 0, None))
        run = self._kv_cache.take(row.most_tokens, spare=best if length else None)
        if run is None and idle:
            length, run = 0, self._kv_cache.take(row.most_tokens)
        if run is None:
            return False
        if best is not None and length:
            self._kv_cache.copy(best, run, length)
            # What was kept of another dialogue stays, unless most of it is what this one begins with.
            if idle and length >= len(best.ids) // 2:
                self._kv_cache.drop(best)
        row.kv_cache, row.computed = run, length
        row.cached = max(row.cached or 0, length)
        return True

    def _usable(self, run: Run, row: SampledSequence) -> int:
        """Return how many of a prompt's tokens needn't be computed, since a run has them."""
        whole, names = _whole(row), row.ids if row.embedded is None else row.embedded.names
        shared = min(shared_length(run.ids, names), row.prompt_length - 1)  # the last one is always computed
        if not self._exact:
            return shared if shared >= whole else 0
        shared = min(shared, run.prefilled)
        if run.whole != whole or shared < whole:  # what is computed at once has other bits at another length
            return 0
        return max(whole, shared // self._step.border * self._step.border)

    def _compute_whole(self, row: SampledSequence, meanwhile: Callable[[], None]) -> dict[int, Pick]:
        """Compute the beginning of a prompt that can't be computed in pieces; sample after it where it's all of it."""
        assert self._embedder is not None
        run, ids, whole = row.kv_cache, row.ids[: row.prompt_length], _whole(row)
        logits = self._embedder.compute_whole(ids, row.request.features, whole, self._kv_cache, run)
        row.computed = run.prefilled = run.whole = whole
        run.ids = list(row.embedded.names[:whole])
        wanted = [row] if whole == row.prompt_length and not row.new_ids else []
        columns = torch.tensor(columns_of([row.sampling for row in wanted]), dtype=torch.int32, device=logits.device)
        return self._sample(wanted, Logits(logits, columns.view(-1, COLUMNS)), meanwhile)

    def _prompts(self, rows: Sequence[SampledSequence], meanwhile: Callable[[], None]) -> dict[int, Pick]:
        """Compute pieces of prompts, and sample after those that are complete now."""
        pieces: list[Piece] = []
        ends: dict[int, SampledSequence] = {}
        border = self._step.border
        room = room_for(self._step.tokens, sum(row.prompt_length - row.computed for row in rows), border)
        for row in rows:
            done = row.computed
            while done < row.prompt_length and len(pieces) < MOST_PIECES:
                end = min((done // border + 1) * border, row.prompt_length)
                if end - done > room:
                    break
                pieces.append(_piece(row, done, end))
                room -= end - done
                done = end
            if done == row.prompt_length and not row.new_ids:
                ends[len(pieces) - 1] = row
        wanted = list(ends.values())
        logits = self._step.prompts(pieces, list(ends), columns_of([row.sampling for row in wanted]))
        self._store(rows, pieces)
        for row in rows:
            if row.embedded is not None and row.computed == row.prompt_length:
                row.embedded = row.embedded.computed()
        return self._sample(wanted, logits, meanwhile)

    def _answers(self, rows: Sequence[SampledSequence], meanwhile: Callable[[], None]) -> dict[int, Pick]:
        """Compute one more token of each row's answer, and sample the next of those that have no more."""
        full = {id(row): Pick(fault=_NO_ROOM.format(row.computed)) for row in rows if row.computed >= row.kv_cache.room}
        rows = [row for row in rows if id(row) not in full]
        fresh = [row for row in rows if row.computed == len(row.ids) - 1]
        again = [row for row in rows if row.computed < len(row.ids) - 1]
        pieces = [_piece(row, row.computed, row.computed + 1) for row in fresh + again]
        if not pieces:
            return full
        logits = self._step.answers(pieces, columns_of([row.sampling for row in fresh]))
        self._store(rows, pieces)
        return full | self._sample(fresh, logits, meanwhile)

    def _store(self, rows: Sequence[SampledSequence], pieces: Sequence[Piece]) -> None:
        """Note what was computed; an answer's tokens aren't, for a prompt's they count as known."""
        for piece in pieces:
            piece.run.ids.extend(piece.ids if piece.names is None else piece.names)
        for row in rows:
            row.computed = len(row.kv_cache.ids)
            row.kv_cache.prefilled = min(row.computed, row.prompt_length)

    def _sample(self, rows: Sequence[SampledSequence], found: Logits, meanwhile: Callable[[], None]) -> dict[int, Pick]:
        if not rows:
            meanwhile()
            return {}
        picks = pick([row.sampling for row in rows], found.logits, found.columns, meanwhile)
        return {id(row): pick for row, pick in zip(rows, picks, strict=True)}


def _whole(row: SampledSequence) -> int:
    """Return how many of a prompt's tokens are computed at once, since they can't be in pieces."""
    return int(row.embedded.whole) if row.embedded is not None else 0


def _piece(row: SampledSequence, begin: int, end: int) -> Piece:
    ids = row.ids[begin:end]
    found: Piece = (
        Piece(row.kv_cache, begin, ids) if row.embedded is None else row.embedded.piece(row.kv_cache, begin, ids)
    )
    return found
