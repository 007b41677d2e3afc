"""A tokenizer of letters and a template for it, for models without weights."""

from __future__ import annotations

END = 0
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


class Letters:
    """A tokenizer whose tokens are characters; NUL is its end token."""

    def encode(self, text):
        return [ord(c) for c in text]

    def decode(self, ids):
        return "".join(map(chr, ids))

    def special_ids(self):
        return frozenset({END})

    def facts(self):
        return {}
