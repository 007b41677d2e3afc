"""Planted defects: for each rule a thing that has the defect and a twin that hasn't. Knows no test."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from playbill.backends.prompt.chat_template import Template, pick_template
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.prompt.stops import collect_stops
from playbill.backends.prompt.template import GENERIC_TEMPLATE
from playbill.backends.registry.spec import ModelSpec

DATE = datetime(2026, 11, 23, 12)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GGUF = {"backend": "llamacpp", "huggingface_id": "org/model", "eos_to_cull": "<|im_end|>"}
ENTRY = {"model_name": "m", **GGUF, "premade_chat_template": False, "custom_chat_template": CHATML}
MOCK = {"model_name": "m", "backend": "programmatic"}


def entry(**changes: Any) -> dict[str, Any]:
    """A right entry with changes; a value of None takes the key out."""
    changed = {**ENTRY, **changes}
    return {key: value for key, value in changed.items() if value is not None}


def templated(template: str, **more: Any) -> dict[str, Any]:
    return entry(custom_chat_template=template, **more)


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in ENTRY.items() if key not in keys}


GATED = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
HIDING = CHATML.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
ALTERNATING = (
    "{% for m in messages %}{% if m.role != 'system' and (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + CHATML
)

HELPFUL = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
) + CHATML
# As DeepSeek-V3.1: the prompt closes the thinking at once, unless it is asked for.
ON_DEMAND = CHATML.replace("assistant\n{% endif", "assistant\n{{ '<think>' if thinking else '</think>' }}{% endif")
ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"

HOSTED = {"model_name": "m", "backend": "anthropic", "model_id": "claude-haiku-4-5"}
LEVELS = {"backend": "google", "model_id": "gemini-3-flash-preview", "reasoning_model": True}

REGISTRIES: dict[str, tuple[list[Any], list[Any]]] = {
    "PB101": (["not an entry"], [MOCK]),
    "PB102": ([without("eos_to_cull")], [entry()]),
    "PB103": ([entry(premade_chat_template="false")], [entry()]),
    "PB104": ([entry(eos_to_cul="</s>")], [entry()]),
    "PB105": ([entry(favourite_colour="blue")], [entry(x_favourite_colour="blue")]),
    "PB106": ([entry(padding_side="left")], [entry()]),
    "PB107": ([entry(eos_to_cull=r"<\|im_end\|>")], [entry(eos_to_cull="<|im_end|>")]),
    "PB108": (
        [{**without("eos_to_cull"), "model_config": {"eos_to_cull": "a|b"}}],
        [{**without("eos_to_cull"), "model_config": {"eos_to_cull": r"a\|b"}}],
    ),
    "PB109": (
        [{**entry(), "model_config": {"huggingface_id": "org/other"}}],
        [{**entry(), "model_config": {"huggingface_id": "org/model"}}],
    ),
    "PB110": ([entry(premade_chat_template=True)], [entry()]),
    "PB111": ([{**MOCK, "eos_to_cull": "</s>"}], [MOCK]),
    "PB112": ([{**MOCK, "backend": "programatic"}], [MOCK]),
    "PB113": ([templated("{% for m in messages %}")], [entry()]),
    "PB114": (
        [templated(CHATML.replace("if add_generation_prompt", "if add_generation_promt"))],
        [templated(CHATML + "{% if mood is defined %}{{ mood }}{% endif %}")],
    ),
    "PB115": (
        [entry(chat_template_kwargs={"enable_thinking": False})],
        [templated(CHATML + "{{ '' if enable_thinking else '' }}", chat_template_kwargs={"enable_thinking": False})],
    ),
    "PB116": ([templated(CHATML + "{{ ''.__class__.__mro__ }}")], [entry()]),
    "PB117": (
        [templated(CHATML + "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}")],
        [entry()],
    ),
    "PB118": ([templated(CHATML + "{{ tools | length }}")], [templated(CHATML + "{{ (tools or []) | length }}")]),
    "PB119": ([MOCK, MOCK], [MOCK, {**MOCK, "model_name": "n"}]),
    "PB121": (
        [{**MOCK, "cot_start_tag": "<think>"}],
        [{**MOCK, "cot_start_tag": "<think>", "cot_end_tag": "</think>"}],
    ),
    "PB122": ([entry(huggingface_id="./no/such/model.gguf")], [entry()]),
    "PB123": ([entry(peft_model="org/adapter")], [entry(load_in_4bit=False)]),
    "PB124": ([entry(do_sample=True)], [entry(do_sample=True, temperature=0.7)]),
    "PB125": (
        [{**entry(), "model_config": {"cot_end_tag": r"(<\|a\|>)*<\|final\|>"}}],
        [{**entry(), "model_config": {"cot_end_tag": r"<\|final\|>"}}],
    ),
    "PB126": ([entry(share_beginnings=True)], [entry(prefix_caching=True)]),
    "PB127": (
        [{"model_name": "m", "backend": "vllm_server", "model_id": "Qwen/Qwen3-8B"}],
        [{"model_name": "m", "backend": "vllm_server", "model_id": "Qwen/Qwen3-8B", "reasoning_model": True}],
    ),
    "PB128": (
        [{"model_name": "m", "backend": "openai", "model_id": "o3-mini", "reasoning_model": True}],
        [{"model_name": "m", "backend": "openai", "model_id": "gpt-6.2-sol", "reasoning_model": True}],
    ),
    "PB140": ([entry(num_beams=4)], [entry(x_num_beams=4)]),
    "PB141": (
        [{**HOSTED, "model_config": {"thinking_mode": True}}],
        [{**HOSTED, "thinking_mode": True}],
    ),
    "PB142": (
        [{**HOSTED, **LEVELS, "max_thinking_tokens": 400}],
        [{**HOSTED, **LEVELS, "reasoning_effort": "low"}],
    ),
    "PB202": ([without("custom_chat_template")], [entry()]),
}
"""Registries by the code of the rule that the first breaks and the second doesn't. PB120 needs two files."""


class Letters:
    """A tokenizer of single characters, and of a few special tokens."""

    def __init__(self, special: Sequence[str], **facts: Any) -> None:
        self._special = list(special)
        self._facts = facts
        self._split = re.compile("|".join([*map(re.escape, special), "(?s:.)"]))

    def encode(self, text: str) -> list[int]:
        found = self._split.findall(text)
        return [self._special.index(t) if t in self._special else len(self._special) + ord(t) for t in found]

    def decode(self, ids: Sequence[int]) -> str:
        count = len(self._special)
        return "".join(self._special[i] if i < count else chr(i - count) for i in ids)

    def special_ids(self) -> frozenset[int]:
        return frozenset(range(len(self._special)))

    def facts(self) -> dict[str, Any]:
        return {"class": "Letters", "slow": False, **self._facts}


@dataclass(frozen=True)
class Planted:
    """An entry with a model behind it: its special tokens, its own EOS, its template, its context."""

    entry: dict[str, Any] = field(default_factory=entry)
    special: tuple[str, ...] = ("<s>", "<|im_start|>", "<|im_end|>", "<|eot|>")
    eos: str = "<|im_end|>"
    premade: str | None = None
    context: int | None = 4096
    facts: dict[str, Any] = field(default_factory=dict)

    def open(self) -> tuple[ModelSpec, PromptPath]:
        spec = ModelSpec.from_dict(self.entry)
        tokenizer = Letters(self.special, **self.facts)
        variables = {"bos_token": "<s>", "eos_token": self.eos}
        template: Template = pick_template(spec, self.premade, variables, GENERIC_TEMPLATE)
        declared = {"model": tokenizer.encode(self.eos)} if self.eos else {}
        stops = collect_stops(tokenizer, template, DATE, eos_to_cull=spec.get("eos_to_cull") or (), declared=declared)
        return spec, PromptPath(
            template=template, tokenizer=tokenizer, stops=stops, date=DATE, context_size=self.context
        )


def path_of(template: str, **more: Any) -> Planted:
    return Planted(templated(template, **more))


EOT = CHATML.replace("<|im_end|>", "<|eot|>")
THINKER = CHATML + "{# ends at </think> #}"
PATHS: dict[str, tuple[Planted, Planted]] = {
    "PB203": (path_of(GATED), path_of(GATED, system_role="fold")),
    "PB204": (path_of(HIDING), path_of(CHATML)),
    "PB205": (path_of(ALTERNATING), path_of(CHATML)),
    "PB206": (
        path_of("{% if not add_generation_prompt %}END{% endif %}" + CHATML),
        path_of(CHATML),
    ),
    "PB207": (path_of(CHATML.replace("{% if add_generation_prompt %}", "{% if false %}")), path_of(CHATML)),
    "PB208": (
        path_of(CHATML.replace("{{ m.role }}", "{{ m.role }}{{ range(90000) | random }}")),
        path_of(CHATML),
    ),
    "PB209": (path_of(CHATML.replace("{{ m.content }}", "{{ m.content | upper }}")), path_of(CHATML)),
    "PB210": (path_of("{{ bos_token }}{{ bos_token }}" + CHATML), path_of("{{ bos_token }}" + CHATML)),
    "PB211": (
        Planted(facts={"adds_bos": True}),
        Planted(templated("{{ bos_token }}" + CHATML), facts={"adds_bos": True}),
    ),
    "PB212": (
        path_of(CHATML.replace("<|im_end|>\n", "\n"), eos_to_cull=""),
        path_of(CHATML, eos_to_cull=""),
    ),
    "PB213": (
        Planted(templated(EOT, eos_to_cull="<|im_end|>")),
        Planted(templated(EOT, eos_to_cull=["<|im_end|>", "<|eot|>"])),
    ),
    "PB214": (Planted(special=("<s>", "<|im_end|>")), Planted()),
    "PB215": (Planted(entry(eos_to_cull=["<|im_end|>", "<|end|>"])), Planted(entry(eos_to_cull=["<|im_end|>", "<s>"]))),
    "PB216": (Planted(entry(eos_to_cull="<|eot|>")), Planted()),
    "PB217": (
        path_of("{{ strftime_now('%d %b %Y') }}" + CHATML),
        path_of("{{ strftime_now('%d %b %Y') }}" + CHATML, date="2026-11-23"),
    ),
    "PB218": (Planted(context=None), Planted()),
    "PB219": (Planted(entry(context_size="128k")), Planted(entry(context_size=4096))),
    "PB220": (
        Planted(entry(backend="huggingface_local", slow_tokenizer=True)),
        Planted(entry(backend="huggingface_local", slow_tokenizer=True), facts={"slow": True}),
    ),
    "PB221": (Planted(entry(output_split_prefix="assistant\n")), Planted(entry(output_split_prefix="Answer:"))),
    "PB222": (
        path_of(THINKER),
        path_of(THINKER, cot_start_tag="<think>", cot_end_tag="</think>"),
    ),
    "PB223": (path_of(HELPFUL), path_of(HELPFUL.replace("You are a helpful assistant.", ""))),
    "PB224": (path_of(ON_DEMAND), path_of(ON_DEMAND, chat_template_kwargs={"thinking": False})),
}
"""Prompt paths by the code of the rule that the first breaks and the second doesn't."""
