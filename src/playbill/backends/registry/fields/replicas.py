"""The entry keys that say what a replica of a model asks of its machine: a part of the table in `table`.

They are read where a model runs in several processes, and never reach an answer.
"""

from __future__ import annotations

from playbill.backends.registry.fields import types as v
from playbill.backends.registry.fields.entry_key import EntryKey
from playbill.backends.registry.fields.local import LOCAL

__all__ = ["REPLICA_KEYS"]

_REPLICATED = (*LOCAL, "programmatic")

REPLICA_KEYS = (
    EntryKey(
        "num_gpus",
        v.NUMBER,
        "How many GPUs each replica gets, a part of one too under Ray. Without it: for vllm `number_gpus` times "
        "`pipeline_parallel_size`, for huggingface_local 1, for llamacpp 1 where layers go to a GPU; 0 where there is "
        "none.",
        _REPLICATED,
    ),
    EntryKey(
        "num_cpus",
        v.NUMBER,
        "How many CPUs each replica gets, which is also how many threads its engine uses where `threads` isn't given. "
        "Without it: `threads`, else 1 under Ray, and its share of the cores on one machine.",
        _REPLICATED,
    ),
    EntryKey("memory", v.BYTES, "The memory that Ray keeps for each replica, as `20GB`.", _REPLICATED),
    EntryKey(
        "resources",
        v.AMOUNTS,
        'Further resources of a Ray cluster that each replica needs, as `{"a100": 1}`.',
        _REPLICATED,
    ),
    EntryKey(
        "dialogues_per_replica",
        v.POSITIVE,
        "How many dialogues a replica holds at once at the most; as many as fill its engine, by default.",
        _REPLICATED,
    ),
)
