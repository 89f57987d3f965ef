"""Private directories on the node's own disk, one for each attempt at a task.

Invariant: of each farmer there is at most one directory, in which all others are made; whatever ends the farmer, that
directory is removed, if not by the farmer then by the next one of the same user on the node.

What does not work. Telling by a pid whether a farmer lives: in a container that number means another process, or none.
Removing trees in the farmer's loop: the other slots would wait. Ageing: nobody knows how long a task takes.

What we do. A farmer holds a `flock` on its directory, which the kernel releases when it dies. (It also keeps cleaners
that respect such locks, as systemd-tmpfiles does, from the files of a task that has run for days.) Whoever makes a
directory looks for others that can be locked and moves them into its own, to be removed together with the first task's:
a rename takes no time, and if this farmer is killed too, they are found again. Between making and locking a directory
somebody may do that to us, so its path must still lead to what was locked. Trees are removed by a process in the slot
of the task. What is to be kept is moved out of the farmer's directory, so everything in there is rubbish without it.

Where it fails. Locks may be known only to the machine that has them, on a file system that several share. So the name
of a directory holds the id that the kernel took when it started, and those of other machines, or from before a restart,
are left alone. Where directories cannot be locked at all, nothing is looked for.
"""

import contextlib
import errno
import fcntl
import itertools
import os
from collections.abc import Callable

from pytaskfarmer.errors import FarmError
from pytaskfarmer.plugins.contracts import Command, TaskContext
from pytaskfarmer.task import Task

KEEP = ("never", "failed", "always")

_PREFIX = "pytaskfarmer-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Finish = Callable[[int], Command | None]

_TIDY_UP = """
directory=$1 abandoned=$2 kept=$3 keep=$4 node=$5 ended=$6
shift 6
status=0
if [ $# -gt 0 ]; then "$@" || { status=$? ended=failed; }; fi
case $keep-$ended in
always-* | failed-failed)
    if [ -d "$directory" ] && command -p mv -T -- "$directory" "$kept"; then
        printf 'pytaskfarmer: kept the directory of this task: %s on %s\\n' "$kept" "$node"
    fi
    set -- ${abandoned:+"$abandoned"} ;;
*)
    set -- "$directory" ${abandoned:+"$abandoned"} ;;
esac
if [ $# -gt 0 ] && ! command -p rm -rf -- "$@" 2>/dev/null; then
    command -p chmod -R u+rwX -- "$@" 2>/dev/null
    command -p rm -rf -- "$@" || printf 'pytaskfarmer: could not remove %s on %s\\n' "$1" "$node"
fi
exit $status
"""
"""Runs what the runner wants done first, then removes or keeps. Only the former can make it fail: directories without
permissions are given them and removed, and what resists even that is mentioned, but is not the task's failure."""


class Scratch:
    """Hands out a fresh directory for each attempt, and what removes it.

    They are made below the directory `below`, None for $TMPDIR or else /tmp. `keep` says which are not removed: of
    attempts that "failed" (or were stopped), "always" all, or "never" any.

    Raises `ValueError` for a `below` in which nothing can be made and for another `keep`. Makes nothing before the
    first use, which is to be in the process that calls `close`.
    """

    def __init__(self, below: str | None = None, keep: str = "never") -> None:
        if keep not in KEEP:
            raise ValueError(f"keep is {keep!r}; it must be one of {', '.join(KEEP)}")
        self._place = _node_local() if below is None else expanded("tempdir", below)
        if not os.access(self._place, os.W_OK | os.X_OK) or not os.path.isdir(self._place):
            raise ValueError(f"tempdir: {self._place!r} is not a directory of this node in which you can create files")
        self._keep = keep
        self._node = os.uname().nodename
        self._directory: str | None = None
        self._lock = -1
        self._abandoned = ""

    @classmethod
    def wanted(cls, tempdir: str | bool | None, keep: str) -> "Scratch | None":
        """Return what the options of a runner ask for: `tempdir` is a yes or no, or the absolute path of `below`."""
        word = str(tempdir or "no").strip()
        if word.lower() in {"no", "false", "off", "0"}:
            if keep != "never":
                raise ValueError("keep is about the directories of tasks; it needs tempdir = true")
            return None
        if word.lower() in {"yes", "true", "on", "1"}:
            return cls(None, keep)
        if word[0] not in "/~$":
            raise ValueError(f"tempdir is {word!r}; it must be true, false, or the absolute path of a directory")
        return cls(word, keep)

    def fresh(self, task: Task, context: TaskContext) -> str:
        """Return the absolute path of a new, empty directory that only this user can enter.

        Raises `FarmError`, or OSError where the disk is full.
        """
        try:
            try:
                return self._fresh(f"{task.id}.{context.attempt}")
            except FileNotFoundError:  # somebody has cleaned up
                self.close()
                return self._fresh(f"{task.id}.{context.attempt}")
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:  # the task can wait for room, or go to another node
                raise
            raise FarmError(f"no directory for the task can be made below {self._place}: {error.strerror}") from error

    def finish(self, directory: str, also: Finish | None = None) -> Finish:
        """Return the `finish` of a command that had `directory`: it removes it, or keeps it and says so in the log.

        What `also` returns is run before that, and if it fails, the attempt has failed.
        """

        def finish(status: int) -> Command | None:
            first = also(status) if also is not None else None
            if first is None and not self._is_kept(status) and not self._abandoned and _vanishes(directory):
                return None
            return self._tidy_up(directory, status, first or Command(()))

        return finish

    def close(self) -> None:
        """Remove the farmer's directory, with whatever is still in it."""
        if self._directory is None:
            return
        if not _vanishes(self._directory):
            import shutil

            shutil.rmtree(self._directory, ignore_errors=True)
        os.close(self._lock)
        self._directory, self._lock, self._abandoned = None, -1, ""

    def _fresh(self, name: str) -> str:
        if self._directory is None:
            kernel = _kernel()
            self._directory, self._lock = _make(self._place, kernel)
            self._abandoned = _gather_abandoned(self._place, kernel, self._directory)
        for number in itertools.count():
            path = f"{self._directory}/{name}.{number}" if number else f"{self._directory}/{name}"
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                continue
            return path
        raise AssertionError  # there is always a next number

    def _is_kept(self, status: int) -> bool:
        return self._keep == "always" or (self._keep == "failed" and status != 0)

    def _tidy_up(self, directory: str, status: int, first: Command) -> Command:
        kept = f"{self._place}/{_PREFIX}kept-{os.urandom(4).hex()}-{os.path.basename(directory)}"
        ended = "failed" if status else "well"
        words = (directory, self._abandoned, kept, self._keep, self._node, ended)
        self._abandoned = ""
        argv = (first.program or first.argv[0], *first.argv[1:]) if first.argv else ()
        return Command(
            ("sh", "-c", _TIDY_UP, "sh", *words, *argv), "/bin/sh", environment=first.environment, cwd=first.cwd
        )


def expanded(option: str, path: str) -> str:
    """Return what `filled` returns, absolute."""
    return os.path.abspath(filled(option, path))


def filled(option: str, path: str) -> str:
    """Return `path` with `~` and `$NAME` replaced. Raises `ValueError` where the environment has no NAME."""
    whole = os.path.expandvars(os.path.expanduser(path))
    if "$" in whole:
        raise ValueError(
            f"{option} is {path!r}, and the environment lacks a variable of it; set it or name another path"
        )
    return whole


def _node_local() -> str:
    named = os.environ.get("TMPDIR", "")
    return os.path.abspath(named) if os.path.isdir(named) else "/tmp"  # that of a login node may not exist on this one


def _vanishes(directory: str) -> bool:
    """Whether an empty directory could be removed, or was gone already."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass
    except OSError:
        return False
    return True


# -- the directories of farmers


def _kernel() -> str:
    """Return what tells this machine, since its last start, from others; empty where nothing does."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read(8)
    except OSError:
        return ""


def _make(place: str, kernel: str) -> tuple[str, int]:
    """Return the path of a new directory, and the descriptor that holds its lock."""
    while True:
        path = f"{place}/{_PREFIX}{kernel}-{os.urandom(4).hex()}"
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
        try:
            lock = os.open(path, _DIRECTORY)
        except FileNotFoundError:  # somebody took it for abandoned; or, again, before it was locked
            continue
        if _is_locked(lock, or_cannot_be=True) and _leads_to(path, lock):
            return path, lock
        os.close(lock)


def _gather_abandoned(place: str, kernel: str, into: str) -> str:
    """Move the directories of dead farmers below `into`; return the path below which they are, empty if none was."""
    heap = ""
    for name in os.listdir(place) if kernel else ():
        path = f"{place}/{name}"
        if not name.startswith(f"{_PREFIX}{kernel}-") or path == into:
            continue
        try:
            lock = os.open(path, _DIRECTORY)
        except OSError:
            continue
        with contextlib.suppress(OSError):  # what cannot be moved stays
            if os.fstat(lock).st_uid == os.geteuid() and _is_locked(lock) and _leads_to(path, lock):
                heap = f"{into}/abandoned"
                os.makedirs(heap, 0o700, exist_ok=True)
                os.rename(path, f"{heap}/{name}")
        os.close(lock)
    return heap


def _is_locked(directory: int, or_cannot_be: bool = False) -> bool:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return or_cannot_be
    return True


def _leads_to(path: str, directory: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(directory))
    except FileNotFoundError:
        return False
