"""The rules for an entry among its neighbours (PB113 on) and for its template's text.

`proof.checks.neighbours` and `proof.checks.template` judge by them.
"""

from __future__ import annotations

from playbill.backends.common.findings import Rule, Severity, table_of

__all__ = ["TEMPLATE_RULES"]

TEMPLATE_SYNTAX = Rule(
    code="PB113",
    name="template-syntax",
    severity=Severity.ERROR,
    summary="The chat template is no Jinja that can be read.",
    why="No prompt can be rendered with it.",
    prevents="A template pasted into JSON whose quotes or line breaks were escaped once too often.",
    mend="Mend the line that the message names.",
)
TEMPLATE_UNDEFINED = Rule(
    code="PB114",
    name="template-undefined",
    severity=Severity.WARNING,
    summary="The template uses a variable that nobody gives it.",
    why="Jinja writes nothing for it, so a part of the prompt is missing without a word.",
    prevents="A template without generation prompt because of `add_generation_promt`; the model goes on as the user.",
    mend="Mend the name, give a value in `chat_template_kwargs`, or ask for it with `is defined`.",
)
UNREAD_ARGUMENT = Rule(
    code="PB115",
    name="unread-argument",
    severity=Severity.WARNING,
    summary="`chat_template_kwargs` has an argument that the template doesn't read.",
    why="The setting that it should make is not made.",
    prevents="`enable_thinking: false` given to a template that doesn't know it: the model thinks all the same.",
    mend="Take it out, or take the name that the template reads.",
)
TEMPLATE_FORBIDDEN = Rule(
    code="PB116",
    name="template-forbidden",
    severity=Severity.ERROR,
    summary="The template does what the sandbox forbids.",
    why="A template is a stranger's program; this one reaches for more than text.",
    prevents="CVE-2024-34359 (llama-cpp-python), CVE-2026-5760 (SGLang): a template in a model file that ran commands.",
    mend="Don't use it; take the template from the model's authors.",
)
TEMPLATE_COSTLY = Rule(
    code="PB117",
    name="template-costly",
    severity=Severity.ERROR,
    summary="The template takes too long, too much memory, or writes without end.",
    why="It would stop a run, or the machine.",
    prevents="A run that hangs on its first prompt.",
    mend="Don't use it; take the template from the model's authors.",
)
TEMPLATE_FAILS = Rule(
    code="PB118",
    name="template-fails",
    severity=Severity.ERROR,
    summary="The template fails on a single message of a user.",
    why="There is no conversation that it could render.",
    prevents="A template that needs a variable which only the authors' own code gives it.",
    mend="Mend the template, or give what it misses in `chat_template_kwargs`.",
)
DUPLICATE_NAME = Rule(
    code="PB119",
    name="duplicate-name",
    severity=Severity.WARNING,
    summary="An earlier entry of the same file has the same name.",
    why="The name finds the earlier one; this one is only reached by a selector.",
    prevents="A corrected entry appended to a registry, while all runs go on with the old one.",
    mend='Rename one, or ask for it by a selector: `\'{"model_name": …, "backend": …}\'`.',
)
SHADOWED = Rule(
    code="PB120",
    name="shadowed",
    severity=Severity.NOTE,
    summary="An entry of a file that is searched earlier has the same name.",
    why="The name finds the earlier one. That is how entries are overridden, if it is meant.",
    prevents="Two people who run 'the same model' with different entries.",
    mend="Rename one if it isn't meant.",
)
HALF_THINKING = Rule(
    code="PB121",
    name="half-thinking",
    severity=Severity.WARNING,
    summary="`cot_start_tag` is given, and `cot_end_tag` isn't.",
    why="Thinking is separated at its end tag; without one it stays in the answer.",
    prevents="QwQ-32B in clembench 2.0: cut off in its thinking, which was then scored as the answer.",
    mend="Add `cot_end_tag`.",
)

MISSING_FILES = Rule(
    code="PB122",
    name="missing-files",
    severity=Severity.ERROR,
    summary="`huggingface_id` names a file or folder that isn't there.",
    why="There is nothing to load.",
    prevents="A registry that is shared with the paths of one machine.",
    mend="Mend the path; one that begins with neither `/`, `./` nor `~` is a repository of the hub.",
)

TEMPLATE_RULES = table_of(
    (
        TEMPLATE_SYNTAX,
        TEMPLATE_UNDEFINED,
        UNREAD_ARGUMENT,
        TEMPLATE_FORBIDDEN,
        TEMPLATE_COSTLY,
        TEMPLATE_FAILS,
        DUPLICATE_NAME,
        SHADOWED,
        HALF_THINKING,
        MISSING_FILES,
    )
)
"""Rules of neighbours and templates by code."""
