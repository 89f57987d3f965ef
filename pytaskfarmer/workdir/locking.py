"""Locks on shared files: the main lock L, and the locks that are farmers' lives.

Invariant: a lock that somebody holds cannot be taken by anybody else, and the kernel lets go of it when its holder
dies. A file `claims/<farmer>.lock` that can be locked therefore belongs to a dead farmer.

What does not work. `FileLock` objects: versions of them truncate or delete the file, fall back to another kind of
lock by themselves and unlock for everybody on garbage collection. Locks that are probed by onlookers: a probe makes
a registration fail. A lock file that is deleted or renamed: two processes then hold two locks of one name. POSIX
record locks: they belong to the process and vanish with the first descriptor of the file that it closes.

What we do. `flock` on descriptors that we open and keep ourselves, through filelock's descriptor functions; the
descriptor of a farmer's life is shared with its guard, so a farmer reads as alive until its tasks are gone.

Where it fails. Some file systems refuse kernel locks, or keep them within one node without saying so. For the first
there are leases: files whose holder refreshes them, and which expire. A lease cannot stop a process that was frozen
while it held one from writing once more when it wakes up; `overdue` makes that window small. The second is noticed
by a heartbeat that advances although the lock that should go with it is free.
"""

import errno
import os
import stat
import tempfile
import time
from typing import Protocol

from filelock import lock_descriptor, unlock_descriptor

from pytaskfarmer.errors import LockError
from pytaskfarmer.workdir.layout import TMP_SUFFIX, Layout, disk

FLOCK, LEASE = "flock", "lease"
LEASE_SECONDS = 60.0
_ENOTSUPP = 524  # the kernel's own, which no program should see; DVS, on the nodes of HPE Cray systems, lets it out
_REFUSED = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, _ENOTSUPP})


class MainLock(Protocol):
    """L: whoever holds it may change the shared files."""

    def try_acquire(self) -> bool:
        """Take the lock if it is free. Raises `LockError` where the file system has no such lock."""
        ...

    def release(self) -> None:
        """Let others have it."""
        ...

    def overdue(self) -> bool:
        """Whether the section has lasted so long that exclusion is no longer certain."""
        ...

    def holder(self) -> str:
        """Say, for a person, who holds it; empty where nobody can tell."""
        ...

    def close(self) -> None:
        """Let go of what was kept to take it; it is not held."""
        ...


class Life(Protocol):
    """A farmer's own claims lock, held from registration to death."""

    descriptor: int | None

    def held(self) -> bool:
        """Whether it is still ours, and the name still leads to it."""
        ...

    def beat(self) -> float:
        """Show that this farmer lives; return the time that the file system gives to it (its clock, seconds)."""
        ...

    def end(self) -> None:
        """Let others see that this farmer is no more, although its guard keeps a copy of the lock."""
        ...

    def drop(self) -> None:
        """Let go, at the very end."""
        ...


class Locks(Protocol):
    """One kind of lock."""

    kind: str

    def main(self) -> MainLock:
        """Return L, not held."""
        ...

    def live(self, path: str) -> Life:
        """Create and hold a claims lock; the name must be new."""
        ...

    def take_over(self, path: str) -> bool:
        """Take the claims lock of a dead farmer, and keep it; False while its farmer lives."""
        ...

    def forget(self, path: str) -> None:
        """Let go of a lock taken over."""
        ...

    def forget_all(self) -> None:
        """Let go of all of them: until then their farmers seem alive to everybody else, later farmers of ours too."""
        ...


def choose(layout: Layout, kind: str, lease_seconds: float = LEASE_SECONDS) -> Locks:
    """Return the locks of one kind for a work directory."""
    return Leases(layout, lease_seconds) if kind == LEASE else KernelLocks(layout)


def refusal(directory: str) -> str | None:
    """Say why kernel locks do not work in this directory, or return None: they do. Tried on a file of our own."""
    fd, path = tempfile.mkstemp(prefix="lock.", suffix=TMP_SUFFIX, dir=directory)
    try:
        lock_descriptor(fd, blocking=False)
    except OSError as error:
        if error.errno in _REFUSED:
            return os.strerror(error.errno)
        raise
    finally:
        os.close(fd)
        disk.unlink(path)
    return None


def _mode(path: str) -> int:
    """Return the mode of a new lock file: who can open it, if only to read, can keep everybody else from locking it."""
    return 0o660 if os.stat(os.path.dirname(path)).st_mode & stat.S_IWGRP else 0o600


def _lock(fd: int, path: str) -> bool:
    try:
        return lock_descriptor(fd, blocking=False)
    except OSError as error:
        if error.errno in _REFUSED:
            raise LockError(
                f"{path}: the file system refuses kernel locks ({error.strerror}). Use --lock lease."
            ) from None
        raise


class KernelLocks:
    """`flock`."""

    kind = FLOCK

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._taken: dict[str, int] = {}

    def main(self) -> "KernelMainLock":
        """Return L."""
        return KernelMainLock(self._layout.lock)

    def live(self, path: str) -> "KernelLife":
        """Create and hold a claims lock."""
        return KernelLife(path)

    def take_over(self, path: str) -> bool:
        """Take the lock of a dead farmer."""
        if path in self._taken:
            return True
        try:
            fd = disk.open(path, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            taken = _lock(fd, path)
        except BaseException:
            os.close(fd)
            raise
        if taken:
            self._taken[path] = fd
        else:
            os.close(fd)
        return taken

    def forget(self, path: str) -> None:
        """Let go of a lock taken over."""
        fd = self._taken.pop(path, None)
        if fd is not None:
            os.close(fd)

    def forget_all(self) -> None:
        """Let go of all of them."""
        while self._taken:
            os.close(self._taken.popitem()[1])


class KernelMainLock:
    """L as a kernel lock: one descriptor, kept; the file is never written."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = disk.open(path, os.O_RDWR | os.O_CREAT, _mode(path))

    def try_acquire(self) -> bool:
        """Take it if it is free."""
        return _lock(self._fd, self._path)

    def release(self) -> None:
        """Let go."""
        unlock_descriptor(self._fd)

    def overdue(self) -> bool:
        """Never: the kernel excludes others for as long as it takes."""
        return False

    def holder(self) -> str:
        """Find the holder in the kernel's table of this node's locks."""
        status = os.fstat(self._fd)
        inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        try:
            with open("/proc/locks") as table:
                held = [line.split() for line in table if "->" not in line]
        except OSError:
            return ""
        return next((f"process {words[4]} on this node" for words in held if words[5] == inode), "")

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)


class KernelLife:
    """A farmer's life as a kernel lock."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.descriptor: int | None = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _mode(path))
        if not _lock(self.descriptor, path):
            raise LockError(
                f"{path}: somebody locked a file that was made this instant. Is the clean-up of another tool at work?"
            )

    def held(self) -> bool:
        """Re-assert the lock: a farmer that was evicted learns of it here."""
        fd = self.descriptor
        return fd is not None and _lock(fd, self._path) and disk.leads_to(self._path, fd)

    def beat(self) -> float:
        """Touch the lock file."""
        assert self.descriptor is not None
        os.utime(self.descriptor)
        return os.fstat(self.descriptor).st_mtime

    def end(self) -> None:
        """Unlock the open file, and with it every copy of the descriptor."""
        if self.descriptor is not None:
            unlock_descriptor(self.descriptor)

    def drop(self) -> None:
        """Close the descriptor; the lock goes with the last copy of it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class Leases:
    """Lock files that their holder refreshes, for file systems without kernel locks."""

    kind = LEASE

    def __init__(self, layout: Layout, seconds: float) -> None:
        self._layout = layout
        self._seconds = seconds
        self._suspects: dict[str, LeaseLock] = {}

    def main(self) -> "LeaseMainLock":
        """Return L."""
        return LeaseMainLock(self._layout.lease, self._seconds)

    def live(self, path: str) -> "LeaseLife":
        """Create and hold a claims lease, which lasts longer than L's."""
        return LeaseLife(path, 2 * self._seconds)

    def take_over(self, path: str) -> bool:
        """Take an expired lease.

        One object a suspect is kept: expiry is measured by watching, which a fresh object would start anew.
        """
        suspect = self._suspects.setdefault(path, LeaseLock(path, 2 * self._seconds))
        # Some releases of filelock only clear a dead holder's file at the first try, and take the lock at the second.
        return suspect.held() or suspect.try_acquire() or suspect.try_acquire()

    def forget(self, path: str) -> None:
        """Let go of a lease taken over."""
        suspect = self._suspects.pop(path, None)
        if suspect is not None:
            suspect.release()

    def forget_all(self) -> None:
        """Let go of all of them."""
        for path in list(self._suspects):
            self.forget(path)


class LeaseLock:
    """One lease of filelock, with a try-lock that answers instead of raising."""

    def __init__(self, path: str, seconds: float) -> None:
        from filelock import SoftFileLease  # asyncio and more come with it: only where leases are used

        self.path = path
        self.seconds = seconds
        self._lease = SoftFileLease(path, lease_duration=seconds, thread_local=False)

    def try_acquire(self) -> bool:
        """Take the lease if it is free or has expired."""
        from filelock import Timeout

        try:
            self._lease.acquire(timeout=0)
        except Timeout:
            return False
        except (RuntimeError, ExceptionGroup) as error:
            self.release()  # filelock got no thread to refresh it, and may have failed to let go: the node is full
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), self.path) from error
        return True

    def held(self) -> bool:
        """Whether it is ours and nobody was seen to take it."""
        return self._lease.is_locked and self._lease.compromise is None

    def release(self) -> None:
        """Let go."""
        self._lease.release(force=True)

    def holder(self) -> str:
        """Name the process that the lock file names."""
        return f"process {self._lease.pid}" if self._lease.pid else ""


class LeaseMainLock:
    """L as a lease."""

    def __init__(self, path: str, seconds: float) -> None:
        self._lock = LeaseLock(path, seconds)
        self._since = 0.0

    def try_acquire(self) -> bool:
        """Take it if it is free or has expired."""
        taken = self._lock.try_acquire()
        self._since = time.monotonic()
        return taken

    def release(self) -> None:
        """Let go."""
        self._lock.release()

    def overdue(self) -> bool:
        """Whether a third of the lease is gone, or it was lost."""
        return not self._lock.held() or time.monotonic() - self._since > self._lock.seconds / 3

    def holder(self) -> str:
        """Name the holder."""
        return self._lock.holder()

    def close(self) -> None:
        """Nothing is kept."""


class LeaseLife:
    """A farmer's life as a lease; filelock refreshes it."""

    descriptor: int | None = None

    def __init__(self, path: str, seconds: float) -> None:
        self._lock = LeaseLock(path, seconds)
        if not self._lock.try_acquire():
            raise LockError(f"{path}: somebody took a lease that was made this instant.")
        self._inode = os.stat(path).st_ino

    def held(self) -> bool:
        """Whether nobody took it over."""
        try:
            return self._lock.held() and os.stat(self._lock.path).st_ino == self._inode
        except FileNotFoundError:
            return False

    def beat(self) -> float:
        """Return the lease's own last refresh."""
        try:
            return os.stat(self._lock.path).st_mtime
        except FileNotFoundError:
            return time.time()

    def end(self) -> None:
        """Let go, which removes the file."""
        self._lock.release()

    def drop(self) -> None:
        """Let go, which removes the file."""
        self._lock.release()
