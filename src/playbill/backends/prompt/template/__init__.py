"""The one renderer: a chat template and messages in, the prompt's text out, whoever wrote the template.

    >>> from playbill.backends.prompt.template import GENERIC_TEMPLATE, render
    >>> render(GENERIC_TEMPLATE, [{"role": "user", "content": "Hello"}], add_generation_prompt=True)
    '<|im_start|>user\\nHello<|im_end|>\\n<|im_start|>assistant\\n'

Knows no model, no tokenizer and no engine. Messages are prepared (roles merged, a system message folded)
before they come here, and elsewhere.
"""

from __future__ import annotations

from playbill.backends.prompt.template._generic import GENERIC_TEMPLATE
from playbill.backends.prompt.template._render import check_syntax, render, template_variables
from playbill.backends.prompt.template._response import Region, response_regions

__all__ = ["GENERIC_TEMPLATE", "Region", "check_syntax", "render", "response_regions", "template_variables"]
