"""`playbill completion SHELL`: the script that completes commands, options and model names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]

_HOW = {
    "bash": "playbill completion bash >> ~/.bashrc",
    "zsh": "playbill completion zsh >> ~/.zshrc",
    "fish": "playbill completion fish > ~/.config/fish/completions/playbill.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(_HOW)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL. For bash: playbill completion bash >> ~/.bashrc"""
    cls = get_completion_class(shell)
    assert cls is not None
    click.echo(cls(ctx.find_root().command, {}, "playbill", "_PLAYBILL_COMPLETE").source())
