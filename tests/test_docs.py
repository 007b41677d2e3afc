"""What the documentation shows is true: its Python runs, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from playbill.cli import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("**/*.md")])


def blocks(language: str) -> list[tuple[str, str]]:
    """The fenced blocks of a language: page and number, text."""
    found = []
    for page in PAGES:
        texts = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
        found += [(f"{page.relative_to(ROOT)}-{i}", text) for i, text in enumerate(texts)]
    return found


@pytest.mark.parametrize(("where", "code"), blocks("python"), ids=[b[0] for b in blocks("python")])
def test_python_of_the_docs_runs(where, code, tmp_path):
    """Each Python block runs by itself, and prints what its comments say."""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = re.findall(r"^# (.+)$", code.partition("print(")[2], re.M)
    for line in said:
        assert line in done.stdout


def commands() -> list[str]:
    lines = [line for _, text in blocks("sh") for line in text.splitlines()]
    return sorted({line.partition("#")[0].strip() for line in lines if line.startswith("playbill ")})


@pytest.mark.parametrize("line", commands())
def test_commands_of_the_docs_exist(line):
    """Each `playbill` line in the docs names a command that there is, with options that it has."""
    words = shlex.split(line.split("<")[0].split("|")[0].split(">")[0])[1:]
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found
    known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help"}
    assert {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= known, line


def test_links_lead_somewhere():
    """Links inside the repository point to files that are there."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
