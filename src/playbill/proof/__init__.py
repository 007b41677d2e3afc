"""Is this entry right, before it costs anything? `check`, `add`, `import` and `diff`, as functions.

Knows no run and no command line. Importing this loads no engine.
"""

from __future__ import annotations

from playbill.proof.check import Options, Verdict, check_all, check_model
from playbill.proof.rules.table import RULES

__all__ = ["RULES", "Options", "Verdict", "check_all", "check_model"]
