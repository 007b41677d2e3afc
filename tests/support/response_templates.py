"""Response templates for tests, in the form that transformers gives them. Knows no test."""

from __future__ import annotations

from typing import Any

QWEN: dict[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "reasoning_content": {"open": "<think>", "close": "</think>"},
        "tool_calls": {"open_pattern": r"\s*<tool_call>", "close": "</tool_call>", "repeats": True},
        "content": {"close_pattern": r"\s*(?:<\|im_end\|>|<\|endoftext\|>)"},
    },
}
HARMONY: dict[str, Any] = {
    "version": 1,
    "start_anchor_pattern": r"<\|start\|>assistant(?!.*<\|start\|>assistant)",
    "fields": {
        "thinking": {"open": "<|channel|>analysis<|message|>", "close": ["<|end|>", "<|return|>"], "repeats": True},
        "tool_calls": {"open_pattern": r"<\|channel\|>commentary[^<]*<\|message\|>", "close": ["<|call|>", "<|end|>"]},
        "content": {"open": "<|channel|>final<|message|>", "close": ["<|end|>", "<|return|>"]},
    },
}
GEMMA: dict[str, Any] = {
    "start_anchor": ["<|turn>model\n", "<tool_response|>"],
    "fields": {
        "thinking": {"open": "<|channel>thought\n", "close": "<channel|>"},
        "content": {"close": ["<turn|>", "<eos>", "<eos><eos>"]},
    },
}
BARE: dict[str, Any] = {"start_anchor": "A:", "fields": {"thinking": {"close": "=>"}, "content": {"open": "=>"}}}
TEMPLATES = {"qwen": QWEN, "harmony": HARMONY, "gemma": GEMMA, "bare": BARE}
