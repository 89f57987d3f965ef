"""What `Pool` has and `multiprocessing.Pool` has not, or has otherwise."""

import itertools
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import called
import numpy as np
import pytest

from pytaskfarmer import Pool, Slurm
from pytaskfarmer.api.wish import Wish
from pytaskfarmer.views.bar import bar


@pytest.fixture(scope="module")
def ours() -> Iterator[Pool]:
    """Give a pool for all tests here: none of them may spoil it."""
    with Pool(2) as pool:
        yield pool


def test_what_is_refused_earlier(ours: Pool) -> None:
    """Chunks of no call, for which the standard library's `map` returns None each; and streams of what has no items."""
    with pytest.raises(ValueError, match=r"1\+, not 0"):
        ours.map(called.square, [1, 2], chunksize=0)
    with pytest.raises(TypeError, match="not iterable"):
        ours.imap(called.square, 5)  # type: ignore[arg-type]


def test_wrong_options_of_ours(run: Callable[..., str]) -> None:
    """Each is one clear error, and nothing is left for the garbage collector to complain of."""
    source = """
import gc, os, sys
from pytaskfarmer import Executor, Pool, Slurm
gc.set_threshold(1)
for make in (
    lambda: Pool(timeout=0), lambda: Pool(timeout=-1), lambda: Pool(timeout=float("nan")), lambda: Pool(retries=-1),
    lambda: Pool(processes=10_001), lambda: Executor(10_001), lambda: Pool(on_error="ignore"),
    lambda: Pool(cluster=Slurm(nodes=0)), lambda: Pool(cluster=Slurm(time="soon")),
    lambda: Pool("two"), lambda: Executor("two"), lambda: Pool(timeout="1"), lambda: Pool(seed="a"),
    lambda: Pool(maxtasksperchild=1.5), lambda: Pool(initializer=3), lambda: Pool(workdir=5),
    lambda: Pool(initargs=5), lambda: Pool(cluster="slurm"), lambda: Pool(cluster=Slurm),
    lambda: Executor(cluster=Slurm), lambda: Pool(workdir=""), lambda: Pool(retries=1.5), lambda: Pool(progress=1),
    lambda: Pool(cluster=Slurm(time=0)), lambda: Pool(cluster=Slurm(workers=0)),
    lambda: Pool(cluster=Slurm(options=["mem"])), lambda: Slurm(time=float("inf")), lambda: Slurm(nodes="4"),
    lambda: Slurm(time=["1h"]), lambda: Executor(1).map(abs, [1], chunksize=1.5),
):
    try:
        make()
    except (TypeError, ValueError) as error:
        print(type(error).__name__, error)
    gc.collect()
assert [] == os.listdir(os.environ["TMPDIR"])
"""
    told = run(source).splitlines()
    assert 30 == len(told)
    assert all(line.startswith(("UsageError ", "TypeError ")) for line in told), told
    assert "UsageError a timeout of 0 s leaves no time; it must be above 0." == told[0]
    assert "TypeError the number of workers must be a whole number, not 'two'" == told[9]
    assert told[18].endswith("Slurm'>: write Slurm(...) or GridEngine(...)")
    assert [
        "UsageError workdir='': name a directory, or leave it out.",
        "TypeError retries, how often a call may run again, must be a whole number, not 1.5",
        "TypeError progress=1: True, False, or a function of two numbers.",
        "UsageError time=0: a job needs some time; leave it out for the batch system's own limit.",
        "UsageError workers=0: at least one, or leave it out.",
        "TypeError options=['mem']: write them as a dictionary, a value None for a flag.",
        "UsageError time=inf: leave it out for the batch system's own limit.",
        "TypeError nodes must be a whole number, not '4'",
        "TypeError time, in seconds or as \"1h\", must be a number, not ['1h']",
        "TypeError chunksize must be a whole number, not 1.5",
    ] == told[20:]


def test_the_first_exception_by_number(ours: Pool) -> None:
    """`map` raises that of the first call that raised, whichever came first."""
    for _ in range(5):
        with pytest.raises(ValueError, match=r"^2 is even"):
            ours.map(called.odd, [1, 2, *range(4, 40)], chunksize=1)


def test_on_error() -> None:
    """Exceptions as values, or None, in their places; from every method."""
    with Pool(1, on_error="return") as pool:
        values = pool.map(called.odd, [1, 2, 3, 4], chunksize=2)
        assert [1, "2 is even", 3, "4 is even"] == [v if isinstance(v, int) else str(v) for v in values]
        assert ["ValueError", "int"] == [type(value).__name__ for value in pool.imap(called.odd, [2, 3])]
        assert isinstance(pool.apply(called.odd, (2,)), ValueError)
        assert pool.map_async(called.odd, [2]).get()
        assert pool.map_async(called.odd, [2]).get()[0].__cause__
    with Pool(1, on_error="none") as pool:
        assert [1, None, 3] == pool.map(called.odd, [1, 2, 3])
        assert [1, None] == sorted(pool.imap_unordered(called.odd, [1, 2]), key=str)
    with pytest.raises(ValueError, match="'raise', 'return' and 'none'"):
        Pool(1, on_error="ignore")


def test_seeds() -> None:
    """With a seed, a call draws the same numbers whoever makes it, and each call its own."""
    draws = []
    for workers, chunksize in ((1, None), (4, 1), (2, 7)):
        with Pool(workers, seed=12) as pool:
            draws.append(pool.map(called.drawn, range(20), chunksize))
    assert draws[0] == draws[1] == draws[2]
    assert 20 == len(set(draws[0]))
    with Pool(1, seed=13) as pool:
        other = pool.map(called.drawn, range(20))
        assert not {*draws[0]} & {*other}
        assert other == pool.map(called.drawn, range(20))  # calls are numbered from 0 in each map


def test_progress() -> None:
    """A function is told the numbers of ended and of all calls, up to the last; what it raises disturbs nobody."""
    told: list[tuple[int, int]] = []
    with Pool(2, progress=lambda done, total: told.append((done, total))) as pool:
        pool.map(called.square, range(10), chunksize=3)
        assert (10, 10) == told[-1]
        assert told == sorted(told)
        told.clear()
        pool.map(called.square, [])
        assert [] == told
    with Pool(1, progress=True) as pool:
        assert [0, 1] == pool.map(called.square, range(2))


def test_progress_in_a_notebook_without_widgets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is a line that counts, written anew with each percent; nothing warns of what is not installed."""
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    show = bar("calls")
    for done in range(1, 1001):
        show(done, 1000)
    lines = capsys.readouterr().err.split("\r")
    assert ["", "calls: 1 of 1,000", "calls: 10 of 1,000"] == lines[:3]
    assert "calls: 1,000 of 1,000\n" == lines[-1]
    assert 102 == len(lines)
    with Pool(1, progress=True) as pool:
        assert [0, 1] == pool.map(called.square, range(2))
    assert capsys.readouterr().err.endswith("\rcalls: 2 of 2\n")


def test_all_names_at_once(run: Callable[..., str]) -> None:
    """`from pytaskfarmer import *` gives what is for Python callers."""
    told = run("before = None\nfrom pytaskfarmer import *\nprint(*sorted(set(globals())))").split()
    names = {"BrokenPool", "CannotTravel", "Executor", "GridEngine", "Pool", "RemoteError", "Slurm", "WorkerDied"}
    assert names == {name for name in told if name != "before" and not name.startswith("_")}


def test_numbers_of_numpy() -> None:
    """May say how calls are to be made; they become Python's, as which they can be written down."""
    wish = Wish(workers=np.int64(2), max_tasks=np.uint8(3), timeout=np.float32(1.5), seed=np.int32(4))  # type: ignore[arg-type]
    assert [2, 3, 1.5, 4] == json.loads(json.dumps([wish.workers, wish.max_tasks, wish.timeout, wish.seed]))
    slurm = Slurm(nodes=np.int64(2), jobs=np.int64(3), workers=np.int64(4), time=np.int64(5))
    assert [24, 5.0] == json.loads(json.dumps([slurm.expected(None), slurm.seconds()]))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_raises(ours: Pool) -> None:
    """Is told as any exception of a thread, and the pool goes on."""

    def bad(*_: object) -> None:
        raise RuntimeError("by the callback")

    hook, told = threading.excepthook, []
    threading.excepthook = lambda facts: told.append(str(facts.exc_value))
    try:
        assert [0, 1] == ours.map_async(called.square, range(2), callback=bad).get(20)
        with pytest.raises(ValueError, match="even"):
            ours.apply_async(called.odd, (2,), error_callback=bad).get(20)
        assert [0, 1] == ours.map(called.square, range(2))
    finally:
        threading.excepthook = hook
    assert ["by the callback"] * 2 == told


def test_callbacks_that_use_the_pool(tmp_path: Path) -> None:
    """A callback may ask for more calls, and may end the pool."""
    pool = Pool(1)
    more: list[Any] = []
    asked = threading.Event()

    def ask(value: int) -> None:
        more.append(pool.apply_async(called.square, (value,)))
        asked.set()

    pool.apply_async(called.square, (2,), callback=ask)
    assert asked.wait(20)
    assert 16 == more[0].get(20)
    ended = threading.Event()

    def end(_: object) -> None:
        pool.terminate()
        ended.set()

    last = pool.map_async(called.square, [3], callback=end)
    assert ended.wait(20)
    assert [9] == last.get(20)
    pool.join()


def test_a_callback_that_waits_for_the_pool() -> None:
    """Gets an exception, as with `multiprocessing`: it would wait for itself."""
    told: list[BaseException | None] = []
    with Pool(1) as pool:

        def join(_: object) -> None:
            pool.close()
            try:
                pool.join()
            except RuntimeError as error:
                told.append(error)

        assert 4 == pool.apply_async(called.square, (2,), callback=join).get(20)
    assert ["cannot join current thread: a callback is called by the one that reads results"] == list(map(str, told))


def test_first_come_first_served(tmp_path: Path) -> None:
    """Calls begin in the order in which they were asked for, by one method or another."""
    order = []
    with Pool(1) as pool:
        pool.apply(called.pid)
        late = pool.apply_async(called.wait, (0.2,))
        results: list[Any] = []
        for number in range(0, 40, 2):
            tell = partial_append(order, number)
            results.append(pool.apply_async(called.square, (number,), callback=tell))
            results.append(pool.map_async(called.square, [number, 1], callback=partial_append(order, number + 1)))
        late.get(20)
        for result in results:
            result.get(20)
    assert list(range(40)) == order


def partial_append(order: list[int], number: int) -> Callable[[object], None]:
    return lambda _: order.append(number)


def test_a_stream_reads_as_it_goes(ours: Pool) -> None:
    """An endless iterable will do, and no more of it is read than some calls ahead."""
    read = itertools.count()
    stream = ours.imap(called.square, read)
    assert [number * number for number in range(3000)] == list(itertools.islice(stream, 3000))
    assert next(read) < 5000
    stream.close()


def test_results_of_slow_streams_come_in_time(tmp_path: Path) -> None:
    """The first calls of a stream are not kept waiting by later ones."""
    with Pool(2) as pool:
        pool.map(called.square, range(4))
        stream = pool.imap(called.wait, itertools.repeat(0.01))
        for _ in range(30):
            stream.next(timeout=1)
