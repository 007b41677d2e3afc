"""Another name of `playbill.mock_services`, under which the first edition had it. New code takes that one."""

from playbill.mock_services import *  # noqa: F403
from playbill.mock_services import __all__ as __all__
