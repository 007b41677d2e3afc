"""Give back the memory of a model that failed, so that the next one finds room."""

from __future__ import annotations

from playbill.backends.engines.machine.process_state import give_memory_back

__all__ = ["release"]


def release(e: BaseException) -> None:
    """Take the tracebacks of an error and of its causes away: their frames, and the functions in these, hold variables.

    An error of a load holds the half-loaded model, and so does whoever keeps the error.
    """
    seen: set[int] = set()
    left: list[BaseException | None] = [e]
    while left:
        error = left.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        error.__traceback__ = None
        left += [error.__cause__, error.__context__]
        left += error.exceptions if isinstance(error, BaseExceptionGroup) else []
    give_memory_back()
