"""What tasks printed: where it lies, in every mode of the logs, and how a record of a pack looks.

A pack is a sequence of records: a line that says which attempt it was and how many bytes follow, the bytes, and a
newline. Readers skip by length, so nothing that a task prints can be mistaken for such a line; a record that a crash
tore at the end of its pack is given as far as it goes. A task that printed nothing has no record.

Reading needs no lock, and an output is never held in memory.
"""

import itertools
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from pytaskfarmer.task import Attempt, Outcome
from pytaskfarmer.workdir.layout import Layout, disk

_BLOCK = 1 << 20
_LONGEST_HEADER = 200
_HEADER = re.compile(rb"=== task (-?\d+) attempt (\d+) ([a-z_]+) status (-?\d+) bytes (\d+) at (\d+\.\d+)\n")
_OUTCOMES = {outcome.value.encode(): outcome for outcome in Outcome}

Running = Mapping[tuple[str, int], tuple[int, int]]
"""(farmer, slot) -> (task id, attempt) of the tasks that run now, as the claims have it."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where the output of one attempt lies: `length` bytes of a file, from `offset`.

    `outcome` is None where the attempt still runs, or where its file does not tell. `time` is in seconds since the
    epoch: when the attempt started, or, where that is not known, when it last printed.
    """

    task_id: int
    attempt: int
    outcome: Outcome | None
    status: int
    time: float
    path: str
    offset: int
    length: int

    def read(self) -> Iterator[bytes]:
        """Yield the bytes in blocks; fewer than `length` where a crash tore them, none where the file is gone."""
        try:
            file = open(self.path, "rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(self.offset)
            left = self.length
            while left > 0 and (block := file.read(min(left, _BLOCK))):
                left -= len(block)
                yield block


def header(attempt: Attempt, length: int) -> bytes:
    """Return the line that stands before an attempt's output in a pack."""
    text = (
        f"=== task {attempt.task.id} attempt {attempt.number} {attempt.outcome.value}"
        f" status {attempt.status} bytes {length} at {attempt.start:.3f}\n"
    )
    return text.encode("ascii")


def add_record(pack: int, attempt: Attempt, source: int, length: int) -> None:
    """Append the first `length` bytes of the file `source` to a pack, in bounded memory.

    Raises OSError, and has then put the pack back as it was, as far as the disk allows.
    """
    before = os.fstat(pack).st_size
    data, at = header(attempt, length), 0
    try:
        while True:
            want = min(_BLOCK, length - at)
            block = os.pread(source, want, at)
            at += want
            last = at == length
            # A stray may truncate what it printed; the record keeps the length that its header promised.
            disk.append(pack, data + block.ljust(want, b"\0") + b"\n"[: int(last)])
            if last:
                return
            data = b""
    except OSError:
        disk.truncate(pack, before)
        raise


class Following:
    """What tasks print, as they end, where the logs are packs."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._read: dict[str, int] = {}
        self._apart: dict[int, int] = {}

    def skip(self) -> None:
        """Leave out what is there already."""
        for _ in self.new():
            pass

    def new(self) -> Iterator[Output]:
        """Yield the outputs that came since the last call."""
        try:
            names = os.listdir(self._layout.logs)
        except FileNotFoundError:
            return
        for pack in _packs(self._layout, names):
            size = os.stat(pack).st_size
            for output in scan(pack, self._read.get(pack, 0)) if size > self._read.get(pack, 0) else ():
                end = output.offset + output.length + 1
                if end > size:
                    break
                self._read[pack] = end
                yield output
        for task_id in _with_files(self._layout, names, None):
            for output in itertools.islice(_files(self._layout, task_id), self._apart.get(task_id, 0), None):
                self._apart[task_id] = output.attempt
                yield output


def scan(pack: str, offset: int = 0) -> Iterator[Output]:
    """Yield where each record of a pack lies, in file order, from `offset` on."""
    try:
        file = open(pack, "rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        while line := file.readline(_LONGEST_HEADER):
            offset += len(line)
            match = _HEADER.fullmatch(line)
            if match is None:
                continue
            task_id, attempt, outcome, status, length, time = match.groups()
            size = int(length)
            yield Output(
                int(task_id), int(attempt), _OUTCOMES.get(outcome), int(status), float(time), pack, offset, size
            )
            offset += size + 1
            file.seek(offset)


def outputs(layout: Layout, ids: Collection[int] | None = None, running: Running | None = None) -> Iterator[Output]:
    """Yield where the outputs of tasks lie, whatever the mode of the logs was when they ran.

    With `ids`: all attempts at these tasks, task by task in the order given, oldest attempt first. Without: everything,
    files by id and packs in file order, as a stream. `running` adds the spools of tasks that run now.
    """
    try:
        names = os.listdir(layout.logs)
    except FileNotFoundError:
        return
    files = (output for task_id in _with_files(layout, names, ids) for output in _files(layout, task_id))
    packed = (output for path in _packs(layout, names) for output in scan(path))
    found = itertools.chain(files, packed, _spools(layout, running or {}))
    if ids is None:
        yield from found
        return
    place = {task_id: n for n, task_id in enumerate(ids)}
    wanted = [output for output in found if output.task_id in place]
    yield from sorted(wanted, key=lambda output: (place[output.task_id], output.time))


def latest(layout: Layout, task_id: int, running: Running | None = None) -> Output | None:
    """Return where the output of the latest attempt at a task lies, or None: it printed nothing, or has not run."""
    found = list(outputs(layout, [task_id], running))
    return found[-1] if found else None


def _with_files(layout: Layout, names: list[str], ids: Collection[int] | None) -> Collection[int]:
    if ids is not None:
        return ids
    prefix = os.path.basename(layout.log(0))[:-1]
    numbers = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return sorted(int(number) for number in numbers if number.isdecimal())


def _files(layout: Layout, task_id: int) -> Iterator[Output]:
    path, time = layout.log(task_id), 0.0
    for number in itertools.count(1):
        earlier = _file(f"{path}.{number}", task_id, number, time)
        if earlier is None:
            break
        yield earlier
        time = earlier.time
    current = _file(path, task_id, number, time)
    if current is not None:
        yield current


def _file(path: str, task_id: int, attempt: int, not_before: float = 0.0) -> Output | None:
    """Return a whole file; a daemon that goes on writing to an earlier one must not make it the latest."""
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        return None
    return Output(task_id, attempt, None, 0, max(facts.st_mtime, not_before), path, 0, facts.st_size)


def _packs(layout: Layout, names: list[str]) -> Iterator[str]:
    prefix = os.path.basename(layout.pack(""))
    return (os.path.join(layout.logs, name) for name in sorted(names) if name.startswith(prefix))


def _spools(layout: Layout, running: Running) -> Iterator[Output]:
    for (farmer, slot), (task_id, attempt) in running.items():
        output = _file(layout.spool(farmer, slot), task_id, attempt)
        if output is not None:
            yield output
