"""Write the generated parts of docs/reference anew, from the tables, commands and docstrings of the code.

python tools/gendocs.py          writes what is out of date: pages of docs/reference, and the JSON Schema
python tools/gendocs.py --check  writes nothing; names what is out of date, and exits with 1 where anything is
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import click

from playbill.backends.common.jsonfile import write_atomically
from playbill.backends.engines.remote.failure import Kind
from playbill.backends.registry.fields.engine_arguments import ENGINE_ARGUMENTS
from playbill.backends.registry.fields.parameters import PARAMETERS
from playbill.backends.registry.fields.table import ENTRY_KEYS, EVERY, LOCAL, METADATA, UNREAD, EntryKey
from playbill.backends.registry.rules import ENTRY_RULES
from playbill.backends.registry.schema import schemas
from playbill.backends.registry.service_models import (
    ModelFamily,
    family_of,
    ignored_by_model,
    model_families,
    refusals,
)
from playbill.backends.registry.services import REMOTE, SERVICES, Service
from playbill.backends.registry.unsupported import UNSUPPORTED
from playbill.cli import cli
from playbill.proof.rules.live import LIVE_RULES
from playbill.proof.rules.path import PATH_RULES
from playbill.proof.rules.pictures import PICTURE_RULES
from playbill.proof.rules.table import rules_page
from playbill.proof.rules.template import TEMPLATE_RULES
from playbill.runs.audit import RECORD_RULES

_PINNED = {"api_version": "2023-06-01"}
REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
ENTRIES = REFERENCE / "entries.md"
SERVICES_PAGE = REFERENCE / "services.md"
HOSTED_PAGE = REFERENCE / "hosted-models.md"
MAKERS = ("openai", "anthropic", "google", "xai", "deepseek", "mistral", "cohere", "groq", "together", "fireworks")
"""Services whose models the short tables show; the long one has all."""
ENGINES_PAGE = REFERENCE / "local-engines.md"
COMMANDS = REFERENCE / "command-line.md"
RULES = {
    "The entry": {**ENTRY_RULES, **TEMPLATE_RULES},
    "The prompt path": PATH_RULES,
    "Pictures": PICTURE_RULES,
    "Live answers": LIVE_RULES,
    "Records": RECORD_RULES,
}

PYTHON: dict[str, dict[str, tuple[str, ...]]] = {
    "playbill.backends": {
        "models": (
            *("load_model", "find_spec", "load_spec", "Model", "Stream", "Generation"),
            *("Outcome", "FinishReason", "Usage", "Parameters"),
        ),
        "registry": (
            *("ModelRegistry", "RegistryEntry", "ModelSpec", "BACKENDS", "EntryKey", "ValueType"),
            *("Finding", "Rule", "Severity"),
        ),
        "prompt": (
            *("render", "make_prompt", "Prompt", "PromptPath", "load_prompt_path"),
            *("ExpandedPrompt", "Picture", "PictureProcessor", "Bos"),
            *("Template", "Tokenizer", "Stops", "StopId", "Message", "CleaningRule", "Tags"),
        ),
        "engines": (
            *("model_from_function", "Backend", "Engine", "Request", "Completion", "Loaded", "Context", "Extent"),
            *("OnText", "TokenLimits"),
        ),
        "keys": ("Credentials", "Credential", "Secret"),
        "errors": (),
    },
    "playbill.runs": {
        "runs": ("run", "RunResult", "RunInterrupted", "ModelSummary", "parse_model", "read_records"),
        "shards": ("Shard", "merge", "Merged"),
        "inputs": ("open_inputs", "Inputs", "InputFile", "Dialogue"),
        "observers": ("Observer", "Silent", "Plan", "Workload", "Tick"),
    },
    "playbill.replicas": {
        "use": ("LocalPlaces", "ReplicatedModel", "ReplicaStatus"),
        "places": (
            "Places",
            "Place",
            "Event",
            "LoadOrder",
            "Ask",
            "Answer",
            "Portrait",
            "PathPortrait",
            "ProcessorPortrait",
            "ReplicaEngine",
        ),
    },
    "playbill.mock_services": {
        "server": ("MockServer", "serve_forever", "MockOptions", "ModelRule", "REASONING"),
        "answers": ("Answers", "Item", "Answer", "Message", "Raw", "echo", "fixed_tokens"),
        "faults": ("Fault", "FaultKind", "FAULT_HEADER"),
        "log": ("RequestLog", "Received"),
    },
}
"""Public names by module and subject. Errors are those of the module's names that are exceptions."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def names(of: tuple[str, ...]) -> str:
    if of == METADATA:
        return "nobody: for people"
    if of == EVERY:
        return "all"
    rest = tuple(name for name in of if name not in REMOTE) if set(REMOTE) <= set(of) else of
    services = [] if rest == of else ["[services](services.md)"]
    return ", ".join([*(f"`{name}`" for name in rest), *services])


def shown(value: object) -> str:
    return "" if value is None else f"`{json.dumps(value)}`"


def key_row(key: EntryKey) -> list[str]:
    type_ = key.type.name if key.default is None else f"{key.type.name}; {shown(key.default)} by default"
    aliases = f" Also read as {names(key.aliases)}." if key.aliases else ""
    return [f"`{key.name}`", key.summary + aliases, type_, readers(key)]


def readers(key: EntryKey) -> str:
    """Who reads a key, and for whom an entry needs it."""
    if not key.required_by:
        return names(key.read_by)
    if key.required_by == key.read_by:
        return f"{names(key.read_by)}; required"
    return f"{names(key.read_by)}; required by {names(key.required_by)}"


def engine_row(key: EntryKey) -> list[str]:
    """What each local engine does with a key that some of them can't honour."""
    row = [f"`{key.name}`"]
    for engine in LOCAL:
        found = UNSUPPORTED[key.name].get(engine)
        row.append("reads it" if found is None else f"{'**refuses it**' if found.refused else 'no'}: {found.reason}")
    return row


def service_row(service: Service) -> list[str]:
    variables = ", ".join(f"`{name}`" for name in service.variables)
    renamed = {**service.renamed, **service.reasoning_renamed}
    own = ", ".join(
        f"`{name}`" + (f" (`{renamed[name]}`)" if name in renamed else "")
        for name in PARAMETERS
        if name in service.supported_parameters
    )
    refused = ", ".join(f"`{name}`" for name in PARAMETERS if name in service.reasoning_refuses)
    return [f"`{service.name}`", service.base_url or "`base_url`", variables, own, refused]


def failure_row(kind: Kind) -> list[str]:
    return [KINDS[kind], "yes" if kind.may_pass else "no", ERRORS.get(kind, "`EngineError`")]


KINDS = {
    Kind.CONNECTION: "no connection, a reset, no answer within `timeout`",
    Kind.SERVER: "408, 5xx; an answer that the service says broke off",
    Kind.BROKEN: "a 200 that is no completion: no choices, invalid JSON, another content type, cut short",
    Kind.TOO_LARGE: "a 200 of more than 32 MB, once decompressed, or without an end",
    Kind.RATE_LIMIT: "429",
    Kind.OVERLOADED: "503, 529",
    Kind.KEY: "401, and Google's 400 for a key; its model stops",
    Kind.FORBIDDEN: "403",
    Kind.NOT_FOUND: "404",
    Kind.QUOTA: "402, a used-up quota, a `Retry-After` of more than 15 minutes; its model stops",
    Kind.REFUSED: "content that the service refuses",
    Kind.CONTEXT: "a prompt that is too long",
    Kind.REQUEST: "400 and other 4xx, a redirect, a certificate that is not trusted",
}
ERRORS = {
    Kind.KEY: "`CredentialsError`",
    Kind.QUOTA: "`QuotaUsedUp`",
    Kind.REFUSED: "`Refused`: the outcome is `refused`",
    Kind.CONTEXT: "`ContextExceeded`: the outcome is `context_exceeded`",
}


def greedy(service: str, model: str) -> str:
    """How a model is asked for its likeliest tokens, if it can be."""
    family = family_of(service, model)
    ignored = False
    for entry, words in ({}, "yes"), ({"thinking": "off"}, "with thinking off"), (_PINNED, "with api_version"):
        if entry.get("thinking") and (family is None or not family.thinking.off):
            continue
        if "temperature" in refusals(service, model, entry):
            continue
        if "temperature" not in ignored_by_model(service, model, entry):
            return words
        ignored = True
    return "no: ignored" if ignored else "no: refused"


def current_families(service: str) -> Iterator[ModelFamily]:
    """The families that a service has now."""
    return (f for f in model_families() if service in f.services and service not in f.retired)


def ids(family: ModelFamily, most: int = 3) -> str:
    """The ids of a family's models, as shell patterns."""
    shown = [f"`{pattern}`" for pattern in family.patterns[:most]]
    return ", ".join([*shown, *(["…"] if len(family.patterns) > most else [])])


def tokens(service: str, family: ModelFamily) -> str:
    """The limit of tokens in the request of a plain entry: 300 for the answer, and what is left for thinking."""
    entry = {"model_name": "m", "backend": service, "model_id": family.model}
    module = import_module(f"playbill.backends.engines.remote.wires.{SERVICES[service].wire}")
    body = module.request_body(entry, ({"role": "user", "content": "hello"},), {})
    fields = {**body, **body.get("generationConfig", {})}
    names = ("max_completion_tokens", "max_output_tokens", "maxOutputTokens", "max_tokens")
    return f"{next(fields[name] for name in names if name in fields):,}"


def family_rows() -> Iterator[list[str]]:
    """The current families of hosted models, by service."""
    for service in REMOTE:
        for family in current_families(service):
            thinking = family.thinking
            words, end = ", ".join(thinking.efforts), family.retires.get(service, "")
            able = greedy(service, family.model)
            yield [f"`{service}`", ids(family), able, thinking.default, words, tokens(service, family), end]


GREEDY = {"yes": 1, "with thinking off": 2, "with api_version": 2, "no: refused": 3, "no: ignored": 3}
THINKS = {"always": 1, "on": 2, "off": 3, "none": 4}


def short_rows(column: Callable[[str, ModelFamily], int | None], columns: int) -> Iterator[list[str]]:
    """One row for each maker, with its families in the column that is theirs; catch-alls are left out."""
    for service in MAKERS:
        cells: list[list[str]] = [[] for _ in range(columns)]
        for family in current_families(service):
            place = column(service, family)
            if place is not None and family.thinking.default != "unknown":
                cells[place - 1] += [pattern for pattern in family.patterns if "[" not in pattern]
        yield [f"`{service}`", *(", ".join(f"`{name}`" for name in shortest(cell)) for cell in cells)]


def shortest(patterns: list[str]) -> Iterator[str]:
    """The patterns without those that another one of them covers."""
    ends = [pattern.rstrip("*") for pattern in patterns if pattern.endswith("*")]
    for pattern in patterns:
        if not any(pattern.startswith(end) and pattern.rstrip("*") != end for end in ends):
            yield pattern


def hosted_parts() -> dict[str, str]:
    """The generated parts of reference/hosted-models.md."""
    greedy_head = ["backend", "greedy as they are", "greedy with a key", "never greedy"]
    thinks_head = ["backend", "always", "unless switched off", "when asked to", "never"]
    whole_head = ["backend", "models", "greedy", "thinks", "effort words", "limit sent", "ends"]
    return {
        "greedy": table(greedy_head, short_rows(lambda name, f: GREEDY[greedy(name, f.model)], 3)),
        "thinks": table(thinks_head, short_rows(lambda name, f: THINKS.get(f.thinking.default), 4)),
        "models": table(whole_head, family_rows()),
    }


def service_parts() -> dict[str, str]:
    """The generated parts of reference/services.md."""
    head = ["backend", "address", "variable", "parameters (and their names there)", "refused by reasoning models"]
    return {
        "services": table(head, (service_row(SERVICES[name]) for name in REMOTE)),
        "failures": table(["what happened", "tried again", "error in the end"], map(failure_row, Kind)),
    }


def option_row(option: click.Parameter) -> list[str]:
    """The names of an option, and what its help says."""
    record = option.get_help_record(click.Context(cli)) if isinstance(option, click.Option) else None
    names, text = record if record is not None else (f"{option.name}", "")
    return [f"`{names}`", code_options(text)]


def code_options(text: str) -> str:
    """Option names in prose, shown as code, for `--` would become a dash."""
    return re.sub(r"(?<![`\w-])--[a-z][a-z-]*", lambda match: f"`{match[0]}`", text)


def paragraphs(text: str) -> Iterator[str]:
    """The help of a command: prose as prose, and blocks that click leaves alone as code."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            yield "```text\n" + paragraph.removeprefix("\b").strip("\n") + "\n```"
        else:
            yield code_options(" ".join(paragraph.split()))


def command_pages(command: click.Command, name: str, level: int = 2) -> Iterator[str]:
    """A command and those below it, in the order of `playbill --help`."""
    context = click.Context(command, info_name=name)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"{'#' * level} `{name}`\n\n```text\n{name} {usage}\n```"
    yield from paragraphs(command.help or "")
    rows = [option_row(option) for option in command.params if isinstance(option, click.Option) and not option.hidden]
    if rows:
        yield table(["option", "what it does"], rows)
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            if found is not None:
                yield from command_pages(found, f"{name} {sub}", level + 1 if level > 2 else level)


def python_groups(module: str) -> dict[str, list[str]]:
    """A module's public names by subject, as far as they are there; a name that has no subject stands in the first."""
    public = import_module(module)
    left = list(public.__all__)
    groups: dict[str, list[str]] = {}
    for title, names in PYTHON[module].items():
        groups[title] = [name for name in names if name in left]
        left = [name for name in left if name not in names]
    if "errors" in groups:
        groups["errors"] = [name for name in left if is_error(getattr(public, name))]
        left = [name for name in left if name not in groups["errors"]]
    groups[next(iter(groups))] += left
    return groups


def is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def name_row(module: str, name: str) -> list[str]:
    """A public name, and the first sentence of its docstring."""
    value = getattr(import_module(module), name)
    own = isinstance(value, type) or inspect.isfunction(value)
    first = ((inspect.getdoc(value) if own else assigned_doc(module, name)) or inspect.getdoc(type(value)) or "").split(
        "\n\n"
    )[0]
    return [f"`{name}`", re.sub(r"\\`\\`|``", "`", " ".join(first.split()))]


def assigned_doc(module: str, name: str) -> str | None:
    """The text below the assignment of a name, in the module that it is imported from."""
    tree = ast.parse(inspect.getsource(import_module(module)))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return assigned_doc(str(node.module), name)
    for node, following in pairwise(tree.body):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == name and isinstance(following, ast.Expr):
            return inspect.cleandoc(ast.literal_eval(following.value))
    return None


def python_parts(module: str) -> dict[str, str]:
    """The generated parts of a module's page: a table of names for each subject."""
    return {
        f"api {module}/{title}": table(["name", "what it is"], (name_row(module, name) for name in names))
        for title, names in python_groups(module).items()
    }


def python_page(module: str) -> Path:
    return REFERENCE / f"python-{module.rpartition('.')[2].replace('_', '-')}.md"


def parts() -> dict[str, str]:
    """The generated parts of reference/entries.md by the names of their markers."""
    keys = [key_row(key) for key in ENTRY_KEYS.values() if key.name not in PARAMETERS]
    parameters = [[f"`{p.name}`", p.type.name, p.summary, shown(p.default)] for p in PARAMETERS.values()]
    return {
        "keys": table(["key", "meaning", "type", "read by"], keys),
        "parameters": table(["parameter", "type", "meaning", "default"], parameters),
        "engines": table(
            ["key", *(f"`{e}`" for e in LOCAL)], (engine_row(ENTRY_KEYS[n]) for n in ENTRY_KEYS if n in UNSUPPORTED)
        ),
        "unread": table(["key", "why nothing reads it"], ([f"`{name}`", why] for name, why in UNREAD.items())),
    }


def engine_argument_rows() -> list[list[str]]:
    """The arguments that `engine_args` hands through, by backend and by the type of their values."""
    rows = []
    for backend, known in ENGINE_ARGUMENTS.items():
        for kind in dict.fromkeys(value.name for value in known.values()):
            named = ", ".join(f"`{name}`" for name, value in known.items() if value.name == kind)
            rows.append([f"`{backend}`", named, kind])
    return rows


def filled(page: Path, made: dict[str, str]) -> str:
    """A page with what stands between its markers written anew."""
    text = page.read_text(encoding="utf-8")
    for name, part in made.items():
        start, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        before, _, rest = text.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"{page}: the markers of '{name}' are missing")
        text = f"{before}{start}\n{part}\n{end}{after}"
    return text


def main() -> None:
    wanted = {ENTRIES: filled(ENTRIES, parts()), **schemas()}
    arguments = table(["backend", "arguments", "value"], engine_argument_rows())
    wanted[ENGINES_PAGE] = filled(ENGINES_PAGE, {"engine arguments": arguments})
    wanted[SERVICES_PAGE] = filled(SERVICES_PAGE, service_parts())
    wanted[HOSTED_PAGE] = filled(HOSTED_PAGE, hosted_parts())
    wanted[REFERENCE / "rules.md"] = rules_page(RULES)
    wanted[COMMANDS] = filled(COMMANDS, {"commands": "\n\n".join(command_pages(cli, "playbill"))})
    for module in PYTHON:
        wanted[python_page(module)] = filled(python_page(module), python_parts(module))
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" not in sys.argv[1:]:
        for path in stale:
            write_atomically(path, wanted[path])
    for path in stale:
        print(f"{path.name}: {'not up to date' if '--check' in sys.argv[1:] else 'written'}")
    sys.exit(1 if stale and "--check" in sys.argv[1:] else 0)


if __name__ == "__main__":
    main()
