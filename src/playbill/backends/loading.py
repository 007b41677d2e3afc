"""Load a model: find its spec, apply overrides, judge it, import its backend. Knows no backend by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from playbill.backends.common.findings import Finding, Severity
from playbill.backends.common.warn import warn_once
from playbill.backends.credentials import Credentials
from playbill.backends.engines.base import Context, Extent, Fetched, Footprint, Loaded, Look
from playbill.backends.engines.programmatic import Programmatic
from playbill.backends.errors import BackendUnavailable, EntryError, ParameterError
from playbill.backends.model import Model
from playbill.backends.prompt.chat_template import Template, unread_arguments
from playbill.backends.prompt.messages import Message
from playbill.backends.prompt.prompt_path import PromptPath
from playbill.backends.prompt.stops import refuse_stopping_tag
from playbill.backends.prompt.template import template_variables
from playbill.backends.registry.backends import BACKENDS, Backend
from playbill.backends.registry.fields.table import ALIASES, ENTRY_KEYS, setting
from playbill.backends.registry.fields.types import parse_date
from playbill.backends.registry.lookup import ModelRegistry
from playbill.backends.registry.spec import ModelSpec
from playbill.backends.registry.validate import Flat, judge_entry

__all__ = [
    "fetch_model",
    "find_spec",
    "judge_spec",
    "measure_model",
    "load_model",
    "load_prompt_path",
    "load_spec",
    "look_before_load",
    "model_from_function",
    "open_prompt_path",
    "retirement",
]


def find_spec(
    selector: str | Mapping[str, Any] | ModelSpec,
    *,
    registry: ModelRegistry | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """Return the spec that a selector finds, with the caller's overrides in it. Loads nothing.

    Raises UnknownModel and UnificationError as `ModelRegistry.find`, and ParameterError for an override that
    is no key of an entry.
    """
    spec = (registry if registry is not None else ModelRegistry.load()).find(selector)
    overrides = {key: value for key, value in (overrides or {}).items() if value is not None}
    own = {key.name for key in getattr(BACKENDS.get(spec.get("backend", "")), "keys", ())}
    overrides = {ALIASES.get(key, key): value for key, value in overrides.items()}
    for key in overrides:
        if key not in ENTRY_KEYS and key not in own and not key.startswith("x_"):
            near = get_close_matches(key, ENTRY_KEYS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ParameterError(f"'{key}' is neither a generation parameter nor a key of an entry{hint}")
    return spec.override(overrides) if overrides else spec


def judge_spec(spec: ModelSpec) -> tuple[Finding, ...]:
    """Return what is wrong or odd with a spec, each with the file and path that its value came from."""
    sources = spec.sources()
    where = sources.get("backend", "").removesuffix(".backend") or f"spec '{spec.get('model_name')}'"
    paths = {key: source if source.endswith(key) else f"{source}: {key}" for key, source in sources.items()}
    return judge_entry(Flat(spec.to_dict(), paths, spec.findings()), where)


def load_model(
    selector: str | Mapping[str, Any] | ModelSpec,
    *,
    registry: ModelRegistry | None = None,
    credentials: Credentials | None = None,
    trust_remote_code: bool = False,
    dialogues: int | None = None,
    extent: Extent | None = None,
    progress: bool = False,
    fetch_pictures: bool = False,
    **params: Any,
) -> Model:
    """Load the model that a selector names: a name, a dictionary or a ModelSpec.

    ``params`` override the entry: generation parameters (``temperature=0.7``) and keys (``dtype="float32"``).
    ``trust_remote_code`` is your consent to code from the model's repository, which an entry can only ask for.
    ``dialogues`` says how many dialogues will run at once, and ``extent`` how large they get, for engines that
    allocate by it. ``fetch_pictures`` is your consent to fetch pictures that messages name by a URL, where the model
    runs here: from public addresses only, and bounded.

    Raises UnknownModel, UnificationError, EntryError (with every problem of the entry), BackendUnavailable
    (with the pip line), CredentialsError, WeightsError, TemplateError, ParameterError.

    >>> load_model("mock").generate([{"role": "user", "content": "Hello!"}]).text
    'Hello!'
    """
    return load_spec(
        find_spec(selector, registry=registry, overrides=params),
        credentials=credentials,
        trust_remote_code=trust_remote_code,
        dialogues=dialogues,
        extent=extent,
        progress=progress,
        fetch_pictures=fetch_pictures,
    )


def load_spec(
    spec: ModelSpec,
    *,
    credentials: Credentials | None = None,
    trust_remote_code: bool = False,
    dialogues: int | None = None,
    extent: Extent | None = None,
    progress: bool = False,
    fetch_pictures: bool = False,
) -> Model:
    """Load the model of a complete spec, as `find_spec` returns it. No registry is read.

    The arguments are those of `load_model`, which is ``load_spec(find_spec(selector))``. Raises EntryError (with every
    problem of the entry), BackendUnavailable, CredentialsError, WeightsError, TemplateError, ParameterError.
    """
    _require_usable(spec)
    _say_warnings(spec)
    backend, module = _open_backend(spec)
    context = _context(spec, credentials, trust_remote_code, dialogues, extent, progress)
    loaded: Loaded = module.load(spec, context)
    path = loaded.prompt_path
    try:
        if path is not None:
            refuse_stopping_tag(spec, path.stops)
            _warn_of_template(spec, path.template)
        return Model(spec, loaded.engine, path, backend.name, threads=loaded.threads, fetch_pictures=fetch_pictures)
    except BaseException:
        loaded.engine.close()
        raise


def _warn_of_template(spec: ModelSpec, template: Template) -> None:
    """Say once what is odd with the template that was chosen, or with what the entry gives it."""
    if template.source == "generic":
        warn_once(
            f"{spec['model_name']}: no chat template is given, so a generic one is used, which is probably not what "
            "the model was trained on; set custom_chat_template. Every record is marked with it."
        )
    if spec.get("chat_template_kwargs"):
        for name, near in unread_arguments(spec, template_variables(template.text)).items():
            fix = f"did you mean '{near}'?" if near else "take it out"
            warn_once(f"{spec['model_name']}: the template doesn't read '{name}' of chat_template_kwargs; {fix}")


def load_prompt_path(
    selector: str | Mapping[str, Any] | ModelSpec,
    *,
    registry: ModelRegistry | None = None,
    credentials: Credentials | None = None,
    progress: bool = False,
    **params: Any,
) -> tuple[ModelSpec, PromptPath | None]:
    """Find a model's spec, and open its prompt path without its weights; None for services and people.

    Remote code never runs here. Raises as `load_model`.
    """
    spec = find_spec(selector, registry=registry, overrides=params)
    _say_warnings(spec)
    return spec, open_prompt_path(spec, credentials=credentials, progress=progress)


def open_prompt_path(
    spec: ModelSpec, *, credentials: Credentials | None = None, progress: bool = False
) -> PromptPath | None:
    """Open the prompt path of a complete spec: tokenizer, template and stop ids, but no weights.

    Returns None for services and people. Raises as `load_spec`.
    """
    _require_usable(spec)
    _, module = _open_backend(spec, preview=True)
    path: PromptPath | None = module.preview(spec, _context(spec, credentials, False, None, None, progress))
    if path is not None:
        refuse_stopping_tag(spec, path.stops)
    return path


def look_before_load(spec: ModelSpec, *, credentials: Credentials | None = None) -> Look:
    """Return what can be told, before a load, of what it needs beside the prompt path: packages, weights, a key.

    Loads no weights and sends nothing. Raises as `open_prompt_path`.
    """
    backend, module = _open_backend(spec, preview=True)
    if missing := backend.missing():
        return Look(unseen=f"the weights, for which {' and '.join(missing)} must be installed: {backend.install}")
    look: Callable[..., Look] | None = getattr(module, "look", None)
    return look(spec, _context(spec, credentials, False, None, None, False)) if look is not None else Look()


def fetch_model(spec: ModelSpec, *, credentials: Credentials | None = None, progress: bool = False) -> Fetched | None:
    """Bring all files of a model here, so that it loads without a network afterwards. Loads nothing.

    What is here already is not downloaded again. Returns None for services and people, who have no files. Raises
    EntryError, BackendUnavailable, CredentialsError, WeightsError.
    """
    _require_usable(spec)
    _, module = _open_backend(spec, preview=True)
    fetcher = getattr(module, "fetch", None)
    fetched: Fetched | None = None
    if fetcher is not None:
        fetched = fetcher(spec, _context(spec, credentials, False, None, None, progress))
    return fetched


def measure_model(spec: ModelSpec, *, credentials: Credentials | None = None) -> Footprint | None:
    """Return the memory that a local model takes, before its weights are downloaded.

    Returns None for services and people, and where the model's files don't tell. Raises as `fetch_model`.
    """
    _, module = _open_backend(spec, preview=True)
    measurer = getattr(module, "footprint", None)
    if measurer is None:
        return None
    found: Footprint | None = measurer(spec, _context(spec, credentials, False, None, None, False))
    return found


def _require_usable(spec: ModelSpec) -> None:
    """Raise EntryError with every error of the entry."""
    findings = judge_spec(spec)
    errors = [f for f in findings if f.severity is Severity.ERROR]
    if errors:
        lines = "\n".join(f"  {finding}" for finding in errors)
        raise EntryError(f"the entry '{spec.get('model_name')}' can't be used:\n{lines}", errors)


def _say_warnings(spec: ModelSpec) -> None:
    """Say once what is odd with the entry of a model that is about to be used."""
    for finding in judge_spec(spec):
        if finding.severity is Severity.WARNING:
            warn_once(str(finding))
    if said := retirement(spec):
        warn_once(said)


def retirement(spec: ModelSpec) -> str | None:
    """Return since when a model's service has it no more, and what to take instead, as its entry says; else None."""
    retired = spec.get("retired")
    if not retired:
        return None
    since = "" if retired is True else f" since {retired}"
    instead = f"; take {spec['successor']}" if spec.get("successor") else ""
    return f"{spec.get('model_name')} is retired: its service has it no more{since}{instead}"


def make_request_body(
    spec: ModelSpec, messages: Sequence[Message], *, folder: Path | None = None
) -> dict[str, Any] | None:
    """Return the body that would be sent to a service for prepared messages; None for what is no service. Sends
    nothing.

    Images that messages name by a path are below ``folder``. Raises MessageError and ParameterError.
    """
    _, module = _open_backend(spec)
    maker = getattr(module, "request_body", None)
    return maker(spec, tuple(messages), {}, folder) if maker is not None else None


def _open_backend(spec: ModelSpec, *, preview: bool = False) -> tuple[Backend, ModuleType]:
    """Return the backend's row and its module, once its packages are known to be there."""
    backend = BACKENDS[spec["backend"]]
    if missing := backend.missing(preview=preview):
        names = ", ".join(missing)
        raise BackendUnavailable(
            f"the backend {backend.name} needs {names}, which {'is' if len(missing) == 1 else 'are'} not installed "
            f"here; install with: {backend.install}"
        )
    try:
        return backend, import_module(backend.module)
    except ImportError as e:
        raise BackendUnavailable(f"the backend {backend.name} can't be imported here: {e}") from e


def _context(
    spec: ModelSpec,
    credentials: Credentials | None,
    trust: bool,
    dialogues: int | None,
    extent: Extent | None,
    progress: bool,
) -> Context:
    return Context(
        credentials=credentials if credentials is not None else Credentials.load(),
        date=parse_date(setting(spec, "date")) or datetime.now().replace(microsecond=0),
        trust_remote_code=trust,
        dialogues=dialogues,
        extent=extent,
        progress=progress,
    )


def model_from_function(answer: Callable[[Sequence[Message]], str], name: str = "function") -> Model:
    """Return a model whose answers a Python function gives, called with the prepared messages, from several threads.

    >>> shout = model_from_function(lambda messages: messages[-1]["content"].upper())
    >>> shout.generate([{"role": "user", "content": "hello"}]).text
    'HELLO'
    """
    spec = ModelSpec.from_dict({"model_name": name, "backend": "programmatic"})
    return Model(spec, Programmatic(answer, blocking=True), None, "programmatic")
