"""Judge real chat templates and tokenizers by the rules, and write what was found to docs/reference/templates.md.

python tools/survey_templates.py FOLDER          FOLDER holds *.jinja and ggml-vocab-*.gguf files
python tools/survey_templates.py FOLDER --check  exits 1 where the page is not up to date

The folder is what the tests unpack from the llama-cpp-python source archive. Knows no rule by itself.
"""

from __future__ import annotations

import logging
import re
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from playbill.backends.common.findings import Finding
from playbill.backends.common.jsonfile import write_atomically
from playbill.backends.credentials import Credentials
from playbill.backends.errors import PlaybillError
from playbill.backends.loading import open_prompt_path
from playbill.backends.registry.spec import ModelSpec
from playbill.proof import RULES
from playbill.proof.check import judge_path
from playbill.proof.checks.probe import Probe
from playbill.proof.checks.template import PROMPT_CHECKS, TEXT_CHECKS, Subject, judge_template

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "templates.md"
DATE = datetime(2026, 11, 23)
# Tokenizers of the archive and the templates in it that were made for them.
PAIRS = {
    "ggml-vocab-command-r": "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
    "ggml-vocab-deepseek-llm": "deepseek-ai-DeepSeek-V3.1",
    "ggml-vocab-gemma-4": "google-gemma-4-31B-it",
    "ggml-vocab-llama-bpe": "meta-llama-Llama-3.1-8B-Instruct",
    "ggml-vocab-phi-3": "microsoft-Phi-3.5-mini-instruct",
    "ggml-vocab-qwen2": "Qwen-Qwen2.5-7B-Instruct",
    "ggml-vocab-qwen35": "Qwen3.5-4B",
}

HEAD = """\
# What real chat templates do

The {templates} chat templates of the llama-cpp-python 0.3.36 source archive, judged by the rules of
[rules.md](rules.md), each as if an entry without further keys used it, with `<s>` and `</s>` as BOS and EOS. That
Playbill renders them as transformers does, character for character, is a test of its own
(`tests/backends/prompt/template/test_parity.py`). A template that asks for tools fails without them: PB118.

This page is generated: `python tools/survey_templates.py FOLDER`. Not every finding is a fault. A note is a fact
that is good to know, and a warning one that an entry has to answer: what stands here is what `playbill check`
would tell who uses the template as it is.
"""
PAIRED = """\
## With their tokenizers

The tokenizers of the same archive (GGUF files without weights), each with the template that stands in the file,
or with one of the archive that was made for it or for a relative; where they don't belong together, that is found.
These files have no weights and no context size to speak of.
"""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def linked(codes: Iterable[str]) -> str:
    return ", ".join(f"[{c}](rules.md#{c.lower()}-{RULES[c].name}) {RULES[c].name}" for c in dict.fromkeys(codes))


def of_template(text: str) -> list[Finding]:
    probe = Probe(text, {"bos_token": "<s>", "eos_token": "</s>"}, DATE)
    return list(judge_template(Subject(probe, {}, "template"), (*TEXT_CHECKS, *PROMPT_CHECKS)))


def of_tokenizer(file: Path, template: str | None) -> str:
    """What the whole prompt path shows, or why there is none."""
    entry = {"model_name": file.stem, "backend": "llamacpp", "huggingface_id": str(file), "eos_to_cull": ""}
    own = {"premade_chat_template": True} if template is None else {"custom_chat_template": template}
    spec = ModelSpec.from_dict({**entry, "premade_chat_template": False, **own})
    try:
        path = open_prompt_path(spec, credentials=Credentials([]))
    except PlaybillError as e:
        return re.sub(r"\S*/(ggml-vocab)", r"\1", str(e))
    assert path is not None
    stops = ", ".join(f"`{stop.text}`" for stop in path.stops.ids)
    codes = linked(finding.code for finding in judge_path(path, spec, file.stem) if finding.code != "PB218")
    return f"{codes or 'nothing'}; stops: {stops}"


def page(folder: Path) -> str:
    templates = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jinja"))}
    found = {name: of_template(text) for name, text in templates.items()}
    counted = Counter(code for findings in found.values() for code in {f.code for f in findings})
    counts = [[linked([c]), str(RULES[c].severity), str(n), RULES[c].summary] for c, n in sorted(counted.items())]
    counts.append(["nothing found", "", str(sum(not f for f in found.values())), ""])
    rows = [[name, linked(f.code for f in findings) or "nothing"] for name, findings in found.items()]
    paired = []
    for file in sorted(folder.glob("ggml-vocab-*.gguf")):
        name = PAIRS.get(file.stem)
        own = b"tokenizer.chat_template" in file.read_bytes()
        if own or name is not None:
            shown = "its own" if own else str(name)
            paired.append([file.stem, shown, of_tokenizer(file, None if own else templates[str(name)])])
    return "\n".join(
        [
            HEAD.format(templates=len(templates)),
            "## By rule\n",
            table(["rule", "severity", "templates", "finds"], counts),
            "\n## Template by template\n",
            table(["template", "found"], rows),
            f"\n{PAIRED}",
            table(["tokenizer", "template", "found"], paired),
            "",
        ]
    )


def main() -> None:
    logging.disable(logging.WARNING)
    text = page(Path(sys.argv[1]))
    stale = not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text
    if stale and "--check" not in sys.argv[2:]:
        write_atomically(PAGE, text)
    print(f"{PAGE.name}: {'not ' if stale and '--check' in sys.argv[2:] else ''}up to date")
    sys.exit(1 if stale and "--check" in sys.argv[2:] else 0)


if __name__ == "__main__":
    main()
