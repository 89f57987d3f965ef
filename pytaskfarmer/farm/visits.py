"""When a farmer visits the books, how much it takes there, and when it may leave.

A visit is a locked section: commit, then claim or leave. There are at most twenty in any second, whatever happens,
and a busy farmer commits about ten times a second; one that has nothing else to do commits at once. The lock is
tried, never waited for: a farmer that did not get it goes on with its tasks and tries again a little later.

Leaving is the one moment at which a lost task could go unnoticed. So nobody leaves an exhausted list without an audit
that is newer than the moment at which the list was found empty: its own, or one of another farmer.
"""

import random
import time
from collections import deque
from dataclasses import dataclass

from pytaskfarmer.farm import process
from pytaskfarmer.farm.deadline import Pace
from pytaskfarmer.farm.watching import Observer
from pytaskfarmer.task import Task
from pytaskfarmer.workdir import claims, identity, recovery
from pytaskfarmer.workdir.audit import Census
from pytaskfarmer.workdir.books import Books, Overdue
from pytaskfarmer.workdir.registration import kill_leftovers
from pytaskfarmer.workdir.roster import Attendance

_MOST_A_SECOND = 20
_COMMIT_SPACING = 0.1
_SYNC_SPACING, _SYNC_SHARE = 1.0, 20
_COUNT_SPACING = 10.0
_SWEEP_SPACING_PER_FARMER, _LONGEST_SWEEP_SPACING = 0.01, 10.0
_POLL_OTHERS = (1.0, 30.0)
_TRY_AGAIN = 0.5
_LAST_TRIES = 10
_TELL_WAITING = 60.0


@dataclass(frozen=True, slots=True)
class Need:
    """What the farmer's slots say when a visit is considered.

    `free` slots could take a task; `at_rest`: nothing runs, and no attempt waits for its turn or its verdict;
    `closing`: no more tasks are to be taken, and those held go back.
    """

    free: int
    at_rest: bool
    closing: bool


class Visits:
    """One farmer's dealings with the books. `queue` holds claimed tasks that have not started, the next one first."""

    def __init__(self, books: Books, slots: int, pace: Pace, observer: Observer, *, wait: bool) -> None:
        self.queue: deque[Task] = deque()
        self.instants: list[bytes] = []
        self.census: Census | None = None
        self.company = 0
        self._books = books
        self._slots = slots
        self._pace = pace
        self._observer = observer
        self._wait = wait
        self._visited: deque[float] = deque(maxlen=_MOST_A_SECOND)
        self._next = self._last_commit = self._last_sync = self._last_count = 0.0
        self._sync_cost = 0.0
        self._unsynced = False
        self._lock_since: float | None = None
        self._lock_pause = 0.0
        self._told_waiting = False
        self._live_slots = slots
        self._exhausted_at: int | None = None
        self._poll_others = _POLL_OTHERS[0]
        self._cleared: frozenset[str] = frozenset()
        self._to_clear: Attendance | None = None
        self._in_trouble = False
        self._told_troubles: set[str] = set()
        self._last_tries = 0

    # -- whether

    @property
    def in_trouble(self) -> bool:
        """Whether the last write failed; nothing more is taken until one succeeds."""
        return self._in_trouble

    def due(self, need: Need) -> float | None:
        """Return when (monotonic clock) the next visit is due, or None: not before something happens."""
        moments = []
        if self._wants_tasks(need) or self._wants_to_leave(need):
            moments.append(0.0)
        if self._wants_commit():
            moments.append(self._commit_due(need))
        return max(self._next, min(moments)) if moments else None

    def _wants_commit(self) -> bool:
        return bool(self.instants) or self._books.own.has_ends

    def _commit_due(self, need: Need) -> float:
        idle = need.closing or need.at_rest or (need.free and not self.queue)
        return 0.0 if idle else self._last_commit + _COMMIT_SPACING

    def _wants_tasks(self, need: Need) -> bool:
        return not (need.closing or self.in_trouble) and self._exhausted_at is None and self._block(need) > 0

    def _wants_to_leave(self, need: Need) -> bool:
        closing = need.closing or self.in_trouble
        return need.at_rest and (closing or (self._exhausted_at is not None and not self.queue))

    def _block(self, need: Need) -> int:
        return self._pace.block(self._slots, need.free, len(self.queue), self._books.waiting, self._live_slots)

    # -- the visit

    def visit(self, now: float, need: Need) -> bool:
        """Enter a section if one is due and the lock is free; return whether this farmer has left for good.

        Raises `Evicted` and other `WorkdirError`s where the books are no longer this farmer's.
        """
        due = self.due(need)
        if due is None or now < due or not self._enter(now):
            return False
        try:
            with self._books.section():
                left = self._section(now, need)
            self._clear()
            return left
        except (OSError, Overdue) as error:
            return self._failed(error, need)
        finally:
            self._visited.append(time.monotonic())
            if len(self._visited) == _MOST_A_SECOND:
                self._next = max(self._next, self._visited[0] + 1.0)

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
            self._observer.say("waiting for the lock" + (f", held by {holder}" if holder else ""))
        self._next = now + self._lock_pause * (0.5 + random.random())
        self._lock_pause = min(0.1, self._lock_pause * 1.5)
        return False

    def _section(self, now: float, need: Need) -> bool:
        self._books.commit(self.instants)
        self.instants.clear()
        self._last_commit = now
        self._unsynced = True
        self._in_trouble = False
        left = False
        if self._wants_to_leave(need):
            left = self._close() if need.closing else self._leave()
        elif self._wants_tasks(need):
            self._claim(now, need)
        self._last_tries = 0
        return left

    def _claim(self, now: float, need: Need) -> None:
        if now - self._last_count > _COUNT_SPACING:
            self._last_count = now
            others = self._books.roster.others()
            self.company = len(others)
            self._live_slots = self._slots + sum(map(identity.slots_in, others))
        taken = self._books.claim(self._block(need))
        self.queue.extend(taken)
        if not taken:
            self._exhausted_at = recovery.sweeps(self._books.layout)

    def _failed(self, error: Exception, need: Need) -> bool:
        """Keep everything and take no more; give up only when nothing runs and writing has failed again and again."""
        self.trouble(error)
        self._last_tries += need.at_rest
        return self._last_tries >= _LAST_TRIES

    def trouble(self, error: Exception) -> None:
        """Take note that the work directory could not be written, or a process not be started: wait a little."""
        words = (isinstance(error, OSError) and error.strerror) or str(error)
        if words not in self._told_troubles:
            self._told_troubles.add(words)
            self._observer.say(f"no more tasks are taken until this is over: {words}")
        self._in_trouble = True
        self._next = time.monotonic() + _TRY_AGAIN

    # -- leaving

    def _close(self) -> bool:
        """Give everything back and leave."""
        self._books.give_back(self._books.own.held)
        self.queue.clear()
        self.company = len(self._books.roster.others())
        return self._retire()

    def _leave(self) -> bool:
        """Leave an exhausted list, unless an audit finds work or somebody should be here for others' tasks."""
        others = self._books.roster.others()
        if not others:
            self.census = recovery.sweep(self._books, Attendance())
        elif self._cleared or recovery.sweeps(self._books.layout) == self._exhausted_at:
            spacing = min(_LONGEST_SWEEP_SPACING, _SWEEP_SPACING_PER_FARMER * len(others))
            if not self._cleared and recovery.seconds_since_sweep(self._books.layout) < spacing:
                return self._come_back(spacing)
            attendance = self._books.roster.attendance()
            if not self._cleared.issuperset(attendance.dead):
                self._to_clear = attendance
                return False
            self.census = recovery.sweep(self._books, attendance)
            self._cleared = frozenset()
            if attendance.undecided:
                return self._come_back(_POLL_OTHERS[0])
            others = list(attendance.living)
        if self._books.waiting():
            self._exhausted_at, self._poll_others = None, _POLL_OTHERS[0]
            return False
        if others and self._stays_for(others):
            self._exhausted_at = recovery.sweeps(self._books.layout)
            self._poll_others = min(_POLL_OTHERS[1], self._poll_others * 1.5)
            return self._come_back(self._poll_others)
        self.company = len(others)
        return self._retire()

    def _clear(self) -> None:
        """Outside the section, kill what the dead left running, before an audit lets it run again.

        We keep their locks meanwhile, so that to all others they seem alive: the audit is ours to make now.
        """
        if self._to_clear is not None:
            kill_leftovers(self._books, self._to_clear, process.kill_leftovers)
            self._cleared = frozenset(self._to_clear.dead)
            self._to_clear = None

    def _stays_for(self, others: list[str]) -> bool:
        """Whether others hold tasks for which this farmer should stay, should they die: their node is paid for."""
        allocation = self._books.own.farmer.allocation
        if not self._wait and not allocation:
            return False
        for name in others:
            theirs = claims.read(self._books.layout.claim(name))
            kin = self._wait or (theirs.farmer is not None and theirs.farmer.allocation == allocation)
            if kin and theirs.texts:
                return True
        return False

    def _come_back(self, seconds: float) -> bool:
        self._next = time.monotonic() + seconds
        return False

    def _retire(self) -> bool:
        self._books.sync()
        self._books.retire()
        return True

    # -- between visits

    def sync(self, now: float) -> None:
        """Force the books to the disk: at most once a second, and never for more than a twentieth of the time."""
        if not self._unsynced or now - self._last_sync < max(_SYNC_SPACING, _SYNC_SHARE * self._sync_cost):
            return
        try:
            self._books.sync()
            self._unsynced = False
        except OSError as error:
            self.trouble(error)
        self._last_sync = time.monotonic()
        self._sync_cost = self._last_sync - now
