"""What farmer and worker say to each other: messages on a pair of SEQPACKET sockets, each whole or not at all.

    farmer                            worker
    <- READY, or UNFIT (text)         once, when its servant is made
    CALL (id, attempt, slot, text) -> with the descriptor of the task's log
    CANCEL (slot) ->                  for one of several calls
    <- PART (slot, bytes)             of a result, as many as it takes
    <- DONE (id, slot, status, cost)  all that the call printed is written, and the worker has let go of the log
    <- RETURNED (likewise, and bytes) DONE, with the rest of a result

A worker that has read the end of the line ends. What it is doing at each instant it writes into shared memory (the
mark), which survives its death: so of several tasks that it held, the farmer knows which one killed it.
"""

import enum
import mmap
import os
import socket
import struct
from typing import NamedTuple

ENVIRONMENT = "PYTASKFARMER_WORKER"
"""The variable that tells a worker the descriptors of its line and of the mark, and its concurrency."""

LONGEST_REQUEST = 131_072
"""Bytes; a message must fit into a socket's buffer."""

LARGEST_RESULT = 1 << 30
"""Bytes."""

SMALL_RESULT = 1 << 16
"""Bytes of a result up to which it comes with the word that the call is done."""

LARGEST_MESSAGE = 1 << 18
_PART = 1 << 17
_HEADER = struct.Struct("<BxxxiiiqdQ")
_MARK = struct.Struct("<q")
PAD = 64
"""Bytes beside the mark that are the servant's: what it writes there outlives it, and is added to its result."""

IDLE = 0
BETWEEN = -1
"""Marks: holding no call, and holding some of which none is executing; else the slot + 1 of the one that is."""


class Kind(enum.IntEnum):
    """What a message is."""

    READY = 1
    UNFIT = 2
    CALL = 3
    CANCEL = 4
    PART = 5
    DONE = 6
    RETURNED = 7


ENDS = frozenset({Kind.DONE, Kind.RETURNED})


class Message(NamedTuple):
    """One message; what a kind does not need is 0. `status` is an exit status, `cpu` in seconds, `peak` in bytes."""

    kind: Kind
    slot: int = 0
    attempt: int = 0
    status: int = 0
    id: int = 0
    cpu: float = 0.0
    peak: int = 0
    payload: bytes = b""


def encode(message: Message) -> bytes:
    """Return the bytes of a message."""
    return _HEADER.pack(*message[:7]) + message.payload


def decode(data: bytes) -> Message:
    """Return the message that `encode` was given."""
    kind, slot, attempt, status, task_id, cpu, peak = _HEADER.unpack_from(data)
    return Message(Kind(kind), slot, attempt, status, task_id, cpu, peak, data[_HEADER.size :])


def parts(slot: int, result: bytes) -> list[Message]:
    """Cut a result into messages."""
    starts = range(0, len(result), _PART) or [0]
    return [Message(Kind.PART, slot, payload=result[start : start + _PART]) for start in starts]


def pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a new line: the farmer's, which never blocks, and the worker's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


class Mark:
    """A number in memory that farmer and worker share through a descriptor, and a pad beside it."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _MARK.size + PAD)

    @staticmethod
    def make() -> int:
        """Return the descriptor of a new mark."""
        descriptor = os.memfd_create("mark")
        os.ftruncate(descriptor, _MARK.size + PAD)
        return descriptor

    def write(self, value: int) -> None:
        """Set the number; costs no system call."""
        _MARK.pack_into(self._memory, 0, value)

    def read(self) -> int:
        """Return the number."""
        value: int = _MARK.unpack_from(self._memory)[0]
        return value

    @property
    def pad(self) -> memoryview:
        """The servant's part; whoever has it must release it before `close`."""
        return memoryview(self._memory)[_MARK.size :]

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
