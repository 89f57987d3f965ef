"""More tasks while the farmer runs: from a caller that holds a lifeline, or from whoever appends to the list.

A caller on this node writes `+` when it has appended, and `.` when it will append no more. If its end closes without
that, the caller has died, and the farmer must stop. Without a lifeline the farmer looks at the list's size now and
then, and leaves when nothing has come for a while.
"""

import os
import select

from pytaskfarmer.workdir.books import Books
from pytaskfarmer.workdir.growth import Growth

APPENDED, COMPLETE = b"+", b"."

MOST_VISITS = 20
"""How often in any second a farmer visits books that it shares."""

_MOST_ALONE = 1000
_LOOK = 0.25


class Feed:
    """What may still come to the list at `path`.

    `lifeline` is a descriptor to read from, which this object owns from then on, and the list is `private`: nobody else
    farms it. Without one, the farmer lingers for so many seconds after it has run out of tasks.
    """

    def __init__(self, path: str, lifeline: int | None = None, linger: float = 0.0) -> None:
        self._growth = Growth(path)
        self._linger = linger
        self._empty_since: float | None = None
        self._look_at = 0.0
        self._complete = False
        self.caller_has_died = False
        self._lifeline = lifeline
        self.shows = True
        self.private = lifeline is not None
        self.most_visits = _MOST_ALONE if self.private else MOST_VISITS
        if lifeline is not None:
            os.set_blocking(lifeline, False)

    def watch(self, poll: select.epoll) -> None:
        """Let `poll` wake the farmer when the caller says something."""
        self._poll = poll
        if self._lifeline is not None:
            poll.register(self._lifeline, select.EPOLLIN)

    def look(self, now: float, *, idle: bool) -> None:
        """See whether more has come; `idle` is whether the farmer has nothing to do."""
        if self.private:
            self._hear()
        else:
            self._look_around(now, idle=idle)

    def _hear(self) -> None:
        if self._lifeline is None:
            return
        try:
            said = os.read(self._lifeline, 65_536)
        except BlockingIOError:
            return
        self.shows = True
        self._complete |= COMPLETE in said
        if not said:
            self._poll.unregister(self._lifeline)  # it would wake the farmer for ever
            self._lifeline = None
            self.caller_has_died = not self._complete

    def _look_around(self, now: float, *, idle: bool) -> None:
        if not idle:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        if now >= self._look_at:
            self._look_at = now + _LOOK
            self.shows = self._growth.shows()
        self._complete = self._empty_since is not None and now - self._empty_since > self._linger and not self.shows

    @property
    def open(self) -> bool:
        """Whether more may come."""
        return not self._complete or self.shows

    def due(self) -> float | None:
        """Return when (monotonic clock) to look again."""
        return None if self.private else self._look_at

    def extend(self, books: Books) -> int:
        """Take in what has come; in a section. Return the number of tasks."""
        new = self._growth.extend(books)
        self.shows = False
        return new
