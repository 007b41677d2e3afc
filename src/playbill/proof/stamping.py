"""Make stamps of verdicts, and keep them. An entry with an error gets none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

from playbill import __version__
from playbill.backends.common.findings import Severity
from playbill.backends.common.waivers import waivers_of
from playbill.backends.registry.stamps.files import StampFiles
from playbill.backends.registry.stamps.stamp import Depth, Stamp, key_digests
from playbill.proof.check import Verdict
from playbill.proof.checks.evidence import Evidence

__all__ = ["keep_stamps", "make_stamp"]

_DEPTHS = {1: Depth.WRITTEN, 2: Depth.PROMPT, 3: Depth.LIVE}


def make_stamp(verdict: Verdict, day: date, *, against: Mapping[str, str] | None = None) -> Stamp | None:
    """Return the stamp of what a verdict proves; None where the entry is wrong, or is none that stands in a file.

    ``against`` names what stood in for the model's own files, by the part that it stood in for.
    """
    entry = verdict.entry
    if verdict.wrong or entry is None or entry.name is None:
        return None
    evidence = verdict.evidence or Evidence(versions={"playbill": __version__})
    warned = {finding.code for finding in verdict.findings if finding.severity is Severity.WARNING}
    return Stamp(
        model_name=entry.name,
        date=day.isoformat(),
        depth=_DEPTHS[verdict.depth],
        entry=key_digests(entry.flat.entry),
        content=evidence.content,
        versions=evidence.versions,
        against=dict(against or {}),
        asked=evidence.asked,
        self_test=evidence.self_test,
        warnings=tuple(sorted(warned)),
        waived=tuple(waiver for _, waiver in sorted(waivers_of(entry.flat.entry).items())),
    )


def keep_stamps(stamps: Iterable[tuple[Path, Stamp]], files: StampFiles | None = None) -> list[Path]:
    """Write stamps, each for the registry file that its entry stands in; return the files. Raises InputError."""
    by_file: dict[Path, list[Stamp]] = {}
    for registry, stamp in stamps:
        by_file.setdefault(registry, []).append(stamp)
    files = files if files is not None else StampFiles()
    return [files.add(registry, found) for registry, found in by_file.items()]
