"""One farm of calls, as its caller sees it: hand in slices of calls, and be told what became of each call.

The caller appends chunks to the file of calls and a line for each to the task list; a farm takes the lines up as tasks
and appends results, which a thread of the caller reads and gives to their jobs. All that lies in a work directory, so
another caller can go on where this one was killed.

A slice whose worker died is over for the books: it has failed. What it had handed over counts; the call that was
executing is to blame; and the calls beside it go to the list again as slices of their own.
"""

import contextlib
import fcntl
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import BinaryIO, Protocol

from pytaskfarmer.api import request, travel
from pytaskfarmer.api.desk import Desk
from pytaskfarmer.api.faults import BrokenPool, WorkerDied
from pytaskfarmer.api.request import JobLine, Place, Slice
from pytaskfarmer.errors import UsageError
from pytaskfarmer.task import Outcome
from pytaskfarmer.workdir import outputs
from pytaskfarmer.workdir.results import Following, Result

_PAD = 64


class Job(Protocol):
    """Some calls that belong together, and who waits for them; called from the thread that reads results."""

    number: int

    def deliver(self, first: int, values: Sequence[object]) -> None:
        """Take the values of the calls from number `first` on."""
        ...

    def fail(self, index: int, error: BaseException) -> None:
        """Take the exception of a call."""
        ...

    def try_again(self, index: int) -> bool:
        """Whether a call whose worker died is to run again."""
        ...


class Farm(Protocol):
    """Where the tasks run: farmers on this node, or in jobs of a batch system.

    `outstanding` is set by the session: how many slices have no result yet.
    """

    outstanding: Callable[[], int]

    def poke(self) -> None:
        """Say that the list has grown."""
        ...

    def wait(self) -> bool:
        """Return when there may be new results; False when no more will come, since the farm has ended."""
        ...

    def finish(self) -> None:
        """Say that the list will grow no more, and wait until the farm has ended."""
        ...

    def stop(self) -> None:
        """End the farm now, and wait until it has ended."""
        ...

    def close(self) -> None:
        """Let go of what it was heard with."""
        ...

    def complaint(self) -> str:
        """Return why it ended, in a line."""
        ...


class Session:
    """The caller's side of a work directory; `desk` names its files, which exist.

    With `echo`, what calls print is printed here, too, when their slice has ended.
    """

    def __init__(self, desk: Desk, *, echo: bool = True) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._jobs: dict[int, Job] = {}
        self._slices: dict[int, Slice] = {}
        self._unclaimed: dict[int, tuple[Result, bytes]] = {}
        self._listed: dict[int, dict[int, Slice]] = {}
        self._following = Following(desk.layout)
        self._printed_by_calls = outputs.Following(desk.layout) if echo else None
        self._jobs_file = _exclusively(desk.jobs)
        self._calls = open(desk.calls, "ab")
        self._list = _whole(desk.list)
        self._next_id = 0
        self._farm: Farm | None = None
        self._reader: threading.Thread | None = None
        self._over: BaseException | None = None
        self._old_jobs: dict[int, JobLine] = {}
        self._old_slices: set[Slice] = set()
        self._read_old_list()
        if self._printed_by_calls is not None:
            self._printed_by_calls.skip()
        self._first_id = self._next_id

    def _read_old_list(self) -> None:
        with open(self._desk.jobs, "rb") as lines:
            self._old_jobs.update((job.job, job) for job in map(request.parse_job, lines))
        with open(self._desk.list, "rb") as lines:
            for task_id, line in enumerate(lines):
                asked = request.parse(line.decode())
                self._listed.setdefault(asked.job, {})[task_id] = asked
                self._old_slices.add(asked)
                self._next_id = task_id + 1

    def begin(self, farm: Farm) -> None:
        """Let `farm` work, and read what it returns."""
        self._farm = farm
        farm.outstanding = lambda: len(self._slices)
        self._reader = threading.Thread(target=self._read, name="pytaskfarmer results", daemon=True)
        self._reader.start()

    @property
    def reads(self) -> bool:
        """Whether this is called from the thread that reads results."""
        return threading.current_thread() is self._reader

    # -- what goes out

    def pack(self, data: bytes) -> Place:
        """Append to the file of calls."""
        with self._lock:
            place = Place(self._calls.tell(), len(data))
            self._calls.write(data)
        return place

    def flush(self) -> None:
        """Let workers see what was packed."""
        with self._lock:
            self._calls.flush()

    def known(self, number: int) -> JobLine | None:
        """Return a job that an earlier caller has announced."""
        return self._old_jobs.get(number)

    def announce(self, line: JobLine) -> None:
        """Tell the workers of a job; its function must be packed."""
        with self._lock:
            self._calls.flush()
            self._jobs_file.write(line.line().encode())
            self._jobs_file.flush()

    def resume(self, job: Job) -> int:
        """Wait for the slices that an earlier caller has listed; return how many calls of the job they reach."""
        with self._lock:
            self._jobs[job.number] = job
            slices = self._listed.pop(job.number, {})
            self._slices.update(slices)
            early = [self._unclaimed.pop(task_id) for task_id in slices if task_id in self._unclaimed]
        for result, data in early:
            self._hear(result, data)
        return max((each.first + each.start + each.count for each in slices.values()), default=0)

    def submit(self, job: Job, slices: Sequence[Slice]) -> None:
        """List slices of a job, whose calls are packed. Raises `BrokenPool` if the farm has ended."""
        with self._lock:
            if self._over is not None:
                raise BrokenPool(str(self._over)) from None
            self._jobs[job.number] = job
            self._calls.flush()
            for asked in slices:
                self._slices[self._next_id] = asked
                self._next_id += 1
            self._list.write("".join(asked.line() + "\n" for asked in slices).encode())
            self._list.flush()
        if slices:
            assert self._farm is not None
            self._farm.poke()

    # -- what comes back

    def _read(self) -> None:
        assert self._farm is not None
        goes_on = True
        while goes_on:
            goes_on = self._farm.wait()
            new = list(self._following.new())
            self._echo()
            for result, data in new:
                self._hear(result, data)
        self._break(BrokenPool(self._farm.complaint()))

    def _echo(self) -> None:
        """Print what calls have printed. Nobody is told where that fails: it stands in the logs."""
        if self._printed_by_calls is None:
            return
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for output in self._printed_by_calls.new():
                for block in output.read():
                    sys.stdout.write(block.decode(errors="replace"))
                sys.stdout.flush()

    def _break(self, error: BaseException) -> None:
        """Let every call that is not done fail."""
        with self._lock:
            self._over = self._over or error
            left = list(self._slices.values())
            self._slices.clear()
        for asked in left:
            if (job := self._jobs.get(asked.job)) is not None:
                for place in range(asked.start, asked.start + asked.count):
                    job.fail(asked.first + place, self._over)

    def _hear(self, result: Result, data: bytes) -> None:
        with self._lock:
            asked = self._slices.pop(result.task_id, None)
            if asked is None:
                self._unclaimed[result.task_id] = (result, data)  # of an earlier caller's, or told twice
                return
            job = self._jobs[asked.job]
        pieces, pad = travel.pieces_of(data)
        place = asked.start
        for kind, content in pieces:
            if kind == travel.VALUES:
                job.deliver(asked.first + place, content)
                place += len(content)
            else:
                job.fail(asked.first + place, travel.fault_from(content))
                place += 1
        if place < asked.start + asked.count:
            self._go_on(job, asked, place, self._guilty(pad, place), result)

    def _guilty(self, pad: bytes, done: int) -> int:
        if len(pad) == _PAD:
            marked, place = memoryview(pad).cast("q")[:2]
            if marked:
                return max(place, done)
        return done

    def _go_on(self, job: Job, asked: Slice, done: int, guilty: int, result: Result) -> None:
        """A worker has died in the call `guilty`, after handing over what was before `done`."""
        stop = asked.start + asked.count
        again = [asked.part(start, end) for start, end in ((done, guilty), (guilty + 1, stop)) if start < end]
        alone = asked.part(guilty, guilty + 1)
        old = result.task_id < self._first_id  # an earlier caller has seen to it, or not any more
        if old or job.try_again(asked.first + guilty):
            again.append(alone)
        else:
            job.fail(asked.first + guilty, self._death(result))
        again = [each for each in again if each not in self._old_slices or each == asked]
        if again:
            try:
                self.submit(job, again)
            except BrokenPool as error:
                for each in again:
                    for place in range(each.start, each.start + each.count):
                        job.fail(each.first + place, error)

    def _death(self, result: Result) -> BaseException:
        if result.outcome is Outcome.TIMED_OUT:
            return TimeoutError("the call took longer than the timeout, and was ended")
        how = _words(result)
        printed = self._printed(result.task_id)
        return WorkerDied(f"{how} during this call{f'; it had printed: {printed}' if printed else ''}")

    def _printed(self, task_id: int) -> str:
        output = outputs.latest(self._desk.layout, task_id)
        if output is None:
            return ""
        with open(output.path, "rb") as file:
            file.seek(output.offset + max(0, output.length - 2000))
            return file.read(min(2000, output.length)).decode(errors="replace").strip()

    # -- the end

    def finish(self) -> None:
        """Wait for the farm, which has nothing to do any more, to end."""
        if self._farm is not None:
            self._farm.finish()
        self._close()

    def stop(self) -> None:
        """End the farm at once; calls that are not done fail."""
        if self._farm is not None:
            self._farm.stop()
        self._close()

    def _close(self) -> None:
        if self._reader is not None and not self.reads:
            self._reader.join()
        if self._farm is not None:
            self._farm.close()
        self._following.close()
        self._calls.close()
        self._list.close()
        self._jobs_file.close()


def _whole(path: str) -> BinaryIO:
    """Open a file of lines to append to, without what a crash has left of a line at its end."""
    file = open(path, "ab")
    with open(path, "rb") as old:
        size = sum(len(line) for line in old if line.endswith(b"\n"))
    file.truncate(size)
    return file


def _exclusively(path: str) -> BinaryIO:
    """Open the file of jobs in that way, unless another caller has it. Raises `UsageError`."""
    file = _whole(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UsageError(f"{os.path.dirname(path)}: another process works with this directory; name another.") from None
    return file


def _words(result: Result) -> str:
    if result.status < 0:
        import signal

        with contextlib.suppress(ValueError):
            return f"the worker was killed by {signal.Signals(-result.status).name}"
    return f"the worker ended with exit status {result.status}"
