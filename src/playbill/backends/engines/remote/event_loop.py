"""The event loop for all services, in a thread of its own.

A thousand waiting requests are a thousand small tasks here, where threads would need gigabytes of stacks.
"""

from __future__ import annotations

import asyncio
import os
import threading

__all__ = ["service_loop"]

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def service_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop; its thread is a daemon, so that no blocked request keeps a process alive."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="playbill-services", daemon=True).start()
        return _loop


def _forget() -> None:
    """In a forked child there is no such thread; the next request starts another."""
    global _loop, _lock
    _lock = threading.Lock()
    _loop = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
