"""Write the generated parts of the docs anew, from the tables that the code reads. Knows no text by itself.

python tools/gendocs.py          writes docs/entries.md, docs/services.md, docs/rules.md and the JSON Schema
python tools/gendocs.py --check  exits 1 where one is not up to date
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from playbill.backends.common.jsonfile import write_atomically
from playbill.backends.engines.remote.failure import Kind
from playbill.backends.registry.fields.parameters import PARAMETERS
from playbill.backends.registry.fields.table import ENTRY_KEYS, EVERY, LOCAL, METADATA, UNREAD, EntryKey
from playbill.backends.registry.rules import ENTRY_RULES
from playbill.backends.registry.schema import schema_file, schema_text
from playbill.backends.registry.services import REMOTE, SERVICES, Service
from playbill.backends.registry.unsupported import UNSUPPORTED
from playbill.proof.rules.live import LIVE_RULES
from playbill.proof.rules.path import PATH_RULES
from playbill.proof.rules.table import rules_page
from playbill.proof.rules.template import TEMPLATE_RULES
from playbill.runs.audit import RECORD_RULES

DOCS = Path(__file__).parents[1] / "docs"
ENTRIES = DOCS / "entries.md"
SERVICES_PAGE = DOCS / "services.md"
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
    if of == EVERY:
        return "all"
    rest = tuple(name for name in of if name not in REMOTE) if set(REMOTE) <= set(of) else of
    services = [] if rest == of else ["[services](services.md)"]
    return ", ".join([*(f"`{name}`" for name in rest), *services])


def shown(value: object) -> str:
    return "" if value is None else f"`{json.dumps(value)}`"


def key_row(key: EntryKey) -> list[str]:
    required = names(key.required_by) if key.required_by else ""
    return [f"`{key.name}`", key.type.name, key.summary, names(key.read_by), required, shown(key.default)]


def engine_row(key: EntryKey) -> list[str]:
    """What each local engine does with a key that some of them can't honour."""
    row = [f"`{key.name}`"]
    for engine in LOCAL:
        found = UNSUPPORTED[key.name].get(engine)
        row.append("reads it" if found is None else f"{'**refuses it**' if found.refused else 'no'}: {found.reason}")
    return row


def service_row(service: Service) -> list[str]:
    variables = ", ".join(f"`{name}`" for name in service.variables)
    renamed = {**service.renamed, **service.reasoning_renamed}
    own = ", ".join(
        f"`{name}`" + (f" (`{renamed[name]}`)" if name in renamed else "")
        for name in PARAMETERS
        if name in service.supported_parameters
    )
    refused = ", ".join(f"`{name}`" for name in PARAMETERS if name in service.reasoning_refuses)
    return [f"`{service.name}`", service.base_url or "`base_url`", variables, own, refused]


def failure_row(kind: Kind) -> list[str]:
    return [KINDS[kind], "yes" if kind.may_pass else "no", ERRORS.get(kind, "`EngineError`")]


KINDS = {
    Kind.CONNECTION: "no connection, a reset, no answer within `timeout`",
    Kind.SERVER: "408, 5xx; an answer that the service says broke off",
    Kind.BROKEN: "a 200 that is no completion: no choices, invalid JSON, another content type, cut short",
    Kind.RATE_LIMIT: "429",
    Kind.OVERLOADED: "503, 529",
    Kind.KEY: "401, and Google's 400 for a key; its model stops",
    Kind.FORBIDDEN: "403",
    Kind.NOT_FOUND: "404",
    Kind.QUOTA: "402, a used-up quota, a `Retry-After` of more than 15 minutes; its model stops",
    Kind.REFUSED: "content that the service refuses",
    Kind.CONTEXT: "a prompt that is too long",
    Kind.REQUEST: "400 and other 4xx, a redirect, a certificate that is not trusted",
}
ERRORS = {
    Kind.KEY: "`CredentialsError`",
    Kind.QUOTA: "`QuotaUsedUp`",
    Kind.REFUSED: "`Refused`: the outcome is `refused`",
    Kind.CONTEXT: "`ContextExceeded`: the outcome is `context_exceeded`",
}


def service_parts() -> dict[str, str]:
    """The generated parts of docs/services.md."""
    head = ["backend", "address", "variable", "parameters (and their names there)", "refused by reasoning models"]
    return {
        "services": table(head, (service_row(SERVICES[name]) for name in REMOTE)),
        "failures": table(["what happened", "tried again", "error in the end"], map(failure_row, Kind)),
    }


def parts() -> dict[str, str]:
    """The generated parts of docs/entries.md by the names of their markers."""
    keys = [key_row(key) for key in ENTRY_KEYS.values() if key.name not in PARAMETERS]
    parameters = [[f"`{p.name}`", p.type.name, p.summary, shown(p.default)] for p in PARAMETERS.values()]
    return {
        "keys": table(["key", "type", "meaning", "read by", "required by", "default"], keys),
        "parameters": table(["parameter", "type", "meaning", "default"], parameters),
        "engines": table(
            ["key", *(f"`{e}`" for e in LOCAL)], (engine_row(ENTRY_KEYS[n]) for n in ENTRY_KEYS if n in UNSUPPORTED)
        ),
        "unread": table(["key", "why nothing reads it"], ([f"`{name}`", why] for name, why in UNREAD.items())),
    }


def filled(page: Path, made: dict[str, str]) -> str:
    """A page with what stands between its markers written anew."""
    text = page.read_text(encoding="utf-8")
    for name, part in made.items():
        start, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        before, _, rest = text.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"{page}: the markers of '{name}' are missing")
        text = f"{before}{start}\n{part}\n{end}{after}"
    return text


def main() -> None:
    wanted = {ENTRIES: filled(ENTRIES, parts()), schema_file(): schema_text()}
    wanted[SERVICES_PAGE] = filled(SERVICES_PAGE, service_parts())
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
