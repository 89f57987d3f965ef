"""How a farmer, or a command that changes a run, enters and leaves the circle of those who may write."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pytaskfarmer.errors import FarmError, WorkdirError
from pytaskfarmer.workdir import claims, identity, locking, recovery, register
from pytaskfarmer.workdir.books import Books, KillLeftovers
from pytaskfarmer.workdir.claims import OwnClaims
from pytaskfarmer.workdir.layout import Layout, disk
from pytaskfarmer.workdir.register import Register
from pytaskfarmer.workdir.roster import Attendance
from pytaskfarmer.workdir.source import Source

Say = Callable[[str], None]
Interrupted = Callable[[], bool]
Wait = Callable[[Callable[[], bool], Callable[[], str]], None]


_PATIENCE = 2.0


class OpeningStopped(FarmError):
    """A stop signal came before this farmer was registered."""


@contextmanager
def visit(layout: Layout, kill: KillLeftovers) -> Iterator[Books]:
    """Register for a moment, audit the dead, and give the books, in a section.

    For commands that change a run that exists already. Raises `WorkdirError` where there is none.
    """
    known = register.read(layout)
    if known is None or not known.complete:
        raise WorkdirError(f"{layout.root}: has not been set up; run its task list first.")

    def wait(attempt: Callable[[], bool], holder: Callable[[], str]) -> None:
        wait_for(attempt, holder, lambda: False, lambda line: None)

    def lock(books: Books) -> None:
        wait(books.try_lock, books.lock_holder)

    books = registered(layout, known, 0, "", None, wait)
    try:
        with cleared_section(books, lock, kill) as attendance:
            recovery.restore(books, attendance, absent_too=False)
            yield books
            books.retire()
    finally:
        withdraw(books)


@contextmanager
def cleared_section(books: Books, lock: Callable[[Books], None], kill: KillLeftovers) -> Iterator[Attendance]:
    """Give the attendance, in a section, when nothing runs any more of those who are dead in it.

    Killing takes time and is done outside the section, and while it is done others may die: so look again until no new
    dead are found. We keep the locks of the dead all the while.
    """
    cleared: set[str] = set()
    while True:
        lock(books)
        with books.section():
            attendance = books.roster.attendance()
            if cleared.issuperset(attendance.dead):
                yield attendance
                return
        kill_leftovers(books, attendance, kill)
        cleared.update(attendance.dead)


def registered(
    layout: Layout, known: Register, slots: int, allocation: str, source: Source | None, wait: Wait
) -> Books:
    """Return books with claims of our own: the claims lock first, then the claims, both under the main lock."""
    locks = locking.choose(layout, known.lock, known.lease_seconds)
    farmer = identity.introduce(known.run, slots, allocation)
    try:
        main = locks.main()
        wait(main.try_acquire, main.holder)
        try:
            life = locks.live(layout.claim_lock(farmer.name))
            try:
                own = OwnClaims(layout.claim(farmer.name), farmer)
            except OSError:
                disk.unlink(layout.claim_lock(farmer.name))
                life.drop()
                raise
        finally:
            main.release()
    except OSError as error:
        raise WorkdirError(f"{error.filename or layout.root}: cannot be used: {error.strerror}.") from None
    return Books(layout, locks, main, life, own, source)


def withdraw(books: Books) -> None:
    """Take our claims back, if they are empty; what cannot be taken back is left to the next farmer's audit."""
    give_up = time.monotonic() + _PATIENCE
    try:
        while books.own.is_file() and not books.own.count and time.monotonic() < give_up:
            if books.try_lock():
                with books.section():
                    books.retire()
                break
            time.sleep(0.01)
    except (OSError, FarmError):
        pass
    finally:
        books.close()


def kill_leftovers(books: Books, attendance: Attendance, kill: KillLeftovers) -> None:
    """Outside the section, while we keep the locks of the dead: what they started must end before it starts again."""
    for name in attendance.dead:
        farmer = claims.read(books.layout.claim(name)).farmer
        if farmer is not None and farmer.same_pids:
            kill(farmer)


def wait_for(attempt: Callable[[], bool], holder: Callable[[], str], interrupted: Interrupted, say: Say) -> None:
    """Try again and again, with growing pauses; say once, after a minute, who is in the way."""
    pause, begin, told = 0.002, time.monotonic(), False
    while not attempt():
        if interrupted():
            raise OpeningStopped("stopped before any task was started.")
        if not told and time.monotonic() - begin > 60:
            told = True
            say("waiting for the lock" + (f", held by {holder()}" if holder() else ""))
        time.sleep(pause * (0.5 + random.random()))
        pause = min(pause * 1.5, 0.25)
