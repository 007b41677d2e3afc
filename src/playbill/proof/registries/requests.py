"""Say how the request differs that two entries of services make of the same message. Sends nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from playbill.backends.errors import PlaybillError
from playbill.backends.loading import make_request_body
from playbill.backends.prompt.prompt_path import make_prompt
from playbill.backends.registry.backends import is_service
from playbill.backends.registry.spec import ModelSpec

__all__ = ["request_changes"]

_MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}]
_ABSENT = "nothing"


def request_changes(old: ModelSpec, new: ModelSpec) -> tuple[str, ...]:
    """Return what is other in the body, a line for each value; nothing where neither is of a service."""
    if not (is_service(old) and is_service(new)):
        return ()
    bodies = []
    for when, spec in (("before", old), ("now", new)):
        try:
            bodies.append(_flat(_body(spec)))
        except PlaybillError as e:
            return (f"no request can be made {when}: {e}",)
    before, after = bodies
    paths = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    lines = (f"request {path}: {before.get(path, _ABSENT)} -> {after.get(path, _ABSENT)}" for path in paths)
    return tuple(lines) or ("the request is the same",)


def _body(spec: ModelSpec) -> Any:
    return make_request_body(spec, make_prompt(spec, None, _MESSAGES).messages)


def _flat(body: Any) -> dict[str, str]:
    return {path: json.dumps(value, ensure_ascii=False) for path, value in _leaves(body, "")}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}" if path else key)
    else:
        yield path, value
