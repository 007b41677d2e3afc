"""Find and check an entry's LoRA adapter before vLLM starts. Loads no weights.

A missing adapter, or one of a kind that vLLM can't apply, would end its engine in the middle of a run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbill.backends.credentials import Credentials
from playbill.backends.errors import WeightsError
from playbill.backends.weights.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_config, adapter_folder

__all__ = ["Adapter", "find_adapter", "room_for"]

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_UNSUPPORTED = ("use_dora", "modules_to_save", "lora_bias", "use_qalora", "alora_invocation_tokens")


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter's folder, and the rank that vLLM makes room for."""

    folder: Path
    room: int

    @property
    def files(self) -> tuple[Path, ...]:
        return self.folder / ADAPTER_CONFIG, self.folder / ADAPTER_WEIGHTS


def find_adapter(entry: Mapping[str, Any], credentials: Credentials, *, progress: bool = False) -> Adapter | None:
    """Return the adapter that ``peft_model`` names: a folder, or a repository of the hub; None where it names none.

    Raises WeightsError where files are missing, or where vLLM can't apply what they hold.
    """
    folder = adapter_folder(entry, credentials, progress=progress)
    if folder is None:
        return None
    return Adapter(folder, room_for(entry, folder))


def room_for(entry: Mapping[str, Any], folder: Path) -> int:
    """Return the least rank that vLLM offers which the adapter fits in."""
    path, config = folder / ADAPTER_CONFIG, adapter_config(folder)
    if config.get("peft_type", "LORA") != "LORA":
        raise WeightsError(f"{entry.get('model_name')}: {path} is no LoRA adapter's, and vLLM takes no other kind")
    foreign = [key for key in _UNSUPPORTED if config.get(key)]
    if config.get("bias") not in (None, "none"):
        foreign.append("bias")
    if foreign:
        raise WeightsError(
            f"{entry.get('model_name')}: vLLM can't apply an adapter with {', '.join(foreign)} ({path}); merge it into "
            "the weights, or take the backend huggingface_local"
        )
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    if not all(isinstance(rank, int) and 0 < rank <= _RANKS[-1] for rank in ranks):
        raise WeightsError(f"{entry.get('model_name')}: {path}: r must be 1 to {_RANKS[-1]}, and is {ranks[0]!r}")
    return next(room for room in _RANKS if room >= max(ranks))
