"""When the list, or the wish for it, has changed: grow, update, retry. All in a section, after the dead were audited.

A task that changes its place is first noted in this farmer's own claims, then removed from where it was, then put
back, then noted as returned: whatever dies in between, the next audit finds it either here or there, never in both.
"""

import os
from array import array
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.task import Task, decode, printable
from pytaskfarmer.workdir import claims, records, register
from pytaskfarmer.workdir.books import Books
from pytaskfarmer.workdir.layout import disk
from pytaskfarmer.workdir.roster import Attendance
from pytaskfarmer.workdir.source import Fingerprint, Source, write_stack

_NOWHERE, _FINISHED, _FAILED, _WAITING, _HELD = range(5)
_PLACES = ("not recorded anywhere", "finished", "failed", "waiting", "running")


@dataclass(slots=True)
class _Differences:
    """How a list differs from what the work directory knows of it."""

    changed: dict[int, bytes] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)
    fixed: int | None = None
    """The first task that may not change, since it has finished or runs now."""


def take_over(
    books: Books, source: Source, news: Fingerprint, attendance: Attendance, *, update: bool, say: Callable[[str], None]
) -> None:
    """Make the register and the books agree with the list as it is now.

    Appended lines become tasks. With `update`, changed lines of tasks that have not finished replace the old ones, and
    those of failed tasks will run again. Raises `TasklistError`, with nothing changed, for every other edit.
    """
    known = books.register
    prefix = news.digest if news.tasks == known.tasks else news.prefix_digest
    differences, places = _Differences(), bytearray()
    if news.tasks < known.tasks or prefix != known.digest:
        differences, places = _compare(books, source, news, attendance)
    if (differences.changed or differences.missing) and (not update or differences.fixed is not None):
        raise _refusal(books, source, differences, places, update)
    with books.unsettling():
        _apply(books, differences, places)
        books.register = register.update(
            books.layout, known, source=source.path, size=news.size, mtime_ns=news.mtime_ns, tasks=news.tasks,
            digest=news.digest, generation=known.generation + 1,
        )  # fmt: skip
        books.give_back(books.own.held)
        if news.tasks > known.tasks:
            _append_new(books, source, known.tasks)
    for number, what in (
        (len(differences.changed), "changed"),
        (len(differences.missing), "removed"),
        (news.tasks - known.tasks, "appended"),
    ):
        if number > 0:
            say(f"the list has changed; lines {what}: {number:,}")


def _append_new(books: Books, source: Source, first: int) -> None:
    private = books.layout.draft(books.own.farmer.name)
    try:
        write_stack(private, (task for task in source.stream() if task[0] >= first), None)
        with open(private, "rb") as lines:
            records.append(books.layout.toprocess, lines)
    finally:
        disk.unlink(private)


def _compare(books: Books, source: Source, news: Fingerprint, attendance: Attendance) -> tuple[_Differences, bytearray]:
    """Compare each task's text with what the books and the claims of the living say; 9 bytes a task of memory."""
    tasks = books.register.tasks
    places, texts = bytearray(tasks), array("q", bytes(8 * tasks))
    for task_id, text, place in _known_texts(books, attendance):
        if task_id < tasks and not places[task_id]:
            places[task_id], texts[task_id] = place, hash(text.strip())
    found = _Differences()
    for task_id, text in source.stream():
        if task_id < tasks and places[task_id] and hash(text.strip()) != texts[task_id]:
            found.changed[task_id] = text
    found.missing = [i for i in range(news.tasks, tasks) if places[i]]
    edited = chain(found.changed, found.missing)
    found.fixed = next((i for i in edited if places[i] in (_FINISHED, _HELD)), None)
    return found, places


def _known_texts(books: Books, attendance: Attendance) -> Iterator[tuple[int, bytes, int]]:
    layout = books.layout
    for path, place in ((layout.finished, _FINISHED), (layout.failed, _FAILED)):
        for task_id, text in records.scan(path):
            yield task_id, text, place
    for name in attendance.others:
        for task_id, held in claims.read(layout.claim(name)).texts.items():
            yield task_id, held.encode("utf-8", "surrogateescape"), _HELD
    for task_id, text in records.scan(layout.toprocess):
        yield task_id, text, _WAITING


def _refusal(books: Books, source: Source, differences: _Differences, places: bytearray, update: bool) -> TasklistError:
    first = min(chain(differences.changed, differences.missing)) if not update else differences.fixed
    assert first is not None
    old = (
        next(decode(text) for i, text, _ in _known_texts(books, Attendance()) if i == first)
        if places[first] != _HELD
        else ""
    )
    line = _line_number(source, first, differences.changed.get(first))
    was = f"task {first} was {printable(old, 60)!r}" if old else f"task {first} is running"
    now = (
        f"now {printable(decode(differences.changed[first]), 60)!r}" if first in differences.changed else "now missing"
    )
    place = _PLACES[places[first]]
    if places[first] in (_FINISHED, _HELD):
        remedy = f"It is {place}, so it cannot change: restore that line, or use another --workdir."
    else:
        remedy = f"It is {place}: use --update to take over changed lines, restore the list, or use another --workdir."
    return TasklistError(source.path, line, f"not the list of {books.layout.root}: {was}, {now}. {remedy}")


def _line_number(source: Source, task_id: int, text: bytes | None) -> int | None:
    """Return the number of the line in which the task stands, if the list holds tasks as they are."""
    if text is None:
        return None
    same = sum(1 for i, other in source.stream() if i <= task_id and other.strip() == text.strip())
    with open(source.path, "rb") as lines:
        numbers = (number for number, line in enumerate(lines, start=1) if line.strip() == text.strip())
        return next(islice(numbers, same - 1, None), None)


def _apply(books: Books, differences: _Differences, places: bytearray) -> None:
    """Note the changed lines as held and remove the old ones; the caller gives them back after the register."""
    gone = differences.changed.keys() | set(differences.missing)
    if not gone:
        return
    books.own.hold(list(differences.changed.items()))
    if any(places[i] == _FAILED for i in gone):
        _forget(books, books.layout.failed, gone)
        _forget(books, books.layout.interrupted, gone)
    if any(places[i] == _WAITING for i in gone):
        _forget(books, books.layout.toprocess, gone)


def _forget(books: Books, path: str, ids: Collection[int]) -> None:
    """Rewrite a file of records without some ids."""
    if not os.path.exists(path):
        return
    kept = (records.line_of(i, text) for i, text in records.scan(path) if i not in ids)
    disk.replace(path, records.blocks(kept))


def retry(books: Books, ids: Collection[int] | None) -> list[Task]:
    """Put failed tasks back on top of `toprocess`: those of `ids`, or all. Return them."""
    again = [(i, text) for i, text in records.scan(books.layout.failed) if ids is None or i in ids]
    if not again:
        return []
    chosen = {i for i, _ in again}
    with books.unsettling():
        tasks = books.own.hold(again)
        _forget(books, books.layout.failed, chosen)
        _forget(books, books.layout.interrupted, chosen)
        books.give_back(tasks)
    return tasks
