"""Versions of packages, from installations that are damaged."""

from __future__ import annotations

import sys

import pytest

from playbill.backends.common.packages import installed_version


@pytest.mark.parametrize("metadata", [None, "", "Name: odd\n", "\0\0"])
def test_a_damaged_installation_has_no_version_and_stops_nothing(tmp_path, monkeypatch, metadata):
    """As after an interrupted `pip install`."""
    folder = tmp_path / "odd_package-1.0.dist-info"
    folder.mkdir()
    if metadata is not None:
        (folder / "METADATA").write_text(metadata)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert installed_version("odd-package") is None
    assert installed_version("no-such-package") is None
    assert installed_version("click")
