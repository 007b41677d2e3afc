"""The wires that the mock server speaks, one module each, all of the form that ``base.Wire`` gives.

Names, forms and reasons were taken from the type definitions of the official clients (openai 3.54, anthropic
2.12, google-genai 3.4); the wording of errors, where a client has to tell them apart by it, from public bug
reports.
"""

from playbill.mock_services.wires.anthropic import AnthropicWire
from playbill.mock_services.wires.base import Problem, Wire, WireError
from playbill.mock_services.wires.google import GoogleWire
from playbill.mock_services.wires.openai import OpenAIWire
from playbill.mock_services.wires.responses import ResponsesWire

__all__ = ["WIRES", "AnthropicWire", "GoogleWire", "OpenAIWire", "Problem", "ResponsesWire", "Wire", "WireError"]

WIRES: dict[str, Wire] = {
    "openai": OpenAIWire(),
    "responses": ResponsesWire(),
    "anthropic": AnthropicWire(),
    "google": GoogleWire(),
}
