"""clemcore plays the test's own game, two players, several rounds; it scores, evaluates and transcribes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from playbill.bridges.clem.places import SIDE
from support.environments import environment
from support.pictures import tiny_png
from support.relay import EPISODES, relay_game

pytest.importorskip("uvicorn")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # environments are made here

ENTRIES = [
    {"model_name": "talker", "backend": "programmatic", "answers": ["One fine thing.", "Two!", "And three?"]},
    {"model_name": "echo", "backend": "programmatic", "delay": 0.01},
    {"model_name": "lossy", "backend": "programmatic", "fail_every": 16},
    {"model_name": "slow", "backend": "programmatic", "delay": 0.2},
    {"model_name": "silent", "backend": "programmatic", "answers": [" "]},
]


@pytest.fixture(scope="module")
def clem() -> Path:
    """The folder of clemcore's commands, in an environment of its own."""
    return environment("clemcore", "clemcore==3.7.2", below=(3, 13))


@pytest.fixture
def folder(place):
    """A folder with the game, and models of every temper."""
    relay_game(place)
    (place / "model_registry.json").write_text(json.dumps(ENTRIES))
    return place


def playbill(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "playbill", "clem", *args], capture_output=True, text=True)


def run(clem: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return playbill("run", "-g", "relay", *args, "--clem-python", str(clem / "python"))


def plain(clem: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(clem / "clem"), *args], capture_output=True, text=True, env=dict(os.environ))


def said(folder: Path, players: str, results: str = "results") -> dict[str, list[str]]:
    """What was said in each finished episode."""
    files = sorted((folder / results / players).glob("relay/plain/*/interactions.json"))
    return {file.parent.name: json.loads(file.read_text())["said"] for file in files}


def test_plain_clem_plays_with_playbills_models_and_scores(clem, folder):
    """After `playbill clem init`, `clem run` plays in batches and one by one, with the same words, and scores both."""
    assert playbill("init").returncode == 0
    batches = plain(clem, "run", "-g", "relay", "-m", "talker", "echo", "-b", "4", "-r", "batches")
    assert batches.returncode == 0, batches.stderr
    single = plain(clem, "run", "-g", "relay", "-m", "talker", "echo", "-r", "single")
    assert single.returncode == 0, single.stderr
    words = said(folder, "talker--echo", "batches")
    assert words == said(folder, "talker--echo", "single")
    assert len(words) == EPISODES
    assert words["instance_00001"][:3] == ["One fine thing.", words["instance_00001"][1], "Two!"]
    assert words["instance_00001"][1].endswith("word1. Answer shortly.\n\nOne fine thing.")
    assert plain(clem, "score", "-r", "batches").returncode == 0
    assert len(list(folder.glob("batches/**/scores.json"))) == EPISODES
    again = run(clem, "-m", "talker", "echo", "-r", "single", "--json")
    assert json.loads(again.stdout)["finished_before"] == EPISODES, "what plain clem finished is not played again"


def test_records_hold_what_was_sent_and_where_from(clem, folder):
    """clemcore's request files have the messages and the answer; run.json has Playbill's entry and version."""
    assert playbill("init", "talker").returncode == 0
    assert plain(clem, "run", "-g", "relay", "-m", "talker").returncode == 0
    calls = json.loads((folder / "results/talker/relay/plain/instance_00000/player_1.requests.json").read_text())
    call = calls["calls"][0]["call"]
    assert call["manipulated_prompt_obj"]["messages"][0]["content"].endswith("word0")
    assert call["raw_response_obj"]["clem_player"]["response"] == "One fine thing."
    model = json.loads((folder / "results/talker/run.json").read_text())["player_models"]["0"]["model_spec"]
    assert model["playbill"]["entry"]["backend"] == "programmatic"


def test_many_episodes_at_once_give_the_records_that_clemcore_reads(clem, folder):
    """`playbill clem run` says what plain `clem run` says; clem scores, evaluates and transcribes it."""
    done = run(clem, "-m", "talker", "echo")
    assert done.returncode == 0, done.stderr
    assert playbill("init").returncode == 0
    assert plain(clem, "run", "-g", "relay", "-m", "talker", "echo", "-r", "plain").returncode == 0
    assert said(folder, "talker--echo") == said(folder, "talker--echo", "plain")
    for command in ("score", "eval", "transcribe"):
        done = plain(clem, command, "-r", "results")
        assert done.returncode == 0, done.stderr
    (row,) = list(csv.DictReader((folder / "results" / "results.csv").open()))
    assert row["relay, % Played"] == "100.0"
    assert len(list(folder.glob("results/**/transcript.html"))) == EPISODES


def test_a_failed_episode_is_played_again_and_no_other(clem, folder):
    """A model's failure ends its episode alone; the second call plays just that one, and then all is finished."""
    first = run(clem, "-m", "lossy", "--json", "--episodes", "3")
    counts = json.loads(first.stdout)
    assert first.returncode == 1, first.stderr
    assert 0 < counts["failed"] < EPISODES
    before = {file: file.read_bytes() for file in folder.glob("results/**/interactions.json")}
    assert len(before) == EPISODES - counts["failed"]
    kept = list(folder.glob("results/**/interactions.failed.json"))
    assert len(kept) == counts["failed"]
    done = first
    for _ in range(5):
        done = run(clem, "-m", "lossy", "--json", "--episodes", "1")
        if done.returncode == 0:
            break
    assert json.loads(done.stdout)["finished_before"] >= len(before)
    assert len(said(folder, "lossy")) == EPISODES
    assert all(file.read_bytes() == content for file, content in before.items())
    assert not list(folder.glob("results/**/*.failed.json"))


def test_a_game_that_breaks_leaves_its_neighbours_alone(clem, folder):
    """The broken instance has an error file and no interactions to score; the others are finished."""
    relay_game(folder, broken=5)
    done = run(clem, "-m", "talker")
    assert done.returncode == 1, done.stderr
    broken = folder / "results/talker/relay/plain/instance_00005"
    assert json.loads((broken / "error.json").read_text())["error"] == "ZeroDivisionError"
    assert not (broken / "interactions.json").exists()
    assert len(said(folder, "talker")) == EPISODES - 1
    relay_game(folder)
    assert json.loads(run(clem, "-m", "talker", "--json").stdout)["finished_before"] == EPISODES - 1


def test_a_game_that_cannot_be_played_keeps_no_other_from_being_played(clem, folder):
    """One game misses a module: it is named, with the reason, and the other game is played to its end."""
    shutil.copytree(folder / "relay", folder / "broken")
    (folder / "broken" / "master.py").write_text("import no_such_module_anywhere\n")
    spec = json.loads((folder / "relay" / "clemgame.json").read_text())
    (folder / "broken" / "clemgame.json").write_text(json.dumps({**spec, "game_name": "broken"}))
    done = run(clem, "-g", "broken", "-m", "talker", "--json")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["unplayable"] == ["broken"]
    assert "no_such_module_anywhere" in done.stderr
    assert len(said(folder, "talker")) == EPISODES


def test_an_experiment_that_there_is_not_is_said(clem, folder):
    """Nothing is played, and the message names the experiments that there are."""
    done = run(clem, "-m", "talker", "-e", "fancy")
    assert done.returncode == 1
    assert "no experiment 'fancy'; there are plain" in done.stderr


def test_other_settings_are_not_mixed_into_the_same_folder(clem, folder):
    """A second call with another temperature is refused, and says what to do."""
    assert run(clem, "-m", "talker").returncode == 0
    other = run(clem, "-m", "talker", "-p", "temperature=0.7")
    assert other.returncode == 2
    assert "--results" in other.stderr
    assert run(clem, "-m", "talker", "-p", "temperature=0.7", "-r", "warm").returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
def test_an_interrupted_run_goes_on_where_it_was(clem, folder):
    """Ctrl-C ends it without a trace; what was finished stays, no file is half written, the rest is played later."""
    command = [sys.executable, "-m", "playbill", "clem", "run", "-g", "relay", "-m", "slow", "--episodes", "2"]
    arguments = ["--clem-python", str(clem / "python")]
    with subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        lines = []
        for line in running.stderr:
            lines.append(line)
            if "finished (" in line:
                os.killpg(running.pid, signal.SIGINT)
                break
        lines += running.stderr.readlines()
    assert running.returncode == 130, lines
    assert "Traceback" not in "".join(lines)
    before = said(folder, "slow")
    assert 0 < len(before) < EPISODES
    assert not list(folder.glob("results/**/error.json"))
    again = run(clem, "-m", "slow", "--json")
    assert json.loads(again.stdout)["finished_before"] == len(before)
    assert len(said(folder, "slow")) == EPISODES


def test_replicas_play_as_the_model_itself_does(clem, folder):
    """The same words, from two processes each; and none of them is left."""
    assert run(clem, "-m", "talker", "echo", "-r", "plain").returncode == 0
    done = run(clem, "-m", "talker", "echo", "-r", "replicas", "--replicas", "2")
    assert done.returncode == 0, done.stderr
    assert "talker: replica" in done.stderr
    assert said(folder, "talker--echo", "replicas") == said(folder, "talker--echo", "plain") != {}


def test_what_a_model_does_not_say_aborts_the_game_by_its_own_rules(clem, folder):
    """An empty answer reaches the game as such: it is the game that judges it."""
    assert run(clem, "-m", "silent").returncode == 0
    assert said(folder, "silent")["instance_00000"] == []


def test_pictures_are_sent_as_data(clem, folder):
    """clemcore's `image`, a path or several, becomes parts with the picture inside; text alone stays text."""
    (folder / "dot.png").write_bytes(b"\x89PNG")
    code = (
        f"import json, sys; sys.path.insert(0, {str(SIDE)!r}); from playbill_clem_client import with_images\n"
        "given = {'role': 'user', 'content': 'What is it?', 'image': ['dot.png'], 'extra': 1}\n"
        "print(json.dumps([with_images(given), with_images({'role': 'user', 'content': 'Hi', 'extra': 1})]))"
    )
    done = subprocess.run([clem / "python", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    pictured, plain_text = json.loads(done.stdout.splitlines()[-1])
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}}
    assert pictured == {"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}
    assert plain_text == {"role": "user", "content": "Hi"}


def test_a_game_with_pictures_is_played_by_a_local_model_that_sees(clem, folder):
    """By `playbill clem run` and by plain `clem run`: each prompt holds the place of the picture, before the text."""
    pytest.importorskip("PIL", reason="needs the extra `vision`")
    pytest.importorskip("torchvision", reason="needs the extra `vision`")
    from support.vision.checkpoint import entry_of, save_tiny

    entry = entry_of(save_tiny("llava", folder / "llava"), max_tokens=6)
    (folder / "model_registry.json").write_text(json.dumps([*ENTRIES, entry]))
    (folder / "dot.png").write_bytes(tiny_png(40, 30))
    instances = folder / "relay" / "in" / "instances.json"
    content = json.loads(instances.read_text())
    content["experiments"][0]["game_instances"] = [
        {"game_id": i, "word": f"word{i}", "rounds": 1, "picture": str(folder / "dot.png")} for i in range(2)
    ]
    instances.write_text(json.dumps(content))
    done = run(clem, "-m", "llava", "talker", "-r", "results")
    assert done.returncode == 0, done.stderr[-2000:]
    assert playbill("init").returncode == 0
    done = plain(clem, "run", "-g", "relay", "-m", "llava", "talker", "-r", "plain")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for results in ("results", "plain"):
        requests = sorted((folder / results).glob("llava--talker/relay/plain/*/player_1.requests.json"))
        assert len(requests) == 2
        for file in requests:
            prompt = json.loads(file.read_text())["calls"][0]["call"]["manipulated_prompt_obj"]["inputs"]
            assert prompt.startswith("USER: <image>\nSay something short"), prompt


def test_clemcores_own_players_can_take_part(clem, folder):
    """`mock` is clemcore's programmatic player, as its users know it."""
    assert run(clem, "-m", "talker", "-m", "mock").returncode == 0
    assert said(folder, "talker--mock")["instance_00000"][1].startswith("I heard")
