"""A list that grows while it is farmed: what was appended becomes tasks, at the cost of reading just that.

Each line of such a list is a task. Whoever knows how far the list was read when the register was written, and the state
of its digest, need not read it again. A farmer knows once it has read the list from its beginning; after that it
follows what others make of it by reading the same lines.

As in `revision`, the register comes first: a crash before the lines are in `toprocess` leaves tasks that are nowhere,
which the next audit takes from the list.
"""

import hashlib
import os
from collections.abc import Iterator
from itertools import islice

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.workdir import records, register
from pytaskfarmer.workdir.books import Books
from pytaskfarmer.workdir.layout import disk
from pytaskfarmer.workdir.source import write_stack

_FEW = 4096


class Growth:
    """How much of the list at `path` this farmer has seen."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._offset = self._tasks = 0

    def shows(self) -> bool:
        """Whether there is more in the list than was seen; needs no lock."""
        return os.stat(self._path).st_size > self._offset

    def extend(self, books: Books) -> int:
        """Make tasks of the complete lines that nobody has taken yet; in a section. Return their number."""
        known = books.register
        for _, text in islice(self._lines(), known.tasks - self._tasks):
            self._see(text)
        if self._tasks < known.tasks:
            raise TasklistError(self._path, None, f"has {self._tasks} lines, and had {known.tasks}.")
        status, offset = os.stat(self._path), self._offset
        for _, text in self._lines():
            self._see(text)
        new = self._tasks - known.tasks
        if new:
            with books.unsettling():
                books.register = register.update(
                    books.layout, known, size=status.st_size, mtime_ns=status.st_mtime_ns, tasks=self._tasks,
                    digest=self._digest.hexdigest(), generation=known.generation + 1,
                )  # fmt: skip
                self._stack(books, islice(self._lines(offset, known.tasks), new), few=new <= _FEW)
        return new

    def _stack(self, books: Books, tasks: Iterator[tuple[int, bytes]], *, few: bool) -> None:
        """Put tasks on top of `toprocess`, the first of them uppermost."""
        if few:
            records.append(books.layout.toprocess, [records.line_of(*task) for task in tasks][::-1])
            return
        private = books.layout.draft(books.own.farmer.name)
        try:
            write_stack(private, tasks, None)
            with open(private, "rb") as lines:
                records.append(books.layout.toprocess, lines)
        finally:
            disk.unlink(private)

    def _see(self, text: bytes) -> None:
        self._digest.update(text + b"\n")
        self._offset += len(text) + 1
        self._tasks += 1

    def _lines(self, offset: int | None = None, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield number and text of each complete line from `offset` on, or of those not seen yet."""
        with open(self._path, "rb") as file:
            file.seek(self._offset if offset is None else offset)
            for number, line in enumerate(file, start=first):
                if not line.endswith(b"\n"):
                    return  # for good: the rest of it may come while we read, and is no line
                yield number, line[:-1]
