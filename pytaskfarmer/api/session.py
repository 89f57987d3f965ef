"""One farm of calls, as its caller sees it: hand in slices of calls, and be told what became of each call.

The caller appends chunks to the file of calls and a line for each to the task list; a farm takes the lines up as tasks
and appends results, which a thread of the caller reads and gives to their jobs. All that lies in a work directory, so
another caller can go on where this one was killed.

A slice whose worker died is over for the books: it has failed. What it had handed over counts; the call that was
executing is to blame; and the calls beside it go to the list again as slices of their own.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from pytaskfarmer.api import travel, verdicts
from pytaskfarmer.api.deaths import death
from pytaskfarmer.api.desk import Desk
from pytaskfarmer.api.earlier import Earlier
from pytaskfarmer.api.echo import Echo
from pytaskfarmer.api.faults import BrokenPool
from pytaskfarmer.api.listing import Listing
from pytaskfarmer.api.outbox import Outbox
from pytaskfarmer.api.places import Farm
from pytaskfarmer.api.request import JobLine, Slice
from pytaskfarmer.api.verdicts import Job, Jobs
from pytaskfarmer.task import Outcome
from pytaskfarmer.workdir.results import Following, Result

_Value = TypeVar("_Value")

_MANY, _MOMENT = 40, 0.002
_STOPPED = "the farm was stopped before this call had ended"


class Session:
    """The caller's side of a work directory; `desk` names its files, which exist.

    With `echo`, what calls print is printed here, too, when their slice has ended. What is submitted must be packed in
    the `outbox` before. It is `broken` when the farm has ended although nobody wished it. `has_room` is called, from
    the thread that reads results, when more slices than before are listed at a time; see `listing`.
    """

    def __init__(self, desk: Desk, *, echo: bool = True) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._telling = threading.RLock()
        self._jobs = Jobs()
        self._unclaimed: dict[int, Result] = {}
        self._following = Following(desk.layout)
        self.outbox = Outbox(desk)
        try:
            self._earlier = Earlier(desk)
        except BaseException:
            self.outbox.close()
            raise
        self._farm: Farm | None = None
        self._reader: threading.Thread | None = None
        self._over: str | None = None
        self._ending = self._stopping = self._closed = False
        self.broken = False
        self.has_room: Callable[[], object] = lambda: None
        self._listing = Listing(self.outbox, self._earlier.tasks)
        self._echo = Echo(desk.layout, wanted=echo)

    def begin(self, farm: Farm) -> None:
        """Let `farm` work, and read what it returns."""
        self._farm = farm
        farm.outstanding = self._jobs.outstanding
        self._listing.ahead = farm.ahead
        reader = threading.Thread(target=self._read, name="pytaskfarmer results", daemon=True)
        reader.start()
        self._reader = reader

    @property
    def reads(self) -> bool:
        """Whether this is called from the thread that reads results."""
        return threading.current_thread() is self._reader

    # -- what goes out

    def submit(self, job: Job, slices: Sequence[Slice]) -> None:
        """Let slices of a job be called. Raises `BrokenPool` if the farm has ended, and in a forked child."""
        self.outbox.check_owner()
        self._in_one_piece(self._take_in, job, slices)
        self._list_more()

    def _take_in(self, job: Job, slices: Sequence[Slice]) -> None:
        self._expect(job, len(slices))
        self._listing.add(slices)

    def _in_one_piece(self, act: Callable[..., _Value], *arguments: object) -> _Value:
        """Do this under the lock. If it is interrupted, as by Ctrl-C, nobody knows what is listed: all calls fail."""
        try:
            with self._lock:
                return act(*arguments)
        except (BrokenPool, OSError):
            raise
        except BaseException:
            self._break("interrupted while calls were listed; make another one")
            raise

    def _expect(self, job: Job, slices: int) -> None:
        if self._over is not None:
            raise BrokenPool(self._over)
        self._jobs.expect(job, slices)

    def _list_more(self) -> None:
        try:
            if not self._in_one_piece(self._listing.list_more):
                return
        except OSError as error:
            self._break(f"calls cannot be listed: {error}")
        else:
            assert self._farm is not None
            self._farm.poke()

    def _list_further(self, ahead: int) -> None:
        with self._lock:
            self._listing.ahead = ahead
        self._list_more()
        self.has_room()

    def room(self) -> int:
        """Return how many slices would be listed now. Who submits no more can change his mind about the others."""
        with self._lock:
            return self._listing.room()

    # -- what an earlier caller has begun

    @property
    def others(self) -> bool:
        """Whether an earlier caller has listed calls that have not been made again."""
        return self._earlier.has_chunks

    def known(self, number: int) -> JobLine | None:
        """Return a job that an earlier caller has announced."""
        return self._earlier.jobs.get(number)

    def listed(self, number: int, first: int) -> Slice | None:
        """Return the chunk of job `number` whose first call is number `first`, if an earlier caller has listed it."""
        return self._earlier.chunk(number, first)

    def resume(self, job: Job, first: int) -> None:
        """Wait for a chunk that an earlier caller has listed. Raises `BrokenPool` if the farm has ended."""
        self.outbox.check_owner()
        slices = self._earlier.take(job.number, first)
        under_way = self._listing.under_way
        with self._telling:
            with self._lock:
                self._expect(job, len(slices))
                under_way.update(slices)
                early = [self._unclaimed.pop(task_id) for task_id in slices if task_id in self._unclaimed]
            for task_id, asked in slices.items():
                self._take_up(job, task_id, asked)
            for result in early:
                self._hear(result, result.read() or b"")
            for task_id in slices.keys() & self._earlier.lost & under_way.keys():
                self._submit_or_fail(job, [under_way.pop(task_id)])
                self._told(job.number)

    def _take_up(self, job: Job, task_id: int, asked: Slice) -> None:
        """Take what a slice had handed over before it was stopped."""
        place = verdicts.deliver(job, asked, self._earlier.pieces(task_id))
        if place < asked.stop:
            self._listing.under_way[task_id] = asked.part(place, asked.stop)
        else:
            del self._listing.under_way[task_id]
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
                if self._farm.ahead > self._listing.ahead:
                    self._list_further(self._farm.ahead)
                if len(self._listing.under_way) > _MANY:
                    time.sleep(_MOMENT)  # to wake up once for several results costs less
                new = list(self._following.new())
                self._echo.print()
                for result, data in new:
                    self._hear(result, data)
            why = _STOPPED if self._stopping else self._farm.complaint()
        finally:
            self._break(why)
            if self._closed:  # by a callback
                self._let_go()

    def _break(self, why: str) -> None:
        """Let every call that is not done fail, and every call that is still to come."""
        with self._telling:
            with self._lock:
                if self._over is None:
                    self._over, self.broken = why, not self._ending
                left = self._listing.give_up()
            for asked in left:
                verdicts.fail(self._jobs.of(asked), asked, BrokenPool(self._over))
                self._told(asked.job)

    def _hear(self, result: Result, data: bytes) -> None:
        if result.outcome is Outcome.STOPPED:
            return  # it is in the list again
        with self._telling:
            with self._lock:
                asked = self._listing.under_way.pop(result.task_id, None)
                if asked is None:
                    self._unclaimed[result.task_id] = result  # of an earlier caller's, or told twice
                    return
                job = self._jobs.of(asked)
            try:
                self._tell(job, asked, result, data)
            finally:
                self._told(asked.job)

    def _tell(self, job: Job, asked: Slice, result: Result, data: bytes) -> None:
        pieces, pad = travel.pieces_of(data)
        place = verdicts.deliver(job, asked, pieces)
        if place < asked.stop:
            self._go_on(job, asked, place, verdicts.guilty(pad, place), result)

    def _told(self, number: int) -> None:
        """Take note that the end of a slice was told."""
        with self._idle:
            self._listing.ended()
            if self._jobs.told(number):
                self._idle.notify_all()
        self._list_more()

    def _go_on(self, job: Job, asked: Slice, done: int, guilty: int, result: Result) -> None:
        """A worker has died in the call `guilty`, after handing over what was before `done`; or it stopped there."""
        if result.outcome is Outcome.SUCCESS:
            again = [asked.part(done, asked.stop)]
        else:
            again = [asked.part(start, end) for start, end in ((done, guilty), (guilty + 1, asked.stop)) if start < end]
            if self._earlier.has(result) or job.try_again(asked.first + guilty):
                again.append(asked.part(guilty, guilty + 1))
            else:
                job.fail(asked.first + guilty, death(self._desk.layout, result, echoed=self._echo.wanted))
        if self._earlier.has(result):  # its caller has listed these, or was killed before
            again = [each for each in again if not self._earlier.lists(each, besides=result.task_id)]
        self._submit_or_fail(job, again)

    def _submit_or_fail(self, job: Job, slices: Sequence[Slice]) -> None:
        try:
            self.submit(job, slices)
        except BrokenPool as error:
            for each in slices:
                verdicts.fail(job, each, error)

    # -- the end

    def settle(self) -> None:
        """Wait until no call is under way."""
        with self._idle:
            self._idle.wait_for(lambda: not self._jobs.outstanding())

    def finish(self) -> None:
        """Wait for the farm, which has nothing to do any more, to end."""
        self._ending = True
        if self._farm is not None:
            self._farm.finish()
        self._close()

    def stop(self) -> None:
        """End the farm at once; calls that are not done fail."""
        self._ending = self._stopping = True
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
        self.outbox.close()
