"""The command line: what it prints where, how it exits, and how it answers when it is misused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from playbill.cli import main

BAD = [
    {"model_name": "typo", "backend": "llamacpp", "eos_to_cul": "</s>"},
    {"model_name": "fine", "backend": "programmatic", "answers": ["yes"], "languages": ["tlh"]},
    {"backend": "programmatic"},
    "not an entry",
]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Commands run in an empty directory, with a home of their own."""
    for name in ("HF_TOKEN", "PLAYBILL_REGISTRY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def playbill(capsys):
    """Run a command in this process: exit code, stdout, stderr."""

    def run(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(list(args))
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return run


@pytest.fixture
def registry(home) -> str:
    path = home / "mine.json"
    path.write_text(json.dumps(BAD))
    return str(path)


def test_list_names_every_model_and_says_where_from(playbill):
    """Results go to stdout, the count and the files to stderr."""
    code, out, err = playbill("list")
    assert code == 0
    assert "SmolLM2-135M-Instruct-Q4" in out
    assert "model_registry.json" in err


def test_list_marks_bad_entries_and_never_drops_them(playbill, registry):
    """An entry with an error, one without a name and one that is no object are all listed and marked."""
    _, out, err = playbill("list", "--registry", registry)
    marked = [line for line in out.splitlines() if line.startswith("!")]
    assert len(marked) == 3
    assert any("typo" in line for line in marked)
    assert "$[3]" in out
    assert "--problems" in err


def test_list_json_carries_the_findings(playbill, registry):
    """`--json` gives each entry with its place and all that is wrong with it."""
    _, out, _ = playbill("list", "--registry", registry, "--json")
    typo = json.loads(out)[0]
    assert typo["usable"] is False
    assert "did you mean 'eos_to_cull'?" in [f["fix"] for f in typo["findings"]]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["FIN"], {"fine"}),
        (["f?ne"], {"fine"}),
        (["--language", "tlh"], {"fine"}),
        (["--backend", "human"], {"human", "terminal"}),
        (["nothing-is-called-so"], set()),
    ],
)
def test_list_filters(playbill, registry, args, expected):
    """Part of a name in any case, a pattern, a language, a backend."""
    _, out, _ = playbill("list", "--registry", registry, "--json", *args)
    assert {entry["model_name"] for entry in json.loads(out)} == expected


def test_list_marks_what_is_hidden(playbill, home):
    """The second of two namesakes is marked: only a selector reaches it."""
    path = home / "two.json"
    path.write_text(json.dumps([{"model_name": "mock", "backend": "programmatic", "answers": ["mine"]}]))
    _, out, _ = playbill("list", "--registry", str(path), "mock")
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["mock", "^"]


def test_show_says_where_each_value_came_from(playbill, registry):
    """The spec as found, value by value with file and path."""
    code, out, _ = playbill("show", "fine", "--registry", registry)
    assert code == 0
    assert out.startswith(f"fine, from {registry} $[1]\n")
    assert 'answers    ["yes"]\n' in out


def test_show_exits_1_for_an_entry_that_cannot_be_used(playbill, registry):
    """What is judged wrong is exit code 1, with every problem."""
    code, out, _ = playbill("show", "typo", "--registry", registry)
    assert code == 1
    assert "$[0].eos_to_cul: unknown key; did you mean 'eos_to_cull'?" in out
    assert "'huggingface_id' is missing" in out


def test_show_marks_an_override(playbill):
    """A value given with -p is said to be the caller's."""
    _, out, _ = playbill("show", "mock", "-p", "temperature=0.7", "--json")
    shown = json.loads(out)
    assert shown["spec"]["temperature"] == 0.7
    assert shown["sources"]["temperature"] == "the caller"


def test_show_takes_a_selector(playbill, registry):
    """A JSON object selects; where no namesake unifies, the values that disagree are named."""
    code, _, err = playbill("show", '{"model_name": "mock", "backend": "human"}', "--registry", registry)
    assert code == 2
    assert "backend is 'programmatic', asked for 'human'" in err


def test_an_unknown_model_is_told_the_nearest(playbill):
    """The message names near names and the files searched; no traceback."""
    code, out, err = playbill("show", "SmolLM2-135M-Instruct-Q5")
    assert (code, out) == (2, "")
    assert "SmolLM2-135M-Instruct-Q4" in err
    assert "Searched:" in err
    assert "Traceback" not in err


def test_an_unknown_parameter_is_refused_with_the_right_one(playbill):
    """A typo in -p never passes."""
    code, _, err = playbill("show", "mock", "-p", "temprature=1")
    assert code == 2
    assert "did you mean 'temperature'?" in err


def test_a_registry_that_is_not_json_is_refused_with_its_place(playbill, home):
    """File, line and column; exit code 2."""
    path = home / "broken.json"
    path.write_text('[\n  {"model_name": }\n]')
    code, _, err = playbill("list", "--registry", str(path))
    assert code == 2
    assert f"{path}:2:" in err


def test_prompt_of_a_backend_that_takes_messages(playbill):
    """Without a template of ours the prepared messages are what is sent."""
    code, out, _ = playbill("prompt", "mock", "--json")
    assert code == 0
    assert json.loads(out)["messages"][0]["role"] == "user"


def test_prompt_reads_a_file_and_says_what_was_changed(playbill, home):
    """Two user messages in a row are merged, and that is said."""
    path = home / "messages.json"
    path.write_text(json.dumps([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]))
    _, out, err = playbill("prompt", "mock", str(path))
    assert json.loads(out) == [{"role": "user", "content": "a\n\nb"}]
    assert "merged" in err


def test_prompt_without_its_file(playbill):
    """A file that isn't there is said, not traced."""
    code, _, err = playbill("prompt", "mock", "none.json")
    assert code == 2
    assert "none.json" in err


def test_chat_answers_lines_of_a_pipe(home):
    """Not only a terminal: each line of the input gets its answer."""
    done = subprocess.run(
        [sys.executable, "-m", "playbill", "chat", "mock"], input="hello\nagain\n", text=True, capture_output=True
    )
    assert done.stdout == "hello\nagain\n"
    assert done.returncode == 0


def test_chat_prints_no_escape_sequences(home):
    """What a model writes never reaches the terminal as a control sequence."""
    done = subprocess.run(
        [sys.executable, "-m", "playbill", "chat", "mock"], input="\x1b[2Jgone\n", text=True, capture_output=True
    )
    assert done.stdout == "\\x1b[2Jgone\n"


def test_keys_are_listed_masked(playbill, monkeypatch):
    """The source is shown, the secret isn't."""
    monkeypatch.setenv("HF_TOKEN", "hf_obviously_fake_0000WXYZ")
    code, out, _ = playbill("keys")
    assert code == 0
    assert "$HF_TOKEN" in out
    assert "…WXYZ" in out
    assert "obviously_fake" not in out


def test_keys_says_what_a_key_file_gets_wrong(playbill, home):
    """A field that is nearly `api_key`, and a name that is nearly a service's, come with what was meant, no value."""
    content = {"opnai": {"api_key": "not-a-real-key-1"}, "openai": {"key": "not-a-real-key-2"}, "slurk": {}}
    (home / "key.json").write_text(json.dumps({**content, "groq": {"apikey": "not-a-real-key-3", "organisation": "o"}}))
    _, out, err = playbill("keys")
    assert "key.json $.opnai: 'opnai' is no service; did you mean 'openai'?" in err
    assert "key.json $.openai.key: is not read; did you mean 'api_key'?" in err
    assert "key.json $.groq.apikey: is not read; did you mean 'api_key'?" in err
    assert "organisation" not in err
    assert "slurk" not in err
    assert "not-a-real" not in out + err


def test_keys_names_a_variable_or_says_that_none_is_needed(playbill):
    """A service without a variable of its own has no `$?`."""
    _, out, _ = playbill("keys")
    assert "$?" not in out
    assert re.search(r"llamacpp_server +\(needs none\)", out)


def test_a_near_miss_of_a_service_gets_no_key(playbill):
    """`keys set opnai` is refused, unless an address says that it is meant."""
    code, _, err = playbill("keys", "set", "opnai")
    assert code == 2
    assert "did you mean 'openai'?" in err


def test_keys_set_reads_a_pipe_and_stores_for_the_owner_only(home):
    """The key is never an argument, where others on the machine could see it."""
    done = subprocess.run(
        [sys.executable, "-m", "playbill", "keys", "set", "huggingface"],
        input="hf_obviously_fake_0000\n",
        text=True,
        capture_output=True,
    )
    path = home / "home" / ".config" / "playbill" / "key.json"
    assert done.returncode == 0
    assert "hf_obviously_fake" not in done.stdout + done.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == {"huggingface": {"api_key": "hf_obviously_fake_0000"}}


def test_keys_refuses_a_malformed_file_and_leaves_it_alone(playbill, home):
    """A key file that can't be read is never overwritten."""
    path = Path("key.json")
    path.write_text("{broken")
    code, _, err = playbill("keys", "allow", "openai", "https://proxy.example", "--file", str(path))
    assert code == 2
    assert "key.json:1:2" in err
    assert path.read_text() == "{broken"


def test_backends_says_what_to_install(playbill):
    """Each backend is ready, or comes with its pip line."""
    _, out, _ = playbill("backends", "--json")
    by_name = {row["name"]: row for row in json.loads(out)}
    assert by_name["programmatic"]["installed"] is True
    assert by_name["llamacpp"]["install"] == 'pip install "playbill[llamacpp]"'


def test_completion_scripts(playbill):
    """Completion for the three usual shells."""
    for shell in ("bash", "zsh", "fish"):
        code, out, _ = playbill("completion", shell)
        assert code == 0
        assert "_PLAYBILL_COMPLETE" in out


def test_model_names_complete(home, monkeypatch):
    """The shell gets the names of the registry."""
    done = subprocess.run(
        [sys.executable, "-m", "playbill"],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "_PLAYBILL_COMPLETE": "bash_complete",
            "COMP_WORDS": "playbill show Smol",
            "COMP_CWORD": "2",
        },
        text=True,
        capture_output=True,
    )
    assert "SmolLM2-135M-Instruct-Q4" in done.stdout


def test_a_command_that_is_nearly_one_is_told_which(playbill):
    """Commands are imported on first need, and known by name all the same."""
    code, _, err = playbill("shwo", "mock")
    assert code == 2
    assert err.count("Did you mean 'show'?") == 1


def test_wrong_usage_exits_2(playbill):
    """An unknown command or option is no traceback and no success."""
    assert playbill("lst")[0] == 2
    assert playbill("list", "--nope")[0] == 2


def test_debug_shows_the_traceback():
    """`--debug` works before and after the command."""
    for args in (["--debug", "show", "nobody"], ["show", "nobody", "--debug"]):
        done = subprocess.run([sys.executable, "-m", "playbill", *args], text=True, capture_output=True)
        assert "Traceback" in done.stderr


def test_a_closed_pipe_is_no_error():
    """`playbill list | head -1` ends quietly."""
    done = subprocess.run(
        f'"{sys.executable}" -m playbill list --json | head -1', shell=True, text=True, capture_output=True
    )
    assert done.stdout == "[\n"
    assert done.stderr == ""


def test_list_is_light():
    """Listing loads no engine, no template language and no terminal toolkit."""
    code = (
        "import sys; from playbill.cli import main\n"
        "try: main(['list'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'xllamacpp', 'jinja2', 'rich', 'huggingface_hub', 'numpy', 'pip'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_user_without_a_home_directory(playbill, tmp_path, monkeypatch):
    """As in a container: what needs none works, what is written there is refused in words."""
    for name in ("HOME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    # As os.path.expanduser does for a user that the system doesn't know.
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    (tmp_path / "in.jsonl").write_text('{"id": "1", "turns": ["Hello"]}')
    assert playbill("list")[0] == 0
    assert playbill("run", "in.jsonl", "-m", "mock", "-o", "out")[0] == 0
    assert playbill("keys")[0] == 0
    code, _, err = playbill("keys", "allow", "openai", "https://a.example")
    if sys.platform == "linux":
        assert (code, "there is no home folder" in err) == (2, True)
    assert not (tmp_path / "~").exists()


def test_stdout_of_a_code_page_shows_what_it_lacks_as_escapes(tmp_path):
    """A pipe on Windows: nothing fails, and JSON stays JSON."""
    entry = {"model_name": "smile 😀", "backend": "programmatic", "answers": ["é"]}
    (tmp_path / "model_registry.json").write_text(json.dumps([entry]))
    env = {"PYTHONIOENCODING": "cp1252"}
    env = {**os.environ, **env}
    for more in ((), ("--json",)):
        done = subprocess.run(
            [sys.executable, "-m", "playbill", "list", *more], capture_output=True, env=env, cwd=tmp_path
        )
        assert (done.returncode, b"error" in done.stderr) == (0, False)
        shown = done.stdout.decode("cp1252")
        assert (
            ("smile \\U0001f600" in shown) if not more else (json.loads(shown)[0]["model_name"] == entry["model_name"])
        )


def test_no_control_characters_in_json_and_completion(playbill, tmp_path, monkeypatch, capsys):
    """A registry from a stranger can't write to the terminal by way of --json, import or completion."""
    odd = {"model_name": "a\x9b2J\u202e\n", "backend": "programmatic", "answers": ["x"]}
    (tmp_path / "model_registry.json").write_text(json.dumps([odd, {**odd, "model_name": "aplain"}]))
    for command in (["list", "--json"], ["import", "model_registry.json"], ["import", "model_registry.json", "--json"]):
        _, out, err = playbill(*command)
        assert not {"\x9b", "\u202e"} & set(out + err), command
        assert json.loads(out)[0]["model_name"] == odd["model_name"]
    monkeypatch.setenv("_PLAYBILL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "playbill show apl")
    monkeypatch.setenv("COMP_CWORD", "2")
    _, out, _ = playbill()
    assert out.split() == ["plain,aplain"]
    (tmp_path / "model_registry.json").write_text('[{"m')
    assert [text.strip() for text in playbill()[1:]] == ["", ""]


@pytest.mark.skipif(sys.platform == "win32", reason="it has other signals")
def test_ctrl_c_while_the_command_line_is_imported_shows_no_traceback():
    """It may come before there is anything to interrupt."""
    program = (
        "import builtins, os, signal, sys\n"
        "real = builtins.__import__\n"
        "def slow(name, *rest):\n"
        "    if name == 'click':\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = slow\n"
        "from playbill.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "playbill: interrupted\n")


def test_keys_shows_where_a_shared_key_serves_as_well(playbill, place):
    """Hugging Face's token, for its router too; with an address of its own it is for that alone."""
    (place / "key.json").write_text(json.dumps({"huggingface": {"api_key": "hf_0123456789"}}))
    rows = {row["service"]: row for row in json.loads(playbill("keys", "--json")[1])}
    assert rows["huggingface_router"]["key"] == rows["huggingface"]["key"] is not None
    (place / "key.json").write_text(json.dumps({"huggingface": {"api_key": "hf_01", "base_url": "https://hub.lab"}}))
    rows = {row["service"]: row for row in json.loads(playbill("keys", "--json")[1])}
    assert rows["huggingface_router"]["key"] is None


def test_prompt_and_diff_take_the_inputs_of_a_run(playbill, home):
    """Of JSONL the first dialogue's first turn is shown, and it is said how many are left out."""
    lines = ['{"id": "a", "turns": ["First", "Second"]}', '{"id": "b", "turns": ["Other"]}']
    (home / "in.jsonl").write_text("\n".join(lines))
    code, out, err = playbill("prompt", "mock", "in.jsonl")
    assert code == 0
    assert json.loads(out) == [{"role": "user", "content": "First"}]
    assert "the first dialogue of in.jsonl; 1 dialogue left out" in err


def test_check_says_nothing_twice(playbill, home):
    """A finding is a finding of `check`; it is no warning of the load as well."""
    code, out, err = playbill("check", "gpt-4-0613")
    assert code == 0
    assert "retired" in out + err
    assert "playbill: warning" not in err
