"""A byte-level tokenizer without merges, with the special tokens that a kind of model has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def tiny_tokenizer(
    special: Sequence[str], *, named: Mapping[str, str] | None = None, adds_bos: bool = False, cls: Any = None
) -> Any:
    """Return a tokenizer of the 256 bytes and some special tokens; ``<s>``, ``</s>`` and ``<pad>`` come first.

    ``named`` are special tokens that a processor asks for by a name, as ``image_token``.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    first = ["<pad>", "<s>", "</s>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({piece: i for i, piece in enumerate([*first, *alphabet])}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    named = dict(named or {})
    inner.add_special_tokens([AddedToken(t, special=True) for t in [*first, *special, *named.values()]])
    if adds_bos:
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return (cls or PreTrainedTokenizerFast)(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=named,
        model_max_length=4096,
    )
