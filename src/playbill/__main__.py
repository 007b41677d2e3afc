"""The program's start: `python -m playbill`, and `playbill`. Here Ctrl-C is taken while modules are imported."""

from __future__ import annotations

import sys

__all__ = ["start"]


def start() -> None:
    """Run the command line, and end without a traceback where it is interrupted before it runs."""
    try:
        from playbill.cli import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("playbill: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    start()
