"""Find, download and check the adapter of an entry. Knows no engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playbill.backends.credentials import Credentials
from playbill.backends.errors import WeightsError
from playbill.backends.registry.spec import not_here, path_in
from playbill.backends.weights.hub import hub_bars, hub_errors, hub_progress, hub_token, only_cached

__all__ = ["ADAPTER_CONFIG", "ADAPTER_WEIGHTS", "adapter_folder"]

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


def _download(repo: str, entry: Mapping[str, Any], credentials: Credentials, *, progress: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    token = hub_token(entry, credentials)
    with hub_progress(progress), hub_errors(repo, token=token):
        options = {"token": token, "local_files_only": only_cached(), **hub_bars()}
        return Path(snapshot_download(repo, allow_patterns=[ADAPTER_CONFIG, ADAPTER_WEIGHTS], **options))
