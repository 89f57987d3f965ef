"""`Pool`, which takes the calls that `multiprocessing.Pool` takes."""

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, NoReturn, TypeVar
from weakref import WeakSet

from pytaskfarmer.api.caller import Caller
from pytaskfarmer.api.chunks import Chunks
from pytaskfarmer.api.places import Cluster
from pytaskfarmer.api.request import APPLY, ONE, STAR
from pytaskfarmer.api.streams import Stream
from pytaskfarmer.api.waiting import NONE, RAISE, RETURN, AsyncResult, SingleResult
from pytaskfarmer.api.wish import Wish, whole
from pytaskfarmer.errors import UsageError
from pytaskfarmer.views.bar import bar

_Callback = Callable[[Any], object]
_Result = TypeVar("_Result")

_CHUNKS_A_WORKER = 4
_WINDOW = 1000


class Pool:
    """Calls functions in other processes, as `multiprocessing.Pool` does, on this node or in jobs of a batch system.

    `processes` (default: the CPUs that this process may use) workers each run `initializer(*initargs)` once, and are
    replaced after `maxtasksperchild` chunks. `context` is there for the sake of the drop-in: workers are always fresh
    processes, which do not inherit the caller's variables.

    `cluster` is where the workers run, such as `Slurm(nodes=4, time="1h")`; by default on this node. In `workdir`, a
    directory, the calls and their results are kept, so that the same calls made again, after whatever died, run only
    what is missing; `keep_workdir` says whether it stays when the pool ends (by default if it was named). A call that
    takes longer than `timeout` seconds raises TimeoutError; with a timeout, each call travels alone. One whose worker
    dies or is late runs up to `retries` times more, and then raises `WorkerDied` or TimeoutError. With
    `on_error="return"` an exception stands in the place of its call's value, with `"none"` it is None there; `"raise"`
    raises that of the first call that raised, when all have ended. `progress` is called with the numbers of ended and
    of all calls; True shows a bar. With a `seed`, `random.seed` (and numpy's, where it is loaded) is called before each
    call with a number that depends on `seed` and the call's number alone.
    What calls print goes to their logs in the work directory and, unless `echo` is False, to the caller's `sys.stdout`.

    Raises `CannotTravel` where a function or an argument cannot be sent, from the method that was to send it.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: object = None,
        *,
        cluster: Cluster | None = None,
        workdir: str | os.PathLike[str] | None = None,
        keep_workdir: bool | None = None,
        timeout: float | None = None,
        retries: int = 0,
        on_error: str = RAISE,
        progress: bool | Callable[[int, int], object] = False,
        seed: int | None = None,
        echo: bool = True,
    ) -> None:
        if on_error not in {RAISE, RETURN, NONE}:
            raise UsageError(f"on_error={on_error!r}: there are 'raise', 'return' and 'none'.")
        retries = whole(retries, "retries, how often a call may run again,")
        if retries < 0:
            raise UsageError(f"retries={retries}: how often a call may run again, 0 or more.")
        if not (isinstance(progress, bool) or callable(progress)):
            raise TypeError(f"progress={progress!r}: True, False, or a function of two numbers.")
        wish = Wish(
            processes, initializer, tuple(initargs), maxtasksperchild, cluster,
            None if workdir is None else os.fsdecode(workdir), keep_workdir, timeout, seed, echo,
        )  # fmt: skip
        self._retries, self._on_error = retries, on_error
        self._progress = progress
        self._numbers = itertools.count()
        self._streams: WeakSet[Stream[Any]] = WeakSet()
        self._feeders: list[threading.Thread] = []
        self._closed = False
        self._lock = threading.RLock()  # of these three: one thread may begin a stream while another ends the pool
        self._caller = Caller(wish)
        named = workdir is not None or self._caller.keeps
        self._chunks = Chunks(self._caller.session, self._caller.root, named=named, alone=timeout is not None)

    # -- calls

    def apply(
        self, func: Callable[..., _Result], args: Iterable[Any] = (), kwds: dict[str, Any] | None = None
    ) -> _Result:
        """Return `func(*args, **kwds)`."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., _Result],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
        callback: _Callback | None = None,
        error_callback: _Callback | None = None,
    ) -> SingleResult[_Result]:
        """Begin to call `func(*args, **kwds)`."""
        self._check_open()
        result: SingleResult[_Result] = SingleResult(
            self, next(self._numbers), 1, self._retries, self._on_error, callback, error_callback
        )
        self._list_all(result, func, [(tuple(args), dict(kwds or {}))], 1, APPLY)
        return result

    def map(
        self, func: Callable[[Any], _Result], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[_Result]:
        """Return the list of `func(item)` for each item."""
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[Any], _Result],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: _Callback | None = None,
        error_callback: _Callback | None = None,
    ) -> AsyncResult[list[_Result]]:
        """Begin to call `func(item)` for each item."""
        return self._map(func, iterable, chunksize, ONE, callback, error_callback)

    def starmap(
        self, func: Callable[..., _Result], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[_Result]:
        """Return the list of `func(*item)` for each item."""
        return self.starmap_async(func, iterable, chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., _Result],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: _Callback | None = None,
        error_callback: _Callback | None = None,
    ) -> AsyncResult[list[_Result]]:
        """Begin to call `func(*item)` for each item."""
        return self._map(func, iterable, chunksize, STAR, callback, error_callback)

    def imap(self, func: Callable[[Any], _Result], iterable: Iterable[Any], chunksize: int = 1) -> Stream[_Result]:
        """Return an iterator over `func(item)` for each item, in order, which reads `iterable` as it goes."""
        return self._stream(func, iterable, chunksize, ordered=True)

    def imap_unordered(
        self, func: Callable[[Any], _Result], iterable: Iterable[Any], chunksize: int = 1
    ) -> Stream[_Result]:
        """Return an iterator over `func(item)` for each item, as they come, which reads `iterable` as it goes."""
        return self._stream(func, iterable, chunksize, ordered=False)

    # -- how they are listed

    def _map(
        self,
        func: Callable[..., _Result],
        iterable: Iterable[Any],
        chunksize: int | None,
        how: str,
        callback: _Callback | None,
        error_callback: _Callback | None,
    ) -> AsyncResult[list[_Result]]:
        self._check_open()
        items = iterable if isinstance(iterable, list | tuple | range) else list(iterable)
        progress = bar("calls") if self._progress is True else self._progress or None
        result: AsyncResult[list[_Result]] = AsyncResult(
            self, next(self._numbers), len(items), self._retries, self._on_error, callback, error_callback, progress
        )
        if chunksize is None:
            chunksize = -(-len(items) // (_CHUNKS_A_WORKER * self._caller.workers))
        elif (chunksize := whole(chunksize, "chunksize")) < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        if items:
            self._list_all(result, func, items, chunksize, how)
        return result

    def _list_all(
        self, result: AsyncResult[Any], func: Callable[..., Any], items: Sequence[Any], size: int, how: str
    ) -> None:
        chunks = self._chunks
        size = chunks.size(result.number, size)
        function = chunks.pack_function(func)
        packed = [chunks.pack(func, start, items[start : start + size]) for start in range(0, len(items), size)]
        chunks.announce(result.number, func, function, how, size, len(items))
        chunks.submit(result, packed)

    def _stream(
        self, func: Callable[..., _Result], iterable: Iterable[Any], size: int, *, ordered: bool
    ) -> Stream[_Result]:
        self._check_open()
        if (size := whole(size, "chunksize")) < 1:
            raise ValueError(f"Chunksize must be 1+, not {size}")
        number = next(self._numbers)
        size = self._chunks.size(number, size)
        window = max(_WINDOW, 2 * _CHUNKS_A_WORKER * self._caller.workers * size)
        stream: Stream[_Result] = Stream(self, number, self._retries, self._on_error, ordered=ordered, window=window)
        self._chunks.announce(number, func, self._chunks.pack_function(func), ONE, size)
        feeder = threading.Thread(
            target=_feed,
            args=(stream, self._chunks, func, iter(iterable), size),
            name="pytaskfarmer feeder",
            daemon=True,
        )
        with self._lock:
            self._check_open()
            feeder.start()
            self._streams.add(stream)
            self._feeders = [*(thread for thread in self._feeders if thread.is_alive()), feeder]
        return stream

    # -- the end

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("Pool not running")

    def close(self) -> None:
        """Take no more calls."""
        self._close()

    def _close(self) -> tuple[Stream[Any], ...]:
        """Take no more calls, and return the streams that there are."""
        self._closed = True
        if not self._caller.session.outbox.is_ours:
            return ()  # in a forked child, their locks may be held by threads that are not there
        with self._lock:
            return tuple(self._streams)

    def join(self) -> None:
        """Wait until all calls have ended, and the workers with them. Raises ValueError if the pool is still open."""
        if not self._closed:
            raise ValueError("Pool is still running")
        if self._caller.session.reads:
            raise RuntimeError("cannot join current thread: a callback is called by the one that reads results")
        self._caller.session.outbox.check_owner()
        for stream in self._close():
            stream.hurry()
        for feeder in self._feeders:
            feeder.join()
        self._caller.session.settle()
        self._caller.close()

    def terminate(self) -> None:
        """End all workers at once; calls that have not ended raise `BrokenPool`."""
        self._terminate()

    def _terminate(self, *, failed: bool = False) -> None:
        for stream in self._close():
            stream.close()
        self._caller.close(at_once=True, failed=failed)

    def __enter__(self) -> "Pool":
        self._check_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._terminate(failed=kind is not None)

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("a pool cannot be sent to another process; nor what refers to it, as `self` may do")


def _feed(stream: Stream[Any], chunks: Chunks, func: Callable[..., Any], items: Iterator[Any], size: int) -> None:
    handed_in = 0
    try:
        while chunk := list(itertools.islice(items, size)):
            if not stream.room(len(chunk)):
                return
            chunks.submit(stream, [chunks.pack(func, handed_in, chunk)])
            handed_in += len(chunk)
    except BaseException as error:
        stream.all_handed_in(handed_in, error)
    else:
        stream.all_handed_in(handed_in)
