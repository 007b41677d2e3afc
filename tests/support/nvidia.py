"""Cards that aren't here: a program that says what NVIDIA's tool would, at the beginning of PATH. No test itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest


def show_cards(
    monkeypatch: pytest.MonkeyPatch, folder: Path, cards: Sequence[tuple[int, str]], uuids: Sequence[str] = ()
) -> None:
    """Let each card, of so many free bytes and a compute capability, be told from now on."""
    names = [f"GPU-{uuids[i] if uuids else i}" for i in range(len(cards))]
    lines = [
        f"{i}, {name}, a card, 570.86, {free >> 20}, {free >> 20}, {capability}"
        for i, (name, (free, capability)) in enumerate(zip(names, cards, strict=True))
    ]
    (folder / "bin").mkdir(exist_ok=True)
    tool = folder / "bin" / "nvidia-smi"
    tool.write_text("\n".join(["#!/bin/sh", *(f"echo '{line}'" for line in lines), ""]))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
