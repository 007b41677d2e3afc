"""Build src/playbill/backends/model_registry.json from the sources in models/.

python tools/build_registry.py           writes it where it is out of date
python tools/build_registry.py --check   writes nothing; exits with 1 where it is out of date

A source is a list of entries. Beside its keys an entry has ``origin``, where its values were taken from, and may have
``decided``: by key, what else was said and why this value stands. Where the origin is "documented", ``documented`` says
by key where it stands. None of these is written. Knows no key and no model.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from playbill.backends.common.jsonfile import read_json, write_atomically
from playbill.backends.registry.lookup import packaged_file
from playbill.proof.registries.formatting import registry_text

SOURCES = Path(__file__).parents[1] / "models"
ABSENT = SOURCES / "absent.json"
"""The models of registries in use that the packaged one leaves out: name to reason."""
LAST = "no-model.json"
NOTES = ("origin", "decided", "documented")


def sources() -> list[Path]:
    """Return the files of entries: by name, and what is no model last."""
    files = [path for path in SOURCES.glob("*.json") if path != ABSENT]
    return sorted(files, key=lambda path: (path.name == LAST, path.name))


def read_source(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a source with their notes."""
    content = read_json(path)
    assert isinstance(content, list)
    return content


def build() -> str:
    """Return the text of the packaged registry, as `playbill registry lint` formats one."""
    items = (item for path in sources() for item in read_source(path))
    return registry_text([{key: value for key, value in item.items() if key not in NOTES} for item in items])


def main() -> None:
    path, text = packaged_file(), build()
    if path.read_text(encoding="utf-8") == text:
        return
    if "--check" in sys.argv[1:]:
        sys.exit(f"{path.name} is not what models/ says: python tools/build_registry.py")
    write_atomically(path, text)
    print(f"{path.name}: written")


if __name__ == "__main__":
    main()
