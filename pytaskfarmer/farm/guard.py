"""No task outlives its farmer.

Invariant: when a farmer is gone, whatever killed it, all processes that its tasks started are gone too, and only then
is its claims lock free.

What does not work. A child that learns pids over a pipe misses tasks started in the farmer's last microseconds. The
parent-death signal reaches children only, and a `setsid` daemon has left the group that one could kill.

What we do. The process that the user started becomes the guard: the parent of the farmer, and a child subreaper. When
the farmer dies, all that descends from it is reparented to the guard, which kills its children until it has none. It
needs no list of pids. It forwards signals and the exit status. The farmer is a subreaper as well, so that orphans of
its tasks are its own children while it lives; and it has a process group of its own, so that a kill of one group
leaves the other process to clean up. If the guard dies first, the farmer gets TERM and stops in the ordinary way.

The guard keeps the farmer's claims lock: its descriptor waits, unread, in the guard's end of a socket pair, where the
kernel holds on to it until the guard is gone. A `flock` belongs to the open file, so until then the claims read as
alive.

Where it fails. Processes stuck in the kernel: after 30 s the guard lets go and says so. And if guard and farmer are
killed in the same instant, the tasks live on until the next audit on this node finds them by their mark.
"""

import contextlib
import ctypes
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

from pytaskfarmer.farm import process
from pytaskfarmer.farm.signals import STOPPING
from pytaskfarmer.task import signal_name

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_PATIENCE = 30.0
_SHOW_CURSOR = "\033[?25h"
_FORWARDED = {*STOPPING, signal.SIGUSR2, signal.SIGTSTP}


class GuardLink:
    """The farmer's end of the line to its guard."""

    def __init__(self, line: socket.socket | None) -> None:
        self._line = line

    def keep(self, descriptor: int | None) -> None:
        """Let the guard hold an open file for as long as it lives."""
        if self._line is not None and descriptor is not None:
            with contextlib.suppress(ConnectionError):  # it has died, and TERM is on its way to us
                socket.send_fds(self._line, [b"."], [descriptor])


def under_guard(farm: Callable[[GuardLink], int]) -> int:
    """Run `farm` in a child and guard it; return its exit status, in both processes.

    Must be called while this process has no other children and a single thread of control. `farm` begins with the
    forwarded signals blocked, so that none is lost before it is ready for them (see `Signals`).
    """
    keep_inheritance_to_ourselves()
    guards_end, farmers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    forwarded = {n for n in _FORWARDED if not (n == signal.SIGHUP and signal.getsignal(n) is signal.SIG_IGN)}
    signal.signal(
        signal.SIGCHLD, signal.SIG_DFL
    )  # ignored, as some launchers leave it, it would lose every exit status
    signal.pthread_sigmask(signal.SIG_BLOCK, {*forwarded, signal.SIGCHLD})
    sys.stdout.flush()
    sys.stderr.flush()
    guard = os.getpid()
    farmer = os.fork()
    if farmer == 0:
        guards_end.close()
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})  # or tasks would begin with it blocked
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # we print from a background group, even under `stty tostop`
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != guard:
            os.kill(os.getpid(), signal.SIGTERM)
        return farm(GuardLink(farmers_end))
    farmers_end.close()
    status = _watch(farmer, forwarded)
    _kill_children()
    return status


def keep_inheritance_to_ourselves() -> None:
    """Make every descriptor above 2 close-on-exec, also those that the batch script left open."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError as error:
                if error.errno != errno.EBADF:
                    raise


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _watch(farmer: int, forwarded: set[signal.Signals]) -> int:
    """Forward signals until the farmer has ended; return the exit status that stands for its end.

    A farmer that stops because of our TSTP is followed, for the shell to see. One that somebody else stopped is not:
    whoever continues it need not know of us.
    """
    suspending = False
    while True:
        number = signal.sigwait({*forwarded, signal.SIGCHLD})
        if number != signal.SIGCHLD:
            suspending = suspending or number == signal.SIGTSTP
            os.kill(farmer, number)
            continue
        pid, status = os.waitpid(farmer, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):
            if suspending:
                suspending = False
                _write(_SHOW_CURSOR if sys.stderr.isatty() else "")
                os.kill(os.getpid(), signal.SIGSTOP)
                os.kill(farmer, signal.SIGCONT)
        elif pid and os.WIFEXITED(status):
            return os.WEXITSTATUS(status)
        elif pid:
            name = signal_name(os.WTERMSIG(status))
            _tell(f"the farmer was killed ({name}); nothing is lost: run the same command again to resume")
            return 128 + os.WTERMSIG(status)


def _kill_children() -> None:
    """Kill what was reparented to us until nothing is left."""
    give_up = time.monotonic() + _PATIENCE
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            continue
        children = process.children_of(os.getpid())
        if time.monotonic() > give_up:
            _tell(f"processes {children} do not die; they are stuck in the kernel")
            return
        for child in children:
            process.signal_process(child, signal.SIGKILL)
        time.sleep(0.001)


def _tell(line: str) -> None:
    before = _SHOW_CURSOR + "\n" if sys.stderr.isatty() else ""  # a live line was there
    _write(f"{before}pytaskfarmer: {line}\n")


def _write(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, end="", file=sys.stderr, flush=True)
