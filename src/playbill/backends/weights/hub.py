"""The Hugging Face hub: who gets its token, and its library's errors in words that say what to do. Downloads
nothing."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from playbill.backends.common.downloads import download_display
from playbill.backends.common.network import setup_fault
from playbill.backends.common.secret import Secret, scrub
from playbill.backends.common.warn import warn_once
from playbill.backends.credentials import Credential, Credentials
from playbill.backends.errors import CredentialsError, PlaybillError, WeightsError
from playbill.backends.registry.fields.table import setting
from playbill.backends.registry.services import SERVICES

__all__ = ["endpoint", "hub_errors", "hub_progress", "hub_token", "not_cached", "only_cached"]

_PATIENCE_SECONDS = 5.0
_SERVICE = SERVICES["huggingface"]
_GET = f"get a token at {_SERVICE.get_key}, then set it with: playbill keys set huggingface"


def endpoint() -> str:
    """Return the address that the hub library talks to: ``HF_ENDPOINT``, or the hub's own."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def only_cached() -> bool:
    """Tell whether files come from the hub library's cache alone: ``HF_HUB_OFFLINE`` says so, or the hub is silent.

    The hub is asked once, for five seconds at the most: the library itself would try for half a minute and more, for
    each model. Call it within `hub_errors`, which explains a proxy or certificate that can't be used.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return True
    if (fault := _silence(endpoint())) is not None:
        warn_once(f"{endpoint()} can't be reached ({fault}); files come from the hub's cache alone")
        return True
    return False


_answering: set[str] = set()


def _silence(address: str) -> str | None:
    """Return why an address gives no answer at all; None where it answers, whatever it says."""
    from huggingface_hub import errors as hub
    from huggingface_hub import get_session

    if address in _answering:
        return None
    transport: type[Exception] = hub.HfHubHTTPError.__bases__[0]
    try:
        get_session().head(address, timeout=_PATIENCE_SECONDS)
    except transport as e:
        return type(e).__name__
    _answering.add(address)
    return None


def hub_token(entry: Mapping[str, Any], credentials: Credentials) -> str | None:
    """Return the token for an entry that asks for one with ``requires_api_key``; else None, the hub library's own way.

    Raises CredentialsError, before anything is downloaded, where there is none, or where it may not go to the
    address that the hub library talks to.
    """
    if not setting(entry, "requires_api_key"):
        return None
    credential = credentials.get(_SERVICE.name)
    if credential is None or credential.api_key is None:
        credential = _logged_in(credential)
    if credential is None or credential.api_key is None:
        raise CredentialsError(
            f"{entry.get('huggingface_id')} needs a token for the hub (requires_api_key), and there is none; {_GET}"
        )
    if not credential.may_go_to(endpoint()):
        raise CredentialsError(
            f"the hub's token from {credential.source} is not for {endpoint()}, so it is not sent there; if it "
            f"should be: playbill keys allow {_SERVICE.name} {endpoint()}"
        )
    return credential.api_key.reveal()


def not_cached(repo: str) -> str:
    """Say that a repository's files aren't all here and can't be had now, and what to do."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return (
            f"{repo} is not (wholly) in the hub's cache, and HF_HUB_OFFLINE forbids downloads; unset it, or bring all "
            "files of the model here where there is a network: playbill fetch NAME"
        )
    return (
        f"{endpoint()} can't be reached, and {repo} is not (wholly) in the hub's cache; check the network, set "
        "huggingface_id to a local folder, or bring all files of the model here where there is a network: "
        "playbill fetch NAME"
    )


def _logged_in(known: Credential | None) -> Credential | None:
    """Return the token that the hub library finds by itself, which may go where a section without a key allows."""
    from huggingface_hub import get_token

    token = get_token()
    if not token:
        return None
    allowed = known.allowed_urls if known else ()
    return Credential(_SERVICE.name, Secret(token), "the hub library's login", allowed_urls=allowed)


@contextmanager
def hub_progress(wanted: bool) -> Iterator[None]:
    """Draw the hub library's progress bars where they are wanted and stderr is a terminal; a log gets none."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if (wanted and sys.stderr.isatty()) or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def hub_bars() -> dict[str, Any]:
    """Return the arguments with which the hub library's downloads report to the display that is there, if one is."""
    display = download_display()
    if display is None:
        return {}
    from huggingface_hub.utils.tqdm import tqdm

    told = display
    base: Any = tqdm

    class Reporting(base):  # type: ignore[misc]
        """A bar that draws nothing, and tells the display how far it is."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "file": io.StringIO()})

        def display(self, *args: Any, **kwargs: Any) -> None:
            if self.unit == "B":
                told(str(self.desc or "downloading").strip(": "), int(self.n), int(self.total or 0) or None)

    return {"tqdm_class": Reporting}


@contextmanager
def hub_errors(repo: str, *, revision: str | None = None, token: str | None = None) -> Iterator[None]:
    """Turn the hub library's errors into WeightsError or CredentialsError that say what to do.

    ``token`` is the one that was sent, to tell "no token" from "a token without access". No message has it.
    """
    from huggingface_hub import errors as hub

    transport: type[Exception] = hub.HfHubHTTPError.__bases__[0]  # the HTTP library's, which changed over time
    kinds = (hub.EntryNotFoundError, hub.OfflineModeIsEnabled, hub.HFValidationError, transport, OSError)
    try:
        yield
    except PlaybillError:
        raise
    except kinds as e:
        raise _explained(e, repo, revision, token is not None) from e
    except Exception as e:
        if (fault := setup_fault(e)) is None:
            raise
        raise WeightsError(f"{endpoint()} can't be asked for {repo}: {fault}") from e


def _explained(e: BaseException, repo: str, revision: str | None, has_token: bool) -> PlaybillError:
    """Our error for one of the hub library's: what the hub answered, or else why nothing was answered."""
    causes = _causes(e)
    answers = (_of_answer(error, repo, revision, has_token) for error in causes)
    silences = (_of_network(error, repo) for error in causes)
    found = next((said for said in (*answers, *silences) if said is not None), None)
    if found is not None:
        return found
    return WeightsError(f"{repo} can't be had from {endpoint()}: {scrub(str(e)) or type(e).__name__}")


def _causes(e: BaseException) -> list[BaseException]:
    """Return the error and what it was raised from, innermost first."""
    chain = [e]
    while (cause := chain[-1].__cause__) is not None and cause not in chain:
        chain.append(cause)
    return chain[::-1]


def _of_answer(e: BaseException, repo: str, revision: str | None, has_token: bool) -> PlaybillError | None:
    """Return what the hub answered, explained; None where it was no answer of the hub."""
    from huggingface_hub import errors as hub

    page = f"{endpoint()}/{repo}"
    if isinstance(e, hub.GatedRepoError):
        if has_token:
            return WeightsError(f"{repo} is gated, and your token's account has no access yet; ask for it at {page}")
        return CredentialsError(
            f'{repo} is gated: ask for access at {page}, {_GET}, and say so in the entry with "requires_api_key": true'
        )
    if isinstance(e, hub.RevisionNotFoundError):
        return WeightsError(f"{repo} has no revision '{revision}'; those that it has are at {page}/tree/main")
    if isinstance(e, hub.RemoteEntryNotFoundError):
        name = str(e.response.url).rpartition("/")[2].partition("?")[0]
        return WeightsError(f"{repo} has no file '{name}'; those that it has are at {page}/tree/{revision or 'main'}")
    if isinstance(e, hub.HfHubHTTPError):
        return _of_status(e.response.status_code, isinstance(e, hub.RepositoryNotFoundError), repo, has_token)
    return None


def _of_status(status: int, not_found: bool, repo: str, has_token: bool) -> PlaybillError | None:
    if not_found:
        private = "the token has no access to it" if has_token else f"it is private: {_GET}"
        return WeightsError(f"{endpoint()} has no model '{repo}': huggingface_id is misspelt, or {private}")
    if status == 401:
        return CredentialsError(f"{endpoint()} refuses the token: it is wrong or no longer valid; {_GET}")
    if status == 403:
        return CredentialsError(f"{endpoint()} forbids access to {repo}: the token lacks the right to read it; {_GET}")
    if status == 429:
        return WeightsError(f"{endpoint()} asks to wait (status 429); try again later, or with a token: {_GET}")
    return WeightsError(f"{endpoint()} answered with status {status} for {repo}; try again later")


def _of_network(e: BaseException, repo: str) -> PlaybillError | None:
    """Why nothing was answered; None where it is something else."""
    from huggingface_hub import errors as hub

    transport: type[Exception] = hub.HfHubHTTPError.__bases__[0]
    if (fault := setup_fault(e)) is not None:
        return WeightsError(f"{endpoint()} can't be asked for {repo}: {fault}")
    if isinstance(e, hub.OfflineModeIsEnabled):
        return WeightsError(not_cached(repo))
    if isinstance(e, transport):
        return WeightsError(
            f"{endpoint()} can't be reached ({type(e).__name__}), and {repo} is not (wholly) in the hub's cache; check "
            "the network, or set huggingface_id to a local folder"
        )
    if isinstance(e, hub.LocalEntryNotFoundError):
        return WeightsError(not_cached(repo))
    if isinstance(e, hub.HFValidationError):
        return WeightsError(f"huggingface_id '{repo}' is neither a folder here nor a repository's name, 'org/name'")
    if isinstance(e, OSError) and e.strerror:
        return WeightsError(f"{repo} can't be stored: {e.strerror} ({e.filename})")
    return None
