"""Choose among a repository's GGUF files by their names: the model, and the one beside it that sees. Opens no file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath

from playbill.backends.errors import WeightsError

__all__ = ["choose_files", "choose_mmproj", "is_mmproj"]

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
_MMPROJ = "mmproj"
_FORMATS = ("f16", "bf16", "f32", "q8_0")
"""Formats of a file that sees, the best one first; most repositories have the same file in several."""
_FORMAT = re.compile(r"(?<![a-z0-9])(bf16|f16|fp16|f32|fp32|q8_0)(?![a-z0-9])")


def is_mmproj(name: str) -> bool:
    """Tell whether a GGUF file is a model's vision encoder, and no model: published ones are all called so."""
    return _MMPROJ in PurePosixPath(name).name.lower()


def choose_files(names: Sequence[str], pattern: str | None, additional: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the one model among a repository's files that a glob means, with all parts where it is split.

    Files that see, mmproj, are no models, unless ``pattern`` is the very name of one. Raises WeightsError where the
    glob means none or several, or a part is missing; it lists what there is.
    """
    ggufs = sorted(name for name in names if name.endswith(".gguf"))
    models_only = [name for name in ggufs if not is_mmproj(name) or name == pattern]
    matching = [name for name in models_only if pattern is None or _matches(name, pattern)]
    models = {_part_key(name): name for name in reversed(matching)}
    if len(models) != 1:
        said = f"the filename '{pattern}'" if pattern is not None else "no filename in the entry"
        which = "several files" if models else "no file"
        listed = ", ".join(sorted(models.values()) or models_only[:20]) or "no GGUF files at all"
        raise WeightsError(f"{where}: {said} means {which}; set filename to mean one of: {listed}")
    files = [*_parts(next(iter(models.values())), ggufs, where)]
    for glob in additional:
        found = [name for name in ggufs if _matches(name, glob)]
        if not found:
            raise WeightsError(f"{where}: additional_files '{glob}' means no file; there are {', '.join(ggufs)}")
        files += [name for name in found if name not in files]
    return tuple(files)


def choose_mmproj(names: Sequence[str], pattern: str | None, where: str) -> str:
    """Return the file that sees among a repository's files: the one that a glob means, else the one called mmproj.

    Of one file in several formats, and without a glob, the first of F16, BF16, F32, Q8_0 is taken. Raises WeightsError
    where none is meant, or several are.
    """
    ggufs = sorted(name for name in names if name.endswith(".gguf"))
    eyes = [name for name in ggufs if is_mmproj(name)]
    matching = [name for name in ggufs if _matches(name, pattern)] if pattern is not None else eyes
    if pattern is None:
        matching = _in_best_format(matching)
    if len(matching) == 1:
        return matching[0]
    if pattern is None and not eyes:
        raise WeightsError(
            f"{where}: multimodality says that the model takes pictures, and no file here is called mmproj; set mmproj "
            "to the file that sees, or take multimodality out, and the model reads text"
        )
    said = f"the mmproj '{pattern}'" if pattern is not None else "no mmproj in the entry"
    which = "several files" if matching else "no file"
    listed = ", ".join(matching or eyes or ggufs[:20]) or "no GGUF files at all"
    raise WeightsError(f"{where}: {said} means {which}; set mmproj to mean one of: {listed}")


def _in_best_format(names: Sequence[str]) -> list[str]:
    """Return the one to take of names that differ in nothing but a format; all of them where they differ in more."""
    formats = {name: match[1].replace("fp", "f") for name in names if (match := _FORMAT.search(name.lower()))}
    if len(formats) < len(names) or len({_FORMAT.sub("", name.lower()) for name in names}) != 1:
        return list(names)
    return [min(names, key=lambda name: _FORMATS.index(formats[name]))]


def _matches(name: str, pattern: str) -> bool:
    """Tell whether a glob means a file; ``*/Q8_0/*`` means the folder at the top as well."""
    return fnmatch(name, pattern) or fnmatch(f"/{name}", pattern)


def _part_key(name: str) -> str:
    part = _PART.fullmatch(name)
    return part[1] if part else name


def _parts(name: str, names: Sequence[str], where: str) -> list[str]:
    part = _PART.fullmatch(name)
    if part is None:
        return [name]
    parts = [f"{part[1]}-{number:05}-of-{part[3]}.gguf" for number in range(1, int(part[3]) + 1)]
    if missing := [each for each in parts if each not in names]:
        raise WeightsError(f"{where}: the model is split, and parts are missing: {', '.join(missing)}")
    return parts
