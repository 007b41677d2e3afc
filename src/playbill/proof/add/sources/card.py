"""Read what a model card and the hub say of a model: licence, languages, published, gated, number of parameters.

A card is a stranger's text, so only plain values of its head are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playbill.backends.engines.base import Context
from playbill.backends.errors import CredentialsError, WeightsError
from playbill.backends.weights.hub import hub_errors, hub_token, only_cached
from playbill.proof.add.sources.proposal import Proposal
from playbill.proof.add.sources.size import shown_count

__all__ = ["put_card", "put_hub_card"]

_WEIGHTS = (".safetensors", ".bin", ".gguf")


def put_card(proposal: Proposal, card: Path) -> None:
    """Licence and languages by the head of a README.md; nothing where there is none that can be read."""
    head = _head(card)
    proposal.put("license", _licence(head), "the model card")
    languages = head.get("language")
    listed = [languages] if isinstance(languages, str) else languages
    if isinstance(listed, list) and all(isinstance(code, str) for code in listed):
        proposal.put("languages", listed, "the model card")


def _licence(head: Mapping[str, Any]) -> Any:
    name, other, link = head.get("license"), head.get("license_name"), head.get("license_link")
    name = other if name == "other" and isinstance(other, str) else name
    if not isinstance(name, str):
        return None
    return {"name": name, "url": link} if isinstance(link, str) and link.startswith("http") else name


def _head(card: Path) -> Mapping[str, Any]:
    """Return the YAML between the first two lines of three dashes."""
    try:
        text = card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    _, begun, rest = text.partition("---\n")
    head, ended, _ = rest.partition("\n---")
    if not begun or not ended:
        return {}
    import yaml  # comes with the hub's library, which brings cards here

    try:
        found = yaml.safe_load(head)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def put_hub_card(proposal: Proposal, repo: str, context: Context) -> list[str]:
    """Put what the hub and the card say of a repository into the proposal, and return the names of its files. Where the
    hub may not be asked or doesn't answer, those in its cache are all that is known.

    Raises WeightsError and CredentialsError, where it is gated and there is no token, or none with access.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    token = _token(repo, context)
    with hub_errors(repo, token=token):
        if only_cached():
            folder = Path(snapshot_download(repo, local_files_only=True))
            put_card(proposal, folder / "README.md")
            return [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
        info = HfApi(token=token).model_info(repo)
        names = [file.rfilename for file in info.siblings or []]
        if info.gated or info.private:
            proposal.put("requires_api_key", True, f"the hub says that it is {'gated' if info.gated else 'private'}")
            token = hub_token({"huggingface_id": repo, "requires_api_key": True}, context.credentials)
        if "README.md" in names:
            put_card(proposal, Path(hf_hub_download(repo, "README.md", token=token)))
    total = getattr(info.safetensors, "total", None)
    if isinstance(total, int) and total > 0:
        proposal.put("parameters", shown_count(total), "the hub's count of the weights")
    if getattr(info, "private", None) is False and any(name.endswith(_WEIGHTS) for name in names):
        proposal.put("open_weight", True, "the hub has the weights, and the repository isn't private")
    return names


def _token(repo: str, context: Context) -> str | None:
    """Return the user's token for the hub where there is one; asking works without."""
    try:
        return hub_token({"huggingface_id": repo, "requires_api_key": True}, context.credentials)
    except (CredentialsError, WeightsError):
        return None
