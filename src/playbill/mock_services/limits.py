"""Rate limits of the mock server: requests a second, and requests at once. Knows no clock."""

from __future__ import annotations

__all__ = ["Limiter"]

BUSY_RETRY_SECONDS = 1.0


class Limiter:
    """A bucket that refills at ``per_second`` and holds a second's worth, and a bound on requests in work."""

    def __init__(self, per_second: float | None, concurrency: int | None) -> None:
        self._per_second = per_second
        self._size = max(1.0, per_second or 0.0)
        self._tokens = self._size
        self._filled_at: float | None = None
        self._concurrency = concurrency

    def admit(self, now: float, in_work: int) -> float | None:
        """Admit a request (``None``), or say after how many seconds to try again.

        ``in_work`` counts the requests in work before this one.
        """
        if self._concurrency is not None and in_work >= self._concurrency:
            return BUSY_RETRY_SECONDS
        if self._per_second is None:
            return None
        elapsed = 0.0 if self._filled_at is None else now - self._filled_at
        self._filled_at = now
        self._tokens = min(self._size, self._tokens + elapsed * self._per_second)
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_second
        self._tokens -= 1
        return None
