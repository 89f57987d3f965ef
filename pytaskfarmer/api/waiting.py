"""What a caller waits with for the results of a map or of a single call; see `streams` for the third kind.

They are told by the thread that reads results. They know nothing of tasks: only of calls, by number.
"""

import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

_Value = TypeVar("_Value")

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
            call_back(self._progress, len(self._values) - self._left, len(self._values))
        if not self._left:
            self._finish()

    def _finish(self) -> None:
        fault = self._fault()
        if fault is None and self._callback is not None:
            call_back(self._callback, self._value())
        elif fault is not None and self._error_callback is not None:
            call_back(self._error_callback, fault)
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


def call_back(function: Callable[..., object], *arguments: object) -> None:
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
