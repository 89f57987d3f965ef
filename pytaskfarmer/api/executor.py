"""`Executor`, which is a `concurrent.futures.Executor` on a farm.

The farm starts with the first call.
"""

import concurrent.futures
import operator
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from pytaskfarmer.api import travel
from pytaskfarmer.api.farming import END, Farming, farms
from pytaskfarmer.api.faults import BrokenPool, CannotTravel
from pytaskfarmer.api.places import Cluster
from pytaskfarmer.api.request import APPLY, STAR
from pytaskfarmer.api.turns import Outcome
from pytaskfarmer.api.wish import Wish, whole

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_Callable = Callable[..., Any]


class Executor(concurrent.futures.Executor):
    """Calls functions in other processes, as `ProcessPoolExecutor` does, on this node or in jobs of a batch system.

    `max_workers` (default: the CPUs that this process may use) workers each run `initializer(*initargs)` once, and are
    replaced after `max_tasks_per_child` calls, or chunks of `map`. `mp_context` is there for the sake of the drop-in:
    workers are always fresh processes, which do not inherit the caller's variables. `cluster` is where they run, such
    as `Slurm(nodes=4, time="1h")`; by default on this node.

    A call whose worker dies raises `WorkerDied`, and the others go on; when no worker can be had, all raise
    `BrokenPool`. What cannot be sent to a worker gives its future `CannotTravel`. Functions and arguments are packed by
    `submit`: what is changed later does not reach the worker.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: object = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        if max_workers is not None and whole(max_workers, "max_workers") <= 0:
            raise ValueError("max_workers must be greater than 0")
        self._wish = Wish(max_workers, initializer, tuple(initargs), max_tasks_per_child, cluster)
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._farming: Farming | None = None
        self._closed = False

    def submit(
        self,
        fn: Callable[_Parameters, _Result],
        /,
        *args: _Parameters.args,
        **kwargs: _Parameters.kwargs,
    ) -> concurrent.futures.Future[_Result]:
        """Return a future of `fn(*args, **kwargs)`. Raises RuntimeError after `shutdown`, and `BrokenPool`."""
        farming = self._started()
        function, before = _apart(fn)
        try:
            packed = farming.pack(function)
            call = _packed(fn, before, args, kwargs)
        except CannotTravel as error:
            return _hopeless(error)
        return farming.turns.add(farming.turns.job(packed, APPLY), call)

    def map(
        self,
        fn: Callable[..., _Result],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[_Result]:
        """Return an iterator over `fn(*items)` for the items of all iterables, in order; all calls begin at once.

        `chunksize` calls at a time travel together. The iterator raises what a call raised in its place, and
        TimeoutError when a value is not there `timeout` seconds after now.
        """
        if (chunksize := whole(chunksize, "chunksize")) < 1:
            raise ValueError("chunksize must be >= 1.")
        end = None if timeout is None else time.monotonic() + timeout
        farming = self._started()
        function, before = _apart(fn)
        turns, packed = farming.turns, farming.pack(function)
        job = turns.job(packed, STAR)
        chunks: list[concurrent.futures.Future[list[Outcome]]] = []
        calls = ((*before, *items) for items in zip(*iterables, strict=False))
        while chunk := list(islice(calls, chunksize)):
            try:
                data = travel.pack_each(chunk, lambda _: f"an argument of {travel.name_of(fn)}")
            except CannotTravel as error:
                chunks.append(_hopeless(error))
            else:
                chunks.append(turns.add(job, data, len(chunk), single=False))
        return _values(chunks, end)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the workers when all have ended; wait for that, or not.

        `cancel_futures` cancels those that have not begun. A callback of a future does not wait in any case.
        """
        if self._owner != os.getpid():
            return
        with self._lock:
            self._closed = True
            farming = self._farming
        if farming is not None:
            farming.end(cancel=cancel_futures)
            if wait:
                farming.join()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> bool | None:
        if kind is not None and issubclass(kind, KeyboardInterrupt) and self._farming is not None:
            self._farming.stop()
        self.shutdown()
        return None

    def __del__(self) -> None:
        farming: Farming | None = getattr(self, "_farming", None)
        if farming is not None:
            farming.say(END)

    def _started(self) -> "Farming":
        if self._owner != os.getpid():
            raise BrokenPool(f"this executor belongs to process {self._owner}; make another one here")
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if farms.exiting:
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            if self._farming is None:
                self._farming = Farming(self._wish)
            return self._farming


def _apart(function: _Callable) -> tuple[_Callable, tuple[Any, ...]]:
    """Return what workers may keep, and what comes before the arguments of each call.

    A callable with a state of its own travels with each call, so that no call finds it as another one left it.
    """
    return (function, ()) if travel.is_stateless(function) else (operator.call, (function,))


def _packed(function: _Callable, before: tuple[Any, ...], args: tuple[Any, ...], keywords: dict[str, Any]) -> bytes:
    """Return a call's arguments as bytes. Raises `CannotTravel` for the first that cannot."""
    try:
        return travel.pack([((*before, *args), keywords)], "")
    except CannotTravel:
        travel.pack(before, f"the function {travel.name_of(function)}")
        for place, argument in (*enumerate(args), *keywords.items()):
            travel.pack(argument, f"argument {place!r} of {travel.name_of(function)}")
        raise


def _hopeless(error: BaseException) -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.set_exception(error)
    return future


def _values(chunks: list[concurrent.futures.Future[list[Outcome]]], end: float | None) -> Iterator[Any]:
    """Yield what the calls returned, until the clock shows `end`; keep nothing of what was yielded."""
    chunks.reverse()
    try:
        while chunks:
            outcomes = chunks[-1].result(None if end is None else end - time.monotonic())
            chunks.pop()
            outcomes.reverse()
            while outcomes:
                if not outcomes[-1][0]:
                    raise outcomes.pop()[1]
                yield outcomes.pop()[1]
    finally:
        for chunk in chunks:
            chunk.cancel()
