"""A disk that fails where it is told to, and processes that die before or inside a change of a shared file."""

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass

from pytaskfarmer.workdir.layout import disk

_WRITES = ("append", "pwrite")
_TAIL = 3  # of the bytes at a file's end, a write to the timeline replaces these
KINDS = ("die", "tear", "short", "full", "cut", "close")


class Died(BaseException):
    """The process is gone."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong in one action, at the first fitting change from number `after` on.

    die: the process is killed before that change. tear: it is killed inside a write, after about `size` bytes.
    short: a write comes to a full disk after about `size` bytes, and the next one finds room again. full: nothing more
    can be written or created. cut: a file is not made shorter. close: only now is it told that earlier writes failed.
    """

    kind: str
    after: int
    size: int


class Fate:
    """Stands before each change of a shared file, and lets the fault happen.

    The dead change nothing any more, whatever their clean-up tries. `changes` counts what was tried.
    """

    def __init__(self, fault: Fault | None) -> None:
        self._fault = fault
        self.changes = 0
        self.happened = self.dead = False

    def before(self, operation: str, where: object) -> None:
        """See what happens to this change."""
        _limit(None)
        if self.dead:
            raise Died
        self.changes += 1
        fault = self._fault
        if fault is None or self.changes <= fault.after or (self.happened and fault.kind != "full"):
            return
        if fault.kind == "die":
            self.happened = self.dead = True
            raise Died
        if fault.kind in ("tear", "short") and operation in _WRITES:
            assert isinstance(where, int)
            self.happened = True
            self.dead = fault.kind == "tear"
            _limit(max(0, os.fstat(where).st_size - _TAIL) + fault.size)
        elif (
            (fault.kind == "full" and operation in _WRITES)
            or (fault.kind == "full" and operation == "create" and not os.path.exists(str(where)))
            or (fault.kind == "cut" and operation == "truncate")
        ):
            self._fail()
        elif fault.kind == "close" and operation == "close":
            assert isinstance(where, int)
            os.close(where)
            self._fail()

    def _fail(self) -> None:
        self.happened = True
        number = errno.ENOSPC if self._fault and self._fault.kind == "full" else errno.EIO
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def struck_by(fault: Fault | None) -> Iterator[Fate]:
    """Let the body meet its fate."""
    fate = Fate(fault)
    disk.before = fate.before
    try:
        yield fate
    finally:
        disk.before = None
        _limit(None)


def _limit(size: int | None) -> None:
    """Let the kernel refuse what a write would put beyond `size` bytes of a file."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most if size is None else size, most))
