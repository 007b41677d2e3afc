"""The command `playbill`, and `python -m playbill`.

Ctrl-C may come while the command line is imported; so that is done here, where it is met.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit with its code; with 130 where Ctrl-C came before it could begin."""
    try:
        from playbill.cli import main as run

        run()
    except KeyboardInterrupt:
        print("playbill: interrupted", file=sys.stderr)  # noqa: T201 - click may not be imported yet
        sys.exit(130)


if __name__ == "__main__":
    main()
