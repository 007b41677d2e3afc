"""Entries for the models that an OpenAI-compatible server serves, by what it lists. Asks for no answer."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from playbill.backends.credentials import Credentials
from playbill.proof.add.sources.proposal import Proposal
from playbill.proof.add.sources.size import shown_count
from playbill.proof.add.web import Server, ServerError

__all__ = ["from_server"]


def from_server(url: str, credentials: Credentials | None = None) -> list[Proposal]:
    """Return one entry for each model under ``/v1/models``. Raises ServerError."""
    server = Server(url, credentials)
    listed = server.get("/v1/models")
    models = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(models, list):
        raise ServerError(f"{server.v1}/models lists no models: {str(listed)[:80]}")
    found = [_entry(model, server.v1) for model in models if isinstance(model, dict) and _is_name(model.get("id"))]
    if not found:
        raise ServerError(f"{server.v1}/models lists no models")
    return found


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(name.strip())


def _entry(model: dict[str, Any], v1: str) -> Proposal:
    proposal, listed = Proposal(), f"listed by {v1}/models"
    name = PurePosixPath(model["id"]).name if "/" in model["id"] else model["id"]
    proposal.put("model_name", name.removesuffix(".gguf"), listed)
    proposal.put("backend", "openai_compatible", "an OpenAI-compatible server")
    proposal.put("model_id", model["id"], listed)
    proposal.put("base_url", v1, "given")
    said = model.get("meta")
    meta: dict[str, Any] = said if isinstance(said, dict) else {}
    context, count = model.get("max_model_len") or meta.get("n_ctx") or meta.get("n_ctx_train"), meta.get("n_params")
    if isinstance(context, int) and context > 0:
        proposal.put("context_size", context, listed)
    if isinstance(count, int) and count > 0:
        proposal.put("parameters", shown_count(count), listed)
    return proposal
