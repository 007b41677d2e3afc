"""API keys: where they are looked for, whose they are, where they may go, and how they are stored.

Sends nothing anywhere. The form of ``key.json`` is ``{"openai": {"api_key": …, "base_url": …}, …}``; further
addresses that a key may go to stand in ``allowed_urls``, which `allow` writes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playbill.backends.common.home import MissingHome, config_folder, expanded, home_folder
from playbill.backends.common.jsonfile import read_json, write_json
from playbill.backends.common.secret import Secret
from playbill.backends.common.warn import warn_once
from playbill.backends.errors import CredentialsError, FileFormatError
from playbill.backends.registry.backends import BACKENDS
from playbill.backends.registry.services import SERVICES

__all__ = ["Credential", "Credentials", "allow", "key_files", "near_service", "set_key", "user_key_file"]


_FIELDS = ("api_key", "base_url", "allowed_urls")
_MEANT = {"key": "api_key", "token": "api_key", "secret": "api_key", "api_token": "api_key", "access_token": "api_key"}
_MEANT |= dict.fromkeys(("url", "api_base", "endpoint", "address"), "base_url")
_HERE = Path("key.json")
_ODD = re.compile(r"[\\\s\x00-\x20\x7f]")


@dataclass(frozen=True)
class Credential:
    """A service's key, from where, and the addresses it may be sent to. Its repr shows no secret."""

    service: str
    api_key: Secret | None
    source: str
    base_url: str | None = None
    allowed_urls: tuple[str, ...] = ()
    elsewhere: str | None = None
    """A ``base_url`` that another section gives, which has no key: asked for, but no home of this key."""

    @property
    def address(self) -> str | None:
        """Where requests go: the section's ``base_url``, else the service's own address."""
        return self.base_url or self.elsewhere or _own_url(self.service)

    def may_go_to(self, url: str) -> bool:
        """Tell whether the key may be sent to this address: scheme, host and port must agree with one allowed."""
        asked = _origin(url)
        own = (self.base_url,) if self.base_url else (_own_url(self.service), *_more_urls(self.service))
        homes = (*own, *self.allowed_urls)
        return asked is not None and any(asked == _origin(home) for home in homes if home)


def _own_url(service: str) -> str | None:
    return SERVICES[service].base_url if service in SERVICES else None


def _more_urls(service: str) -> tuple[str, ...]:
    return SERVICES[service].more_addresses if service in SERVICES else ()


def _origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for what is no plain http or https address, which goes nowhere."""
    if _ODD.search(url):  # clients disagree on what such an address means
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    default = {"https": 443, "http": 80}.get(parts.scheme)
    if default is None or not parts.hostname or parts.username is not None:
        return None
    return parts.scheme, parts.hostname, default if port is None else port


def user_key_file() -> Path:
    """Return the key file in the user's config directory: where `set_key` writes."""
    return config_folder() / "key.json"


def key_files(named: Iterable[str | os.PathLike[str]] = ()) -> list[Path]:
    """Return the files in which keys are looked for, in this order: the caller's, then the usual ones."""
    usual = [_HERE]
    with suppress(MissingHome):
        usual.append(user_key_file())
    with suppress(MissingHome):
        usual.append(home_folder() / ".clemcore" / "key.json")
    return [*(expanded(p) for p in named), *usual]


class Credentials:
    """The keys of all services, as files and environment give them."""

    def __init__(self, credentials: Iterable[Credential]) -> None:
        places: dict[str, list[Credential]] = {}
        for credential in credentials:
            places.setdefault(credential.service, []).append(credential)
        self._by_service = {service: _united(found) for service, found in places.items()}

    @classmethod
    def load(cls, named: Iterable[str | os.PathLike[str]] = ()) -> Credentials:
        """Read all key files, then the environment; for each service the first that has its key wins.

        A section without a key adds its ``base_url``: as the place where requests go, never as one where a
        key from elsewhere may go. ``allowed_urls`` count for the service whichever section has its key, but
        those of the working directory only for the key that stands beside them.

        Raises FileFormatError for a malformed file, and CredentialsError for a named one that isn't there.
        """
        named = [named] if isinstance(named, (str, os.PathLike)) else list(named)
        found: list[Credential] = []
        for index, path in enumerate(key_files(named)):
            if os.path.lexists(path):
                found.extend(_credentials_of(path))
            elif index < len(named):
                raise CredentialsError(f"no key file {path}")
        for service in SERVICES.values():
            for variable in service.variables:
                if value := os.environ.get(variable, "").strip():
                    found.append(Credential(service.name, Secret(value), f"${variable}"))
        return cls(found)

    def get(self, service: str) -> Credential | None:
        """Return the service's credential, or None."""
        return self._by_service.get(service)

    def __iter__(self) -> Iterator[Credential]:
        return iter(self._by_service.values())


def _united(places: list[Credential]) -> Credential:
    """Return what several places together say of one service: the first key there is, and what the others add."""
    keyed = next((c for c in places if c.api_key), places[0])
    allowed = [url for c in places if (c is keyed and c.api_key) or c.source != str(_HERE) for url in c.allowed_urls]
    asked = next((c.base_url for c in places[: places.index(keyed)] if c.base_url), keyed.elsewhere)
    return replace(keyed, allowed_urls=tuple(dict.fromkeys(allowed)), elsewhere=asked)


def _credentials_of(path: Path) -> list[Credential]:
    sections = _read_sections(path)
    for name, section in sections.items():
        for problem in _oddities(name, section):
            warn_once(f"{path} $.{name}{problem}")
    return [_credential(path, name, section) for name, section in sections.items()]


def _credential(path: Path, name: str, section: dict[str, Any]) -> Credential:
    key = (section.get("api_key") or "").strip()
    return Credential(
        name,
        Secret(key) if key else None,
        str(path),
        section.get("base_url") or None,
        tuple(section.get("allowed_urls", ())),
    )


def _read_sections(path: Path) -> dict[str, dict[str, Any]]:
    """Return a key file's sections, checked. No message carries a value: it might be the secret."""
    try:
        content = read_json(path)
    except OSError as e:
        raise CredentialsError(f"can't read the key file {path}: {e.strerror}") from e
    if not isinstance(content, dict):
        raise FileFormatError(f'{path}:1:1: a key file is an object, {{"openai": {{"api_key": …}}}}')
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


def near_service(name: str) -> str | None:
    """Return the service that a name was probably meant for, where it is none itself.

    >>> near_service("opnai"), near_service("openai"), near_service("slurk")
    ('openai', None, None)
    """
    if name in SERVICES or name in BACKENDS:
        return None
    return next(iter(get_close_matches(name.lower().replace("-", "_"), SERVICES, n=1, cutoff=0.8)), None)


def _oddities(name: str, section: dict[str, Any]) -> Iterator[str]:
    """Yield what a section says to nobody: a service that is none, fields that are read by nothing. Shows no value."""
    if near := near_service(name):
        yield f": '{name}' is no service; did you mean '{near}'?"
    for field in section:
        meant = _MEANT.get(field.lower()) or next(iter(get_close_matches(field.lower(), _FIELDS, n=1)), None)
        if field not in _FIELDS and meant is not None and meant not in section:
            yield f".{field}: is not read; did you mean '{meant}'?"


def set_key(service: str, api_key: str, base_url: str | None = None, *, path: Path | None = None) -> Path:
    """Store a service's key in a key file, whose other sections stay as they are; give the file's path.

    The file is written whole, readable by its owner only. A malformed file is an error, and left alone.
    """
    values: dict[str, Any] = {"api_key": api_key.strip()}
    if not values["api_key"]:
        raise CredentialsError(f"the key for {service} is empty")
    if not values["api_key"].isascii() or _ODD.search(values["api_key"]):
        raise CredentialsError(f"the key for {service} has white space or other characters that no key has")
    if base_url:
        values["base_url"] = _checked(base_url)
    return _update(service, lambda section: {**section, **values}, path or user_key_file())


def allow(service: str, url: str, *, path: Path | None = None) -> Path:
    """Let a service's key go to another address as well; it is remembered in the key file."""
    _checked(url)

    def add(section: dict[str, Any]) -> dict[str, Any]:
        known = section.get("allowed_urls", [])
        return {**section, "allowed_urls": [*known, *([] if url in known else [url])]}

    return _update(service, add, path or user_key_file())


def _checked(url: str) -> str:
    if _origin(url) is None:
        raise CredentialsError(f"{url!r} is not an http or https address")
    return url


def _update(service: str, change: Callable[[dict[str, Any]], dict[str, Any]], path: Path) -> Path:
    """Change one section under a lock, so that of two who write at once neither is lost."""
    from filelock import FileLock, Timeout  # late: only who writes a key needs it

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=10):
            sections = _read_sections(path) if os.path.lexists(path) else {}
            sections[service] = change(sections.get(service, {}))
            write_json(path, sections, mode=0o600)
    except Timeout as e:
        raise CredentialsError(f"{path} is being written by another process; try again") from e
    except OSError as e:
        raise CredentialsError(f"can't write the key file {path}: {e.strerror or e}") from e
    return path
