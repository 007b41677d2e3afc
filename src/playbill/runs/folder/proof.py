"""What the manifest says of a model's proof: its stamp, whether that still holds, and which warnings are waived.

A run never fails of it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from playbill.backends.common.waivers import waivers_of
from playbill.backends.errors import PlaybillError
from playbill.backends.loading import judge_spec
from playbill.backends.prompt.fingerprints import content_of
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.lookup import RegistryEntry
from playbill.backends.registry.spec import ModelSpec
from playbill.backends.registry.stamps.files import StampFiles
from playbill.backends.registry.stamps.stamp import parse_stamp
from playbill.backends.registry.stamps.state import StampState, newest_state
from playbill.backends.weights.identity import weights_identity

__all__ = ["describe_proof", "read_proof"]

_log = logging.getLogger(__name__)


def describe_proof(entry: RegistryEntry | None, spec: ModelSpec, path: PromptPath | None) -> dict[str, Any]:
    """Return ``stamp``, null where there is none, with ``stale``: the points in which it is of something else than what
    runs; and ``waived``: what would be warned of, if the entry weren't let off."""
    state = None
    try:
        stamps = StampFiles().of(entry) if entry is not None else ()
        state = newest_state(stamps, spec, content_of(weights_identity(spec), path)) if stamps else None
    except (PlaybillError, OSError):
        _log.debug("the stamp of %s can't be judged", spec.get("model_name"), exc_info=True)
    waivers = waivers_of(spec)
    waived = [f"{finding.code} {finding}" for finding in judge_spec(spec) if finding.code in waivers]
    return {"stamp": state.to_dict() if state is not None else None, "waived": waived}


def read_proof(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest's word on a model's proof as lines for people; a manifest may be a stranger's."""
    said, waived = described.get("stamp"), described.get("waived")
    stamp = parse_stamp(said)
    stamp = replace(stamp, waived=()) if stamp is not None else None  # those that matter stand in ``waived``
    stale = said.get("stale") if isinstance(said, dict) else None
    reasons = tuple(str(reason) for reason in stale) if isinstance(stale, list) else ()
    return {
        "stamp": StampState(stamp, reasons).sentence() if stamp is not None else None,
        "stale": bool(reasons),
        "waived": [str(text) for text in waived] if isinstance(waived, list) else [],
    }
