"""What special tokens look like in text, over the families of chat templates.

A record seldom says which tokens were special, so they are known by their shape. Thinking tags have their home in
`playbill.backends.prompt.thinking_families`. Knows no record and no rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from playbill.backends.prompt.thinking_families import THINKING_TAGS, Tags

__all__ = [
    "bos_repeated",
    "end_tokens",
    "is_end",
    "is_padded",
    "opens_thinking",
    "special_tokens",
    "trailing_tokens",
    "without_special",
]

# Each pattern begins with one of two characters, so that the search for it skips what is neither.
_BAR = "\uff5c"  # the bar that DeepSeek's special tokens have
_SPECIAL = re.compile(
    r"<(?:"
    r"\|[A-Za-z][^<>|\n]{0,40}\|>"  # <|im_end|>, <|eot_id|>, <|END_OF_TURN_TOKEN|>
    rf"|{_BAR}[^<>{_BAR}\n]{{1,40}}{_BAR}>"
    r"|/?s>|(?:bos|eos|pad|unk)>|(?:BOS|EOS|PAD)_TOKEN>"
    r"|(?:start|end)_of_(?:turn|utterance|text)>"
    r"|</?SYS>>|extra_id_\d+>|unused\d+>"
    r")|\[(?:/?INST\]|\|[a-z]{1,20}\|\])"  # Llama 2's and Mistral's, EXAONE's
)

_END = frozenset(
    {
        "</s>",
        "<eos>",
        "<EOS_TOKEN>",
        "<end_of_turn>",
        "<end_of_utterance>",
        "<end_of_text>",
        "<|im_end|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|eot|>",
        "<|EOT|>",
        "<|eos|>",
        "<|eom|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|end_of_text|>",
        "<|endoftext|>",
        "<|end_of_turn|>",
        "<|endofturn|>",
        "<|END_OF_TURN_TOKEN|>",
        "<|end_of_sentence|>",
        "<|end_of_utterance|>",
        "<|assistant_end|>",
        f"<{_BAR}end▁of▁sentence{_BAR}>",
        "<|end▁of▁sentence|>",
        "[|endofturn|]",
    }
)
_BOS = (
    "<s>",
    "<bos>",
    "<BOS_TOKEN>",
    "<|begin_of_text|>",
    "<|startoftext|>",
    "<|bos|>",
    f"<{_BAR}begin▁of▁sentence{_BAR}>",
    "<|begin▁of▁sentence|>",
    "[BOS]",
)
_TWICE_BOS = re.compile(r"\s*(?:<pad>|\[PAD\]|</s>)*\s*(" + "|".join(map(re.escape, _BOS)) + r")\s*\1")

_STARTS = tuple(tags.start for tags in THINKING_TAGS if tags.start is not None)


_PAD = re.compile(r"\s*(?:<pad>|\[PAD\]|<\|pad\|>|<\|padding\|>)", re.IGNORECASE)
_REPEATED = re.compile(r"\s*(<[^<>\s]{1,40}>)\1\1")


def is_padded(prompt: str) -> bool:
    """Tell whether a decoded prompt begins with padding, so that a batch padded the ends of its answers as well.

    >>> is_padded("<PAD><PAD><BOS_TOKEN>Hello."), is_padded("<s>Hello.")
    (True, False)
    """
    repeated = _REPEATED.match(prompt)
    return bool(_PAD.match(prompt)) or bool(repeated and is_end(repeated[1]))


def special_tokens(text: str) -> list[str]:
    """Return the special tokens in a text, in order.

    >>> special_tokens("CLUE: a duty <end_of_turn><eos>")
    ['<end_of_turn>', '<eos>']
    """
    if "<" not in text and "[" not in text:
        return []
    return _SPECIAL.findall(text)


def without_special(text: str) -> str:
    return _SPECIAL.sub(" ", text)


def is_end(token: str) -> bool:
    """Tell whether a special token ends a turn or a text."""
    return token in _END


def end_tokens(text: str) -> list[str]:
    """Return the special tokens in a text that end a turn or the whole, in order."""
    return [token for token in special_tokens(text) if token in _END]


def trailing_tokens(text: str) -> list[str]:
    """Return the special tokens that a text ends with, white space between them aside."""
    found: list[str] = []
    rest = text.rstrip()
    while rest.endswith((">", "]")):
        start = max(rest.rfind("<"), rest.rfind("["))
        if start < 0 or not _SPECIAL.fullmatch(rest, start):
            break
        found.insert(0, rest[start:])
        rest = rest[:start].rstrip()
    return found


def bos_repeated(text: str) -> str | None:
    """Return the beginning-of-text token that a text starts with twice, if it does."""
    match = _TWICE_BOS.match(text)
    return match[1] if match else None


def opens_thinking(prompt: str, tags: Iterable[Tags] = THINKING_TAGS) -> Tags | None:
    """Return the tags with whose start a prompt ends, so that the answer begins inside the thinking."""
    tail = prompt[-80:].rstrip()
    if tags is THINKING_TAGS and not tail.endswith(_STARTS):
        return None
    return next((pair for pair in tags if pair.start and tail.endswith(pair.start)), None)
