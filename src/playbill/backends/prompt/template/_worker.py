"""The process in which strangers' templates are parsed and rendered: a script, started by its path.

It reads requests from its standard input and answers on its standard output, one frame each: eight bytes of
length, then the body. It imports the standard library and jinja2 only, so that it starts fast, and knows
nothing of Playbill, of files, or of the network. What it may use up is limited here as far as the system can
do that, and again by the parent (`_process.py`), which kills it when it takes too long.

The environment is that of transformers' ``apply_chat_template``, because templates are written against it.
"""

from __future__ import annotations

import json
import marshal
import os
import runpy
import signal
import sys
from collections import OrderedDict
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

if __name__ == "__main__":
    # The parent says where jinja2 is. At the end of the path, where it can't replace a standard module.
    SETTINGS: dict[str, Any] = json.loads(sys.argv[1])
    sys.path.extend(SETTINGS["path"])

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

if TYPE_CHECKING:
    from jinja2.parser import Parser
    from jinja2.runtime import Macro

CACHED_TEMPLATES = 128
CACHED_CHARACTERS = 2_000_000
LONGEST_MESSAGE = 4_000
HEADER = 8


class Refusal(TemplateError):
    """A template called ``raise_exception``."""


class GenerationTag(Extension):
    """``{% generation %}`` marks the assistant's part for training; it only has to be read here.

    The body becomes a caller, as in transformers: so names set inside it stay inside.
    """

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it as an instance attribute

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Macro) -> str:
        return caller()


class DictMaker:
    """``dict`` without being the class, whose attributes would be one more way out."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args, **kwargs)


class GuardedNamespace(Namespace):
    """``namespace`` that holds no name with an underscore in front."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, given = args[0], args[1:]  # so that a template may set a name `self`
        names = dict(*given, **kwargs)
        for name in names:
            refuse_private(name)
        Namespace.__init__(self, names)

    def __setitem__(self, name: str, value: Any) -> None:
        refuse_private(name)
        Namespace.__setitem__(self, name, value)


def refuse_private(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace can't have the name {name!r}, which begins with an underscore")


def raise_exception(message: Any) -> NoReturn:
    raise Refusal(message)


def tojson(
    x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Jinja's own filter escapes for HTML, which no model was trained on."""
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class Clock:
    """The time that templates see: the one that the request carries."""

    def __init__(self) -> None:
        self.now = datetime.min

    def set(self, iso: str, offset: float | None, name: str | None) -> None:
        self.now = datetime.fromisoformat(iso)
        if offset is not None:
            zone = timedelta(seconds=offset)
            self.now = self.now.replace(tzinfo=timezone(zone) if name is None else timezone(zone, name))

    def strftime_now(self, format: str) -> str:
        return self.now.strftime(format)


CLOCK = Clock()


class Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's sandbox, but a private attribute is an error at once, not only when it is used."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> jinja2.Undefined:
        if attribute.startswith("_"):
            raise SecurityError(f"access to attribute {attribute!r} of {type(obj).__name__!r} object is unsafe.")
        return super().unsafe_undefined(obj, attribute)


def new_environment() -> jinja2.Environment:
    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols])

    def strftime_now(format: str) -> str:
        return CLOCK.strftime_now(format)

    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    environment.globals["dict"] = DictMaker()
    environment.globals["namespace"] = GuardedNamespace
    return environment


class Templates:
    """The templates compiled last. Each has an environment of its own, so that none can reach another's."""

    def __init__(self) -> None:
        self.compiled: OrderedDict[str, jinja2.Template] = OrderedDict()
        self.characters = 0

    def get(self, source: str) -> jinja2.Template:
        template = self.compiled.get(source)
        if template is not None:
            self.compiled.move_to_end(source)
            return template
        template = new_environment().from_string(source)
        self.compiled[source] = template
        self.characters += len(source)
        while len(self.compiled) > CACHED_TEMPLATES or self.characters > CACHED_CHARACTERS:
            gone, _ = self.compiled.popitem(last=False)
            self.characters -= len(gone)
        return template


TEMPLATES = Templates()


def render(request: dict[str, Any]) -> str:
    CLOCK.set(*request["now"])
    return TEMPLATES.get(request["template"]).render(request["variables"])


def check(request: dict[str, Any]) -> str:
    TEMPLATES.get(request["template"])
    return ""


def variables(request: dict[str, Any]) -> str:
    names = meta.find_undeclared_variables(new_environment().parse(request["template"]))
    return json.dumps(sorted(names))


def regions(request: dict[str, Any]) -> str:
    found: str = beside("_regions.py")["read"](request)
    return found


@cache
def beside(script: str) -> dict[str, Any]:
    """Return what another script of this folder defines, which is on no path here."""
    return runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), script))


JOBS = {"render": render, "check": check, "variables": variables, "regions": regions}

# The first that fits; the names are those of playbill.backends.errors.TemplateFault.
FAULTS: tuple[tuple[type[Exception], str], ...] = (
    (Refusal, "refused"),
    (SecurityError, "forbidden"),
    (UndefinedError, "undefined"),
    (TemplateSyntaxError, "syntax"),
    (SyntaxError, "syntax"),
    (RecursionError, "recursion"),
    (MemoryError, "memory"),
)


def words_of(error: Exception) -> str:
    """Return what the error says, however long or odd: it may be made of a template's own objects."""
    try:
        words = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception as unprintable:  # noqa: BLE001 - a template's object may raise anything when printed
        words = f"{type(unprintable).__name__} while printing the error"
    if not words and not isinstance(error, Refusal):
        words = type(error).__name__
    return words if len(words) <= LONGEST_MESSAGE else words[: LONGEST_MESSAGE - 1] + "…"


def line_of(error: Exception) -> int | None:
    """Return the line of the template, from the frames that jinja2 puts in place of those of compiled templates."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    line = None
    frame = error.__traceback__
    while frame is not None:
        if "__jinja_exception__" in frame.tb_frame.f_globals:
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def report(error: Exception) -> bytes:
    fault = next((name for kind, name in FAULTS if isinstance(error, kind)), "failed")
    failure = {"fault": fault, "words": words_of(error), "line": line_of(error)}
    return b"E" + json.dumps(failure).encode()


def answer(body: bytes, limit: int) -> bytes:
    """Return the reply to one request: ``T`` and text, or ``E`` and what went wrong as JSON."""
    try:
        request = marshal.loads(body)
        text = JOBS[request["job"]](request)
        if len(text) > limit:
            failure = {"fault": "output", "words": f"{len(text):,} characters", "line": None}
            return b"E" + json.dumps(failure).encode()
        return b"T" + text.encode("utf-8", "surrogatepass")
    except Exception as error:  # noqa: BLE001 - whatever a template does, the parent is told
        return report(error)


def set_limits(memory: int) -> None:
    """What the system can forbid: much memory, new processes, written files. Windows can do none of it."""
    try:
        import resource
    except ImportError:
        return
    wanted = {"RLIMIT_AS": memory, "RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0, "RLIMIT_NPROC": 0}
    for name, value in wanted.items():
        number = getattr(resource, name, None)
        if number is not None:
            with suppress(ValueError, OSError):  # a lower limit is set already, or the system has none
                resource.setrlimit(number, (value, value))


class Alarm:
    """Ends this process when a job takes too long, even inside one long step, and without the parent's help.

    The parent is faster by a second; this is for the case that it died, so that no loop outlives it.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])

    def start(self) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, self.seconds)
        else:
            import faulthandler

            faulthandler.dump_traceback_later(self.seconds, exit=True)

    def stop(self) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        else:
            import faulthandler

            faulthandler.cancel_dump_traceback_later()


def read_exactly(stream: int, length: int) -> bytes | None:
    """``length`` bytes, or None at the end of the stream: the parent is gone."""
    parts = bytearray()
    while len(parts) < length:
        part = os.read(stream, min(length - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


def write_frame(stream: int, body: bytes) -> None:
    rest = memoryview(len(body).to_bytes(HEADER, "big") + body)
    while rest:
        rest = rest[os.write(stream, rest) :]


def private_streams() -> tuple[int, int]:
    """Move the two pipes to other numbers, so that no print gets among the frames, and return them."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    return requests, replies


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it then ends this process
    requests, replies = private_streams()
    alarm = Alarm(SETTINGS["seconds"] + 1)
    set_limits(SETTINGS["memory"])
    write_frame(replies, b"T")
    while (header := read_exactly(requests, HEADER)) is not None:
        body = read_exactly(requests, int.from_bytes(header, "big"))
        if body is None:
            break
        alarm.start()
        reply = answer(body, SETTINGS["output"])
        alarm.stop()
        write_frame(replies, reply)


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # the parent went away while it was being answered
        main()
