"""Which replica gets which turn: dialogues stay, room is filled, what a lost replica had comes first."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from playbill.replicas.dispatch import Dispatcher, Turn
from playbill.replicas.wire import Ask


def turn(number, dialogue=None):
    return Turn(Ask(number, dialogue=dialogue))


def numbers(given):
    return {replica: [ask.number for ask in asks] for replica, asks in given.items()}


def test_a_dialogue_stays_with_its_replica():
    """Its next turn waits there for room, though another replica has some, until that one has nothing else to do."""
    found = Dispatcher()
    found.join(1, 1)
    found.add(turn(1, "a"))
    assert numbers(found.hand_out()) == {1: [1]}
    found.join(2, 2)
    found.finish(1)
    found.add(turn(2, "b"))
    found.add(turn(3, "a"))
    given = numbers(found.hand_out())
    assert given == {1: [3], 2: [2]}


def test_replicas_pull_by_their_room():
    """New dialogues go where the load is least, for the capacity that each has."""
    found = Dispatcher()
    found.join(1, 1)
    found.join(2, 3)
    for number in range(6):
        found.add(turn(number, f"d{number}"))
    given = numbers(found.hand_out())
    assert {replica: len(asks) for replica, asks in given.items()} == {1: 1, 2: 3}
    assert found.waiting == 2


def test_what_waits_for_a_full_replica_is_taken_by_an_idle_one():
    """Slow replicas are not waited for."""
    found = Dispatcher()
    found.join(1, 1)
    for number, dialogue in enumerate("ab"):
        found.add(turn(number, dialogue))
        found.hand_out()
        found.finish(number)
    found.join(2, 4)
    for number, dialogue in enumerate("ab", 10):
        found.add(turn(number, dialogue))
    assert numbers(found.hand_out()) == {1: [10], 2: [11]}


def test_turns_of_a_lost_replica_come_first_and_their_dialogues_move():
    """In their order, before what waited already; the dialogue's next turn goes where it is now."""
    found = Dispatcher()
    found.join(1, 2)
    for number in range(4):
        found.add(turn(number, f"d{number}"))
    found.hand_out()
    assert found.lose(1) == []
    found.join(2, 3)
    assert numbers(found.hand_out()) == {2: [0, 1, 2]}
    assert found.finish(0) is not None
    assert found.finish(0) is None, "an answer that comes twice counts once"
    found.join(3, 1)
    found.add(turn(9, "d0"))
    assert numbers(found.hand_out()) == {2: [9], 3: [3]}


def test_a_turn_that_kills_replicas_is_found_and_spares_the_others():
    """After two deaths each suspect goes alone; the one that kills again twice is given back, and nobody else."""
    found = Dispatcher()
    waiting = [turn(n) for n in range(3)]
    for each in waiting:
        found.add(each)
    done, replica, guilty = set(), 0, []
    while len(found) and replica < 20:
        replica += 1
        found.join(replica, 3)
        while asks := found.hand_out().get(replica):
            if any(ask.number == 1 for ask in asks):
                guilty += found.lose(replica)
                break
            for ask in asks:
                found.finish(ask.number)
                done.add(ask.number)
    assert [each.ask.number for each in guilty] == [1]
    assert done == {0, 2}


def test_a_cancelled_turn_goes_or_its_replica_is_told():
    """One that waits is taken out; one that is under way is for its replica to end."""
    found = Dispatcher()
    found.join(1, 1)
    found.add(turn(1))
    found.add(turn(2))
    found.hand_out()
    assert found.cancel(1) == (None, 1)
    taken, replica = found.cancel(2)
    assert (taken.ask.number, replica) == (2, None)
    assert found.cancel(2) == (None, None)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_happens_each_turn_is_answered_once(seed):
    """Replicas come and die in any order: no turn is lost, none is answered twice, none is beyond a replica's room."""
    chance = random.Random(seed)
    found, answered, alive, at, number = Dispatcher(), [], {}, {}, 0
    for step in range(120):
        action = chance.random()
        if action < 0.15 or not alive:
            alive[step] = chance.randint(1, 4)
            found.join(step, alive[step])
        elif action < 0.25 and len(alive) > 1:
            dead = chance.choice(list(alive))
            del alive[dead]
            answered += [t.ask.number for t in found.lose(dead)]
            at = {n: r for n, r in at.items() if r != dead}
        elif action < 0.6 and number < 60:
            found.add(turn(number, chance.choice([None, *"abcdef"])))
            number += 1
        elif at:
            done = chance.choice(list(at))
            assert found.finish(done) is not None
            del at[done]
            answered.append(done)
        for replica, asks in found.hand_out().items():
            at |= dict.fromkeys((ask.number for ask in asks), replica)
        for replica, room in alive.items():
            assert found.under_way(replica) <= room
    while len(found):
        if not at and not alive:
            found.join(1000, 3)
        for done in list(at):
            found.finish(done)
            answered.append(done)
        at = {}
        for replica, asks in found.hand_out().items():
            at |= dict.fromkeys((ask.number for ask in asks), replica)
    assert sorted(answered) == list(range(number))
