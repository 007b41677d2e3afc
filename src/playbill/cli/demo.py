"""`playbill demo [FOLDER]`: put the packaged dialogues and registries into a folder, run them, and make the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path

import click

from playbill.backends.common.terminal import printable
from playbill.backends.errors import BackendUnavailable, InputError
from playbill.backends.registry.backends import BACKENDS
from playbill.backends.registry.lookup import FILE_NAME, ModelRegistry
from playbill.cli.run import run

__all__ = ["MODEL", "demo", "put_files"]

MODEL = "SmolLM2-135M-Instruct-Q4"
DIALOGUES = "dialogues.jsonl"
_DATA = (".json", ".jsonl")


@click.command()
@click.argument("folder", metavar="[FOLDER]", type=click.Path(path_type=Path), default=Path("playbill-demo"))
@click.option(
    "-m",
    "--model",
    "models",
    metavar="NAME",
    multiple=True,
    default=(MODEL,),
    help=f"A model by name, as for `playbill run`. Repeatable; {MODEL} by default, a download of 92 MB.",
)
@click.pass_context
def demo(ctx: click.Context, folder: Path, models: tuple[str, ...]) -> int:
    """Run the packaged dialogues, and make a report of their answers.

    Puts dialogues and example registries into FOLDER (playbill-demo by default), and never overwrites a file that you
    changed there. The records go to FOLDER/run. Run it again with another -m to see both models side by side.

    \b
    playbill demo             the demo model, which needs the extra llamacpp
    playbill demo -m mock     no model: each answer repeats the question

    Exits with 1 where records ended in an error.
    """
    # Imported here: the report's modules are needed by this command and `report` alone.
    from playbill.runs.report import write_report

    for name in put_files(folder):
        said = f"playbill: {folder / name} differs from the packaged file; it stays as it is"
        click.echo(printable(said), err=True)
    registry = folder / FILE_NAME
    _require_packages(models, ModelRegistry.load([registry]))
    code = int(
        ctx.invoke(run, inputs=(str(folder / DIALOGUES),), models=models, out=folder / "run", registries=(registry,))
    )
    click.echo(printable(f"report:  {write_report(folder / 'run')}"))
    click.echo(
        printable(f"\nLook around: cd {folder}; playbill list; playbill audit run; playbill replay run"), err=True
    )
    return code


def put_files(folder: Path) -> list[str]:
    """Write the packaged files that are not in the folder yet; return the names of those that differ there.

    Raises InputError where the folder can't be written.
    """
    kept = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _packaged():
            path = folder / name
            if not path.exists():
                path.write_bytes(content)
            elif path.read_bytes() != content:
                kept.append(name)
    except OSError as e:
        raise InputError(
            f"can't write to {folder}: {e.strerror or e}; name another folder: playbill demo FOLDER"
        ) from e
    return kept


def _packaged() -> Iterator[tuple[str, bytes]]:
    for file in sorted(files("playbill.demo").iterdir(), key=lambda file: file.name):
        if file.name.endswith(_DATA):
            yield file.name, file.read_bytes()


def _require_packages(models: Iterable[str], registry: ModelRegistry) -> None:
    """Raise BackendUnavailable with the line to type, and the demo that needs nothing."""
    from playbill.runs.selection import choose_models, parse_model

    for chosen in choose_models([parse_model(text) for text in models], registry, {}):
        backend = BACKENDS.get(str(chosen.spec.get("backend")))
        if backend is not None and (missing := backend.missing()):
            raise BackendUnavailable(
                f"the backend {backend.name} needs {', '.join(missing)}; type: {backend.install}, or see the demo "
                "without a model: playbill demo -m mock"
            )
