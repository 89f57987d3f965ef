"""The audit: from whatever the dead left behind, back to every task in exactly one place.

Any claims file that nobody holds makes all of it necessary, never a part: nobody can know which of its steps the dead
farmer, or an auditor that died too, had done. So the audit may be killed anywhere, and repeating it changes nothing.
The order is what makes that true. What the dead had ended goes to the books first; then `toprocess` takes back what
is named nowhere; then it is noted who was interrupted; and the claims of the dead go last.

All functions here are for the holder of the main lock, in a section. One of them runs a user's handler there, as
`revision` does: after a crash that lost tasks which only the list knows, the list is read while the lock is held. To
read it before would mean to find out twice what is lost, for the rarest of repairs.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from pytaskfarmer.errors import WorkdirError
from pytaskfarmer.task import Attempt, Outcome, decode, encode
from pytaskfarmer.workdir import audit, claims, logs, records, timeline
from pytaskfarmer.workdir.audit import Census
from pytaskfarmer.workdir.books import Books
from pytaskfarmer.workdir.claims import Claims
from pytaskfarmer.workdir.layout import FORWARD_SUFFIX, TMP_SUFFIX, Layout, disk
from pytaskfarmer.workdir.roster import Attendance
from pytaskfarmer.workdir.source import fingerprint


def restore(books: Books, attendance: Attendance, *, absent_too: bool = True) -> Census:
    """Restore the invariants, and return where every task now is.

    Without `absent_too`, tasks that no file knows stay missing, and then the dead stay too, for the next full audit:
    for a list that must be compared first, and for commands that have none.
    """
    layout = books.layout
    dead = [claims.read(layout.claim(name)) for name in attendance.dead]
    census = _take_census(books, attendance)
    verdict = audit.judge(census, dead, _counted(records.ids(layout.interrupted)))
    back = dict(verdict.back)
    if verdict.absent and absent_too:
        back.update(_texts_of(books, verdict.absent))
    with books.unsettling():
        if census.doubles:
            _drop_doubles(layout, census)
        with books.recording(verdict.record):
            _plot_for(books, dead, verdict.record)
        _put_back(layout, census, back)
        if verdict.interrupted:
            lines = [records.line_of(task_id, name.encode()) for task_id, name in verdict.interrupted]
            records.append(layout.interrupted, lines)
        if absent_too or not verdict.absent:
            _bury(books, attendance.dead, dead)
    books.unsettled = books.unsettled and not absent_too
    succeeded = sum(end.outcome is Outcome.SUCCESS for end in verdict.record)
    census.finished += succeeded
    census.failed += len(verdict.record) - succeeded
    census.waiting += len(back)
    census.lost = tuple(end.task.id for end in verdict.record if end.outcome is Outcome.FARMER_LOST)
    return census


def sweep(books: Books, attendance: Attendance) -> Census:
    """Audit, and let other leaving farmers know that it was done."""
    census = restore(books, attendance)
    number = sweeps(books.layout) + 1
    fd = disk.open(books.layout.sweep, os.O_RDWR | os.O_CREAT)
    try:
        disk.pwrite(fd, b"%020d\n" % number, 0)
    finally:
        disk.close(fd)
    return census


def sweeps(layout: Layout) -> int:
    """Return how many sweeps this run has seen; needs no lock."""
    try:
        with open(layout.sweep, "rb") as file:
            return int(file.read() or b"0")
    except (FileNotFoundError, ValueError):
        return 0


def seconds_since_sweep(layout: Layout) -> float:
    """Return how long ago the last sweep was. One from the future, by a clock that goes wrong, was long ago."""
    try:
        ago = time.time() - os.stat(layout.sweep).st_mtime
    except FileNotFoundError:
        return float("inf")
    return ago if ago >= 0 else float("inf")


def _take_census(books: Books, attendance: Attendance) -> Census:
    layout = books.layout
    living = chain(books.own.ids, *(claims.read(layout.claim(name)).ids for name in attendance.others))
    finished, failed, toprocess = map(records.ids, (layout.finished, layout.failed, layout.toprocess))
    return audit.take_census(books.register.tasks, finished, failed, living, toprocess)


def _counted(ids: Iterable[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for task_id in ids:
        counts[task_id] = counts.get(task_id, 0) + 1
    return counts


def _texts_of(books: Books, absent: frozenset[int]) -> dict[int, str]:
    """Read from the list what no file in the work directory knows any more."""
    source, known = books.source, books.register
    if source is None:
        raise WorkdirError(f"{books.layout.root}: a crash lost {len(absent)} tasks; run the task list to restore them.")
    now = fingerprint(source, known.tasks)  # always, since a handler may read more than the list's file
    if now.prefix_digest != known.digest:
        raise WorkdirError(
            f"{source.path}: the list, or what its handler reads, was changed during the run, and a crash lost "
            f"{len(absent)} tasks that only the list knows. Restore it as it was and run it again."
        )
    return {task_id: decode(text) for task_id, text in source.stream() if task_id in absent}


def _put_back(layout: Layout, census: Census, back: Mapping[int, str]) -> None:
    """Append to `toprocess`, or rewrite it if it holds what is elsewhere."""
    top = [records.line_of(task_id, encode(back[task_id])) for task_id in sorted(back, reverse=True)]
    if census.surplus:
        disk.replace(layout.toprocess, records.blocks(chain(_waiting(layout, census), top)))
    elif top:
        records.append(layout.toprocess, top)


def _waiting(layout: Layout, census: Census) -> Iterator[bytes]:
    heard = bytearray(census.tasks)
    for task_id, text in records.scan(layout.toprocess):
        if census.is_waiting(task_id) and not heard[task_id]:
            heard[task_id] = 1
            yield records.line_of(task_id, text)


def _drop_doubles(layout: Layout, census: Census) -> None:
    """Keep the first line of each task in `finished` and `failed`; only leases can make this necessary."""
    heard = bytearray(census.tasks)

    def first_lines(path: str) -> Iterator[bytes]:
        for task_id, text in records.scan(path):
            if task_id < census.tasks and not heard[task_id]:
                heard[task_id] = 1
                yield records.line_of(task_id, text)

    for path in (layout.finished, layout.failed):
        if os.path.exists(path):
            disk.replace(path, records.blocks(first_lines(path)))


def _plot_for(books: Books, dead: Sequence[Claims], recorded: Sequence[Attempt]) -> None:
    """Give the dead the events that they had no time to write."""
    path = books.layout.timeline
    timeline.repair(path)
    lost = [end for end in recorded if end.outcome is Outcome.FARMER_LOST]
    for left in dead:
        ended = [*left.unplotted, *(end for end in lost if end.task.id in left.running)]
        if not ended or left.farmer is None:
            continue
        there = {
            (event["args"].get("id"), event["args"].get("attempt"), event["pid"])
            for event in timeline.events_after(path, left.timeline_size)
            if event.get("cat") == "task"
        }
        missing = [end for end in ended if (end.task.id, end.number, left.lane) not in there]
        books.plot([timeline.task_event(end, left.lane, left.farmer.host) for end in missing])


def _bury(books: Books, names: Sequence[str], dead: Sequence[Claims]) -> None:
    """Keep what the tasks of the dead had printed, then remove their claims: the data first, the lock last."""
    layout = books.layout
    for name, left in zip(names, dead, strict=True):
        printed = {end.slot: (end.task.id, end.number) for end in left.ended.values()}
        printed |= {slot: (task_id, number) for task_id, (number, slot, _) in left.running.items()}
        logs.salvage(layout, name, printed, books.own.farmer.name)
    for name in names:
        for draft in (layout.draft(name), layout.draft(name) + FORWARD_SUFFIX, layout.claim(name) + TMP_SUFFIX):
            if os.path.exists(draft):
                disk.unlink(draft)
        disk.unlink(layout.claim(name))
        disk.unlink(layout.claim_lock(name))
        books.roster.forget(name)
