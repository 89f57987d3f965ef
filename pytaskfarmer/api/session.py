"""One farm of calls, as its caller sees it: hand in slices of calls, and be told what became of each call.

The caller appends chunks to the file of calls and a line for each to the task list; a farm takes the lines up as tasks
and appends results, which a thread of the caller reads and gives to their jobs. All that lies in a work directory, so
another caller can go on where this one was killed.

A slice whose worker died is over for the books: it has failed. What it had handed over counts; the call that was
executing is to blame; and the calls beside it go to the list again as slices of their own.
"""

import contextlib
import itertools
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from pytaskfarmer.api import travel
from pytaskfarmer.api.deaths import death
from pytaskfarmer.api.desk import Desk
from pytaskfarmer.api.earlier import Earlier
from pytaskfarmer.api.faults import BrokenPool, CannotTravel
from pytaskfarmer.api.outbox import Outbox
from pytaskfarmer.api.request import JobLine, Place, Slice
from pytaskfarmer.api.travel import Piece
from pytaskfarmer.task import Outcome
from pytaskfarmer.workdir import outputs
from pytaskfarmer.workdir.results import Following, Result
from pytaskfarmer.worker.wire import PAD

_HORIZON = 0.05
_MANY, _MOMENT = 40, 0.002
_STOPPED = "the farm was stopped before this call had ended"


class Job(Protocol):
    """Some calls that belong together, and who waits for them; called from the thread that reads results."""

    number: int

    def deliver(self, first: int, values: list[object]) -> None:
        """Take the values of the calls from number `first` on, and the list itself."""
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

    A farm begins with what was listed last. So that calls are made in the order in which they come, more are listed
    when no more than `ahead` slices are under way: about as many as there are workers. With `echo`, what calls print is
    printed here, too, when their slice has ended.
    """

    def __init__(self, desk: Desk, *, ahead: int, echo: bool = True) -> None:
        self._desk = desk
        self._owner = os.getpid()
        self._ahead = ahead
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._telling = threading.RLock()
        self._jobs: dict[int, Job] = {}
        self._under_way: dict[int, int] = {}
        self._waiting: deque[Sequence[Slice]] = deque()
        self._slices: dict[int, Slice] = {}
        self._unclaimed: dict[int, Result] = {}
        self._ended, self._since = 0, 0.0
        self._following = Following(desk.layout)
        self._printed_by_calls = outputs.Following(desk.layout) if echo else None
        self._outbox = Outbox(desk)
        self._farm: Farm | None = None
        self._reader: threading.Thread | None = None
        self._over: str | None = None
        self._stopping = self._closed = False
        self._earlier = Earlier(desk)
        self._next_id = self._earlier.tasks
        if self._printed_by_calls is not None:
            self._printed_by_calls.skip()

    def begin(self, farm: Farm) -> None:
        """Let `farm` work, and read what it returns."""
        self._farm = farm
        farm.outstanding = lambda: sum(tuple(self._under_way.values()))
        reader = threading.Thread(target=self._read, name="pytaskfarmer results", daemon=True)
        reader.start()
        self._reader = reader

    @property
    def is_ours(self) -> bool:
        """Whether this process has made it; else it is a fork of that one."""
        return self._owner == os.getpid()

    @property
    def reads(self) -> bool:
        """Whether this is called from the thread that reads results."""
        return threading.current_thread() is self._reader

    # -- what goes out

    def pack(self, data: bytes) -> Place:
        """Append to the file of calls. This and the others raise `BrokenPool` in a forked child."""
        self._check_owner()
        with self._lock:
            return self._outbox.pack(data)

    def flush(self) -> None:
        """Let workers see what was packed."""
        with self._lock:
            self._outbox.flush()

    def announce(self, line: JobLine) -> None:
        """Tell the workers of a job; its function must be packed."""
        self._check_owner()
        with self._lock:
            self._outbox.announce(line)

    def submit(self, job: Job, slices: Sequence[Slice]) -> None:
        """Let slices of a job, whose calls are packed, be called. Raises `BrokenPool` if the farm has ended."""
        self._check_owner()
        with self._lock:
            self._expect(job, len(slices))
            if slices:
                self._waiting.append(slices)
        self._list_more()

    def _expect(self, job: Job, slices: int) -> None:
        if self._over is not None:
            raise BrokenPool(self._over)
        if slices:
            self._jobs[job.number] = job
            self._under_way[job.number] = self._under_way.get(job.number, 0) + slices

    def _list_more(self) -> None:
        with self._lock:
            room = self._room() if self._waiting else 0
            if not room:
                return
            batch: list[Slice] = []
            while self._waiting and len(batch) < room:
                batch += self._waiting.popleft()
            self._slices.update(enumerate(batch, self._next_id))
            self._next_id += len(batch)
            why = None
            try:
                self._outbox.list(batch)
            except OSError as error:
                why = f"calls cannot be listed: {error}"
        assert self._farm is not None
        if why is None:
            self._farm.poke()
        else:
            self._break(why)

    def room(self) -> int:
        """Return how many slices would be listed now. Who submits no more can change his mind about the others."""
        with self._lock:
            return self._room()

    def _room(self) -> int:
        """Return how many slices to list: more than `ahead` where these would not last for long."""
        if len(self._slices) > self._ahead:
            return 0
        now = time.monotonic()
        soon = int(self._ended * _HORIZON / (now - self._since)) if now > self._since else 0
        self._ended, self._since = 0, now
        return max(self._ahead + 1, soon)

    def _check_owner(self) -> None:
        if not self.is_ours:
            raise BrokenPool(f"this belongs to process {self._owner}, and this one is its fork; make another one here")

    # -- what an earlier caller has begun

    def known(self, number: int) -> JobLine | None:
        """Return a job that an earlier caller has announced."""
        return self._earlier.jobs.get(number)

    def listed(self, number: int, first: int) -> Slice | None:
        """Return the chunk of job `number` whose first call is number `first`, if an earlier caller has listed it."""
        return self._earlier.chunk(number, first)

    def resume(self, job: Job, first: int) -> None:
        """Wait for a chunk that an earlier caller has listed. Raises `BrokenPool` if the farm has ended."""
        self._check_owner()
        slices = self._earlier.take(job.number, first)
        with self._telling:
            with self._lock:
                self._expect(job, len(slices))
                self._slices.update(slices)
                early = [self._unclaimed.pop(task_id) for task_id in slices if task_id in self._unclaimed]
            for task_id, asked in slices.items():
                self._take_up(job, task_id, asked)
            for result in early:
                self._hear(result, result.read() or b"")
            for task_id in slices.keys() & self._earlier.lost & self._slices.keys():
                self._submit_or_fail(job, [self._slices.pop(task_id)])
                self._told(job.number)

    def _take_up(self, job: Job, task_id: int, asked: Slice) -> None:
        """Take what a slice had handed over before it was stopped."""
        place = _deliver(job, asked, self._earlier.pieces(task_id))
        stop = asked.start + asked.count
        if place < stop:
            self._slices[task_id] = asked.part(place, stop)
        else:
            del self._slices[task_id]
            self._told(job.number)

    # -- what comes back

    def _read(self) -> None:
        assert self._farm is not None
        why = "the thread that reads results has failed"
        try:
            for result, data in self._following.new():  # of an earlier caller's calls
                self._hear(result, data)
            goes_on = True
            while goes_on:
                goes_on = self._farm.wait()
                if len(self._slices) > _MANY:
                    time.sleep(_MOMENT)  # to wake up once for several results costs less
                new = list(self._following.new())
                self._echo()
                for result, data in new:
                    self._hear(result, data)
            why = _STOPPED if self._stopping else self._farm.complaint()
        finally:
            self._break(why)
            if self._closed:  # by a callback
                self._let_go()

    def _echo(self) -> None:
        """Print what calls have printed. Nobody is told where that fails: it stands in the logs."""
        if self._printed_by_calls is None:
            return
        with contextlib.suppress(Exception):  # of whatever stands in for `sys.stdout`
            for output in self._printed_by_calls.new():
                for block in output.read():
                    sys.stdout.write(block.decode(errors="replace"))
                sys.stdout.flush()

    def _break(self, why: str) -> None:
        """Let every call that is not done fail, and every call that is still to come."""
        with self._telling:
            with self._lock:
                self._over = self._over or why
                left = [*self._slices.values(), *itertools.chain.from_iterable(self._waiting)]
                self._slices.clear()
                self._waiting.clear()
            for asked in left:
                _fail(self._jobs[asked.job], asked, BrokenPool(self._over))
                self._told(asked.job)

    def _hear(self, result: Result, data: bytes) -> None:
        if result.outcome is Outcome.STOPPED:
            return  # it is in the list again
        with self._telling:
            with self._lock:
                asked = self._slices.pop(result.task_id, None)
                if asked is None:
                    self._unclaimed[result.task_id] = result  # of an earlier caller's, or told twice
                    return
                job = self._jobs[asked.job]
            try:
                self._tell(job, asked, result, data)
            finally:
                self._told(asked.job)

    def _tell(self, job: Job, asked: Slice, result: Result, data: bytes) -> None:
        pieces, pad = travel.pieces_of(data)
        place = _deliver(job, asked, pieces)
        if place < asked.start + asked.count:
            self._go_on(job, asked, place, _guilty(pad, place), result)

    def _told(self, number: int) -> None:
        """Forget a job once nothing of it is under way, or whoever makes many calls would run out of memory."""
        with self._idle:
            self._ended += 1
            self._under_way[number] -= 1
            if not self._under_way[number]:
                del self._under_way[number], self._jobs[number]
                self._idle.notify_all()
        self._list_more()

    def _go_on(self, job: Job, asked: Slice, done: int, guilty: int, result: Result) -> None:
        """A worker has died in the call `guilty`, after handing over what was before `done`."""
        stop = asked.start + asked.count
        again = [asked.part(start, end) for start, end in ((done, guilty), (guilty + 1, stop)) if start < end]
        alone = asked.part(guilty, guilty + 1)
        if self._earlier.has(result):  # its caller has listed these, or been killed before
            again = [each for each in (*again, alone) if not self._earlier.lists(each, besides=result.task_id)]
        elif job.try_again(asked.first + guilty):
            again.append(alone)
        else:
            job.fail(asked.first + guilty, death(self._desk.layout, result))
        self._submit_or_fail(job, again)

    def _submit_or_fail(self, job: Job, slices: Sequence[Slice]) -> None:
        try:
            self.submit(job, slices)
        except BrokenPool as error:
            for each in slices:
                _fail(job, each, error)

    # -- the end

    def settle(self) -> None:
        """Wait until no call is under way."""
        with self._idle:
            self._idle.wait_for(lambda: not self._under_way)

    def finish(self) -> None:
        """Wait for the farm, which has nothing to do any more, to end."""
        if self._farm is not None:
            self._farm.finish()
        self._close()

    def stop(self) -> None:
        """End the farm at once; calls that are not done fail."""
        self._stopping = True
        if self._farm is not None:
            self._farm.stop()
        self._close()

    def _close(self) -> None:
        self._closed = True
        if self.reads:
            return  # it lets go of all when it has come to its end
        if self._reader is not None:
            self._reader.join()
        self._let_go()

    def _let_go(self) -> None:
        if self._farm is not None:
            self._farm.close()
        self._following.close()
        self._outbox.close()


def _deliver(job: Job, asked: Slice, pieces: Iterable[Piece]) -> int:
    """Give a job what is new in these pieces of a slice; return the place of the first call that is not done."""
    place = asked.start
    for piece in pieces:
        new = piece.calls - max(0, place - piece.first)
        if new <= 0:
            continue
        place = piece.first + piece.calls
        first = asked.first + place - new
        try:
            if piece.kind == travel.VALUES:
                job.deliver(first, travel.values_from(piece)[-new:])
            else:
                for index in range(first, first + new):
                    job.fail(index, travel.fault_from(piece))
        except CannotTravel as error:
            for index in range(first, first + new):
                job.fail(index, error)
    return place


def _guilty(pad: bytes, done: int) -> int:
    """Return the place of the call that was executing, as its worker has noted it, else the first that is not done."""
    if len(pad) >= PAD:
        marked, place = memoryview(pad)[-PAD:].cast("q")[:2]
        if marked:
            return max(place, done)
    return done


def _fail(job: Job, asked: Slice, error: BaseException) -> None:
    for place in range(asked.start, asked.start + asked.count):
        job.fail(asked.first + place, error)
