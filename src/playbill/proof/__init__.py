"""Prove an entry before it costs anything: `check`, `add`, `import` and `diff`, as functions.

Importing this loads no engine. Knows no run and no command line.
"""

from __future__ import annotations

from playbill.proof.check import Options, Verdict, check_all, check_model
from playbill.proof.rules.table import RULES

__all__ = ["RULES", "Options", "Verdict", "check_all", "check_model"]
