"""Commands in surroundings that are not as usual: words that say what to mend, and never an internal error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

from playbill.backends.common.home import MissingHome, expanded
from playbill.backends.credentials import Credentials, set_key
from playbill.backends.registry.lookup import ModelRegistry

NAME = "zażółć ☃ 😀 \u202e\x9b2J\x1b[31m"
REMOTE = {"model_name": "rem", "backend": "openai_compatible", "model_id": "x", "max_attempts": 1}


def command(*args, **env):
    """Run a command as a process of its own; its exit code, stdout and stderr as bytes."""
    done = subprocess.run(
        [sys.executable, "-m", "playbill", *args], capture_output=True, env={**os.environ, **env}, check=False
    )
    return done.returncode, done.stdout, done.stderr


def registry(place, **keys):
    (place / "model_registry.json").write_text(json.dumps([{**REMOTE, "base_url": "http://127.0.0.1:9/v1", **keys}]))
    (place / "d.jsonl").write_text('{"id": "a", "turns": ["Hi"]}\n')


@pytest.mark.skipif(not find_spec("openai"), reason="needs the extra `openai`")
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ALL_PROXY", "socks4://user:hidden@127.0.0.1:1", "$ALL_PROXY"),
        ("HTTP_PROXY", "foo:bar:baz", "$HTTP_PROXY"),
        ("SSL_CERT_FILE", "bad.pem", "$SSL_CERT_FILE"),
        ("SSL_CERT_FILE", "missing.pem", "$SSL_CERT_FILE"),
        pytest.param(
            "ALL_PROXY",
            "socks5://user:hidden@127.0.0.1:1",
            "pip install socksio",
            marks=pytest.mark.skipif(bool(find_spec("socksio")), reason="socksio is installed"),
        ),
    ],
)
def test_a_proxy_or_certificates_that_can_not_be_used_are_named(playbill, place, monkeypatch, variable, value, said):
    """By the variable that names them; its value, which may hold a password, is not shown."""
    registry(place)
    (place / "bad.pem").write_text("no certificate")
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv(variable, value)
    code, _, err = playbill("run", "d.jsonl", "-m", "rem", "-o", "out")
    assert code == 2
    assert said in err
    assert "internal error" not in err
    assert "hidden" not in err


@pytest.mark.skipif(not find_spec("openai"), reason="needs the extra `openai`")
def test_a_bundle_without_certificates_is_named(playbill, place):
    """With its path, as the entry's key."""
    registry(place, base_url="https://127.0.0.1:9/v1", ca_bundle="bad.pem")
    (place / "bad.pem").write_text("no certificate")
    code, _, err = playbill("run", "d.jsonl", "-m", "rem", "-o", "out")
    assert code == 2
    assert "ca_bundle" in err and "bad.pem holds no certificates" in err  # noqa: PT018 - one message
    assert "internal error" not in err


@pytest.mark.skipif(os.name == "nt", reason="a home is found otherwise there")
def test_without_a_home_everything_works_that_needs_none(place, monkeypatch):
    """What is to be written there is refused in words; no path with ~ is a traceback."""
    import pwd

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    assert ModelRegistry.load().find("mock")
    assert list(Credentials.load()) == []
    assert expanded("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    with pytest.raises(MissingHome, match="set HOME or XDG_CONFIG_HOME"):
        set_key("openai", "key-number-1")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8", "latin-1"])
@pytest.mark.parametrize("as_json", [False, True])
def test_any_encoding_of_the_output_will_do(place, encoding, as_json):
    """What it lacks is escaped; JSON stays JSON of the same meaning, and no control character gets out."""
    (place / "model_registry.json").write_text(json.dumps([{"model_name": NAME, "backend": "programmatic"}]))
    code, out, err = command("list", "za", *(["--json"] if as_json else []), PYTHONIOENCODING=encoding)
    assert (code, b"internal error" in err) == (0, False)
    assert not {b"\x1b", "\x9b".encode(), "\u202e".encode()} & {
        out[i : i + n] for n in (1, 2, 3) for i in range(len(out))
    }
    if as_json:
        text = out.decode("utf-8" if encoding == "ascii" else encoding)
        assert json.loads(text)[0]["model_name"] == NAME


def test_import_and_completion_print_no_control_characters(place):
    """The registry that import prints means the same; a name that a terminal would obey is not completed."""
    path = place / "theirs.json"
    entry = {"model_name": NAME, "backend": "programmatic"}
    path.write_text(json.dumps([entry, {**entry, "model_name": "zafe"}], ensure_ascii=False))
    _, out, _ = command("import", str(path))
    assert b"\xc2\x9b" not in out
    assert json.loads(out)[0]["model_name"] == NAME
    completing = {"COMP_WORDS": "playbill show zaf", "COMP_CWORD": "2", "_PLAYBILL_COMPLETE": "bash_complete"}
    _, out, _ = command(PLAYBILL_REGISTRY=str(path), **completing)
    assert out.split() == [b"plain,zafe"]


@pytest.mark.skipif(os.name == "nt", reason="signals are others there")
def test_an_interruption_while_modules_are_imported_shows_no_traceback(place):
    """Ctrl-C comes in the middle of the import of the command line."""
    program = textwrap.dedent("""
        import os, signal, sys
        class Interrupt:
            def find_spec(self, name, path, target=None):
                if name == "playbill.cli":
                    os.kill(os.getpid(), signal.SIGINT)
        sys.meta_path.insert(0, Interrupt())
        from playbill.__main__ import main
        main()
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, "playbill: interrupted\n")


def test_the_names_of_folders_are_printed_without_their_control_characters(playbill, place):
    """A folder's name is a stranger's text too: run, audit, report, replay and demo write it out."""
    name = "a\x1b[2Jb"
    (place / "in.jsonl").write_text('{"id": "a", "turns": ["Hi"]}\n')
    for line in (("run", "in.jsonl", "-m", "mock", "-o"), ("audit",), ("report",), ("replay",), ("demo", "-m", "mock")):
        _, out, err = playbill(*line, name)
        assert "\x1b" not in out + err, line
