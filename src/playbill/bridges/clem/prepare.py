"""Prepare a folder for plain ``clem run``: a backend file that clemcore finds, and entries that name it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from playbill.backends.common.jsonfile import read_json, write_atomically, write_json
from playbill.backends.errors import FileFormatError
from playbill.backends.registry.lookup import FILE_NAME
from playbill.bridges.clem.places import SIDE

__all__ = ["BACKEND", "BACKEND_FILE", "prepare_folder"]

BACKEND = "playbill"
BACKEND_FILE = f"{BACKEND}_api.py"

_BACKEND_TEXT = '''\
"""Playbill's models for `clem run` in this folder. Written by `playbill clem init`; run that again to renew it."""

import importlib.util
import sys

from clemcore.backends import Backend

COMMAND = [{python!r}, "-P", "-m", "playbill.bridges.clem.child"]
CLIENT = {client!r}


def load_client():
    """Playbill's client, loaded once however often clemcore loads this file: it holds the processes that it started."""
    name = "playbill_clem_client"
    if name not in sys.modules:
        try:
            spec = importlib.util.spec_from_file_location(name, CLIENT)
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
        except FileNotFoundError as e:
            del sys.modules[name]
            raise RuntimeError("Playbill has moved; run `playbill clem init` again in this folder") from e
    return sys.modules[name]


class Playbill(Backend):
    """Finds models by their name in Playbill's registry."""

    def get_model_for(self, model_spec):
        return load_client().model_for(model_spec, COMMAND)
'''


def prepare_folder(folder: Path, names: Iterable[str]) -> list[Path]:
    """Write the backend file, and put an entry for each name in front of the folder's registry.

    Entries that an earlier call wrote are replaced; all others stay as they are. Gives the files that were written.
    Raises FileFormatError for a registry file that is no list.
    """
    registry = folder / FILE_NAME
    ours = [{"model_name": name, "backend": BACKEND} for name in names]
    theirs = [entry for entry in _entries(registry) if not is_ours(entry)]
    backend = folder / BACKEND_FILE
    text = _BACKEND_TEXT.format(python=sys.executable, client=str(SIDE / "playbill_clem_client.py"))
    write_atomically(backend, text)
    write_json(registry, [*ours, *theirs])
    return [backend, registry]


def is_ours(entry: Any) -> bool:
    """Tell whether an entry only points clemcore to Playbill."""
    return isinstance(entry, dict) and entry.get("backend") == BACKEND


def _entries(path: Path) -> list[Any]:
    if not os.path.lexists(path):
        return []
    content = read_json(path)
    if not isinstance(content, list):
        raise FileFormatError(f"{path}:1:1: a registry is a list of entries, [{{…}}, …]")
    return content
