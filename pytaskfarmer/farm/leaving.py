"""When a farmer that found the list empty may leave.

Leaving is the one moment at which a lost task could go unnoticed. So nobody leaves an exhausted list without an audit
that is newer than the moment at which the list was found empty: its own, or another farmer's, which the counter in the
file `sweep` tells. An audit that could not decide about a farmer counts for nobody.

Before an audit lets a task of the dead run again, what still runs of it must be killed, outside the section. Meanwhile
we keep the locks of the dead, so that to all others they seem alive: that audit is ours to make.
"""

import enum
import time

from pytaskfarmer.farm import process
from pytaskfarmer.workdir import claims, recovery
from pytaskfarmer.workdir.audit import Census
from pytaskfarmer.workdir.books import Books
from pytaskfarmer.workdir.registration import kill_leftovers
from pytaskfarmer.workdir.roster import Attendance

_SPACING_PER_FARMER, _LONGEST_SPACING = 0.01, 10.0
_POLL = (1.0, 30.0)


class Decision(enum.Enum):
    """What a farmer with nothing to do does next."""

    LEAVE = "leave"
    STAY = "stay"
    WORK = "work"


class Leaving:
    """A farmer's way out. `census` is where every task was when it left, if it audited then."""

    def __init__(self, books: Books, *, wait: bool) -> None:
        self.census: Census | None = None
        self.company = 0
        self._books = books
        self._wait = wait
        self._swept_before: int | None = None
        self._cleared: frozenset[str] = frozenset()
        self._to_clear: Attendance | None = None
        self._decide_at = self._look_at = 0.0
        self._pause = _POLL[0]

    # -- the exhausted list

    @property
    def exhausted(self) -> bool:
        """Whether the list was found empty, and nothing has come back since."""
        return self._swept_before is not None

    def found_empty(self) -> None:
        """Take note that `toprocess` is empty now."""
        self._swept_before = recovery.sweeps(self._books.layout)
        self._pause = _POLL[0]
        self._decide_at, self._look_at = 0.0, time.monotonic() + self._pause

    def found_more(self) -> None:
        """Take note that there is something in `toprocess` again."""
        self._swept_before = None

    def due(self, *, at_rest: bool) -> float:
        """Return when (monotonic clock) to decide, or, with slots at work, to look whether tasks have come back."""
        return self._decide_at if at_rest else self._look_at

    def look(self, now: float) -> None:
        """Without the lock, see whether tasks have come back."""
        if self.exhausted and now >= self._look_at:
            self._later(now)
            if self._books.waiting():
                self.found_more()

    def _later(self, now: float) -> None:
        self._decide_at = self._look_at = now + self._pause
        self._pause = min(_POLL[1], self._pause * 1.5)

    # -- the decision

    def decide(self, now: float) -> Decision:
        """Decide, in a section; `clear` is to be called after it, and `due` tells when to come again."""
        self.census = None
        others = self._books.roster.others()
        if others and self._may_rely_on_others():
            self.company = len(others)
            return Decision.LEAVE
        if self._too_soon(now, len(others)):
            return Decision.STAY
        attendance = self._books.roster.attendance() if others else Attendance()
        if not self._cleared.issuperset(attendance.dead):
            self._to_clear = attendance
            return Decision.STAY
        self.company = len(attendance.others)
        if attendance.undecided:
            recovery.restore(self._books, attendance)
        elif attendance.dead or not self._stays_for(attendance.living):
            self.census = recovery.sweep(self._books, attendance)
        self._cleared = frozenset()
        if self._books.waiting():
            self.found_more()
            return Decision.WORK
        if attendance.more:
            return Decision.STAY
        if attendance.undecided or self._stays_for(attendance.living):
            self._later(now)
            return Decision.STAY
        return Decision.LEAVE

    def clear(self) -> None:
        """Kill what the dead left running."""
        if self._to_clear is not None:
            kill_leftovers(self._books, self._to_clear, process.kill_leftovers)
            self._cleared = frozenset(self._to_clear.dead)
            self._to_clear = None

    def _may_rely_on_others(self) -> bool:
        """Whether another's audit will do: not for what a change of our own has lost, which it may not have seen."""
        if self._cleared or self._books.unsettled or self._may_stay:
            return False
        return recovery.sweeps(self._books.layout) != self._swept_before

    def _too_soon(self, now: float, others: int) -> bool:
        """Whether the last sweep was a moment ago, and another farmer's next one will serve us too."""
        spacing = min(_LONGEST_SPACING, _SPACING_PER_FARMER * others)
        if self._cleared or recovery.seconds_since_sweep(self._books.layout) >= spacing:
            return False
        self._decide_at = now + spacing
        return True

    @property
    def _may_stay(self) -> bool:
        return self._wait or bool(self._books.own.farmer.allocation)

    def _stays_for(self, others: tuple[str, ...]) -> bool:
        """Whether others hold tasks for which this farmer should stay, should they die: their node is paid for."""
        if not self._may_stay:
            return False
        for name in others:
            theirs = claims.read(self._books.layout.claim(name))
            same = theirs.farmer is not None and theirs.farmer.allocation == self._books.own.farmer.allocation
            if (self._wait or same) and theirs.texts:
                return True
        return False
