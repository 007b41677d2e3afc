"""The mock server's side of OpenAI's Responses API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playbill.mock_services.answers import Ask
from playbill.mock_services.faults import FaultKind as Kind
from playbill.mock_services.wires.base import (
    ErrorReply,
    Json,
    Problem,
    Told,
    as_dict,
    as_int,
    dump,
    pieces,
    sse,
    text_of,
)
from playbill.mock_services.wires.openai import OpenAIWire, bad

if TYPE_CHECKING:
    from playbill.mock_services.http import HttpRequest

__all__ = ["ResponsesWire"]

INCOMPLETE = {"length": "max_output_tokens", "refused": "content_filter"}


class ResponsesWire(OpenAIWire):
    """``POST …/responses``; keys, errors and the list of models are those of chat completions."""

    name = "responses"

    def serves(self, method: str, path: str) -> bool:
        return method == "POST" and path.endswith("/responses")

    def ask(self, request: HttpRequest, body: Json) -> Ask:
        if not isinstance(body.get("model"), str):
            raise bad("Missing required parameter: 'model'.", "model")
        given = body.get("input")
        if isinstance(given, str):
            given = [{"role": "user", "content": given}]
        if not isinstance(given, list) or not given:
            raise bad("Missing required parameter: 'input'.", "input")
        items = [as_dict(item) for item in given]
        told = [{"role": str(item.get("role")), "content": text_of(item.get("content"))} for item in items]
        if isinstance(body.get("instructions"), str):
            told.insert(0, {"role": "system", "content": body["instructions"]})
        return Ask(
            model=body["model"],
            messages=tuple(told),
            stream=body.get("stream") is True,
            stream_usage=True,
            max_tokens=as_int(body.get("max_output_tokens")),
            show_thinking=as_dict(body.get("reasoning")).get("summary") is not None,
            body=body,
        )

    def parameters(self, body: Json) -> Json:
        return {**body, "reasoning_effort": as_dict(body.get("reasoning")).get("effort")}

    def without_choices(self, told: Told) -> Json:
        whole = self.body(told)
        del whole["output"]
        return whole

    def body(self, told: Told) -> Json:
        answer = told.answer
        reason = INCOMPLETE.get(answer.finish)
        return {
            **self._response(told),
            "status": "completed" if reason is None else "incomplete",
            "incomplete_details": None if reason is None else {"reason": reason},
            "output": output(told),
            "usage": usage(told),
            **answer.extra,
        }

    def events(self, told: Told, *, usage_asked: bool = True) -> list[bytes]:
        whole = self.body(told)
        started = {**self._response(told), "status": "in_progress", "output": [], "usage": None}
        events: list[Json] = [{"type": "response.created", "response": started}]
        for place, item in enumerate(whole["output"]):
            begun = {**item, "status": "in_progress", "content": []} if item["type"] == "message" else item
            events.append({"type": "response.output_item.added", "output_index": place, "item": begun})
            if item["type"] == "message":
                part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
                where = {"item_id": item["id"], "output_index": place, "content_index": 0}
                events.append({"type": "response.content_part.added", **where, "part": part})
                events += [
                    {"type": "response.output_text.delta", **where, "delta": piece, "logprobs": []}
                    for piece in pieces(told.answer.text or "")
                ]
            events.append({"type": "response.output_item.done", "output_index": place, "item": item})
        events.append({"type": f"response.{whole['status']}", "response": whole})
        return [sse(dump({**e, "sequence_number": n}), str(e["type"])) for n, e in enumerate(events)]

    def error_event(self, problem: Problem, number: int) -> bytes:
        error = self.error(problem, number).body["error"]
        told = {"type": "error", "code": error["code"], "message": error["message"], "param": error["param"]}
        return sse(dump({**told, "sequence_number": 0}), "error")

    def refusal(self, told: Told) -> ErrorReply:
        return self.error(Problem(Kind.REFUSED, param="input"), told.number)

    def _response(self, told: Told) -> Json:
        return {
            **{"id": f"resp_mock_{told.number}", "object": "response", "created_at": told.created},
            **{"model": told.model, "error": None, "incomplete_details": None, "instructions": None, "metadata": {}},
            **{"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": 1.0, "top_p": 1.0},
        }


def output(told: Told) -> list[Json]:
    """Return the items of an answer: its reasoning, which may be hidden, and its message."""
    answer, items = told.answer, list[Json]()
    if answer.thinking is not None:
        summary = [{"type": "summary_text", "text": answer.thinking}] if answer.thinking else []
        items.append({"type": "reasoning", "id": f"rs_mock_{told.number}", "summary": summary})
    if answer.finish == "tool":
        call = {
            "type": "function_call",
            "id": "fc_mock",
            "call_id": "call_mock",
            "name": "mock_tool",
            "arguments": "{}",
        }
        return [*items, {**call, "status": "completed"}]
    if answer.text:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        status = "incomplete" if answer.finish == "length" else "completed"
        message = {"type": "message", "id": f"msg_mock_{told.number}", "role": "assistant", "status": status}
        items.append({**message, "content": [part]})
    return items


def usage(told: Told) -> Json:
    """Return the token counts, in this API's names."""
    count = told.usage
    return {
        "input_tokens": count.input,
        "input_tokens_details": {"cached_tokens": count.cached, "cache_write_tokens": 0},
        "output_tokens": count.output,
        "output_tokens_details": {"reasoning_tokens": count.thinking},
        "total_tokens": count.input + count.output,
    }
