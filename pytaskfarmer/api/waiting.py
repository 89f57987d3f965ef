"""What a caller waits with: the results of a map, of a single call, or of a stream of calls.

All of them are told by the thread that reads results. They know nothing of tasks: only of calls, by number.
"""

import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from pytaskfarmer.api.faults import BrokenPool

_Value = TypeVar("_Value")
_MISSING = object()

RAISE, RETURN, NONE = "raise", "return", "none"
"""What to do with the exception of a call: raise it, return it in the place of the value, or return None there."""


class Retries:
    """How often a call whose worker died may run again."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used: dict[int, int] = {}

    def one_more(self, index: int) -> bool:
        """Whether this call may."""
        self._used[index] = self._used.get(index, 0) + 1
        return self._used[index] <= self._most


class AsyncResult(Generic[_Value]):
    """The values of calls that are still going on, as `multiprocessing.pool.AsyncResult` has them.

    `pool` is who makes the calls, and lives for as long as this.
    """

    def __init__(
        self,
        pool: object,
        number: int,
        count: int,
        retries: int,
        on_error: str,
        callback: Callable[[_Value], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> None:
        self._pool = pool
        self.number = number
        self._values: list[Any] = [None] * count
        self._faults: dict[int, BaseException] = {}
        self._left = count
        self._done = threading.Event()
        self._retries = Retries(retries)
        self._on_error = on_error
        self._callback, self._error_callback, self._progress = callback, error_callback, progress
        if not count:
            self._done.set()

    # -- told by the session

    def deliver(self, first: int, values: list[object]) -> None:
        """Take the values of the calls from number `first` on."""
        self._values[first : first + len(values)] = values
        self._count(len(values))

    def fail(self, index: int, error: BaseException) -> None:
        """Take the exception of a call."""
        if self._on_error == RAISE:
            self._faults[index] = error
        else:
            self._values[index] = error if self._on_error == RETURN else None
        self._count(1)

    def try_again(self, index: int) -> bool:
        """Whether a call whose worker died is to run again."""
        return self._retries.one_more(index)

    def _count(self, calls: int) -> None:
        self._left -= calls
        if self._progress is not None:
            _call(self._progress, len(self._values) - self._left, len(self._values))
        if not self._left:
            self._finish()

    def _finish(self) -> None:
        fault = self._fault()
        if fault is None and self._callback is not None:
            _call(self._callback, self._value())
        elif fault is not None and self._error_callback is not None:
            _call(self._error_callback, fault)
        self._done.set()

    # -- asked by the caller

    def ready(self) -> bool:
        """Whether all calls have ended."""
        return self._done.is_set()

    def successful(self) -> bool:
        """Whether none raised. Raises ValueError if they have not ended."""
        if not self.ready():
            raise ValueError("the calls have not ended yet")
        return self._fault() is None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until all calls have ended, or for so many seconds."""
        self._done.wait(timeout)

    def get(self, timeout: float | None = None) -> _Value:
        """Return the values. Raises what the first of the calls to raise did, or `multiprocessing.TimeoutError`."""
        if not self._done.wait(timeout):
            from multiprocessing import TimeoutError as Late

            raise Late(f"the calls have not ended within {timeout:g} s")
        fault = self._fault()
        try:
            if fault is not None:
                raise fault
            return self._value()
        finally:
            del fault, self  # else the traceback refers to them, and they to it: the pool would live on

    def _fault(self) -> BaseException | None:
        return self._faults[min(self._faults)] if self._faults else None

    def _value(self) -> _Value:
        values: Any = self._values
        return values  # type: ignore[no-any-return]


def _call(function: Callable[..., object], *arguments: object) -> None:
    """Call what the caller has given us; it must not end the thread that reads results."""
    try:
        function(*arguments)
    except BaseException:
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


class SingleResult(AsyncResult[_Value]):
    """The value of one call."""

    def _value(self) -> _Value:
        value: _Value = self._values[0]
        return value


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
