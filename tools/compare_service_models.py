"""Compares the table of model families with what others publish by model, and prints what differs.

    python tools/compare_service_models.py --litellm model_prices_and_context_window_backup.json --modelsdev api.json \
        --openai …/openai/types/shared/chat_model.py --anthropic …/anthropic/_data/deprecated_models.py

For maintainers. Reads files, sends nothing, imports no client. What stays on purpose has its reason in REASONS; a
difference without one makes the exit code 1. ``--all`` also lists the models that no row names.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from playbill.backends.registry.service_models import ModelFamily, Thinking, family_of, model_families

_LITELLM = {
    "openai": "openai",
    "azure": "azure",
    "anthropic": "anthropic",
    "gemini": "google",
    "xai": "xai",
    "mistral": "mistral",
    "cohere_chat": "cohere",
    "deepseek": "deepseek",
    "groq": "groq",
    "together_ai": "together",
    "fireworks_ai": "fireworks",
}
_MODELSDEV = {
    "openai": "openai",
    "azure": "azure",
    "anthropic": "anthropic",
    "google": "google",
    "xai": "xai",
    "mistral": "mistral",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "groq": "groq",
    "togetherai": "together",
    "fireworks-ai": "fireworks",
    "openrouter": "openrouter",
}
_NO_CHAT = re.compile(
    r"audio|realtime|image|tts|transcri|embed|whisper|container|omni|lyria|robotics|deep-research|live|guard|orpheus|"
    r"veo|imagen|imagine|computer-use|learnlm|-base|up-to-|1b-|native-audio|codestral-mamba|ft:|openai/container|"
    r"router|allam|/ft|rerank|moderation|ocr"
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that another source says otherwise of a model."""

    source: str
    service: str
    family: str
    model: str
    what: str
    theirs: str
    ours: str


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why differences stay: shell patterns for source, service/family, and what; "*" for any."""

    source: str
    where: str
    what: str
    reason: str


def _reasons() -> tuple[Reason, ...]:
    rows = json.loads(Path(__file__).with_name("compare_service_models.json").read_text(encoding="utf-8"))
    return tuple(Reason(**row) for row in rows)


def _efforts(thinking: Thinking) -> set[str]:
    return {*thinking.efforts, *thinking.responses_efforts}


def _hurts_temperature(row: ModelFamily, *, plain: bool) -> bool:
    """Tell whether temperature 0.0 is refused or ignored: plainly, or with default thinking and version."""
    for rule in row.rules:
        if (
            rule.effect == "advised_against"
            or "temperature" not in rule.parameters
            or row.thinking.default == "unknown"
        ):
            continue
        if not rule.unless:
            return True
        if plain and any(when.key != "api_version" and None not in when.values for when in rule.unless):
            return True
    return False


def _teller(source: str, service: str, model: str, row: ModelFamily | None) -> Callable[[str, Any, Any], Difference]:
    """Return a function that makes differences of one model, from what differs, their value and ours."""

    def say(what: str, theirs: Any, ours: Any) -> Difference:
        return Difference(
            source=source,
            service=service,
            family=row.name if row else "-",
            model=model,
            what=what,
            theirs=str(theirs),
            ours=str(ours),
        )

    return say


def _litellm(path: Path) -> Iterator[Difference]:
    for name, facts in json.loads(path.read_text(encoding="utf-8")).items():
        service = _LITELLM.get(facts.get("litellm_provider", ""))
        if service is None or facts.get("mode") not in ("chat", "responses") or _NO_CHAT.search(name):
            continue
        model = name.removeprefix(f"{facts['litellm_provider']}/").removeprefix("fireworks_ai/")
        if service == "azure" and "/" in model:
            continue  # regional doubles
        row = family_of(service, model)
        gone = facts.get("deprecation_date", "9999") <= max(family.as_of for family in model_families())

        say = _teller("litellm", service, model, row)

        if row is None or row.status == "unknown":
            if not gone:
                yield say("no row", "listed", "-")
            continue
        thinking = row.thinking
        if date := facts.get("deprecation_date"):
            if gone and service not in row.retired:
                yield say("retired", date, "not retired")
            elif not gone and row.retires.get(service) != date:
                yield say("retires", date, row.retires.get(service))
        elif service in row.retires:
            yield say("retires", None, row.retires[service])
        if gone and service in row.retired:
            continue
        if thinking.default != "unknown" and bool(facts.get("supports_reasoning")) != (thinking.default != "none"):
            yield say("reasoning", facts.get("supports_reasoning"), thinking.default)
        if facts.get("supports_sampling_params") is False and not _hurts_temperature(row, plain=True):
            yield say("sampling", False, "taken")
        for word in ("none", "minimal", "low", "xhigh", "max"):
            said = facts.get(f"supports_{word}_reasoning_effort")
            if said is not None and thinking.efforts and said != (word in _efforts(thinking)):
                yield say(f"effort {word}", said, word in _efforts(thinking))
        if (levels := facts.get("reasoning_effort_levels")) and set(levels) != _efforts(thinking):
            yield say("efforts", sorted(levels), sorted(_efforts(thinking)))
        if (default := facts.get("default_reasoning_effort")) and default != thinking.default_effort:
            yield say("default effort", default, thinking.default_effort)
        if "thinking_always_on" in facts and facts["thinking_always_on"] != (thinking.default == "always"):
            yield say("always thinks", facts["thinking_always_on"], thinking.default)
        if facts.get("thinking_on_by_default") and thinking.default != "on":
            yield say("thinks by default", True, thinking.default)
        if facts.get("supports_adaptive_thinking") and "adaptive" not in str(thinking.ask):
            yield say("adaptive", True, thinking.ask)
        if row.images is not None and "supports_vision" in facts and bool(facts["supports_vision"]) != row.images:
            yield say("images", facts["supports_vision"], row.images)
        ends = facts.get("supported_endpoints") or []
        only = facts["mode"] == "responses" or ends == ["/v1/responses"]
        if service in ("openai", "azure", "xai") and only != (row.api == "responses"):
            yield say("responses only", only, row.api)
        if row.max_output and facts.get("max_output_tokens") and facts["max_output_tokens"] != row.max_output:
            yield say("max output", int(facts["max_output_tokens"]), row.max_output)


def _modelsdev(path: Path) -> Iterator[Difference]:
    for provider, block in json.loads(path.read_text(encoding="utf-8")).items():
        service = _MODELSDEV.get(provider)
        if service is None:
            continue
        for model, facts in block["models"].items():
            if _NO_CHAT.search(model) or (
                service == "azure" and not model.startswith(("gpt", "o1", "o3", "o4", "codex"))
            ):
                continue
            row = family_of(service, model)

            say = _teller("models.dev", service, model, row)

            if row is None or row.status == "unknown":
                if facts.get("status") != "deprecated" and row is None:
                    yield say("no row", "listed", "-")
                continue
            if service in row.retired:
                continue
            thinking = row.thinking
            if (
                thinking.default != "unknown"
                and facts.get("reasoning") is not None
                and facts["reasoning"] != (thinking.default != "none")
            ):
                yield say("reasoning", facts["reasoning"], thinking.default)
            if facts.get("temperature") is False and not _hurts_temperature(row, plain=True):
                yield say("temperature", False, "taken in a plain request")
            if facts.get("temperature") is True and _hurts_temperature(row, plain=False):
                yield say("temperature", True, "refused or ignored")
            for option in facts.get("reasoning_options") or []:
                if option.get("type") == "effort" and thinking.efforts and set(option["values"]) != _efforts(thinking):
                    yield say("efforts", sorted(option["values"]), sorted(_efforts(thinking)))
            if (default := facts.get("reasoning_default")) and default != thinking.default_effort:
                yield say("default effort", default, thinking.default_effort)
            images = "image" in (facts.get("modalities") or {}).get("input", [])
            if row.images is not None and images != row.images:
                yield say("images", images, row.images)


def _openai_sdk(path: Path) -> Iterator[Difference]:
    """The docstring under ChatModel: '- "a", "b": Announced shutdown date: 2027-01-14.'"""
    text = " ".join(path.read_text(encoding="utf-8").split())
    for names, date in re.findall(r'- ((?:"[^"]+",? ?)+): Announced shutdown date: (\d{4}-\d\d-\d\d)', text):
        for model in re.findall(r'"([^"]+)"', names):
            if _NO_CHAT.search(model):
                continue
            row = family_of("openai", model)
            ours = row.retires.get("openai") if row else None
            if ours != date and not (
                row and "openai" in row.retired and date <= max(family.as_of for family in model_families())
            ):
                yield _teller("openai SDK", "openai", model, row)("retires", date, ours)


def _anthropic_sdk(path: Path) -> Iterator[Difference]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    table: Mapping[str, str] = next(
        ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.AnnAssign)
    )  # type: ignore[arg-type]
    for model, said in table.items():
        date = datetime.strptime(re.sub(r"(\d)(st|nd|rd|th)", r"\1", said), "%B %d, %Y").date().isoformat()
        row = family_of("anthropic", model)
        ours = row.retires.get("anthropic") if row else None
        if ours != date:
            yield _teller("anthropic SDK", "anthropic", model, row)("retires", date, ours)
    for row in model_families():
        if (
            "anthropic" in row.services
            and row.retires
            and not row.retired
            and not any(family_of("anthropic", m) is row for m in table)
        ):
            yield _teller("anthropic SDK", "anthropic", row.model, row)("retires", None, row.retires)


def _reason_for(difference: Difference, reasons: tuple[Reason, ...]) -> str | None:
    for row in reasons:
        if (
            fnmatchcase(difference.source, row.source)
            and fnmatchcase(f"{difference.service}/{difference.family}/{difference.model.lower()}", row.where)
            and fnmatchcase(difference.what, row.what)
        ):
            return row.reason
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("litellm", "modelsdev", "openai", "anthropic"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--all", action="store_true", help="also the models that no row names")
    options = parser.parse_args()
    readers = {"litellm": _litellm, "modelsdev": _modelsdev, "openai": _openai_sdk, "anthropic": _anthropic_sdk}
    found = [d for name, read in readers.items() if getattr(options, name) for d in read(getattr(options, name))]
    reasons = _reasons()
    grouped: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for d in found:
        if d.what != "no row" or options.all:
            theirs = "(several)" if d.what in ("max output", "retires", "no row") and d.theirs != "None" else d.theirs
            grouped[(_reason_for(d, reasons) or "", d.source, d.service, d.family, d.what, theirs, d.ours)].append(
                d.model + (f"={d.theirs}" if theirs == "(several)" and d.what != "no row" else "")
            )
    unexplained = 0
    for (reason, source, service, family, what, theirs, ours), models in sorted(grouped.items()):
        shown = ", ".join(models[:6]) + (f" and {len(models) - 6} more" if len(models) > 6 else "")
        print(f"{source} | {service} | {family} | {what}: theirs {theirs}, ours {ours} | {shown}")
        print(f"    {reason or '?? no reason given'}")
        unexplained += not reason
    rows = sum(d.what == "no row" for d in found)
    print(
        f"{len(found) - rows} differences in {len(grouped)} groups, {unexplained} groups without a reason; "
        f"{rows} models that no row names",
        file=sys.stderr,
    )
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
