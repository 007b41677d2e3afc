"""Put pictures into a rendered prompt as llama.cpp takes them: a marker in each one's place, and its pixels beside.

llama.cpp cuts a prompt at the markers and encodes each piece of text by itself; the same pieces are encoded here, so
the ids are known before anything is computed. In a picture's place its placeholder's id stands as often as the picture
has tokens, which llama.cpp counts.
"""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from playbill.backends.common.packages import installed_version
from playbill.backends.engines.llamacpp.server import xllamacpp
from playbill.backends.engines.llamacpp.tokenizer import GgufTokenizer
from playbill.backends.engines.llamacpp.vision.picture_counter import PictureCounter
from playbill.backends.engines.llamacpp.vision.projectors import PROJECTORS
from playbill.backends.engines.llamacpp.vision.prompt import PICTURE_PROMPT, PicturePrompt
from playbill.backends.errors import EngineError, MessageError, WeightsError
from playbill.backends.prompt.pictures import ExpandedPrompt, Picture
from playbill.backends.prompt.pictures.opening import open_picture
from playbill.backends.prompt.prompt_path import Bos
from playbill.backends.weights.cache import file_sha256

__all__ = ["GgufProcessor"]


_MOST = 96 << 20
"""Characters of all pictures in a request; the server's HTTP library takes 100 MiB in all."""
_KEPT = 128 << 20
"""Characters of pictures that are kept: each turn of a dialogue shows its pictures again."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A picture's pixels as a PNG in base64, its tokens without the marks around it, and what was done to it, as the
    rest of a sentence that begins with its place."""

    data: str
    tokens: int
    notes: tuple[str, ...]

    def facts(self, place: str) -> dict[str, Any]:
        """Return what a record says of it."""
        return {"tokens": self.tokens, **({"notes": [place + note for note in self.notes]} if self.notes else {})}


class GgufProcessor:
    """The processor of a model with an mmproj file of a known kind. ``start_counter`` starts what counts, once, when it
    is first needed; ``otherwise`` is what is to be known of the kind."""

    def __init__(
        self,
        mmproj: Path,
        kind: str,
        tokenizer: GgufTokenizer,
        start_counter: Callable[[], PictureCounter],
        otherwise: str | None = None,
    ) -> None:
        self._mmproj = mmproj
        self._otherwise = otherwise
        self._kind = kind
        self._projector = PROJECTORS[kind]
        self._tokenizer = tokenizer
        self._start_counter = start_counter
        self._bos = _bos(mmproj, tokenizer)
        self._kept: OrderedDict[str, _Seen] = OrderedDict()
        self._lock = threading.Lock()
        self.placeholder = self._projector.placeholder
        self.markers = tuple(dict.fromkeys([self.placeholder, self._projector.token or self.placeholder]))

    def expand(self, text: str, pictures: Sequence[Picture]) -> ExpandedPrompt:
        if not pictures:
            begun = self._bos is None or text.startswith(self._bos.text)
            begin = () if begun or self._bos is None else (self._bos.id,)
            return ExpandedPrompt((*begin, *self._tokenizer.encode(text)))
        pieces = self._pieces(text)
        if any(self._counter.marker in piece for piece in pieces):
            raise MessageError(f"messages: a text holds {self._counter.marker!r}, which llama.cpp takes for a picture")
        shown = [self._look_at(picture) for picture in pictures]
        if (size := sum(len(each.data) for each in shown)) > _MOST:
            raise MessageError(
                f"messages: the pixels of the pictures come to {size >> 20} MiB, and llama.cpp takes {_MOST >> 20} MiB "
                "in a request; make the pictures smaller, or show fewer"
            )
        made = tuple(each.facts(picture.place) for each, picture in zip(shown, pictures, strict=True))
        ids, prompt = self._encoded(pieces, pictures, shown)
        return ExpandedPrompt(ids, {PICTURE_PROMPT: prompt}, made)

    @cached_property
    def _counter(self) -> PictureCounter:
        return self._start_counter()

    @cached_property
    def _marks(self) -> tuple[list[int], list[int]]:
        return self._tokenizer.encode(self._projector.begin), self._tokenizer.encode(self._projector.end)

    @cached_property
    def _token(self) -> int:
        """The id that stands for a picture's vectors: the one of the model's own processor, where the vocabulary has
        it, else the unknown one."""
        vocabulary, name = self._tokenizer.vocabulary, self._projector.token or self.placeholder
        if name in vocabulary.texts:
            return vocabulary.texts.index(name)
        unknown = vocabulary.header.values.get("tokenizer.ggml.unknown_token_id")
        return unknown if isinstance(unknown, int) and 0 <= unknown < len(vocabulary.texts) else 0

    def _pieces(self, text: str) -> list[str]:
        """Return the texts between pictures, without what llama.cpp writes itself."""
        row = self._projector
        pieces = text.split(row.placeholder)
        for i in range(len(pieces) - 1) if row.written else ():
            if not pieces[i].endswith(row.begin) or not pieces[i + 1].startswith(row.end):
                raise MessageError(
                    f"messages: llama.cpp writes {row.begin!r} and {row.end!r} around a picture, and the chat template "
                    f"doesn't write them around {row.placeholder!r}; set custom_chat_template to one that does"
                )
            pieces[i] = pieces[i].removesuffix(row.begin)
            pieces[i + 1] = pieces[i + 1].removeprefix(row.end)
        last = len(pieces) - 1
        return [f"{row.after if i else ''}{p}{row.before if i < last else ''}" for i, p in enumerate(pieces)]

    def _look_at(self, picture: Picture) -> _Seen:
        with self._lock:
            found = self._kept.pop(picture.sha256, None) or self._look_anew(picture)
            self._kept[picture.sha256] = found
            while sum(len(each.data) for each in self._kept.values()) > _KEPT:
                self._kept.popitem(last=False)
        return found

    def _look_anew(self, picture: Picture) -> _Seen:
        """Hand over pixels, not the file: llama.cpp turns nothing upright, and reads fewer formats."""
        opened = open_picture(picture)
        file = io.BytesIO()
        opened.image.save(file, "PNG", compress_level=1)
        if file.tell() * 4 // 3 > _MOST:
            raise MessageError(
                f"{picture.place}: the picture's pixels come to {file.tell() >> 20} MiB, which is more than llama.cpp "
                f"takes in a request; make it smaller ({picture.source})"
            )
        data = base64.b64encode(file.getvalue()).decode()
        try:
            count = self._counter.count(picture.sha256, data)
        except EngineError as e:
            size = f"{picture.width} x {picture.height}"
            raise MessageError(f"{picture.place}: llama.cpp refuses the picture of {size} pixels: {e}") from e
        notes = tuple(note.removeprefix(picture.place) for note in opened.notes)
        return _Seen(data, count - sum(map(len, self._marks)), notes)

    def _encoded(
        self, pieces: Sequence[str], pictures: Sequence[Picture], shown: Sequence[_Seen]
    ) -> tuple[tuple[int, ...], PicturePrompt]:
        (begin, end), bos = self._marks, self._bos
        first = pieces[0] if bos is None else pieces[0].removeprefix(bos.text)
        texts = [first, *pieces[1:]]
        encoded = [self._tokenizer.encode(text) for text in texts]
        if bos is not None:
            encoded[0].insert(0, bos.id)  # llama.cpp puts it there
        for i in range(len(pictures)):
            encoded[i] += begin
            encoded[i + 1][:0] = end
        ids, key = list(encoded[0]), list(encoded[0])
        for picture, each, following in zip(pictures, shown, encoded[1:], strict=True):
            ids += [self._token] * each.tokens + following
            key += [-1 - int(picture.sha256[:15], 16)] * each.tokens + following
        prompt = PicturePrompt(
            self._counter.marker.join(texts),
            self._counter.marker,
            tuple(each.data for each in shown),
            tuple(key),
            tuple(self._tokenizer.decode(piece) for piece in encoded),
            self._projector.tiles,
            sum(picture.width * picture.height for picture in pictures),
        )
        return tuple(ids), prompt

    def facts(self) -> Mapping[str, Any]:
        return {
            "class": "llama.cpp",
            "xllamacpp": xllamacpp.__version__,
            "projector": self._kind,
            "mmproj": {"file": self._mmproj.name, "sha256": file_sha256(self._mmproj)},
            "pillow": installed_version("pillow"),
            **({"otherwise": self._otherwise} if self._otherwise is not None else {}),
        }


def _bos(mmproj: Path, tokenizer: GgufTokenizer) -> Bos | None:
    """Return the BOS that llama.cpp puts before a text with pictures; the same goes before one without here."""
    before, after = tokenizer.added_ids()
    if after:
        raise WeightsError(
            f"{mmproj.name}: llama.cpp would end every prompt with pictures by "
            f"{tokenizer.decode(after)!r}, as the model's file says (tokenizer.ggml.add_eos_token)"
        )
    return Bos(tokenizer.decode(before), before[0]) if before else None
