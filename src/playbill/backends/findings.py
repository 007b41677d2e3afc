"""What is said of a thing that was judged: an entry, a prompt path, a record. Knows no rule itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from playbill.backends.plain import printable

__all__ = ["Finding", "Severity"]


class Severity(StrEnum):
    """How bad a finding is. Only an error stops the thing judged from being used."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of one thing, in the form of a good linter's.

    ``code`` is stable (``PB101``), ``name`` is the same for people (``unknown-key``), ``where`` is a file
    and a path in it, ``message`` says what is wrong there, and ``fix`` what to type instead.
    """

    code: str
    name: str
    severity: Severity
    where: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        fix = f"; {self.fix}" if self.fix else ""
        return printable(f"{self.where}: {self.message}{fix}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
