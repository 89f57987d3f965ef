"""Slices on their way into the task list, a few at a time, since a farm begins with what was listed last.

So that calls are made in the order in which they come, more slices are listed when no more than `ahead` are under way:
about as many as there are workers; or so many as will keep these busy for a moment, where they end quickly.
"""

import time
from collections import deque
from collections.abc import Iterable, Sequence

from pytaskfarmer.api.outbox import Outbox
from pytaskfarmer.api.request import Slice

_HORIZON = 0.05


class Listing:
    """Slices that wait, and those `under_way` by task id, the next of which is `next_id`. For one thread at a time."""

    def __init__(self, outbox: Outbox, next_id: int) -> None:
        self.ahead = 1
        self.under_way: dict[int, Slice] = {}
        self._outbox, self._next_id = outbox, next_id
        self._waiting: deque[Sequence[Slice]] = deque()
        self._ended, self._since = 0, 0.0

    def add(self, slices: Sequence[Slice]) -> None:
        """Let slices wait to be listed."""
        if slices:
            self._waiting.append(slices)

    def room(self) -> int:
        """Return how many slices to list now: more than `ahead` where these would not last for long."""
        if len(self.under_way) > self.ahead:
            return 0
        now = time.monotonic()
        soon = int(self._ended * _HORIZON / (now - self._since)) if now > self._since else 0
        self._ended, self._since = 0, now
        return max(self.ahead + 1, soon)

    def list_more(self) -> bool:
        """List as many as there is room for, and tell whether there were any. Raises OSError; they are under way."""
        room = self.room() if self._waiting else 0
        batch: list[Slice] = []
        while self._waiting and len(batch) < room:
            batch += self._waiting.popleft()
        if batch:
            self.under_way.update(enumerate(batch, self._next_id))
            self._next_id += len(batch)
            self._outbox.list(batch)
        return bool(batch)

    def ended(self) -> None:
        """Take note that a slice has ended."""
        self._ended += 1

    def give_up(self) -> list[Slice]:
        """Return all that has not ended, and forget it."""
        left = [*self.under_way.values(), *_all(self._waiting)]
        self.under_way.clear()
        self._waiting.clear()
        return left


def _all(waiting: Iterable[Sequence[Slice]]) -> Iterable[Slice]:
    for slices in waiting:
        yield from slices
