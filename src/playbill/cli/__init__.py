"""The command line: arguments and printing, nothing else.

A command's module is imported when the command is called, so that `playbill list` stays fast.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from playbill import __version__
from playbill.backends.common.secret import scrub
from playbill.backends.common.terminal import printable
from playbill.backends.engines.machine.process_state import hide_torch, quiet_libraries
from playbill.backends.errors import PlaybillError
from playbill.cli.help import HelpGroup, with_help
from playbill.cli.messages import say

__all__ = ["cli", "main"]

WRONG = 1
FAILED = 2
INTERRUPTED = 130

_COMMANDS = {
    "list": "playbill.cli.listing:list_models",
    "show": "playbill.cli.show:show",
    "prompt": "playbill.cli.prompt:prompt",
    "check": "playbill.cli.check:check",
    "fetch": "playbill.cli.fetch:fetch",
    "add": "playbill.cli.add:add",
    "diff": "playbill.cli.diff:diff",
    "import": "playbill.cli.import_:import_",
    "chat": "playbill.cli.chat:chat",
    "run": "playbill.cli.run:run",
    "bench": "playbill.cli.bench:bench",
    "demo": "playbill.cli.demo:demo",
    "audit": "playbill.cli.audit:audit",
    "replay": "playbill.cli.replay:replay",
    "report": "playbill.cli.report:report",
    "keys": "playbill.cli.keys:keys",
    "serve": "playbill.cli.serve:serve",
    "registry": "playbill.cli.registry:registry",
    "clem": "playbill.cli.clem:clem",
    "backends": "playbill.cli.listing:list_backends",
    "mock-server": "playbill.cli.mock_server:mock_server",
    "completion": "playbill.cli.completion:completion",
}
_OF_PYTHON = re.compile(r"^.*?:\d+: (?:\w+: )?")
_WITHOUT_WEIGHTS = ("check", "add", "diff", "fetch", "prompt", "show")


class _Commands(HelpGroup):
    """The commands by name; each one's module is imported on first need."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return with_help(command)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error, and what is logged.")
def cli(debug: bool) -> None:
    """Playbill: who plays.

    Find a chat model by its name, and know exactly what was sent to it and what came back.
    """


class _Stderr(logging.Handler):
    """What is said beside the results: one line each, on stderr, free of escape sequences and secrets."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.name == "py.warnings":  # FILE:LINE: CATEGORY: message, and below it the line of code
            text = _OF_PYTHON.sub("", text.strip().partition("\n")[0])
        say(f"playbill: {record.levelname.lower()}: {printable(scrub(text))}")


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 right, 1 the thing judged is wrong, 2 it could not be carried out."""
    argv = sys.argv[1:] if args is None else args
    if args is None and argv and argv[0] in _WITHOUT_WEIGHTS and "--live" not in argv:
        hide_torch()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a code page that lacks a character shows its escape
            stream.reconfigure(errors="backslashreplace")
    debug = "--debug" in argv
    names = ["playbill"]
    if args is None:
        logging.captureWarnings(True)
        names.append("py.warnings")
        if not debug:
            quiet_libraries()
    for name in names:
        log = logging.getLogger(name)
        log.handlers = [_Stderr()]
        log.setLevel(logging.DEBUG if debug else logging.WARNING)
        log.propagate = False
    sys.exit(_run([a for a in argv if a != "--debug"], debug))


def _run(argv: list[str], debug: bool) -> int:
    try:
        result: Any = cli.main(argv, prog_name="playbill", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as e:
        e.show()
        return FAILED
    except (click.Abort, KeyboardInterrupt):
        click.echo("playbill: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`playbill list | head`); nothing more can or need be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as e:  # the one place where an error meets the user
        if debug:
            raise
        message = str(e) if isinstance(e, PlaybillError) else f"internal error, {type(e).__name__}: {e}"
        hint = "" if isinstance(e, PlaybillError) else " (--debug shows where)"
        click.echo(f"playbill: error: {printable(scrub(message))}{hint}", err=True)
        return FAILED
