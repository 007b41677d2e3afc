"""Decide which replica gets which turn. Pure bookkeeping: no threads, no processes, no clock.

A dialogue stays with the replica that has its KV cache. Replicas that have room pull what waits: first turns of their
own dialogues, then dialogues that nobody has, then turns that wait for a replica that is full. What a lost replica had
comes first of all. A turn that was under way at several deaths is suspected of being their cause, and goes alone.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from playbill.replicas.wire import Ask

__all__ = ["Dispatcher", "Turn"]

_SUSPECT = 2  # deaths that a turn was under way at
_GUILTY = 4
_LEAST_PINS = 4096


@dataclass(slots=True, eq=False)
class Turn:
    """A turn to be handed out. ``deaths`` counts the replicas that died while it was under way."""

    ask: Ask
    deaths: int = 0

    @property
    def is_suspect(self) -> bool:
        return self.deaths >= _SUSPECT

    @property
    def is_guilty(self) -> bool:
        """Whether replicas died with it once too often."""
        return self.deaths >= _GUILTY


@dataclass(slots=True)
class _Seats:
    """What a replica has: turns under way by number, and turns of its dialogues that wait for room."""

    capacity: int
    under_way: dict[int, Turn] = field(default_factory=dict)
    waiting: deque[Turn] = field(default_factory=deque)
    alone: bool = False
    """Whether it computes a suspect, beside which nothing else is put."""

    @property
    def room(self) -> int:
        return 0 if self.alone else self.capacity - len(self.under_way)


class Dispatcher:
    """Turns, and the replicas that are ready for them."""

    def __init__(self) -> None:
        self._seats: dict[int, _Seats] = {}
        self._common: deque[Turn] = deque()
        self._capacity = 0
        self._pins: OrderedDict[str, int] = OrderedDict()
        self._at: dict[int, int] = {}  # number of a turn under way -> replica

    def __len__(self) -> int:
        """Return how many turns there are, waiting or under way."""
        return len(self._at) + self.waiting

    @property
    def waiting(self) -> int:
        return len(self._common) + sum(len(seats.waiting) for seats in self._seats.values())

    def under_way(self, replica: int) -> int:
        return len(self._seats[replica].under_way) if replica in self._seats else 0

    def join(self, replica: int, capacity: int) -> None:
        """Note that a replica is ready for so many turns at once."""
        self._seats[replica] = _Seats(capacity)
        self._capacity += capacity

    def lose(self, replica: int, *, to_blame: bool = True) -> list[Turn]:
        """Note that a replica is gone. Return the turns that are guilty of it; all others are handed out again."""
        seats = self._seats.pop(replica, None)
        if seats is None:
            return []
        self._capacity -= seats.capacity
        lost = list(seats.under_way.values())
        for turn in lost:
            turn.deaths += to_blame
            del self._at[turn.ask.number]
        again = [*(turn for turn in lost if not turn.is_guilty), *seats.waiting]
        self._common.extendleft(reversed(again))
        return [turn for turn in lost if turn.is_guilty]

    def add(self, turn: Turn) -> None:
        """Take a turn in."""
        home = self._pins.get(turn.ask.dialogue) if turn.ask.dialogue is not None else None
        if home is not None and home in self._seats:
            self._seats[home].waiting.append(turn)
        else:
            self._common.append(turn)

    def finish(self, number: int) -> Turn | None:
        """Note that a turn has its answer; None where it was not under way, as an answer that came twice."""
        replica = self._at.pop(number, None)
        if replica is None:
            return None
        seats = self._seats[replica]
        seats.alone = False
        return seats.under_way.pop(number)

    def cancel(self, number: int) -> tuple[Turn | None, int | None]:
        """Take a turn out. Return it if it was waiting; if it is under way, the replica that is to be told."""
        if number in self._at:
            return None, self._at[number]
        for queue in (self._common, *(seats.waiting for seats in self._seats.values())):
            for turn in queue:
                if turn.ask.number == number:
                    queue.remove(turn)
                    return turn, None
        return None, None

    def drain(self) -> list[Turn]:
        """Take all turns out."""
        found = [*self._common]
        self._common.clear()
        for seats in self._seats.values():
            found += [*seats.under_way.values(), *seats.waiting]
            seats.under_way.clear()
            seats.waiting.clear()
        self._at.clear()
        return found

    def hand_out(self) -> dict[int, list[Ask]]:
        """Return what each replica is given now."""
        given: dict[int, list[Ask]] = {}
        for replica, seats in self._seats.items():
            while seats.waiting and seats.room > 0 and self._give(replica, seats.waiting, given):
                pass
        full = [seats for seats in self._seats.values() if seats.waiting and seats.room <= 0]
        if not self._common and not full:
            return given
        roomy = [(self._load(replica), replica) for replica, seats in self._seats.items() if seats.room > 0]
        self._give_common(roomy, given)
        full.sort(key=lambda seats: -len(seats.waiting))
        for _, replica in roomy:
            self._steal(replica, full, given)
        return given

    def _give_common(self, roomy: list[tuple[float, int]], given: dict[int, list[Ask]]) -> None:
        """Hand out what belongs to no replica, each turn to the one with the least load. Those that are full, or
        busy while a suspect waits, go out of ``roomy``."""
        heapq.heapify(roomy)
        while roomy and self._common:
            _, replica = roomy[0]
            if self._give(replica, self._common, given) and self._seats[replica].room > 0:
                heapq.heapreplace(roomy, (self._load(replica), replica))
            else:
                heapq.heappop(roomy)

    def _load(self, replica: int) -> float:
        seats = self._seats[replica]
        return len(seats.under_way) / seats.capacity

    def _give(self, replica: int, queue: deque[Turn], given: dict[int, list[Ask]]) -> bool:
        """Hand the first turn of a queue to a replica; False for a suspect that must wait until nothing else runs."""
        seats, turn = self._seats[replica], queue[0]
        if turn.is_suspect:
            if seats.under_way:
                return False
            seats.alone = True
        queue.popleft()
        seats.under_way[turn.ask.number] = turn
        self._at[turn.ask.number] = replica
        if turn.ask.dialogue is not None:
            self._pin(turn.ask.dialogue, replica)
        given.setdefault(replica, []).append(turn.ask)
        return True

    def _steal(self, replica: int, full: list[_Seats], given: dict[int, list[Ask]]) -> None:
        """Take what waits for replicas that are full: a cache is lost, and no time."""
        for other in full:
            while other.waiting and self._seats[replica].room > 0 and self._give(replica, other.waiting, given):
                pass

    def _pin(self, dialogue: str, replica: int) -> None:
        """Remember where a dialogue is; the one that was asked longest ago is forgotten where there are many."""
        self._pins[dialogue] = replica
        self._pins.move_to_end(dialogue)
        if len(self._pins) > max(_LEAST_PINS, 4 * self._capacity):
            self._pins.popitem(last=False)
