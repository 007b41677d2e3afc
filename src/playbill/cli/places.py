"""The options that say where local models run: replicas of this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from playbill.backends.common.terminal import printable

if TYPE_CHECKING:
    from playbill.replicas import Places

__all__ = ["opened_places", "ray_option", "replicas_option", "tell"]

F = TypeVar("F", bound=Callable[..., Any])


def replicas_option(function: F) -> F:
    return click.option(
        "--replicas",
        metavar="N",
        type=click.IntRange(min=1),
        help="Processes that hold each local model; with --ray as many as fit, by default.",
    )(function)


def ray_option(function: F) -> F:
    return click.option(
        "--ray",
        metavar="[ADDRESS]",
        is_flag=False,
        flag_value="local",
        help="Run local models on a Ray cluster: HOST:PORT of its head, `auto` for the one that this machine belongs "
        "to, or, without an address, one that is started here.",
    )(function)


def tell(text: str) -> None:
    """Say on stderr what becomes of replicas, where no run's display does."""
    click.echo(f"playbill: {printable(text)}", err=True)


@contextmanager
def opened_places(replicas: int | None, ray: str | None, say: Callable[[str], None] = tell) -> Iterator[Places | None]:
    """Open what the options ask for; None where they ask for nothing. ``say`` is told where the dashboard is."""
    if ray is not None:
        from playbill.replicas.ray_places import ray_places

        with ray_places(ray, replicas) as places:
            if places.dashboard:
                say(f"Ray's dashboard: {places.dashboard}")
            yield places
    elif replicas is not None:
        from playbill.replicas import LocalPlaces

        yield LocalPlaces(replicas)
    else:
        yield None
