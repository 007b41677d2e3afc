"""The Model: messages to a Generation, for every engine and every fate."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, wait
from datetime import datetime

import pytest

from playbill.backends import (
    Completion,
    ContextExceeded,
    EngineError,
    FinishReason,
    Generation,
    MessageError,
    Model,
    ModelRegistry,
    ModelSpec,
    Outcome,
    ParameterError,
    PromptPath,
    Refused,
    StopId,
    Stops,
    Template,
    TemplateRefusal,
    load_model,
    load_prompt_path,
    model_from_function,
)
from playbill.backends.engines.threads import Threads
from support.letters import END, TEMPLATE, Letters

HELLO = [{"role": "user", "content": "hello"}]


class Local:
    """An engine that answers as a function of the request says: ids in, ids out, in threads of its own."""

    supported_parameters = frozenset({"temperature", "max_tokens", "stop"})
    concurrency = 2

    def __init__(self, answer):
        self._answer = answer
        self._threads = Threads(self._complete, 2, "local")
        self.requests = []

    def _complete(self, request, on_text, stop_wanted):
        self.requests.append(request)
        answer = self._answer(request)
        if isinstance(answer, Completion):
            return answer
        ids = [*map(ord, answer), END][: request.params["max_tokens"]]
        for i in ids:
            if on_text is not None:
                on_text(chr(i))
        return Completion(
            output_ids=tuple(ids), finish_reason=FinishReason.STOP if ids[-1] == END else FinishReason.LENGTH
        )

    def submit(self, request, on_text=None):
        return self._threads.submit(request, on_text)

    def close(self):
        self._threads.close()

    def facts(self):
        return {}


def model(answer, *, context_size=None, template=TEMPLATE, **entry):
    """A local model: a real template, a tokenizer of characters, and an engine that does as it is told."""
    stops = Stops((StopId(END, chr(END), ("tokenizer",)),), ("STOP",))
    path = PromptPath(
        template=Template(template, "custom"),
        tokenizer=Letters(),
        stops=stops,
        date=datetime(2026, 11, 23),
        context_size=context_size,
    )
    engine = Local(answer if callable(answer) else lambda request: answer)
    return Model(ModelSpec.from_dict({"model_name": "m", "backend": "b", **entry}), engine, path, "b")


def test_ids_go_in_and_the_new_ids_come_out():
    """The prompt is rendered, encoded without anything added, and never searched for in the answer."""
    with model("<user>hello") as m:
        g = m.generate(HELLO)
        assert m.engine.requests[0].prompt_ids == g.prompt_ids == tuple(map(ord, "<user>hello<assistant>"))
    assert (g.prompt, g.text, g.raw) == ("<user>hello<assistant>", "<user>hello", "<user>hello\0")
    assert g.output_ids == tuple(map(ord, "<user>hello\0"))
    assert (g.usage.input_tokens, g.usage.output_tokens) == (22, 12)
    assert m.engine.requests[0].stop_ids == {END}
    assert m.engine.requests[0].stop_strings == ("STOP",)


def test_asked_and_effective_parameters_are_both_recorded():
    """Defaults are in effect and not asked; the caller's win over the entry's."""
    with model("a", temperature=0.5) as m:
        params = m.generate(HELLO, max_tokens=7).params
    assert params.asked == {"temperature": 0.5, "max_tokens": 7}
    assert params.effective == {"temperature": 0.5, "max_tokens": 7}


def test_a_stop_string_that_ended_nothing_stays_and_the_record_says_from_where_it_did():
    """As one that an engine saw in a special token's text, or not at all."""
    text = "a STOP b STOP"
    with model(Completion(output_ids=[*map(ord, text)], finish_reason=FinishReason.STOP, stop_string="STOP")) as m:
        g = m.generate(HELLO)
        assert (g.text, g.details) == ("a STOP b", {"stop_string": "STOP", "stop_from": 9})
    once = Completion(output_ids=[*map(ord, "a STOP")], finish_reason=FinishReason.STOP, stop_string="STOP")
    with model(once) as m:
        assert m.generate(HELLO).details == {"stop_string": "STOP"}


def test_what_the_engine_did_otherwise_is_effective():
    """A completion may say that a parameter turned out otherwise."""
    with model(Completion(output_ids=(65,), finish_reason=FinishReason.STOP, effective={"temperature": 1.0})) as m:
        assert m.generate(HELLO).params.effective["temperature"] == 1.0


def test_max_tokens_is_capped_by_the_room_in_the_context():
    """Asked says what was asked, effective what was possible; reaching it is truncation."""
    with model("a" * 50, context_size=32) as m:
        g = m.generate(HELLO, max_tokens=40)
    assert (g.params.asked["max_tokens"], g.params.effective["max_tokens"]) == (40, 10)
    assert (g.outcome, len(g.output_ids)) == (Outcome.TRUNCATED, 10)


@pytest.mark.parametrize(("context_size", "outcome"), [(22, Outcome.CONTEXT_EXCEEDED), (23, Outcome.EMPTY)])
def test_a_prompt_that_leaves_no_room_is_context_exceeded(context_size, outcome):
    """Nothing is sent then; room for one token is room."""
    with model("", context_size=context_size) as m:
        g = m.generate(HELLO)
        assert g.outcome is outcome
        assert len(m.engine.requests) == (outcome is Outcome.EMPTY)
        if outcome is Outcome.CONTEXT_EXCEEDED:
            assert "22 tokens" in g.error["message"]
            with pytest.raises(ContextExceeded):
                m.generate_response(HELLO)


def completion(text, reason=FinishReason.STOP, **more):
    return Completion(output_ids=tuple(map(ord, text)), finish_reason=reason, **more)


@pytest.mark.parametrize(
    ("answer", "outcome", "text", "thinking"),
    [
        (completion("so\0"), "answered", "so", None),
        (completion("so", FinishReason.LENGTH), "truncated", "so", None),
        (completion("  \0"), "empty", "", None),
        (completion(" ", FinishReason.LENGTH), "empty", "", None),
        (completion("<t>hm</t>so\0"), "answered", "so", "hm"),
        (completion("<t>hm", FinishReason.LENGTH), "truncated_in_thinking", "", "hm"),
        (completion("<t>hm</t>", FinishReason.LENGTH), "truncated_in_thinking", "", "hm"),
        (completion("<t>hm\0"), "empty", "", "hm"),
        (completion("", FinishReason.REFUSED, finish_reason_raw="policy"), "refused", "", None),
    ],
)
def test_every_outcome_has_its_type(answer, outcome, text, thinking):
    """An answer is never filled from thinking, and a failure is never an empty string."""
    with model(answer, cot_start_tag="<t>", cot_end_tag="</t>") as m:
        g = m.generate(HELLO)
    assert (g.outcome, g.text, g.thinking) == (outcome, text, thinking)
    assert g.outcome.goes_on == (outcome in ("answered", "truncated"))
    assert (g.error is not None) == (outcome == "refused")


def test_thinking_that_the_prompt_opened_is_thinking():
    """The template may end inside it."""
    opened = TEMPLATE.replace("<assistant>", "<assistant><t>\n")
    with model("hm</t>so", template=opened, cot_start_tag="<t>", cot_end_tag="</t>") as m:
        g = m.generate(HELLO)
    assert (g.text, g.thinking) == ("so", "hm")


def test_the_entrys_cleaning_keys_are_read():
    """eos_to_cull and output_split_prefix; raw keeps all."""
    with model("assistant: so<e><e>", eos_to_cull="<e>", output_split_prefix="assistant:") as m:
        g = m.generate(HELLO)
    assert (g.text, g.raw) == ("so", "assistant: so<e><e>\0")


@pytest.mark.parametrize(
    ("error", "outcome", "raised"),
    [
        (EngineError("broken"), Outcome.ERROR, EngineError),
        (Refused("no"), Outcome.REFUSED, Refused),
        (ContextExceeded("long"), Outcome.CONTEXT_EXCEEDED, ContextExceeded),
        (ZeroDivisionError("oops"), Outcome.ERROR, EngineError),
        (SystemExit(3), Outcome.ERROR, EngineError),
    ],
)
def test_an_engines_failure_is_an_outcome_and_generate_response_raises(error, outcome, raised):
    """In generate, generate_batch, submit and stream alike."""

    def fail(request):
        raise error

    with model(fail) as m:
        stream = m.stream(HELLO)
        assert list(stream) == []
        for g in (m.generate(HELLO), *m.generate_batch([HELLO]), m.submit(HELLO).result(10), stream.generation):
            assert (g.outcome, g.text, g.error["type"]) == (outcome, "", type(error).__name__)
            assert g.prompt == "<user>hello<assistant>"
        with pytest.raises(raised):
            m.generate_response(HELLO)


def test_a_conversation_that_the_template_refuses_raises_and_one_that_breaks_it_does_not():
    """The first is the caller's to mend, the second this dialogue's fate."""
    with model("a", template="{{ raise_exception('no system') }}") as m:
        for use in (m.generate, m.submit, m.generate_response, lambda x: m.generate_batch([x])):
            with pytest.raises(TemplateRefusal, match="no system"):
                use(HELLO)
    with model("a", template="{{ messages[0].nothing.at_all }}") as m:
        g = m.generate(HELLO)
        assert (g.outcome, g.error["type"]) == (Outcome.ERROR, "TemplateError")


def test_what_is_malformed_or_unknown_raises_before_anything_is_sent():
    """Messages and parameters."""
    with model("a") as m:
        with pytest.raises(MessageError):
            m.generate([])
        with pytest.raises(ParameterError, match="did you mean 'temperature'"):
            m.generate(HELLO, temprature=1)
        with pytest.raises(ParameterError, match="the backend b can't honour 'top_k'"):
            m.generate(HELLO, top_k=1)
        assert m.engine.requests == []


def test_a_batch_stands_in_the_order_of_its_messages():
    """However the engine's threads come along."""
    with model(lambda request: chr(request.prompt_ids[6])) as m:
        batch = m.generate_batch([[{"role": "user", "content": c}] for c in "abcdefghij"])
    assert "".join(g.text for g in batch) == "abcdefghij"
    with model("a") as m:
        assert m.generate_batch([]) == []


def test_one_malformed_member_of_a_batch_ends_it_and_leaves_nothing_running():
    """The rest is cancelled."""
    with model("a") as m:
        with pytest.raises(MessageError):
            m.generate_batch([HELLO, [], HELLO])


def test_changes_of_the_messages_are_told():
    """What was merged is in the generation, and a backend that must not gets an error."""
    with model("a") as m:
        g = m.generate([*HELLO, {"role": "user", "content": "you"}])
    assert (g.prompt, len(g.changes)) == ("<user>hello\n\nyou<assistant>", 1)
    with model("a", consecutive_roles="keep") as m:
        assert m.generate([*HELLO, *HELLO]).changes == ()


def test_text_streams_as_it_comes_and_the_generation_is_there_after():
    """The pieces are the answer's text; asking again for pieces gives none."""
    with model("abc") as m:
        stream = m.stream(HELLO)
        assert list(stream) == ["a", "b", "c"]
        assert list(stream) == []
        assert stream.generation.text == "abc"


def test_what_on_text_raises_reaches_who_waits():
    """It is the caller's own fault: neither swallowed nor recorded as the model's. It isn't called again."""
    heard = []

    def listen(text):
        heard.append(text)
        raise LookupError("my own bug")

    with model("abc") as m:
        with pytest.raises(LookupError, match="my own bug"):
            m.submit(HELLO, on_text=listen).result(10)
        assert m.generate(HELLO).text == "abc"
    assert heard == ["a"]


def test_on_text_of_an_engine_without_threads(place):
    """The same where the answer is there at once."""
    with load_model("mock") as m:
        heard = []
        m.generate(HELLO, on_text=heard.append)
        assert heard == ["hello"]
        with pytest.raises(ZeroDivisionError):
            m.generate(HELLO, on_text=lambda text: 1 / 0)


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()


def test_cancelling_cancels_and_everyone_hears_of_it(gate):
    """What waits and what runs; nobody waits for ever."""
    with model(lambda request: "a" if gate.wait(10) else "b") as m:
        futures = [m.submit(HELLO) for _ in range(6)]
        assert all(future.cancel() for future in futures)
        assert all(future.cancelled() for future in futures)
        gate.set()
        assert not wait(futures, 10).not_done
        with pytest.raises(CancelledError):
            futures[0].result()
        assert m.generate(HELLO).text == "a"


def test_closing_gives_whoever_waits_an_error_outcome(gate):
    """No CancelledError for who never cancelled; and a closed model answers nothing."""
    m = model(lambda request: "a" if gate.wait(10) else "b")
    futures = [m.submit(HELLO) for _ in range(6)]
    m.close()
    m.close()
    gate.set()
    generations = [future.result(10) for future in futures]
    late = [g for g in generations if g.outcome is Outcome.ERROR]
    assert len(late) >= 4
    assert {g.error["message"] for g in late} == {"the model m was closed before it answered"}
    assert m.generate(HELLO).error["message"] == "the model m is closed; load it again"


class Odd:
    """An engine of a third party that breaks the contract: it raises where it should return a future."""

    supported_parameters = frozenset({"max_tokens"})
    concurrency = 1

    def submit(self, request, on_text=None):
        raise OSError("no engine")

    def close(self):
        pass

    def facts(self):
        return {}


def test_an_engine_that_raises_on_submit_gives_an_error_outcome():
    """Whatever it raises."""
    m = Model(ModelSpec.from_dict({"model_name": "odd", "backend": "odd"}), Odd(), None, "odd")
    assert m.generate(HELLO).error == {"type": "OSError", "message": "no engine"}


def test_a_completion_that_cannot_be_decoded_is_an_error_outcome():
    """And not a future that never ends."""
    with model(Completion(output_ids=(-5,), finish_reason=FinishReason.STOP)) as m:
        assert m.submit(HELLO).result(10).error["type"] == "ValueError"


def test_generate_response_gives_clembenchs_objects():
    """The prompt object, the response object with prompt and completion as decoded, and the text."""
    with model("so", temperature=0.5) as m:
        prompt, response, text = m.generate_response(HELLO, max_tokens=9)
    assert prompt == {
        "inputs": "<user>hello<assistant>",
        "max_new_tokens": 9,
        "temperature": 0.5,
        "return_full_text": False,
    }
    assert response == {"response": "<user>hello<assistant>so\0"}
    assert text == "so"


def test_generate_response_of_a_model_without_a_prompt_gives_request_and_response(place):
    """As for services."""
    with load_model("mock", answers=["so"]) as m:
        prompt, response, text = m.generate_response(HELLO)
    assert (prompt["messages"], response, text) == (HELLO, {"response": "so"}, "so")


def test_a_model_is_usable_from_many_threads():
    """Each gets its own answer."""
    found: dict[str, Generation] = {}
    with model(lambda request: chr(request.prompt_ids[6])) as m:

        def ask(c):
            found[c] = m.generate([{"role": "user", "content": c}])

        threads = [threading.Thread(target=ask, args=(c,)) for c in "abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert {c: g.text for c, g in found.items()} == {c: c for c in "abcdefgh"}


def test_a_future_is_a_future(place):
    """What submit gives works with the tools of concurrent.futures."""
    with load_model("mock") as m:
        futures = [m.submit(HELLO) for _ in range(3)]
        assert all(isinstance(future, Future) for future in futures)
        assert not wait(futures, 10).not_done


def test_models_without_a_prompt_of_ours_have_no_prompt_path(place):
    """The spec is found all the same."""
    spec, path = load_prompt_path("mock", temperature=0.5)
    assert (spec.backend, spec.temperature, path) == ("programmatic", 0.5, None)


def test_an_override_that_is_no_key_is_refused_with_the_nearest(place):
    """A typo in a call never passes either; keys of one's own do."""
    with pytest.raises(ParameterError, match="did you mean 'temperature'"):
        load_model("mock", temprature=1)
    assert load_model("mock", x_mine=1).spec.x_mine == 1


@pytest.mark.parametrize("eos", ["</s>", ["<|end|>", "</s>"]])
def test_the_entrys_end_text_is_culled_whatever_ended_the_generation(eos):
    """`eos_to_cull` leaves the end of an answer, repeated or not, also where the engine did not stop at it."""
    entry = {
        "model_name": "leaky",
        "backend": "programmatic",
        "answers": ["A </s> tower.</s> \n</s>"],
        "eos_to_cull": eos,
    }
    with load_model(entry, registry=ModelRegistry([])) as model:
        generation = model.generate([{"role": "user", "content": "Guess."}])
    assert generation.text == "A </s> tower."
    assert generation.raw == "A </s> tower.</s> \n</s>"


def test_half_a_surrogate_in_an_answer_is_replaced_and_told():
    """UTF-8 can't hold it: it becomes U+FFFD in text, raw and thinking, so that the dialogue can go on."""
    model = model_from_function(lambda messages: "well \ud83d then")
    answer = model.generate(HELLO)
    assert (answer.text, answer.raw) == ("well \ufffd then", "well \ufffd then")
    assert answer.details["replaced_surrogates"] == 1
    again = [*HELLO, {"role": "assistant", "content": answer.text}, {"role": "user", "content": "again"}]
    assert model.generate(again).outcome is Outcome.ANSWERED


def test_an_engine_of_the_first_edition_goes_on_working():
    """Its parameters stand in ``honours``."""

    class Old:
        honours = frozenset({"max_tokens"})
        concurrency = 1

        def submit(self, request, on_text=None):
            future = Future()
            future.set_result(Completion(text=str(sorted(request.params)), finish_reason=FinishReason.STOP))
            return future

        def close(self):
            pass

        def facts(self):
            return {}

    spec = ModelSpec.from_dict({"model_name": "old", "backend": "programmatic"})
    assert Model(spec, Old(), None, "programmatic").generate(HELLO).text == "['max_tokens']"


class ForeignError(Exception):
    """An exception of a library, with properties of its own."""

    @property
    def request(self):
        raise RuntimeError("The .request property has not been set.")


def test_an_exception_of_a_library_is_the_fate_of_its_request():
    """Whatever attributes it has, as those of HTTP clients do."""

    def fail(messages):
        raise ForeignError("no luck")

    with model_from_function(fail) as model:
        generation = model.generate([{"role": "user", "content": "Hello"}])
    assert (generation.outcome, generation.error) == (Outcome.ERROR, {"type": "ForeignError", "message": "no luck"})
