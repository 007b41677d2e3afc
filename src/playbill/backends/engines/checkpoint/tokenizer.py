"""Adapt transformers' tokenizers to ours: no token is added, none dropped, and white space stays."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from playbill.backends.common.packages import installed_version
from playbill.backends.common.warn import warn_once
from playbill.backends.engines.checkpoint.errors import panics_as_errors
from playbill.backends.engines.checkpoint.sentencepiece import load_slow
from playbill.backends.engines.checkpoint.source import Source
from playbill.backends.engines.detokenize import byte_of_character
from playbill.backends.errors import WeightsError
from playbill.backends.prompt.chat_template import named_template
from playbill.backends.prompt.tokenizer import Tokenizer
from playbill.backends.registry.fields.table import setting

__all__ = ["LoadedTokenizer", "TransformersTokenizer", "load_tokenizer"]

_BYTES = byte_of_character()
_BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")
_SPACE_MARK = "\u2581"


class TransformersTokenizer:
    """A tokenizer of transformers: fast (Rust), or a Python class of its own."""

    def __init__(self, tokenizer: Any, *, slow_asked: bool = False) -> None:
        self._tokenizer = tokenizer
        self._slow_asked = slow_asked
        self._rust = tokenizer.backend_tokenizer if tokenizer.is_fast else None
        self._adds_bos = tokenizer.bos_token_id is not None and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
        tokenizer.split_special_tokens = False
        if self._rust is not None:
            # The Rust tokenizer is used directly: transformers' wrapper changes its state on every call, which
            # other threads must not see. A tokenizer.json may carry truncation and padding from its training.
            self._rust.no_truncation()
            self._rust.no_padding()
            self._rust.encode_special_tokens = False

    def encode(self, text: str) -> list[int]:
        if self._rust is not None:
            with panics_as_errors("the tokenizer broke on this text"):
                return list(self._rust.encode(text, add_special_tokens=False).ids)
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        if self._rust is not None:
            with panics_as_errors("the tokenizer broke on these ids"):
                return str(self._rust.decode(list(ids), skip_special_tokens=False))
        text = self._tokenizer.decode(
            list(ids),
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
            spaces_between_special_tokens=False,
        )
        return str(text)

    def token_bytes(self, token: int) -> bytes:
        if self._rust is None or token in self._added:
            return self.decode([token]).encode()
        piece = str(self._rust.id_to_token(token) or "")
        if "ByteLevel" in self._decoder and all(character in _BYTES for character in piece):
            return bytes(_BYTES[character] for character in piece)
        if "ByteFallback" in self._decoder:
            if _BYTE_PIECE.fullmatch(piece):
                return bytes([int(piece[3:5], 16)])
            return piece.replace(_SPACE_MARK, " ").encode()
        return self.decode([token]).encode()

    @cached_property
    def _added(self) -> frozenset[int]:
        return frozenset(self._tokenizer.added_tokens_decoder)

    @cached_property
    def _decoder(self) -> str:
        """What the Rust tokenizer's decoder says of itself, its steps by name."""
        decoder = self._rust.decoder if self._rust is not None else None
        return decoder.__getstate__().decode() if decoder is not None else ""

    def special_ids(self) -> frozenset[int]:
        added = self._tokenizer.added_tokens_decoder.items()
        return frozenset([*self._tokenizer.all_special_ids, *(i for i, token in added if token.special)])

    def facts(self) -> Mapping[str, Any]:
        return {
            "class": type(self._tokenizer).__name__,
            "slow": self._rust is None,
            "slow_asked": self._slow_asked,
            "adds_bos": self._adds_bos,
            "transformers": installed_version("transformers"),
            "tokenizers": installed_version("tokenizers"),
        }


@dataclass(frozen=True, slots=True)
class LoadedTokenizer:
    """The tokenizer in use, and what its repository says beside it: special tokens, EOS, the templates."""

    tokenizer: Tokenizer
    special_tokens: Mapping[str, str]
    eos_ids: tuple[int, ...]
    chat_template: str | None
    response_template: Any = None
    adds_bos: tuple[str, int] | None = None
    """BOS, as text and id, where the tokenizer itself puts it before a text."""


def load_tokenizer(
    entry: Mapping[str, Any], source: Source, *, trust: bool, own_templates: Any = None
) -> LoadedTokenizer:
    """Return the tokenizer that an entry asks for. Where it asks for a slow one and there is none, that is warned
    of. ``own_templates`` are those of the model's processor, which win over the tokenizer's."""
    from transformers import AutoTokenizer

    options = {**source.options, "trust_remote_code": trust}
    if gguf := entry.get("gguf_file"):
        options["gguf_file"] = gguf
    # mistral-common's own tokenizers never recognise a special token in a text, and prompts are texts here.
    raw = AutoTokenizer.from_pretrained(source.name, mistral_format=False, **options)
    return LoadedTokenizer(
        tokenizer=_chosen(entry, source, raw),
        special_tokens={name: str(token) for name, token in raw.special_tokens_map.items()},
        eos_ids=() if raw.eos_token_id is None else (int(raw.eos_token_id),),
        chat_template=named_template(entry, _templates(own_templates or raw.chat_template or _of_file(source))),
        response_template=getattr(raw, "response_template", None),
        adds_bos=_adds_bos(raw),
    )


def _adds_bos(raw: Any) -> tuple[str, int] | None:
    if raw.bos_token_id is None or list(raw("").input_ids) != [raw.bos_token_id]:
        return None
    return str(raw.bos_token), int(raw.bos_token_id)


def _of_file(source: Source) -> Any:
    """Return the template of chat_template.json, which a processor reads and a tokenizer doesn't."""
    path = source.folder / "chat_template.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError) as e:
        raise WeightsError(f"{path} is not JSON: {e}") from e
    return found.get("chat_template") if isinstance(found, dict) else None


def _chosen(entry: Mapping[str, Any], source: Source, raw: Any) -> Tokenizer:
    slow_asked = setting(entry, "slow_tokenizer")
    if not slow_asked or not raw.is_fast:
        return TransformersTokenizer(raw, slow_asked=slow_asked)
    slow = load_slow(source, raw)
    if slow is not None:
        return slow
    warn_once(
        f"{entry.get('model_name')}: slow_tokenizer is true, but the model brings no SentencePiece file that fits, and "
        f"transformers {installed_version('transformers')} has no Python tokenizer for it; the fast one "
        f"({type(raw).__name__}) is used, whose ids may differ from its training's"
    )
    return TransformersTokenizer(raw, slow_asked=True)


def _templates(template: Any) -> dict[str, str]:
    """Return a tokenizer's chat templates by their names; one without a name is the default."""
    return dict(template) if isinstance(template, Mapping) else {"default": template} if template else {}
