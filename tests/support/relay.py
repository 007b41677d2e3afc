"""The tests' own game for clembench, in a folder: see tests/bridges/clem/relay."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from support.environments import ROOT

SCRIPTED = {"model_name": "talker", "backend": "programmatic", "answers": ["One fine thing.", "Two!", "And three?"]}
EPISODES = 8


def relay_game(folder: Path, broken: int | None = None) -> None:
    """Put the game and its instances into a folder; ``broken`` is the instance that breaks it."""
    shutil.copytree(ROOT / "tests/bridges/clem/relay", folder / "relay", dirs_exist_ok=True)
    instances = [{"game_id": i, "word": f"word{i}", "rounds": 3, "breaks": i == broken} for i in range(EPISODES)]
    content = {"experiments": [{"name": "plain", "game_instances": instances}]}
    place = folder / "relay" / "in"
    place.mkdir(exist_ok=True)  # not in a fresh clone: git keeps no empty folder
    (place / "instances.json").write_text(json.dumps(content))


def said(folder: Path, results: str) -> dict[str, list[str]]:
    """What was said in each finished episode of all players."""
    files = sorted((folder / results).glob("*/relay/plain/*/interactions.json"))
    return {file.parent.name: json.loads(file.read_text())["said"] for file in files}
