"""The tests of this folder need the extra `serve`."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("h11") else ["test_*.py"]


def pytest_report_header():
    return "serve: not tested, needs the extra `serve` (h11)" if collect_ignore_glob else None
