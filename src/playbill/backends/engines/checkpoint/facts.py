"""Identify a checkpoint's weights for the manifest: commit or file hashes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playbill.backends.engines.checkpoint.source import Source
from playbill.backends.weights.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from playbill.backends.weights.cache import file_sha256

__all__ = ["weights_facts"]

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def weights_facts(entry: Mapping[str, Any], source: Source, adapter: Path | None = None) -> dict[str, Any]:
    """Return the repository's commit, or the SHA-256 of each of a folder's files; the adapter's as well."""
    facts: dict[str, Any] = {"weights": source.name}
    if source.commit is not None:
        facts["revision"] = source.commit
    else:
        patterns = (str(entry["gguf_file"]),) if entry.get("gguf_file") else _WEIGHTS
        files = {p for pattern in patterns for p in source.folder.glob(pattern)}
        config = source.folder / "config.json"
        stated = [*files, *([config] if config.is_file() else [])]
        facts["sha256"] = {p.name: file_sha256(p) for p in sorted(stated)}
    if adapter is not None:
        facts["peft_model"] = {name: file_sha256(adapter / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)}
    return facts
