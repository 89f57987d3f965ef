"""What the files say about every task, by the precedence that restores the invariants.

`finished`/`failed` > claims of the living > `toprocess` > end notes of the dead > held by the dead, or named nowhere.

Pure: files become iterables of ids, and what has to be changed comes back as a value. One byte a task is all the
memory that it takes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytaskfarmer.task import Attempt, Outcome, Task
from pytaskfarmer.workdir.claims import Claims

_NOWHERE, _WAITING, _HELD, _DONE = range(4)
INTERRUPTIONS_ALLOWED = 2


@dataclass(slots=True)
class Census:
    """Where every task is, after `finished`, `failed`, the living and `toprocess` have been heard.

    `surplus` tells that `toprocess` has lines which contradict what ranks higher, or doubles; `doubles` that the
    books have a task twice. `lost` are tasks that the audit gave up, since they were running whenever a farmer died.
    """

    where: bytearray
    surplus: bool = False
    doubles: bool = False
    finished: int = 0
    failed: int = 0
    held: int = 0
    waiting: int = 0
    lost: tuple[int, ...] = ()

    @property
    def tasks(self) -> int:
        """The number of tasks in the list."""
        return len(self.where)

    def is_missing(self, task_id: int) -> bool:
        """Whether nothing that ranks at least as `toprocess` names the task."""
        return task_id < len(self.where) and self.where[task_id] == _NOWHERE

    def is_waiting(self, task_id: int) -> bool:
        """Whether `toprocess` is the place of this task."""
        return task_id < len(self.where) and self.where[task_id] == _WAITING


def take_census(
    tasks: int, finished: Iterable[int], failed: Iterable[int], living: Iterable[int], toprocess: Iterable[int]
) -> Census:
    """Hear the files in the order of their rank; ids beyond the list count as surplus."""
    where = bytearray(tasks)
    census = Census(where)
    for book, ids in (("finished", finished), ("failed", failed)):
        for task_id in ids:
            if task_id < tasks and where[task_id] == _NOWHERE:
                where[task_id] = _DONE
                setattr(census, book, getattr(census, book) + 1)
            else:
                census.doubles = True
    for task_id in living:
        if task_id < tasks and where[task_id] == _NOWHERE:
            where[task_id] = _HELD
            census.held += 1
    for task_id in toprocess:
        if task_id < tasks and where[task_id] == _NOWHERE:
            where[task_id] = _WAITING
            census.waiting += 1
        else:
            census.surplus = True
    return census


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the audit has to write.

    `record` goes to the books, `back` (id to text) to `toprocess`; `absent` ids do too, but no file knows their text,
    so the list must be read again. `interrupted` are (id, farmer) pairs.
    """

    record: tuple[Attempt, ...]
    back: Mapping[int, str]
    absent: frozenset[int]
    interrupted: tuple[tuple[int, str], ...]


def judge(census: Census, dead: Sequence[Claims], interruptions: Mapping[int, int]) -> Verdict:
    """Decide what becomes of each task that only the dead name, or nobody.

    `interruptions` counts how often each task was running before when its farmer died. One more than
    `INTERRUPTIONS_ALLOWED` and it fails with outcome `farmer_lost`: a task that takes its node down must not run for
    ever.
    """
    record: dict[int, Attempt] = {}
    back: dict[int, str] = {}
    interrupted: list[tuple[int, str]] = []
    for claims in dead:
        record.update((i, end) for i, end in claims.ended.items() if census.is_missing(i))
    for claims in dead:
        name = claims.farmer.name if claims.farmer else "unknown"
        for task_id, text in claims.texts.items():
            if not census.is_missing(task_id) or task_id in record:
                continue
            if task_id in claims.running:
                interrupted.append((task_id, name))
                if interruptions.get(task_id, 0) >= INTERRUPTIONS_ALLOWED:
                    record[task_id] = _lost(claims, task_id, text)
                    continue
            back[task_id] = text
    for task_id in record:
        back.pop(task_id, None)
    absent = frozenset(_ids_nowhere(census) - record.keys() - back.keys())
    return Verdict(tuple(record.values()), back, absent, tuple(interrupted))


def _ids_nowhere(census: Census) -> set[int]:
    ids: set[int] = set()
    found = census.where.find(_NOWHERE)
    while found >= 0:
        ids.add(found)
        found = census.where.find(_NOWHERE, found + 1)
    return ids


def _lost(claims: Claims, task_id: int, text: str) -> Attempt:
    number, slot, began = claims.running[task_id]
    return Attempt(Task(task_id, text), number, slot, Outcome.FARMER_LOST, -9, began, 0.0)
