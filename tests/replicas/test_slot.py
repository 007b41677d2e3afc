"""What is known of a replica through all its processes."""

from __future__ import annotations

from types import SimpleNamespace

from playbill.replicas.slot import Slot, otherwise


def portrait():
    return SimpleNamespace(node="n", pid=1, device="cpu", gpus=None, versions={})


def test_a_rate_is_over_the_time_in_which_there_was_a_process():
    """A replica that was started again has the tokens of both processes, and their seconds."""
    now = 100.0
    slot = Slot(1, clock=lambda: now)
    slot.restart(1)
    now = 110.0
    slot.take_portrait(portrait())
    slot.count(50)
    now = 120.0
    slot.end()
    slot.restart(2)
    now = 170.0
    slot.take_portrait(portrait())
    slot.count(50)
    now = 180.0
    status = slot.status(0, "")
    assert (status.turns, status.output_tokens, status.seconds, status.tokens_per_second) == (2, 100, 20.0, 5.0)
    assert [each["answered"] for each in slot.history] == [1, 1]


def facts(node, device, **facts):
    return SimpleNamespace(node=node, device=device, facts=facts)


def test_another_number_format_or_device_is_named():
    """Replicas that compute otherwise answer side by side, and it is said; the number of a card is no difference."""
    one = facts("a", "cuda:0", dtype="bfloat16", attention="sdpa")
    assert otherwise(one, facts("b", "cuda:1", dtype="bfloat16", attention="sdpa")) is None
    said = otherwise(one, facts("b", "cpu", dtype="float32", attention="sdpa"))
    assert said == "dtype: bfloat16 on a, float32 on b; device: cuda on a, cpu on b"
