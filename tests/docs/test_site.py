"""The docs site: built without a warning, complete, and without anything from the network."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module

import pytest

from support.pages import PAGES, ROOT

pytest.importorskip("sphinx", reason="the site is built with the group docs: pip install --group docs")
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", folder / "trees", DOCS]
    done = subprocess.run([*command, folder / "html"], capture_output=True, text=True)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)
    return folder / "html"


def test_every_page_is_on_the_site(site):
    """And none is left out of its tree."""
    for page in PAGES:
        if page.is_relative_to(DOCS):
            assert (site / page.relative_to(DOCS).with_suffix(".html")).exists()


def test_nothing_is_loaded_from_the_network(site):
    """Scripts, styles, fonts and pictures are all on the site; links that a reader follows may lead elsewhere."""
    loads = re.compile(r"""<(?:link|script|img|iframe|source|object)\b[^>]*?\b(?:href|src|data)=["']?(?:https?:)?//""")
    for page in site.rglob("*.html"):
        assert not loads.search(page.read_text(encoding="utf-8")), page
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(?:@import\s+(?:url\()?|url\()\s*[\"']?(?:https?:)?//", text), style
    for script in (site / "_static").rglob("*.js"):
        assert not re.search(r"""(?:fetch|import|importScripts)\(["']https?://""", script.read_text(encoding="utf-8"))


def test_the_search_works_without_a_server(site):
    """The index is a script, which a browser also loads from a file."""
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(")
    assert "batch-invari" in index or "invari" in index


@pytest.mark.parametrize("module", ["playbill.backends", "playbill.runs", "playbill.mock_services"])
def test_every_public_name_has_its_docstring_there(site, module):
    """On the module's page, with an anchor of its own."""
    page = site / "reference" / f"python-{module.rpartition('.')[2].replace('_', '-')}.html"
    text = page.read_text(encoding="utf-8")
    for name in import_module(module).__all__:
        assert f'id="{module}.{name}"' in text
