"""The names of all files below a work directory, and the one seam through which they are changed.

Every change to a shared file goes through `disk`, so that a test can stand before each of them and kill, fill the
disk, or look. Modules of this room never call `os.write`, `os.rename` and their kin themselves.
"""

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

LOCK_SUFFIX = ".lock"
TMP_SUFFIX = ".tmp"
FORWARD_SUFFIX = ".forward"
_NOT_FOR_DIRECTORIES = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class Layout:
    """Every path of one work directory; `root` is absolute."""

    root: str

    def _at(self, *names: str) -> str:
        return "/".join((self.root, *names))

    @property
    def register(self) -> str:
        """What list this is, how it is locked and how far it has been set up: `tasklist.json`."""
        return self._at("tasklist.json")

    def spooled_list(self, digest: str) -> str:
        """A task list that came from standard input or a pipe, kept because it cannot be read twice."""
        return self._at(f"tasklist-{digest}")

    @property
    def lock(self) -> str:
        """The main lock L. Never deleted, truncated or renamed."""
        return self._at("lock")

    @property
    def lease(self) -> str:
        """The main lock where leases stand in for kernel locks."""
        return self._at("lock.lease")

    @property
    def toprocess(self) -> str:
        """A stack of `ID task` lines; the next task is the last line."""
        return self._at("toprocess")

    def draft(self, farmer: str) -> str:
        """Lines that `farmer` is preparing for `toprocess`."""
        return self._at(f"toprocess.{farmer}{TMP_SUFFIX}")

    @property
    def finished(self) -> str:
        """`ID task` lines of the tasks that succeeded."""
        return self._at("finished")

    @property
    def failed(self) -> str:
        """`ID task` lines of the tasks whose last attempt failed."""
        return self._at("failed")

    @property
    def interrupted(self) -> str:
        """`ID farmer` lines: tasks that were running when their farmer died."""
        return self._at("interrupted")

    @property
    def sweep(self) -> str:
        """The number of the last full audit, so that leaving farmers share one."""
        return self._at("sweep")

    @property
    def claims(self) -> str:
        """The directory in which every farmer has its claims file and its lock."""
        return self._at("claims")

    def claim(self, farmer: str) -> str:
        """The notes of one farmer."""
        return self._at("claims", farmer)

    def claim_lock(self, farmer: str) -> str:
        """The file whose lock is that farmer's life."""
        return self._at("claims", farmer + LOCK_SUFFIX)

    @property
    def timeline(self) -> str:
        """The Perfetto trace."""
        return self._at("timeline.json")

    @property
    def logs(self) -> str:
        """The directory of all task output."""
        return self._at("logs")

    def log(self, task_id: int) -> str:
        """The output of the latest attempt at a task, where every task has a file."""
        return self._at("logs", f"log_{task_id}")

    def pack(self, farmer: str) -> str:
        """The output of all tasks that `farmer` ended, one after the other."""
        return self._at("logs", f"pack_{farmer}")

    def spool(self, farmer: str, slot: int) -> str:
        """The output of the task that runs now in one slot of `farmer`."""
        return self._at("logs", f"spool_{farmer}_{slot}")

    @property
    def results(self) -> str:
        """The directory of what tasks returned, where there is such a thing."""
        return self._at("results")

    def results_of(self, farmer: str) -> str:
        """The results of all tasks that `farmer` ended, one after the other."""
        return self._at("results", farmer)

    @property
    def jobs(self) -> str:
        """The directory of what is known of batch jobs that were submitted for this list, and of their output."""
        return self._at("jobs")

    @property
    def job_notes(self) -> str:
        """One line for each job that was submitted, and one each time that it began."""
        return self._at("jobs", "notes")

    def job_output(self, job: str) -> str:
        """What a batch job has printed itself, by the id that its batch system calls it."""
        return self._at("jobs", f"{job}.out")


class Disk:
    """File operations on shared files.

    `before`, where set, is called with the operation's name and its path or descriptor before each change. Nothing is
    forced to the disk if not `durable`: for a directory that nobody would resume after a crash of the node.
    """

    def __init__(self) -> None:
        self.before: Callable[[str, object], None] | None = None
        self.durable = True

    def _announce(self, operation: str, where: object) -> None:
        if self.before is not None:
            self.before(operation, where)

    def open(self, path: str, flags: int, mode: int = 0o666) -> int:
        """Open close-on-exec; the mode is subject to the umask."""
        if flags & os.O_CREAT:
            self._announce("create", path)
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def append(self, fd: int, data: bytes) -> None:
        """Write `data` whole with one call, or raise: a short write is a full disk."""
        self._announce("append", fd)
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def pwrite(self, fd: int, data: bytes, offset: int) -> None:
        """Write `data` whole at `offset` with one call, or raise."""
        self._announce("pwrite", fd)
        if os.pwrite(fd, data, offset) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file off at `size` bytes."""
        self._announce("truncate", fd)
        os.ftruncate(fd, size)

    def close(self, fd: int) -> None:
        """Close, and raise what the server only now says about earlier writes."""
        self._announce("close", fd)
        os.close(fd)

    def sync(self, fd: int) -> None:
        """Force the file's data to the disk."""
        self._announce("sync", fd)
        if self.durable:
            os.fdatasync(fd)

    def rename(self, source: str, target: str) -> None:
        """Put `source` in the place of `target`, at once for everybody."""
        self._announce("rename", target)
        os.rename(source, target)

    def link(self, source: str, target: str) -> None:
        """Give `source` a second name; raises FileExistsError where somebody was first."""
        self._announce("link", target)
        os.link(source, target)

    def unlink(self, path: str) -> None:
        """Remove a name; one that is gone already is no error."""
        self._announce("unlink", path)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def leads_to(self, path: str, fd: int) -> bool:
        """Whether `path` still names the open file; opens it, since a cached answer of `stat` may be old."""
        try:
            other = self.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            mine, theirs = os.fstat(fd), os.fstat(other)
        finally:
            os.close(other)
        return (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino)

    def sync_directory(self, path: str) -> None:
        """Force the names in a directory to the disk."""
        if not self.durable:
            return
        fd = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in _NOT_FOR_DIRECTORIES:
                raise
        finally:
            os.close(fd)

    def write_file(self, path: str, chunks: Iterable[bytes], *, sync: bool = True) -> None:
        """Create or overwrite a file that nobody else reads yet."""
        fd = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            for chunk in chunks:
                self.append(fd, chunk)
            if sync:
                self.sync(fd)
        finally:
            os.close(fd)

    def replace(self, path: str, chunks: Iterable[bytes]) -> None:
        """Give `path` new contents: all of them or, whatever dies, none."""
        tmp = path + TMP_SUFFIX
        try:
            self.write_file(tmp, chunks)
        except OSError:
            self.unlink(tmp)
            raise
        self.rename(tmp, path)
        self.sync_directory(os.path.dirname(path))


disk = Disk()
