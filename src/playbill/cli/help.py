"""Help that fits the terminal: nothing is cut, and narrow terminals get descriptions below what they describe."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from difflib import get_close_matches

import click

__all__ = ["HelpContext", "HelpGroup", "with_help"]

_WIDEST = 110
_NARROWEST = 30
_NARROW = 70  # below this a description stands under its option


class _Formatter(click.HelpFormatter):
    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(list(rows), col_max if self.width >= _NARROW else 4, col_spacing)


class HelpContext(click.Context):
    """A command's context, whose help is as wide as the terminal, within reason."""

    formatter_class = _Formatter

    def make_formatter(self) -> click.HelpFormatter:
        columns = shutil.get_terminal_size().columns
        return _Formatter(width=max(_NARROWEST, min(columns - 2, _WIDEST)))


def with_help(command: click.Command) -> click.Command:
    """Let a command, and those below it, print such help."""
    command.context_class = HelpContext
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        with_help(below)
    return command


class HelpGroup(click.Group):
    """A group that lists each command with the whole first sentence of its help."""

    context_class = HelpContext

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as e:
            near = get_close_matches(args[0].lower(), self.list_commands(ctx), n=1)
            if near and "Did you mean" not in e.format_message():
                raise click.UsageError(f"{e.message} Did you mean '{near[0]}'?", ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, command.get_short_help_str(limit=1000)) for name, command in commands if command is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
