"""What the documentation shows is true: its Python runs, its commands exist, its links and paths lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from playbill.cli import cli
from support.pages import PAGES, ROOT, TUTORIALS, blocks

SITE = "https://github.com/playbill-eval/playbill/blob/main/"


def python_blocks() -> list[object]:
    found = []
    for page in PAGES:
        if page not in TUTORIALS:  # theirs build on what was done before; test_tutorials.py runs them
            texts = [block.text for block in blocks(page) if block.language == "python"]
            found += [pytest.param(text, id=f"{page.relative_to(ROOT)}-{i}") for i, text in enumerate(texts)]
    return found


@pytest.mark.parametrize("code", python_blocks())
def test_python_of_the_docs_runs(code, tmp_path):
    """Each Python block runs by itself, and prints what its comments say."""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = re.findall(r"^# (.+)$", code.partition("print(")[2], re.M)
    for line in said:
        assert line in done.stdout


def commands() -> list[str]:
    texts = [block.text.replace("\\\n", " ") for page in PAGES for block in blocks(page) if block.language == "sh"]
    lines = [line.partition("#")[0].strip() for text in texts for line in text.splitlines()]
    return sorted({line for line in lines if line.startswith("playbill ")})


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


def headings(page: Path) -> set[str]:
    """The anchors that a code host gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page):
    """Links to files of this repository, relative or absolute, name files and headings that are there."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for target, _, anchor in (t.partition("#") for t in re.findall(r"\]\(([^)]+)\)", text)):
        if target.startswith(SITE):
            found = ROOT / target.removeprefix(SITE)
        elif target.startswith("http"):
            continue
        else:
            found = page.parent / target if target else page
        assert found.exists(), target
        assert not anchor or found.suffix != ".md" or anchor in headings(found), f"{target}#{anchor}"


def test_links_of_the_readme_are_absolute():
    """A package index shows the README without the files beside it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [t for t in re.findall(r"\]\(([^)]+)\)", text) if not t.startswith(("https://", "#"))] == []


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_paths_in_pages_exist(page):
    """Files of this repository that a page names in code are there."""
    named = re.findall(r"`((?:tests|tools|benchmarks|docs|playbill)/[\w/.-]+)`", page.read_text(encoding="utf-8"))
    for path in named:
        assert (ROOT / path).exists() or (ROOT / "src" / path).exists(), path


def test_pages_named_in_the_code_exist():
    """Messages and docstrings that name a page of the docs name one that is there."""
    for path in (ROOT / "src").rglob("*.py"):
        for page in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text(encoding="utf-8")):
            assert (ROOT / page).exists(), f"{path.relative_to(ROOT)}: {page}"


def test_every_page_is_reached_from_the_index():
    """A page is in the list of its folder's index, from which the tree of the site is made."""
    reached, todo = set(), [ROOT / "docs" / "index.md"]
    while todo:
        page = todo.pop()
        if page not in reached:
            reached.add(page)
            links = re.findall(r"\]\(([^):#]+\.md)", page.read_text(encoding="utf-8"))
            todo += [found for link in links if (found := (page.parent / link).resolve()).is_relative_to(ROOT / "docs")]
    assert {page for page in PAGES if page.is_relative_to(ROOT / "docs")} - reached == set()
