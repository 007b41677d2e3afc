"""The tests of this folder need the extra `serve`."""

from importlib.util import find_spec

MISSING = [name for name in ("h11", "psutil", "starlette", "uvicorn") if not find_spec(name)]
collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_report_header():
    return f"serve: not tested, needs the extra `serve` ({', '.join(MISSING)})" if MISSING else None
