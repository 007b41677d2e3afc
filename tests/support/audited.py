"""Records to be audited, made here: calls as clembench and clemcore wrote them, and as Playbill does."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from playbill.runs.audit import Audit, Judged, find_sources

USER = "Describe the word 'tower' to the other player without ever saying it; be short and to the point."


def chatml(*turns: tuple[str, str], answer: bool = True) -> str:
    """A prompt in the ChatML form, ending where the assistant's answer begins."""
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    return f"{text}<|im_start|>assistant\n" if answer else text


def local_call(prompt: str, completion: str, text: str, *, model: str = "m", **sent: Any) -> dict[str, Any]:
    """A call of a local model in clembench's form: the response is the prompt and the completion."""
    return {
        "timestamp": "2024-04-26T16:52:32.067250",
        "manipulated_prompt_obj": {"inputs": prompt, "max_new_tokens": 100, "temperature": 0.0, **sent},
        "raw_response_obj": {
            "response": prompt + completion,
            "clem_player": {"response": text, "model_name": model, "call_duration": "0:00:01.340821"},
        },
    }


def service_call(content: str, text: str | None = None, **body: Any) -> dict[str, Any]:
    """A call of a service in clembench's form, the response that of OpenAI."""
    choice = {
        "message": {"role": "assistant", "content": content, "refusal": body.pop("refusal", None)},
        "finish_reason": body.pop("finish_reason", "stop"),
    }
    return {
        "timestamp": "2024-04-26T16:52:32.067250",
        "manipulated_prompt_obj": [{"role": "user", "content": USER}],
        "raw_response_obj": {
            "choices": [choice],
            "model": "gpt-x-2024-05-13",
            **body,
            "clem_player": {"response": content if text is None else text, "model_name": "gpt-x"},
        },
    }


def record(**fields: Any) -> dict[str, Any]:
    """A record of a sound turn of Playbill's, but for the fields that are given."""
    prompt = chatml(("user", USER))
    return {
        "schema": 1,
        "id": "d1",
        "turn": 0,
        "sample": 0,
        "model_name": "m",
        "label": "m",
        "messages": [{"role": "user", "content": USER}],
        "changes": [],
        "prompt": prompt,
        "raw": "A tall building.<|im_end|>",
        "text": "A tall building.",
        "thinking": None,
        "outcome": "answered",
        "finish_reason": "stop",
        "finish_reason_raw": "eos",
        "usage": {"input_tokens": 30, "output_tokens": 5, "cached_tokens": None, "thinking_tokens": None},
        "params": {"asked": {}, "effective": {"temperature": 0.0, "max_tokens": 300}},
        "request": None,
        "response": None,
        "seconds": 0.5,
        "time": "2026-01-01T00:00:00.000+00:00",
        "attempts": 1,
        "error": None,
        "seed": None,
        "details": {},
        "prompt_ids": [1, 2, 3],
        "output_ids": [4, 5],
        **fields,
    }


def judge(path: Path) -> tuple[list[Judged], Audit]:
    """All findings in a file or folder, and the audit with its counts."""
    auditor = Audit()
    found = [j for source in find_sources([path]) for j in auditor.judge(source.calls())]
    return [*found, *auditor.close()], auditor


def write_calls(folder: Path, *calls: dict[str, Any], name: str = "requests.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(list(calls)))
    return path


def write_records(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "m" / "records.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, separators=(",", ":")) + "\n" for r in records))
    return path


def names(found: list[Judged]) -> Counter[str]:
    return Counter(judged.finding.name for judged in found)
