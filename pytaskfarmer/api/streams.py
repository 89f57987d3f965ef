"""The values of calls as an iterator: fed by one thread, told by the one that reads results, and read by the caller."""

import math
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeVar

from pytaskfarmer.api.faults import BrokenPool
from pytaskfarmer.api.waiting import NONE, RAISE, Retries

_Value = TypeVar("_Value")


class Stream(Iterator[_Value]):
    """The values of calls as an iterator, in order or as they come; the calls are made while it is read.

    At most `window` calls are under way or wait to be read, so an endless iterable takes bounded memory. `pool` is who
    makes the calls, and lives for as long as this.
    """

    def __init__(self, pool: object, number: int, retries: int, on_error: str, *, ordered: bool, window: int) -> None:
        self._pool = pool
        self.number = number
        self._retries = Retries(retries)
        self._on_error = on_error
        self._ordered = ordered
        self._window: float = window
        self._changed = threading.Condition()
        self._come: dict[int, tuple[bool, Any]] = {}
        self._unordered: deque[tuple[bool, Any]] = deque()
        self._next = 0
        self._handed_in = 0
        self._total: int | None = None
        self._last: BaseException | None = None
        self._closed = False

    # -- told by who hands in

    def room(self, calls: int) -> bool:
        """Wait until so many more calls may be handed in; False when nobody wants them any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._handed_in - self._next < self._window)
            self._handed_in += calls
            return not self._closed

    def all_handed_in(self, total: int, error: BaseException | None = None) -> None:
        """Take note that the iterable is exhausted after so many calls, or has raised."""
        with self._changed:
            self._total, self._last = total, error
            self._changed.notify_all()

    def hurry(self) -> None:
        """Hand in all calls, although nobody reads."""
        with self._changed:
            self._window = math.inf
            self._changed.notify_all()

    def close(self) -> None:
        """Want no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # -- told by the session

    def deliver(self, first: int, values: list[object]) -> None:
        """Take the values of the calls from number `first` on."""
        with self._changed:
            for index, value in enumerate(values, first):
                self._put(index, (True, value))
            self._changed.notify_all()

    def fail(self, index: int, error: BaseException) -> None:
        """Take the exception of a call."""
        with self._changed:
            fault = self._on_error == RAISE
            self._put(index, (not fault, None if self._on_error == NONE else error))
            self._changed.notify_all()

    def try_again(self, index: int) -> bool:
        """Whether a call whose worker died is to run again."""
        return self._retries.one_more(index)

    def _put(self, index: int, value: tuple[bool, Any]) -> None:
        if self._ordered:
            self._come[index] = value
        else:
            self._unordered.append(value)

    # -- asked by the caller

    def __iter__(self) -> "Stream[_Value]":
        return self

    def __next__(self) -> _Value:
        return self.next()

    def next(self, timeout: float | None = None) -> _Value:
        """Return the next value. Raises what its call raised, or `multiprocessing.TimeoutError`."""
        well, value = self._take(timeout)
        try:
            if not well:
                raise value
            result: _Value = value
            return result
        finally:
            del value, self  # as in `get`

    def _take(self, timeout: float | None) -> tuple[bool, Any]:
        with self._changed:
            if not self._changed.wait_for(self._has_next, timeout):
                from multiprocessing import TimeoutError as Late

                raise Late(f"no value has come within {timeout:g} s")
            if self._next == self._total:
                last, self._last = self._last, None
                return False, last or StopIteration()
            if not self._has_value():
                raise BrokenPool("the pool was terminated before all calls had ended")
            self._next += 1
            self._changed.notify_all()
            return self._come.pop(self._next - 1) if self._ordered else self._unordered.popleft()

    def _has_value(self) -> bool:
        return self._next in self._come if self._ordered else bool(self._unordered)

    def _has_next(self) -> bool:
        return self._has_value() or self._next == self._total or self._closed
