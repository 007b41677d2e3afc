"""The table of all rules: for entries, templates, the prompt path and live answers."""

from __future__ import annotations

from playbill.backends.common.findings import Rule, table_of
from playbill.backends.registry.rules import ENTRY_RULES
from playbill.proof.rules.live import LIVE_RULES
from playbill.proof.rules.path import PATH_RULES
from playbill.proof.rules.pictures import PICTURE_RULES
from playbill.proof.rules.template import TEMPLATE_RULES

__all__ = ["RULES", "explain", "rules_page"]

_TABLES = (ENTRY_RULES, TEMPLATE_RULES, PATH_RULES, PICTURE_RULES, LIVE_RULES)
RULES = table_of(rule for table in _TABLES for rule in table.values())
"""Rules by code. Those of records (PB4xx) stand where records are."""

_PAGE_HEAD = """\
# Rules

What `playbill check` judges entries by before a run, and `playbill audit` records after it. Each finding has a code
that stays, a name, and one of three severities: an *error* means that the thing can't be used, or would give wrong
results; a *warning*, that it probably would; a *note* is good to know. `playbill check --explain CODE` prints one.
"""


def explain(rule: Rule) -> str:
    """Return all that a rule has to say, as text for a terminal."""
    return (
        f"{rule.code} {rule.name} ({rule.severity.value})\n\n{rule.summary}\n\n"
        f"Why it matters: {rule.why}\nWhat it prevents: {rule.prevents}\nHow to mend it: {rule.mend}"
    )


def rules_page(tables: dict[str, dict[str, Rule]]) -> str:
    """Return the page of the docs: for each title its rules."""
    parts = [_PAGE_HEAD]
    for title, table in tables.items():
        parts.append(f"## {title}\n\n| code | name | severity | finds |\n|---|---|---|---|")
        parts.extend(
            f"| [{r.code}](#{r.code.lower()}-{r.name}) | {r.name} | {r.severity.value} | {_cell(r.summary)} |"
            for r in table.values()
        )
        parts.append("")
        for rule in table.values():
            parts.append(f"### {rule.code} {rule.name}\n")
            parts.append(f"*{rule.severity.value}.* {rule.summary} {rule.why}\n")
            parts.append(f"Prevents: {rule.prevents}\n\nMend: {rule.mend}\n")
    return "\n".join(parts).rstrip("\n") + "\n"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
