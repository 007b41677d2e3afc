"""The public functions on templates: render, check syntax, list variables. The worker process does the work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from playbill.backends.errors import TemplateError
from playbill.backends.prompt.template._inputs import conversation, moment, plain_variables
from playbill.backends.prompt.template._process import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

__all__ = ["check_syntax", "render", "render_in", "template_variables"]

LONGEST_TEMPLATE = 1_000_000
_WORKER = Worker()


def render(
    template: str, messages: Sequence[Mapping[str, Any]], *, date: datetime | None = None, **variables: Any
) -> str:
    """Return the prompt's text, equal to that of transformers' ``apply_chat_template(tokenize=False)``.

    ``messages`` are objects with JSON values; ``variables`` are what else the template may read:
    ``add_generation_prompt`` (False if not given), ``bos_token``, ``eos_token``, ``tools``, ``documents``,
    ``enable_thinking`` and whatever the model's own template knows. No special token is added by itself.
    ``date`` is the time that the template's ``strftime_now`` sees, by default the time of the call.

    The template runs in a sandbox in a process of its own, for at most 5 seconds and with 1 GiB of memory. In
    one thing it is stricter than transformers, which writes nothing where a template prints a private
    attribute of a Python object (``''.__class__``): here that is an error.

    Raises `TemplateRefusal` where the template calls ``raise_exception``, `TemplateError` where it is broken,
    does what is forbidden or costs too much, `MessageError` or `ParameterError` where a value is no JSON.
    """
    return render_in(_WORKER, template, messages, date=date, **variables)


def render_in(
    worker: Worker,
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    date: datetime | None = None,
    **variables: Any,
) -> str:
    """`render` in a worker of the caller's, with its limits."""
    request = _request("render", template)
    request["variables"] = {**plain_variables(variables), "messages": conversation(messages)}
    request["now"] = moment(date)
    return worker.ask(request)


def check_syntax(template: str) -> None:
    """Raise `TemplateError` with the line if the template can't be compiled. Nothing is rendered."""
    _WORKER.ask(_request("check", template))


def template_variables(template: str) -> frozenset[str]:
    """Return the variables that the template reads and doesn't set itself, ``messages`` among them.

    What every template is given (``range``, ``namespace``, ``raise_exception`` and so on) isn't there.
    Raises `TemplateError` for a template that doesn't parse.
    """
    return frozenset(json.loads(_WORKER.ask(_request("variables", template))))


def _request(job: str, template: str) -> dict[str, Any]:
    if not isinstance(template, str):
        raise TemplateError(f"a chat template is text, not {type(template).__name__}")
    if len(template) > LONGEST_TEMPLATE:
        raise TemplateError(
            f"the template has {len(template):,} characters, the limit is {LONGEST_TEMPLATE:,}: is it one?"
        )
    return {"job": job, "template": str.__str__(template)}
