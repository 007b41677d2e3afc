"""A mock server that speaks the services' APIs, and answers, fails and delays as told.

For tests of engines, and to rehearse a run without spending. It refuses what a named model is known to refuse. Needs
``h11``, from the extra ``serve``.
"""

from playbill.mock_services.answers import Answer, Answers, Item, Message, Raw, echo, fixed_tokens
from playbill.mock_services.faults import Fault, FaultKind
from playbill.mock_services.log import Received, RequestLog
from playbill.mock_services.options import REASONING, MockOptions, ModelRule
from playbill.mock_services.server import MockServer, serve_forever
from playbill.mock_services.service import FAULT_HEADER

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
