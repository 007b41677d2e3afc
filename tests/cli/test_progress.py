"""What a person sees of a run on a terminal: bars and messages never in one line, and a table that says how far."""

from __future__ import annotations

import io
import json
import logging
import re
import sys

import pytest
from rich.console import Console
from tests.support.screen import on_a_terminal, shown

from playbill.backends.common.downloads import download_display

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")

MODELS = [
    {"model_name": "slow", "backend": "programmatic", "delay": 0.15, "fail_every": 7, "zebra_key": 1},
    {"model_name": "nokey", "backend": "openai", "zebra_key": 1},
    {"model_name": "slower", "backend": "programmatic", "delay": 0.4},
]


@pytest.fixture
def dialogues(place):
    """Two hundred dialogues of two turns, and a registry of slow models."""
    lines = [json.dumps({"id": str(n), "turns": ["Hi", "Ho"]}) for n in range(200)]
    (place / "in.jsonl").write_text("\n".join(lines) + "\n")
    (place / "r.json").write_text(json.dumps(MODELS))
    return place


def test_messages_stand_above_the_bars(dialogues):
    """Warnings, errors and log lines are whole lines of their own; the bars stand below them, one a model."""
    seen = on_a_terminal("run", "in.jsonl", "--registry", "r.json", "-m", "slow", "-m", "nokey", cwd=dialogues)
    bars = [n for n, line in enumerate(seen.lines) if "━" in line]
    said = [n for n, line in enumerate(seen.lines) if "warning" in line or "error:" in line or "no API key" in line]
    assert len(bars) == 2
    assert not set(bars) & set(said)
    table = next(n for n, line in enumerate(seen.lines) if line.startswith("MODEL"))
    assert all(n < bars[0] or n > table for n in said)
    assert sum("zebra_key: unknown key" in line for line in seen.lines) >= 1
    assert any(line.startswith("nokey (failed)") and " 0/400" in line for line in seen.lines)


def test_an_error_is_shown_with_its_message_once_for_each_kind(dialogues):
    """The first of each kind as it comes, and below the table how many there were."""
    seen = on_a_terminal("run", "in.jsonl", "--registry", "r.json", "-m", "slow", cwd=dialogues, width=120)
    lines = [line for line in seen.lines if "as the entry's fail_every=7 asks for" in line]
    assert len(lines) == 2
    assert re.search(r", turn 0: error: call \d+ fails", lines[0])
    assert lines[1].startswith("slow: error (")
    assert seen.code == 1


def test_after_ctrl_c_the_table_says_how_much_of_all_is_done(dialogues):
    """n of m for each model, also for one that never began; and only files that are there are named."""
    args = ("run", "in.jsonl", "--registry", "r.json", "-m", "slower", "-m", "slow", "-o", "out")

    def well_begun(text: str) -> bool:
        return any(int(done) >= 64 for done in re.findall(r" (\d+)/400", text))

    seen = on_a_terminal(*args, cwd=dialogues, interrupt_when=well_begun)
    rows = {line.split()[0]: line for line in seen.lines if " of " in line and line.startswith("slow")}
    assert rows["slower"].split()[1:4] == [rows["slower"].split()[1], "of", "400"]
    assert int(rows["slower"].split()[1]) >= 64
    assert rows["slow"].split()[1:4] == ["0", "of", "400"]
    named = [line.removeprefix("records: ") for line in seen.lines if line.startswith("records: ")]
    assert named == ["out/slower/records.jsonl"]
    assert (dialogues / named[0]).is_file()
    assert seen.code == 130
    assert "Traceback" not in seen.text


def test_a_terminal_of_40_columns_gets_short_bars(dialogues):
    """Name, count and time; no line is cut."""
    seen = on_a_terminal("run", "in.jsonl", "--registry", "r.json", "-m", "slow", cwd=dialogues, width=40)
    assert any(line.startswith("slow") and "/" in line and "━" not in line for line in seen.lines)
    assert all(len(line) <= 40 for line in seen.lines)


def test_a_log_has_times_and_says_how_long_the_rest_takes(capsys):
    """Where nobody watches, each line of a model begins with the time, and a pace has what is left by it."""
    from playbill.backends.generation import Outcome
    from playbill.cli.progress import RunProgress
    from playbill.runs import Tick, Workload

    tick = {"id": "a", "turn": 0, "sample": 0, "outcome": Outcome.ANSWERED, "turns": 100, "input_tokens": 1}
    with RunProgress(line_every=0.0) as progress:
        progress.started("m", Workload(100, 0, 4))
        progress.recorded("m", Tick(**tick, recorded=10, output_tokens=5, in_flight=1, waiting_since=None))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("playbill: ")
    assert first[10:12].isdigit()
    assert first.endswith("m: 100 turns")
    assert "m: 10 of 100 turns, " in second
    assert second.endswith(" left")


def test_downloads_and_logs_go_through_the_display_that_is_there():
    """On a terminal no second bar is drawn, and a warning of any thread is printed by the display itself."""
    from playbill.cli import _Stderr
    from playbill.cli.progress import RunProgress

    screen = io.StringIO()
    progress = RunProgress(Console(file=screen, force_terminal=True, width=100))
    assert download_display() is None
    with progress:
        progress.loading("m")
        display = download_display()
        assert display is not None
        display("weights", 50, 100)
        _Stderr().emit(logging.makeLogRecord({"msg": "odd", "levelname": "WARNING"}))
    lines = shown(screen.getvalue().replace("\n", "\r\n"), 100)
    assert lines[0] == "playbill: warning: odd"
    assert lines[1].startswith("m (loading: weights, 50%)")
    assert download_display() is None


def test_the_hub_librarys_downloads_report_to_the_display(capsys):
    """Its bar draws nothing, and tells how many bytes are here."""
    from playbill.backends.common.downloads import shown_by
    from playbill.backends.weights.hub import hub_bars

    assert hub_bars() == {}
    told: list[tuple[str, int, int | None]] = []
    with shown_by(lambda *args: told.append(args)):
        bar = hub_bars()["tqdm_class"](desc="model.safetensors", total=100, unit="B", mininterval=0)
        bar.update(60)
        bar.update(40)
        bar.close()
    assert told[-1] == ("model.safetensors", 100, 100)
    assert capsys.readouterr().err == ""


def test_a_model_that_can_not_be_loaded_is_told_once(playbill, place):
    """A run of that model alone exits with 2, leaves nothing behind, and doesn't repeat the reason."""
    (place / "in.jsonl").write_text(json.dumps({"id": "a", "turns": ["Hi"]}) + "\n")
    code, _, err = playbill("run", "in.jsonl", "-m", "gpt-4o", "-o", "out")
    assert code == 2
    assert err.count("no API key for openai") == 1
    assert not (place / "out").exists()


def test_the_screen_of_these_tests_is_a_terminal():
    """What a bar overwrites is gone, what it erases too, and long lines are wrapped."""
    assert shown("a bar\r\x1b[2Kdone\r\nnext\r\n\x1b[1A\x1b[2Klast", 80) == ["done", "last", ""]
    assert shown("abcdef", 4) == ["abcd", "ef"]
