"""Gather what a stamp is made of beside the findings: hashes of what was looked at, versions, and who answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from playbill import __version__
from playbill.backends.common.packages import installed_version
from playbill.backends.engines.self_test import self_test_words
from playbill.backends.prompt.fingerprints import content_of
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.backends import BACKENDS
from playbill.backends.registry.services import SERVICES
from playbill.backends.registry.stamps.stamp import Content
from playbill.backends.weights.identity import weights_identity

__all__ = ["Evidence", "evidence_of"]

_REHEARSED = ("programmatic", "replay")


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was looked at, by hash; with which versions; and for live answers whom they came from, and what the engine's
    self-test found."""

    content: Content = field(default_factory=Content)
    versions: Mapping[str, str] = field(default_factory=dict)
    asked: str | None = None
    self_test: str | None = None


def evidence_of(spec: Mapping[str, Any], path: PromptPath | None, live: Mapping[str, Any] | None = None) -> Evidence:
    """Return the evidence for a spec. ``live`` are the facts of the engine that answered."""
    content = content_of(weights_identity(spec), path)
    versions = _versions(spec, path, live is not None)
    return (
        Evidence(content, versions)
        if live is None
        else Evidence(content, versions, _asked(spec, live), self_test_words(live))
    )


def _versions(spec: Mapping[str, Any], path: PromptPath | None, live: bool) -> dict[str, str]:
    """Return the versions of Playbill and of what its engine needs, as deep as it was used."""
    backend = BACKENDS[str(spec["backend"])]
    preview = backend.preview_requires if backend.preview_requires is not None else backend.requires
    used = backend.requires if live else preview if path is not None else ()
    packages = {name: installed_version(name.replace(".", "-")) for name in used}
    return {"playbill": __version__} | {name: version for name, version in packages.items() if version is not None}


def _asked(spec: Mapping[str, Any], facts: Mapping[str, Any]) -> str | None:
    """Say who answered: the real service, its rehearsal, another server; None for an engine that runs here."""
    if spec["backend"] in _REHEARSED:
        return f"a rehearsal ({spec['backend']})"
    service, url = SERVICES.get(str(spec["backend"])), facts.get("base_url")
    if service is None or not isinstance(url, str):
        return None
    host = urlsplit(url).hostname or ""
    if service.base_url is not None and host == urlsplit(service.base_url).hostname:
        return f"the real service ({host})"
    if service.base_url is not None and _is_here(host):
        return f"a rehearsal ({host})"
    return f"the server {host}"


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
