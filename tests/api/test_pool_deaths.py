"""A worker may die of anything: the guilty call says so, the others are made, once, and nobody waits for ever."""

import os
import pickle
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import called
import psutil
import pytest

from pytaskfarmer import BrokenPool, Pool, WorkerDied

pytestmark = pytest.mark.usefixtures("no_leftovers")


def times(directory: Path) -> Counter[int]:
    """Return how often each call was made, as `called.note` has it."""
    return Counter({int(path.name): path.read_text().count("x") for path in directory.iterdir() if path.is_file()})


@pytest.mark.parametrize(
    ("death", "words"),
    [
        (partial(called.leave, 5), "ended with exit status 5"),
        (partial(called.leave, 0), "ended with exit status 1"),
        (called.crash, "was killed by SIGSEGV during this call; it had printed: .*Segmentation fault"),
        (called.hoard, "was killed by SIGSEGV"),
        (called.thread_that_dies, "ended with exit status 9"),
        (os.abort, "was killed by SIGABRT"),
        (called.kill, "was killed by SIGKILL"),
    ],
    ids=["exit", "exit 0", "segfault", "no memory in C", "a thread's exit", "abort", "KILL"],
)
def test_deaths(death: Callable[[], object], words: str) -> None:
    """Each death is the exception of its call, which says how, and the call beside it has its result."""
    with Pool(2, echo=False) as pool:
        results = [
            pool.apply_async(called.square, (4,)),
            pool.apply_async(death),
            pool.apply_async(called.square, (5,)),
        ]
        assert [16, 25] == [results[0].get(20), results[2].get(20)]
        with pytest.raises(WorkerDied, match=f"(?s)^the worker {words}"):
            results[1].get(20)
        assert [0, 1, 4] == pool.map(called.square, range(3))


def test_no_memory_in_python() -> None:
    """A MemoryError is an exception like others."""
    with Pool(1) as pool:
        with pytest.raises(MemoryError):
            pool.apply(called.hoard_objects)
        assert 4 == pool.apply(called.square, (2,))


def test_what_a_worker_had_printed(tmp_path: Path) -> None:
    """The last words of the dead are in the exception: of that call's task, and not what the farm says of it."""
    with Pool(1, echo=False) as pool, pytest.raises(WorkerDied) as caught:
        pool.map(partial(called.note_and_die, tmp_path, 1), [0, 1])
    death = "the worker ended with exit status 7 during this call"
    assert f"{death}; it had printed: these were my last words" == str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(caught.value), 7, "these were my last words") == (str(again), again.status, again.log)


def test_what_a_worker_had_printed_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What was echoed is not told again by the exception, but it has it; nor does the farm's own note come through."""
    with Pool(1) as pool, pytest.raises(WorkerDied) as caught:
        pool.map(partial(called.note_and_die, tmp_path, 1), [0, 1])
    assert "these were my last words\n" == capfd.readouterr().out
    assert "the worker ended with exit status 7 during this call" == str(caught.value)
    assert (7, "these were my last words") == (caught.value.status, caught.value.log)


@pytest.mark.parametrize("guilty", [0, 5, 11])
def test_a_chunk_goes_on_after_a_death(tmp_path: Path, guilty: int) -> None:
    """Calls before the guilty one keep their results, later ones are made, and none of them is made twice."""
    notes = tmp_path / "notes"
    notes.mkdir()
    with Pool(1, on_error="return", echo=False) as pool:
        values = pool.map(partial(called.note_and_die, notes, guilty), range(12), chunksize=12)
    assert isinstance(values[guilty], WorkerDied)
    assert [number for number in range(12) if number != guilty] == [v for v in values if isinstance(v, int)]
    assert Counter(range(12)) == times(notes)


def test_every_call_of_a_chunk_dies() -> None:
    """One death after the other, in one chunk, with two workers."""
    with Pool(2, on_error="return", echo=False) as pool:
        values = pool.map(called.leave, range(1, 7), chunksize=6)
    assert [f"exit status {number}" in str(value) for number, value in enumerate(values, 1)] == [True] * 6


def test_a_death_in_a_stream() -> None:
    """The exception comes in its place, and the stream goes on."""
    with Pool(2, echo=False) as pool:
        stream = pool.imap(lambda x: called.leave(3) if x == 50 else x, range(100), chunksize=8)
        got: list[object] = []
        while len(got) < 100:
            try:
                got.append(next(stream))
            except WorkerDied:
                got.append("dead")
        assert [*range(50), "dead", *range(51, 100)] == got


def test_retries(tmp_path: Path) -> None:
    """A call whose worker died runs again as often as is allowed; an exception is not a death."""
    once, always, exception = tmp_path / "once", tmp_path / "always", tmp_path / "exception"
    for directory in (once, always, exception):
        directory.mkdir()
    with Pool(1, retries=2, echo=False) as pool:
        assert [*range(6)] == pool.map(partial(called.note_and_die_once, once, 3), range(6), chunksize=6)
        with pytest.raises(WorkerDied):
            pool.map(partial(called.note_and_die, always, 1), range(3), chunksize=3)
        with pytest.raises(ZeroDivisionError):
            pool.map(lambda x: called.note(exception, x) and 1 / 0, [7])
    assert {**dict.fromkeys(range(6), 1), 3: 2} == times(once)
    assert {0: 1, 1: 3, 2: 1} == times(always)
    assert {7: 1} == times(exception)


def test_time_limits(tmp_path: Path) -> None:
    """A call that takes too long raises TimeoutError; the limit is that of a call, whatever the chunk size."""
    with Pool(2, timeout=1.0, on_error="return", echo=False) as pool:
        values = pool.map(called.wait, [0.4, 30, 0.4, 0.4, 0.4, 0.4], chunksize=6)
        assert [0.4, TimeoutError, 0.4, 0.4, 0.4, 0.4] == [v if isinstance(v, float) else type(v) for v in values]
        assert "longer than the timeout" in str(values[1])
    with pytest.raises(ValueError, match="a timeout of 0 s leaves no time"):
        Pool(1, timeout=0)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raises", "the initializer failed: LookupError: there is no data set"),
        ("exits", "the initializer failed: SystemExit: 4"),
        ("dies", "exited with status 4 before it was ready"),
    ],
)
def test_an_initializer_that_fails(how: str, words: str) -> None:
    """Breaks the pool, with its words, for every call that waits and every later one."""
    with Pool(2, called.break_down, (how,), echo=False) as pool:
        stream = pool.imap(called.square, range(5000))
        with pytest.raises(BrokenPool, match=words):
            pool.map(called.square, range(4))
        with pytest.raises(BrokenPool, match=words):
            list(stream)
        with pytest.raises(BrokenPool, match=words):
            pool.apply(called.square, (2,))
        pool.close()
        pool.join()


def test_arguments_that_kill_who_unpacks_them() -> None:
    """Are each call's own misfortune, in the end."""
    with Pool(1, on_error="return", echo=False) as pool:
        values = pool.map(called.square, [called.Deadly(), 2], chunksize=2)
        assert all(isinstance(value, WorkerDied) for value in values)
        assert 4 == pool.apply(called.square, (2,))


@pytest.mark.parametrize("victim", ["guard", "farmer"])
def test_the_farm_is_killed(victim: str, tmp_path: Path) -> None:
    """Calls that wait raise, and so do later ones, and none of its processes is left."""
    with Pool(2) as pool:
        results = [pool.map_async(called.touch_and_wait, [tmp_path / name]) for name in "ab"]
        for name in "ab":
            called.wait_for(tmp_path / name)
        (guard,) = (child for child in psutil.Process().children() if "pytaskfarmer.api.host" in child.cmdline())
        family = [guard, *guard.children(recursive=True)]
        (guard if victim == "guard" else guard.children()[0]).send_signal(signal.SIGKILL)
        for result in results:
            with pytest.raises(BrokenPool, match="the farm has ended"):
                result.get(20)
        with pytest.raises(BrokenPool, match="the farm has ended"):
            pool.map(called.square, [1])
    assert 4 == len(family)
    _, alive = psutil.wait_procs(family, 5)
    assert [] == alive


def test_terminate_does_not_ask(tmp_path: Path) -> None:
    """Workers that do not obey TERM are killed after a short grace, and what waits raises."""
    with Pool(1) as pool:
        result = pool.apply_async(called.deaf_to_term, (tmp_path / "began",))
        called.wait_for(tmp_path / "began")
        start = time.monotonic()
        pool.terminate()
        assert time.monotonic() - start < 5
    with pytest.raises(BrokenPool, match="stopped before this call had ended"):
        result.get(0)


def test_streams_of_a_pool_that_ends(tmp_path: Path) -> None:
    """Values that have come are given, then it raises; and the thread that feeds it ends."""
    pool = Pool(1)
    endless = pool.imap(called.square, iter(int, 1))
    assert 0 == next(endless)
    pool.terminate()
    with pytest.raises(BrokenPool):
        for _ in endless:
            pass
    for feeder in pool._feeders:
        feeder.join(5)
        assert not feeder.is_alive()


def test_two_maps_at_once() -> None:
    """Pools and maps that begin in the same second do not meet."""
    with Pool(1) as one, Pool(1) as other:
        results = [pool.map_async(called.words, [(pool is one, n)]) for n in range(5) for pool in (one, other)]
        assert [[(((pool is one, n),), {})] for n in range(5) for pool in (one, other)] == [r.get(20) for r in results]
