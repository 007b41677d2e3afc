"""Judge and import registries, and write what was found, summed up by code, to docs/reference/registries.md.

python tools/survey_registries.py FILE...

Only numbers are written: no entry of the files is copied. Knows no rule by itself.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from playbill.backends.common.jsonfile import write_atomically
from playbill.backends.registry.lookup import ModelRegistry
from playbill.proof import RULES, check_all
from playbill.proof.add.importing import import_registry
from playbill.proof.check import Options

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "registries.md"
HEAD = """\
# What was found in real registries

Registries of clembench and clemcore, judged entry by entry as by `playbill check FILE` (as written, without opening
a model), and imported as by `playbill import FILE`. Numbers only; this page is generated:
`python tools/survey_registries.py FILE...`. How to read a code: [rules.md](rules.md).
"""
KINDS = {
    "flattened": "taken out of `model_config`",
    "literal": "`eos_to_cull`, a pattern, written as the literal that it stands for",
    "dropped": "a key left out that nothing reads",
    "renamed": "an unknown key kept with `x_` in front",
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


def section(path: Path) -> str:
    """What one file shows."""
    registry = ModelRegistry.from_file(path)
    verdicts = list(check_all(registry, registry, Options(fetch=False)))
    found: Counter[str] = Counter(f.code for v in verdicts for f in v.findings)
    touched: Counter[str] = Counter(code for v in verdicts for code in {f.code for f in v.findings})
    imported = import_registry(path)
    kinds = Counter(change.kind for entry in imported.entries for change in entry.changes)
    entries = Counter(kind for entry in imported.entries for kind in {change.kind for change in entry.changes})
    backends = Counter(str(entry.flat.entry.get("backend")) for entry in registry)
    unread = sum(entry.entry is None for entry in imported.entries)
    return "\n".join(
        [
            f"## {path.name}\n",
            f"{len(verdicts)} entries: {', '.join(f'{n} of {name}' for name, n in backends.most_common())}. "
            f"{sum(v.wrong for v in verdicts)} can't be used as they are, "
            f"{sum(not v.findings for v in verdicts)} have no finding.\n",
            table(
                ["rule", "severity", "findings", "entries", "finds"],
                (
                    [f"[{c}](rules.md#{c.lower()}-{RULES[c].name}) {RULES[c].name}", RULES[c].severity.value, str(n),
                     str(touched[c]), RULES[c].summary.replace("|", r"\|")]
                    for c, n in sorted(found.items())
                ),
            ),
            f"\nThe import changed {'this' if kinds else 'nothing'}.\n",
            table(
                ["change", "times", "entries"],
                ([KINDS[kind], str(n), str(entries[kind])] for kind, n in sorted(kinds.items())),
            )
            if kinds
            else "",
            f"\n{unread} entries could not be read; {sum(e.usable for e in imported.entries)} can be used after it.\n",
        ]
    )  # fmt: skip


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    write_atomically(PAGE, "\n".join([HEAD, *(section(Path(name)) for name in sys.argv[1:])]))
    print(f"{PAGE.name}: written")


if __name__ == "__main__":
    main()
