"""The books: the only code that moves a task.

Invariants
  I1  Whenever the lock is free and nobody has died, every task id is in exactly one of: `toprocess`, one live
      farmer's claims, `finished`, `failed`.
  I2  Only the lock's holder changes a shared file. A farmer's claims file is written by that farmer alone.
  I3  Whatever a crash leaves behind, the audit restores I1. An id that is nowhere was lost by a crash and goes back.
  I4  A task is one line. A line without its newline, or with NUL bytes, was torn by a crash: readers ignore it, the
      next writer cuts it off before appending.
  I5  A claims file is alive exactly while its farmer, or that farmer's guard, holds its lock (or a fresh lease).
  I6  The list on resume must match: appended lines are new tasks; changed lines of unfinished tasks are taken over on
      request; any other edit is refused.

Two rules carry them. Whoever changes a shared file owns a claims file first and removes it last, so a crash always
leaves a claims file that nobody holds; and such a file always causes the full audit, never a partial repair.

The order of the steps in each method is the proof. What does not work: noting "recorded" before the record (results
are lost), appending to `toprocess` before `failed` is rewritten (recorded twice), removing the dead's claims before
what they name is in the books (lost), rewriting a list in place (a full disk leaves nothing of it).
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from pytaskfarmer.errors import WorkdirError
from pytaskfarmer.task import Attempt, Outcome, Task, encode
from pytaskfarmer.workdir import claims, records, register, timeline
from pytaskfarmer.workdir.claims import OwnClaims
from pytaskfarmer.workdir.identity import Farmer
from pytaskfarmer.workdir.layout import Layout, disk
from pytaskfarmer.workdir.locking import Life, Locks, MainLock
from pytaskfarmer.workdir.register import Register
from pytaskfarmer.workdir.roster import Roster
from pytaskfarmer.workdir.source import Source

KillLeftovers = Callable[[Farmer], None]


class Evicted(WorkdirError):
    """Others took this farmer for dead and have its tasks: record nothing, and register anew."""


class Overdue(WorkdirError):
    """A section under a lease lasted so long that others may be in it too."""


class Books:
    """One registered farmer's access to the shared files.

    `others_came` tells that the list was changed by others than this farmer since it began to claim. Every method
    whose docstring says "in a section" must be called inside `with books.section():`, after `try_lock` said yes. An
    OSError from one of them has left the books as they were, unless it says otherwise.
    """

    def __init__(
        self, layout: Layout, locks: Locks, main: MainLock, life: Life, own: OwnClaims, source: Source | None
    ) -> None:
        self.layout = layout
        self.life = life
        self.own = own
        self.roster = Roster(layout, locks, own.farmer.name, life)
        self.register = Register(own.farmer.run, locks.kind, "", "")
        self.sections = 0
        self.unsettled = False
        self._main = main
        self._locks = locks
        self.source = source
        self.others_came = False
        self._mean_line = 64
        self._stack_size: int | None = None
        self._lane_told = False

    @contextmanager
    def unsettling(self) -> Iterator[None]:
        """Mark a change of several steps: if it fails on the way, our claims must stay, to cause an audit.

        What failed earlier stays marked: only a full audit mends it.
        """
        earlier, self.unsettled = self.unsettled, True
        yield
        self.unsettled = earlier

    # -- the lock

    def try_lock(self) -> bool:
        """Take the main lock if it is free."""
        return self._main.try_acquire()

    def lock_holder(self) -> str:
        """Say who holds the main lock; empty where nobody can tell."""
        return self._main.holder()

    @contextmanager
    def section(self) -> Iterator[None]:
        """Hold the main lock, just taken, for the body. Raises `Evicted` where this farmer's claims are gone."""
        self.sections += 1
        try:
            self._fence()
            yield
        finally:
            self._main.release()

    def _fence(self) -> None:
        now = register.read(self.layout)
        if now is None or now.run != self.own.farmer.run:
            raise WorkdirError(
                f"{self.layout.root}: the work directory was moved, removed or replaced while a farmer used it; its "
                "running tasks were ended. If it was moved, move it back, or name it with --workdir, and run again."
            )
        self.register = now
        if not self.life.held() or not self.own.is_file():
            raise Evicted(f"{self.layout.root}: other farmers took {self.own.farmer.name} for dead.")

    def _still_ours(self) -> None:
        if self._main.overdue():
            raise Overdue(f"{self.layout.root}: a locked section took too long for the lease; nothing was written.")

    # -- claim and commit

    def claim(self, count: int) -> list[Task]:
        """Take up to `count` tasks from the top of `toprocess`; in a section."""
        if count <= 0:
            return []
        try:
            stack = records.Stack(self.layout.toprocess)
        except FileNotFoundError:
            return []
        try:
            taken, left = stack.top(count, self._mean_line)
            self.others_came |= self._stack_size not in {None, stack.size}
            self._stack_size = stack.size
            if left == stack.size:
                return []
            if taken:
                self._mean_line = max(8, (stack.size - left) // len(taken))
            taken = [(i, text) for i, text in taken if i < self.register.tasks and i not in self.own.ids]
            self._still_ours()
            tasks = self.own.hold(taken)
            try:
                stack.cut(left)
            except OSError:
                self._stack_size = None
                self._note_returned(tasks)
                raise
            self._stack_size = left
        finally:
            stack.close()
        return tasks

    def waiting(self) -> int:
        """Estimate the number of tasks in `toprocess` from its size; needs no lock."""
        return self._lines_in(self.layout.toprocess)

    def recorded(self) -> int:
        """Estimate the number of tasks in `finished` in the same way."""
        return self._lines_in(self.layout.finished)

    def _lines_in(self, path: str) -> int:
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            return 0
        return -(-size // self._mean_line)

    def commit(self, instants: list[bytes]) -> list[Attempt]:
        """Record what ended, plot it and `instants`, then note it as recorded; in a section. Return what was recorded.

        Once `instants` are plotted the list is emptied. An OSError after that concerns the note alone, which stays
        gathered for the next `flush`; without it, an audit finds these tasks in the books.
        """
        ends, plots = self.own.unrecorded, self.own.unplotted
        if not ends and not plots and not instants:
            return []
        self._still_ours()
        with self.recording(ends):
            size = self.plot([*self._told_lane(), *(self._event(attempt) for attempt in plots), *instants])
        self.own.recorded([end.task.id for end in ends], size)
        self._lane_told = True
        instants.clear()
        self.own.flush(publish=True)
        self.own.compact()
        return ends

    @contextmanager
    def recording(self, ends: Iterable[Attempt]) -> Iterator[None]:
        """Append to `finished` and `failed`, all or nothing, and take it back if the body fails with an OSError."""
        lines: dict[str, list[bytes]] = {self.layout.finished: [], self.layout.failed: []}
        for end in ends:
            path = self.layout.finished if end.outcome is Outcome.SUCCESS else self.layout.failed
            lines[path].append(records.line_of(end.task.id, encode(end.task.text)))
        opened: list[records.Appending] = []
        try:
            for path, new in lines.items():
                if new:
                    opened.append(records.Appending(path))
                    opened[-1].write(new)
            for file in opened:
                file.close()
            yield
        except OSError:
            for file in opened:
                file.undo()
            for file in opened:
                with suppress(OSError):  # what it complains about has been cut off
                    file.close()
            raise

    def plot(self, events: Sequence[bytes]) -> int:
        """Append events to the timeline and return its new size; in a section."""
        return timeline.append(self.layout.timeline, events)

    def _event(self, attempt: Attempt) -> bytes:
        return timeline.task_event(attempt, self.own.lane, self.own.farmer.host)

    def _told_lane(self) -> Sequence[bytes]:
        if self._lane_told:
            return ()
        nth = self.register.lanes[: self.own.lane].count(self.own.farmer.host)
        return timeline.lane_events(self.own.lane, self.own.farmer.host, nth, self.own.farmer.slots)

    def sync(self) -> None:
        """Force the books to the disk; while a farmer works not in a section, since it may take long."""
        for path in (self.layout.finished, self.layout.failed, self.layout.toprocess):
            try:
                fd = disk.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            try:
                disk.sync(fd)
            finally:
                os.close(fd)

    # -- give back and leave

    def give_back(self, tasks: Sequence[Task]) -> None:
        """Put held tasks back on top of `toprocess`, the first of them uppermost; in a section."""
        if tasks:
            self._still_ours()
            lines = [records.line_of(task.id, encode(task.text)) for task in reversed(tasks)]
            self._stack_size = None
            records.append(self.layout.toprocess, lines)
            self._note_returned(tasks)

    def _note_returned(self, tasks: Sequence[Task]) -> None:
        """Note it on the disk before anybody reads our claims; without that, an audit would take the lines away."""
        with self.unsettling():
            self.own.returned([task.id for task in tasks])
            self.own.flush(publish=True)

    def retire(self) -> None:
        """Remove this farmer's claims, which must be empty: the very last step; in a section.

        They stay if a change of this farmer's failed half-way, and will be found dead.
        """
        if self.unsettled or self.own.count:
            return
        self.own.close()
        disk.unlink(self.layout.claim(self.own.farmer.name))
        disk.unlink(self.layout.claim_lock(self.own.farmer.name))

    def close(self) -> None:
        """Let go of every descriptor and lock, outside of a section; what was not retired is dead from now on."""
        self.own.close()
        self.life.drop()
        self._locks.forget_all()
        self._main.close()

    # -- the timeline

    def take_lane(self) -> None:
        """Choose this farmer's lane in the timeline: the lowest of its host that no living farmer has; in a section."""
        host = self.own.farmer.host
        neighbours = [name for name in self.roster.others() if name.startswith(host + "-")]
        taken = {claims.read(self.layout.claim(name)).lane for name in neighbours}
        lanes = self.register.lanes
        free = (n for n, owner in enumerate(lanes, start=1) if owner == host and n not in taken)
        lane = next(free, None)
        if lane is None:
            lane = len(lanes) + 1
            self.register = register.update(self.layout, self.register, lanes=(*lanes, host))
        self.own.take_lane(lane, timeline.size(self.layout.timeline))
        self.own.flush(publish=True)
