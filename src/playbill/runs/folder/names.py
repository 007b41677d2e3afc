"""Make folder names from labels and inputs: readable, and safe on every file system. Touches no disk."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Sequence

__all__ = ["folder_name", "is_plain_name", "run_name"]

_LONGEST = 80  # bytes; file systems take 255, and paths are longer than names
_KEPT = frozenset("._-+=@,")
_OF_WINDOWS = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³")]
)
_OURS = frozenset(["manifest.json", "report.html", ".lock"])


def folder_name(label: str, taken: Collection[str] = ()) -> str:
    """Return a folder's name for a label; those ``taken`` are avoided, also where only case or accents' form differ.

    >>> folder_name("SmolLM2-135M"), folder_name("org/name at 0.7")
    ('SmolLM2-135M', 'org_name_at_0.7-4be36650')
    """
    text = unicodedata.normalize("NFC", label)
    name = "".join(c if c in _KEPT or c.isalnum() else "_" for c in text)
    lowered = {_folded(other) for other in taken} | _OURS
    if name == text and _is_safe(name) and _folded(name) not in lowered:
        return name
    mark = hashlib.sha256(label.encode(errors="surrogatepass")).hexdigest()
    cut = _cut(name.strip("._"), _LONGEST - 18)
    for length in (8, 16, 64):
        found = f"{cut}-{mark[:length]}" if cut else f"label-{mark[:length]}"
        found = found if _is_safe(found) else f"_{found}"
        if _folded(found) not in lowered:
            return found
    raise AssertionError("two labels of one SHA-256")


def _is_safe(name: str) -> bool:
    return (
        bool(name)
        and len(name.encode()) <= _LONGEST
        and not name.startswith((".", "-"))
        and not name.endswith(".")
        and name.split(".")[0].casefold() not in _OF_WINDOWS
    )


def is_plain_name(name: str) -> bool:
    """Tell whether a name is that of an entry of a folder, on any system, and leads nowhere else.

    >>> is_plain_name("m"), is_plain_name("../m"), is_plain_name("C:m"), is_plain_name("..")
    (True, False, False, False)
    """
    plain = bool(name) and name.strip(". ") != "" and not set("/\\:\x00") & set(name)
    return plain and name.casefold() not in _OURS


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _cut(name: str, most: int) -> str:
    return name.encode()[:most].decode(errors="ignore").lstrip("-")


def run_name(inputs: str, labels: Sequence[str]) -> str:
    """Return the default name of a run's folder, so that the same inputs and models find it again."""
    return folder_name(f"{inputs}--{'+'.join(folder_name(label) for label in labels)}")
