"""What one farmer holds, written down so that nothing is lost when it dies.

A farmer's claims file is written by that farmer alone. Its first line says who it is; every further line is a note:

    hold ID TEXT                    taken from `toprocess`
    start ID ATTEMPT SLOT TIME      about to run
    unstart ID                      did not run after all
    end ID ATTEMPT SLOT OUTCOME STATUS TIME SECONDS CPU BYTES PID last|again
    recorded ID ID ...              now in `finished` or `failed`
    returned ID ID ...              now back in `toprocess`
    timeline SIZE                   the size of `timeline.json` after this farmer's last commit
    lane N                          its number in the timeline

`hold` is written before a task leaves `toprocess`, `recorded` and `returned` after it is back in the books, all three
inside the locked section; `start` and `end` are written without any lock. So whoever reads a dead farmer's notes knows
for each id whether it was waiting, running or ended, and only has to look whether the books already say more.
"""

import enum
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from pytaskfarmer.errors import IllegalMove
from pytaskfarmer.task import Attempt, Outcome, Task, decode, encode
from pytaskfarmer.workdir.identity import Farmer
from pytaskfarmer.workdir.layout import TMP_SUFFIX, disk

_COMPACT_ABOVE = 1 << 17


class Standing(enum.StrEnum):
    """Where a farmer's own task stands; `GONE` is in the books again."""

    HELD = "held"
    RUNNING = "running"
    ENDED = "ended"
    GONE = "gone"


_LEGAL = frozenset(
    {
        (None, Standing.HELD),
        (Standing.HELD, Standing.RUNNING),
        (Standing.RUNNING, Standing.HELD),
        (Standing.RUNNING, Standing.ENDED),
        (Standing.HELD, Standing.GONE),
        (Standing.ENDED, Standing.GONE),
    }
)


@dataclass(slots=True)
class Claims:
    """What a claims file says, as far as its lines are whole."""

    farmer: Farmer | None = None
    texts: dict[int, str] = field(default_factory=dict)
    running: dict[int, tuple[int, int, float]] = field(default_factory=dict)
    ended: dict[int, Attempt] = field(default_factory=dict)
    unplotted: list[Attempt] = field(default_factory=list)
    timeline_size: int = 0
    lane: int = 0

    @property
    def ids(self) -> Iterable[int]:
        """Every task that this farmer holds, whatever its standing."""
        return self.texts.keys()


def read(path: str) -> Claims:
    """Read a claims file; torn lines are ignored, an absent file holds nothing."""
    claims = Claims()
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return claims
    for line in lines[:-1]:
        if b"\0" not in line:
            try:
                _apply(claims, line)
            except (ValueError, KeyError, IndexError, TypeError):
                continue
    return claims


def _apply(claims: Claims, line: bytes) -> None:
    word, _, rest = line.partition(b" ")
    if word == b"hold":
        number, _, text = rest.partition(b" ")
        claims.texts[int(number)] = decode(text)
    elif word == b"start":
        number, attempt, slot, began = rest.split()
        claims.running[int(number)] = (int(attempt), int(slot), float(began))
    elif word == b"unstart":
        claims.running.pop(int(rest), None)
    elif word == b"end":
        attempt_ended, last = _parse_end(rest, claims.texts)
        claims.running.pop(attempt_ended.task.id, None)
        claims.unplotted.append(attempt_ended)
        if last:
            claims.ended[attempt_ended.task.id] = attempt_ended
    elif word in (b"recorded", b"returned"):
        for number in rest.split():
            for table in (claims.texts, claims.running, claims.ended):
                table.pop(int(number), None)
    elif word == b"timeline":
        claims.timeline_size = int(rest)
        claims.unplotted.clear()
    elif word == b"lane":
        claims.lane = int(rest)
    elif word == b"farmer":
        claims.farmer = Farmer(**json.loads(rest))


def _parse_end(rest: bytes, texts: Mapping[int, str]) -> tuple[Attempt, bool]:
    number, attempt, slot, outcome, status, start, seconds, cpu, memory, pid, last = rest.split()
    task = Task(int(number), texts[int(number)])
    ended = Attempt(
        task, int(attempt), int(slot), Outcome(outcome.decode()), int(status), float(start), float(seconds), float(cpu),
        int(memory), int(pid),
    )  # fmt: skip
    return ended, last == b"last"


def _end_note(a: Attempt, last: bool) -> bytes:
    return b"end %d %d %d %b %d %.6f %.6f %.6f %d %d %b\n" % (
        a.task.id, a.number, a.slot, a.outcome.value.encode(), a.status, a.start, a.duration, a.cpu, a.peak_memory,
        a.pid, b"last" if last else b"again",
    )  # fmt: skip


def _hold_note(task: Task) -> bytes:
    return b"hold %d %b\n" % (task.id, encode(task.text))


class OwnClaims:
    """This farmer's claims file.

    Notes gather until `flush`, so that one write covers the end of a task and the start of the next one; only `hold`
    writes at once, since a task must be noted here before it leaves `toprocess`. A write that fails with an OSError
    leaves the file as it was and the gathered notes gathered.
    """

    def __init__(self, path: str, farmer: Farmer) -> None:
        self._path = path
        self.farmer = farmer
        self.lane = 0
        self._timeline_size = 0
        self._standing: dict[int, Standing] = {}
        self._tasks: dict[int, Task] = {}
        self._ends: dict[int, Attempt] = {}
        self._starts: dict[int, bytes] = {}
        self._plotless: list[tuple[Attempt, bool]] = []
        self._gathered: list[bytes] = []
        self._fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        self._size = self._compacted_size = 0
        self._torn = False
        try:
            self._write(self._header(), publish=True)
        except OSError:
            self.close()
            disk.unlink(path)
            raise

    def _header(self) -> bytes:
        return b"farmer %b\n" % json.dumps(asdict(self.farmer)).encode()

    def _write(self, data: bytes, *, publish: bool = False) -> None:
        """Append whole lines. To `publish` them is to close the file: other nodes see them before they get L."""
        if self._torn:
            data = b"\0\n" + data  # what stands there must not become a note: it has a NUL byte now
        try:
            disk.append(self._fd, data)
            if publish:
                self._reopen()
        except OSError:
            self._torn = True
            disk.truncate(self._fd, self._size)
            self._torn = False
            raise
        self._size = os.fstat(self._fd).st_size if self._torn else self._size + len(data)
        self._torn = False

    def _reopen(self) -> None:
        fd, self._fd = self._fd, disk.open(self._path, os.O_RDWR | os.O_APPEND)
        disk.close(fd)

    def _move(self, task_id: int, to: Standing) -> None:
        before = self._standing.get(task_id)
        if (before, to) not in _LEGAL:
            raise IllegalMove(f"task {task_id} cannot go from {before} to {to}; notes: {self._history(task_id)}")
        if to is Standing.GONE:
            del self._standing[task_id], self._tasks[task_id]
            self._ends.pop(task_id, None)
            self._starts.pop(task_id, None)
        else:
            self._standing[task_id] = to

    def _history(self, task_id: int) -> list[str]:
        with open(self._path, "rb") as file:
            return [decode(line).strip() for line in file if b"%d" % task_id in line.split()[1:]]

    @property
    def count(self) -> int:
        """Tasks held, whatever their standing."""
        return len(self._standing)

    @property
    def ids(self) -> Iterable[int]:
        """The ids of all of them."""
        return self._standing.keys()

    @property
    def held(self) -> list[Task]:
        """Tasks that are neither running nor ended."""
        return [self._tasks[i] for i, standing in self._standing.items() if standing is Standing.HELD]

    @property
    def has_ends(self) -> bool:
        """Whether an attempt ended that is not in the books and the timeline yet."""
        return bool(self._plotless)

    @property
    def unrecorded(self) -> list[Attempt]:
        """Last attempts that ended and are in no book yet."""
        return list(self._ends.values())

    @property
    def unplotted(self) -> list[Attempt]:
        """Attempts that ended and are not in the timeline yet."""
        return [attempt for attempt, _ in self._plotless]

    def hold(self, records: Sequence[tuple[int, bytes]]) -> list[Task]:
        """Note tasks as held, with one write."""
        tasks = [Task(task_id, decode(text)) for task_id, text in records]
        self._write(b"".join([*self._gathered, *map(_hold_note, tasks)]), publish=True)
        self._gathered.clear()
        for task in tasks:
            self._move(task.id, Standing.HELD)
            self._tasks[task.id] = task
        return tasks

    def start(self, task: Task, attempt: int, slot: int) -> None:
        """Note that an attempt starts."""
        self._move(task.id, Standing.RUNNING)
        self._starts[task.id] = note = b"start %d %d %d %.6f\n" % (task.id, attempt, slot, time.time())
        self._gathered.append(note)

    def unstart(self, task: Task) -> None:
        """Note that a process could not be started, for a reason that is not the task's; it is held again."""
        self._move(task.id, Standing.HELD)
        self._gathered.append(b"unstart %d\n" % task.id)

    def end(self, attempt: Attempt, last: bool) -> None:
        """Note that an attempt ended; after one that was not the last the task is held again."""
        self._move(attempt.task.id, Standing.ENDED if last else Standing.HELD)
        if last:
            self._ends[attempt.task.id] = attempt
        self._plotless.append((attempt, last))
        self._gathered.append(_end_note(attempt, last))

    def recorded(self, ids: Sequence[int], timeline_size: int) -> None:
        """Note that tasks are in the books and all attempts in the timeline: the last step of a commit."""
        self._leave(b"recorded", ids)
        self._plotless.clear()
        self._timeline_size = timeline_size
        self._gathered.append(b"timeline %d\n" % timeline_size)

    def returned(self, ids: Sequence[int]) -> None:
        """Note that tasks are back in `toprocess`."""
        self._leave(b"returned", ids)

    def _leave(self, word: bytes, ids: Sequence[int]) -> None:
        for task_id in ids:
            self._move(task_id, Standing.GONE)
        if ids:
            self._gathered.append(b"%b %b\n" % (word, b" ".join(b"%d" % i for i in ids)))

    def take_lane(self, lane: int, timeline_size: int) -> None:
        """Note this farmer's number in the timeline, which is as long as this before its first event."""
        self.lane, self._timeline_size = lane, timeline_size
        self._gathered.append(b"lane %d\ntimeline %d\n" % (lane, timeline_size))

    def flush(self, *, publish: bool = False) -> None:
        """Write what was gathered; in a section `publish` it, for others to read."""
        if self._gathered:
            self._write(b"".join(self._gathered), publish=publish)
            self._gathered.clear()

    def is_file(self) -> bool:
        """Whether the name still leads to the file that we write."""
        return disk.leads_to(self._path, self._fd)

    def compact(self) -> None:
        """Rewrite the file with what still counts, if it has grown; inside a section, since others read it there."""
        if self._size < max(_COMPACT_ABOVE, 4 * self._compacted_size):
            return
        notes = [self._header(), b"lane %d\n" % self.lane, b"timeline %d\n" % self._timeline_size]
        notes += map(_hold_note, self._tasks.values())
        notes += [_end_note(attempt, last) for attempt, last in self._plotless if attempt.task.id in self._tasks]
        notes += [self._starts[i] for i, standing in self._standing.items() if standing is Standing.RUNNING]
        tmp, data = self._path + TMP_SUFFIX, b"".join(notes)
        fd = -1
        try:
            disk.write_file(tmp, [data])
            fd = disk.open(tmp, os.O_RDWR | os.O_APPEND)  # nothing may fail once the name leads to this file
            disk.rename(tmp, self._path)
        except OSError:
            if fd >= 0:
                os.close(fd)
            disk.unlink(tmp)
            raise
        os.close(self._fd)
        self._fd = fd
        self._size = self._compacted_size = len(data)
        self._torn = False
        self._gathered.clear()

    def close(self) -> None:
        """Close the file; it stays where it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
