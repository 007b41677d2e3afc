"""Keys: where they are found, where they may go, how they are stored, and that they show nowhere."""

from __future__ import annotations

import json
import logging
import pickle
import stat
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playbill.backends import Credential, Credentials, CredentialsError, EngineError, FileFormatError, PlaybillError
from playbill.backends.common.secret import MASK, Secret, scrub
from playbill.backends.credentials import allow, set_key, user_key_file
from playbill.backends.loading import model_from_function
from playbill.runs import run

KEY = "hf_averysecretkey_0123456789"
HELLO = [{"role": "user", "content": "hello"}]


def write(path, **sections):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sections))
    return path


def key_of(credentials, service="huggingface"):
    found = credentials.get(service)
    return found.api_key.reveal() if found and found.api_key else None


def test_keys_are_looked_for_in_the_decided_order(place, monkeypatch):
    """Caller's file, ./key.json, the user's, clemcore's, then the variable of the service's own SDK."""
    files = [
        write(place / "mine.json", huggingface={"api_key": "key-of-the-caller"}),
        write(place / "key.json", huggingface={"api_key": "key-of-here"}),
        write(user_key_file(), huggingface={"api_key": "key-of-the-user"}),
        write(Path.home() / ".clemcore" / "key.json", huggingface={"api_key": "key-of-clemcore"}),
    ]
    monkeypatch.setenv("HF_TOKEN", "key-of-the-environment")
    for file in files:
        assert (
            key_of(Credentials.load([files[0]] if file == files[0] else ()))
            == json.loads(file.read_text())["huggingface"]["api_key"]
        )
        file.unlink()
    found = Credentials.load().get("huggingface")
    assert (found.api_key.reveal(), found.source) == ("key-of-the-environment", "$HF_TOKEN")
    monkeypatch.delenv("HF_TOKEN")
    assert Credentials.load().get("huggingface") is None


def test_a_named_key_file_must_be_there(place):
    """The usual ones need not."""
    with pytest.raises(CredentialsError, match=r"no key file nothing\.json"):
        Credentials.load(["nothing.json"])
    assert list(Credentials.load()) == []


def test_a_section_without_a_key_leaves_the_environments_key_in_force(place, monkeypatch):
    """Its base_url is where requests go, and yet no home of that key until the user allows it."""
    monkeypatch.setenv("HF_TOKEN", KEY)
    write(
        place / "key.json", huggingface={"base_url": "https://evil.example", "allowed_urls": ["https://evil.example"]}
    )
    found = Credentials.load().get("huggingface")
    assert (key_of(Credentials.load()), found.address) == (KEY, "https://evil.example")
    assert not found.may_go_to("https://evil.example")
    assert found.may_go_to("https://huggingface.co/api")
    allow("huggingface", "https://evil.example")
    found = Credentials.load().get("huggingface")
    assert found.may_go_to("https://evil.example/v1")
    assert key_of(Credentials.load()) == KEY


def test_a_key_belongs_to_its_sections_base_url_and_no_longer_to_the_service():
    """Scheme, host and port must be the same; the path may differ."""
    found = Credential("huggingface", Secret(KEY), "f", "https://proxy.example:8443/v1")
    assert found.may_go_to("https://PROXY.example:8443/other")
    for url in (
        "https://huggingface.co",
        "http://proxy.example:8443/v1",
        "https://proxy.example/v1",
        "https://proxy.example:8443@evil.example",
        "https://evil.example\\@proxy.example:8443",
        "https://user@proxy.example:8443",
        "https://sub.proxy.example:8443",
        "proxy.example:8443",
        "https://proxy.example:no",
        "https://[",
        "",
    ):
        assert not found.may_go_to(url), url


def test_a_key_of_an_unknown_service_without_an_address_goes_nowhere():
    """Nor is an address without a scheme equal to another."""
    assert not Credential("mine", Secret(KEY), "f").may_go_to("https://anywhere.example")
    assert not Credential("mine", Secret(KEY), "f", "here").may_go_to("there")


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_a_key_is_stored_for_its_owner_only_and_other_sections_stay(place):
    """The file is 0600 even if it was not, unknown keys of a section stay, white space around a key goes."""
    path = write(
        user_key_file(), other={"api_key": "k", "organisation": "o"}, huggingface={"base_url": "https://h.example"}
    )
    path.chmod(0o644)
    assert set_key("huggingface", f" {KEY}\n") == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {
        "other": {"api_key": "k", "organisation": "o"},
        "huggingface": {"base_url": "https://h.example", "api_key": KEY},
    }
    assert [p.name for p in path.parent.iterdir() if p.suffix == ".json"] == ["key.json"]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"huggingface": "hf_x"}', '{"a": {"api_key": 1}}', '{"a": {}, "a": {}}', "\ufeff"]
)
def test_a_malformed_key_file_is_an_error_and_never_overwritten(place, text):
    """Neither reading nor writing touches it, and the message names it."""
    user_key_file().parent.mkdir(parents=True)
    user_key_file().write_text(text, encoding="utf-8")
    for attempt in (
        Credentials.load,
        lambda: set_key("huggingface", KEY),
        lambda: allow("huggingface", "https://a.example"),
    ):
        with pytest.raises(FileFormatError, match=r"key\.json"):
            attempt()
        assert user_key_file().read_text(encoding="utf-8") == text


@pytest.mark.parametrize("key", ["", "  ", "two words", "line\nbreak", "schlüssel-schlüssel"])
def test_what_cannot_be_a_key_is_not_stored(place, key):
    """And the message doesn't repeat it."""
    with pytest.raises(CredentialsError) as e:
        set_key("huggingface", key)
    assert not key.strip() or key not in str(e.value)
    assert not user_key_file().exists()


@pytest.mark.parametrize("url", ["file:///etc/passwd", "evil.example", "https://", "https://a b.example"])
def test_only_an_http_address_can_be_allowed(place, url):
    """Nothing is written for anything else."""
    with pytest.raises(CredentialsError, match="not an http or https address"):
        allow("huggingface", url)
    assert not user_key_file().exists()


def test_of_many_who_write_at_once_none_is_lost(place):
    """Sections and addresses are changed under a lock."""
    work = [lambda i=i: set_key(f"service{i}", KEY) for i in range(6)]
    work += [lambda i=i: allow("huggingface", f"https://h{i}.example") for i in range(6)]
    threads = [threading.Thread(target=w) for w in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = json.loads(user_key_file().read_text())
    assert {f"service{i}" for i in range(6)} < set(found)
    assert len(found["huggingface"]["allowed_urls"]) == 6


def test_writing_waits_for_who_holds_the_lock(place):
    """Another writer's lock is respected, not broken."""
    user_key_file().parent.mkdir(parents=True)
    lock = FileLock(user_key_file().with_name(".key.json.lock"), thread_local=False)
    lock.acquire()
    writer = threading.Thread(target=set_key, args=("huggingface", KEY))
    writer.start()
    writer.join(0.2)
    assert not user_key_file().exists()
    lock.release()
    writer.join()
    assert key_of(Credentials.load()) == KEY


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["huggingface", "api_key", "base_url", "allowed_urls"]), inner, max_size=3
            )
        ),
        max_leaves=8,
    ).map(json.dumps)
    | st.text(max_size=20)
)
def test_any_key_file_is_read_or_refused_and_unharmed(place, text):
    """No text in it makes anything but Playbill's own errors."""
    path = place / "key.json"
    path.write_text(text, encoding="utf-8")
    before = path.read_bytes()
    try:
        for credential in Credentials.load():
            credential.may_go_to("https://huggingface.co")
            assert repr(credential)
    except PlaybillError as e:
        assert "key.json" in str(e)  # noqa: PT017 - which of the two happens is the fuzzer's choice
    assert path.read_bytes() == before


def test_a_secret_shows_in_no_text_of_its_own(place):
    """Not in a repr, a format, a log or an error; and it can't be pickled."""
    secret = Secret(KEY)
    credential = Credential("huggingface", secret, "f")
    shown = [repr(secret), str(secret), f"{secret}", "%s" % secret, repr(credential), repr([credential])]  # noqa: UP031
    assert not any(KEY in text for text in shown)
    assert secret == Secret(KEY)
    assert secret != KEY
    for thing in (secret, credential):
        with pytest.raises(TypeError):
            pickle.dumps(thing)


def test_a_loaded_secret_is_scrubbed_wherever_it_turns_up():
    """In every part of a nested value, and the longer of two that overlap first."""
    Secret("overlap-secret-1")
    Secret("overlap-secret-1-and-more")
    value = {"a": ["x overlap-secret-1-and-more y", ("overlap-secret-1",)], "overlap-secret-1": 1, "n": None}
    assert scrub(value) == {"a": [f"x {MASK} y", (MASK,)], MASK: 1, "n": None}


def test_a_short_secret_is_not_scrubbed():
    """It would damage ordinary text."""
    Secret("abc")
    assert scrub("abc") == "abc"


def test_no_part_of_a_generation_but_its_text_shows_a_secret(caplog):
    """Whether the model repeats it, or fails with it in the message; neither does the log."""
    Secret(KEY)

    def fail(messages):
        raise ValueError(f"bad header {KEY}")

    def refuse(messages):
        raise EngineError(f"401 for {KEY}")

    with caplog.at_level(logging.DEBUG):
        for answer in (lambda messages: f"your key is {KEY}", fail, refuse):
            with model_from_function(answer) as model:
                generation = model.generate(HELLO)
                shown = repr(replace(generation, text=""))
                assert KEY not in shown
                assert MASK in shown
    assert KEY not in caplog.text


@pytest.mark.parametrize("word", ["anything", "no-key-needed", "EMPTY_EMPTY"])
def test_a_placeholder_that_is_a_word_eats_no_words(word):
    """Servers without keys are given such; an answer may hold the word."""
    Secret(word)
    assert scrub(f"I can do {word}.") == f"I can do {word}."


def test_a_key_with_a_line_feed_is_scrubbed_in_every_form():
    """As it is, escaped as in JSON and Python, and each of its lines."""
    key = "sk-fake-0001-first\nsk-fake-0002-second"
    Secret(key)
    for shown in (key, json.dumps(key), repr(key), "sk-fake-0002-second"):
        assert "sk-fake" not in scrub(f"the header {shown} is malformed")


def test_an_answer_that_holds_a_key_goes_on_unchanged_and_is_scrubbed_in_the_record(place):
    """What is written to disk is what counts."""
    secret = "sk-fake-1234567890-in-an-answer"
    Secret(secret)
    model = model_from_function(lambda messages: f"It is {secret}.")
    assert model.generate([{"role": "user", "content": "hello"}]).text == f"It is {secret}."
    run([{"id": "d", "turns": ["hello"]}], ("m", model), out="out")
    assert secret not in (place / "out" / "m" / "records.jsonl").read_text()
