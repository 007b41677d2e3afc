"""Small pictures for the report, as data URLs: made by Pillow where it is installed, else the small ones as they are.

A picture's file is a stranger's, and so is its name in a record: both are judged before anything is opened.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

from playbill.backends.errors import MessageError
from playbill.backends.prompt.pictures.opening import open_picture
from playbill.backends.prompt.pictures.picture import LARGEST_PICTURE, Picture, make_picture
from playbill.runs.folder.pictures import picture_file, stored_problem

__all__ = ["thumbnails"]

_log = logging.getLogger(__name__)
_SIDE = 192
"""Pixels of the longer side."""
_MOST = 2000
_SMALL = 24 * 1024
"""Bytes of a picture that is shown as it is where there is no Pillow."""


def thumbnails(run: Path, pictures: Collection[tuple[str, str]]) -> dict[str, str]:
    """Return a data URL for each kept picture of a run, by its hash; one that can't be shown is left out, and logged.

    ``pictures`` are hashes with media types, as records have them. At most 2,000 are made.
    """
    found: dict[str, str] = {}
    for sha256, media_type in sorted(pictures)[:_MOST]:
        problem = stored_problem(run, {"sha256": sha256, "mime": media_type})
        if problem is None:
            try:
                found |= _shown(run / picture_file(sha256, media_type), sha256)
                continue
            except (MessageError, OSError) as e:
                problem = str(e)
        _log.debug("no thumbnail: %s", problem)
    return found


def _shown(path: Path, sha256: str) -> dict[str, str]:
    if path.stat().st_size > LARGEST_PICTURE:
        return {}
    picture = make_picture(path.read_bytes(), path.name, path.name)
    if find_spec("PIL") is not None:
        return {sha256: _small(picture)}
    return {sha256: picture.data_url} if len(picture.content) <= _SMALL else {}


def _small(picture: Picture) -> str:
    image = open_picture(picture).image
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
