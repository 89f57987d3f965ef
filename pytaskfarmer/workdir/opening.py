"""From a path to books in which a farmer is registered: create, adopt, join, grow, update.

Exactly one farmer creates a work directory: whose stub `link` made the register. It reads the list outside the lock
into a private file, which becomes `toprocess` by rename, under the lock, before the register says "complete"; so a
reader that sees "complete" sees all tasks, and a creator that dies on the way is replaced by whoever finds its
claims lock free. The same road adopts what PyTaskFarmer 0.1.0 left: its `finished` and `failed` are kept where their
lines are the list's own, and `toprocess`, whatever state it is in, is made anew.

Bad input never costs data: the list is read and checked whole before anything is created.
"""

import contextlib
import errno
import os
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from pytaskfarmer.errors import TasklistError, UsageError, WorkdirError
from pytaskfarmer.workdir import filesystem, locking, ownership, records, recovery, register, revision
from pytaskfarmer.workdir.audit import Census
from pytaskfarmer.workdir.books import Books, KillLeftovers
from pytaskfarmer.workdir.layout import Layout, disk
from pytaskfarmer.workdir.locking import LEASE, LEASE_SECONDS
from pytaskfarmer.workdir.register import EXPANDING, Register
from pytaskfarmer.workdir.registration import (
    Interrupted,
    OpeningStopped,
    Say,
    cleared_section,
    registered,
    wait_for,
    withdraw,
)
from pytaskfarmer.workdir.roster import Attendance
from pytaskfarmer.workdir.source import Fingerprint, Heed, Reading, Source, fingerprint, heeded, write_stack

_POLL = (0.05, 2.0)
_SAY_EVERY = 5.0
_NOT_HERE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTSUP, errno.EDQUOT})
_NO_RETRY = "--retry-failed: left out, since other farmers run this list; use `pytaskfarmer retry` instead"


class _Overtaken(Exception):
    """Another farmer has read the list and set up the directory."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a farmer wants to open a work directory.

    `lock` None means: whatever the file system is good for. `slots` and `allocation` introduce the farmer to others;
    with `many_nodes`, farmers of other nodes are to share the directory, so it must not be on a local disk. One that is
    not `durable` is not forced to the disk: nobody would resume it after a crash of the node.
    """

    slots: int
    allocation: str = ""
    lock: str | None = None
    lease_seconds: float = LEASE_SECONDS
    order: str = "file"
    update: bool = False
    retry_failed: bool = False
    many_nodes: bool = False
    durable: bool = True


@dataclass(frozen=True, slots=True)
class Opened:
    """Books, and what was known when they were opened; `census` is None for one who joined a healthy run."""

    books: Books
    census: Census | None
    company: int


class Opening:
    """One attempt to open a work directory.

    `say` receives lines for a person, `warn` those that also one who wants quiet must see; `interrupted` is asked while
    waiting and reading; `kill_leftovers` is given dead farmers of this node, whose processes must be gone before their
    tasks may run again.
    """

    def __init__(
        self,
        layout: Layout,
        source: Source,
        wish: Wish,
        say: Say,
        interrupted: Interrupted,
        kill: KillLeftovers,
        warn: Say | None = None,
    ) -> None:
        self._layout = layout
        self._source = self._whole = source
        self._wish = wish
        self._say = say
        self._warn = warn or say
        self._interrupted = interrupted
        self._kill = kill

    def run(self) -> Opened:
        """Create or join. Raises `FarmError` with nothing changed where the list or the directory is unusable."""
        owner = self._source.stat().st_uid
        ownership.refuse_strangers(self._layout, {owner})
        if self._wish.many_nodes:
            refuse_local_disk(self._layout)
        disk.durable = self._wish.durable
        try:
            known = register.read(self._layout)
        except OSError as error:
            raise _cannot(self._layout, error) from None
        if known is None:
            known = self._publish()
        self._check(known)
        self._source.prepare()
        wish = self._wish
        self._make_directories([])  # of a directory that is there, somebody may have cleaned up the logs
        ownership.refuse_strangers(self._layout, {owner})
        books = registered(self._layout, known, wish.slots, wish.allocation, self._source, self._wait)
        try:
            return self._set_up(books)
        except OSError as error:
            withdraw(books)
            raise _cannot(self._layout, error) from None
        except BaseException:
            withdraw(books)
            raise

    # -- create

    def _publish(self) -> Register:
        layout = self._layout
        print_of_list: Fingerprint | None = None
        with contextlib.suppress(_Overtaken):
            print_of_list = fingerprint(self._source, heed=self._heed("reading the list", unless=layout.register))
        self._refuse_strangers()
        made: list[str] = []
        try:
            self._make_directories(made)
            kind = self._wish.lock or self._suitable_lock()
            stub = Register(
                register.new_run(), kind, self._source.path, self._source.name, dict(self._source.options),
                lease_seconds=self._wish.lease_seconds, directory=os.getcwd(),
            )  # fmt: skip
            if print_of_list is not None:
                stub = _with_list(stub, print_of_list, self._source)
            return register.publish(layout, stub)
        except OSError as error:
            for directory in reversed(made):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
            raise _cannot(layout, error) from None

    def _make_directories(self, made: list[str]) -> None:
        """Make those that are missing, and add them to `made`."""
        for directory in (self._layout.root, self._layout.claims, self._layout.logs):
            if not os.path.isdir(directory):
                os.makedirs(directory, exist_ok=True)
                made.append(directory)

    def _refuse_strangers(self) -> None:
        """Raise `TasklistError` if what PyTaskFarmer 0.1.0 recorded here has no line in common with the list."""
        kept, dropped = self._own_lines()
        if dropped and not kept:
            raise TasklistError(
                self._source.path, None, f"not the list of {self._layout.root}: no line of finished or failed there is "
                f"a line of this list. Use another --workdir, or the right list."
            )  # fmt: skip

    def _suitable_lock(self) -> str:
        worth = filesystem.verdict(filesystem.mount_of(os.path.realpath(self._layout.root)))
        if not worth.shared:
            self._say(f"locks: leases, since {worth.reason}")
            return LEASE
        refused = locking.refusal(self._layout.root)
        if refused:
            self._say(f"locks: leases, since this file system refuses kernel locks ({refused})")
            return LEASE
        return locking.FLOCK

    def _check(self, known: Register) -> None:
        if self._wish.lock and self._wish.lock != known.lock:
            raise UsageError(
                f"--lock {self._wish.lock}: {self._layout.root} uses {known.lock}, and all its farmers must agree. "
                f"Leave the option out, or choose another work directory."
            )

    # -- waiting

    def _heed(self, doing: str, unless: str | None = None) -> Heed:
        """Return what is told how far the list has been read: ends that at a signal, or if a file `unless` appears."""
        say_at = time.monotonic() + _SAY_EVERY

        def heed(tasks: int) -> None:
            nonlocal say_at
            self._stop_if_interrupted()
            if unless is not None and os.path.exists(unless):
                raise _Overtaken
            if time.monotonic() >= say_at:
                say_at = time.monotonic() + _SAY_EVERY
                self._say(f"{doing}: {tasks:,} tasks so far")

        return heed

    def _stop_if_interrupted(self) -> None:
        if self._interrupted():
            raise OpeningStopped("stopped before any task was started.")

    def _wait(self, attempt: Callable[[], bool], holder: Callable[[], str]) -> None:
        wait_for(attempt, holder, self._interrupted, self._say)

    def _lock(self, books: Books) -> None:
        self._wait(books.try_lock, books.lock_holder)

    # -- set up and join

    def _set_up(self, books: Books) -> Opened:
        pause = _POLL[0]
        while True:
            self._lock(books)
            with books.section():
                if books.register.complete:
                    break
                expander = books.register.expander
                mine = not expander or not books.roster.may_live(expander)
                if mine:
                    name = books.own.farmer.name
                    register.update(self._layout, books.register, state=EXPANDING, expander=name)
            if mine:
                self._expand(books)
            else:
                self._stop_if_interrupted()
                time.sleep(pause)
                pause = min(pause * 2, _POLL[1])
        return self._join(books)

    def _expand(self, books: Books) -> None:
        """Make `toprocess` from the list, but for what the books already have; the register says complete last."""
        layout = self._layout
        stack = layout.draft(books.own.farmer.name)
        seed = books.register.run if self._wish.order == "random" else None
        try:
            listed = self._as_listed(books.register)
            kept, dropped = self._own_lines()
            reading = Reading(self._source, self._heed("setting up the work directory"))
            write_stack(stack, (task for task in reading.stream() if task[0] not in kept), seed)
            if (reading.tasks, reading.digest) != (listed.tasks, listed.digest):  # a handler may read other files, too
                listed = _with_list(listed, reading.fingerprint(), self._source)
            self._lock(books)
            with books.section():
                for path in (layout.finished, layout.failed) if kept or dropped else ():
                    disk.replace(path, records.blocks(self._matching(path, kept)))
                for path in (layout.finished, layout.failed):
                    records.append(path, ())
                disk.rename(stack, layout.toprocess)
                register.update(layout, listed, lanes=books.register.lanes, state=register.COMPLETE, expander="")
        finally:
            disk.unlink(stack)
        if dropped:
            self._say(f"recorded lines that are not in the list, whose tasks run again: {dropped:,}")

    def _as_listed(self, known: Register) -> Register:
        """Return the register with what the list holds now, which it knows already unless the list has changed."""
        source = self._source
        if known.digest and known.seen(source.stat()) and known.made_from(source.path, source.name, source.options):
            return known
        return _with_list(known, fingerprint(self._source, heed=self._heed("reading the list")), self._source)

    def _own_lines(self) -> tuple[dict[int, bytes], int]:
        """Return the lines of `finished` and `failed` that are the list's own, and the number of other ids there."""
        found: dict[int, list[bytes]] = {}
        for path in (self._layout.finished, self._layout.failed):
            for task_id, text in records.scan(path):
                found.setdefault(task_id, []).append(text)
        kept: dict[int, bytes] = {}
        tasks = heeded(self._source.stream(), self._heed("comparing the list with what was done"))
        for task_id, text in tasks if found else ():
            own = (line for line in found.get(task_id, ()) if line.strip() == text.strip())
            kept.update((task_id, line) for line in islice(own, 1))
        return kept, len(found) - len(kept)

    def _matching(self, path: str, kept: dict[int, bytes]) -> Iterator[bytes]:
        for task_id, text in records.scan(path):
            if kept.get(task_id) == text:
                del kept[task_id]
                yield records.line_of(task_id, text)

    def _join(self, books: Books) -> Opened:
        news, generation = self._news(books), books.register.generation
        self._lock(books)
        with books.section():
            others = books.roster.others()
            healthy = news is None and books.roster.looks_healthy(others)
            if healthy:
                books.take_lane()
        if healthy:
            if self._wish.retry_failed:
                self._say(_NO_RETRY)
            return Opened(books, None, len(others))
        words: list[str] = []
        if books.register.directory not in {"", os.getcwd()}:
            begun = books.register.directory
            words.append(
                f"tasks run in {os.getcwd()} now; this list was begun in {begun}; "
                f"to run them there: cd {shlex.quote(begun)}"
            )
        done = False
        while not done:
            with cleared_section(books, self._lock, self._kill) as attendance:
                if news is None or books.register.generation == generation:
                    census = self._revise(books, news, attendance, words.append)
                    done = not attendance.more
                if done:
                    books.take_lane()
            if not done:  # more of the dead, or somebody took over the list in the meantime
                news, generation = self._news(books), books.register.generation
        for line in words:
            self._say(line)
        return Opened(books, census, len(attendance.others))

    def _news(self, books: Books) -> Fingerprint | None:
        """Read the list, unless it is as it was. One that has grown counts up to its last line end.

        It has not grown where that would take away a task which the list was begun with: then every line counts.
        """
        known, now = books.register, self._source.stat()
        source = self._whole
        if known.seen(now) and known.made_from(source.path, source.name, source.options):
            return None
        heed = self._heed("reading the list")
        if now.st_size > max(known.size, 0) and not _ends_in_newline(source.path):
            growing = replace(source, tasklist=replace(source.tasklist, growing=True))
            news = fingerprint(growing, known.tasks, heed)
            if news.tasks >= known.tasks:
                self._source = books.source = growing
                self._warn("the last line of the list has no line end yet: it is left out for now")
                unchanged = (news.tasks, news.digest) == (known.tasks, known.digest)
                if unchanged and known.made_from(source.path, source.name, source.options):
                    return None
                return replace(news, size=-1)
        self._source = books.source = source
        return fingerprint(source, known.tasks, heed)

    def _revise(self, books: Books, news: Fingerprint | None, attendance: Attendance, say: Say) -> Census:
        """Audit the dead, then take over what changed in the list or was wished for; `say` must not print yet."""
        census = recovery.restore(books, attendance, absent_too=news is None)
        for task_id in census.lost:
            say(f"task {task_id} was running each time that a farmer died, three times: it is recorded as failed")
        if news is not None:
            revision.take_over(books, self._source, news, attendance, update=self._wish.update, say=say)
            census = recovery.restore(books, attendance)
        if self._wish.retry_failed and attendance.others:
            say(_NO_RETRY)
        elif self._wish.retry_failed and (again := revision.retry(books, None)):
            say(f"failed tasks that were put back: {len(again):,}")
            census = recovery.restore(books, Attendance())
        return census


def _ends_in_newline(path: str) -> bool:
    if not os.path.isfile(path):
        return True
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def refuse_local_disk(layout: Layout) -> None:
    """Raise `WorkdirError` if other nodes cannot see what is in the work directory."""
    mount = filesystem.mount_of(os.path.realpath(layout.root))
    if filesystem.verdict(mount).local_disk:
        raise WorkdirError(
            f"{layout.root}: lies on {mount.point} ({mount.fstype}), a disk of this node alone, so every node would "
            "run the whole list. Use a --workdir on a shared file system, or --allow-local."
        )


def _cannot(layout: Layout, error: OSError) -> WorkdirError:
    remedy = " Use --workdir to name another place." if error.errno in _NOT_HERE else ""
    return WorkdirError(f"{error.filename or layout.root}: cannot set up the work directory: {error.strerror}.{remedy}")


def _with_list(known: Register, seen: Fingerprint, source: Source) -> Register:
    return replace(
        known, handler=source.name, options=dict(source.options), size=seen.size, mtime_ns=seen.mtime_ns,
        tasks=seen.tasks, digest=seen.digest,
    )  # fmt: skip
