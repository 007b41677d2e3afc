"""Streams: on every engine and every wire the texts of a stream together are the text of the answer."""

from __future__ import annotations

import json
from datetime import datetime
from importlib.util import find_spec

import pytest

from playbill.backends import Model, ModelRegistry, ModelSpec, PromptPath, StopId, Stops, Template, load_model
from playbill.backends.answer.clean import CleaningRule
from playbill.runs import run
from support.letters import END, TEMPLATE, Letters

HELLO = [{"role": "user", "content": "hello"}]
CODE = "\n    return x  # a  b\n\n"
CHOICES = pytest.mark.parametrize("entry", [{}, {"white_space": "strip"}, {"white_space": "keep"}], ids=str)
WIRES = ["openai", "responses", "anthropic", "google"]


def same(model: Model, entry: dict, raw: str = CODE) -> None:
    """The stream is the text, and the text is what the entry says."""
    stream = model.stream(HELLO)
    shown = "".join(stream)
    generation = stream.generation
    assert shown == generation.text == (raw if entry.get("white_space") == "keep" else raw.strip())
    assert generation.raw.startswith(raw)
    assert model.generate(HELLO).text == shown
    assert "stream_differs" not in generation.details


@CHOICES
@pytest.mark.parametrize("wire", WIRES)
def test_a_services_stream(wire, entry, place):
    """White space in pieces of its own, at both ends, on each wire."""
    needs = {"google": "google.genai", "anthropic": "anthropic"}.get(wire, "openai")
    if not find_spec("h11") or not find_spec(needs.partition(".")[0]) or not find_spec(needs):
        pytest.skip(f"needs h11 and {needs}")
    from playbill.mock_services import Answer, MockServer

    with MockServer(Answer(CODE)) as server:
        spec = {"model_name": "m", "backend": wire, **entry}
        if wire in ("openai", "responses"):
            spec |= {"backend": "openai_compatible", "base_url": server.openai_url}
            spec |= {"api": "responses"} if wire == "responses" else {}
        else:
            (place / "key.json").write_text(json.dumps({wire: {"api_key": "key-number-1", "base_url": server.url}}))
        with load_model(spec, registry=ModelRegistry([])) as model:
            same(model, entry)


@CHOICES
def test_a_functions_stream(entry, place):
    """What the programmatic backend answers is cleaned as any other."""
    with load_model({"model_name": "m", "backend": "programmatic", "answers": [CODE], **entry}) as model:
        same(model, entry)


@CHOICES
def test_a_record_is_replayed_as_it_was_cleaned(entry, place):
    """A dialogue's answers are found again, whatever the entry of the model did with white space."""
    written = {"model_name": "m", "backend": "programmatic", "answers": [CODE], **entry}
    run([{"id": "d", "turns": ["hello", "again"]}], written, out=place / "run")
    again = {"model_name": "m", "backend": "replay", "records": str(place / "run" / "m")}
    result = run([{"id": "d", "turns": ["hello", "again"]}], again, out=place / "again")
    assert [r["outcome"] for r in result.records()] == ["answered", "answered"]
    wanted = CODE if entry.get("white_space") == "keep" else CODE.strip()
    assert [r["text"] for r in result.records()] == [wanted, wanted]
    with load_model(again) as model:
        assert "".join(model.stream(HELLO)) == wanted


@pytest.mark.parametrize("ahead", [False, True])
@CHOICES
def test_a_local_engines_stream(entry, ahead):
    """The engine that steps token by token, with an end token after the white space and a stop string inside it."""
    pytest.importorskip("torch")
    from playbill.backends.engines.huggingface_local.engine import TransformersEngine
    from playbill.backends.engines.huggingface_local.sampling import Pick

    class Script:
        most_rows = 3

        def __init__(self, said: str, ahead: bool) -> None:
            self.said, self.ahead = said + chr(END), ahead

        def advance(self, rows, meanwhile=bool):
            meanwhile()
            return [Pick(ord(self.said[min(len(row.new_ids), len(self.said) - 1)])) for row in rows]

        def finish(self, row):
            pass

        forget = finish

        def close(self):
            return

        def make_room(self):
            return False

    stops = Stops((StopId(END, chr(END), ("tokenizer",)),), ("\n\n##",))
    path = PromptPath(template=Template(TEMPLATE, "custom"), tokenizer=Letters(), stops=stops, date=datetime.now())
    for said, raw in ((CODE, CODE), (f"{CODE}\n\n## more", f"{CODE}"), ("\n\n#  a", "\n\n#  a")):
        engine = TransformersEngine(Script(said, ahead), vocabulary=128, decode=path.decode, facts=dict, threads=None)
        with Model(ModelSpec.from_dict({"model_name": "m", "backend": "b", **entry}), engine, path, "b") as model:
            same(model, entry, raw)


def test_a_manifest_of_an_older_version_is_gone_on_from(place):
    """The rule says what it didn't say before only where it is another than it was."""
    entry = {"model_name": "m", "backend": "programmatic", "answers": ["a"]}
    for white_space, written in (("strip", None), ("keep", True)):
        folder = place / white_space
        run([{"id": "d", "turns": ["hello"]}], {**entry, "white_space": white_space}, out=folder)
        cleaning = json.loads((folder / "manifest.json").read_text())["models"]["m"]["cleaning"]
        assert cleaning.get("keep_white_space") is written
        assert CleaningRule(**{**cleaning, "end_tokens": ()}).keep_white_space is bool(written)
