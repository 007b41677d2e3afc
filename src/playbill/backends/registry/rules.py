"""The rules that a registry entry is judged by: PB101 to PB112, PB123 to PB128, and PB140 on.

`validate`, `fields.conflicts` and `lookup` judge by them.
"""

from __future__ import annotations

from playbill.backends.common.findings import Rule, Severity, table_of

__all__ = ["ENTRY_RULES"]

NOT_AN_ENTRY = Rule(
    code="PB101",
    name="not-an-entry",
    severity=Severity.ERROR,
    summary="An item of the registry's list is not an object.",
    why="What is no entry is skipped by whoever reads the file, and its model is missing without a word.",
    prevents="clemcore skips a registry file that it can't read, and says so at debug level only.",
    mend="Write `{…}` with at least `model_name` and `backend`, or take the item out.",
)
MISSING_KEY = Rule(
    code="PB102",
    name="missing-key",
    severity=Severity.ERROR,
    summary="A key that the backend can't do without is missing.",
    why="Without it the model can't be loaded, or its end tokens are not known.",
    prevents="An error that is met only after the weights were fetched and loaded.",
    mend="Add the key; the message says what it is for.",
)
WRONG_TYPE = Rule(
    code="PB103",
    name="wrong-type",
    severity=Severity.ERROR,
    summary="A value is not of the key's type.",
    why='A value of the wrong type is often read as something else: `"false"` is true in Python.',
    prevents="A setting that is read as its opposite, in every record of a run.",
    mend="Write a value of the type that the message names.",
)
UNKNOWN_KEY = Rule(
    code="PB104",
    name="unknown-key",
    severity=Severity.ERROR,
    summary="An unknown key that is nearly a known one.",
    why="A misspelt key is read by nothing, so the setting that it should make is not made.",
    prevents="clemcore's options were looked up with `hasattr` on a dictionary, so never found, and nobody was told.",
    mend="Take the name that the message proposes; for a key of your own, put `x_` in front.",
)
FOREIGN_KEY = Rule(
    code="PB105",
    name="foreign-key",
    severity=Severity.WARNING,
    summary="An unknown key that is like none that is known.",
    why="It looks like a setting, and has no effect.",
    prevents="clemcore documents a key that no code reads.",
    mend="Take it out, or put `x_` in front of its name if it is yours.",
)
UNREAD_KEY = Rule(
    code="PB106",
    name="unread-key",
    severity=Severity.NOTE,
    summary="A key of clemcore that nothing reads here.",
    why="It has no effect, and need not be kept.",
    prevents="Settings that are carried from registry to registry because nobody knows that they do nothing.",
    mend="Take it out; the message says why it isn't needed.",
)
PROBABLE_REGEX = Rule(
    code="PB107",
    name="probable-regex",
    severity=Severity.WARNING,
    summary="A text in `eos_to_cull` or `cot_end_tag` looks like a regular expression.",
    why="It is a literal here, so an escaped `<\\|im_end\\|>` never matches, and the text stays in every answer.",
    prevents="The key's meaning changed from literal to pattern between clembench and clemcore, under the same name.",
    mend="Write the literal text that the message proposes.",
)
END_IS_PATTERN = Rule(
    code="PB108",
    name="end-is-pattern",
    severity=Severity.ERROR,
    summary="In the nested layout `eos_to_cull` or `cot_end_tag` is a pattern that stands for no literals.",
    why="What it would match can't be said in literals, so what would be left in the answers is not known.",
    prevents="A pattern removes whatever it matches anywhere in an answer, not only an end token at its end.",
    mend="Write the literal end-of-sequence text or a list of such texts; the literal end tag of the thinking.",
)
SAID_TWICE = Rule(
    code="PB109",
    name="said-twice",
    severity=Severity.ERROR,
    summary="A key stands twice, with different values.",
    why="Which of the two is meant can't be known, and readers differ in which they take.",
    prevents="Python's json takes the last of two equal keys without a word.",
    mend="Keep one of them.",
)
TWO_TEMPLATES = Rule(
    code="PB110",
    name="two-templates",
    severity=Severity.WARNING,
    summary="`premade_chat_template` is true, and there is a custom template as well.",
    why="Only one of the two is used, and it may not be the one that was meant.",
    prevents="Scores of a model with another template than the one that its entry shows.",
    mend="Set `premade_chat_template` to false, or take `custom_chat_template` out.",
)
MISPLACED_KEY = Rule(
    code="PB111",
    name="misplaced-key",
    severity=Severity.WARNING,
    summary="A known key that this entry's backend doesn't read.",
    why="It looks like a setting, and has no effect with this backend.",
    prevents="Entries copied from one backend to another, of whose settings half are silently lost.",
    mend="Take it out, or change the backend.",
)
UNKNOWN_BACKEND = Rule(
    code="PB112",
    name="unknown-backend",
    severity=Severity.ERROR,
    summary="The backend is not one that Playbill or an installed package has.",
    why="Without its backend the model can't be loaded.",
    prevents="A run that ends on its twentieth model because of a misspelt backend.",
    mend="`playbill backends` lists them; install the package that brings it, or mend the name.",
)
REFUSED_KEY = Rule(
    code="PB123",
    name="refused-key",
    severity=Severity.ERROR,
    summary="The entry asks for what its backend or its model can't do.",
    why="Answers depend on it; without it they would be another model's, under this one's name.",
    prevents="clemcore's llamacpp passes an entry's `peft_model` over, and scores the bare model.",
    mend="Take the key out, or say it the way that the message names.",
)
GREEDY_SAMPLING = Rule(
    code="PB124",
    name="greedy-sampling",
    severity=Severity.WARNING,
    summary="`do_sample` is true, and the entry sets no temperature.",
    why="The temperature is 0 then, so the likeliest token is taken at every place, unless a call says another.",
    prevents="Entries with `do_sample: true` of which every clemcore run was greedy.",
    mend="Set `temperature` in the entry, or take `do_sample` out.",
)
TAG_SHORTENED = Rule(
    code="PB125",
    name="tag-shortened",
    severity=Severity.NOTE,
    summary="In the nested layout `cot_end_tag` is a pattern, of which the literal end is taken.",
    why="What follows a match follows its end as well, so answers are the same; the thinking keeps what stood before.",
    prevents="gpt-oss in clemcore's registry, whose thinking is told by a pattern: as a literal it never occurs.",
    mend="Nothing, or write the literal in a flat entry; `playbill import` does.",
)
ALIAS = Rule(
    code="PB126",
    name="alias",
    severity=Severity.NOTE,
    summary="A key has another name by now; it is read all the same.",
    why="Entries that say one thing under two names are hard to compare.",
    prevents="Two entries that differ in nothing but a key's old name, taken for two settings.",
    mend="Write the name that the message gives.",
)
THINKS_UNASKED = Rule(
    code="PB127",
    name="thinks-unasked",
    severity=Severity.WARNING,
    summary="The model behind a server of one's own thinks by default, and the entry leaves no room for it.",
    why="Services count thinking and answer together, so a limit that was meant for the answer is used up by thinking.",
    prevents="Whole runs of current models with 300 tokens, of which every answer was empty or cut off.",
    mend="Set `reasoning_model` to true, and `max_thinking_tokens` if you know better; or switch thinking off.",
)
RETIRED_MODEL = Rule(
    code="PB128",
    name="retired-model",
    severity=Severity.WARNING,
    summary="The service has withdrawn the model, will soon, or lets another one answer to its name.",
    why="The run fails, or its records carry the name of a model that didn't answer.",
    prevents="Results of two models under one name, before and after a silent change.",
    mend="Take the successor that the message names, under a name of its own.",
)

SETTING_ELSEWHERE = Rule(
    code="PB140",
    name="setting-elsewhere",
    severity=Severity.ERROR,
    summary="A key that another layer reads to change answers, or that by its name would; nothing here reads it.",
    why="Without the setting another model answers than the one that the entry describes.",
    prevents="Entries that differ in nothing but a budget of thinking, and were sent byte for byte alike.",
    mend="Write it the way that the message names, or take it out; for a key of your own, put `x_` in front.",
)
CLEMCORE_DIFFERED = Rule(
    code="PB141",
    name="clemcore-differed",
    severity=Severity.NOTE,
    summary="Under this entry clemcore sent something else than the entry says.",
    why="Scores that were published under the entry's name belong to what clemcore sent.",
    prevents="gemini-3 entries with a budget of 400, of which every published run had none, and 300 tokens in all.",
    mend="Nothing; for the published setting, write the figures that the message names.",
)
BUDGET_FOR_LEVELS = Rule(
    code="PB142",
    name="budget-for-levels",
    severity=Severity.WARNING,
    summary="A budget of thinking tokens for a model that thinks by levels.",
    why="The service takes a budget for compatibility only, and promises nothing about what it does with it.",
    prevents="A budget of 400 tokens that a Gemini 3 model spends ten times.",
    mend="Write `reasoning_effort` with one of the levels that the message names, in the budget's place.",
)

ENTRY_RULES = table_of(
    (
        NOT_AN_ENTRY,
        MISSING_KEY,
        WRONG_TYPE,
        UNKNOWN_KEY,
        FOREIGN_KEY,
        UNREAD_KEY,
        PROBABLE_REGEX,
        END_IS_PATTERN,
        SAID_TWICE,
        TWO_TEMPLATES,
        MISPLACED_KEY,
        UNKNOWN_BACKEND,
        REFUSED_KEY,
        GREEDY_SAMPLING,
        TAG_SHORTENED,
        ALIAS,
        THINKS_UNASKED,
        RETIRED_MODEL,
        SETTING_ELSEWHERE,
        CLEMCORE_DIFFERED,
        BUDGET_FOR_LEVELS,
    )
)
"""Rules of entries by code."""
