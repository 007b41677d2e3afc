"""Plays clembench episodes, many at once: asked by a Playbill process on stdin, telling it on stdout what happens.

Runs in clemcore's environment: knows clemcore and the standard library only. One thread per episode; the code of games
runs in one thread at a time, as clemcore's own runners do it, and only the waiting for answers overlaps.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import playbill_clem_client
from clemcore.backends import CustomResponseModel, HumanModel, ModelSpec
from clemcore.backends.model_registry import Model
from clemcore.clemgame import (
    ExperimentFileSaver,
    GameBenchmark,
    GameBenchmarkCallbackList,
    GameInstances,
    GameRegistry,
    InstanceFileSaver,
    InteractionsFileSaver,
    ResultsFolder,
    RunFileSaver,
)
from clemcore.clemgame.callbacks.files import PlayerFileSaver, SignalFileSaver
from clemcore.clemgame.envs.pettingzoo.master import GameMasterEnv
from clemcore.clemgame.resources import store_json

__all__ = ["main"]

FAILED = ".failed.json"


class Baton:
    """Held by the one thread that runs a game's code; laid down while that waits for an answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mine = threading.local()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._mine.held = True

    def __exit__(self, *exception: object) -> None:
        self._mine.held = False
        self._lock.release()

    @contextmanager
    def laid_down(self) -> Iterator[None]:
        if not getattr(self._mine, "held", False):  # a thread that a game started for itself
            yield
            return
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


class Interactions(InteractionsFileSaver):  # type: ignore[misc] # clemcore is not typed
    """As clemcore's; of an episode that failed it keeps what there was, under a name that nobody scores."""

    def on_game_end(self, game_master: Any, game_instance: Any, exception: Any = None, rewards: Any = None) -> None:
        folder = self.results_folder.to_instance_dir_path(game_master, game_instance)
        if exception is None:
            for stale in Path(folder).glob(f"*{FAILED}"):
                stale.unlink()
            super().on_game_end(game_master, game_instance, exception, rewards)
            return
        experiment = game_master.experiment["name"]
        key = self.to_key(game_master.game_spec.game_name, experiment, game_instance["game_id"])
        recorder = self._recorders.pop(key, None)
        if recorder is not None:
            store_json(recorder.interactions, f"interactions{FAILED}", folder)


class Requests(PlayerFileSaver):  # type: ignore[misc]
    """As clemcore's; of an episode that failed it keeps what there was."""

    def on_game_end(self, game_master: Any, game_instance: Any, exception: Any = None, rewards: Any = None) -> None:
        if exception is None:
            super().on_game_end(game_master, game_instance, exception, rewards)
            return
        folder = self.results_folder.to_instance_dir_path(game_master, game_instance)
        game, experiment = game_master.game_spec.game_name, game_master.experiment["name"]
        for player in game_master.get_players():
            recorder = self._recorders.pop(self.to_key(game, experiment, game_instance["game_id"], player.name), None)
            if recorder is not None and len(recorder) > 0:
                name = "_".join(player.name.lower().split())
                store_json(recorder.requests, f"{name}.requests{FAILED}", folder)


@dataclass
class Stage:
    """All that the episodes of one call have in common."""

    asked: dict[str, Any]
    folder: Any
    callbacks: Any
    door: playbill_clem_client.Door
    baton: Baton = field(default_factory=Baton)
    failed: int = 0

    def models(self, dialogue: str | None = None) -> list[Any]:
        """Return the players' models, new for each episode, so that each knows which dialogue is its own."""
        return [self._model(model, f"{dialogue}-{i}") for i, model in enumerate(self.asked["models"])]

    def _model(self, told: dict[str, Any], dialogue: str) -> Any:
        spec = ModelSpec.from_dict({"model_name": told["name"], "backend": "playbill", "playbill": told["told"]})
        if spec.is_programmatic():
            model = CustomResponseModel(ModelSpec.from_name(told["name"]))
        elif spec.is_human():
            model = HumanModel(ModelSpec.from_name(told["name"]))
        else:
            model = playbill_clem_client.PlaybillModel(spec, self.door, dialogue)
        model.set_gen_args(**self.asked["gen_args"])
        return model

    def instance_folder(self, game: str, row: dict[str, Any]) -> Path:
        """Return where clemcore keeps an episode's files."""
        master = SimpleNamespace(game_spec=SimpleNamespace(game_name=game), experiment=row["experiment"])
        return Path(self.folder.to_instance_dir_path(master, row["game_instance"]))

    def is_finished(self, game: str, row: dict[str, Any]) -> bool:
        """Tell whether this very instance was played to its end before."""
        folder = self.instance_folder(game, row)
        if not all((folder / name).is_file() for name in ("completed.json", "interactions.json", "instance.json")):
            return False
        stored = json.loads((folder / "instance.json").read_text(encoding="utf-8"))
        return bool(stored == json.loads(json.dumps(row["game_instance"])))


def main() -> None:
    """Read what is asked, play, tell; the exit code says whether all went well (0), or not (1), or nothing did (2)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked, which then closes stdin
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what games and libraries print is not for the other process

    def tell(event: str, **what: Any) -> None:
        out.write(json.dumps({"event": event, **what}) + "\n")

    asked = json.loads(sys.stdin.buffer.readline())
    try:
        stage = set_stage(asked)
        threading.Thread(target=end_with_parent, args=(stage.baton,), daemon=True).start()
        specs = chosen_games(asked["games"])
    except Exception as e:  # noqa: BLE001 - told to the process that asked
        tell("problem", message=said(e))
        sys.exit(2)
    for spec in specs:
        try:
            play_game(stage, spec, tell)
        except Exception as e:  # noqa: BLE001 - a game that can't be played keeps no other from being played
            stage.failed += 1
            tell("unplayable", game=spec.game_name, message=said(e))
    sys.exit(1 if stage.failed else 0)


def said(e: Exception) -> str:
    """Return what an exception says; a ValueError, ours or clemcore's, speaks for itself."""
    return str(e) if type(e) is ValueError else f"{type(e).__name__}: {e}"


def end_with_parent(baton: Baton) -> None:
    """When the process that asked is gone, or asks to end: end between two steps, so that no file is half written."""
    while os.read(0, 1 << 16):  # unbuffered: a buffer's lock, held by a thread, would be in the way of a normal end
        pass
    baton.__enter__()
    os._exit(130)


def set_stage(asked: dict[str, Any]) -> Stage:
    baton = Baton()
    door = playbill_clem_client.Door(asked["url"], asked["key"], baton.laid_down)
    stage = Stage(asked, None, None, door, baton)
    models = stage.models()
    infos = Model.to_infos(models)
    stage.folder = ResultsFolder(Path(asked["results"]), run_dir=Model.to_identifier(models))
    check_earlier_run(Path(stage.folder.to_run_dir_path()) / "run.json", infos)
    stage.callbacks = GameBenchmarkCallbackList(
        [
            InstanceFileSaver(stage.folder),
            ExperimentFileSaver(stage.folder, player_model_infos=infos),
            Interactions(stage.folder, player_model_infos=infos),
            RunFileSaver(stage.folder, player_model_infos=infos),
            Requests(stage.folder),
            SignalFileSaver(stage.folder),
        ]
    )
    return stage


def check_earlier_run(path: Path, infos: Any) -> None:
    """Episodes of other models or settings must not be mixed with these, nor be taken for finished ones of these."""
    if not path.is_file():
        return
    before = json.loads(path.read_text(encoding="utf-8")).get("player_models") or {}
    now = json.loads(json.dumps(infos))
    if _settings(before) != _settings(now):
        raise ValueError(
            f"{path.parent} was played with other models or settings; name another folder with --results, "
            "or move that one away"
        )


def _settings(infos: dict[str, Any]) -> dict[str, Any]:
    """Return what the answers depend on: not the version that played, nor where plain `clem run` found the entry."""
    found = {}
    for place, info in infos.items():
        spec = {k: v for k, v in info["model_spec"].items() if k != "lookup_source"}
        spec["playbill"] = {k: v for k, v in (spec.get("playbill") or {}).items() if k != "version"}
        found[place] = {"model_spec": spec, "gen_args": info["gen_args"]}
    return found


def chosen_games(selectors: list[str]) -> list[Any]:
    registry = GameRegistry.from_directories_and_cwd_files()
    found: dict[str, Any] = {}
    for selector in selectors:
        for spec in registry.get_game_specs_that_unify_with(selector, verbose=False):
            found.setdefault(spec.game_name, spec)
    return list(found.values())


def play_game(stage: Stage, spec: Any, tell: Any) -> None:
    """All episodes of a game that are not finished yet."""
    asked = stage.asked
    if asked["instances"]:
        spec.instances = asked["instances"]
    with GameBenchmark.load_from_spec(spec) as benchmark:
        rows = chosen_rows(list(GameInstances.from_game_spec(spec)), asked["experiment"])
        todo = [row for row in rows if not stage.is_finished(spec.game_name, row)]
        tell("game", game=spec.game_name, episodes=len(rows), finished=len(rows) - len(todo))
        if not todo:
            return
        stage.callbacks.on_benchmark_start(benchmark)
        play_all(stage, benchmark, todo, tell)
        stage.callbacks.on_benchmark_end(benchmark)


def chosen_rows(rows: list[dict[str, Any]], experiment: str | None) -> list[dict[str, Any]]:
    """Return the episodes of an experiment, or all. Raises ValueError where there is no such experiment."""
    names = dict.fromkeys(row["experiment"]["name"] for row in rows)
    if experiment is not None and experiment not in names:
        raise ValueError(f"there is no experiment '{experiment}'; there are {', '.join(names)}")
    return [row for row in rows if experiment in (None, row["experiment"]["name"])]


def play_all(stage: Stage, benchmark: Any, rows: list[dict[str, Any]], tell: Any) -> None:
    """Play episodes in several threads; whatever happens in one, the others go on."""
    waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for row in rows:
        waiting.put(row)

    def work() -> None:
        while True:
            try:
                row = waiting.get_nowait()
            except queue.Empty:
                return
            started = time.monotonic()
            with stage.baton:
                error = play(stage, benchmark, row)
                stage.failed += error is not None
                tell(
                    "episode",
                    game=benchmark.game_name,
                    experiment=row["experiment"]["name"],
                    id=row["game_instance"]["game_id"],
                    seconds=time.monotonic() - started,
                    error=None if error is None else f"{type(error).__name__}: {error}",
                )

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(stage.asked["at_once"], len(rows)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def play(stage: Stage, benchmark: Any, row: dict[str, Any]) -> Exception | None:
    """Play one episode as clemcore's sequential runner does; return what it failed with, or None."""
    env = GameMasterEnv(benchmark, callbacks=stage.callbacks)
    models = stage.models(f"{benchmark.game_name}-{row['experiment']['name']}-{row['game_instance']['game_id']}")
    options = {"player_models": models, "experiment": row["experiment"], "game_instance": row["game_instance"]}
    remove_stale(stage.instance_folder(benchmark.game_name, row))
    told = True  # whether clemcore tells the callbacks itself
    try:
        env.reset(options=options)
        for agent in env.agent_iter():
            context, _, termination, truncation, _ = env.last(observe=True)
            told = False
            response = None if termination or truncation else env.player_by_agent_id[agent](context)
            told = True
            env.step(response)
    except Exception as e:  # noqa: BLE001 - games fail in their own ways, and only their own episode
        if env.game_master is None:
            note = {"timestamp": datetime.now().isoformat(), "error": type(e).__name__, "message": str(e)}
            store_json(note, "error.json", stage.instance_folder(benchmark.game_name, row))
        elif not told:
            stage.callbacks.on_game_end(env.game_master, env.game_instance, e)
        return e
    return None


def remove_stale(folder: Path) -> None:
    """Records of another instance that stood in this place would be scored as this one's, should it fail."""
    for stale in ("interactions.json", "scores.json", "completed.json"):
        (folder / stale).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder: nothing in it is for games to import
    main()
