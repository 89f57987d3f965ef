"""Calls that wait for their turn, first come, first served, and the futures of all.

A call can be cancelled until it is handed in, so no more are handed in than keep the workers busy: one more than there
are workers or, where calls are short, some that do not take long; the session knows how many.

Futures are resolved, and calls handed in, without the lock: callbacks come back here, and so does the session.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from itertools import groupby
from typing import Any

from pytaskfarmer.api.faults import BrokenPool
from pytaskfarmer.api.request import JobLine, Slice
from pytaskfarmer.api.session import Session
from pytaskfarmer.api.waiting import call_back

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
        """Resolve the future, whatever its callbacks raise."""
        call_back(self._resolve)

    def _resolve(self) -> None:
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
    """The calls of one session; `over` is called when it is to end and nothing is left to do."""

    def __init__(self, session: Session, over: Callable[[], object]) -> None:
        self.broken: str | None = None
        self._session, self._over = session, over
        session.has_room = self._hand_in_more
        self._lock = threading.Lock()
        self._jobs: dict[tuple[bytes, str], _Job] = {}
        self._next = 0
        self._waiting: deque[_Item] = deque()
        self._going_on: dict[int, _Item] = {}
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
                self._session.outbox.announce(JobLine(job.number, self._session.outbox.pack(function), how))
                self._jobs[key] = job
        return job

    def add(self, job: _Job, chunk: bytes, count: int = 1, *, single: bool = True) -> Future[Any]:
        """Let a packed chunk of calls wait for its turn. Raises RuntimeError when it is late, or `BrokenPool`."""
        with self._lock:
            self._check_open()
            item = _Item(job, Slice(job.number, self._session.outbox.pack(chunk), self._next, 0, count), single=single)
            self._next += count
            self._waiting.append(item)
            batch = self._take_turns()
        self._hand_in(batch)
        if self.broken is not None:
            raise BrokenPool(self.broken)
        return item.future

    def _check_open(self) -> None:
        if self.broken is not None:
            raise BrokenPool(self.broken)
        if self._ending:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _take_turns(self) -> list[_Item]:
        """Return whose turn it is; with the lock."""
        batch: list[_Item] = []
        room = self._session.room() if self._waiting else 0
        while self._waiting and len(batch) < room:
            item = self._waiting.popleft()
            if item.future.set_running_or_notify_cancel():
                batch.append(item)
                self._going_on.update(dict.fromkeys(_numbers(item.asked), item))
        return batch

    def _hand_in_more(self) -> None:
        with self._lock:
            batch = self._take_turns()
        self._hand_in(batch)

    def _hand_in(self, batch: list[_Item]) -> None:
        """Submit; without the lock, since the session may have something to tell."""
        for job, group in groupby(batch, key=lambda item: item.job):
            items = list(group)
            try:
                self._session.submit(job, [item.asked for item in items])
            except BrokenPool as error:
                self._give_up(items, str(error))

    def _give_up(self, items: list[_Item], why: str) -> None:
        """Take note that nothing can be called any more."""
        with self._lock:
            self.broken = why
            for item in items:
                for number in _numbers(item.asked):
                    del self._going_on[number]
            waiting = [item for item in self._waiting if item.future.set_running_or_notify_cancel()]
            self._waiting.clear()
            self._look_whether_over()
        for item in (*items, *waiting):
            item.future.set_exception(BrokenPool(why))

    # -- what comes back, from the thread that reads results

    def deliver(self, first: int, values: list[object]) -> None:
        """Take the values of the calls from number `first` on, which are of one chunk; keep none of them here."""
        outcomes = [(True, value) for value in values]
        values.clear()
        self._take(first, outcomes)

    def fail(self, index: int, error: BaseException) -> None:
        """Take the exception of a call."""
        self._take(index, [(False, error)])

    def _take(self, first: int, outcomes: list[Outcome]) -> None:
        with self._lock:
            item = self._going_on[first]
            for number in range(first + len(outcomes) - 1, first - 1, -1):
                item.outcomes[number - item.asked.first] = outcomes.pop()
                del self._going_on[number]
                item.left -= 1
            batch = self._take_turns() if not item.left else []
        self._hand_in(batch)
        if not item.left:
            item.settle()
        with self._lock:
            self._look_whether_over()

    # -- the end

    def over(self) -> bool:
        """Whether it is to end, and nothing is left to do."""
        with self._lock:
            return self._nothing_left()

    def end(self, *, cancel: bool = False) -> None:
        """Take no more; cancel what waits, if asked to."""
        cancelled: list[_Item] = []
        with self._lock:
            self._ending = True
            if cancel:
                cancelled += self._waiting
                self._waiting.clear()
        for item in cancelled:
            item.future.cancel()
            item.future.set_running_or_notify_cancel()

    def _look_whether_over(self) -> None:
        if self._nothing_left():
            self._over()

    def _nothing_left(self) -> bool:
        return self._ending and not self._going_on and not self._waiting


def _numbers(asked: Slice) -> range:
    return range(asked.first, asked.first + asked.count)
