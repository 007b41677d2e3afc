"""docs/reference/services.md says what the wires do."""

from __future__ import annotations

from pathlib import Path

import pytest

from playbill.backends.engines.remote.wires import anthropic, openai
from playbill.backends.registry.services import REMOTE, SERVICES
from playbill.runs.audit.wire import finish_of

google = pytest.importorskip("playbill.backends.engines.remote.wires.google", reason="needs the extra `google`")
PAGE = (Path(__file__).parents[4] / "docs" / "reference" / "services.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("wire", [openai, anthropic, google], ids=lambda wire: wire.__name__.rpartition(".")[2])
def test_every_finish_reason_stands_in_the_row_of_its_meaning(wire):
    """The service's words, and what they become."""
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("|")]
    for word, reason in wire.FINISH.items():
        assert any(f"`{word}`" in row[1] and f"`{reason.value}`" in row[2] for row in rows), word


def test_every_service_has_what_it_takes_to_be_asked():
    """An address or a request for one, a way to get a key where one is needed, and parameters."""
    for name in REMOTE:
        service = SERVICES[name]
        assert service.summary
        assert {"temperature", "max_tokens", "stop"} <= service.supported_parameters
        assert service.keyless or (service.variables and service.get_key.startswith("https://"))
        assert service.base_url or name in ("azure", "azure_claude", "openai_compatible")
        assert service.keyless or (service.base_url or "https").startswith("https")
        assert set(service.renamed) <= service.supported_parameters


@pytest.mark.parametrize("wire", [openai, anthropic, google], ids=lambda wire: wire.__name__.rpartition(".")[2])
def test_an_audit_reads_each_finish_reason_as_its_wire_does(wire):
    """Also those that were learned last."""
    assert {word: finish_of(word) for word in wire.FINISH} == wire.FINISH
