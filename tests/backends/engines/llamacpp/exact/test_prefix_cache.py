"""PrefixCache that prompts share: when they are made, and what becomes of them. The server's answers are played."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playbill.backends.engines.llamacpp.exact.prefix_cache import PrefixCache
from playbill.backends.errors import EngineError

RULES = tuple(range(1000, 1200))


class Server:
    """Counts the tokens it is asked to compute, and keeps saved slots as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        self.asked.append(path.partition("=")[2] or f"compute {len(body['prompt'])}")
        if path.endswith("save"):
            (self.folder / body["filename"]).touch()
        if path.endswith("restore") and not (self.folder / body["filename"]).exists():
            raise EngineError("no such file")
        return {"timings": {"prompt_n": len(body.get("prompt", ()))}}


def test_the_second_of_its_kind_has_it_made_and_all_others_restore_it(tmp_path: Path) -> None:
    server = Server(tmp_path)
    prefix_cache = PrefixCache(tmp_path)
    computed = [prefix_cache.fill(slot, (*RULES, slot, 7), server.post) for slot in range(4)]
    assert server.asked == ["compute 192", "save", "restore", "restore"]
    assert computed == [0, 192, 0, 0]


def test_short_or_different_beginnings_are_left_alone(tmp_path: Path) -> None:
    server = Server(tmp_path)
    prefix_cache = PrefixCache(tmp_path)
    for prompt in ((*RULES[:50], 1), (*RULES[:50], 2), (5, *RULES), (6, *RULES)):
        assert prefix_cache.fill(0, prompt, server.post) == 0
    assert server.asked == []


def test_where_tokens_take_much_room_less_is_shared(tmp_path: Path) -> None:
    """256 MiB of one beginning lie on the disk at the most."""
    server = Server(tmp_path)
    prefix_cache = PrefixCache(tmp_path, bytes_per_token=2 << 20)
    for end in (1, 2):
        prefix_cache.fill(0, (*RULES, end), server.post)
    assert server.asked == ["compute 128", "save"]
    large = PrefixCache(tmp_path, bytes_per_token=8 << 20)
    assert [large.fill(0, (*RULES, end), server.post) for end in (1, 2)] == [0, 0]


def test_few_are_kept(tmp_path: Path) -> None:
    """The oldest is forgotten, and made again when it is asked for again."""
    server = Server(tmp_path)
    prefix_cache = PrefixCache(tmp_path)
    for game in (*range(6), 0):
        for end in (1, 2):
            prefix_cache.fill(0, (game, *RULES, end), server.post)
    assert len(list(tmp_path.iterdir())) == 4
    assert server.asked.count("save") == 7


def test_a_server_that_cannot_restore_costs_time_and_no_answer(tmp_path: Path) -> None:
    server = Server(tmp_path)
    prefix_cache = PrefixCache(tmp_path)
    for end in (1, 2):
        prefix_cache.fill(0, (*RULES, end), server.post)
    for file in tmp_path.iterdir():
        file.unlink()
    assert prefix_cache.fill(0, (*RULES, 3), server.post) == 0
