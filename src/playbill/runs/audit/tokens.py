"""What special tokens and turn headers look like in text, over the families of chat templates.

A record seldom says which tokens were special, so they are known by their shape. Knows no record and no rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

__all__ = [
    "Header",
    "THINKING_TAGS",
    "bos_repeated",
    "end_tokens",
    "headers",
    "is_end",
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

THINKING_TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
"""The tags around thinking that models were trained with."""


_OPENING = tuple(start for start, _ in THINKING_TAGS)


def special_tokens(text: str) -> list[str]:
    """The special tokens in a text, in order.

    >>> special_tokens("CLUE: a duty <end_of_turn><eos>")
    ['<end_of_turn>', '<eos>']
    """
    if "<" not in text and "[" not in text:
        return []
    return _SPECIAL.findall(text)


def without_special(text: str) -> str:
    return _SPECIAL.sub(" ", text)


def is_end(token: str) -> bool:
    """Whether a special token ends a turn or a text."""
    return token in _END


def end_tokens(text: str) -> list[str]:
    """The special tokens in a text that end a turn or the whole, in order."""
    return [token for token in special_tokens(text) if token in _END]


def trailing_tokens(text: str) -> list[str]:
    """The special tokens that a text ends with, white space between them aside."""
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
    """The beginning-of-text token that a text starts with twice, if it does."""
    match = _TWICE_BOS.match(text)
    return match[1] if match else None


class Header(NamedTuple):
    """Where a turn begins in a rendered prompt: its role, where its header starts and where it ends.

    ``plain`` headers are ordinary text (``USER:``), which a message may hold too.
    """

    role: str
    start: int
    end: int
    plain: bool = False


_TOKEN_HEADER = re.compile(
    r"<(?:"
    r"\|im_start\|>[ ]?(\w+)"
    r"|\|start_header_id\|>\s*(\w+)\s*<\|end_header_id\|>"
    r"|\|header_start\|>(\w+)<\|header_end\|>"
    r"|start_of_turn>\s*(\w+)"
    r"|\|start_of_role\|>(\w+)<\|end_of_role\|>"
    r"|\|start\|>(\w+)"
    r"|\|(USER|CHATBOT|SYSTEM)_TOKEN\|>"
    r"|\|(user|assistant|system|model|bot|observation|tool)\|>"
    rf"|{_BAR}(User|Assistant|System){_BAR}>"
    r"|extra_id_\d>(User|Assistant|System)"
    r")|\[(?:\|(user|assistant|system)\|\]|(/?INST)\])"
)
_PLAIN_HEADER = re.compile(
    r"(?:^|\n|<\|end_of_turn\|>|</s>|<s>|[.!?] )\s*"
    r"(?:GPT4 Correct |### )?(User|USER|Human|Instruction|Assistant|ASSISTANT|Response|AI|Falcon|System|SYSTEM):"
)
_ROLES = {
    "human": "user",
    "instruction": "user",
    "inst": "user",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "response": "assistant",
    "ai": "assistant",
    "falcon": "assistant",
    "/inst": "assistant",
    "developer": "system",
    "ipython": "tool",
    "observation": "tool",
}


@lru_cache(maxsize=4)
def headers(prompt: str) -> tuple[Header, ...]:
    """The headers of the turns in a rendered prompt; plain ones only where there are no special tokens for it.

    >>> [h.role for h in headers("<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n")]
    ['user', 'assistant']
    """
    if "<" in prompt or "[" in prompt:
        found = tuple([_header(m, False) for m in _TOKEN_HEADER.finditer(prompt)])
        if found:
            return found
    return tuple([_header(m, True) for m in _PLAIN_HEADER.finditer(prompt)])


def _header(match: re.Match[str], plain: bool) -> Header:
    word = match[match.lastindex or 0].lower()
    return Header(_ROLES.get(word, word), match.start(), match.end(), plain)


def opens_thinking(prompt: str, tags: Iterable[tuple[str, str]] = THINKING_TAGS) -> tuple[str, str] | None:
    """The pair of tags whose first one a prompt ends with, so that the answer begins inside the thinking."""
    tail = prompt[-80:].rstrip()
    if not tail.endswith((">", "]")) or (tags is THINKING_TAGS and not tail.endswith(_OPENING)):
        return None
    return next((pair for pair in tags if tail.endswith(pair[0])), None)
