"""The command `playbill serve`, as a process."""

from __future__ import annotations

import os
import signal

import pytest

from support.serving import HELLO, ask  # isort: skip - first, for it skips where openai misses

import httpx2 as httpx


@pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_address_and_ends_well_at_a_signal(command, number):
    """stdout is the address alone; messages stay as they were given; a signal ends it with code 0, without a trace."""
    process, url = command("mock", 'other={"model_name": "mock"}')
    assert [m["id"] for m in httpx.get(f"{url}/models").json()["data"]] == ["mock", "other"]
    answer = ask(url, model="other", messages=HELLO * 2, playbill={"record": True})
    assert answer.json()["playbill"]["changes"] == []
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_the_key_comes_from_the_environment(command, monkeypatch):
    """PLAYBILL_SERVE_KEY makes the command ask for it; it is in no output."""
    monkeypatch.setenv("PLAYBILL_SERVE_KEY", "from-the-environment")
    process, url = command("mock")
    assert ask(url, model="mock").status_code == 401
    assert ask(url, headers={"Authorization": "Bearer from-the-environment"}, model="mock").status_code == 200
    process.terminate()
    assert "from-the-environment" not in "".join(process.communicate(timeout=30))


@pytest.mark.parametrize(
    ("args", "said"),
    [(["no-such-model"], "no model is called"), (["mock", "--host", "0.0.0.0"], "PLAYBILL_SERVE_KEY")],
)
def test_what_can_not_be_served_is_said_at_once(command, args, said):
    """An unknown name and an address without a key end the command with code 2, before any client comes."""
    process, _ = command(*args)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said in err
