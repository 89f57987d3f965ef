"""A list that grows while it is farmed: what was appended becomes tasks, at the cost of reading just that.

Each line of such a list is a task. Whoever knows how far the list was read when the register was written, and the state
of its digest, need not read it again. A farmer knows once it has read the list from its beginning; after that it
follows what others make of it by reading the same lines.

As in `revision`, the register comes first: a crash before the lines are in `toprocess` leaves tasks that are nowhere,
which the next audit takes from the list.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from itertools import islice

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.workdir import records, register
from pytaskfarmer.workdir.books import Books
from pytaskfarmer.workdir.source import append_stack

_FEW = 4096


class _Seen:
    """The lines from the beginning of the list up to some point."""

    def __init__(self, digest: "hashlib._Hash", offset: int, tasks: int) -> None:
        self.digest, self.offset, self.tasks = digest, offset, tasks

    def copy(self) -> "_Seen":
        return _Seen(self.digest.copy(), self.offset, self.tasks)

    def add(self, lines: Iterable[tuple[int, bytes]]) -> None:
        for _, text in lines:
            self.digest.update(text + b"\n")
            self.offset += len(text) + 1
            self.tasks += 1


class Growth:
    """How much of the list at `path` this farmer has seen."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen = _Seen(hashlib.sha256(), 0, 0)
        self._size = 0

    def shows(self) -> bool:
        """Whether the list has grown since it was read; needs no lock. A list that is away shows nothing."""
        try:
            return os.stat(self._path).st_size > max(self._size, self._seen.offset)
        except OSError:
            return False

    def extend(self, books: Books) -> int:
        """Make tasks of the complete lines that nobody has taken yet; in a section. Return their number.

        After an OSError it is to be called again. If what failed was the last step, then what was new is nowhere: the
        books are unsettled, and an audit is to follow.
        """
        known, status, seen = books.register, os.stat(self._path), self._seen.copy()
        seen.add(islice(self._lines(seen.offset), known.tasks - seen.tasks))
        if seen.tasks < known.tasks:
            raise TasklistError(self._path, None, f"has {seen.tasks} lines, and had {known.tasks}.")
        offset = seen.offset
        seen.add(self._lines(offset))
        new = seen.tasks - known.tasks
        if new:
            with books.unsettling():
                books.register = register.update(
                    books.layout, known, size=status.st_size, mtime_ns=status.st_mtime_ns, tasks=seen.tasks,
                    digest=seen.digest.hexdigest(), generation=known.generation + 1,
                )  # fmt: skip
                _stack(books, islice(self._lines(offset, known.tasks), new), few=new <= _FEW)
        self._seen, self._size = seen, status.st_size
        return new

    def _lines(self, offset: int, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the text of each complete line from `offset` on, numbered from `first` on."""
        with open(self._path, "rb") as file:
            file.seek(offset)
            for number, line in enumerate(file, start=first):
                if not line.endswith(b"\n"):
                    return  # for good: the rest of it may come while we read, and is no line
                yield number, line[:-1]


def _stack(books: Books, tasks: Iterator[tuple[int, bytes]], *, few: bool) -> None:
    if few:
        records.append(books.layout.toprocess, [records.line_of(*task) for task in tasks][::-1])
    else:
        append_stack(books.layout.toprocess, books.layout.draft(books.own.farmer.name), tasks)
