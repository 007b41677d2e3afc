"""Do one thing to many models: several side by side, and resumable by a journal of what is done.

Knows neither what is done nor to what.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from playbill.backends.common.jsonfile import parse_own_line
from playbill.backends.errors import InputError

__all__ = ["Journal", "digest_of", "quiet_downloads", "side_by_side"]

_BEGINS = b'{"done": "'
Item = TypeVar("Item")
Result = TypeVar("Result")


def digest_of(value: Any) -> str:
    """Return a short hash of a JSON value, the same for the same content."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Journal:
    """What is done, by keys that say of what: a file of JSON lines that grows by one whenever something is. A line that
    was cut off by the end of a process counts for nothing. Without a path it forgets.

    Raises InputError where the file can't be read or written, or holds something else.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._done: dict[str, Any] = {}
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            lines = path.read_bytes().splitlines()
        except OSError as e:
            raise InputError(f"can't read {path}: {e.strerror or e}") from e
        for line in lines:
            value = parse_own_line(line)
            if isinstance(value, dict) and isinstance(value.get("done"), str):
                self._done[value["done"]] = value.get("result")
            elif value is not None or not _BEGINS.startswith(line[: len(_BEGINS)]):
                raise InputError(f"{path} holds something else than what was done; name another file with --state")

    def __contains__(self, key: str) -> bool:
        return key in self._done

    def __getitem__(self, key: str) -> Any:
        return self._done[key]

    def add(self, key: str, result: Any) -> None:
        """Note that something is done, before anything else happens."""
        self._done[key] = result
        if self._path is None:
            return
        line = json.dumps({"done": key, "result": result}, ensure_ascii=False)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab+") as file:
                if file.tell() and not _ends_line(file):
                    file.write(b"\n")
                file.write(f"{line}\n".encode("utf-8", "surrogatepass"))
        except OSError as e:
            raise InputError(f"can't write {self._path}: {e.strerror or e}") from e


def _ends_line(file: Any) -> bool:
    """Tell whether a file's last byte ends a line; a process may have been killed while it wrote one."""
    file.seek(-1, 2)
    return bool(file.read(1) == b"\n")


def quiet_downloads() -> AbstractContextManager[None]:
    """Keep the hub's library from drawing progress bars: those of several downloads would write over each other."""
    if find_spec("huggingface_hub") is None:
        return nullcontext()
    from playbill.backends.weights.hub import hub_progress

    return hub_progress(False)


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], jobs: int) -> Iterator[tuple[Item, Result]]:
    """Yield each item with what ``work`` gives for it, as they are finished; at most ``jobs`` at the same time.

    What ``work`` raises ends it. On an interruption what was not begun isn't, and what hangs isn't waited for.
    """
    left = iter(items)
    if jobs == 1:
        yield from ((item, work(item)) for item in left)
        return
    tasks: SimpleQueue[tuple[Item] | None] = SimpleQueue()
    done: SimpleQueue[tuple[Item, Future[Result]]] = SimpleQueue()

    def serve() -> None:
        while (task := tasks.get()) is not None:
            future: Future[Result] = Future()
            try:
                future.set_result(work(*task))
            except BaseException as e:  # noqa: BLE001 - it is raised where the result is asked for
                future.set_exception(e)
            done.put((*task, future))

    threads = [Thread(target=serve, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    try:
        running = _feed(tasks, left, jobs)
        while running:
            item, future = done.get()
            running += _feed(tasks, left, 1) - 1
            yield item, future.result()
    finally:
        for _ in threads:
            tasks.put(None)


def _feed(tasks: SimpleQueue[tuple[Item] | None], left: Iterator[Item], most: int) -> int:
    """Hand out so many of the items that are left, and return how many there were."""
    given = list(islice(left, most))
    for item in given:
        tasks.put((item,))
    return len(given)
