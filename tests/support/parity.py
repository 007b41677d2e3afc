"""`render` beside transformers' own `apply_chat_template`: a fixture with theirs, and the difference in words."""

from __future__ import annotations

from datetime import datetime

import pytest

from playbill.backends.errors import TemplateError, TemplateRefusal
from playbill.backends.prompt.template import render

SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


@pytest.fixture(scope="module")
def theirs():
    """transformers' own function, with a tokenizer that knows nothing but its special tokens."""
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed: pip install 'playbill[hf]'"
    )
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({token: i for i, token in enumerate(SPECIAL_TOKENS.values())}, "<unk>")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(model), **SPECIAL_TOKENS)

    def apply(template, messages, **variables):
        return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **variables)

    return apply


def outcome(function, template, messages, **variables):
    """The text, or the error."""
    try:
        return function(template, messages, **variables)
    except Exception as error:  # noqa: BLE001 - whatever is raised is compared
        return error


def difference(theirs, template, messages, **variables):
    """What is different between the two functions, in words; empty if nothing is."""
    while True:  # the date may change between the two calls
        now = datetime.now()
        expected = outcome(theirs, template, messages, **variables)
        found = outcome(render, template, messages, date=now, **SPECIAL_TOKENS, **variables)
        if now.date() == datetime.now().date():
            break
    if isinstance(expected, str) or isinstance(found, str):
        return "" if expected == found else f"{expected!r} became {found!r}"
    if not isinstance(found, TemplateError):
        return f"{found!r} is no TemplateError"
    if type(expected).__name__ == "TemplateError":
        return "" if isinstance(found, TemplateRefusal) and str(found) == str(expected) else f"{expected!r}: {found!r}"
    words = getattr(expected, "msg", None) or str(expected)
    return "" if words in str(found) else f"{expected!r} became {found!r}"
