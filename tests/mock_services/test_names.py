"""The names under which the mock server can be imported."""

from __future__ import annotations

import playbill.mock_services
import playbill.serve.mock


def test_the_first_editions_name_brings_the_same_things():
    """Tests of users import `playbill.serve.mock`."""
    for name in playbill.mock_services.__all__:
        assert getattr(playbill.serve.mock, name) is getattr(playbill.mock_services, name)
