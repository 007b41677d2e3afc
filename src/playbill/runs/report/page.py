"""The page put together: markup, style and script from the files beside this one, and the data of a run.

The page may run one script and use one style sheet, each named by its hash; it can load and send nothing; its
pictures are in it. Data stands in blocks that no browser runs, and can't end them: no `<` is in it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from playbill.backends.common.jsonfile import write_atomically
from playbill.backends.errors import RunError
from playbill.runs.folder.inside import check_inside
from playbill.runs.report.collect import Collected, collect

__all__ = ["REPORT", "build_page", "write_report"]

REPORT = "report.html"


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a run's folder, into it unless ``out`` says where. Returns the file.

    Raises InputError where the folder holds no run, RunError where the page can't be written.
    """
    path = out or folder / REPORT
    if out is None:
        check_inside(folder, REPORT)
    try:
        write_atomically(path, build_page(collect(folder)))
    except OSError as e:
        raise RunError(f"can't write {path}: {e.strerror or e}; choose another file with -o") from e
    return path


def build_page(collected: Collected) -> str:
    """Return the whole page as text. Its dialogues are one line of JSON each, so that a browser parses only what is
    shown."""
    style, script = _file("page.css"), _file("page.js")
    policy = (
        f"default-src 'none'; script-src 'sha256-{_hash(script)}'; style-src 'sha256-{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": html.escape(policy, quote=True).replace("&#x27;", "'"),
        "title": html.escape(str(collected.summary["title"])),
        "style": style,
        "script": script,
        "summary": _data(collected.summary),
        "index": _data(collected.index),
        "dialogues": "\n".join(_data(dialogue) for dialogue in collected.dialogues),
    }
    page, *rest = _file("page.html").split("{{")
    for piece in rest:
        name, _, after = piece.partition("}}")
        page += parts[name] + after
    return page


def _file(name: str) -> str:
    return files("playbill.runs.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(value: Any) -> str:
    """JSON in one line that is safe inside a script element. Lone surrogates, which UTF-8 can't hold, as escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\r", "\\r")
