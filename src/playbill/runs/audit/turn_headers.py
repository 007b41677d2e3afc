"""Find the headers of turns in a rendered prompt, over the families of chat templates."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

__all__ = ["Header", "headers"]

_BAR = "\uff5c"  # the bar that DeepSeek's special tokens have


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
    """Return the headers of the turns in a rendered prompt; plain ones only where there are no special tokens for it.

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
