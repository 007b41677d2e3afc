"""`playbill report DIR`: write a run as one HTML page."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from playbill.backends.common.terminal import printable
from playbill.runs.report import write_report

__all__ = ["report"]


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-o", "--out", metavar="FILE", type=click.Path(path_type=Path), help="Where the page goes.")
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
def report(folder: Path, out: Path | None, open_it: bool) -> None:
    """Make a page of a run: its models side by side, and every dialogue with prompts, raw answers and findings.

    The page is one file, report.html in the run's folder; it needs no network and sends nothing anywhere.
    """
    path = write_report(folder, out)
    click.echo(printable(str(path)))
    if open_it:
        webbrowser.open(path.resolve().as_uri())
