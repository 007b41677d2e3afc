"""Let torchvision be imported beside the torch that is here, also where it was built for another platform.

Half of transformers' processors need torchvision, for resizing that torch itself does, and transformers imports it for
text models too. pip pairs a torch for the CPU with a torchvision for CUDA where an index has the latter alone.
Its compiled operators can't be loaded then, and its import fails on their missing names (torchvision 0.28 and 0.29:
`nms` and `qnms`). No processor calls them, so the names are declared before the import; a call of them would raise.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from playbill.backends.common.packages import installed_version
from playbill.backends.errors import BackendUnavailable

__all__ = ["mend_torchvision", "require_torchvision", "torchvision_facts"]

_OPERATORS = ("nms", "qnms")
_ARGUMENTS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[Any] = []
"""Keeps torch's library object alive, which would take the names with it."""


def mend_torchvision() -> None:
    """See to it that an import of torchvision, whoever asks for it, finds the names that it needs. Imports nothing."""
    if "torchvision" not in sys.modules and not any(isinstance(finder, _Mender) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Mender())


def require_torchvision(name: str) -> None:
    """Import torchvision where it is installed. Raises BackendUnavailable where it doesn't fit this torch."""
    mend_torchvision()
    if find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except Exception as e:
        raise BackendUnavailable(
            f"{name}: torchvision {installed_version('torchvision')} can't be imported beside torch "
            f"{installed_version('torch')} ({type(e).__name__}: {str(e)[:120]}); install the pair from one index: "
            'pip install --upgrade "playbill[hf,vision]"'
        ) from e


def torchvision_facts() -> dict[str, Any]:
    """Return which torchvision resizes pictures, and whether with its compiled part."""
    version = installed_version("torchvision")
    return {"torchvision": version, **({"torchvision_compiled": not _declared} if version else {})}


class _Mender(MetaPathFinder):
    """Declares the names when torchvision is about to be imported, and finds no module itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torchvision" and not _declared and sys.modules.get("torch", sys) is not None:
            found = PathFinder.find_spec(fullname)
            folders = list(found.submodule_search_locations or ()) if found is not None else []
            if folders and not _loads(Path(folders[0])):
                _declare()
        return None


def _loads(folder: Path) -> bool:
    """Tell whether torchvision's compiled operators can be loaded."""
    import torch

    operators: Any = torch.ops
    libraries = [path for pattern in ("_C*.so", "_C*.pyd", "_C*.dylib") for path in folder.glob(pattern)]
    try:
        for library in libraries:
            operators.load_library(str(library))
    except OSError:
        return False
    return bool(libraries)


def _declare() -> None:
    import torch
    from torch import library

    make: Any = library.Library
    fragment = make("torchvision", "FRAGMENT")
    for operator in _OPERATORS:
        if not hasattr(torch.ops.torchvision, operator):
            fragment.define(operator + _ARGUMENTS)
    _declared.append(fragment)
