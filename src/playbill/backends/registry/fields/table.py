"""The table of all entry keys. Whatever lists keys is generated from it.

Type, meaning, default, readers and requirement of a key have their home here: checks, the JSON Schema, the docs and
`setting` all read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playbill.backends.registry.fields import types as v
from playbill.backends.registry.fields.entry_key import EVERY, METADATA, EntryKey
from playbill.backends.registry.fields.local import LOCAL, LOCAL_KEYS
from playbill.backends.registry.fields.parameters import PARAMETERS
from playbill.backends.registry.fields.remote import SERVICE_KEYS

__all__ = ["ALIASES", "EVERY", "ENTRY_KEYS", "LOCAL", "METADATA", "PACE", "PATHS", "UNREAD", "EntryKey", "setting"]

_TABLE = (
    EntryKey(
        "model_name",
        v.STRING,
        "The name by which a run, a game or a person asks for the model.",
        EVERY,
        EVERY,
    ),
    EntryKey("backend", v.STRING, "The backend that loads the model; `playbill backends` lists them.", EVERY, EVERY),
    # What people want to know of a model. Only context_size is more than metadata.
    EntryKey("release_date", v.TEXT, "When the model was released, as YYYY-MM-DD."),
    EntryKey("open_weight", v.BOOLEAN, "Whether the weights are published."),
    EntryKey("parameters", v.TEXT, "The number of parameters, as '135M'."),
    EntryKey("languages", v.STRINGS, "Language codes of the languages the model is made for."),
    EntryKey("license", v.LICENSE, "The licence: a name, or an object with `name` and `url`."),
    EntryKey(
        "context_size",
        v.TOKENS,
        "The model's context in tokens (prompt and answer), as 8192 or '128k'. A limit: where the model's own "
        "configuration states less, that holds.",
        EVERY,
    ),
    EntryKey(
        "retired",
        v.RETIRED,
        "Since when, at the latest, the model's service has it no more, as YYYY-MM-DD; true where no day is known. The "
        "entry stays so that older results can be read, and asking for it says so.",
        EVERY,
    ),
    EntryKey("successor", v.STRING, "The model that its maker names in its place.", EVERY),
    EntryKey(
        "waivers",
        v.WAIVERS,
        "Rules that the entry is let off: a list of objects with the rule's code, the reason and the date. Their "
        "warnings become notes, which say so; errors can't be waived.",
        EVERY,
    ),
    # Messages, before any template.
    EntryKey(
        "consecutive_roles",
        v.choice("merge", "keep", "error"),
        "What happens to messages of one role in a row: `merge` joins them with a blank line, `keep` sends "
        "them as they are, `error` refuses them. An empty system message is dropped under `merge`.",
        EVERY,
        default="merge",
    ),
    EntryKey(
        "system_role",
        v.choice("native", "fold"),
        "`native` sends a system message as such; `fold` puts it in front of the first user message, for "
        "templates that take no system role.",
        EVERY,
        default="native",
    ),
    *LOCAL_KEYS,
    *SERVICE_KEYS,
    # programmatic
    EntryKey(
        "answers",
        v.STRINGS,
        "The answers, one after the other; after the last it begins again. Without it the model echoes.",
        ("programmatic",),
    ),
    EntryKey("delay", v.NUMBER, "Seconds that each answer takes.", ("programmatic",), default=0),
    EntryKey(
        "fail_every",
        v.COUNT,
        "Every n-th call fails, for rehearsing failures; 0 for never.",
        ("programmatic",),
        default=0,
    ),
    # replay
    EntryKey(
        "records",
        v.STRING,
        "The `records.jsonl` of an earlier run, or the folder that it is in: each conversation gets the answer that "
        "it got then.",
        ("replay",),
        ("replay",),
        is_path=True,
    ),
)


def _parameter_keys() -> tuple[EntryKey, ...]:
    return tuple(EntryKey(p.name, p.type, p.summary, EVERY, aliases=p.aliases) for p in PARAMETERS.values())


ENTRY_KEYS: dict[str, EntryKey] = {key.name: key for key in (*_TABLE, *_parameter_keys())}

ALIASES: dict[str, str] = {alias: key.name for key in ENTRY_KEYS.values() for alias in key.aliases}
"""Other names of keys to the names that are shown and written."""

PATHS = frozenset(key.name for key in ENTRY_KEYS.values() if key.is_path)
"""Keys whose values may name a file or folder; `playbill.backends.registry.spec.path_in` says which."""

PACE = frozenset(
    ["concurrency", "max_attempts", "retry_pause", "time_budget", "timeout", "connect_timeout", "ca_bundle"]
)
"""Keys that say how fast and how patiently a service is asked, and never what: a run may go on under others."""

UNREAD: dict[str, str] = {
    "padding_side": "no engine pads prompts in a way that reaches an answer, so neither side changes anything",
    "use_tokenizer": "the tokenizer is always used",
    "automodel_type": "the model class follows from the model's configuration",
    "low_cpu_mem_usage": "weights are always loaded that way",
    "not_distributed": "`device_map` says where the weights go",
    "processor_class": "of clemcore's multimodal backend",
    "processor_config": "of clemcore's multimodal backend",
    "response": "of clemcore's multimodal backend, where it names a function; entries never name code",
}
"""Keys that clemcore knew and that nobody needs here: key to the reason."""


def setting(entry: Mapping[str, Any], name: str) -> Any:
    """Return the value of a key in an entry, or the table's default. A name that is not in the table is our own bug."""
    return entry.get(name, ENTRY_KEYS[name].default)
