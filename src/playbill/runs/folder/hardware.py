"""Describe the machine that a run computes on: host, processor, GPUs, driver, job. Loads no library of theirs."""

from __future__ import annotations

import os
import platform
from typing import Any

from playbill.backends.engines.machine.hardware import nvidia_cards, processor_name

__all__ = ["describe_hardware", "hardware_in_words"]

_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID", "OAR_JOB_ID", "KUBERNETES_JOB_NAME")
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")


def describe_hardware() -> dict[str, Any]:
    """Return what is known of the machine; nothing where it can't be found out."""
    job = {name: os.environ[name] for name in (*_JOBS, *_VISIBLE) if os.environ.get(name)}
    machine = {"host": platform.node(), "processor": processor_name(), "cores": os.cpu_count()}
    found: dict[str, Any] = {**machine, "gpus": _gpus(), "job": job}
    return {name: value for name, value in found.items() if value}


def hardware_in_words(hardware: dict[str, Any]) -> str:
    """Return the part of it that an answer's bits and its speed depend on, on one line.

    >>> hardware_in_words({"host": "a", "processor": "EPYC", "cores": 4, "gpus": [{"name": "H100"}, {"name": "H100"}]})
    '4 cores of EPYC, 2 x H100'
    """
    gpus = [" ".join(filter(None, (g.get("name"), g.get("memory.total")))) for g in hardware.get("gpus") or ()]
    counts = {name: gpus.count(name) for name in gpus}
    parts = [f"{count} x {name}" if count > 1 else name for name, count in counts.items()]
    return ", ".join([f"{hardware.get('cores')} cores of {hardware.get('processor') or 'a processor'}", *parts])


def _gpus() -> list[dict[str, str]]:
    """Return all cards of the machine, those that this process doesn't see as well."""
    return [
        {"name": card.name, "memory.total": f"{card.total >> 20} MiB", "driver_version": card.driver}
        for card in nvidia_cards()
    ]
