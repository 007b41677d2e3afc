"""A server that speaks the services' wires and answers, fails and delays as told: to test engines, and to
rehearse a run without spending.

Knows no model and no engine. It needs ``h11``, from the ``serve`` extra.
"""

from playbill.serve.mock.answers import Answer, Answers, Item, Message, Raw, echo, fixed_tokens
from playbill.serve.mock.faults import Fault, FaultKind
from playbill.serve.mock.log import Received, RequestLog
from playbill.serve.mock.options import REASONING, MockOptions, ModelRule
from playbill.serve.mock.server import MockServer, serve_forever
from playbill.serve.mock.service import FAULT_HEADER

__all__ = [
    "FAULT_HEADER",
    "REASONING",
    "Answer",
    "Answers",
    "Fault",
    "FaultKind",
    "Item",
    "Message",
    "MockOptions",
    "MockServer",
    "ModelRule",
    "Raw",
    "Received",
    "RequestLog",
    "echo",
    "fixed_tokens",
    "serve_forever",
]
