"""Terminals of 40, 80 and 200 columns: nothing is cut, and what fits no column becomes a paragraph."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from playbill.cli import cli

WIDTHS = (40, 80, 200)


def commands(group: click.Group, before: tuple[str, ...] = ()):
    """Every command and those below it, each as what is typed."""
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            yield (*before, name), command
            if isinstance(command, click.Group):
                yield from commands(command, (*before, name))


ALL = list(commands(cli))


def words(text: str) -> list[str]:
    return text.split()


def wide_lines(text: str, width: int, verbatim: str = "") -> list[str]:
    """Lines that are too long although they could be wrapped: more than one word, and no example of the help."""
    return [line for line in text.splitlines() if len(line) > width and len(line.split()) > 1 and line not in verbatim]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("typed", [name for name, _ in ALL], ids=" ".join)
def test_help_is_never_cut(playbill, monkeypatch, typed, width):
    """Each option's whole help is there, and no line but an example's is longer than the terminal."""
    monkeypatch.setenv("COLUMNS", str(width))
    command = dict(ALL)[typed]
    code, out, _ = playbill(*typed, "--help")
    assert code == 0
    examples = "\n".join(f"  {line.strip()}" for line in (command.help or "").splitlines())
    assert wide_lines(out, width, examples) == []
    said = "".join(words(out))
    for option in command.params:
        if isinstance(option, click.Option):
            assert "".join(words(option.help or "")) in said, option.name


@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_of_commands_has_whole_sentences(playbill, monkeypatch, width):
    """No description ends in three dots."""
    monkeypatch.setenv("COLUMNS", str(width))
    _, out, _ = playbill("--help")
    assert "..." not in out.partition("Commands:")[2].replace("NAME...", "")
    assert "and for each value the file it came from." in " ".join(words(out))
    assert wide_lines(out, width) == []


@pytest.mark.parametrize(
    "line",
    [
        "list gpt-4",
        "list --registry mine.json --problems",
        "show gpt-4o",
        "show mock -p temperature=0.7",
        "keys",
        "backends",
        "check mock",
        "check --explain PB101",
        "prompt mock",
        "run in.jsonl -m mock -o out",
        "audit out",
        "replay out",
        "report out",
    ],
)
def test_nothing_is_lost_at_40_columns(playbill, place, monkeypatch, line):
    """Every word of the wide output is there in the narrow one, which exits alike."""
    (place / "in.jsonl").write_text(json.dumps({"id": "a", "turns": ["Hello there"]}) + "\n")
    (place / "mine.json").write_text(json.dumps([{"model_name": "typo", "backend": "llamacpp", "eos_to_cul": "x"}]))
    if not line.startswith("run"):
        playbill("run", "in.jsonl", "-m", "mock", "-o", "out")
    code, wide, _ = playbill(*line.split())
    monkeypatch.setenv("COLUMNS", "40")
    narrow_code, narrow, _ = playbill(*line.split())
    assert code == narrow_code
    lost = {w.strip(";:").lower() for w in words(wide)} - {w.strip(";:").lower() for w in words(narrow)}
    heads = {w.lower() for w in words(wide) if w.isupper()}
    assert {w for w in lost if not w.replace(".", "").isdigit()} <= heads


def test_a_table_that_does_not_fit_is_paragraphs(playbill, monkeypatch):
    """At 40 columns a model of the list is its name, and below it what the columns say."""
    monkeypatch.setenv("COLUMNS", "40")
    _, out, _ = playbill("list", "gpt-4o")
    assert "gpt-4o-mini\n  backend: openai; context: 128k;\n  proven: as-written; licence: OpenAI\n" in out
    assert wide_lines(out, 40) == []


def test_show_names_the_file_once(playbill):
    """Where each value came from is said once, and again only for values from elsewhere."""
    _, out, _ = playbill("show", "gpt-4o", "-p", "temperature=0.7")
    assert out.partition("note PB")[0].count("model_registry.json") == 1
    assert "temperature    0.7  (from the caller)" in out


def test_backends_say_what_is_missing_once_for_each_line_to_type(place):
    """Backends that one pip line brings stand together, and no state is repeated."""
    program = "import sys; sys.modules['openai'] = None; from playbill.cli import main; main(['backends'])"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    assert out.count('pip install "playbill[openai]"') == 1
    assert "ready" not in out.replace("READY", "")
    assert out.index("openrouter") > out.index("not installed; pip")
