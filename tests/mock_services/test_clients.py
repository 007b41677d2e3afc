"""The mock server speaks each wire well enough for the official clients, and fails in the forms that they know."""

import json

import pytest

from playbill.mock_services import REASONING, Answer, Fault, FaultKind, MockOptions, MockServer, echo, fixed_tokens

openai = pytest.importorskip("openai", reason="needs the extra `openai`")
anthropic = pytest.importorskip("anthropic", reason="needs the extra `anthropic`")
genai = pytest.importorskip("google.genai", reason="needs the extra `google`")
google_errors = genai.errors

HELLO = [{"role": "user", "content": "say hello"}]


def openai_client(server, key="k"):
    return openai.OpenAI(base_url=server.openai_url, api_key=key, max_retries=0, timeout=20)


def anthropic_client(server, key="k"):
    return anthropic.Anthropic(base_url=server.anthropic_url, api_key=key, max_retries=0, timeout=20)


def google_client(server, key="k"):
    return genai.Client(api_key=key, http_options={"base_url": server.google_url, "timeout": 20_000})


def ask_openai(server, *, model="m", key="k", **params):
    with openai_client(server, key) as client:
        return client.chat.completions.create(model=model, messages=HELLO, **params)


def stream_openai(server, **params):
    with openai_client(server) as client:
        return list(client.chat.completions.create(model="m", messages=HELLO, stream=True, **params))


def ask_anthropic(server, *, model="m", key="k", max_tokens=100, **params):
    with anthropic_client(server, key) as client:
        return client.messages.create(model=model, messages=HELLO, max_tokens=max_tokens, **params)


def stream_anthropic(server):
    with anthropic_client(server) as client, client.messages.stream(model="m", max_tokens=99, messages=HELLO) as stream:
        return stream.get_final_message()


def ask_google(server, *, model="m", key="k", **config):
    with google_client(server, key) as client:
        return client.models.generate_content(model=model, contents="say hello", config=config)


def stream_google(server, **config):
    # The client must outlive the stream: it closes its connections when it is collected.
    with google_client(server) as client:
        return list(client.models.generate_content_stream(model="m", contents="hi", config=config))


def test_openai_gets_text_reasoning_usage_and_the_identity_of_what_served_it():
    """Every field that a record keeps of an OpenAI-compatible answer arrives through the client."""
    answer = Answer(
        "Hello there.", thinking="They greet.", input_tokens=40, cached_tokens=30, model="m-2026",
        provider="Acme", system_fingerprint="fp_1",
    )  # fmt: skip
    with MockServer(answer) as server:
        got = ask_openai(server)
    choice = got.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Hello there.", "stop")
    assert choice.message.reasoning_content == "They greet."
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (40, 4)
    assert got.usage.prompt_tokens_details.cached_tokens == 30
    assert got.usage.completion_tokens_details.reasoning_tokens == 2
    assert (got.model, got.provider, got.system_fingerprint) == ("m-2026", "Acme", "fp_1")


@pytest.mark.parametrize("form", ["reasoning", "parts", "tags"])
def test_openai_compatible_services_show_thinking_in_other_ways(form):
    """Thinking comes in a field called reasoning, as content parts, or as tags, as services differ."""
    with MockServer(Answer("Hi.", thinking="Hm.", thinking_as=form)) as server:
        message = ask_openai(server).choices[0].message
    shown = {
        "reasoning": lambda: (message.reasoning, message.content),
        "parts": lambda: (message.content[0]["thinking"][0]["text"], message.content[1]["text"]),
        "tags": lambda: tuple(message.content.removeprefix("<think>").split("</think>")),
    }
    assert shown[form]() == ("Hm.", "Hi.")


def test_anthropic_gets_thinking_and_text_blocks_and_usage():
    """A messages answer has its thinking before its text, and cached tokens beside the input's, not in them."""
    with MockServer(Answer("Hello.", thinking="They greet.", input_tokens=40, cached_tokens=30)) as server:
        got = ask_anthropic(server)
    assert [block.type for block in got.content] == ["thinking", "text"]
    assert (got.content[0].thinking, got.content[1].text, got.stop_reason) == ("They greet.", "Hello.", "end_turn")
    assert (got.usage.input_tokens, got.usage.cache_read_input_tokens, got.usage.output_tokens) == (10, 30, 3)


def test_google_shows_thoughts_only_on_request_and_counts_them_apart():
    """Thoughts are parts marked as such if asked for; counted either way, and not among the candidate's tokens."""
    with MockServer(Answer("Hello.", thinking="They greet.")) as server:
        plain = ask_google(server)
        with_thoughts = ask_google(server, thinking_config={"include_thoughts": True})
    assert [(p.text, p.thought) for p in plain.candidates[0].content.parts] == [("Hello.", None)]
    assert [p.thought for p in with_thoughts.candidates[0].content.parts] == [True, None]
    for got in (plain, with_thoughts):
        assert (got.usage_metadata.thoughts_token_count, got.usage_metadata.candidates_token_count) == (2, 1)


def test_a_stream_says_the_same_as_a_whole_answer_on_each_wire():
    """Joined deltas are the text and thinking of the whole answer, white space included, with its end and usage."""
    answer = Answer("Hello  there,\nyou.", thinking="They greet me.")
    with MockServer(answer) as server:
        chunks = stream_openai(server, stream_options={"include_usage": True})
        message = stream_anthropic(server)
        parts = stream_google(server, thinking_config={"include_thoughts": True})
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == answer.text
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == answer.thinking
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == 6
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert (message.content[0].thinking, message.content[1].text) == (answer.thinking, answer.text)
    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 6)
    told = [(part.text, part.thought) for chunk in parts for part in chunk.candidates[0].content.parts]
    assert "".join(text for text, thought in told if not thought) == answer.text
    assert "".join(text for text, thought in told if thought) == answer.thinking
    assert parts[-1].candidates[0].finish_reason == "STOP"


def test_answers_end_at_limits_and_stop_sequences_as_a_model_would():
    """The limit of tokens counts thinking first; a stop sequence ends the text before itself."""
    with MockServer(Answer("one two three END four", thinking="hm hm")) as server:
        limited = ask_openai(server, max_completion_tokens=4).choices[0]
        starved = ask_openai(server, max_tokens=1).choices[0]
        stopped = ask_anthropic(server, stop_sequences=["END"])
        google = ask_google(server, max_output_tokens=3)
    assert (limited.message.content, limited.finish_reason) == ("one two", "length")
    assert (starved.message.content, starved.message.reasoning_content) == ("", "hm")
    assert starved.finish_reason == "length"
    assert (stopped.content[-1].text, stopped.stop_reason) == ("one two three ", "stop_sequence")
    assert stopped.stop_sequence == "END"
    assert (google.text, google.candidates[0].finish_reason) == ("one", "MAX_TOKENS")


def test_refusal_and_tool_call_are_told_in_each_wires_own_words():
    """An answer that was filtered, and one that calls a tool, have each wire's finish reason."""
    with MockServer([Answer("", finish="refused"), Answer("", finish="tool")] * 3) as server:
        assert [ask_openai(server).choices[0].finish_reason for _ in range(2)] == ["content_filter", "tool_calls"]
        assert [ask_anthropic(server).stop_reason for _ in range(2)] == ["refusal", "tool_use"]
        refused, tool = ask_google(server), ask_google(server)
    assert refused.candidates[0].finish_reason == "SAFETY"
    assert tool.function_calls[0].name == "mock_tool"


def test_a_refused_prompt_is_an_error_on_one_wire_and_an_answer_on_the_others():
    """OpenAI's services say 400 content_filter, Anthropic stops with refusal, Google blocks the prompt."""
    with MockServer(Fault(FaultKind.REFUSED)) as server:
        with pytest.raises(openai.BadRequestError) as refused:
            ask_openai(server)
        message = ask_anthropic(server)
        blocked = ask_google(server)
        streamed = stream_google(server)
    assert refused.value.code == "content_filter"
    assert (message.stop_reason, message.content) == ("refusal", [])
    assert blocked.candidates is None
    assert [got.prompt_feedback.block_reason for got in (blocked, *streamed)] == ["PROHIBITED_CONTENT"] * 2


@pytest.mark.parametrize(
    ("fault", "openai_error", "anthropic_error", "google_status"),
    [
        ("400", openai.BadRequestError, anthropic.BadRequestError, "INVALID_ARGUMENT"),
        ("401", openai.AuthenticationError, anthropic.AuthenticationError, "INVALID_ARGUMENT"),
        ("403", openai.PermissionDeniedError, anthropic.PermissionDeniedError, "PERMISSION_DENIED"),
        ("404", openai.NotFoundError, anthropic.NotFoundError, "NOT_FOUND"),
        ("429", openai.RateLimitError, anthropic.RateLimitError, "RESOURCE_EXHAUSTED"),
        ("500", openai.InternalServerError, anthropic.InternalServerError, "INTERNAL"),
        ("503", openai.InternalServerError, anthropic.InternalServerError, "UNAVAILABLE"),
        ("529", openai.InternalServerError, anthropic.InternalServerError, "UNAVAILABLE"),
        ("context", openai.BadRequestError, anthropic.BadRequestError, "INVALID_ARGUMENT"),
        ("quota", openai.RateLimitError, anthropic.BadRequestError, "RESOURCE_EXHAUSTED"),
    ],
)
def test_each_client_raises_its_own_error_for_a_fault_named_in_the_model(
    fault, openai_error, anthropic_error, google_status
):
    """A model name may demand a fault; each wire says it so that its client knows it."""
    with MockServer() as server:
        with pytest.raises(openai_error) as from_openai:
            ask_openai(server, model=f"m!{fault}")
        with pytest.raises(anthropic_error) as from_anthropic:
            ask_anthropic(server, model=f"m!{fault}")
        with pytest.raises(google_errors.APIError) as from_google:
            ask_google(server, model=f"m!{fault}")
        outcomes = [received.outcome for received in server.requests]
    assert from_openai.value.body["message"]
    assert from_anthropic.value.body["type"] == "error"
    assert from_google.value.status == google_status
    assert outcomes == [fault] * 3


def test_a_used_up_quota_can_be_told_from_a_rate_limit():
    """Both may be 429: OpenAI's code, Anthropic's words and Google's details tell them apart."""
    with MockServer() as server:
        with pytest.raises(openai.RateLimitError) as from_openai:
            ask_openai(server, model="m!quota")
        with pytest.raises(anthropic.BadRequestError, match="credit balance is too low"):
            ask_anthropic(server, model="m!quota")
        with pytest.raises(google_errors.ClientError) as from_google:
            ask_google(server, model="m!quota")
    assert from_openai.value.code == "insufficient_quota"
    assert "PerDay" in json.dumps(from_google.value.details)


def test_only_the_right_key_is_let_in_on_each_wire():
    """A server with a key refuses others in the form of each service; Google's is a 400."""
    with MockServer("in", MockOptions(api_key="right")) as server:
        with pytest.raises(openai.AuthenticationError):
            ask_openai(server, key="wrong")
        with pytest.raises(anthropic.AuthenticationError):
            ask_anthropic(server, key="wrong")
        with pytest.raises(google_errors.ClientError, match="API_KEY_INVALID"):
            ask_google(server, key="wrong")
        assert ask_openai(server, key="right").choices[0].message.content == "in"
        assert ask_anthropic(server, key="right").content[0].text == "in"
        assert ask_google(server, key="right").text == "in"
        assert server.counts == {"401": 3, "answered": 3}


def test_a_reasoning_model_refuses_what_openais_do():
    """The model's rule names the parameter, and says which to use; the default temperature passes."""
    with MockServer("ok", MockOptions(rules=(REASONING,))) as server:
        with pytest.raises(openai.BadRequestError, match="Use 'max_completion_tokens' instead") as refused:
            ask_openai(server, model="big-reasoner", max_tokens=5)
        with pytest.raises(openai.BadRequestError, match=r"does not support 0\.0") as hot:
            ask_openai(server, model="big-reasoner", temperature=0.0)
        fine = ask_openai(server, model="big-reasoner", max_completion_tokens=5, temperature=1)
        other = ask_openai(server, model="plain", max_tokens=5, temperature=0.0)
    assert (refused.value.param, refused.value.code) == ("max_tokens", "unsupported_parameter")
    assert (hot.value.param, hot.value.code) == ("temperature", "unsupported_value")
    assert [got.choices[0].message.content for got in (fine, other)] == ["ok", "ok"]


def test_models_are_listed_and_others_are_not_found():
    """A server that names its models lists them for OpenAI's and Anthropic's clients, and has no others."""
    with MockServer("ok", MockOptions(models=("a", "b"))) as server:
        with openai_client(server) as client:
            assert [m.id for m in client.models.list()] == ["a", "b"]
        with anthropic_client(server) as client:
            assert [m.id for m in client.models.list()] == ["a", "b"]
        with google_client(server) as client:
            assert [m.name for m in client.models.list()] == ["models/a", "models/b"]
        with pytest.raises(openai.NotFoundError):
            ask_openai(server, model="c")


def test_anthropics_rules_of_form_are_kept():
    """A missing limit, a strange role, and a thinking budget above the limit are refused as the service does."""
    with MockServer() as server:
        with anthropic_client(server) as client, pytest.raises(anthropic.BadRequestError, match=r"messages\.0\.role"):
            client.messages.create(model="m", max_tokens=5, messages=[{"role": "system", "content": "x"}])
        with pytest.raises(anthropic.BadRequestError, match=r"greater than `thinking\.budget_tokens`"):
            ask_anthropic(server, max_tokens=1024, thinking={"type": "enabled", "budget_tokens": 1024})


def test_answers_may_echo_be_counted_out_or_come_from_a_function():
    """The default echoes the last user message; fixed answers have just so many tokens; a function sees messages."""
    with MockServer() as server:
        assert ask_openai(server).choices[0].message.content == "say hello"
    with MockServer(fixed_tokens(7, input=100, thinking=3)) as server:
        usage = ask_openai(server).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (100, 10)
    with MockServer(lambda messages: f"{len(messages)} {echo(messages)}") as server:
        assert ask_google(server, system_instruction="be brief").text == "2 say hello"
        assert ask_anthropic(server, system="be brief").content[0].text == "2 say hello"
