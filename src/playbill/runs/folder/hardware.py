"""Describe the machine that a run computes on: host, processor, GPUs, driver, job. Loads no library of theirs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["describe_hardware", "hardware_in_words"]

_JOBS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID", "OAR_JOB_ID", "KUBERNETES_JOB_NAME")
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_ASKED = ("name", "memory.total", "driver_version")
_PATIENCE = 10.0  # seconds for a driver that hangs


def describe_hardware() -> dict[str, Any]:
    """Return what is known of the machine; nothing where it can't be found out."""
    job = {name: os.environ[name] for name in (*_JOBS, *_VISIBLE) if os.environ.get(name)}
    found = {"host": platform.node(), "processor": _processor(), "cores": os.cpu_count(), "gpus": _gpus(), "job": job}
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


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _gpus() -> list[dict[str, str]]:
    """Ask the driver's own tool, which needs no CUDA context; visible devices or not."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, f"--query-gpu={','.join(_ASKED)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (line.split(", ") for line in done.stdout.splitlines())
    return [dict(zip(_ASKED, row, strict=True)) for row in rows if len(row) == len(_ASKED)]
