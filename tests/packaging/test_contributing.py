"""What CONTRIBUTING.md and SECURITY.md name is there."""

from __future__ import annotations

import re

import pytest

from support.assets import ROOT


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_every_path_that_the_page_names_exists(page):
    """A newcomer who follows it finds each file and folder."""
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:src|tests|docs|tools|benchmarks)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_make_target_that_the_pages_name_exists():
    """`make test` and its like."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "CONTRIBUTING.md"))
    named = {word for call in re.findall(r"(?:^|`)make ([a-z -]+)", text, re.MULTILINE) for word in call.split()}
    assert {"demo", "test", "lint", "types"} <= named
    assert [target for target in named if f"\n{target}:" not in makefile] == []
