"""Find, download and check the adapter of an entry. Knows no engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from playbill.backends.credentials import Credentials
from playbill.backends.errors import WeightsError
from playbill.backends.registry.spec import not_here, path_in
from playbill.backends.weights.hub import hub_bars, hub_errors, hub_progress, hub_token, only_cached

__all__ = ["ADAPTER_CONFIG", "ADAPTER_WEIGHTS", "adapter_config", "adapter_fault", "adapter_folder"]

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"


def adapter_folder(entry: Mapping[str, Any], credentials: Credentials, *, progress: bool = False) -> Path | None:
    """Return the folder of what ``peft_model`` names, a folder or a repository of the hub; None where it names nothing.

    Raises WeightsError where a file is missing: weights are loaded from safetensors only.
    """
    name = entry.get("peft_model")
    if not name:
        return None
    folder = path_in(entry, "peft_model")
    if not folder.is_dir():
        if str(name).startswith(("/", "~", "./", "../")):
            raise WeightsError(
                f"{entry.get('model_name')}: there is no folder {folder}; peft_model says there is"
                f"{not_here(entry, 'peft_model')}"
            )
        folder = _download(str(name), entry, credentials, progress=progress)
    for file in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / file).is_file():
            raise WeightsError(
                f"{entry.get('model_name')}: peft_model {name} has no {file}; adapters are loaded from safetensors only"
            )
    return folder


def adapter_config(folder: Path) -> dict[str, Any]:
    """Return what an adapter says of itself. Raises WeightsError where that is no JSON object."""
    path = folder / ADAPTER_CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:
        raise WeightsError(f"{path} is not JSON: {e}") from e
    if not isinstance(config, dict):
        raise WeightsError(f"{path} holds no object")
    return config


def adapter_fault(entry: Mapping[str, Any], judge: Callable[[Mapping[str, Any], Path], object]) -> str | None:
    """Return why an engine can't take an entry's adapter, for which ``judge`` raises WeightsError; None for one that it
    takes, and for one of the hub, which isn't here."""
    try:
        if entry.get("peft_model") and path_in(entry, "peft_model").is_dir():
            folder = adapter_folder(entry, Credentials([]))
            judge(entry, folder) if folder is not None else None
    except WeightsError as e:
        return str(e)
    return None


def _download(repo: str, entry: Mapping[str, Any], credentials: Credentials, *, progress: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    token = hub_token(entry, credentials)
    with hub_progress(progress), hub_errors(repo, token=token):
        options = {"token": token, "local_files_only": only_cached(), **hub_bars()}
        return Path(snapshot_download(repo, allow_patterns=[ADAPTER_CONFIG, ADAPTER_WEIGHTS], **options))
