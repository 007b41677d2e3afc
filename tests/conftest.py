"""What several test modules share: a place of their own, with an empty home and no keys in the environment."""

from __future__ import annotations

import pytest

from playbill.backends.registry.services import SERVICES
from playbill.cli import main


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch):
    """Nothing is wrapped for a terminal, whose width the tests' own workers state."""
    for variable in ("COLUMNS", "LINES"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working directory and an empty home; nothing of this machine is seen."""
    for variable in (
        "PLAYBILL_REGISTRY",
        "COLUMNS",
        "LINES",
        *(v for service in SERVICES.values() for v in service.variables),
    ):
        monkeypatch.delenv(variable, raising=False)
    home = tmp_path / "home"
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    return cwd


@pytest.fixture
def playbill(place, capsys):
    """Run a command in an empty directory: exit code, stdout, stderr."""

    def run(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(list(args))
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return run
