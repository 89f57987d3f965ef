"""Where tasks print to: a file a task, one pack a farmer, or nothing.

With packs, a running task writes to the spool of its slot, a file inside the work directory, and its output is moved
to the farmer's pack when it has ended. So a crash loses nothing: the auditor knows from the claims which task ran in
which slot, and moves the spools of the dead into its own pack (`salvage`). Output is moved before the spool is
emptied, so dying in between doubles a record and never loses one. Output that is long, or for which the pack has no
room, becomes a file of its own by a rename: that takes no time, which is the loop's or the lock's, and no room.

The danger is a daemon that a task left behind: it may still hold the spool, and would write into the next task's
output. Killing a group does not reach it, and looking through /proc for it would cost more than the task. But a read
lease (`F_SETLEASE`) is granted only on a file that no process has open for writing, so taking one and giving it back
asks the kernel that question, in two microseconds. Hence the farmer keeps only a read-only descriptor of each spool;
the child's own is opened for it and closed after the spawn. If somebody writes still, or the file system knows no
leases (NFS does not) and nobody else can vouch for it, the spool is unlinked and the next task gets a new one.

A process that opens a spool for writing in the microseconds of the lease makes the kernel send a signal to the farmer:
SIGIO, whose default is death, unless the descriptor names another one. It names SIGURG, whose default is nothing, and
does so each time, since giving a lease back forgets it.
"""

import abc
import contextlib
import errno
import fcntl
import itertools
import os
import shlex
import signal
from collections.abc import Callable, Mapping

from pytaskfarmer.task import Attempt, Outcome, Task, encode
from pytaskfarmer.workdir.layout import Layout, disk
from pytaskfarmer.workdir.outputs import add_record

MODES = ("auto", "files", "pack", "none")
MOST_FILES = 10_000
"""The number of tasks up to which `auto` gives every task a file of its own."""

_LONG = 1 << 26
"""Bytes from which on output is not copied into a pack."""

UNKNOWN = -1
"""The task id of output that a crash left and that no claims explain."""


class Logs(abc.ABC):
    """Where the output of one farmer's tasks goes."""

    @abc.abstractmethod
    def open(self, task_id: int, slot: int) -> int:
        """Return a descriptor for the task's stdout and stderr, close-on-exec; the caller closes it after the spawn.

        The previous attempt in this slot must have been given to `end`. Raises OSError.
        """

    @abc.abstractmethod
    def resume(self, task_id: int, slot: int) -> int:
        """Return such a descriptor once more, for what belongs to the same attempt. Raises OSError."""

    @abc.abstractmethod
    def note(self, task_id: int, slot: int, text: str) -> None:
        """Add a line of the farmer's to what a task has printed, before its `end`; a full disk swallows it."""

    @abc.abstractmethod
    def end(self, attempt: Attempt) -> None:
        """Keep the output of an attempt that has ended, and make its slot ready for the next one.

        Raises OSError where the disk is full: nothing is lost then, and `end` is to be called again.
        """

    @abc.abstractmethod
    def where(self, task_id: int) -> str | None:
        """Return what a person opens or types to see the task's output, or None."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of everything; no task runs any more."""


class NoLogs(Logs):
    """What tasks print is thrown away."""

    def open(self, task_id: int, slot: int) -> int:
        """Open /dev/null."""
        return disk.open(os.devnull, os.O_WRONLY)

    def resume(self, task_id: int, slot: int) -> int:
        """Open /dev/null."""
        return self.open(task_id, slot)

    def note(self, task_id: int, slot: int, text: str) -> None:
        """Nothing is kept."""

    def end(self, attempt: Attempt) -> None:
        """Nothing is kept."""

    def where(self, task_id: int) -> str | None:
        """Nowhere."""
        return None

    def close(self) -> None:
        """Nothing is held."""


class FileLogs(Logs):
    """Every task has a file, from its first byte; those of earlier attempts are kept as `.1` (the oldest), `.2`, ..."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def open(self, task_id: int, slot: int) -> int:
        """Create the file; an earlier one is renamed."""
        path, flags = self._layout.log(task_id), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        try:
            return disk.open(path, flags)
        except FileExistsError:
            _make_way(path)
            return disk.open(path, flags)

    def resume(self, task_id: int, slot: int) -> int:
        """Open the file once more."""
        return disk.open(self._layout.log(task_id), os.O_WRONLY | os.O_APPEND)

    def note(self, task_id: int, slot: int, text: str) -> None:
        """Add a line to the file."""
        _add_line(self._layout.log(task_id), text)

    def end(self, attempt: Attempt) -> None:
        """Everything is where it belongs already."""

    def where(self, task_id: int) -> str | None:
        """Return the file's path."""
        return self._layout.log(task_id)

    def close(self) -> None:
        """Nothing is held."""


class PackLogs(Logs):
    """A bounded number of files, whatever the number of tasks: a pack, and a spool a slot.

    `no_strays` may vouch, where the file system cannot, that no process of the task that has just ended is left.
    """

    def __init__(self, layout: Layout, farmer: str, no_strays: Callable[[], bool]) -> None:
        self._layout, self._farmer, self._no_strays = layout, farmer, no_strays
        self._readers: dict[int, int] = {}
        self._pack = -1

    def open(self, task_id: int, slot: int) -> int:
        """Open the slot's spool, which is empty."""
        path, flags = self._layout.spool(self._farmer, slot), os.O_WRONLY | os.O_APPEND
        if slot in self._readers:
            return disk.open(path, flags)
        writer = disk.open(path, flags | os.O_CREAT | os.O_EXCL)
        try:
            self._readers[slot] = disk.open(path, os.O_RDONLY)
        except OSError:
            os.close(writer)
            disk.unlink(path)
            raise
        return writer

    def resume(self, task_id: int, slot: int) -> int:
        """Open the slot's spool once more."""
        return disk.open(self._layout.spool(self._farmer, slot), os.O_WRONLY | os.O_APPEND)

    def note(self, task_id: int, slot: int, text: str) -> None:
        """Add a line to the spool."""
        _add_line(self._layout.spool(self._farmer, slot), text)

    def end(self, attempt: Attempt) -> None:
        """Move the spool to the pack, or make it a file of its own."""
        reader = self._readers.get(attempt.slot)
        if reader is None:
            return
        reusable = _nobody_writes(reader)
        if reusable is None:
            reusable = self._no_strays()
        size = os.fstat(reader).st_size
        if size >= _LONG or (size and not self._packed(attempt, reader, size)):
            self._set_apart(attempt)
        elif not reusable:
            self._forget(attempt.slot)
        elif size:
            self._empty(attempt.slot)

    def _packed(self, attempt: Attempt, reader: int, size: int) -> bool:
        """Copy the spool to the pack; return False, with nothing copied, if there is no room."""
        try:
            if self._pack < 0:
                self._pack = _open_pack(self._layout, self._farmer)
            add_record(self._pack, attempt, reader, size)
        except OSError:
            return False
        return True

    def _set_apart(self, attempt: Attempt) -> None:
        _set_apart(self._layout, self._layout.spool(self._farmer, attempt.slot), attempt.task.id)
        os.close(self._readers.pop(attempt.slot))

    def where(self, task_id: int) -> str | None:
        """Return the command that prints it."""
        return f"pytaskfarmer logs {shlex.quote(self._layout.root)} {task_id}"

    def close(self) -> None:
        """Remove the spools, except one whose output could not be moved at all."""
        for slot, reader in list(self._readers.items()):
            if os.fstat(reader).st_size == 0:
                self._forget(slot)
            else:
                os.close(self._readers.pop(slot))
        if self._pack >= 0:
            fd, self._pack = self._pack, -1
            disk.close(fd)

    def _empty(self, slot: int) -> None:
        fd = disk.open(self._layout.spool(self._farmer, slot), os.O_WRONLY)
        try:
            disk.truncate(fd, 0)
        finally:
            disk.close(fd)

    def _forget(self, slot: int) -> None:
        disk.unlink(self._layout.spool(self._farmer, slot))
        os.close(self._readers.pop(slot))


def choose(mode: str, tasks: int) -> str:
    """Return what `auto` means for a list of that many tasks, or else `mode` itself."""
    if mode != "auto":
        return mode
    return "files" if tasks <= MOST_FILES else "pack"


def start(mode: str, layout: Layout, farmer: str, no_strays: Callable[[], bool] = lambda: False) -> Logs:
    """Return the logs of one farmer; `mode` is "files", "pack" or "none"."""
    if mode == "files":
        return FileLogs(layout)
    return PackLogs(layout, farmer, no_strays) if mode == "pack" else NoLogs()


def salvage(layout: Layout, dead: str, running: Mapping[int, tuple[int, int]], farmer: str) -> None:
    """Keep what the tasks of a dead farmer had printed: in the pack of `farmer`, as outcome farmer_lost, if not long.

    `running` maps each slot to the id and attempt of the task that was started there last. What is left of the dead
    must have been killed. Killed itself, it is repeated: some records are double then. Raises OSError.
    """
    prefix = os.path.basename(layout.spool(dead, 0))[:-1]
    endings = [name.removeprefix(prefix) for name in os.listdir(layout.logs) if name.startswith(prefix)]
    slots = sorted(int(ending) for ending in endings if ending.isdecimal())
    pack = -1
    try:
        for slot in slots:
            source = disk.open(layout.spool(dead, slot), os.O_RDONLY)
            try:
                facts = os.fstat(source)
                task_id, number = running.get(slot, (UNKNOWN, 0))
                if facts.st_size >= _LONG and task_id != UNKNOWN:
                    _set_apart(layout, layout.spool(dead, slot), task_id)
                elif facts.st_size:
                    if pack < 0:
                        pack = _open_pack(layout, farmer)
                    lost = Attempt(Task(task_id, ""), number, slot, Outcome.FARMER_LOST, 0, facts.st_mtime, 0)
                    add_record(pack, lost, source, facts.st_size)
            finally:
                os.close(source)
    finally:
        if pack >= 0:
            disk.close(pack)
    for slot in slots:
        disk.unlink(layout.spool(dead, slot))


def _set_apart(layout: Layout, spool: str, task_id: int) -> None:
    """Make a spool the file of its task."""
    path = layout.log(task_id)
    if os.path.lexists(path):
        _make_way(path)
    disk.rename(spool, path)


def _make_way(path: str) -> None:
    """Give the output of an earlier attempt the next number."""
    names = (f"{path}.{number}" for number in itertools.count(1))
    disk.rename(path, next(name for name in names if not os.path.lexists(name)))


def _open_pack(layout: Layout, farmer: str) -> int:
    return disk.open(layout.pack(farmer), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _nobody_writes(reader: int) -> bool | None:
    """Whether no process has the file open for writing; None where the file system cannot tell."""
    fcntl.fcntl(reader, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(reader, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return False if error.errno == errno.EAGAIN else None
    fcntl.fcntl(reader, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def _add_line(path: str, text: str) -> None:
    with contextlib.suppress(OSError):
        fd = disk.open(path, os.O_RDWR | os.O_APPEND)
        try:
            size = os.fstat(fd).st_size
            unfinished = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            disk.append(fd, b"\n" * unfinished + encode(text) + b"\n")
        finally:
            disk.close(fd)
