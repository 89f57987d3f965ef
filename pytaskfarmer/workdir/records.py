"""Files of `ID task` lines: read them whatever a crash did to them, append to them, take from their end.

A line counts only if it is complete: it ends in a newline, has no NUL byte, and starts with a decimal id and a blank.
What a crash tore is ignored by readers and cut off by the next writer, so a torn `12` of `123` is never task 12.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator

from pytaskfarmer.errors import WorkdirError
from pytaskfarmer.workdir.layout import disk

_BLOCK = 1 << 16


def line_of(task_id: int, text: bytes) -> bytes:
    """Return the line that stands for a task."""
    return b"%d %b\n" % (task_id, text)


def parse(line: bytes) -> tuple[int, bytes] | None:
    """Return the id and the text of a complete line, or None for a torn one."""
    number, blank, text = line.partition(b" ")
    if not blank or not line.endswith(b"\n") or not number.isdigit() or len(number) > 18 or b"\0" in line:
        return None
    return int(number), text[:-1]


def scan(path: str) -> Iterator[tuple[int, bytes]]:
    """Yield id and text of every complete line; a file that is not there has none."""
    try:
        lines = open(path, "rb")
    except FileNotFoundError:
        return
    with lines:
        for line in lines:
            record = parse(line)
            if record is not None:
                yield record


def ids(path: str) -> Iterator[int]:
    """Yield the id of every complete line."""
    for task_id, _ in scan(path):
        yield task_id


def blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Gather lines into pieces worth a write each."""
    gathered: list[bytes] = []
    size = 0
    for line in lines:
        gathered.append(line)
        size += len(line)
        if size >= _BLOCK:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def end_of_last_line(fd: int) -> int:
    """Return the offset just behind the last complete line, which is the size of a healthy file."""
    end = os.fstat(fd).st_size
    tail = b""
    while end > 0:
        start = max(0, end - _BLOCK)
        tail = os.pread(fd, end - start, start) + tail
        last = len(tail)
        while (newline := tail.rfind(b"\n", 0, last)) >= 0:
            before = tail.rfind(b"\n", 0, newline)
            if before < 0 and start > 0:
                break
            if b"\0" not in tail[before + 1 : newline]:
                return start + newline + 1
            last = newline
        end = start
    return 0


def count(path: str) -> int:
    """Return the number of lines, quickly; a torn one at the end is none."""
    try:
        file = open(path, "rb", buffering=0)
    except FileNotFoundError:
        return 0
    with file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(16 * _BLOCK), b""))


class Appending:
    """One file that a locked section appends to, and can put back as it was.

    Opening cuts a torn tail off. `size` is where the good lines ended at that moment, in bytes.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            self.size = end_of_last_line(self._fd)
            if self.size != os.fstat(self._fd).st_size:
                disk.truncate(self._fd, self.size)
        except OSError:
            os.close(self._fd)
            raise

    def write(self, lines: Iterable[bytes]) -> None:
        """Append complete lines with one write."""
        data = b"".join(lines)
        if data:
            disk.append(self._fd, data)

    def undo(self) -> None:
        """Cut off all that was appended, even after `close`.

        Raises `WorkdirError` if that fails: what stands there then is neither the old nor the new, only an audit by
        the next farmer can tell, and this one must not write again.
        """
        try:
            if self._fd < 0:
                self._fd = disk.open(self._path, os.O_RDWR)
            disk.truncate(self._fd, self.size)
        except OSError as error:
            raise WorkdirError(f"{self._path}: cannot take back a failed write ({error.strerror}).") from error

    def close(self) -> None:
        """Close; an OSError here means that the lines may not have arrived."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            disk.close(fd)


def append(path: str, lines: Iterable[bytes]) -> None:
    """Append lines to a file, all of them or none."""
    file = Appending(path)
    try:
        for block in blocks(lines):
            file.write([block])
        file.close()
    except OSError:
        file.undo()
        file.close()
        raise


class Stack:
    """The tail of `toprocess`, read to be cut off."""

    def __init__(self, path: str) -> None:
        self._fd = disk.open(path, os.O_RDWR)
        self.size = os.fstat(self._fd).st_size

    def top(self, count: int, expected_length: int) -> tuple[list[tuple[int, bytes]], int]:
        """Return up to `count` records from the end, the next one first, and the size that cutting them leaves.

        `expected_length` is a guess at the bytes of a line. What is torn is dropped with them.
        """
        want = max(_BLOCK // 16, count * expected_length * 5 // 4)
        while True:
            start = max(0, self.size - want)
            tail = os.pread(self._fd, self.size - start, start)
            first = 0 if start == 0 else tail.find(b"\n") + 1
            lines = tail[first:].split(b"\n") if start == 0 or first else []
            if start == 0 or len(lines) > count + 1:
                break
            want *= 4
        taken: list[tuple[int, bytes]] = []
        left = self.size - len(lines.pop()) if lines else self.size
        while lines and len(taken) < count:
            line = lines.pop() + b"\n"
            left -= len(line)
            record = parse(line)
            if record is not None:
                taken.append(record)
        return taken, left

    def cut(self, size: int) -> None:
        """Cut the file off at `size`, unless somebody else has changed it since it was read."""
        if os.fstat(self._fd).st_size != self.size:
            raise OSError(f"toprocess changed from {self.size} bytes inside a locked section")
        disk.truncate(self._fd, size)
        self.size = size

    def close(self) -> None:
        """Close; a cut is done by then, and there is nothing else to lose."""
        with contextlib.suppress(OSError):
            disk.close(self._fd)
