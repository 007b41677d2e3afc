"""What tests of vision models share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder for each kind, made when it is first asked for."""
    from support.vision.checkpoint import save_tiny  # without the extra `vision` it can't be imported

    root, made = tmp_path_factory.mktemp("vision"), {}

    def folder(kind):
        if kind not in made:
            made[kind] = save_tiny(kind, root / kind)
        return made[kind]

    return folder
