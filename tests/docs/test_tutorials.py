"""The tutorials are executed: each block in its order, in an empty folder, as a reader would type it.

Without weights the models are stand-ins: the first two layers of the demo's model, whose prompts are real and whose
text is noise. `make test-all` takes the real weights where they can be had here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.assets import cache_directory
from support.gguf_smollm2 import write_tiny
from support.pages import TUTORIALS, Block, page_marks, tutorial_blocks
from support.smollm2 import tiny_folder

STAND_INS = ("SmolLM2-135M-Instruct-Q4", "smol-warm", "Qwen2.5-0.5B-Q4", "Qwen2.5-0.5B-Q8")
PORT = "8765"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Reader:
    """Types the blocks of a page: in one folder after the other, with an empty home."""

    def __init__(self, folder: Path, registry: Path | None) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.port = str(free_port())
        self.printed = ""
        self.background: list[subprocess.Popen[str]] = []
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        self.environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "XDG_CONFIG_HOME": str(folder / "home" / ".config"),
            "PLAYBILL_CACHE": os.environ.get("PLAYBILL_CACHE") or str(cache_directory() / "playbill"),
            "HF_HUB_OFFLINE": "1",
            "COLUMNS": "160",
        } | ({"PLAYBILL_REGISTRY": str(registry)} if registry else {})

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        if block.mark.startswith("prints"):
            self.compare(block)
        elif block.mark.startswith("file "):
            (self.folder / block.mark.removeprefix("file ")).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self.execute([sys.executable, "-c", block.text], block)
        elif block.mark == "background":
            self.start(block)
        else:
            script = block.text.replace(PORT, self.port) + '\npwd > "$PLAYBILL_TEST_PLACE"\n'
            self.execute(["bash", "-e", "-o", "pipefail", "-c", script], block)

    def execute(self, command: list[str], block: Block) -> None:
        place = self.folder.parent / f"place-{block.line}"
        for keys in self.folder.glob("rehearsal-keys.json"):
            keys.write_text(keys.read_text().replace(PORT, self.port))
        environment = {**self.environment, "PLAYBILL_TEST_PLACE": str(place)}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=280)
        self.printed = done.stdout + done.stderr
        allowed = {int(code) for code in re.findall(r"\d+", block.mark)} if block.mark.startswith("exits") else {0}
        assert done.returncode in allowed, f"line {block.line}: {block.text}\n{self.printed}"
        if place.exists():
            self.folder = Path(place.read_text().strip())

    def start(self, block: Block) -> None:
        script = f"exec {block.text.strip().replace(PORT, self.port)}"
        self.background.append(
            subprocess.Popen(["bash", "-c", script], cwd=self.folder, env=self.environment, text=True)
        )
        for _ in range(200):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", int(self.port))) == 0:
                    return
            time.sleep(0.1)
        pytest.fail(f"line {block.line}: {block.text} doesn't listen")

    def compare(self, block: Block) -> None:
        printed = " ".join(self.printed.split())
        for line in filter(str.strip, block.text.splitlines()):
            assert " ".join(line.split()) in printed, f"line {block.line}: {line!r} is not in\n{self.printed}"

    def close(self) -> None:
        for process in self.background:
            process.terminate()
            process.wait(timeout=30)


def scripted(name: str) -> str:
    return json.dumps([{"model_name": name, "backend": "programmatic", "answers": ["an answer", "another"]}])


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> Path:
    """Stand-ins for the demo's models, in a registry that is searched first."""
    folder = tmp_path_factory.mktemp("tiny")
    model = {
        "backend": "llamacpp",
        "huggingface_id": str(write_tiny(folder)[0]),
        "premade_chat_template": True,
        "eos_to_cull": "<|im_end|>",
        "context_size": 8192,
    }
    path = folder / "stand_ins.json"
    path.write_text(json.dumps([{"model_name": name, **model, "max_tokens": 30} for name in STAND_INS]))
    return path


def walk(page: Path, reader: Reader, *, real: bool) -> int:
    """Follow a page from its top to its end; how many blocks were executed or compared."""
    followed = 0
    for mark in page_marks(page):
        if mark.startswith("folder "):
            shutil.copytree(tiny_folder(), reader.folder / mark.removeprefix("folder "))
    try:
        for block in tutorial_blocks(page):
            if block.mark.startswith("skip ") or (block.mark == "slow" and not real):
                continue
            if block.mark.startswith("stand-in "):
                for file in reader.folder.glob("*_registry.json"):
                    file.write_text(scripted(block.mark.removeprefix("stand-in ")))
            reader.follow(block)
            followed += 1
    finally:
        reader.close()
    return followed


@pytest.mark.parametrize("page", TUTORIALS, ids=[page.stem for page in TUTORIALS])
def test_tutorial(page, registry, tmp_path):
    """Every block does what the page says, with stand-ins for weights."""
    assert walk(page, Reader(tmp_path, registry), real=False) >= 3


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["first-report", "clembench"])
def test_tutorial_with_real_weights(name, tmp_path):
    """Those tutorials whose weights come with a package, once more, with nothing replaced."""
    page = next(page for page in TUTORIALS if page.stem == name)
    assert walk(page, Reader(tmp_path, None), real=True) >= 3


def test_every_tutorial_marks_why_a_block_is_skipped():
    """A mark is one of those that are known, and a skipped block gives its reason."""
    known = re.compile(r"(?:skip \w.+|slow|background|exits [\d or]+|prints|file \S+|stand-in \S+)?$")
    for page in TUTORIALS:
        marks = re.findall(r"<!-- test: (.*?) -->", page.read_text(encoding="utf-8"))
        assert [m for m in marks if m not in page_marks(page) and not known.match(m)] == []
