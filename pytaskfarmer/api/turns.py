"""Calls that wait for their turn: first come, first served, and few at a time in the hands of the farm.

A call can be cancelled until it is handed in, so no more are handed in than keep the workers busy: one more than there
are workers or, where calls are short, as many as end within 50 ms. The farm begins with what was listed last, so more
are listed only when no more are under way than there are workers; else the oldest could wait for as long as new ones
come.

Futures are resolved without the lock, since their callbacks may come back here.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from itertools import groupby
from typing import Any

from pytaskfarmer.api.faults import BrokenPool
from pytaskfarmer.api.request import JobLine, Place, Slice
from pytaskfarmer.api.session import Session

_HORIZON = 0.05
_SHORT = 64

Outcome = tuple[bool, Any]
"""Whether a call returned, and what it returned or raised."""


class _Job:
    """A function, to the session."""

    def __init__(self, number: int, turns: "Turns") -> None:
        self.number = number
        self.deliver, self.fail = turns.deliver, turns.fail

    def try_again(self, index: int) -> bool:
        """Never: who submits a call decides what its death means."""
        return False


class _Item:
    """One call, whose future gets its value, or a chunk of calls, whose future gets a list of outcomes."""

    __slots__ = ("asked", "future", "job", "left", "outcomes", "single")

    def __init__(self, job: _Job, asked: Slice, *, single: bool) -> None:
        self.job, self.asked, self.single = job, asked, single
        self.future: Future[Any] = Future()
        self.left = asked.count
        self.outcomes: list[Outcome] = [(True, None)] * asked.count

    def settle(self) -> None:
        """Resolve the future."""
        try:
            if not self.single:
                self.future.set_result(self.outcomes)
            elif self.outcomes[0][0]:
                self.future.set_result(self.outcomes.pop()[1])
            else:
                self.future.set_exception(self.outcomes.pop()[1])
        except InvalidStateError:
            pass  # somebody else has resolved it


class Turns:
    """The calls of one session with so many workers; `over` is called when it is to end and nothing is left to do."""

    def __init__(self, session: Session, workers: int, over: Callable[[], object]) -> None:
        self.broken: str | None = None
        self._session, self._workers, self._over = session, workers, over
        self._lock = threading.Lock()
        self._jobs: dict[tuple[bytes, str], _Job] = {}
        self._next = 0
        self._waiting: deque[_Item] = deque()
        self._going_on: dict[int, _Item] = {}
        self._listed = 0
        self._lost: list[_Item] = []
        self._ended, self._since = 0, 0.0
        self._ending = False

    # -- what goes in

    def job(self, function: bytes, how: str) -> _Job:
        """Return what stands for a packed function; see `add` for what is raised."""
        key = (function if len(function) <= _SHORT else hashlib.sha256(function).digest(), how)
        with self._lock:
            self._check_open()
            job = self._jobs.get(key)
            if job is None:
                job = _Job(len(self._jobs), self)
                self._session.announce(JobLine(job.number, self._session.pack(function), how))
                self._jobs[key] = job
        return job

    def add(self, job: _Job, chunk: bytes, count: int = 1, *, single: bool = True) -> Future[Any]:
        """Let a packed chunk of calls wait for its turn. Raises RuntimeError when it is late, or `BrokenPool`."""
        with self._lock:
            self._check_open()
            item = _Item(job, Slice(job.number, self._session.pack(chunk), self._next, 0, count), single=single)
            self._next += count
            self._waiting.append(item)
            self._hand_in()
        self._give_up_lost()
        return item.future

    def _check_open(self) -> None:
        if self.broken is not None:
            raise BrokenPool(self.broken)
        if self._ending:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _hand_in(self) -> None:
        if not self._waiting or self._listed > self._workers:
            return
        room = self._window() - self._listed
        batch: list[_Item] = []
        while self._waiting and len(batch) < room:
            item = self._waiting.popleft()
            if item.future.set_running_or_notify_cancel():
                batch.append(item)
        for job, items in groupby(batch, key=lambda item: item.job):
            self._list(job, list(items))

    def _window(self) -> int:
        now = time.monotonic()
        soon = int(self._ended * _HORIZON / (now - self._since)) if now > self._since else 0
        self._ended, self._since = 0, now
        return max(self._workers + 1, soon)

    def _list(self, job: _Job, items: list[_Item]) -> None:
        for item in items:
            self._going_on.update(dict.fromkeys(_numbers(item.asked), item))
        self._listed += len(items)
        try:
            if self.broken is not None:
                raise BrokenPool(self.broken)
            self._session.submit(job, [item.asked for item in items])
        except (BrokenPool, OSError) as error:
            self.broken = str(error)
            self._listed -= len(items)
            for item in items:
                for number in _numbers(item.asked):
                    del self._going_on[number]
            self._lost += [*items, *self._waiting]
            self._waiting.clear()

    # -- what comes back, from the thread that reads results

    def deliver(self, first: int, values: Sequence[object]) -> None:
        """Take the values of the calls from number `first` on, which are of one chunk."""
        self._take(first, [(True, value) for value in values])

    def fail(self, index: int, error: BaseException) -> None:
        """Take the exception of a call."""
        self._take(index, [(False, error)])

    def _take(self, first: int, outcomes: Sequence[Outcome]) -> None:
        with self._lock:
            item = self._going_on[first]
            for number, outcome in enumerate(outcomes, first):
                item.outcomes[number - item.asked.first] = outcome
                del self._going_on[number]
            item.left -= len(outcomes)
            if not item.left:
                self._listed -= 1
                self._ended += 1
                self._hand_in()
            self._look_whether_over()
        self._give_up_lost()
        if not item.left:
            item.settle()

    def _give_up_lost(self) -> None:
        if self._lost:
            with self._lock:
                lost, self._lost = self._lost, []
            for item in lost:
                if item.future.running() or item.future.set_running_or_notify_cancel():
                    item.future.set_exception(BrokenPool(self.broken or ""))

    # -- the end

    @property
    def over(self) -> bool:
        """Whether it is to end, and nothing is left to do."""
        return self._ending and not self._going_on and not self._waiting

    def end(self, *, cancel: bool = False) -> None:
        """Take no more; cancel what waits, if asked to."""
        cancelled: list[_Item] = []
        with self._lock:
            self._ending = True
            if cancel:
                cancelled += self._waiting
                self._waiting.clear()
            self._look_whether_over()
        for item in cancelled:
            item.future.cancel()
            item.future.set_running_or_notify_cancel()

    def _look_whether_over(self) -> None:
        if self.over:
            self._over()


def _numbers(asked: Slice) -> range:
    return range(asked.first, asked.first + asked.count)
