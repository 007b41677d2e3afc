"""Keep a run's folder for one process, and leave nothing behind of a start that was refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from playbill.backends.errors import RunError
from playbill.runs.folder.inside import check_inside
from playbill.runs.folder.manifest import MANIFEST
from playbill.runs.folder.store import RECORDS

__all__ = ["LOCK", "locked", "undone_if_refused"]

LOCK = ".lock"


@contextmanager
def undone_if_refused(folder: Path) -> Iterator[None]:
    """Take away what a first start made that failed before anything was recorded: it says nothing of use."""
    had_manifest = (folder / MANIFEST).exists()
    try:
        yield
    except (Exception, KeyboardInterrupt):
        records = list(folder.glob(f"*/{RECORDS}"))
        if not had_manifest and not any(path.stat().st_size for path in records):
            (folder / MANIFEST).unlink(missing_ok=True)
            for path in records:
                path.unlink()
                with suppress(OSError):  # something else of the user's is in it
                    path.parent.rmdir()
        raise


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a run's folder for this process alone; where it was made and stays empty, it goes again.

    Raises RunError where another process has it, or it can't be written to.
    """
    check_inside(folder, LOCK)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as e:
        raise RunError(
            f"another process is running in {folder}; wait for its end, or name another folder with -o"
        ) from e
    except OSError as e:
        raise RunError(f"can't write to {folder}: {e.strerror or e}; name another folder with -o") from e
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):
            if missing and [entry.name for entry in folder.iterdir()] in ([], [LOCK]):
                (folder / LOCK).unlink(missing_ok=True)
                for path in missing:
                    path.rmdir()
