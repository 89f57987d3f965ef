"""The task list as its handler reads it: streamed, checked, fingerprinted, and written out as a stack."""

import hashlib
import os
import random
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pytaskfarmer.errors import DefinitionError, FarmError, TasklistError
from pytaskfarmer.plugins.contracts import Handler, Tasklist
from pytaskfarmer.task import defect, encode
from pytaskfarmer.workdir import records
from pytaskfarmer.workdir.layout import FORWARD_SUFFIX, disk

_BLOCK = 1 << 16
_GLANCE = 0.25

Heed = Callable[[int], None]
"""Is told now and then how many tasks have been read, and ends the reading by raising something."""


@dataclass(frozen=True, slots=True)
class Source:
    """A task list, and the handler (by `name`, with `options`) that reads it."""

    tasklist: Tasklist
    handler: Handler
    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The list's path."""
        return self.tasklist.path

    def prepare(self) -> None:
        """Let the handler make what must be there before tasks run. Raises `DefinitionError`."""
        try:
            getattr(self.handler, "prepare", lambda tasklist: None)(self.tasklist)
        except FarmError:
            raise
        except (Exception, SystemExit) as error:
            raise DefinitionError(self._who, f"{type(error).__name__}: {error}") from error

    def stat(self) -> os.stat_result:
        """Return size and time of the list. Raises `TasklistError`."""
        try:
            return os.stat(self.path)
        except OSError as error:
            raise TasklistError(self.path, None, f"{error.strerror}.") from None

    def stream(self) -> Iterator[tuple[int, bytes]]:
        """Yield id and text of every task. Raises `TasklistError`, or `DefinitionError` where the handler is wrong."""
        task_id = -1
        try:
            for task_id, text in enumerate(self.handler.tasks(self.tasklist)):
                if not isinstance(text, str):
                    raise DefinitionError(self._who, f"yielded {text!r} as task {task_id}; a task must be a str.")
                line = encode(text)
                wrong = defect(line)
                if wrong:
                    raise TasklistError(self.path, None, f"task {task_id} {wrong}.")
                yield task_id, line
        except FarmError:
            raise
        except OSError as error:
            raise TasklistError(error.filename or self.path, None, f"{error.strerror}.") from None
        except (Exception, SystemExit) as error:
            problem = f"failed at task {task_id + 1}: {type(error).__name__}: {error}"
            raise DefinitionError(self._who, problem) from error

    @property
    def _who(self) -> str:
        return f"handler {self.name!r}"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a list holds: the number of tasks, a digest of all their texts, and one of the first `prefix` of them."""

    tasks: int
    digest: str
    prefix_digest: str | None
    size: int
    mtime_ns: int


class Reading:
    """One pass over a list: how many tasks it has given so far, and the digest of their texts."""

    def __init__(self, source: Source, heed: Heed | None = None) -> None:
        self._source, self._heed = source, heed
        self._before = source.stat()
        self._digest = hashlib.sha256()
        self.tasks = 0

    @property
    def digest(self) -> str:
        """The digest of what was given so far."""
        return self._digest.hexdigest()

    def stream(self) -> Iterator[tuple[int, bytes]]:
        """Yield what `Source.stream` does."""
        for task_id, text in heeded(self._source.stream(), self._heed):
            self._digest.update(text + b"\n")
            self.tasks = task_id + 1
            yield task_id, text

    def fingerprint(self, prefix_digest: str | None = None) -> Fingerprint:
        """Return what this pass has found."""
        return Fingerprint(self.tasks, self.digest, prefix_digest, self._before.st_size, self._before.st_mtime_ns)


def heeded(tasks: Iterator[tuple[int, bytes]], heed: Heed | None) -> Iterator[tuple[int, bytes]]:
    """Return `tasks` such that `heed`, if there is one, hears of them while they are read."""
    return tasks if heed is None else _heeded(tasks, heed)


def _heeded(tasks: Iterator[tuple[int, bytes]], heed: Heed) -> Iterator[tuple[int, bytes]]:
    due = time.monotonic() + _GLANCE
    for task in tasks:
        if time.monotonic() >= due:
            heed(task[0])
            due = time.monotonic() + _GLANCE
        yield task


def fingerprint(source: Source, prefix: int = 0, heed: Heed | None = None) -> Fingerprint:
    """Read the whole list and check each task. Raises `FarmError`, and what `heed` raises."""
    reading = Reading(source, heed)
    at_prefix = reading.digest if prefix == 0 else None
    for _ in reading.stream():
        if reading.tasks == prefix:
            at_prefix = reading.digest
    return reading.fingerprint(at_prefix)


def write_stack(path: str, tasks: Iterable[tuple[int, bytes]], seed: str | None) -> None:
    """Write tasks to a private file so that the first is the last line; in random order if there is a `seed`.

    Bounded memory, but for 8 bytes a task in random order.
    """
    forward = path + FORWARD_SUFFIX
    try:
        disk.write_file(forward, records.blocks(records.line_of(*task) for task in tasks), sync=False)
        with open(forward, "rb") as file:
            lines = _lines_backwards(file.fileno()) if seed is None else _lines_shuffled(file.fileno(), seed)
            disk.write_file(path, records.blocks(lines))
    finally:
        disk.unlink(forward)


def append_stack(path: str, draft: str, tasks: Iterable[tuple[int, bytes]]) -> None:
    """Put tasks on top of the stack at `path`, the first of them uppermost, by way of a private `draft`."""
    try:
        write_stack(draft, tasks, None)
        with open(draft, "rb") as lines:
            records.append(path, lines)
    finally:
        disk.unlink(draft)


def _lines_backwards(fd: int) -> Iterator[bytes]:
    end = os.fstat(fd).st_size
    rest = b""
    while end > 0:
        start = max(0, end - _BLOCK)
        lines = (os.pread(fd, end - start, start) + rest).split(b"\n")
        rest = lines[0]
        for line in reversed(lines[1:-1] if lines[-1] == b"" else lines[1:]):
            yield line + b"\n"
        end = start
    if rest:
        yield rest + b"\n"


def _lines_shuffled(fd: int, seed: str) -> Iterator[bytes]:
    offsets = array("Q", [0])
    with open(fd, "rb", closefd=False) as file:
        for line in file:
            offsets.append(offsets[-1] + len(line))
    order = array("Q", range(len(offsets) - 1))
    random.Random(seed).shuffle(order)
    for i in order:
        yield os.pread(fd, offsets[i + 1] - offsets[i], offsets[i])
