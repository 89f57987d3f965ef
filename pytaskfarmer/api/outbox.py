"""What a caller writes into the work directory: packed calls, the list of slices, and its jobs."""

import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from pytaskfarmer.api import variables
from pytaskfarmer.api.desk import Desk
from pytaskfarmer.api.faults import BrokenPool
from pytaskfarmer.api.forking import keep_from_children
from pytaskfarmer.api.request import JobLine, Place, Slice
from pytaskfarmer.errors import UsageError

_MOST_PACKED = 100  # things that are packed once


class Outbox:
    """The files that one caller appends to, from any thread. Raises `UsageError` if another caller has them.

    Methods raise OSError, with the file's name, where it cannot be written; and `BrokenPool` when it is closed, and in
    a child that was forked.
    """

    def __init__(self, desk: Desk) -> None:
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._packed: dict[bytes, Place] = {}
        self._jobs = open(desk.jobs, "ab", buffering=0)
        try:
            fcntl.flock(self._jobs, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._jobs.close()
            raise UsageError(f"{desk.root}: another process works with this directory; name another.") from None
        self._list = open(desk.list, "ab", buffering=0)
        self._calls = open(desk.calls, "ab")
        for file in (self._jobs, self._list):
            _mend(file)
        keep_from_children(self._jobs, self._list, self._calls)

    @property
    def is_ours(self) -> bool:
        """Whether this process has made it; else it is a fork of that one."""
        return self._owner == os.getpid()

    def check_owner(self) -> None:
        """Raise `BrokenPool` in a child that was forked."""
        if not self.is_ours:
            raise BrokenPool(f"this belongs to process {self._owner}, and this one is its fork; make another one here")

    def _check_open(self) -> None:
        if self._calls.closed:
            raise BrokenPool("the farm has ended before this call was listed")

    def pack(self, data: bytes) -> Place:
        """Append to the file of calls."""
        self.check_owner()
        with self._lock:
            self._check_open()
            place = Place(self._calls.tell(), len(data))
            _with_name(self._calls, self._calls.write, data)
        return place

    def pack_once(self, data: bytes) -> Place:
        """Append to the file of calls what is not there yet, as far as is known of the last things."""
        self.check_owner()
        digest = hashlib.sha256(data).digest()
        with self._lock:
            place = self._packed.pop(digest, None) or self.pack(data)
            self._packed[digest] = place
            if len(self._packed) > _MOST_PACKED:
                del self._packed[next(iter(self._packed))]
        return place

    def flush(self) -> None:
        """Let workers see what was packed."""
        self.check_owner()
        with self._lock:
            self._check_open()
            _with_name(self._calls, self._calls.flush)

    def announce(self, line: JobLine) -> None:
        """Tell the workers of a job; its function must be packed.

        Raises `UsageError` in a module that a worker imports: its own workers would import it, too, and so on.
        """
        self.check_owner()
        if variables.unpacking():
            raise UsageError('a module makes calls while it is imported; let it do that `if __name__ == "__main__":`.')
        with self._lock:
            self._check_open()
            _with_name(self._calls, self._calls.flush)
            _append(self._jobs, line.line())

    def list(self, slices: Sequence[Slice]) -> None:
        """Make tasks of slices, whose calls are packed. Raises OSError, and none is listed then."""
        self.check_owner()
        with self._lock:
            self._check_open()
            _with_name(self._calls, self._calls.flush)
            _append(self._list, "".join(asked.line() + "\n" for asked in slices))

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            for file in (self._jobs, self._list, self._calls):
                try:
                    file.close()
                except OSError:  # the disk is full: nobody waits any more for what is not written
                    pass


def _mend(file: BinaryIO) -> None:
    """Cut off what a crash has left of a line at the end of a file of lines."""
    with open(file.name, "rb") as old:
        size = sum(len(line) for line in old if line.endswith(b"\n"))
    file.truncate(size)


def _append(file: BinaryIO, lines: str) -> None:
    data = lines.encode()
    size = os.fstat(file.fileno()).st_size
    try:
        if _with_name(file, file.write, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)
    except OSError:
        file.truncate(size)
        raise


def _with_name(file: BinaryIO, act: Callable[..., Any], *arguments: object) -> Any:
    """Return what an operation on a file does; its OSError has the file's name."""
    try:
        return act(*arguments)
    except OSError as error:
        error.filename = file.name
        raise
