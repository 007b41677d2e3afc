"""Write the generated parts of the docs anew, from the tables that the code reads. Knows no text by itself.

python tools/gendocs.py          writes docs/entries.md, docs/rules.md and the JSON Schema
python tools/gendocs.py --check  exits 1 where one is not up to date
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from playbill.backends.entry_keys import EVERY, KEYS, METADATA, UNREAD, Key
from playbill.backends.entry_rules import ENTRY_RULES
from playbill.backends.jsonfile import write_atomically
from playbill.backends.parameters import PARAMETERS
from playbill.backends.schema import schema_file, schema_text
from playbill.proof.live_rules import LIVE_RULES
from playbill.proof.path_rules import PATH_RULES
from playbill.proof.rules import rules_page
from playbill.proof.template_rules import TEMPLATE_RULES
from playbill.runs.audit import RECORD_RULES

DOCS = Path(__file__).parents[1] / "docs"
ENTRIES = DOCS / "entries.md"
RULES = {
    "The entry": {**ENTRY_RULES, **TEMPLATE_RULES},
    "The prompt path": PATH_RULES,
    "Live answers": LIVE_RULES,
    "Records": RECORD_RULES,
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def names(of: tuple[str, ...]) -> str:
    if of == METADATA:
        return "nobody: for people"
    return "all" if of == EVERY else ", ".join(f"`{name}`" for name in of)


def shown(value: object) -> str:
    return "" if value is None else f"`{json.dumps(value)}`"


def key_row(key: Key) -> list[str]:
    required = names(key.required_by) if key.required_by else ""
    return [f"`{key.name}`", key.type.name, key.summary, names(key.read_by), required, shown(key.default)]


def parts() -> dict[str, str]:
    """The generated parts of docs/entries.md by the names of their markers."""
    keys = [key_row(key) for key in KEYS.values() if key.name not in PARAMETERS]
    parameters = [[f"`{p.name}`", p.type.name, p.summary, shown(p.default)] for p in PARAMETERS.values()]
    return {
        "keys": table(["key", "type", "meaning", "read by", "required by", "default"], keys),
        "parameters": table(["parameter", "type", "meaning", "default"], parameters),
        "unread": table(["key", "why nothing reads it"], ([f"`{name}`", why] for name, why in UNREAD.items())),
    }


def filled(text: str) -> str:
    """A page with what stands between its markers written anew."""
    for name, part in parts().items():
        start, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        before, _, rest = text.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"{ENTRIES}: the markers of '{name}' are missing")
        text = f"{before}{start}\n{part}\n{end}{after}"
    return text


def main() -> None:
    wanted = {ENTRIES: filled(ENTRIES.read_text(encoding="utf-8")), schema_file(): schema_text()}
    wanted[DOCS / "rules.md"] = rules_page(RULES)
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" not in sys.argv[1:]:
        for path in stale:
            write_atomically(path, wanted[path])
    for path in stale:
        print(f"{path.name}: {'not up to date' if '--check' in sys.argv[1:] else 'written'}")
    sys.exit(1 if stale and "--check" in sys.argv[1:] else 0)


if __name__ == "__main__":
    main()
