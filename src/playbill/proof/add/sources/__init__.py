"""Derive an entry from a source: a GGUF file, a model's folder, the hub, or a server; each value with its origin.

Decides which kind of source a text means; each kind is read in a module of its own. Writes nothing.
"""

from __future__ import annotations

from playbill.backends.common.home import expanded
from playbill.backends.engines.base import Context
from playbill.backends.errors import WeightsError
from playbill.backends.weights.wheel import PREFIX
from playbill.proof.add.sources.files import from_gguf, from_model_files
from playbill.proof.add.sources.proposal import Proposal
from playbill.proof.add.sources.servers import from_server

__all__ = ["Proposal", "propose"]


def propose(source: str, context: Context, *, filename: str | None = None) -> list[Proposal]:
    """Return the entries that a source gives: one, or of a server one for each model that it serves.

    ``filename`` is a glob that picks one GGUF file where there are several. Raises ServerError, WeightsError,
    CredentialsError and BackendUnavailable where the source can't be had or read.
    """
    if source.startswith(("http://", "https://")):
        return from_server(source, context.credentials)
    path = expanded(source)
    if path.is_file() and path.suffix != ".gguf":
        raise WeightsError(f"{source} is no GGUF file, by its name")
    if source.startswith(PREFIX) or path.is_file():
        return [from_gguf(source if source.startswith(PREFIX) else str(path.resolve()), context)]
    if path.is_dir():
        return [from_model_files(str(path.resolve()), context, filename)]
    return [from_model_files(source, context, filename)]
