"""A model that thinks under huggingface_local: its real engine, and in place of weights a script of what comes next."""

from __future__ import annotations

from datetime import datetime

import pytest

from playbill.backends import Model, ModelSpec, PromptPath, StopId, Stops, Template
from support.letters import END, TEMPLATE, Letters

pytest.importorskip("torch")
VOCABULARY = 128


class Script:
    """A decoder whose next token is the next character of what the conversation's last message says."""

    most_rows = 3

    def __init__(self, ahead):
        self.ahead = ahead

    def advance(self, rows, meanwhile=bool):
        meanwhile()
        return [self._next(row) for row in rows]

    def _next(self, row):
        from playbill.backends.engines.huggingface_local.sampling import Pick

        prompt = "".join(map(chr, row.ids[: len(row.ids) - len(row.new_ids)]))
        script = prompt.rpartition("<user>")[2].partition("<assistant>")[0] + chr(END)
        return Pick(ord(script[min(len(row.new_ids), len(script) - 1)]))

    def finish(self, row):
        pass

    def forget(self, row):
        pass

    def close(self):
        return

    def make_room(self):
        return False


@pytest.fixture(params=[False, True], ids=["", "ahead"])
def thinker(request):
    """Makes models over the scripted engine, which looks at text at once or a step later; each ends with the test."""
    from playbill.backends.engines.huggingface_local.engine import TransformersEngine

    made = []

    def make(template: str = TEMPLATE, **keys):
        path = PromptPath(
            template=Template(template, "custom"),
            tokenizer=Letters(),
            stops=Stops((StopId(END, chr(END), ("tokenizer",)),)),
            date=datetime(2026, 11, 23),
        )
        engine = TransformersEngine(
            Script(request.param), vocabulary=VOCABULARY, decode=path.decode, facts=dict, threads=None
        )
        entry = {"model_name": "m", "backend": "b", "cot_start_tag": "<t>", "cot_end_tag": "</t>", **keys}
        made.append(Model(ModelSpec.from_dict(entry), engine, path, "b"))
        return made[-1]

    yield make
    for model in made:
        model.close()


def said(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


CASES = [
    # what the model would write, budgets of thinking and answer, raw, text, thinking, outcome, thinking tokens
    ("<t>why</t>so", (20, 20), "<t>why</t>so\0", "so", "why", "answered", 10),
    ("<t>why</t>so be it", (20, 2), "<t>why</t>so", "so", "why", "truncated", 10),
    ("<t>why why why</t>so", (7, 20), "<t>why ", "", "why", "truncated_in_thinking", 7),
    ("<t>why</t>so", (9, 20), "<t>why</t", "", "why</t", "truncated_in_thinking", 9),
    ("plain", (9, 20), "plain\0", "plain", None, "answered", 0),
    ("plain", (9, 3), "pla", "pla", None, "truncated", 0),
    ("<t>a<t>b</t>c</t>so", (20, 20), "<t>a<t>b</t>c</t>so\0", "so", "a<t>b</t>c", "answered", 17),
    ("<t>a<t>b</t>cde</t>so", (20, 2), "<t>a<t>b</t>cd", "", "a<t>b</t>cd", "truncated_in_thinking", 12),
    ("<t>a</t>x<t>b</t>so", (20, 20), "<t>a</t>x<t>b</t>so\0", "so", "a</t>x<t>b", "answered", 17),
    ("<t>a</t>so<t>bcde", (12, 9), "<t>a</t>so<t>b", "so", "a\n\nb", "truncated", 12),
    ("<t>why", (20, 20), "<t>why\0", "", "why", "empty", 7),
    ("<t>why</t>", (20, 20), "<t>why</t>\0", "", "why", "empty", 10),
]


def test_budgets_outcomes_and_texts_of_answers_made_together(thinker):
    """Each budget is kept to the token, whatever the neighbours; no answer holds thinking."""
    model = thinker()
    futures = [model.submit(said(case[0]), max_thinking_tokens=case[1][0], max_tokens=case[1][1]) for case in CASES]
    for case, future in zip(CASES, futures, strict=True):
        g = future.result(30)
        assert (g.raw, g.text, g.thinking, g.outcome, g.usage.thinking_tokens) == case[2:], case[0]
        if g.finish_reason == "length":
            limit = "max_thinking_tokens" if g.usage.thinking_tokens == case[1][0] else "max_tokens"
            assert g.finish_reason_raw == limit


def test_thinking_that_the_prompt_opened(thinker):
    """The text begins inside; the start tag is nowhere in it, or there once more."""
    model = thinker(TEMPLATE.replace("<assistant>{%", "<assistant><t>\n{%"))
    assert model.generate(said("x")).prompt.endswith("<assistant><t>\n")
    opened = {
        "hm</t>so": ("so", "hm", "answered"),
        "hm": ("", "hm", "empty"),
        "<t>hm</t>so": ("so", "hm", "answered"),
    }
    for raw, wanted in opened.items():
        g = model.generate(said(raw))
        assert (g.text, g.thinking, g.outcome) == wanted
    cut = model.generate(said("hm hm</t>so"), max_thinking_tokens=3)
    assert (cut.text, cut.thinking, cut.outcome) == ("", "hm", "truncated_in_thinking")
    assert cut.params.effective["max_thinking_tokens"] == 3


def test_stop_strings_and_streams_go_on_around_thinking(thinker):
    """A stop string ends the generation wherever it comes; what is streamed is the answer, once it is known."""
    model = thinker()
    stopped = model.generate(said("<t>why</t>so STOP it"), stop="STOP")
    assert (stopped.text, stopped.thinking, stopped.outcome) == ("so", "why", "answered")
    early = model.generate(said("<t>why STOP</t>so"), stop="STOP")
    assert (early.text, early.thinking, early.outcome) == ("", "why", "empty")
    assert "".join(model.stream(said("<t>why</t>so"))) == "so"


def test_a_budget_for_thinking_needs_to_know_where_thinking_ends(thinker):
    """Asked of a model of which nobody says it, it is an error and not ignored."""
    from playbill.backends import ParameterError

    with pytest.raises(ParameterError, match="max_thinking_tokens"):
        thinker(cot_start_tag=None, cot_end_tag=None).generate(said("x"), max_thinking_tokens=3)
