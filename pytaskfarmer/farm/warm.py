"""One warm worker as its farmer sees it: a process, the line to it, and the calls it holds.

Whoever has a worker has all that its task has, so what comes over the line may be anything; `receive` lets through only
what makes sense.
"""

import errno
import fcntl
import math
import os
import socket
import struct
import termios
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pytaskfarmer.farm import process
from pytaskfarmer.farm.children import Child
from pytaskfarmer.farm.place import Place
from pytaskfarmer.plugins.contracts import Command
from pytaskfarmer.worker import wire
from pytaskfarmer.worker.wire import Kind, Message

_OF_A_CALL = wire.ENDS | {Kind.PART}
_NO_ROOM = frozenset({*process.NODE_IS_FULL, errno.ENOBUFS, errno.ETOOMANYREFS})
"""Why a message cannot be sent now."""


class Begun(NamedTuple):
    """A call was sent to its worker, in epoch seconds and on the monotonic clock."""

    slot: int
    began: float
    since: float


class HungUp(Exception):
    """The worker has closed its end of the line."""


@dataclass(slots=True)
class Call:
    """A task in a worker's slot; `output` is its log, open until the call is sent."""

    place: Place
    request: bytes
    output: int
    sent: bool = False
    parts: list[bytes] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Worker:
    """A worker, from its start until it is gone.

    `cancelled` says until when (monotonic clock) a call may take to end after it was cancelled; `overdue` are those
    that took longer, and others that are to blame for the kill of their worker. `had` counts all calls; one that is
    `leaving` gets no more.
    """

    child: Child
    line: socket.socket
    mark: wire.Mark
    finish: Callable[[int], Command | None] | None
    environment: Mapping[str, str]
    cpus: Collection[int] | None
    calls: dict[int, Call] = field(default_factory=dict)
    cancelled: dict[int, float] = field(default_factory=dict)
    overdue: frozenset[int] = frozenset()
    patience_ends: float | None = None
    had: int = 0
    ready: bool = False
    leaving: bool = False
    unfit: str | None = None

    @property
    def connected(self) -> bool:
        """Whether the line is open on this side."""
        return self.line.fileno() >= 0

    @property
    def listens(self) -> bool:
        """Whether calls can be sent."""
        return self.ready and self.connected

    @property
    def all_sent(self) -> bool:
        """Whether no call waits to be sent."""
        return all(call.sent for call in self.calls.values())

    @property
    def needs_tending(self) -> bool:
        """Whether something is due that it will not tell by itself."""
        return bool(self.cancelled or self.patience_ends is not None or (self.listens and not self.all_sent))

    def send(self, call: Call) -> Begun | None:
        """Send a call, if there is room for it now, and close its log. Raises `HungUp` if the worker has."""
        task, attempt, slot = call.place
        message = Message(Kind.CALL, slot, attempt, id=task.id, payload=call.request)
        try:
            socket.send_fds(self.line, [wire.encode(message)], [call.output])
        except (BrokenPipeError, ConnectionResetError):
            self.leaving = True
            raise HungUp from None
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            return None
        call.sent = True
        os.close(call.output)
        return Begun(slot, time.time(), time.monotonic())

    def cancel(self, slot: int, until: float) -> bool:
        """Tell the worker to give up one call; return False if it does not hear that."""
        try:
            self.line.send(wire.encode(Message(Kind.CANCEL, slot)))
        except OSError:
            return False
        self.cancelled[slot] = until
        return True

    def receive(self) -> Message | None:
        """Return what the worker has said next, or None. Raises `HungUp`, or ValueError for what makes no sense."""
        try:
            data = self.line.recv(wire.LARGEST_MESSAGE)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            data = b""
        if not data:
            raise HungUp
        try:
            message = wire.decode(data)
        except struct.error as error:
            raise ValueError(str(error)) from error
        if message.kind in _OF_A_CALL:
            call = self.calls.get(message.slot)
            if call is None or not call.sent:
                raise ValueError(f"slot {message.slot} has no call")
            if message.kind in wire.ENDS and (message.id != call.place.task.id or not math.isfinite(message.cpu)):
                raise ValueError(f"the end of a call that slot {message.slot} does not have")
        return message

    def has_read_all(self) -> bool:
        """Whether it has taken in all that was sent."""
        try:
            return fcntl.ioctl(self.line.fileno(), termios.TIOCOUTQ, bytes(4)) == bytes(4)
        except (OSError, ValueError):
            return False  # the line is closed
