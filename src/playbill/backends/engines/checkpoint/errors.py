"""Turn the errors of transformers while it loads into ours, which say what to do; and silence its logging."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playbill.backends.common.downloads import download_display
from playbill.backends.common.packages import installed_version
from playbill.backends.common.secret import scrub
from playbill.backends.errors import BackendUnavailable, EngineError, EntryError, PlaybillError, WeightsError

__all__ = ["load_failures", "panics_as_errors", "quiet"]


@contextmanager
def load_failures(model_name: str, what: str, *, preview: bool) -> Iterator[None]:
    """Turn whatever transformers raises while it loads ``what`` into one of our errors."""
    try:
        with panics_as_errors(f"{what} breaks the library that reads it"):
            yield
    except EngineError as e:
        raise WeightsError(f"{model_name}: {e}") from e
    except PlaybillError:
        raise
    except ImportError as e:
        raise BackendUnavailable(f"{model_name}: a package is missing to load {what}: {_first_lines(e)}") from e
    except OSError as e:
        raise WeightsError(f"{model_name}: {what} can't be loaded: {_first_lines(e)}") from e
    except Exception as e:  # transformers, tokenizers and safetensors raise anything, tokenizers a bare Exception
        if "trust_remote_code" in str(e):
            raise _remote_code(model_name, what, preview) from e
        raise WeightsError(
            f"{model_name}: transformers {installed_version('transformers')} can't load {what}: {_first_lines(e)}"
        ) from e


@contextmanager
def panics_as_errors(what: str) -> Iterator[None]:
    """Turn a panic of a library in Rust into EngineError, whose message begins with ``what``.

    A panic is a BaseException, which would end the whole run, though only one text or file is to blame.
    """
    try:
        yield
    except BaseException as e:
        if type(e).__name__ != "PanicException":
            raise
        raise EngineError(f"{what}: {_first_lines(e)}") from e


def _remote_code(model_name: str, what: str, preview: bool) -> PlaybillError:
    """Nothing is wrong with an entry whose code is not run for a look at it."""
    if preview:
        return WeightsError(
            f"{model_name}: {what} is Python code in the model's repository, which only runs on a load that allows it"
        )
    return EntryError(
        f"{model_name}: {what} is Python code in the model's repository; if you trust it, set "
        '"trust_remote_code": true in the entry and give --trust-remote-code'
    )


def _first_lines(e: BaseException) -> str:
    lines = [line.strip() for line in str(scrub(str(e))).splitlines() if line.strip()]
    return " ".join(lines[:3]) or type(e).__name__


@contextmanager
def quiet(progress: bool) -> Iterator[None]:
    """Keep transformers' own messages off the terminal: ours say it once, and where. Bars only as asked, on
    a terminal, and none beside a display that is there already."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not progress or download_display() is not None or not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
