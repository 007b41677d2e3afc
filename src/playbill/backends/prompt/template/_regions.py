"""Response templates: where in a generated text thinking, answer and other parts of a message are.

The form and its meaning are those of transformers' ``response_template`` (version 1): a field begins where its
``open`` is found and ends where its ``close`` is; what no other field takes goes to the one that has no ``open``.
Runs in the worker, for patterns come from strangers. Imports the standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

KNOWN = {"version", "defaults", "fields", "start_anchor", "start_anchor_pattern"}


def read(request: Mapping[str, Any]) -> str:
    """Return the regions of ``text``, which follows ``prefix``, as a JSON list of [field, text, whether it was
    closed]."""
    template = json.loads(request["template"])
    anchor, fields = compiled(template)
    prefix = request["prefix"]
    ends = [match.end() for match in anchor.finditer(prefix)]
    begun = prefix[ends[-1] :] if ends else ""
    return json.dumps(regions(fields, begun + request["text"], len(begun)))


def compiled(template: Any) -> tuple[re.Pattern[str], dict[str, tuple[Any, Any]]]:
    """Return the anchor at which a message begins, and for each field what opens and what closes it."""
    if not isinstance(template, dict) or template.get("version", 1) != 1 or template.keys() - KNOWN:
        raise ValueError("not a response template of version 1")
    anchor = pattern_of(template, "start_anchor")
    if anchor is None:
        raise ValueError("a response template without start_anchor")
    fields = {}
    for name, field in template["fields"].items():
        fields[name] = (pattern_of(field, "open"), pattern_of(field, "close"))
    if sum(opening is None for opening, _ in fields.values()) > 1:
        raise ValueError("more than one field without an opening")
    return anchor, fields


def pattern_of(field: Mapping[str, Any], key: str) -> re.Pattern[str] | None:
    """Return the pattern of a literal, of one of several literals, or of a regular expression."""
    if key in field:
        literals = [field[key]] if isinstance(field[key], str) else list(field[key])
        if not literals or not all(literals):
            raise ValueError(f"{key}: an empty text")
        return re.compile("|".join(re.escape(each) for each in sorted(literals, key=len, reverse=True)), re.DOTALL)
    if f"{key}_pattern" in field:
        return re.compile(field[f"{key}_pattern"], re.DOTALL)
    return None


def regions(fields: Mapping[str, tuple[Any, Any]], text: str, start: int) -> list[tuple[str, str, bool]]:
    """Return the fields' regions in the text from ``start`` on, in their order; the beginning only says what is open
    there."""
    leftover = next((name for name, (opening, _) in fields.items() if opening is None), None)
    found: list[tuple[str, str, bool]] = []
    current, begin, place = leftover, 0, 0

    def end(at: int, closed: bool) -> None:
        if current is not None and at >= start and (current != leftover or at > max(begin, start)):
            found.append((current, text[max(begin, start) : at], closed))

    known: dict[tuple[int, str], re.Match[str] | None] = {}

    def search(rank: int, name: str) -> re.Match[str] | None:
        """Return the next match of what opens (0) or closes (1) a field; each place of the text is looked at once."""
        unseen = (rank, name) not in known
        seen = known.get((rank, name))
        if unseen or (seen is not None and seen.start() < place):
            pattern = fields[name][rank]
            known[rank, name] = seen = None if pattern is None else pattern.search(text, place)
        return seen

    while True:
        if current is not None and current != leftover:
            watched = [(1, current)]
        else:
            watched = [(0, name) for name in fields] + [(1, name) for name in (leftover,) if name is not None]
        hits = [(rank, name, match) for rank, name in watched if (match := search(rank, name))]
        if not hits:
            end(len(text), False)
            return found
        rank, name, match = min(hits, key=lambda hit: (hit[2].start(), -len(hit[2][0]), hit[0], hit[1]))
        if rank == 1 and name == leftover and not match[0] and match.start() == begin:
            return found  # it would match here for ever
        end(match.start(), True)
        current, begin, place = (name if rank == 0 else leftover), match.end(), match.end()
