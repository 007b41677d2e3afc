"""Pictures in a run: each kept once beside the records, named there, counted again by replay and audit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from playbill.backends import ModelRegistry
from playbill.mock_services import MockServer
from playbill.runs import merge, run
from playbill.runs.audit import Audit, find_sources
from playbill.runs.replay import Replayed, replay
from playbill.runs.report.page import write_report
from support.pictures import png_url, tiny_png

pytest.importorskip("openai", reason="needs the extra `openai`")

SEES = {"single_image": True, "multiple_images": True}


def entry_for(server):
    named = {"model_name": "eyes", "backend": "openai_compatible", "model_id": "eyes"}
    return {**named, "base_url": server.openai_url, "multimodality": SEES}


@pytest.fixture
def folder(place):
    """A run with a service: a dialogue about a file, and one about two data URLs, one of them that picture again."""
    (place / "cat.png").write_bytes(tiny_png(5, 4))
    parts = [
        {"type": "text", "text": "These?"},
        *({"type": "image_url", "image_url": {"url": png_url(w, 4)}} for w in (5, 6)),
    ]
    dialogues = [
        {"id": "file", "messages": [{"role": "user", "content": "What is it?", "image": "cat.png"}]},
        {"id": "data", "messages": [{"role": "user", "content": parts}]},
        {"id": "none", "turns": ["Hello!", "Again?"]},
    ]
    (place / "in.jsonl").write_text("".join(json.dumps(d) + "\n" for d in dialogues))
    (place / "key.json").write_text(json.dumps({"openai_compatible": {"api_key": "sk-fake"}}))
    with MockServer() as server:
        entry = entry_for(server)
        result = run("in.jsonl", entry, out=place / "run", registry=ModelRegistry.load())
    assert result.ok, result.models
    return place / "run"


def records(folder):
    return {r["id"]: r for r in map(json.loads, (folder / "eyes" / "records.jsonl").read_text().splitlines())}


def test_each_picture_is_kept_once_and_named_in_the_records(folder):
    """By its hash; a record has no data of it, in the messages or in the request."""
    kept = sorted(path.name for path in (folder / "pictures").iterdir())
    digests = [hashlib.sha256(tiny_png(width, 4)).hexdigest() for width in (5, 6)]
    assert kept == sorted(f"{digest}.png" for digest in digests)
    found = records(folder)
    (cat,) = found["file"]["details"]["pictures"]
    assert (cat["source"], cat["sha256"], cat["mime"], cat["width"], cat["height"]) == (
        "cat.png",
        digests[0],
        "image/png",
        5,
        4,
    )
    assert found["file"]["messages"][0]["image"] == "cat.png"
    names = [part["image_url"]["url"] for part in found["data"]["messages"][0]["content"][1:]]
    assert names == [f"pictures/{digest}.png" for digest in digests]
    assert [p["sha256"] for p in found["data"]["details"]["pictures"]] == digests
    assert "base64" not in (folder / "eyes" / "records.jsonl").read_text()
    assert "pictures" not in found["none"]["details"]


def test_the_order_for_a_service_is_that_of_the_message(folder):
    """clembench's picture goes before the text, parts keep their order."""
    found = records(folder)
    kinds = [[part["type"] for part in found[id]["request"]["messages"][0]["content"]] for id in ("file", "data")]
    assert kinds == [["image_url", "text"], ["text", "image_url", "image_url"]]


def test_a_run_is_whole_as_long_as_its_pictures_are(folder):
    """Replay counts them and looks at the kept ones; audit finds nothing."""
    counts = Replayed()
    assert list(replay(folder, counts)) == []
    assert counts.pictures == 3
    assert audited(folder) == []
    (kept := next((folder / "pictures").iterdir())).write_bytes(b"other")
    assert {d.field for d in replay(folder)} == {"pictures"}
    kept.unlink()
    assert all("has no picture" in d.now for d in replay(folder))


def audited(folder):
    auditor = Audit()
    found = [judged.finding.name for source in find_sources([folder]) for judged in auditor.judge(source.calls())]
    return [*found, *(judged.finding.name for judged in auditor.close())]


def test_a_lost_picture_is_found(folder):
    """A record that speaks of fewer pictures than its messages name."""
    path = folder / "eyes" / "records.jsonl"
    found = records(folder)
    found["data"]["details"]["pictures"].pop()
    path.write_text("".join(json.dumps(record) + "\n" for record in found.values()))
    assert [d.field for d in replay(folder)] == ["details.pictures"]
    assert "lost-picture" in audited(folder)


def test_the_report_shows_them_small(folder):
    """As data within the page, which loads nothing; a picture that is no picture is left out, and harms nothing."""
    page = write_report(folder).read_text()
    digests = [path.stem for path in (folder / "pictures").iterdir()]
    assert "img-src data:;" in page
    assert all(f'"{digest}":"data:image/' in page for digest in digests)
    (folder / "pictures" / f"{digests[0]}.png").write_bytes(b"<script>alert(1)</script>")
    page = write_report(folder).read_text()
    assert f'"{digests[0]}":"data:image/' not in page
    assert f'"{digests[1]}":"data:image/' in page


def test_a_link_in_the_place_of_the_folder_is_not_followed(folder, place):
    """What a run writes stays in its folder, whoever made it."""
    (place / "elsewhere").mkdir()
    again = place / "again"
    again.mkdir()
    (again / "pictures").symlink_to(place / "elsewhere")
    with MockServer() as server:
        entry = entry_for(server)
        with pytest.raises(Exception, match="is a link"):
            run("in.jsonl", entry, out=again, registry=ModelRegistry.load())
    assert list((place / "elsewhere").iterdir()) == []


def test_shards_bring_their_pictures(folder):
    """Each once in the merged folder, and none whose content is another than its name says."""
    with MockServer() as server:
        parts = [run("in.jsonl", entry_for(server), out=f"s{i}", shard=(i, 2)).folder for i in (1, 2)]
    assert merge(parts, "merged").notes == []
    kept = {path.name: path.read_bytes() for path in (folder / "pictures").iterdir()}
    assert {path.name: path.read_bytes() for path in Path("merged/pictures").iterdir()} == kept
    counts = Replayed()
    assert list(replay(Path("merged"), counts)) == []
    assert counts.pictures == 3
    damaged = next(path for part in parts for path in part.glob("pictures/*"))
    damaged.write_bytes(b"else")
    assert f"{damaged} is another picture than its name says, and left out" in merge(parts, "again").notes
