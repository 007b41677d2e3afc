"""What a service's first answers teach: defaults that it refuses, and requests that would all be refused alike."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter

import pytest

from playbill.backends import EngineError, RequestRefused, load_model
from playbill.backends.engines.remote.failure import classify
from playbill.backends.engines.remote.trial import Trial, named_parameter
from playbill.mock_services import Answer, MockOptions, MockServer, ModelRule, Raw
from playbill.runs import run

HELLO = [{"role": "user", "content": "hello"}]


def refusing(*names):
    """A server that refuses these fields of a body, in OpenAI's words."""
    return MockServer("Hi.", MockOptions(rules=(ModelRule("*", refuses=names),)))


def dialogues(count):
    return [{"id": f"d{n}", "turns": ["hello"]} for n in range(count)]


def entry(server, **more):
    return {"model_name": "m", "backend": "openai_compatible", "base_url": server.openai_url, **more}


def test_a_default_that_an_unknown_model_refuses_is_left_out_once(place, caplog):
    """Two requests for the first dialogue, one for each other; said once, and in each record."""
    with refusing("temperature") as server:
        result = run(dialogues(50), entry(server), out="out", concurrency=16)
        assert server.total == 51
    records = list(result.records())
    assert {r["outcome"] for r in records} == {"answered"}
    assert all("temperature" not in r["params"]["effective"] for r in records)
    assert all("temperature" in r["params"]["not_sent"]["temperature"] for r in records)
    assert all("temperature" not in r["request"] for r in records)
    assert caplog.text.count("refuses temperature, which nobody asked for") == 1


def test_samplers_that_are_switched_off_unasked_are_left_out_too(place):
    """Each by its own refusal, under the server's own name for it."""
    with refusing("repeat_penalty", "min_p") as server:
        spec = {**entry(server), "backend": "llamacpp_server"}
        records = list(run(dialogues(20), spec, out="out").records())
        assert server.total == 22
    assert {r["outcome"] for r in records} == {"answered"}
    assert all(set(r["params"]["not_sent"]) == {"repetition_penalty", "min_p"} for r in records)


def test_what_was_asked_for_is_an_error_at_once_for_all(place):
    """One request, whatever the number of dialogues; the way out is in the service's words."""
    with refusing("temperature") as server:
        result = run(dialogues(200), entry(server, temperature=0.7), out="out", concurrency=32)
        assert server.total == 1
    assert "temperature" in str(result.models["m"].problem)
    assert "nothing more is sent" in str(result.models["m"].problem)
    assert Counter(r["outcome"] for r in result.records())["answered"] == 0


def test_a_field_that_the_entry_brings_is_asked_for_too(place):
    """As an effort word."""
    with refusing("reasoning_effort") as server:
        result = run(dialogues(100), entry(server, reasoning_effort="silly"), out="out")
        assert server.total == 1
    assert result.models["m"].problem is not None


@pytest.mark.parametrize(
    ("status", "message", "most"),
    [(400, "something is wrong with this", 2), (404, "The model `m` does not exist", 1), (422, "odd body", 2)],
)
def test_a_wrong_body_costs_at_most_two_requests(place, status, message, most):
    """The same words twice are about the entry, not about a dialogue."""
    with MockServer(Raw(json.dumps({"error": {"message": message}}).encode(), status=status)) as server:
        result = run(dialogues(300), entry(server), out="out", concurrency=64)
        assert server.total == most
    assert message in str(result.models["m"].problem)


def test_one_bad_dialogue_stops_no_other(place):
    """Its refusal is its own; the next one is answered."""

    def answer(messages):
        if "poison" in messages[-1]["content"]:
            return Raw(b'{"error": {"message": "this content is malformed"}}', status=400)
        return Answer("Hi.")

    talks = [{"id": f"d{n}", "turns": ["poison" if n in (0, 7) else "hello"]} for n in range(20)]
    with MockServer(answer) as server:
        records = list(run(talks, entry(server), out="out", concurrency=8).records())
    assert Counter(r["outcome"] for r in records) == {"answered": 18, "error": 2}


def test_the_first_request_goes_alone_and_the_others_then_together(place):
    """So that a refusal is known before the flood; a service that takes its time is not waited for for ever."""
    with MockServer("Hi.", MockOptions(latency=0.1)) as server:
        run(dialogues(40), entry(server, concurrency=20), out="out")
        assert server.peak > 10


def test_a_slow_service_holds_the_others_up_for_a_moment_only():
    """It would have refused by then."""

    async def third():
        trial = Trial(time.monotonic, patience=0.05)
        await trial.enter()
        async with asyncio.timeout(10):
            await asyncio.gather(trial.enter(), trial.enter())  # nobody said how the first one went
        return True

    assert asyncio.run(third())


def test_after_a_verdict_the_service_is_asked_again_a_little_later():
    """Something may have been mended there."""
    failure = classify(404, {}, {"error": {"message": "no such model"}})

    async def again(now):
        trial = Trial(lambda: now[0], valid=30.0)
        await trial.enter()
        trial.refused(failure, EngineError("no such model"), asked=False)
        with pytest.raises(RequestRefused, match="nothing more is sent"):
            await trial.enter()
        now[0] += 31
        await trial.enter()
        return True

    assert asyncio.run(again([0.0]))


def test_a_verdict_stops_what_went_through_because_the_service_was_slow():
    """Two refusals with the same words count, also when all were let through meanwhile; an answer ends the trial."""
    failure = classify(400, {}, {"error": {"message": "odd body"}})

    async def slow(*, taken):
        trial = Trial(time.monotonic, patience=0.0)
        for _ in range(3):
            await trial.enter()
        if taken:
            trial.took()
        for _ in range(2):
            trial.refused(failure, EngineError("odd body"), asked=False)
        await trial.enter()
        return True

    assert asyncio.run(slow(taken=True))
    with pytest.raises(RequestRefused, match="odd body"):
        asyncio.run(slow(taken=False))


def test_stream_options_that_a_server_refuses_are_left_out(opened):
    """Mistral isn't the only one."""
    with refusing("stream_options") as server:
        stream = opened(server.openai_url).stream(HELLO)
        assert "".join(stream) == "Hi."
        assert server.total == 2
    assert "stream_options" in stream.generation.params.not_sent


@pytest.mark.parametrize(
    ("message", "param", "named"),
    [
        ("Unsupported parameter: 'temperature' is not supported with this model.", None, "temperature"),
        ("temperature: Extra inputs are not permitted", None, "temperature"),
        ("`top_p` can't be used here", None, None),
        ("bad value", "repeat_penalty", "repetition_penalty"),
        ("[{'type': 'extra_forbidden', 'loc': ('body', 'repeat_penalty')}]", None, "repetition_penalty"),
        ("stop talking like that", None, None),
        ("'stop' is not supported with this model", None, "stop"),
    ],
)
def test_the_parameter_that_a_refusal_names(message, param, named):
    """By its field, or by its name in the words; a common word only where it is quoted."""
    failure = classify(400, {}, {"error": {"message": message, "param": param}})
    names = [("temperature", "temperature"), ("repetition_penalty", "repeat_penalty"), ("stop", "stop")]
    assert named_parameter(failure, names) == named


def test_a_verdict_is_an_engine_error_of_its_own(place):
    """So that a program can tell it from one request's failure."""
    with MockServer(Raw(b'{"error": {"message": "no such model"}}', status=404)) as server:
        with load_model(entry(server)) as model:
            first, second = model.generate(HELLO), model.generate(HELLO)
        assert server.total == 1
    assert (first.error["type"], second.error["type"]) == (EngineError.__name__, RequestRefused.__name__)
