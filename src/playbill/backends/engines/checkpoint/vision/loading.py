"""Load a checkpoint's processor with transformers, or say in words what is missing for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from playbill.backends.engines.checkpoint.source import Source
from playbill.backends.engines.checkpoint.vision.processor import CheckpointProcessor
from playbill.backends.engines.checkpoint.vision.torchvision import require_torchvision
from playbill.backends.engines.machine.process_state import show_torch
from playbill.backends.errors import BackendUnavailable, EntryError
from playbill.backends.prompt.pictures.opening import need_pillow
from playbill.backends.registry import rules

__all__ = ["load_processor"]

_INSTALL = 'pip install "playbill[vision]"'
_PACKAGE = re.compile(
    r"requires the (\S+) library|Missing optional dependencies: ([\w, ]+)|Package `(\w+)` is required"
)


def load_processor(entry: Mapping[str, Any], source: Source, *, trust: bool) -> CheckpointProcessor:
    """Return the processor of a checkpoint whose files are here.

    Raises BackendUnavailable where it needs a package that isn't installed, with the line to type; EntryError where the
    checkpoint has none that reads pictures.
    """
    name = str(entry.get("model_name"))
    need_pillow(f"{name}: multimodality says that the model")
    show_torch()
    require_torchvision(name)
    from transformers import AutoProcessor

    loader: Any = AutoProcessor
    try:
        processor: Any = loader.from_pretrained(source.name, trust_remote_code=trust, **source.options)
    except ImportError as e:
        raise _missing(name, e) from e
    except ValueError as e:
        if "Missing optional dependencies" in str(e):
            raise _missing(name, e) from e
        raise
    except OSError as e:
        raise _no_processor(name, source, str(e).splitlines()[0][:200]) from e
    if getattr(processor, "image_processor", None) is None or not getattr(processor, "image_token", None):
        why = f"transformers finds only {type(processor).__name__}, or one that puts no placeholder into prompts"
        raise _no_processor(name, source, why)
    return CheckpointProcessor(processor)


def _no_processor(name: str, source: Source, why: str) -> EntryError:
    said = (
        f"multimodality says that the model takes pictures, and {source.name} has no processor for them "
        f"(preprocessor_config.json, processor_config.json): {why}"
    )
    return EntryError(f"{name}: {said}", [rules.NO_PROCESSOR.at(name, said)])


def _missing(name: str, e: Exception) -> BackendUnavailable:
    found = _PACKAGE.search(str(e))
    what = next((group for group in found.groups() if group), None) if found else None
    said = f"needs {what.strip().rstrip('.')}" if what else f"needs a package ({' '.join(str(e).split())[:160]})"
    line = f"pip install {what}" if what == "num2words" else _INSTALL
    return BackendUnavailable(
        f"{name}: the model's processor {said}, which is not installed here; install with: {line}"
    )
