"""Find out where a service is, which key it gets and how long to wait, from entry, row and credentials. Opens no
socket.

A key is sent only where `Credential.may_go_to` allows it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import httpx2

from playbill import __version__
from playbill.backends.common.network import setup_fault
from playbill.backends.common.secret import Secret
from playbill.backends.common.warn import warn_once
from playbill.backends.credentials import Credential, Credentials
from playbill.backends.engines.remote.capture import http_client
from playbill.backends.engines.remote.limiter import LimiterKey
from playbill.backends.errors import CredentialsError, EngineError, EntryError
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.services import Service
from playbill.backends.registry.spec import not_here, path_in

__all__ = ["NO_KEY", "Connection", "model_id", "open_connection"]

NO_KEY = "no-key"
"""What is sent where a client insists on a key and the server needs none."""

_CLEMCORE_SECTIONS = {"openai_compatible": "generic_openai_compatible", "azure": "azure_gpt"}


@dataclass(frozen=True)
class Connection:
    """How to reach a service. ``key_from`` says where the key stood, for messages; None where none is sent."""

    service: Service
    section: str
    base_url: str
    api_key: Secret | None
    key_from: str | None
    timeout: httpx2.Timeout
    seconds: float
    """That a whole attempt may take."""
    ca_bundle: str | None
    fixed: int | None

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    @property
    def name(self) -> str:
        return f"{self.service.name} at {self.host}"

    @property
    def key(self) -> str:
        """The key to give to a client, for the wire only."""
        return self.api_key.reveal() if self.api_key is not None else NO_KEY

    @property
    def limiter_key(self) -> LimiterKey:
        parts = urlsplit(self.base_url)
        return LimiterKey(f"{parts.scheme}://{parts.netloc}", hash(self.api_key), self.fixed)

    def client(self, sdk: str, headers: Mapping[str, str]) -> httpx2.AsyncClient:
        """Return the HTTP client beneath the official client ``sdk`` (name/version); it sends ``headers`` and no others
        than those that HTTP itself needs."""
        sent = {"user-agent": f"playbill/{__version__} {sdk}", **headers}
        try:
            return http_client(self.timeout, self.ca_bundle, sent)
        except Exception as e:
            if self.ca_bundle is not None and isinstance(e, (ssl.SSLError, OSError)):
                raise EntryError(f"ca_bundle {self.ca_bundle} holds no certificates that can be read: {e}") from e
            if (fault := setup_fault(e)) is not None:
                raise EngineError(f"{self.name} can't be asked: {fault}") from e
            raise


def model_id(entry: Mapping[str, Any]) -> str:
    """Return the model's name at the service."""
    return str(entry.get("model_id") or entry["model_name"])


def open_connection(entry: Mapping[str, Any], service: Service, credentials: Credentials) -> Connection:
    """Find address and key. Raises CredentialsError where a key is missing or may not go there, and EntryError."""
    section, credential = _credential(entry, service, credentials)
    base_url = entry.get("base_url") or (credential.address if credential else None) or service.base_url
    if not base_url:
        raise EntryError(
            f"the entry '{entry.get('model_name')}' doesn't say where its server is: set 'base_url', as "
            f'http://localhost:8000/v1, or put it beside the key of "{section}" in key.json'
        )
    if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).hostname:
        raise EntryError(f"the entry '{entry.get('model_name')}': base_url {base_url!r} is no http or https address")
    key = _key_for(base_url, section, service, credential)
    ca_bundle = path_in(entry, "ca_bundle") if entry.get("ca_bundle") is not None else None
    if ca_bundle is not None and not ca_bundle.is_file():
        missing = f"there is no ca_bundle {ca_bundle.absolute()}{not_here(entry, 'ca_bundle')}"
        raise EntryError(f"the entry '{entry.get('model_name')}': {missing}")
    seconds = float(setting(entry, "timeout"))
    return Connection(
        service=service,
        section=section,
        base_url=base_url.rstrip("/"),
        api_key=key,
        key_from=credential.source if credential is not None and key is not None else None,
        timeout=httpx2.Timeout(seconds, connect=float(setting(entry, "connect_timeout")), pool=None),
        seconds=seconds,
        ca_bundle=str(ca_bundle) if ca_bundle is not None else None,
        fixed=setting(entry, "concurrency"),
    )


def _credential(entry: Mapping[str, Any], service: Service, credentials: Credentials) -> tuple[str, Credential | None]:
    section = str(entry.get("key_section") or service.name)
    found = credentials.get(section)
    if found is None and section in _CLEMCORE_SECTIONS:
        found = credentials.get(_CLEMCORE_SECTIONS[section])
    if service.key_section and section == service.name and (found is None or found.api_key is None):
        shared = credentials.get(service.key_section)
        if shared is not None and shared.base_url is None:  # with an address of its own it is another one's key
            found = replace(shared, service=section, elsewhere=found.base_url if found is not None else None)
    return section, found


def _key_for(base_url: str, section: str, service: Service, credential: Credential | None) -> Secret | None:
    if credential is None or credential.api_key is None:
        if service.keyless:
            return None
        variables = "".join(f", or set ${name}" for name in service.variables)
        where = f" (you get one at {service.get_key})" if service.get_key else ""
        raise CredentialsError(f"no API key for {section}: `playbill keys set {section}`{variables}{where}")
    # A section of another name has no address of its own but the row's.
    home = service.base_url if section != service.name and not credential.base_url else None
    if credential.may_go_to(base_url) or (home and _same_origin(home, base_url)):
        return credential.api_key
    problem = f"the key of {section} (from {credential.source}) may not go to {base_url}"
    advice = f"allow it with `playbill keys allow {section} {base_url}`"
    if service.keyless:
        warn_once(f"{problem}, so it is not sent; if the server needs it, {advice}")
        return None
    raise CredentialsError(f"{problem}; if it should, {advice}")


def _same_origin(home: str, url: str) -> bool:
    return urlsplit(home)[:2] == urlsplit(url)[:2]
