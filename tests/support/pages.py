"""The pages of the documentation as tests see them: fenced blocks, and the tutorials as scripts that are executed.

A comment before a block of a tutorial says how it is tested:

    <!-- test: skip WHY -->        it isn't executed
    <!-- test: slow -->            only where the real weights are used
    <!-- test: background -->      it goes on while the rest of the page is executed
    <!-- test: exits 0 or 1 -->    other exit codes than 0
    <!-- test: prints -->          each line of this text is in what the block before printed
    <!-- test: file NAME -->       the reader saves this block under that name
    <!-- test: stand-in NAME -->   the model is replaced by a scripted one, since none such is here

And for a whole page: <!-- test: weights --> uses the demo's model, and <!-- test: folder NAME --> begins with the
folder of a model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "TUTORIALS", "Block", "blocks", "page_marks", "tutorial_blocks"]

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("**/*.md")])
TUTORIALS = sorted(page for page in (ROOT / "docs" / "tutorials").glob("*.md") if page.name != "index.md")

_BLOCK = re.compile(r"(?:<!-- test: (?P<mark>[^\n]*?) -->\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.S | re.M)
_PAGE_MARK = re.compile(r"<!-- test: (weights|folder \S+) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the mark before it, and the line it begins at."""

    language: str
    text: str
    mark: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(m["language"], m["text"], m["mark"] or "", text.count("\n", 0, m.start("text")))
        for m in _BLOCK.finditer(text)
    ]


def tutorial_blocks(page: Path) -> list[Block]:
    """The blocks of a tutorial that a reader types, saves or sees printed."""
    return [b for b in blocks(page) if b.language in ("sh", "python") or b.mark.startswith(("prints", "file"))]


def page_marks(page: Path) -> list[str]:
    """What is said of the whole page."""
    return _PAGE_MARK.findall(page.read_text(encoding="utf-8"))
