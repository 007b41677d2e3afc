"""Options that several commands have, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from playbill.backends.common.jsonfile import parse_json
from playbill.backends.common.terminal import printable
from playbill.backends.errors import FileFormatError, InputError, PlaybillError
from playbill.backends.registry.lookup import ModelRegistry

__all__ = [
    "from_option",
    "jobs_option",
    "json_option",
    "key_file_option",
    "model_argument",
    "model_option",
    "models_argument",
    "parameter_option",
    "read_lines",
    "read_parameters",
    "read_selector",
    "registry_option",
    "state_option",
    "trust_option",
]

F = TypeVar("F", bound=Callable[..., Any])


def _complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        names = dict.fromkeys(entry.name for entry in ModelRegistry.load() if entry.name)
    except PlaybillError:  # a broken registry is said by the command itself, not between two letters of its line
        return []
    # Shells read one name a line, and show it as it is.
    shown = (name for name in names if printable(name) == name and "\n" not in name and "\t" not in name)
    return [CompletionItem(name) for name in shown if name.startswith(incomplete)]


def model_argument(function: F) -> F:
    """NAME: a model's name, or a JSON selector that unifies with one of its namesakes."""
    return click.argument("name", metavar="NAME", shell_complete=_complete_model)(function)


def models_argument(function: F) -> F:
    """NAME…: several models, each as `model_argument`."""
    names = click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=_complete_model)
    return names(function)


def model_option(function: F) -> F:
    return click.option(
        "-m",
        "--model",
        "models",
        metavar="NAME",
        multiple=True,
        required=True,
        shell_complete=_complete_model,
        help='A model by name, or as \'LABEL={"model_name": …, "temperature": 0.7}\'. Repeatable.',
    )(function)


def registry_option(function: F) -> F:
    return click.option(
        "--registry",
        "registries",
        metavar="FILE",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A registry file to search first. Repeatable; PLAYBILL_REGISTRY does the same.",
    )(function)


def key_file_option(function: F) -> F:
    return click.option(
        "--key-file",
        "key_files",
        metavar="FILE",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A key file to search first. Repeatable.",
    )(function)


def parameter_option(function: F) -> F:
    return click.option(
        "-p",
        "--param",
        "params",
        metavar="KEY=VALUE",
        multiple=True,
        help="Override a generation parameter or an entry's key: -p temperature=0.7. Repeatable.",
    )(function)


def trust_option(function: F) -> F:
    return click.option(
        "--trust-remote-code",
        is_flag=True,
        help="Let a model's repository run its own Python code, where the entry asks for it.",
    )(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def from_option(help_text: str) -> Callable[[F], F]:
    return click.option("--from", "listed", metavar="FILE", type=click.Path(path_type=Path), help=help_text)


def state_option(function: F) -> F:
    return click.option(
        "--state",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Note in FILE what is done; the same call with the same FILE goes on from there.",
    )(function)


def jobs_option(function: F) -> F:
    return click.option(
        "--jobs",
        metavar="N",
        type=click.IntRange(1, 64),
        help="How many are worked on at the same time; by default 4 where things are fetched.",
    )(function)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file, without white space around them, empty lines and those that begin with #."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as e:
        raise InputError(f"can't read {path}: {e.strerror or e}") from e
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8; it holds one name a line") from None
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def read_parameters(given: Iterable[str]) -> dict[str, Any]:
    """``key=value`` pairs; a value that is JSON is read as such, anything else is a string."""
    found: dict[str, Any] = {}
    for pair in given:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="-p")
        try:
            found[key.strip()] = parse_json(text, "-p")
        except FileFormatError:
            found[key.strip()] = text
    return found


def read_selector(text: str) -> str | dict[str, Any]:
    """Return a model's name, or a JSON object with at least ``model_name``."""
    if not text.lstrip().startswith("{"):
        return text
    selector = parse_json(text, "selector")
    if not isinstance(selector, dict) or "model_name" not in selector:
        raise InputError(f"the selector {text} has no 'model_name'")
    return selector
