"""The children of a farmer: each leads a process group of its own, and is over when nothing of that group is left.

The leader's zombie pins the group's number while we signal it; once the leader is reaped, members of the group that are
left are our own children (the farmer is a subreaper), so waiting for the group tells exactly whether any of them lives,
and its number cannot have been reused.

The ladder: a signal to the whole group; the grace; KILL to the group. Members that outlive their leader have the rest
of the grace as well. Without a ladder they are killed at once.
"""

import os
import select
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytaskfarmer.farm import process
from pytaskfarmer.farm.inheritance import Inheritance
from pytaskfarmer.plugins.contracts import Command

_POLL_GROUP = 0.01
_KILL_AGAIN = 1.0
_PATIENCE_AFTER_KILL = 30.0


class End(NamedTuple):
    """How a leader ended: its exit status, or minus the signal's number; seconds and bytes."""

    status: int
    duration: float
    cpu: float
    peak_memory: int


@dataclass(slots=True, eq=False)
class Child:
    """One group. `began` is epoch seconds; all other times are the monotonic clock's.

    `sentenced` once the ladder has begun; `patience_ends` when KILL follows; `killed` counts who died of it. `fault` is
    what it did to the memory, in words, if it was killed for that.
    """

    pid: int
    watch: int
    began: float
    since: float
    sentenced: bool = False
    patience_ends: float | None = None
    end: End | None = None
    killed: int = 0
    killed_at: float | None = None
    fault: str | None = None


class Children:
    """All groups of one farmer, and the epoll object in which the ends of their leaders show."""

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll
        self._pidfds = process.pidfds_work()
        self._watched: dict[int, Child] = {}
        self._living: set[Child] = set()
        self._sentenced: set[Child] = set()
        self._lingering: set[Child] = set()
        self._inheritance = Inheritance()

    def close(self) -> None:
        """Let go of everything; what runs is watched no more."""
        while self._watched:
            os.close(self._watched.popitem()[0])
        self._inheritance.close()

    @property
    def leaders(self) -> list[int]:
        """The pids of all leaders that have not ended."""
        return [child.pid for child in self._living if child.end is None]

    @property
    def lingering(self) -> bool:
        """Whether a group has lost its leader and is not known to be gone yet."""
        return bool(self._lingering)

    def start(
        self,
        command: Command,
        environment: Mapping[str, str],
        output: int,
        passed: Sequence[int] = (),
        cpus: Collection[int] | None = None,
    ) -> Child:
        """Start a group on these CPUs, whose leader inherits the descriptors `passed`. Raises OSError; nothing runs."""
        began, since = time.time(), time.monotonic()
        self._inheritance.take_on(cpus)
        try:
            pid = process.start(command, environment, output, passed)
        finally:
            self._inheritance.put_off(cpus)
        watch = -1
        if self._pidfds:
            try:
                watch = os.pidfd_open(pid)
                self._poll.register(watch, select.EPOLLIN)
            except OSError:
                process.signal_group(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                if watch >= 0:
                    os.close(watch)
                raise
        child = Child(pid, watch, began, since)
        if watch >= 0:
            self._watched[watch] = child
        self._living.add(child)
        return child

    def gone(self, signalled: Iterable[int]) -> Iterator[Child]:
        """Yield the children that are over.

        `signalled` are the descriptors that are readable; without pidfds all processes are looked at.
        """
        if self._pidfds:
            candidates = [self._watched[descriptor] for descriptor in signalled if descriptor in self._watched]
        else:
            candidates = list(self._living)
        for child in candidates:
            if child.end is None and process.has_ended(child.pid):
                self._reap_leader(child)
                self._lingering.add(child)
        for child in list(self._lingering):
            if self._group_is_gone(child):
                self._lingering.discard(child)
                self._sentenced.discard(child)
                self._living.discard(child)
                yield child

    def _reap_leader(self, child: Child) -> None:
        if child.watch >= 0:
            # Closing alone would not do: a child that is just being started may have a copy of it until it executes.
            self._poll.unregister(child.watch)
            del self._watched[child.watch]
            os.close(child.watch)
        if not child.sentenced:
            process.signal_group(child.pid, signal.SIGKILL)
        _, status, usage = os.wait4(child.pid, 0)
        child.end = End(
            os.waitstatus_to_exitcode(status),
            time.monotonic() - child.since,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss * 1024,
        )

    def _group_is_gone(self, child: Child) -> bool:
        """Whether nothing is left of the group, or what is left was killed long ago and is stuck in the kernel."""
        gone, killed = process.reap_group(child.pid)
        child.killed += killed
        if gone:
            return True
        now = time.monotonic()
        if child.patience_ends is None or now >= child.patience_ends:
            child.killed_at = child.killed_at or now
            process.signal_group(child.pid, signal.SIGKILL)
        return child.killed_at is not None and now - child.killed_at > _PATIENCE_AFTER_KILL

    # -- the ladder

    def sentence(self, child: Child, number: int | None, grace: float) -> bool:
        """Begin the ladder, with no signal but KILL if `number` is None; return False if it has ended by itself."""
        if child.sentenced or child.end is not None or process.has_ended(child.pid):
            return False
        child.sentenced = True
        child.patience_ends = time.monotonic() + grace
        self._sentenced.add(child)
        if number is not None:
            process.signal_group(child.pid, number)
            process.signal_group(child.pid, signal.SIGCONT)
        return True

    def condemn(self, pid: int, fault: str) -> Child | None:
        """Have the group of a leader killed at once; None if it has ended by itself, or is being ended."""
        child = next((each for each in self._living if each.pid == pid), None)
        if child is None or not self.sentence(child, None, 0.0):
            return None
        child.fault = fault
        return child

    def tend(self, now: float) -> None:
        """KILL what had its grace."""
        for child in self._sentenced:
            if child.end is None and child.patience_ends is not None and now >= child.patience_ends:
                child.patience_ends = now + _KILL_AGAIN
                child.killed_at = child.killed_at or now
                process.signal_group(child.pid, signal.SIGKILL)

    def hurry(self) -> None:
        """Skip the rest of every grace."""
        for child in self._sentenced:
            child.patience_ends = 0.0

    def next_event(self) -> float | None:
        """Return when (monotonic clock) something must be looked at without being signalled."""
        times = [c.patience_ends for c in self._sentenced if c.end is None and c.patience_ends is not None]
        if self._lingering:
            times.append(time.monotonic() + _POLL_GROUP)
        return min(times, default=None)

    def stuck(self, now: float) -> bool:
        """Whether all that still runs was killed long ago and does not die."""
        killed = [child.killed_at for child in self._living]
        return bool(killed) and all(at is not None and now - at > _PATIENCE_AFTER_KILL for at in killed)

    def signal_all(self, number: int) -> None:
        """Send a signal to every group."""
        for child in self._living:
            process.signal_group(child.pid, number)
