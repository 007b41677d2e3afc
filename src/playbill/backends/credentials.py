"""API keys: where they are looked for, whose they are, where they may go, and how they are stored.

Sends nothing anywhere. The form of ``key.json`` is ``{"openai": {"api_key": …, "base_url": …}, …}``; further
addresses that a key may go to stand in ``allowed_urls``, which `allow` writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs
from filelock import FileLock

from playbill.backends.errors import CredentialsError, FileFormatError
from playbill.backends.jsonfile import read_json, write_json
from playbill.backends.secret import Secret
from playbill.backends.services import SERVICES

__all__ = ["Credential", "Credentials", "allow", "key_files", "set_key", "user_key_file"]


@dataclass(frozen=True)
class Credential:
    """A service's key, from where, and the addresses it may be sent to. Its repr shows no secret."""

    service: str
    api_key: Secret | None
    source: str
    base_url: str | None = None
    allowed_urls: tuple[str, ...] = ()

    def may_go_to(self, url: str) -> bool:
        """Whether the key may be sent to this address: scheme, host and port must agree with one allowed."""
        own = SERVICES[self.service].base_url if self.service in SERVICES else None
        home = self.base_url or own
        return any(_origin(url) == _origin(known) for known in (home, *self.allowed_urls) if known)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    default = {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname, parts.port or default


def user_key_file() -> Path:
    """The key file in the user's config directory: where `set_key` writes."""
    return platformdirs.user_config_path("playbill") / "key.json"


def key_files(named: Iterable[str | os.PathLike[str]] = ()) -> list[Path]:
    """The files in which keys are looked for, first in order first: the caller's, then the usual ones."""
    usual = [Path("key.json"), user_key_file(), Path.home() / ".clemcore" / "key.json"]
    return [*(Path(p).expanduser() for p in named), *usual]


class Credentials:
    """The keys of all services, as files and environment give them."""

    def __init__(self, credentials: Iterable[Credential]) -> None:
        self._by_service: dict[str, Credential] = {}
        for credential in credentials:
            self._by_service.setdefault(credential.service, credential)

    @classmethod
    def load(cls, named: Iterable[str | os.PathLike[str]] = ()) -> Credentials:
        """Read all key files, then the environment; the first that knows a service wins.

        Raises FileFormatError for a malformed file, and CredentialsError for a named one that isn't there.
        """
        named = [Path(p).expanduser() for p in named]
        found: list[Credential] = []
        for path in key_files(named):
            if path.is_file():
                found.extend(_credentials_of(path))
            elif path in named:
                raise CredentialsError(f"no key file {path}")
        for service in SERVICES.values():
            for variable in service.variables:
                if value := os.environ.get(variable, "").strip():
                    found.append(Credential(service.name, Secret(value), f"${variable}"))
        return cls(found)

    def get(self, service: str) -> Credential | None:
        """The service's credential, or None."""
        return self._by_service.get(service)

    def __iter__(self) -> Any:
        return iter(self._by_service.values())


def _credentials_of(path: Path) -> list[Credential]:
    sections = _read_sections(path)
    return [_credential(path, name, section) for name, section in sections.items()]


def _credential(path: Path, name: str, section: dict[str, Any]) -> Credential:
    key = section.get("api_key")
    return Credential(
        name,
        Secret(key) if key else None,
        str(path),
        section.get("base_url") or None,
        tuple(section.get("allowed_urls", ())),
    )


def _read_sections(path: Path) -> dict[str, dict[str, Any]]:
    """A key file's sections, checked. No message carries a value: it might be the secret."""
    try:
        content = read_json(path)
    except OSError as e:
        raise CredentialsError(f"can't read the key file {path}: {e.strerror}") from e
    if not isinstance(content, dict):
        raise FileFormatError(f'{path}: a key file is an object, {{"openai": {{"api_key": …}}}}')
    for name, section in content.items():
        if not isinstance(section, dict):
            raise FileFormatError(f"{path} $.{name}: is not an object with 'api_key'")
        for field in ("api_key", "base_url"):
            if not isinstance(section.get(field, ""), (str, type(None))):
                raise FileFormatError(f"{path} $.{name}.{field}: is not a string")
        urls = section.get("allowed_urls", [])
        if not isinstance(urls, list) or not all(isinstance(u, str) for u in urls):
            raise FileFormatError(f"{path} $.{name}.allowed_urls: is not a list of strings")
    return content


def set_key(service: str, api_key: str, base_url: str | None = None, *, path: Path | None = None) -> Path:
    """Store a service's key in a key file, whose other sections stay as they are; give the file's path.

    The file is written whole, readable by its owner only. A malformed file is an error, and left alone.
    """
    values: dict[str, Any] = {"api_key": api_key.strip()}
    if base_url:
        values["base_url"] = base_url
    if not values["api_key"]:
        raise CredentialsError(f"the key for {service} is empty")
    return _update(service, values, path or user_key_file())


def allow(service: str, url: str, *, path: Path | None = None) -> Path:
    """Let a service's key go to another address as well; it is remembered in the key file."""
    if _origin(url)[0] not in ("http", "https") or not _origin(url)[1]:
        raise CredentialsError(f"{url!r} is not an http or https address")
    path = path or user_key_file()
    known = _read_sections(path).get(service, {}).get("allowed_urls", []) if path.is_file() else []
    return _update(service, {"allowed_urls": [*known, *([] if url in known else [url])]}, path)


def _update(service: str, values: dict[str, Any], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=10):
        sections = _read_sections(path) if path.is_file() else {}
        sections[service] = {**sections.get(service, {}), **values}
        write_json(path, sections, mode=0o600)
    return path
