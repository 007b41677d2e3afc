"""Versions of installed packages, also where an installation is damaged."""

from __future__ import annotations

from importlib import metadata

__all__ = ["installed_version", "package_versions"]

_OF_ANSWERS = (
    "jinja2",
    "transformers",
    "tokenizers",
    "torch",
    "xllamacpp",
    "vllm",
    "gguf",
    "sentencepiece",
    "accelerate",
    "openai",
    "anthropic",
    "google-genai",
    "httpx2",
)


def installed_version(name: str) -> str | None:
    """Return a package's version; None where it is not installed, or its metadata can't be read."""
    try:
        return metadata.version(name) or None  # None for metadata without a version, on older Pythons
    except Exception:  # noqa: BLE001 - PackageNotFoundError, KeyError, TypeError, OSError: by Python and by damage
        return None


def package_versions() -> dict[str, str]:
    """Return the versions of the installed packages that answers may depend on."""
    return {name: found for name in _OF_ANSWERS if (found := installed_version(name)) is not None}
