"""The services that keys are kept for: rows of data. A service that needs no behaviour is a row here."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SERVICES", "Service"]


@dataclass(frozen=True)
class Service:
    """A service: the section of key.json, the variables its own SDK reads a key from, and its own address."""

    name: str
    variables: tuple[str, ...] = ()
    base_url: str | None = None
    get_key: str = ""


_ROWS = (
    # https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    Service(
        "huggingface",
        ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
        "https://huggingface.co",
        "https://huggingface.co/settings/tokens",
    ),
    # The key that `playbill serve` asks its own clients for; it is sent nowhere.
    Service("serve", ("PLAYBILL_SERVE_KEY",)),
)

SERVICES: dict[str, Service] = {row.name: row for row in _ROWS}
