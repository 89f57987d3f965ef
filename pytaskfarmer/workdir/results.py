"""What tasks returned: a file a farmer, with one record a result.

A record is a line that says which attempt it was, when, how many bytes follow and their CRC-32, then the bytes and a
newline. A result is kept before its task is noted as ended, so a finished task that returned something has a record. A
task that ran twice, since a crash came in between, has two: the latest counts. A record that a crash tore is the last
of its file, since nobody but that farmer appends there, and it does not count.

Where it still fails: like the logs, results are forced to the disk only now and then; a node that loses its power may
lose the latest although the books know their tasks as finished.
"""

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from pytaskfarmer.task import Attempt
from pytaskfarmer.workdir.layout import Layout, disk

_HEADER = re.compile(rb"(\d+) (\d+) (\d+\.\d+) (\d+) ([0-9a-f]{8})\n")
_LONGEST_HEADER = 200


@dataclass(frozen=True, slots=True)
class Result:
    """Where the result of an attempt lies: `size` bytes from `offset` of `file`. `time` is epoch seconds."""

    task_id: int
    attempt: int
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
        self._layout, self._farmer = layout, farmer
        self._file = -1
        self._unsynced = False

    def keep(self, attempt: Attempt, data: bytes) -> None:
        """Append a result. Raises OSError, with nothing appended."""
        if self._file < 0:
            os.makedirs(self._layout.results, exist_ok=True)
            path = self._layout.results_of(self._farmer)
            self._file = disk.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        header = b"%d %d %.6f %d %08x\n" % (
            attempt.task.id, attempt.number, attempt.start + attempt.duration, len(data), zlib.crc32(data),
        )  # fmt: skip
        size = os.fstat(self._file).st_size
        try:
            disk.append(self._file, header + data + b"\n")
        except OSError:
            disk.truncate(self._file, size)
            raise
        self._unsynced = True

    def sync(self) -> None:
        """Force what was kept to the disk. Raises OSError."""
        if self._unsynced:
            disk.sync(self._file)
            self._unsynced = False

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            fd, self._file = self._file, -1
            disk.close(fd)


def latest(layout: Layout) -> dict[int, Result]:
    """Return the latest whole result of each task that has one, by id in ascending order."""
    found: dict[int, Result] = {}
    for result in _scan(layout):
        known = found.get(result.task_id)
        if (known is None or result.time >= known.time) and result.read() is not None:
            found[result.task_id] = result
    return dict(sorted(found.items()))


def _scan(layout: Layout) -> Iterator[Result]:
    try:
        names = sorted(os.listdir(layout.results))
    except FileNotFoundError:
        return
    for name in names:
        path = layout.results_of(name)
        with open(path, "rb") as file:
            offset = 0
            while header := _HEADER.fullmatch(line := file.readline(_LONGEST_HEADER)):
                task_id, attempt, time, length, crc = header.groups()
                offset += len(line)
                size = int(length)
                yield Result(int(task_id), int(attempt), float(time), path, offset, size, int(crc, 16))
                offset += size + 1
                file.seek(offset)
