"""The process that bears the templates: shared, replaced, never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import playbill
from playbill.backends.errors import TemplateError, TemplateFault, TemplateRefusal
from playbill.backends.prompt.template._process import Worker, WorkerLimits
from playbill.backends.prompt.template._render import render_in

HELLO = [{"role": "user", "content": "Hello"}]
LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.fspath(Path(playbill.__file__).parent.parent)}


@pytest.fixture(scope="module")
def worker():
    """A worker with less patience than the usual one."""
    with Worker(WorkerLimits(seconds=1.0, memory=1 << 28, output=100_000)) as worker:
        yield worker


def test_more_than_a_request_may_hold_is_refused_before_it_is_sent():
    """A conversation that would not fit is an error that says how large it is."""
    with Worker(WorkerLimits(request=1000)) as small, pytest.raises(TemplateError, match="1,000") as caught:
        render_in(small, "a", [{"role": "user", "content": "a" * 2000}])
    assert caught.value.fault is TemplateFault.MEMORY


def test_one_template_leaves_nothing_for_the_next(worker):
    """Names that a template sets, even on the environment's own objects, are gone in the next rendering."""
    render_in(worker, "{% set x = 1 %}{% set ns = namespace(y=2) %}{% macro z() %}{% endmacro %}", HELLO)
    assert render_in(worker, "{{ x }}{{ ns }}{{ z }}", HELLO) == ""


def test_many_threads_share_a_worker(worker):
    """Each gets the answer to its own request, also while some are refused."""

    def task(i):
        try:
            return render_in(worker, "{{ raise_exception(n) if n % 7 == 0 else n }}", HELLO, n=i)
        except TemplateRefusal as refusal:
            return str(refusal)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(task, range(500))) == [str(i) for i in range(500)]


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_a_worker_that_was_killed_is_replaced(worker):
    """Whoever ends the process between two renderings, the second one finds a new process."""
    render_in(worker, "a", HELLO)
    os.kill(worker.pid, signal.SIGKILL)
    while worker.pid is not None:
        time.sleep(0.01)
    assert render_in(worker, "b", HELLO) == "b"


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_a_worker_that_dies_while_it_renders_is_an_error(worker):
    """A process that is gone in the middle is said to be gone, with the signal that ended it."""
    render_in(worker, "a", HELLO)
    killer = threading.Timer(0.2, os.kill, (worker.pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(TemplateError, match="signal 9") as caught:
        render_in(worker, LOOP, HELLO)
    assert caught.value.fault is TemplateFault.CRASHED
    assert render_in(worker, "b", HELLO) == "b"


@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
def test_ctrl_c_in_the_middle_leaves_no_stale_answer(worker):
    """After an interrupt the next rendering gets its own text, not the one that was under way."""
    render_in(worker, "a", HELLO)
    interrupt = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        render_in(worker, LOOP, HELLO)
    assert render_in(worker, "b", HELLO) == "b"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_the_child_of_a_fork_has_a_worker_of_its_own(worker):
    """A forked child neither uses nor ends its parent's process."""
    render_in(worker, "a", HELLO)
    pid = worker.pid
    child = os.fork()
    if child == 0:
        code = 1
        try:
            same = worker.pid == pid
            code = 0 if render_in(worker, "b", HELLO) == "b" and not same else 2
            worker.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert worker.pid == pid
    assert render_in(worker, "c", HELLO) == "c"


def start_program(code, cwd):
    """A program that prints the process id of the worker it used, and that number."""
    program = "from playbill.backends.prompt.template import _render\n" + textwrap.dedent(code)
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, cwd=cwd, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    return int(process.stdout.readline()), process


def runs(pid):
    """Whether there is such a process; one that only waits to be collected runs no more."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def wait_until_gone(pid):
    """The test's own time limit is the judge."""
    while runs(pid):
        time.sleep(0.02)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("template", ["a", LOOP])
def test_nothing_is_left_running_when_the_parent_is_killed(tmp_path, template):
    """An idle worker ends with its parent at once, a busy one when its time is up."""
    code = f"""
    import threading, time
    _render.render("a", [{{"role": "user"}}])
    threading.Thread(target=_render.render, args=({template!r}, [{{"role": "user"}}])).start()
    time.sleep(0.2)
    print(_render._WORKER._process.pid, flush=True)
    time.sleep(60)
    """
    worker_id, parent = start_program(code, tmp_path)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until_gone(worker_id)
    assert not runs(worker_id)


@pytest.mark.timeout(60)
def test_nothing_is_left_running_when_the_parent_ends(tmp_path):
    """A program that rendered something ends as programs do, and takes the worker along."""
    code = 'print(_render.render("a", [{"role": "user"}]) and _render._WORKER._process.pid, flush=True)'
    worker_id, parent = start_program(code, tmp_path)
    assert parent.wait() == 0
    parent.stdout.close()
    wait_until_gone(worker_id)
    assert not runs(worker_id)


@pytest.mark.timeout(60)
def test_no_file_of_the_working_directory_is_run(tmp_path):
    """A jinja2 or json that lies there is passed over, although the program's own path begins with it."""
    for name in ("jinja2", "markupsafe", "json", "marshal", "signal"):
        (tmp_path / f"{name}.py").write_text("open('was_run', 'w').close()")
    program = """
    import os, sys
    sys.path.remove("")
    from playbill.backends.prompt.template import render
    sys.path.insert(0, "")
    sys.path.insert(0, os.getcwd())
    print(render("{{ 1 + 1 }}", [{"role": "user"}]))
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("2\n", "")
    assert not (tmp_path / "was_run").exists()


def test_the_worker_sees_no_secret_of_the_environment(worker, monkeypatch):
    """Its environment holds what a process needs to start, and no key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    worker.close()
    render_in(worker, "a", HELLO)
    environment = Path(f"/proc/{worker.pid}/environ")
    if not environment.exists():
        pytest.skip("the system has no /proc")
    assert b"secret" not in environment.read_bytes()


def test_importing_the_renderer_loads_neither_jinja2_nor_transformers():
    """Templates are parsed in the worker alone, so the parent needs no jinja2 of its own."""
    program = "import sys, playbill.backends.prompt.template; print({'jinja2', 'transformers'} & set(sys.modules))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
