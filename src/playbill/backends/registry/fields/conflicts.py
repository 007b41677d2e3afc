"""Find keys of one entry that contradict each other. Knows no engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from playbill.backends.common.findings import Finding
from playbill.backends.common.words import counted
from playbill.backends.registry import rules
from playbill.backends.registry.fields.engine_arguments import argument_faults

__all__ = ["field_conflicts"]


def field_conflicts(entry: Mapping[str, Any], paths: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what keys of an entry say against each other; ``paths`` tells where each of them stands."""
    for check in (_sampling, _format, _layers, _engine_arguments):
        yield from check(entry, paths)


def _sampling(entry: Mapping[str, Any], paths: Mapping[str, str]) -> Iterator[Finding]:
    samples, temperature = entry.get("do_sample"), entry.get("temperature")
    where = paths.get("do_sample", "do_sample")
    if not isinstance(samples, bool):
        return
    if isinstance(temperature, (int, float)) and samples is not (temperature > 0):
        meant = "samples" if temperature > 0 else "takes the likeliest token"
        message = f"{str(samples).lower()} says otherwise than temperature, which is {temperature} and {meant}"
        fix = f"take one of them out; for one command: -p do_sample={str(not samples).lower()}"
        yield rules.REFUSED_KEY.at(where, message, fix)
    elif samples and temperature is None and entry.get("generation_config") != "repo":
        message = "true, and no temperature is set, so it is 0 and the likeliest token is always taken"
        yield rules.GREEDY_SAMPLING.at(where, message, "set temperature, as 1.0, or take do_sample out")


def _format(entry: Mapping[str, Any], paths: Mapping[str, str]) -> Iterator[Finding]:
    half, dtype = entry.get("use_bf16"), entry.get("dtype")
    if isinstance(half, bool) and dtype not in (None, "auto") and half is not (dtype == "bfloat16"):
        message = f"{str(half).lower()} says otherwise than dtype, which is {dtype!r}"
        yield rules.REFUSED_KEY.at(paths.get("use_bf16", "use_bf16"), message, "take use_bf16 out")


def _layers(entry: Mapping[str, Any], paths: Mapping[str, str]) -> Iterator[Finding]:
    layers = entry.get("gpu_layers_offloaded")
    if layers and entry.get("execute_on") == "cpu":
        where = paths.get("gpu_layers_offloaded", "gpu_layers_offloaded")
        message = f"{counted(layers, 'layer')} {'goes' if layers == 1 else 'go'} to a GPU, and execute_on is 'cpu'"
        yield rules.REFUSED_KEY.at(where, message, "take one of them out")


def _engine_arguments(entry: Mapping[str, Any], paths: Mapping[str, str]) -> Iterator[Finding]:
    given = entry.get("engine_args")
    if not isinstance(given, dict):
        return
    where = paths.get("engine_args", "engine_args")
    for name, message, fix in argument_faults(str(entry.get("backend")), given):
        yield rules.REFUSED_KEY.at(f"{where}.{name}", message, fix)
