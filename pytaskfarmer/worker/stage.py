"""What a worker shows to a task while it executes: its log on descriptors 1 and 2, its variables, its mark, its cost.

With coroutines, a task executes in steps, and each step enters and leaves the stage: so what it prints, and what a
program that it starts prints, goes to its own log, although several tasks are in flight.
"""

import ctypes
import os
import resource
import sys
import time
from dataclasses import dataclass
from typing import TextIO

from pytaskfarmer.worker.servant import TaskFacts
from pytaskfarmer.worker.wire import BETWEEN, IDLE, Mark

_RESET_PEAK = b"5"
_WORTH_IT = 0.005


@dataclass(slots=True, eq=False)
class Call:
    """One task in this worker; `log` is -1 once it has ended, `cpu` and `seconds` on stage are in seconds."""

    facts: TaskFacts
    request: bytes
    log: int
    cpu: float = 0.0
    seconds: float = 0.0


class _Variable:
    """An environment variable with a number that changes with every task.

    `os.environ[name] = value` would do but for its cost: the C library never frees a value that was set, which is 70
    bytes a task and variable. So the C library gets a buffer of ours, and Python's own copy is told separately.
    """

    def __init__(self, name: str, libc: ctypes.CDLL) -> None:
        self._name, self._libc = name.encode(), libc
        self._entry = ctypes.create_string_buffer(len(name) + 32)

    def set(self, number: int) -> None:
        value = b"%d" % number
        self._entry.value = self._name + b"=" + value
        self._libc.putenv(self._entry)  # each time, since the task may have set the variable itself
        os.environ._data[self._name] = value  # type: ignore[attr-defined]


class Stage:
    """The one stage of this process."""

    def __init__(self, mark: Mark, concurrency: int) -> None:
        self._mark = mark
        self._pid = os.getpid()
        self._streams: tuple[TextIO, TextIO] | None = None
        self._alone = concurrency == 1
        self._nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._libc = ctypes.CDLL(None)
        names = ("PROC_NUMBER", "PYTASKFARMER_TASK_ID", "PYTASKFARMER_SLOT", "PYTASKFARMER_ATTEMPT")
        self._variables = [_Variable(name, self._libc) for name in names]
        self._last: Call | None = None
        self._entered = self._cpu_at_entry = 0.0
        self._peak = 0

    @property
    def pad(self) -> memoryview:
        """What the servant may write on."""
        return self._mark.pad

    def enter(self, call: Call) -> None:
        """Let a call be what this process does."""
        self._mark.write(call.facts.slot + 1)
        log = self._nowhere if call.log < 0 else call.log
        os.dup2(log, 1)
        os.dup2(log, 2)
        if call is not self._last:
            self._last = call
            self._restore_streams()
            facts = call.facts
            for variable, number in zip(self._variables, (facts.id, facts.id, facts.slot, facts.attempt), strict=True):
                variable.set(number)
        self._entered, self._cpu_at_entry = time.monotonic(), self._cost()

    def leave(self, call: Call) -> None:
        """Write out what the call has printed so far, and let go of its log."""
        call.cpu += self._cost() - self._cpu_at_entry
        call.seconds += time.monotonic() - self._entered
        self.flush()
        os.dup2(self._nowhere, 1)
        os.dup2(self._nowhere, 2)
        self._mark.write(BETWEEN)

    def _restore_streams(self) -> None:
        """Undo what earlier tasks did to `sys.stdout` and `sys.stderr`."""
        out, err = self._streams = self._streams or (sys.stdout, sys.stderr)
        if sys.stdout is out and sys.stderr is err and not (_is_closed(out) or _is_closed(err)):
            return
        self._streams = sys.stdout, sys.stderr = _open(out, 1), _open(err, 2)

    def end_if_forked(self, status: int) -> None:
        """End this process if it is a copy of the worker that a task has made: it has no calls to answer."""
        if os.getpid() != self._pid:
            self.flush()
            os._exit(status)

    def received(self) -> None:
        """Take note that a call is held, if none is executing."""
        self._mark.write(BETWEEN)

    def nothing_in_flight(self) -> None:
        """Take note that no call is held."""
        self._mark.write(IDLE)

    def flush(self) -> None:
        """Write out what Python and the C library hold back."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, ValueError, OSError):
                pass  # the task has closed or replaced it, or its disk is full
        self._libc.fflush(None)

    def peak(self, call: Call) -> int:
        """Return the peak memory in bytes since the last call that took long enough to be worth the question."""
        if call.seconds < _WORTH_IT or not self._alone:
            return self._peak
        try:
            with open("/proc/self/status", "rb") as file:
                line = next(line for line in file if line.startswith(b"VmHWM:"))
            with open("/proc/self/clear_refs", "wb") as file:
                file.write(_RESET_PEAK)
            return int(line.split()[1]) * 1024
        except (OSError, StopIteration):
            return self._peak

    def _cost(self) -> float:
        """Return the CPU time in seconds until now, with that of children that were waited for."""
        own, below = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        self._peak = own.ru_maxrss * 1024
        return own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime


def _open(stream: TextIO, number: int) -> TextIO:
    """Return a stream, or one in its place if it is closed."""
    if not _is_closed(stream):
        return stream
    return open(number, "w", buffering=1, errors="backslashreplace", closefd=False)


def _is_closed(stream: TextIO) -> bool:
    try:
        return stream.closed
    except ValueError:  # it has lost its buffer
        return True
