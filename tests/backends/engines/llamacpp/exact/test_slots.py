"""Which slot a request goes to. No engine runs here."""

from __future__ import annotations

from playbill.backends.engines.llamacpp.exact.slots import Lease, Slots


def test_a_dialogues_next_turn_goes_to_its_slot() -> None:
    """Also while others that begin alike lie in other slots."""
    slots = Slots(4)
    for place, prompt in enumerate(([1, 2, 3], [1, 2, 4], [1, 2])):
        slots.give_back(slots.take(prompt), prompt, place)
    assert slots.take([1, 2, 4, 9, 9]).asked == 1
    assert slots.take([1, 2, 3, 7]).asked == 0
    assert slots.take([1, 2, 5]).asked == 2


def test_the_same_prompt_again_is_told_from_one_that_goes_on() -> None:
    slots = Slots(1)
    slots.give_back(slots.take([5, 6]), [5, 6], 0)
    again = slots.take([5, 6])
    assert again == Lease(0, 0, again=True)
    slots.give_back(again, [5, 6], 0)
    assert not slots.take([5, 6, 7]).again


def test_a_new_dialogue_goes_to_an_empty_slot() -> None:
    slots = Slots(2)
    assert slots.take([5]) == Lease(1, 1, empty=True)
    assert slots.take([6]) == Lease(0, 0, empty=True)


def test_with_no_slot_empty_a_new_dialogue_is_left_to_llama_cpp_which_takes_the_one_unused_for_longest() -> None:
    slots = Slots(2)
    for place in (1, 0):
        slots.give_back(slots.take([place]), [place], place)
    assert slots.take([7]) == Lease(-1, 1)
    assert slots.take([8]) == Lease(-1, 0)


def test_a_busy_slot_is_never_asked_for() -> None:
    slots = Slots(1)
    slots.give_back(slots.take([5]), [5], 0)
    assert slots.take([5, 6]).asked == 0
    assert slots.take([5, 6, 7]).asked == -1


def test_what_a_cancelled_request_left_behind_is_not_relied_on() -> None:
    slots = Slots(1)
    slots.give_back(slots.take([5]), [5], 0)
    slots.give_back(slots.take([5, 6]), [5, 6], None)
    assert slots.take([5, 6]).empty
