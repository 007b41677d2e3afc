"""Write docs/reference/registries/clembench-3.0-requests.md: what clemcore and Playbill send under the same entries.

python tools/clemcore_requests/compare.py REGISTRY                   writes the page
python tools/clemcore_requests/compare.py REGISTRY --check           only exits with 1 where the page is out of date
python tools/clemcore_requests/compare.py REGISTRY --record PYTHON   records anew first, where clemcore is

REGISTRY is clembench 3.0's file of entries. ``requests.json`` holds the dialogue and what clemcore sent. A difference
between the two bodies that no row of `INTENDED` explains ends with an error. Opens no model.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from playbill.backends.common.jsonfile import write_atomically
from playbill.backends.errors import ParameterError
from playbill.backends.registry.backends import BACKENDS
from playbill.backends.registry.thinking_plan import ThinkingProblem
from playbill.backends.registry.validate import flatten

HERE = Path(__file__).parent
REQUESTS = HERE / "requests.json"
PAGE = HERE.parents[1] / "docs" / "reference" / "registries" / "clembench-3.0-requests.md"
MISSING, ANY = object(), object()
Body = dict[str, Any]
_SENT = ("model_name", "model_id", "backend", "model_config")

_BOTH = "300 for the answer as asked, and 25,000 for the thinking, which the service counts with it"
_NO_LIMIT = "clemcore sends no limit under `reasoning_model`"
_UNSAMPLED = "the version of the API that Playbill names takes no sampling parameter"
_UNREAD = "the entry's own key, which clemcore's backend doesn't read"


@dataclass(frozen=True)
class Intended:
    """Why a field of the body differs: at one backend, from one value to another; `ANY` is all values."""

    backend: str
    field: str
    clemcore: Any
    playbill: Any
    why: str

    def explains(self, backend: str, field: str, clemcore: Any, playbill: Any) -> bool:
        """Tell whether this is the row of a difference."""
        pairs = ((self.clemcore, clemcore), (self.playbill, playbill))
        return (self.backend, self.field) == (backend, field) and all(a is ANY or a == b for a, b in pairs)


INTENDED = (
    Intended("openrouter", "max_tokens", MISSING, 25300, f"{_NO_LIMIT}; {_BOTH}"),
    Intended("openrouter", "max_tokens", 300, 25300, f"`extra_body` switches thinking on: {_BOTH}"),
    Intended("openrouter", "max_tokens", MISSING, 300, f"{_NO_LIMIT}, though `extra_body` switches thinking off"),
    Intended("openai", "max_completion_tokens", MISSING, 25300, f"{_NO_LIMIT}; {_BOTH}"),
    Intended("openai", "reasoning_effort", MISSING, "low", _UNREAD),
    Intended("openai", "temperature", 1.0, MISSING, "the model takes it with effort none only"),
    Intended("azure", "max_completion_tokens", MISSING, 25300, f"{_NO_LIMIT}; {_BOTH}"),
    Intended("azure", "temperature", 1.0, MISSING, "the model takes it with effort none only"),
    Intended("google", "safetySettings", ANY, MISSING, "clemcore's own, in no entry; Playbill sends none unasked"),
    Intended(
        "google",
        "generationConfig.maxOutputTokens",
        300,
        700,
        "300 for the answer, and the entry's `reasoning_budget` of 400, which the service counts with it",
    ),
    Intended("google", "generationConfig.thinkingConfig.includeThoughts", MISSING, True, _UNREAD),
    Intended("google", "generationConfig.thinkingConfig.thinkingBudget", MISSING, 400, _UNREAD),
    Intended("anthropic", "system", ANY, ANY, "the same text as a part; the service takes either form"),
    Intended("anthropic", "thinking.budget_tokens", 4000, 1024, "clemcore asks for 4,000, whatever the entry says"),
    Intended("anthropic", "max_tokens", 4300, 1324, "300 for the answer, and the budget"),
    Intended("anthropic", "temperature", 1.0, MISSING, _UNSAMPLED),
    Intended("azure_claude", "system", MISSING, ANY, "the API's own field for system messages"),
    Intended(
        "azure_claude", "messages", ANY, ANY,
        "clemcore leaves the system message here, where the API has a field for it; it takes texts as parts, too",
    ),
    Intended("azure_claude", "temperature", 1.0, MISSING, _UNSAMPLED),
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One field of both bodies, with the reason where they differ: None where nobody has said one."""

    field: str
    clemcore: Any
    playbill: Any
    why: str | None


def load(registry: Path) -> dict[str, Any]:
    """Return what requests.json holds, and under ``entries`` what of a registry's entries reaches a request."""
    found: dict[str, Any] = json.loads(REQUESTS.read_text(encoding="utf-8"))
    entries = json.loads(registry.read_text(encoding="utf-8"))
    return {**found, "entries": [{key: entry[key] for key in _SENT} for entry in entries]}


def by_clemcore(requests: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the temperature that clemcore was run with, and its body: recorded, or for azure as its code writes it."""
    found = requests["recorded"].get(entry["model_name"])
    return dict(found) if found else _azure(requests, entry)


def _azure(requests: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Clemcore's azure backend is in no package; this is the request that a public copy of it describes.

    https://github.com/mariamaninna/clemcore/blob/021ce112fbcf2de30440cc9fab33a894601413b7/clemcore/backends/azure_api.py
    """
    config, body = entry["model_config"], {"model": entry["model_id"], "messages": requests["messages"]}
    if "claude" in entry["model_id"]:
        budget = config["thinking_budget"]
        thinking = {"type": "enabled", "budget_tokens": budget}
        limit = budget + requests["max_tokens"]
        return {"temperature": 0.0, "body": {**body, "max_tokens": limit, "temperature": 1.0, "thinking": thinking}}
    return {"temperature": 1.0, "body": {**body, "temperature": 1.0, "reasoning_effort": config["reasoning_effort"]}}


def by_playbill(requests: Mapping[str, Any], entry: Mapping[str, Any], temperature: float) -> tuple[Body, Body]:
    """Return the parameters that Playbill is asked for and its body. Raises ThinkingProblem for a refused entry.

    Temperature 0 and 300 tokens are its defaults. Where a model refuses another temperature, none is asked.
    """
    flat = flatten(entry).entry
    module = import_module(BACKENDS[flat["backend"]].module)
    asked = {} if temperature == 0 else {"temperature": temperature}
    try:
        return asked, module.request_body(flat, tuple(requests["messages"]), asked)
    except ThinkingProblem:
        raise
    except ParameterError:
        return {}, module.request_body(flat, tuple(requests["messages"]), {})


def rows(entry: Mapping[str, Any], clemcore: Mapping[str, Any], playbill: Mapping[str, Any]) -> Iterator[Row]:
    """Yield all fields of both bodies; messages and lists are one field."""
    backend = flatten(entry).entry["backend"]
    theirs, ours = dict(_fields(clemcore)), dict(_fields(playbill))
    for field in dict.fromkeys((*theirs, *ours)):
        pair = theirs.get(field, MISSING), ours.get(field, MISSING)
        reasons = (row.why for row in INTENDED if row.explains(backend, field, *pair))
        yield Row(field, *pair, "" if pair[0] == pair[1] else next(reasons, None))


def _fields(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _fields(inner, f"{path}{name}.")
        else:
            yield f"{path}{name}", inner


HEAD = """\
# What clemcore and Playbill send under clembench 3.0's entries

For each of the {count} entries, both requests for the same dialogue, field by field. Clemcore is run as a benchmark
runs it, with temperature 0 and 300 tokens; where it refuses temperature 0, with 1. Playbill's defaults are the same 0
and 300; where clemcore is run with 1, so is Playbill, unless the model is known to refuse it.

What clemcore sends was recorded from its package, version 3.7.2, at a server on the same machine; a test records it
anew. Its azure backend is in no package: those bodies are what {copy} writes.
Generated by `python tools/clemcore_requests/compare.py REGISTRY`, which refuses a difference without a
reason. The registry itself: [entry by entry](clembench-v3.0-22-entries.md).

The dialogue, where nothing else is shown: {dialogue}
"""
_COPY = (
    "[a public copy](https://github.com/mariamaninna/clemcore/blob/021ce112fbcf2de30440cc9fab33a894601413b7/"
    "clemcore/backends/azure_api.py)"
)


def page(requests: Mapping[str, Any]) -> str:
    """Return the page's text. Raises SystemExit for a difference that nobody explained."""
    dialogue = ", ".join(f"{m['role']} “{m['content']}”" for m in requests["messages"])
    sections = [section(requests, entry) for entry in requests["entries"]]
    return "\n".join([HEAD.format(count=len(sections), copy=_COPY, dialogue=dialogue), *sections])


def section(requests: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """Return what is said of one entry."""
    theirs = by_clemcore(requests, entry)
    title = (
        f"## {entry['model_name']}\n\nBackend {entry['backend']}, clemcore with temperature {theirs['temperature']:g}"
    )
    try:
        asked, ours = by_playbill(requests, entry, theirs["temperature"])
    except ThinkingProblem as e:
        lines = [f"| {field} | {_cell(field, value, requests)} |" for field, value in _fields(theirs["body"])]
        refusal = f"Playbill sends nothing, for it refuses the entry: {e}."
        return "\n".join([f"{title}. {refusal}\n", "| field | clemcore |", "| --- | --- |", *lines, ""])
    with_ = f"temperature {asked['temperature']:g}" if asked else "its defaults"
    lines = ["| field | clemcore | Playbill | why |", "| --- | --- | --- | --- |"]
    for row in rows(entry, theirs["body"], ours):
        if row.why is None:
            sys.exit(f"{entry['model_name']}: {row.field} differs, and nobody says why")
        cells = (_cell(row.field, value, requests) for value in (row.clemcore, row.playbill))
        lines.append(f"| {row.field} | {' | '.join(cells)} | {row.why} |")
    return "\n".join([f"{title}, Playbill with {with_}.\n", *lines, ""])


def _cell(field: str, value: Any, requests: Mapping[str, Any]) -> str:
    if value is MISSING:
        return ""
    if field in ("messages", "contents") and value == requests["messages"]:
        return "the dialogue"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def record(python: str, requests: dict[str, Any]) -> dict[str, Any]:
    """Return what clemcore sends, recorded with the Python that has it."""
    command = [python, str(HERE / "record.py")]
    done = subprocess.run(command, input=json.dumps(requests), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        sys.exit("name clembench's file of entries")
    arguments, requests = sys.argv[2:], load(Path(sys.argv[1]))
    if arguments[:1] == ["--record"]:
        requests["recorded"] = record(arguments[1], requests)
        kept = {key: value for key, value in requests.items() if key != "entries"}
        write_atomically(REQUESTS, json.dumps(kept, ensure_ascii=False, indent=1) + "\n")
    text = page(requests)
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return
    if "--check" in arguments:
        sys.exit(f"{PAGE.name} is out of date: python tools/clemcore_requests/compare.py REGISTRY")
    write_atomically(PAGE, text)
    print(f"{PAGE.name}: written")


if __name__ == "__main__":
    main()
