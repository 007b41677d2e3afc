"""Prove the packaged registry as deep as that can be without a hub, and write its stamps beside it.

python tools/stamp_registry.py FOLDER          FOLDER holds *.jinja and ggml-vocab-*.gguf files
python tools/stamp_registry.py                 as written only; stamps of prompt paths that still hold are kept
python tools/stamp_registry.py FOLDER --check  writes nothing; exits with 1 where a stamp would be another

The folder is what the tests unpack from the llama-cpp-python source archive. Every entry is judged as written. Its
prompt path is judged as well where its weights come from the package index; or where the archive has the chat template
that is named after its repository, and a tokenizer of its family, which then stands in for its own. Without such a
tokenizer the template is judged, which is no prompt path. What differs from an older stamp in nothing but date and
versions is not stamped anew.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from playbill import __version__
from playbill.backends.common.findings import Severity
from playbill.backends.common.jsonfile import read_json, write_atomically
from playbill.backends.common.waivers import waive
from playbill.backends.credentials import Credentials
from playbill.backends.loading import open_prompt_path
from playbill.backends.prompt.fingerprints import content_of, template_fingerprint
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.registry.fields.table import LOCAL
from playbill.backends.registry.lookup import ModelRegistry, RegistryEntry, packaged_file
from playbill.backends.registry.spec import ModelSpec
from playbill.backends.registry.stamps.files import packaged_stamps, stamps_text
from playbill.backends.registry.stamps.stamp import Content, Stamp, parse_stamp
from playbill.backends.registry.stamps.state import judge_stamp
from playbill.backends.weights.wheel import PREFIX
from playbill.proof.check import Options, Verdict, check_entry, judge_path
from playbill.proof.checks.evidence import Evidence, evidence_of
from playbill.proof.checks.probe import Probe
from playbill.proof.checks.template import PROMPT_CHECKS, TEXT_CHECKS, Subject, judge_template
from playbill.proof.stamping import make_stamp

DATE = datetime(2026, 11, 26)
ARCHIVE = "llama-cpp-python 0.3.36"
TOKENIZERS = {
    "Qwen-Qwen2.5-7B-Instruct": "ggml-vocab-qwen2",
    "meta-llama-Llama-3.1-8B-Instruct": "ggml-vocab-llama-bpe",
    "meta-llama-Llama-3.2-3B-Instruct": "ggml-vocab-llama-bpe",
    "meta-llama-Llama-3.3-70B-Instruct": "ggml-vocab-llama-bpe",
}
"""Templates of the archive, and its tokenizer of the same family."""
RENAMED = {"meta-llama/Meta-Llama-3.1-8B-Instruct": "meta-llama/Llama-3.1-8B-Instruct"}
"""Repositories by an older name, under which entries still ask for them."""
SHORTENED = {"moonshotai/Kimi-K2-Instruct": "Kimi-K2-Instruct"}
"""Repositories whose template's name leaves the owner out."""
OF_A_STAND_IN = frozenset({"PB218", "PB219"})
"""Rules on the context that a model's files state: a file without weights states none, or another model's."""


@dataclass(frozen=True)
class StandIn:
    """What takes the place of an entry's own files: a template, and a tokenizer where one is at hand."""

    template: Path
    tokenizer: Path | None

    @property
    def against(self) -> dict[str, str]:
        files = {"template": self.template, "tokenizer": self.tokenizer}
        return {part: f"{file.name} of {ARCHIVE}" for part, file in files.items() if file is not None}


def stand_in(entry: RegistryEntry, folder: Path) -> StandIn | None:
    """Return the archive's template for an entry that uses its repository's; None where there is none."""
    values = entry.flat.entry
    repository = values.get("huggingface_id")
    if values.get("backend") not in LOCAL or values.get("premade_chat_template") is not True:
        return None
    repository = RENAMED.get(str(repository), str(repository))
    name = SHORTENED.get(repository, repository.replace("/", "-"))
    template = folder / f"{name}.jinja"
    if not template.is_file():
        return None
    tokenizer = folder / f"{TOKENIZERS[name]}.gguf" if name in TOKENIZERS else None
    return StandIn(template, tokenizer)


def opened(entry: RegistryEntry, files: StandIn) -> PromptPath:
    """Return the prompt path of an entry with the stand-ins in the place of its own files."""
    values = {k: v for k, v in entry.flat.entry.items() if k not in ("revision", "filename", "additional_files")}
    values |= {"backend": "llamacpp", "huggingface_id": str(files.tokenizer), "premade_chat_template": False}
    values["custom_chat_template"] = files.template.read_text(encoding="utf-8")
    path = open_prompt_path(ModelSpec.from_dict(values), credentials=Credentials([]))
    assert path is not None
    return replace(path, template=replace(path.template, source="premade"))


def against_archive(entry: RegistryEntry, verdict: Verdict, files: StandIn) -> Verdict:
    """Return a verdict on the entry's prompt path, or on its template alone, as the archive has them."""
    if files.tokenizer is None:
        return template_alone(entry, verdict, files.template.read_text(encoding="utf-8"))
    path = opened(entry, files)
    found = [f for f in judge_path(path, entry.spec, entry.where) if f.code not in OF_A_STAND_IN]
    evidence = evidence_of(ModelSpec.from_dict({"model_name": "m", "backend": "llamacpp"}), path)
    return replace(
        verdict,
        looked_at=("the entry", "the prompt path"),
        findings=(*verdict.findings, *waive(found, entry.flat.entry)),
        stopped=None,
        evidence=replace(evidence, content=content_of(None, path)),
    )


def template_alone(entry: RegistryEntry, verdict: Verdict, text: str) -> Verdict:
    """Return a verdict on the entry and a template without its tokenizer, which is no deeper than the entry."""
    end = entry.spec["eos_to_cull"]
    eos = end if isinstance(end, str) else end[0]
    probe = Probe(text, {"bos_token": "<s>", "eos_token": eos, **entry.spec.get("chat_template_kwargs", {})}, DATE)
    found = judge_template(Subject(probe, entry.spec, entry.where), (*TEXT_CHECKS, *PROMPT_CHECKS))
    evidence = Evidence(Content(template=template_fingerprint(text)), {"playbill": __version__})
    return replace(
        verdict, findings=(*verdict.findings, *waive(found, entry.flat.entry)), stopped=None, evidence=evidence
    )


def judge(entry: RegistryEntry, registry: ModelRegistry, folder: Path | None) -> tuple[Verdict, dict[str, str]]:
    """Return the verdict on an entry as deep as can be, and what stood in for its own files."""
    from_index = folder is not None and str(entry.flat.entry.get("huggingface_id")).startswith(PREFIX)
    options = Options(fetch=from_index, credentials=Credentials([]), evidence=True)
    verdict = check_entry(entry, registry, options)
    files = stand_in(entry, folder) if folder is not None else None
    if files is None or verdict.wrong:
        return verdict, {}
    return against_archive(entry, verdict, files), files.against


def fresh(folder: Path | None, old: list[Stamp]) -> tuple[list[Stamp], list[Verdict]]:
    """Return the stamps of all entries, old ones where nothing but date and versions is other, and the verdicts."""
    registry = ModelRegistry.from_file(packaged_file())
    stamps, verdicts = [], []
    for entry in registry:
        verdict, against = judge(entry, registry, folder)
        verdicts.append(verdict)
        new = make_stamp(verdict, date.today(), against=against)
        if new is None:
            continue
        known = [stamp for stamp in old if stamp.model_name == entry.name]
        kept = [s for s in known if folder is None and still_holds(s, entry, new)]
        kept += [s for s in known if replace(s, date=new.date, versions=new.versions) == new]
        stamps.append(kept[0] if kept else new)
    return stamps, verdicts


def still_holds(old: Stamp, entry: RegistryEntry, new: Stamp) -> bool:
    """Tell whether an old stamp, perhaps a deeper one, is true of an entry by all that was looked at anew."""
    return not judge_stamp(old, entry.flat.entry).stale and set(new.warnings) <= set(old.warnings)


def report(stamps: list[Stamp], verdicts: list[Verdict], folder: Path | None) -> None:
    """Say how many are stamped how deep, and what was found that is neither a note nor waived."""
    counted = {stamp.depth.value: 0 for stamp in stamps}
    for stamp in stamps:
        counted[stamp.depth.value] += 1
    local = [v.entry for v in verdicts if v.entry is not None and v.entry.flat.entry.get("backend") in LOCAL]
    print(f"{len(stamps)} of {len(verdicts)} entries: {counted}")
    if folder is not None:
        there = [files for entry in local if (files := stand_in(entry, folder)) is not None]
        at_hand = sum(files.tokenizer is not None for files in there)
        print(f"{len(local)} are local; the archive has the template of {len(there)}, and a tokenizer for {at_hand}")
    for verdict in verdicts:
        for finding in verdict.findings:
            if finding.severity is not Severity.NOTE:
                print(f"{verdict.name}: {finding.severity} {finding.code} {finding.message}")


def main() -> None:
    logging.disable(logging.WARNING)
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    folder = Path(arguments[0]) if arguments else None
    path = packaged_stamps()
    with tempfile.TemporaryDirectory() as empty:
        os.environ["HF_HUB_CACHE"] = empty  # what this machine happens to have proves nothing of the package
        old = [] if not path.exists() else read(path)
        stamps, verdicts = fresh(folder, old)
    report(stamps, verdicts, folder)
    text = stamps_text([stamp.to_dict() for stamp in stamps])
    stale = not path.exists() or path.read_text(encoding="utf-8") != text
    if stale and "--check" in sys.argv[1:]:
        sys.exit(f"{path.name} is not what is proven now: python tools/stamp_registry.py FOLDER")
    if stale:
        write_atomically(path, text)
    print(f"{path.name}: {'written' if stale else 'up to date'}")


def read(path: Path) -> list[Stamp]:
    return [stamp for value in read_json(path) if (stamp := parse_stamp(value)) is not None]


if __name__ == "__main__":
    main()
