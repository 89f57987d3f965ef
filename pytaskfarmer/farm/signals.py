"""Signals, noted when they arrive and obeyed when the loop comes round.

A handler does one thing: it appends to a list. The interpreter writes a byte to a socket that the loop's selector
watches, so nothing sleeps through a signal. Handlers are put back when the context ends.

One signal often arrives twice, directly and forwarded by the guard, or because a batch system signals every process
of a step. So a signal counts as a second one only if it comes more than a second after the first; and a request to
suspend is over with the CONT that follows it, obeyed or not, since nobody would send another one.
"""

import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from pytaskfarmer.farm.process import pidfds_work
from pytaskfarmer.task import signal_name

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
SAME_SIGNAL_SECONDS = 1.0


@dataclass(slots=True)
class Requests:
    """What has been asked of this farmer so far. `stop` says why, `hurry` that the grace is to be skipped."""

    stop: str | None = None
    hurry: bool = False
    drain: bool = False
    suspend: bool = False
    stopped_at: float = 0.0


class Signals:
    """While entered, collects signals into `requests`; `fileno` becomes readable when one arrives.

    Signals that were blocked before are let in while it is entered, and no longer.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.requests = Requests()
        self._arrived: list[tuple[int, float]] = []
        # Under Grid Engine, USR2 announces the kill and must not be mistaken for a request to drain.
        self._usr2_stops = "SGE_TASK_ID" in environ
        self._wake, self._woken = socket.socketpair()
        self._before: dict[int, Any] = {}
        self._mask_before: set[int] = set()
        self._wakeup_before = -1

    def __enter__(self) -> "Signals":
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (*STOPPING, signal.SIGUSR2, signal.SIGTSTP, signal.SIGCONT):
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup
            self._before[number] = signal.signal(number, self._note)
        if not pidfds_work():
            self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, self._wake_up)
        self._mask_before = signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._wake.close()
        self._woken.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._arrived.append((number, time.monotonic()))

    def _wake_up(self, number: int, frame: FrameType | None) -> None:
        """Nothing: the byte that the interpreter writes is all."""

    def fileno(self) -> int:
        """What the loop watches."""
        return self._woken.fileno()

    def read(self) -> Requests:
        """Take in what has arrived."""
        try:
            while self._woken.recv(4096):
                pass
        except BlockingIOError:
            pass
        while self._arrived:
            number, at = self._arrived.pop(0)
            if number in {signal.SIGTSTP, signal.SIGCONT}:
                self.requests.suspend = number == signal.SIGTSTP
            elif number == signal.SIGUSR2 and not self._usr2_stops:
                self.requests.drain = True
            else:
                self.stop(signal_name(number), at)
        return self.requests

    def stop(self, why: str, at: float) -> None:
        """Ask for a stop; a second request later on asks for haste."""
        if self.requests.stop is None:
            self.requests.stop, self.requests.stopped_at = why, at
        elif at - self.requests.stopped_at > SAME_SIGNAL_SECONDS:
            self.requests.hurry = True
