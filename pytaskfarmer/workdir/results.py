"""What tasks returned: a file a farmer (NAME; see below for NAME.1, NAME.2 ...), with one record a result.

A record is a line that says which attempt it was, how and when it ended, how many bytes follow and their CRC-32; then
the bytes, and a newline. An attempt of a warm worker that failed has a record, too, of what it had handed over.

A result is kept before its task is noted as ended, so a finished task that returned something has a record. A task that
ran twice, since a crash came in between, has two: the latest counts. A record that a crash tore is the last of its
file, since nobody but that farmer appends there, and it does not count. Where a full disk tore one and it could not be
cut off, its farmer goes on in another file, since readers would not find what comes after it.

Where it still fails: like the logs, results are forced to the disk only now and then; a node that loses its power may
lose the latest although the books know their tasks as finished.
"""

import contextlib
import itertools
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from pytaskfarmer.task import Attempt, Outcome
from pytaskfarmer.workdir.layout import Layout, disk

_HEADER = re.compile(rb"(\d+) (\d+) ([a-z_]+) (-?\d+) (\d+\.\d+) (\d+) ([0-9a-f]{8})\n")
_AT_A_TIME = 1 << 24
_MOST_OPEN = 64
_LONGEST_HEADER = 200


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended and where its result lies: `size` bytes from `offset` of `file`. `time` is epoch seconds."""

    task_id: int
    attempt: int
    outcome: Outcome
    status: int
    time: float
    file: str
    offset: int
    size: int
    crc: int

    def read(self) -> bytes | None:
        """Return the bytes, or None where a crash has torn them."""
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            data = file.read(self.size + 1)
        whole = len(data) == self.size + 1 and zlib.crc32(data[:-1]) == self.crc
        return data[:-1] if whole else None


class Results:
    """Where the results of one farmer's tasks go; the file is made for the first of them."""

    def __init__(self, layout: Layout, farmer: str) -> None:
        self._layout, self._name = layout, farmer
        self._names = (f"{farmer}.{number}" for number in itertools.count(1))
        self._file, self._size = -1, 0
        self.unsynced = False

    def keep(self, attempt: Attempt, data: bytes) -> None:
        """Append a result. Raises OSError, with nothing appended."""
        if self._file < 0:
            os.makedirs(self._layout.results, exist_ok=True)
            path = self._layout.results_of(self._name)
            self._file = disk.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            self._size = os.fstat(self._file).st_size
        header = b"%d %d %b %d %.6f %d %08x\n" % (
            attempt.task.id, attempt.number, attempt.outcome.value.encode(), attempt.status,
            attempt.start + attempt.duration, len(data), zlib.crc32(data),
        )  # fmt: skip
        record = header + data + b"\n"
        try:
            disk.append(self._file, record)
        except OSError:
            self._take_back()
            raise
        self._size += len(record)
        self.unsynced = True

    def _take_back(self) -> None:
        """Cut off what was written of a record, or leave the file as it is and go on in another."""
        try:
            disk.truncate(self._file, self._size)
        except OSError:
            with contextlib.suppress(OSError):
                self.close()
            self._name = next(self._names)

    def sync(self) -> None:
        """Force what was kept to the disk. Raises OSError."""
        if self.unsynced:
            disk.sync(self._file)
            self.unsynced = False

    def close(self) -> None:
        """Force what was kept to the disk, and let go of the file."""
        if self._file < 0:
            return
        with contextlib.suppress(OSError):  # as with the logs
            self.sync()
        fd, self._file, self.unsynced = self._file, -1, False
        disk.close(fd)


def latest(layout: Layout) -> dict[int, Result]:
    """Return the latest whole result of each task that succeeded and has one, by id in ascending order."""
    found: dict[int, Result] = {}
    for name in _names(layout):
        for result in scan(layout.results_of(name)):
            known = found.get(result.task_id)
            newer = known is None or result.time >= known.time
            if newer and result.outcome is Outcome.SUCCESS and result.read() is not None:
                found[result.task_id] = result
    return dict(sorted(found.items()))


def scan(path: str, offset: int = 0) -> Iterator[Result]:
    """Yield the records of one file from `offset` on, where a record begins; one that is not whole yet ends it."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(offset)
        while header := _HEADER.fullmatch(file.readline(_LONGEST_HEADER)):
            result = _record(header, path, offset)
            offset = result.offset + result.size + 1
            if offset > size:
                return
            yield result
            file.seek(offset)


class Following:
    """All results of a work directory, as they come; a few dozen of its files are kept open."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._files: dict[str, int] = {}
        self._read: dict[str, int] = {}

    def new(self) -> Iterator[tuple[Result, bytes]]:
        """Yield the results, with their bytes, that were added since the last call."""
        for name in _names(self._layout):
            path = self._layout.results_of(name)
            fd = self._files.get(name)
            if fd is not None:
                yield from self._rest(name, path, fd)
                continue
            fd = disk.open(path, os.O_RDONLY)
            if len(self._files) < _MOST_OPEN:
                self._files[name] = fd
                yield from self._rest(name, path, fd)
                continue
            try:
                yield from self._rest(name, path, fd)
            finally:
                os.close(fd)

    def _rest(self, name: str, path: str, fd: int) -> Iterator[tuple[Result, bytes]]:
        self._read.setdefault(name, 0)
        room = _AT_A_TIME
        while data := os.pread(fd, room, self._read[name]):
            start = end = 0
            while header := _HEADER.match(data, start):
                result = _record(header, path, self._read[name])
                begin, end = header.end(), header.end() + result.size
                if end >= len(data):
                    break
                start = end + 1
                yield result, data[begin:end]
            self._read[name] += start
            if start:
                room = _AT_A_TIME
            elif header is None or self._read[name] + end >= os.fstat(fd).st_size:
                return  # not whole yet
            else:
                room = end + 1

    def close(self) -> None:
        """Let go of the files."""
        while self._files:
            os.close(self._files.popitem()[1])


def _record(header: re.Match[bytes], path: str, offset: int) -> Result:
    """Return what a header says that lies `offset` bytes behind the beginning of what it was found in."""
    task_id, attempt, outcome, status, time, length, crc = header.groups()
    return Result(
        int(task_id), int(attempt), Outcome(outcome.decode()), int(status), float(time), path, offset + header.end(),
        int(length), int(crc, 16),
    )  # fmt: skip


def _names(layout: Layout) -> list[str]:
    try:
        return sorted(os.listdir(layout.results))
    except FileNotFoundError:
        return []
