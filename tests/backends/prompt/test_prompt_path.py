"""The prompt path: which template, which stop ids, and who says so."""

from __future__ import annotations

from datetime import datetime

import pytest

from playbill.backends import EntryError, PlaybillError, PromptPath, Stops, Template, make_prompt
from playbill.backends.prompt.chat_template import pick_template
from playbill.backends.prompt.stops import closing_token, collect_stops

DATE = datetime(2026, 11, 23)
SPECIAL = {"<end>": 1, "<eos>": 2, "<begin>": 3}
CHAT = (
    "{% for m in messages %}<begin>{{ m.content }}<end>\n{% endfor %}{% if add_generation_prompt %}<begin>{% endif %}"
)


class Words:
    """A tokenizer of characters and three special tokens."""

    def encode(self, text):
        ids = []
        while text:
            token = next((t for t in SPECIAL if text.startswith(t)), text[0])
            ids.append(SPECIAL[token] if token in SPECIAL else ord(token))
            text = text[len(token) :]
        return ids

    def decode(self, ids):
        names = {i: token for token, i in SPECIAL.items()}
        return "".join(names.get(i) or chr(i) for i in ids)

    def special_ids(self):
        return frozenset(SPECIAL.values())

    def facts(self):
        return {}


def stops(template=CHAT, eos="<eos>", **declared):
    return collect_stops(Words(), Template(template, "custom"), DATE, eos_to_cull=eos, declared=declared)


def test_stop_ids_are_a_union_that_says_who_named_each():
    """The entry's, what tokenizer and generation config declare, and the token that closes a turn."""
    found = stops(eos=["<eos>", "<end>"], tokenizer=[2], generation_config=[2, 7])
    assert [(s.id, s.text, s.sources) for s in found.ids] == [
        (1, "<end>", ("entry", "template")),
        (2, "<eos>", ("entry", "tokenizer", "generation_config")),
        (7, "\x07", ("generation_config",)),
    ]
    assert (found.strings, found.id_set) == ((), {1, 2, 7})


def test_an_eos_that_is_no_single_token_stops_as_a_string():
    """And an empty one is none at all."""
    assert stops(eos=["</s>", ""]).strings == ("</s>",)
    assert stops(eos="").strings == ()


@pytest.mark.parametrize(
    ("template", "token"),
    [
        (CHAT, 1),
        (CHAT.replace("<end>", " \n<end>"), 1),
        (CHAT.replace("<end>", "---"), None),
        (CHAT.replace("<end>\n", ""), None),
        ("{{ raise_exception('no') }}", None),
        ("no answer in it", None),
    ],
)
def test_the_token_that_closes_an_assistants_turn_is_found_in_the_template(template, token):
    """White space may stand before it; where there is none, none is made up."""
    assert closing_token(Words(), Template(template, "custom"), DATE) == token


def test_the_entry_says_which_template_is_used():
    """The model's own, the entry's, or the generic one; each is named by its source."""
    for entry, source, text in (
        ({"premade_chat_template": True, "custom_chat_template": "mine"}, "premade", "own"),
        ({"premade_chat_template": False, "custom_chat_template": "mine"}, "custom", "mine"),
        ({"premade_chat_template": False}, "generic", "generic"),
    ):
        found = pick_template(entry, "own", {"bos_token": "b"}, "generic")
        assert (found.source, found.text, found.variables) == (source, text, {"bos_token": "b"})
    with pytest.raises(PlaybillError, match="premade_chat_template is true, but the model comes without"):
        pick_template({"model_name": "m", "premade_chat_template": True}, None, {}, "generic")


def test_chat_template_kwargs_are_variables_that_win():
    """But for those that are taken."""
    found = pick_template({"chat_template_kwargs": {"bos_token": "x", "think": False}}, None, {"bos_token": "b"}, "g")
    assert found.variables == {"bos_token": "x", "think": False}
    with pytest.raises(EntryError, match="can't set 'date'"):
        pick_template({"chat_template_kwargs": {"date": "x"}}, None, {}, "g")


def test_a_prompt_ends_where_the_answer_begins():
    """Its ids are those of its text, and the date is the path's own."""
    template = Template(CHAT + "{{ strftime_now('%d %b %Y') }}{{ extra }}", "custom", {"extra": "!"})
    path = PromptPath(template=template, tokenizer=Words(), stops=Stops(()), date=DATE)
    prompt = make_prompt({}, path, [{"role": "user", "content": "a"}])
    assert prompt.text == "<begin>a<end>\n<begin>23 Nov 2026!"
    assert prompt.ids == (3, 97, 1, 10, 3, *map(ord, "23 Nov 2026!"))
    assert path.decode(prompt.ids) == prompt.text


class Ends(Words):
    """The same with one special token, as Solar names it."""

    def encode(self, text):
        return super().encode(text.replace("<|end|>", "<end>"))

    def decode(self, ids):
        return super().decode(ids).replace("<end>", "<|end|>")


def test_a_token_that_closes_thinking_as_well_as_a_turn_is_no_stop_id():
    """Else a model that closes both with it would be stopped before it answers."""
    plain = "{{ messages[-1].content }}<|end|>"
    solar = "<|begin|>assistant<|content|>" + plain + "{# <|begin|>assistant<|think|> #}"
    assert closing_token(Ends(), Template(plain, "premade"), DATE) == SPECIAL["<end>"]
    assert closing_token(Ends(), Template(solar, "premade"), DATE) is None
