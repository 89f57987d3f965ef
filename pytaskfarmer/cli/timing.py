"""Runs of one list, one after the other, each by a command of its own whose time is taken.

The signals that stop a farmer are blocked while there is a study: each is handed on to what runs then, and is the end
of the study. The commands are in our process group, so that Ctrl-C and Ctrl-Z reach them as they reach us; a farmer
takes a signal that comes twice within a second for one. If we are killed, the kernel sends them TERM.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from types import TracebackType

from pytaskfarmer.farm.signals import STOPPING

_PR_SET_PDEATHSIG = 1
_GLANCE = 1.0


class Clock(AbstractContextManager["Clock"]):
    """While entered, runs commands to their end."""

    def __init__(self) -> None:
        self._stopped: str | None = None
        self._libc = ctypes.CDLL(None)  # not in the child, between fork and exec
        self._mask: Collection[int] = ()
        self._awaited: set[signal.Signals] = set()

    def __enter__(self) -> "Clock":
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as some launchers leave it, it would never arrive
        heard = {number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN}
        self._awaited = {*heard, signal.SIGCHLD}
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._awaited)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._take(0.0)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def run(self, argv: Sequence[str], *, farmer: bool) -> tuple[int, float | None]:
        """Run a command; return its exit status (that of a shell, if a signal has killed it) and its seconds.

        These are None if it was suspended in between.

        A `farmer` has the signals still blocked, and lets them in when it is ready for them. What else prints goes to
        standard error.
        """

        def prepare() -> None:
            self._libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM), 0, 0, 0)
            if not farmer:
                signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

        suspended = False
        begin = time.monotonic()
        with subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if farmer else 2,
            preexec_fn=prepare,  # noqa: PLW1509 - there is one thread
        ) as process:
            while process.poll() is None:
                if number := self._take(_GLANCE):
                    process.send_signal(number)
                suspended = suspended or _was_suspended(process.pid)
        seconds = time.monotonic() - begin
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return status, None if suspended else seconds

    def stopped(self) -> str | None:
        """Return the name of the signal that has ended the study, if one has."""
        self._take(0.0)
        return self._stopped

    def _take(self, patience: float) -> int | None:
        """Return a signal that is to be handed on, if one arrives before a child changes or the time is up."""
        end = time.monotonic() + patience
        while True:
            arrived = signal.sigtimedwait(self._awaited, max(0.0, end - time.monotonic()))
            if arrived is None or (arrived.si_signo == signal.SIGCHLD and patience):
                return None
            if arrived.si_signo != signal.SIGCHLD:
                self._stopped = signal.Signals(arrived.si_signo).name
                return arrived.si_signo


def _was_suspended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG) is not None
    except ChildProcessError:  # it has ended
        return False


def most_workers() -> tuple[int, str]:
    """Return how many workers `ulimit` leaves room for here, and the words for what limits them.

    Each worker needs a process for its task, and the farmer a few descriptors for each.
    """
    import resource

    from pytaskfarmer import allocation

    most, why = allocation.most_slots(), f"ulimit -n is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"
    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if limit != resource.RLIM_INFINITY:
        threads = _threads(os.getuid())
        if (left := limit - threads - _SPARE) < most:
            most, why = max(0, left), f"ulimit -u is {limit}, and {threads} threads are in use"
    return most, why


_SPARE = 16
"""Processes of a farmer itself, and of what is typed meanwhile."""


def _threads(uid: int) -> int:
    """Return how many threads of a user run, which is what the kernel counts."""
    total = 0
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                if os.stat(f"/proc/{name}").st_uid == uid:
                    total += len(os.listdir(f"/proc/{name}/task"))
            except OSError:  # gone meanwhile
                pass
    return total
