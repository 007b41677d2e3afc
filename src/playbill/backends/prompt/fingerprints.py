"""Fingerprints of chat templates and tokenizers: what two of them have in common exactly when they do the same."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress

from playbill.backends.errors import PlaybillError
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.prompt.tokenizer import Tokenizer
from playbill.backends.registry.stamps.stamp import Content

__all__ = ["content_of", "template_fingerprint", "tokenizer_fingerprint"]

_PROBES = (
    "The quick brown fox jumps over the lazy dog, doesn't it? 'Yes', she'd said; we've seen THEM.",
    "  two spaces,\ta tab,\n\na blank line,\r\n   and the end   ",
    "0 1 12 123 1234 12345 3.14159 1,000,000 -7 1e-5 0x1F 2026-11-26",
    "def f(x: int) -> str:\n    return f\"{x!r}\" if x != 0 else None  # {'a': [1, 2]}",
    "Größe, naïve, señor, çà, Łódź, İstanbul, œuvre, ångström, Reykjavík, e\u0301",
    "Съешь же ещё этих мягких французских булок. Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.",
    "我能吞下玻璃而不伤身体。いろはにほへと、カタカナ。나는 유리를 먹을 수 있어요.",
    "أنا قادر على أكل الزجاج. אני יכול לאכול זכוכית. मैं काँच खा सकता हूँ। ฉันกินกระจกได้",
    "😀👩‍👩‍👧🏳️‍🌈🇩🇪 ½ ² ∑ → ≠ “quotes” ‘single’ – — … \u00a0\u200b\ufeff",
    "<s></s><unk><|endoftext|><|im_start|>user\nHi<|im_end|><|eot_id|><think>x</think>[INST] [/INST]<start_of_turn>",
)


def content_of(weights: str | None, path: PromptPath | None) -> Content:
    """Return what a stamp compares: the weights' identity, and the fingerprints of a prompt path."""
    if path is None:
        return Content(weights)
    return Content(weights, template_fingerprint(path.template.text), tokenizer_fingerprint(path.tokenizer))


def template_fingerprint(text: str) -> str:
    """Return the hash of a template's text; a line end at its end, which Jinja drops, counts for nothing."""
    return _hash(text.removesuffix("\n"))


def tokenizer_fingerprint(tokenizer: Tokenizer) -> str:
    """Return the hash of what a tokenizer does: the ids of texts in many scripts, and its special tokens.

    It asks for no file of an engine's, and is another as soon as an update of its library gives other ids.
    """
    ids: list[list[int] | None] = []
    for probe in _PROBES:
        ids.append(None)
        with suppress(PlaybillError):  # a text that this tokenizer can't take is a part of what it does
            ids[-1] = [int(i) for i in tokenizer.encode(probe)]
    special = [[i, tokenizer.decode([i])] for i in sorted(tokenizer.special_ids())]
    return _hash(json.dumps([ids, special]))


def _hash(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"
