"""Shards of a run, merged: the records of the run in one piece, whatever the order, the splitting and the kills."""

from __future__ import annotations

import json
import os
import random
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playbill.backends.errors import InputError, RunError
from playbill.runs import merge, open_inputs, read_records, run
from playbill.runs.inputs.shard import Shard

pytestmark = pytest.mark.usefixtures("place")

MODEL = {"model_name": "m", "backend": "programmatic", "answers": ["one", "two", "three"]}
OTHER = {"model_name": "echo", "backend": "programmatic"}


def dialogues(count):
    return [{"id": f"d{i}", "turns": ["a", "b", "c"][: 1 + i % 3]} for i in range(count)]


def shards(given, count, *, models=MODEL, folder=Path(), **more):
    return [run(given, models, out=folder / f"s{i}", shard=(i, count), **more).folder for i in range(1, count + 1)]


def kept(path):
    """Each record by its key, without what says when it was made and what caches did."""
    found = {}
    for record in read_records(path):
        key = record["id"], record["turn"], record["sample"]
        assert key not in found
        usage = {**record["usage"], "cached_tokens": None}
        found[key] = {**record, "time": None, "seconds": None, "usage": usage}
    return found


def test_every_dialogue_is_in_one_shard_whatever_the_order():
    """Shards are disjoint, and together all; a dialogue's shard follows from its id alone."""
    given = dialogues(50)
    parts = [{d.id for d in open_inputs(given, Shard(i, 4))} for i in range(1, 5)]
    assert sorted(id for part in parts for id in part) == sorted(d["id"] for d in given)
    turned = [{d.id for d in open_inputs(given[::-1] + dialogues(60)[50:], Shard(i, 4))} for i in range(1, 5)]
    assert all(part <= other for part, other in zip(parts, turned, strict=True))
    assert min(map(len, parts)) > 4


def test_four_shards_merged_are_the_run_in_one_piece():
    """The same record for each key; the command for the whole finds nothing to do; its samples have their own seeds."""
    given = dialogues(30)
    whole = run(given, [MODEL, OTHER], out="whole", repeat=2, seed=7)
    merged = merge(shards(given, 4, models=[MODEL, OTHER], repeat=2, seed=7), "merged")
    assert merged.missing == []
    for label in ("m", "echo"):
        assert kept(Path("merged", label, "records.jsonl")) == kept(whole.files[label])
    again = run(given, [MODEL, OTHER], out="merged", repeat=2, seed=7)
    assert [s.new_records for s in again.models.values()] == [0, 0]
    assert again.ok


SHARDINGS = st.integers(1, 20), st.integers(1, 5), st.integers(0, 2**32), st.integers(1, 2)
QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=3, **QUIET)
@given(*SHARDINGS)
def test_any_sharding_in_any_order_with_any_kills_gives_each_item_once(count, parts, seed, repeat):
    """Records are cut at random bytes, shards end early or are left out, inputs are reordered: the command for the
    whole, in the merged folder, asks for just what is missing."""
    check_sharding(count, parts, seed, repeat)


@pytest.mark.slow
@settings(max_examples=100, **QUIET)
@given(*SHARDINGS)
def test_many_shardings(count, parts, seed, repeat):
    """The same, a hundred times."""
    check_sharding(count, parts, seed, repeat)


def check_sharding(count, parts, seed, repeat):
    chance = random.Random(seed)
    given = dialogues(count)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        whole = run(given, MODEL, out=folder / "whole", repeat=repeat)
        made = []
        for i in chance.sample(range(1, parts + 1), chance.randint(1, parts)):
            order = chance.sample(given, len(given))
            result = run(order, MODEL, out=folder / f"s{i}", shard=(i, parts), repeat=repeat)
            for _ in range(chance.randint(0, 2)):
                path = result.files["m"]
                os.truncate(path, chance.randint(0, path.stat().st_size))
                if chance.random() < 0.5:
                    run(order, MODEL, out=folder / f"s{i}", shard=(i, parts), repeat=repeat)
            made.append(result.folder)
        copy = merge([*made, made[0]], folder / "merged")
        expected = kept(whole.files["m"])
        found = kept(folder / "merged/m/records.jsonl")
        assert found.items() <= expected.items() if found else True
        assert bool(copy.missing) >= (len(made) < parts)
        again = run(given, MODEL, out=folder / "merged", repeat=repeat)
        assert again.models["m"].new_records == len(expected) - len(found)
        assert kept(folder / "merged/m/records.jsonl") == expected


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"seed": 3}, "seed: nothing in s1, 3 in s2"),
        ({"repeat": 2}, "repeat: 1 in s1, 2 in s2"),
        ({"params": {"temperature": 0.5}}, "models.m.spec.temperature: nothing in s1, 0.5 in s2"),
        ({"dialogues": dialogues(9)}, "inputs.dialogues: 8 in s1, 9 in s2"),
        ({"dialogues": [*dialogues(7), {"id": "d7", "turns": ["other"]}]}, "the dialogues of s2 are others"),
    ],
)
def test_what_is_not_of_one_run_is_refused(other, said):
    """With every difference, and nothing is written."""
    run(dialogues(8), MODEL, out="s1", shard="1/2")
    options = {"dialogues": dialogues(8), **other}
    run(options.pop("dialogues"), MODEL, out="s2", shard="2/2", **options)
    with pytest.raises(RunError, match="not of one run") as e:
        merge(["s1", "s2"], "merged")
    assert said in str(e.value)
    assert not Path("merged").exists()


def test_dates_count_where_the_template_prints_them():
    """Two days in one merged folder would be two prompts; a template that prints no date takes both."""
    for number, text in ((1, "{{ strftime_now('%d') }}"), (2, "plain")):
        for i in (1, 2):
            folder = run(dialogues(8), MODEL, out=f"{number}{i}", shard=(i, 2)).folder
            path = folder / "manifest.json"
            content = json.loads(path.read_text())
            content["models"]["m"] |= {"template": {"text": text}, "date": f"2026-01-0{i}T00:00:00"}
            path.write_text(json.dumps(content))
    with pytest.raises(RunError, match="start all shards on one day"):
        merge(["11", "12"], "merged")
    assert merge(["21", "22"], "merged").missing == []


def test_a_conversation_is_never_mixed_of_two_folders():
    """Where two folders have other answers, the longer conversation is taken whole, and it is said."""
    given = [{"id": "d", "turns": ["a", "b", "c"]}]
    for folder, lines in (("one", 2), ("two", 3)):
        path = run(given, MODEL, out=folder).files["m"]
        records = [json.loads(line) for line in path.read_text().splitlines()[:lines]]
        path.write_text("".join(json.dumps({**r, "text": f"{folder} {r['turn']}"}) + "\n" for r in records))
    merged = merge(["one", "two"], "merged")
    assert [r["text"] for r in read_records("merged/m/records.jsonl")] == ["two 0", "two 1", "two 2"]
    assert "with other answers" in merged.notes[0]


def test_what_is_missing_is_said():
    """Shards that are not there, starts that were killed, models that ran in one shard only, errors."""
    given = dialogues(12)
    run(given, [MODEL, OTHER], out="s1", shard="1/3")
    run(given, {**MODEL, "fail_every": 0}, out="s3", shard="3/3")
    manifest = Path("s3/manifest.json")
    content = json.loads(manifest.read_text())
    content["models"]["m"]["missing"] = None
    content["models"]["m"]["spec"].pop("fail_every")
    manifest.write_text(json.dumps(content))
    said = "\n".join(merge(["s1", "s3"], "merged").missing)
    assert "m: s3 was not run to its end" in said
    assert "m: shard 2 of 3" in said
    assert "echo: s3 has no records of it" in said


def test_merging_takes_no_folder_that_is_in_use_or_none_of_ours():
    """A run that is on, a folder that isn't there, a target that isn't empty, and records of another shard."""
    one, two = shards(dialogues(8), 2)
    with FileLock(two / ".lock"), pytest.raises(RunError, match="a run is on in s2"):
        merge([one, two], "merged")
    with pytest.raises(InputError, match="no folder of a run"):
        merge([one, "nowhere"], "merged")
    with pytest.raises(RunError, match="not empty"):
        merge([one, two], one)
    with (two / "m/records.jsonl").open("ab") as file:
        file.write((one / "m/records.jsonl").read_bytes())
    with pytest.raises(RunError, match="shard 2/2 alone"):
        merge([one, two], "merged")
    assert not Path("nowhere").exists()


def test_a_shards_folder_goes_on_as_this_shard_only():
    """Another shard in the same folder is another run, and the whole is too."""
    run(dialogues(8), MODEL, out="s", shard="1/2")
    for other in ("2/2", None):
        with pytest.raises(RunError, match=r"inputs\.shard: '1/2' in the folder"):
            run(dialogues(8), MODEL, out="s", shard=other)
    assert run(dialogues(8), MODEL, out="s", shard="1/2").models["m"].new_records == 0


@pytest.mark.parametrize("given", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_no_shard(given):
    """What names no shard is refused before anything is read."""
    with pytest.raises(RunError, match="shard"):
        run("nowhere.jsonl", MODEL, shard=given)


def test_an_empty_shard_is_a_run_like_any_other():
    """More shards than dialogues: a job array's spare jobs end well."""
    folders = shards(dialogues(1), 3)
    assert merge(folders, "merged").missing == []


def test_shards_of_several_counts_are_judged_by_what_they_hold():
    """A half and a quarter lack the other quarter, which is named; with it they are the whole."""
    given = dialogues(24)
    parts = [run(given, MODEL, out=f"s{i}of{n}", shard=(i, n)).folder for i, n in ((1, 2), (2, 4))]
    assert merge(parts, "early").missing == ["m: shard 4 of 4"]
    assert "turns" not in json.loads(Path("early/manifest.json").read_text())["inputs"]
    parts.append(run(given, MODEL, out="rest", shard="4/4").folder)
    assert merge(parts, "merged").missing == []
    whole = run(given, MODEL, out="whole")
    assert kept("merged/m/records.jsonl") == kept(whole.files["m"])
    turns = json.loads(Path("whole/manifest.json").read_text())["inputs"]["turns"]
    assert json.loads(Path("merged/manifest.json").read_text())["inputs"]["turns"] == turns
    assert run(given, MODEL, out="merged").models["m"].new_records == 0


def test_shards_that_overlap_keep_each_item_once():
    """A half beside a quarter of it, and beside the whole: no number is counted twice."""
    given = dialogues(24)
    half, quarter, other = [
        run(given, MODEL, out=f"s{i}of{n}", shard=(i, n)).folder for i, n in ((1, 2), (1, 4), (2, 2))
    ]
    whole = run(given, MODEL, out="whole")
    for number, parts in enumerate([(half, quarter, other), (whole.folder, quarter)]):
        merged = merge(parts, f"m{number}")
        assert merged.missing == []
        assert "kept once" in merged.notes[0]
        assert kept(f"m{number}/m/records.jsonl") == kept(whole.files["m"])
        assert run(given, MODEL, out=f"m{number}").models["m"].new_records == 0


def test_splits_that_cannot_be_judged_together_are_refused():
    """Before memory is filled with their common parts."""
    given = dialogues(3)
    parts = [run(given, MODEL, out=f"s{n}", shard=(1, n)).folder for n in (999_983, 999_979)]
    with pytest.raises(RunError, match="shards of 999979, 999983 can't be judged together"):
        merge(parts, "merged")
    assert not Path("merged").exists()


def test_one_folder_by_two_names_is_one_folder():
    """A path and a link to it."""
    (folder,) = shards(dialogues(4), 1)
    Path("link").symlink_to(folder)
    merged = merge([folder, "link", Path.cwd() / folder], "merged")
    assert (merged.missing, merged.notes) == ([], [])


def test_a_shard_that_was_started_thrice_and_errors():
    """Every start stays in the manifest; what failed is counted as missing, and tried by the command for the whole."""
    given = dialogues(12)
    for _ in range(3):
        run(given, MODEL, out="s1", shard="1/2")
    failing = {**MODEL, "fail_every": 4}
    run(given, MODEL, out="s2", shard="2/2")
    path = Path("s2/m/records.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[-1] |= {"outcome": "error", "text": "", "error": {"type": "EngineError", "message": "no luck"}}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    merged = merge(["s1", "s2"], "merged")
    assert merged.missing == ["m: 1 error, which the next start tries again"]
    assert len(json.loads(Path("merged/manifest.json").read_text())["starts"]) == 4
    with pytest.raises(RunError, match="fail_every"):
        run(given, failing, out="merged")
    assert run(given, MODEL, out="merged").models["m"].new_records == 1


def test_a_run_goes_on_with_its_dialogues_in_another_order():
    """Nothing is asked again; other dialogues in the place of one are refused as ever."""
    given = dialogues(6)
    run(given, MODEL, out="r")
    assert run(given[::-1], MODEL, out="r").models["m"].new_records == 0
    with pytest.raises(RunError, match="the first 6 dialogues"):
        run([*given[:5], {"id": "d5", "turns": ["other"]}], MODEL, out="r")


def test_merging_on_where_shards_come_one_by_one():
    """What was merged early takes the others in; the command for the whole then has nothing to do."""
    given = dialogues(24)
    parts = shards(given, 3)
    merge(parts[:2], "early")
    assert merge(["early", parts[2]], "merged").missing == [
        "m: early was merged of too few folders; the command for the whole asks for the rest"
    ]
    assert run(given, MODEL, out="merged").models["m"].new_records == 0
