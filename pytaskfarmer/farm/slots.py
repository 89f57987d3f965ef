"""The slots of one farmer: start an attempt, learn of its end, and the ladder that ends it from outside.

A slot is free again only when its task's process group is gone. The leader's zombie pins the group's number while we
signal it; once the leader is reaped, members of the group that are left are our own children (the farmer is a
subreaper), so waiting for the group tells exactly whether any of them lives, and its number cannot have been reused.

The ladder: the stop signal to the whole group; the grace; KILL to the group; then whatever left the group. Members
that outlive their leader have the rest of the grace as well. Without a ladder they are killed at once.
"""

import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pytaskfarmer.farm import process
from pytaskfarmer.plugins.contracts import Command
from pytaskfarmer.task import Attempt, Outcome, Task
from pytaskfarmer.workdir.logs import Logs

_POLL_GROUP = 0.01
_KILL_AGAIN = 1.0
_PATIENCE_AFTER_KILL = 30.0


class Place(NamedTuple):
    """Which attempt runs in which slot."""

    task: Task
    attempt: int
    slot: int


@dataclass(slots=True, eq=False)
class Running:
    """One attempt in a slot. `began` is epoch seconds; all other times are the monotonic clock's.

    `sentence` is why it is being ended from outside; `patience_ends` when KILL follows; `leader` what its leader's
    end was, once it has ended.
    """

    place: Place
    pid: int
    watch: int
    began: float
    since: float
    time_limit: float | None = None
    sentence: Outcome | None = None
    patience_ends: float | None = None
    leader: Attempt | None = None
    killed: int = 0
    killed_at: float | None = None


class Slots:
    """N slots, and the epoll object in which the ends of their processes show."""

    def __init__(self, count: int, logs: Logs, poll: select.epoll) -> None:
        self._free = list(range(count - 1, -1, -1))
        self._running: dict[int, Running] = {}
        self._sentenced: set[int] = set()
        self._lingering: set[int] = set()
        self._limited: set[Running] = set()
        self._unfiled: list[Attempt] = []
        self._logs = logs
        self._poll = poll
        self._watched: dict[int, int] = {}
        self._pidfds = process.pidfds_work()
        self.count = count
        self.busy_seconds = 0.0

    @property
    def free(self) -> int:
        """The number of free slots."""
        return len(self._free)

    @property
    def running(self) -> int:
        """The number of slots in use."""
        return len(self._running)

    @property
    def lingering(self) -> bool:
        """Whether a group has lost its leader and is not known to be gone yet."""
        return bool(self._lingering)

    @property
    def leaders(self) -> list[int]:
        """The pids that lead a running task."""
        return [run.pid for run in self._running.values() if run.leader is None]

    def take(self) -> int:
        """Reserve a free slot and return its number."""
        return self._free.pop()

    def release(self, slot: int) -> None:
        """Free a slot in which nothing was started after all."""
        self._free.append(slot)

    def start(self, place: Place, command: Command, environment: dict[str, str], output: int) -> None:
        """Start an attempt in a reserved slot; close `output`, its log, in any case.

        Raises OSError if it cannot start; nothing runs then, and the slot stays reserved.
        """
        began, since = time.time(), time.monotonic()
        try:
            pid = process.start(command, environment, output)
        finally:
            os.close(output)
        watch = -1
        if self._pidfds:
            try:
                watch = os.pidfd_open(pid)
            except OSError:
                process.signal_group(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
            self._poll.register(watch, select.EPOLLIN)
            self._watched[watch] = place.slot
        self._running[place.slot] = Running(place, pid, watch, began, since)

    def limit(self, slot: int, seconds: float) -> None:
        """Let the ladder come to this attempt after so many seconds from its start."""
        run = self._running[slot]
        run.time_limit = run.since + seconds
        self._limited.add(run)

    def fail(self, place: Place, error: Exception) -> Attempt:
        """Free the slot of an attempt that could not start, and return its end: 126 not permitted, else 127."""
        self._logs.note(place.task.id, place.slot, f"pytaskfarmer: cannot start the task: {error}")
        status = 126 if isinstance(error, PermissionError) else 127
        failed = Attempt(place.task, place.attempt, place.slot, Outcome.FAILED_TO_START, status, time.time(), 0.0)
        self._file(failed)
        return failed

    def _file(self, attempt: Attempt) -> None:
        """Keep the output and free the slot; where the disk is full, the slot waits until it is kept."""
        try:
            self._logs.end(attempt)
        except OSError:
            self._unfiled.append(attempt)
        else:
            self._free.append(attempt.slot)

    def file_again(self) -> None:
        """Try once more to keep outputs for which there was no space."""
        for attempt in [self._unfiled.pop() for _ in range(len(self._unfiled))]:
            self._file(attempt)

    def ended(self, signalled: Iterable[int]) -> Iterator[tuple[Attempt, bool]]:
        """Yield what has ended, and whether the ladder had begun for it, and free its slot.

        `signalled` are the descriptors that are readable; without pidfds all processes are looked at.
        """
        if self._pidfds:
            candidates = [self._watched[descriptor] for descriptor in signalled if descriptor in self._watched]
        else:
            candidates = list(self._running)
        for slot in candidates:
            run = self._running[slot]
            if run.leader is None and process.has_ended(run.pid):
                self._reap_leader(run)
                self._lingering.add(slot)
        for slot in list(self._lingering):
            run = self._running[slot]
            if self._group_is_gone(run):
                self._lingering.discard(slot)
                self._sentenced.discard(slot)
                self._limited.discard(run)
                del self._running[slot]
                assert run.leader is not None
                if run.sentence is Outcome.TIMED_OUT and not process.no_strays(self.leaders):
                    process.end_strays(self.leaders, run.place.task.id)
                elif run.killed and run.sentence is None:
                    what = "process" if run.killed == 1 else "processes"
                    line = f"pytaskfarmer: killed {run.killed} {what} that the task left behind"
                    self._logs.note(run.place.task.id, slot, line)
                self._file(run.leader)
                yield run.leader, run.sentence is not None

    def _reap_leader(self, run: Running) -> None:
        if run.watch >= 0:
            # Closing alone would not do: a child that is just being started may have a copy of it until it executes.
            self._poll.unregister(run.watch)
            del self._watched[run.watch]
            os.close(run.watch)
        if run.sentence is None:
            process.signal_group(run.pid, signal.SIGKILL)
        _, status, usage = os.wait4(run.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        duration = time.monotonic() - run.since
        self.busy_seconds += duration
        run.leader = Attempt(
            *run.place, run.sentence or _outcome(code), code, run.began, duration,
            usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, run.pid,
        )  # fmt: skip

    def _group_is_gone(self, run: Running) -> bool:
        """Whether nothing is left of the group, or what is left was killed long ago and is stuck in the kernel."""
        gone, killed = process.reap_group(run.pid)
        run.killed += killed
        if gone:
            return True
        now = time.monotonic()
        if run.patience_ends is None or now >= run.patience_ends:
            run.killed_at = run.killed_at or now
            process.signal_group(run.pid, signal.SIGKILL)
        return run.killed_at is not None and now - run.killed_at > _PATIENCE_AFTER_KILL

    # -- the ladder

    def sentence_all(self, outcome: Outcome, number: int, grace: float) -> None:
        """Begin the ladder for every attempt that has not ended by itself."""
        for slot in list(self._running):
            self._sentence(self._running[slot], outcome, number, grace)

    def tend(self, now: float, number: int, grace: float) -> None:
        """Begin the ladder for attempts beyond their time limit; KILL what had its grace, and what left its group."""
        self.file_again()
        for run in self._limited.copy():
            if run.time_limit is not None and now >= run.time_limit:
                self._limited.discard(run)
                self._sentence(run, Outcome.TIMED_OUT, number, grace)
        for slot in self._sentenced:
            run = self._running[slot]
            if run.leader is None and run.patience_ends is not None and now >= run.patience_ends:
                run.patience_ends = now + _KILL_AGAIN
                run.killed_at = run.killed_at or now
                process.signal_group(run.pid, signal.SIGKILL)

    def _sentence(self, run: Running, outcome: Outcome, number: int, grace: float) -> None:
        if run.sentence is not None or run.leader is not None or process.has_ended(run.pid):
            return
        run.sentence = outcome
        run.patience_ends = time.monotonic() + grace
        self._sentenced.add(run.place.slot)
        process.signal_group(run.pid, number)
        process.signal_group(run.pid, signal.SIGCONT)

    def hurry(self) -> None:
        """Skip the rest of every grace."""
        for slot in self._sentenced:
            self._running[slot].patience_ends = 0.0

    def kill_all(self) -> None:
        """KILL every group that is left, without recording anything."""
        self.signal_all(signal.SIGKILL)

    def stuck(self, now: float) -> bool:
        """Whether all that still runs was killed long ago and does not die."""
        runs = self._running.values()
        return bool(runs) and all(r.killed_at is not None and now - r.killed_at > _PATIENCE_AFTER_KILL for r in runs)

    def next_event(self) -> float | None:
        """Return when (monotonic clock) something must be looked at without being signalled."""
        times = [run.time_limit for run in self._limited if run.time_limit is not None]
        sentenced = (self._running[slot] for slot in self._sentenced)
        times += [r.patience_ends for r in sentenced if r.leader is None and r.patience_ends is not None]
        if self._lingering:
            times.append(time.monotonic() + _POLL_GROUP)
        return min(times, default=None)

    def signal_all(self, number: int) -> None:
        """Send a signal to every group."""
        for run in self._running.values():
            process.signal_group(run.pid, number)


def _outcome(code: int) -> Outcome:
    if code == 0:
        return Outcome.SUCCESS
    return Outcome.NONZERO_EXIT if code > 0 else Outcome.KILLED_BY_SIGNAL
