"""When a farmer visits the books, and how much it takes there.

A visit is a locked section: commit, then claim or leave. There are at most twenty in any second, whatever happens (a
thousand to a private list, which nobody else visits), and a busy farmer commits about ten times a second; one that has
nothing else to do commits at once. The lock is tried, never waited for: a farmer that did not get it goes on with its
tasks and tries again a little later.

An error while reading or writing is met by waiting: everything is kept, nothing more is taken, and the next visit is
another try. Only when nothing runs any more and it fails again and again does the farmer give up; its claims then stay
for the next farmer's audit.
"""

import random
import time
from collections import deque
from dataclasses import dataclass

from pytaskfarmer.errors import LockError
from pytaskfarmer.farm.deadline import Pace
from pytaskfarmer.farm.feeding import MOST_VISITS, Feed
from pytaskfarmer.farm.leaving import Decision, Leaving
from pytaskfarmer.farm.watching import Observer
from pytaskfarmer.task import Task
from pytaskfarmer.workdir import identity
from pytaskfarmer.workdir.books import Books, Overdue
from pytaskfarmer.workdir.results import Results

_COMMIT_SPACING = 0.1
_SYNC_SPACING, _SYNC_SHARE = 1.0, 20
_COUNT_SPACING = 10.0
_TRY_AGAIN = 0.5
_TRIES = 10
_TELL_WAITING = 60.0


@dataclass(frozen=True, slots=True)
class Need:
    """What the farmer says when a visit is considered.

    `free` slots could take a task; `at_rest`: nothing runs, and no end waits for its verdict; `waits`: tasks in hand
    wait for a slot or for their next attempt; `closing`: no more are to be taken, and those in hand go back.
    """

    free: int
    at_rest: bool
    waits: bool
    closing: bool


class Visits:
    """One farmer's dealings with the books. `queue` holds claimed tasks that have not started, the next one first."""

    def __init__(
        self, books: Books, slots: int, pace: Pace, observer: Observer, *, wait: bool, feed: Feed | None = None
    ) -> None:
        self.queue: deque[Task] = deque()
        self.instants: list[bytes] = []
        self.leaving = Leaving(books, wait=wait)
        self.in_trouble = False
        self._books = books
        self._slots = slots
        self._pace = pace
        self._observer = observer
        self._feed = feed
        self._visited: deque[float] = deque(maxlen=MOST_VISITS if feed is None else feed.most_visits)
        self._next = self._last_commit = self._last_sync = self._last_count = 0.0
        self._sync_cost = 0.0
        self._unsynced = False
        self._lock_since: float | None = None
        self._lock_pause = 0.0
        self._told_waiting = False
        self._live_slots = None if feed is not None and feed.private else slots
        self._failures = 0
        self._told_troubles: set[str] = set()

    # -- whether

    @property
    def given_up(self) -> bool:
        """Whether, with nothing running, it has gone wrong so often that the farmer should return all and end."""
        return self._failures >= _TRIES

    def due(self, need: Need) -> float | None:
        """Return when (monotonic clock) the next visit is due, or None: not before something happens."""
        moments = []
        if self._wants_tasks(need) or (need.closing and need.at_rest):
            moments.append(0.0)
        if self.instants or self._books.own.has_ends:
            moments.append(0.0 if need.at_rest else self._last_commit + _COMMIT_SPACING)
        if self._grows and not need.closing:
            moments.append(0.0)
        if self.leaving.exhausted and not need.closing and not need.waits and need.free and self._decides:
            moments.append(self.leaving.due(at_rest=need.at_rest))
        if self.in_trouble:
            moments.append(0.0)
        return max(self._next, min(moments)) if moments else None

    @property
    def _grows(self) -> bool:
        return self._feed is not None and self._feed.shows

    @property
    def _fed(self) -> bool:
        return self._feed is not None and self._feed.open

    @property
    def _decides(self) -> bool:
        """Whether an empty list calls for a decision: no more will come, or what has come was lost on the way."""
        return not self._fed or self._books.unsettled

    def _wants_tasks(self, need: Need) -> bool:
        return not (need.closing or self.in_trouble or self.leaving.exhausted) and self._block(need) > 0

    def _block(self, need: Need) -> int:
        return self._pace.block(self._slots, need.free, len(self.queue), self._books.waiting, self._live_slots)

    # -- the visit

    def visit(self, now: float, need: Need) -> bool:
        """Enter a section if one is due and the lock is free; return whether this farmer has left for good.

        Raises `Evicted` and other `WorkdirError`s where the books are no longer this farmer's.
        """
        if not need.at_rest:
            self._failures = 0
        due = self.due(need)
        if due is None or now < due:
            return False
        if not need.at_rest:
            self.leaving.look(now)
            if not (
                self._wants_tasks(need) or self._grows or self.instants or self._books.own.has_ends or self.in_trouble
            ):
                return False
        try:
            if not self._enter(now):
                return False
            with self._books.section():
                left = self._section(now, need)
            self.leaving.clear()
        except (OSError, Overdue, LockError) as error:
            self.trouble(error)
            return need.at_rest and self._failures >= 2 * _TRIES
        self._visited.append(time.monotonic())
        if len(self._visited) == self._visited.maxlen:
            self._next = max(self._next, self._visited[0] + 1.0)
        return left

    def _enter(self, now: float) -> bool:
        if self._lock_since is None:
            self._lock_since, self._lock_pause, self._told_waiting = now, 0.001, False
        if self._books.try_lock():
            self._pace.waited(now - self._lock_since)
            self._lock_since = None
            return True
        if now - self._lock_since > _TELL_WAITING and not self._told_waiting:
            self._told_waiting = True
            holder = self._books.lock_holder()
            self._observer.warn("waiting for the lock" + (f", held by {holder}" if holder else ""))
        self._next = now + self._lock_pause * (0.5 + random.random())
        self._lock_pause = min(0.1, self._lock_pause * 1.5)
        return False

    def _section(self, now: float, need: Need) -> bool:
        if self._books.commit(self.instants):
            self.went_well()
        self._last_commit = now
        self._unsynced = True
        self.in_trouble = False
        if need.at_rest and need.closing:
            self._books.give_back(self._books.own.held)
            self.queue.clear()
            self.leaving.census, self.leaving.company = None, len(self._books.roster.others())
            return self._retire()
        if self._feed is not None and self._feed.shows and not need.closing and self._feed.extend(self._books):
            self.leaving.found_more()
        if self._wants_tasks(need):
            self._claim(now, need)
        elif need.at_rest and not need.waits and self.leaving.exhausted and self._decides:
            return self.leaving.decide(now) is Decision.LEAVE and not self._fed and self._retire()
        return False

    def _claim(self, now: float, need: Need) -> None:
        if now - self._last_count > _COUNT_SPACING:
            self._last_count = now
            others = self._books.roster.others()
            self.leaving.company = len(others)
            if self._live_slots is not None:
                self._live_slots = self._slots + sum(map(identity.slots_in, others))
        taken = self._books.claim(self._block(need))
        self.queue.extend(taken)
        if not taken:
            self.leaving.found_empty()

    def _retire(self) -> bool:
        self._books.sync()
        self._books.retire()
        return True

    # -- trouble

    def trouble(self, error: Exception) -> None:
        """Take note that a file could not be written, or a process not be started: wait a little."""
        words = (isinstance(error, OSError) and error.strerror) or str(error)
        if words not in self._told_troubles:
            self._told_troubles.add(words)
            where = f"{error.filename}: " if isinstance(error, OSError) and isinstance(error.filename, str) else ""
            self._observer.warn(f"no more tasks are taken until this is over: {where}{words}")
        now = time.monotonic()
        self.in_trouble = True
        self._failures += now >= self._next  # what goes wrong until the next try is one failure
        self._next = now + _TRY_AGAIN

    def went_well(self) -> None:
        """Take note that something succeeded: earlier failures count no longer."""
        self._failures = 0

    # -- between visits

    def sync(self, now: float, results: Results) -> None:
        """Force results and books to the disk: at most once a second, and for no more than a twentieth of the time."""
        spacing = max(_SYNC_SPACING, _SYNC_SHARE * self._sync_cost)
        if not (self._unsynced or results.unsynced) or now - self._last_sync < spacing:
            return
        try:
            results.sync()
            self._books.sync()
            self._unsynced = False
        except OSError as error:
            self.trouble(error)
        self._last_sync = time.monotonic()
        self._sync_cost = self._last_sync - now
