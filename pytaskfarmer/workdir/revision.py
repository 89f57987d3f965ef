"""When the list, or the wish for it, has changed: grow, update, retry. All in a section, after the dead were audited.

A task that changes its place is first noted in this farmer's own claims, then removed from where it was, then put
back, then noted as returned: whatever dies in between, the next audit finds it either here or there, never in both.

The list is read in the section, and with it the user's handler runs there: the exception to the rule that none of their
code does. What was compared must be what is taken over, while nobody else may take it over; and it is for the few
moments in which a list has changed. A handler that takes long, or for ever, keeps all farmers of the list from their
books meanwhile, as its reading before kept this one from opening.
"""

import os
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice

from pytaskfarmer.errors import TasklistError
from pytaskfarmer.task import Task, decode, encode, printable
from pytaskfarmer.workdir import claims, records, register
from pytaskfarmer.workdir.books import Books
from pytaskfarmer.workdir.layout import Layout, disk
from pytaskfarmer.workdir.register import Register
from pytaskfarmer.workdir.roster import Attendance
from pytaskfarmer.workdir.source import Fingerprint, Source, append_stack

_NOWHERE, _FINISHED, _FAILED, _WAITING, _HELD = range(5)
_PLACES = ("is lost", "has finished", "has failed", "has not run yet", "runs now")


@dataclass(slots=True)
class Differences:
    """How a list differs from what the work directory knows: new texts by id, ids that are gone, and where all were."""

    places: bytearray
    changed: dict[int, bytes] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)


def take_over(
    books: Books, source: Source, news: Fingerprint, attendance: Attendance, *, update: bool, say: Callable[[str], None]
) -> None:
    """Make the register and the books agree with the list as it is now.

    Appended lines become tasks. With `update`, changed lines of tasks that have not finished replace the old ones, and
    those of failed tasks will run again. Raises `TasklistError`, with nothing changed, for every other edit.
    """
    known = books.register
    differences = compare(books.layout, known, source, news, attendance.others, update=update)
    with books.unsettling():
        _apply(books, differences)
        books.register = register.update(
            books.layout, known, source=source.path, handler=source.name, options=dict(source.options), size=news.size,
            mtime_ns=news.mtime_ns, tasks=news.tasks, digest=news.digest, generation=known.generation + 1,
        )  # fmt: skip
        books.give_back(books.own.held)
        if news.tasks > known.tasks:
            new = (task for task in source.stream() if task[0] >= known.tasks)
            append_stack(books.layout.toprocess, books.layout.draft(books.own.farmer.name), new)
    for number, what in (
        (len(differences.changed), "changed"),
        (len(differences.missing), "removed"),
        (news.tasks - known.tasks, "appended"),
    ):
        if number > 0:
            say(f"the list has changed: {number:,} line{'' if number == 1 else 's'} {what}")


def compare(
    layout: Layout, known: Register, source: Source, news: Fingerprint, living: Sequence[str], *, update: bool
) -> Differences:
    """Compare each task's text with what the books and the claims of the `living` say; 9 bytes a task of memory.

    Appended tasks are no difference. Raises `TasklistError` for an edit that is not to be taken over.
    """
    found = Differences(bytearray(known.tasks))
    if known.digest in {news.prefix_digest, news.digest} and news.tasks >= known.tasks:
        return found
    places, texts = found.places, array("q", bytes(8 * known.tasks))
    for task_id, text, place in _known_texts(layout, living):
        if task_id < known.tasks and not places[task_id]:
            places[task_id], texts[task_id] = place, hash(text.strip())
    for task_id, text in source.stream():
        if task_id < known.tasks and places[task_id] and hash(text.strip()) != texts[task_id]:
            found.changed[task_id] = text
            if not update:
                break
    found.missing = [i for i in range(news.tasks, known.tasks) if places[i]]
    edited = sorted(chain(found.changed, found.missing))
    refused = [i for i in edited if not update or places[i] in {_FINISHED, _HELD}]
    if refused:
        raise _refusal(layout, source, found, refused[0], living)
    return found


def _known_texts(layout: Layout, living: Sequence[str]) -> Iterator[tuple[int, bytes, int]]:
    for path, place in ((layout.finished, _FINISHED), (layout.failed, _FAILED)):
        for task_id, text in records.scan(path):
            yield task_id, text, place
    for name in living:
        for task_id, held in claims.read(layout.claim(name)).texts.items():
            yield task_id, encode(held), _HELD
    for task_id, text in records.scan(layout.toprocess):
        yield task_id, text, _WAITING


def _refusal(layout: Layout, source: Source, found: Differences, first: int, living: Sequence[str]) -> TasklistError:
    old = next(decode(text) for task_id, text, _ in _known_texts(layout, living) if task_id == first)
    new = found.changed.get(first)
    now = "is missing now" if new is None else f"is now {printable(decode(new), 60)!r}"
    place = found.places[first]
    if place in {_FINISHED, _HELD}:
        remedy = f"It {_PLACES[place]}, so it cannot change: restore that line, or use another --workdir."
    else:
        remedy = f"It {_PLACES[place]}: take the change over with --update, restore the list, or use another --workdir."
    message = f"not the list of {layout.root}: task {first} was {printable(old, 60)!r} and {now}. {remedy}"
    return TasklistError(source.path, _line_number(source, first, new), message)


def _line_number(source: Source, task_id: int, text: bytes | None) -> int | None:
    """Return the number of the line in which the task stands, if the list holds tasks as they are."""
    if text is None:
        return None
    same = sum(1 for i, other in source.stream() if i <= task_id and other.strip() == text.strip())
    with open(source.path, "rb") as lines:
        numbers = (number for number, line in enumerate(lines, start=1) if line.strip() == text.strip())
        return next(islice(numbers, same - 1, None), None)


def _apply(books: Books, differences: Differences) -> None:
    """Note the changed lines as held and remove the old ones; the caller gives them back after the register."""
    layout = books.layout
    gone = differences.changed.keys() | set(differences.missing)
    places = {differences.places[task_id] for task_id in gone}
    books.own.hold(list(differences.changed.items()))
    if _FAILED in places:
        _forget(layout.failed, gone)
        _forget(layout.interrupted, gone)
    if _WAITING in places:
        _forget(layout.toprocess, gone)


def _forget(path: str, ids: Collection[int]) -> None:
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
        _forget(books.layout.failed, chosen)
        _forget(books.layout.interrupted, chosen)
        books.give_back(tasks)
    return tasks
