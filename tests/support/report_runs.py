"""Folders of runs made for the report page."""

from __future__ import annotations

import json

from support.audited import write_records

HOSTILE = '</script><script>document.title="broken"</script><img src=x onerror="document.title=1">\u2028 \x1b[2J\u202e'


def make_run(folder, *records):
    """A folder with a manifest and these records under the label m."""
    write_records(folder, *records)
    manifest = {"schema": 1, "date": "2026-01-01T00:00:00", "created": "2026-01-01T00:00:00+00:00",
                "inputs": {"files": []}, "starts": [], "models": {"m": {"folder": "m", "model_name": "m"}}}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
