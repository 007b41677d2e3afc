"""One forward pass of a fixed shape over tokens of many rows.

A kernel chooses how it sums by the shape that it is given. So a step of answers always has one of a few numbers of
rows, and a pass over prompts one of a few numbers of tokens; what isn't needed is padding. All numbers of a pass go to
the device in one tensor. On CUDA a step of answers is captured once and replayed. Knows no request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import torch

from playbill.backends.common.warn import warn_once
from playbill.backends.engines.huggingface_local.batching.attention import MASKED, VARLEN, Pass, Span
from playbill.backends.engines.huggingface_local.batching.kv_cache import PAGE, KVCache, Run
from playbill.backends.engines.huggingface_local.batching.thread_pool import RowThreads
from playbill.backends.engines.huggingface_local.decoder import first_device
from playbill.backends.engines.huggingface_local.sampling import COLUMNS

__all__ = ["MOST_PIECES", "Logits", "Piece", "Step", "room_for"]

MOST_PIECES = 32
"""Pieces of prompts in a pass."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The next tokens of one row, to follow the first ``done`` in its run.

    Where something else than ids says what they are, ``embeds`` has it, of shape (tokens, hidden), and ``names`` what
    the run knows them by. ``positions`` has them for each plane, where they don't just count.
    """

    run: Run
    done: int
    ids: Sequence[int]
    names: Sequence[int] | None = None
    positions: Sequence[Sequence[int]] | None = None
    embeds: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Logits:
    """Logits of shape (rows, vocabulary), of the rows that were asked for and then of padding, and what the sampler
    sent with them, of shape (rows, COLUMNS)."""

    logits: torch.Tensor
    columns: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Layout:
    """How many tokens, rows and logits a pass has, how many tokens a row at the most, and how many positions a token:
    what makes its shape."""

    size: int
    rows: int
    kept: int
    widest: int
    planes: int

    def numbers(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the parts of the one tensor that was sent, by their names."""
        sizes = {
            "ids": self.size,
            "positions": self.planes * self.size,
            "places": self.size,
            "begin": self.rows + 1,
            "length": self.rows,
            "first": self.rows,
            "last": self.kept,
            "columns": self.kept * COLUMNS,
        }
        return dict(zip(sizes, torch.split(flat, list(sizes.values())), strict=True))


class Step:
    """Computes passes of a model over a KV cache.

    ``rows`` are the numbers of rows that a step of answers may have, ``tokens`` those of a pass over prompts, each in
    rising order; ``most_rows`` is the largest of the former. A prompt is cut at multiples of ``border``. A token has a
    position in each of ``planes``. ``windows`` are the layers' sliding windows, where they are to be checked.
    """

    def __init__(
        self,
        model: Any,
        kv_cache: KVCache,
        way: str,
        row_threads: RowThreads,
        *,
        most_rows: int,
        windows: Sequence[int | None] | None = None,
    ) -> None:
        self.model = model
        self.kv_cache = kv_cache
        self.way = way
        self.most_rows = most_rows
        self.windows = windows
        self.planes = 1
        self.device = first_device(model)
        self.last_device = self.device  # of what the layers make
        cpu = self.device.type == "cpu"
        self.border = 32 if cpu else 128
        self.rows: tuple[int, ...] = (most_rows,)
        # A processor reads all weights for each pass, and may lay them out anew for its matrix unit.
        self.tokens: tuple[int, ...] = (512 if cpu else 256,)
        self.row_threads = row_threads
        self.joins = False  # whether attention over pieces that follow each other may be one call
        self._graphs: dict[int, _Graph] = {}

    @property
    def captured(self) -> bool:
        """Whether steps of answers are replayed as CUDA graphs."""
        return bool(self._graphs)

    def answers(self, pieces: Sequence[Piece], columns: Sequence[int] = (), *, size: int | None = None) -> Logits:
        """Return the logits after each row's next token, of which each piece has one."""
        size = size or _fit(self.rows, len(pieces))
        layout = _Layout(size, size, size, 1, self.planes)
        flat, spans = self._lay_out(layout, pieces, (), columns)
        graph = self._graphs.get(size)
        if graph is not None:
            return graph.replay(flat)
        return self._compute(layout, flat.to(self.device, non_blocking=True), spans)

    def prompts(
        self, pieces: Sequence[Piece], ends: Sequence[int], columns: Sequence[int] = (), *, size: int | None = None
    ) -> Logits:
        """Return the logits after those pieces of prompts whose numbers ``ends`` has. Several may be of one row, in
        their order."""
        size = size or _fit(self.tokens, sum(len(piece.ids) for piece in pieces))
        kept = _fit(self.rows, max(1, len(ends)))
        layout = _Layout(size, MOST_PIECES + -(-size // self.border), kept, self.border, self.planes)
        flat, spans = self._lay_out(layout, pieces, ends, columns)
        seen = [(s.begin, s.end, p.embeds) for p, s in zip(pieces, spans, strict=True) if p.embeds is not None]
        return self._compute(layout, flat.to(self.device, non_blocking=True), spans, seen)

    def capture(self) -> None:
        """Capture the steps of answers where that can be, before any is computed: all are replayed then, or none."""
        if self.way != VARLEN or self.device.type != "cuda" or self.last_device != self.device:
            return
        try:
            for size in self.rows:
                layout = _Layout(size, size, size, 1, self.planes)
                flat, _ = self._lay_out(layout, (), (), ())
                self._graphs[size] = _Graph(partial(self._compute, layout, spans=()), flat, self.device)
        except Exception as e:  # noqa: BLE001 - a model that synchronises, or allocates, can't be captured
            self._graphs.clear()
            warn_once(f"steps are computed without a CUDA graph, since capturing failed ({type(e).__name__}: {e})")

    def close(self) -> None:
        self._graphs.clear()
        self.row_threads.close()

    def _compute(
        self,
        layout: _Layout,
        flat: torch.Tensor,
        spans: Sequence[Span],
        seen: Sequence[tuple[int, int, torch.Tensor]] = (),
    ) -> Logits:
        numbers, lines = layout.numbers(flat), layout.planes + 2
        first = flat[: lines * layout.size].long().view(lines, layout.size)
        ids, positions, numbers["places"] = first[:1], first[1:-1], first[-1]
        longest = max((span.length for span in spans), default=1) if self.way == MASKED else self.kv_cache.pages * PAGE
        this = Pass(
            kv_cache=self.kv_cache,
            way=self.way,
            size=layout.size,
            widest=layout.widest,
            longest=longest,
            row_threads=self.row_threads,
            windows=self.windows,
            joins=self.joins,
            spans=spans,
            numbers={name: numbers[name] for name in ("places", "begin", "length", "first")},
        )
        last: Any = 0 if layout.widest == 1 else numbers["last"].to(self.last_device, non_blocking=True).long()
        output = self.model(
            **self._tokens(ids, seen),
            position_ids=positions if layout.planes == 1 else positions[:, None],
            use_cache=False,
            logits_to_keep=last,
            playbill_pass=this,
        )
        logits: torch.Tensor = output.logits[0]
        return Logits(logits, numbers["columns"].to(logits.device, non_blocking=True).view(layout.kept, COLUMNS))

    def _tokens(self, ids: torch.Tensor, seen: Sequence[tuple[int, int, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Return what says which tokens a pass has: their ids, or all embeddings where some have other ones."""
        if not seen:
            return {"input_ids": ids}
        embeds = self.model.get_input_embeddings()(ids)
        for begin, end, other in seen:
            embeds[0, begin:end] = other.to(embeds.device, embeds.dtype)
        return {"inputs_embeds": embeds}

    def _lay_out(
        self, layout: _Layout, pieces: Sequence[Piece], ends: Sequence[int], columns: Sequence[int]
    ) -> tuple[torch.Tensor, list[Span]]:
        """Return all numbers of a pass in one tensor, and the spans of its rows."""
        ids, places, spans = list[int](), list[int](), list[Span]()
        positions = [list[int]() for _ in range(layout.planes)]
        for piece in pieces:
            begin, done, new = len(ids), piece.done, len(piece.ids)
            spans.append(Span(piece.run.start, begin, begin + new, done + new))
            ids += piece.ids if piece.embeds is None else [0] * new
            counted = piece.positions or [range(done, done + new)] * layout.planes
            for plane, own in zip(positions, counted, strict=True):
                plane += own
            places += range(piece.run.start + done, piece.run.start + done + new)
        rest = layout.size - len(ids)
        padding = [min(layout.widest, rest - i) for i in range(0, rest, layout.widest)]
        missing = layout.rows - len(spans) - len(padding)
        news = [span.end - span.begin for span in spans] + padding + [0] * missing
        last = [spans[end].end - 1 for end in ends]
        flat = [
            *(*ids, *[0] * rest),
            *(position for plane in positions for position in (*plane, *[0] * rest)),
            *(*places, *(i % PAGE for i in range(rest))),
            *accumulate(news, initial=0),
            *(*(span.length for span in spans), *padding, *[1] * missing),
            *(*(span.start // PAGE for span in spans), *[0] * (len(padding) + missing)),
            *(*last, *[0] * (layout.kept - len(last))),
            *(*columns, *[0] * (layout.kept * COLUMNS - len(columns))),
        ]
        return torch.tensor(flat, dtype=torch.int32, pin_memory=self.device.type == "cuda"), spans


class _Graph:
    """A computation captured as a CUDA graph: all its kernels are started by one call."""

    def __init__(self, compute: Callable[[torch.Tensor], Logits], flat: torch.Tensor, device: torch.device) -> None:
        self._flat = flat.to(device)
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(2):
                compute(self._flat)
        torch.cuda.current_stream(device).wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._found = compute(self._flat)

    def replay(self, flat: torch.Tensor) -> Logits:
        """Return what is computed of other numbers, valid until the next call."""
        self._flat.copy_(flat, non_blocking=True)
        self._graph.replay()
        return self._found


def _fit(sizes: Sequence[int], needed: int) -> int:
    """Return the smallest size that has room."""
    return next(size for size in sizes if size >= needed)


def room_for(sizes: Sequence[int], waiting: int, border: int) -> int:
    """Return how many of the tokens that wait a pass takes: all that fit, but where most of it would be padding, as
    many as a smaller size has room for. A piece up to the next border always fits.

    >>> room_for((16, 48, 224, 512), 60, 32), room_for((16, 48, 224, 512), 120, 32), room_for((16, 224), 60, 32)
    (48, 512, 224)
    """
    most = sizes[-1]
    if waiting >= most or _fit(sizes, waiting) <= 2 * waiting:
        return most
    return max((size for size in sizes if border <= size <= waiting), default=most)
