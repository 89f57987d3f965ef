"""`Pool` makes calls as `multiprocessing.Pool` does: each test here is put to both of them, where it can be."""

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing import TimeoutError as Late
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import called
import numpy as np
import pytest

from pytaskfarmer import Pool

TABLES = [[3, 4, 56, 7], [22, 5, 4, 5, 7], [11, 2, 545, 235, 6, 3], [22, 45, 6, 4]]
SPREADS = [22.276669409945463, 6.770524351924303, 202.163025523682, 16.422164899914993]

Make = Callable[..., Any]


@pytest.fixture(scope="module", params=["ours", "theirs"])
def make(request: pytest.FixtureRequest) -> Make:
    """Return the class, ours or the standard library's."""
    if request.param == "ours":
        return Pool
    resource_tracker.ensure_running()  # or it would be the child of a test, and have to end with it
    return multiprocessing.get_context("spawn").Pool


@pytest.fixture(scope="module")
def pool(make: Make) -> Iterator[Any]:
    """Give a pool of two workers for all tests of one kind: so what one test does must not spoil it for the next."""
    with make(2) as pool:
        yield pool


# -- results


def test_a_tutorial_s_table(pool: Any) -> None:
    """Standard deviations of lists, as the builtin `map` has them."""
    assert SPREADS == pool.map(np.std, TABLES) == list(map(np.std, TABLES))


def test_common_items_of_pairs(pool: Any) -> None:
    """`starmap` gives each call several arguments."""
    ones = [[1, 2, 3], [5, 6, 7, 8], [10, 11, 12], [20, 21]]
    others = [[2, 3, 4, 5], [6, 9, 10], [11, 12, 13, 14], [21, 24, 25]]
    assert [[2, 3], [6], [11, 12], [21]] == pool.starmap(called.common, zip(ones, others, strict=True))


def test_many_small_rows(pool: Any) -> None:
    """Rows are normalised each by itself, in order, whatever the chunks."""
    rows = np.random.default_rng(7).integers(0, 100, (200, 50)).tolist()
    rows[17] = [5] * 50
    expected = list(map(called.normalised, rows))
    assert [0.0] * 50 == expected[17]
    assert expected == pool.map(called.normalised, rows) == pool.map(called.normalised, rows, chunksize=7)


@pytest.mark.parametrize("chunksize", [None, 1, 2, 3, 10, 11, 1000])
@pytest.mark.parametrize("count", [0, 1, 2, 10])
def test_chunks(pool: Any, count: int, chunksize: int | None) -> None:
    """Results are those of the builtin `map`, for chunks that fit, do not, and are larger than all calls."""
    expected = list(map(called.square, range(count)))
    assert expected == pool.map(called.square, range(count), chunksize)
    assert expected == list(pool.imap(called.square, range(count), chunksize or 1))
    assert expected == sorted(pool.imap_unordered(called.square, range(count), chunksize or 1))


def test_numbers_of_numpy(pool: Any) -> None:
    """Are numbers of calls in a chunk like others."""
    expected = list(map(called.square, range(10)))
    assert expected == pool.map(called.square, range(10), np.int64(3))
    assert expected == list(pool.imap(called.square, range(10), np.uint8(4)))


@pytest.mark.parametrize(
    "kind",
    [list, tuple, iter, set, dict.fromkeys, np.array, "".join],
    ids=["list", "tuple", "iter", "set", "dict", "array", "str"],
)
def test_iterables(pool: Any, kind: Callable[[list[Any]], Any]) -> None:
    """Whatever can be iterated over will do."""
    items = ["a", "b", "c"]
    assert ["A", "B", "C"] == sorted(pool.map(str.upper, kind(items), 2))
    assert ["A", "B", "C"] == sorted(pool.imap(str.upper, kind(items)))


def test_all_the_methods(pool: Any) -> None:
    """Each method returns what its counterpart does."""
    assert ((1, 2), {"a": 3}) == pool.apply(called.words, (1, 2), {"a": 3})
    assert ((), {}) == pool.apply(called.words)
    assert 8 == pool.apply_async(called.power, [2], {"exponent": 3}).get()
    assert [0, 1, 4] == pool.map_async(called.square, range(3)).get()
    assert [8, 9] == pool.starmap([called.power][0], [(2, 3), (3, 2)])
    assert [8, 9] == pool.starmap_async(called.power, [[2, 3], (3, 2)]).get(10)
    assert [8, 9] == pool.starmap(called.power, (pair for pair in [(2, 3), (3, 2)]), chunksize=1)


def test_results_of_all_sorts(pool: Any) -> None:
    """None, tuples, arrays and large integers come back as they are."""
    things = [None, (1, [2]), {"a": {3}}, 2**200, b"\0\xff", "ä", frozenset({4}), 1.5, ...]
    assert things == pool.map(called.words.__call__, things) or things == pool.map(_same, things)
    assert (np.arange(5) == pool.apply(_same, (np.arange(5),))).all()


def _same(thing: object) -> object:
    return thing


# -- exceptions


def test_an_exception_is_raised_by_map(pool: Any) -> None:
    """With its type and arguments, and the worker's traceback in words as its cause."""
    with pytest.raises(ValueError, match="4 is even") as caught:
        pool.map(called.odd, [1, 3, 4, 5])
    assert ("4 is even",) == caught.value.args
    assert "in odd" in str(caught.value.__cause__)


def test_imap_raises_in_its_place(pool: Any) -> None:
    """And the iteration goes on behind it, with or without order."""
    stream = pool.imap(called.odd, [1, 2, 3])
    assert 1 == next(stream)
    with pytest.raises(ValueError, match="2 is even"):
        next(stream)
    assert [3] == list(stream)
    unordered = pool.imap_unordered(called.odd, [1, 2, 3])
    got, raised = [], 0
    while True:
        try:
            got.append(next(unordered))
        except StopIteration:
            break
        except ValueError:
            raised += 1
    assert ([1, 3], 1) == (sorted(got), raised)


@pytest.mark.parametrize("method", ["map", "imap", "imap_unordered"])
def test_an_iterable_that_raises(pool: Any, method: str) -> None:
    """Its exception comes out, after the results of what came before it if there is a stream of them."""

    def broken() -> Iterator[int]:
        yield 3
        raise LookupError("no more")

    got: list[int] = []
    with pytest.raises(LookupError, match="no more"):
        got.extend(getattr(pool, method)(called.square, broken()))
    late = isinstance(pool, Pool) or method == "imap"  # theirs may be quicker to raise
    assert ([] if method == "map" else [9] if late else got) == got


def test_calls_after_an_exception(pool: Any) -> None:
    """Other calls of the same pool are not touched."""
    with pytest.raises(ValueError, match="even"):
        pool.map(called.odd, range(10))
    assert [0, 1] == pool.map(called.square, range(2))


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (TypeError, lambda pool: pool.map(called.square, 5)),
        (TypeError, lambda pool: pool.starmap(called.power, [5])),
        (TypeError, lambda pool: pool.map(5, [5])),
        (TypeError, lambda pool: pool.apply(called.square, (1, 2, 3))),
        (ValueError, lambda pool: pool.imap(called.square, [1], 0)),
        (ValueError, lambda pool: pool.imap_unordered(called.square, [1], -1)),
    ],
    ids=["no iterable", "no tuple", "no function", "too many", "chunks of 0", "chunks of -1"],
)
def test_wrong_arguments(pool: Any, error: type[Exception], call: Callable[[Any], object]) -> None:
    """What makes no sense raises the same kind of exception."""
    with pytest.raises(error):
        call(pool)


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (ValueError, {"processes": 0}),
        (ValueError, {"processes": -1}),
        (ValueError, {"maxtasksperchild": 0}),
        (TypeError, {"initializer": 3}),
        (TypeError, {"processes": "two"}),
    ],
)
def test_wrong_options(make: Make, error: type[Exception], options: dict[str, Any]) -> None:
    """A pool that makes no sense is not made."""
    with pytest.raises(error):
        make(**options)


# -- results that are not there yet


def test_asynchronous_results(pool: Any, tmp_path: Path) -> None:
    """`ready`, `successful`, `wait` and `get` before and after the end."""
    go = tmp_path / "go"
    result = pool.map_async(called.wait_for, [go])
    assert not result.ready()
    with pytest.raises(ValueError, match="not"):
        result.successful()
    assert result.wait(0.01) is None
    with pytest.raises(Late):
        result.get(0.01)
    with pytest.raises(Late):
        result.get(timeout=0)
    go.touch()
    assert ["go"] == result.get(timeout=20) == result.get()
    assert result.ready()
    assert result.successful()
    result = pool.apply_async(called.odd, (2,))
    result.wait(20)
    assert result.ready()
    assert not result.successful()
    for _ in range(2):
        with pytest.raises(ValueError, match="2 is even"):
            result.get()


def test_a_stream_that_has_nothing_yet(pool: Any, tmp_path: Path) -> None:
    """`next(timeout)` raises, and the value comes later; at the end it is StopIteration again and again."""
    go = tmp_path / "go"
    stream = pool.imap(called.wait_for, [go])
    with pytest.raises(Late):
        stream.next(0.01)
    go.touch()
    assert "go" == stream.next(timeout=20)
    for _ in range(2):
        with pytest.raises(StopIteration):
            stream.next(0)
    assert iter(stream) is stream


def test_callbacks(pool: Any) -> None:
    """The one for values, or the one for the exception, before the result is ready."""
    told: list[tuple[str, object, bool]] = []
    results: list[Any] = []

    def tell(what: str) -> Callable[[object], None]:
        def note(value: object) -> None:
            told.append((what, repr(value), bool(results) and results[-1].ready()))

        return note

    for begin in (
        lambda: pool.apply_async(called.square, (3,), {}, tell("value"), tell("error")),
        lambda: pool.apply_async(called.odd, (2,), callback=tell("value"), error_callback=tell("error")),
        lambda: pool.map_async(called.square, [1, 2], None, tell("value"), tell("error")),
        lambda: pool.map_async(called.odd, [1, 2], callback=tell("value"), error_callback=tell("error")),
        lambda: pool.starmap_async(called.power, [(2, 3)], callback=tell("value")),
        lambda: pool.map_async(called.square, [], callback=tell("never")),
        lambda: pool.apply_async(called.odd, (2,), callback=tell("never")),
    ):
        results.append(begin())
        results[-1].wait(20)
    assert [
        ("value", "9", False),
        ("error", "ValueError('2 is even')", False),
        ("value", "[1, 4]", False),
        ("error", "ValueError('2 is even')", False),
        ("value", "[8]", False),
    ] == told


def test_many_results_at_once(pool: Any) -> None:
    """Hundreds of calls under way each return their own value."""
    results = [pool.apply_async(called.square, (number,)) for number in range(300)]
    assert [number * number for number in range(300)] == [result.get(30) for result in results]


# -- the life of a pool


def test_a_closed_pool_takes_no_calls(make: Make) -> None:
    """Nor does it let itself be entered, or joined before; `join` waits for the calls, whose results stay."""
    with pytest.raises(ValueError, match="still running"):
        (pool := make(1)).join()
    late = pool.map_async(called.wait, [0.1, 0.1], 1)
    stream = pool.imap(called.square, range(3))
    pool.close()
    for call in (
        lambda: pool.map(called.square, []),
        lambda: pool.map(called.square, [1]),
        lambda: pool.imap(called.square, []),
        lambda: pool.imap_unordered(called.square, [1]),
        lambda: pool.apply_async(called.square, (1,)),
        pool.__enter__,
    ):
        with pytest.raises(ValueError, match="not running"):
            call()
    pool.join()
    pool.join()
    pool.terminate()
    assert [0.1, 0.1] == late.get(0)
    assert [0, 1, 4] == list(stream)


def test_the_end_of_a_with_block_terminates(make: Make, tmp_path: Path) -> None:
    """It does not wait for calls that are under way."""
    with make(1) as pool:
        pool.apply_async(called.touch_and_wait, (tmp_path / "began",))
        called.wait_for(tmp_path / "began")
    with pytest.raises(ValueError, match="not running"):
        pool.apply(called.square, (1,))
    pool.join()


def test_a_result_keeps_its_pool() -> None:
    """A pool that nobody holds any more lives until what it was asked for is there."""
    assert [0, 1, 4] == Pool(1).map(called.square, range(3))
    result = Pool(1).map_async(called.wait, [0.2])
    stream = Pool(1).imap(called.wait, [0.2, 0.1])
    assert [0.2] == result.get(20)
    assert [0.2, 0.1] == list(stream)
    del result, stream


def test_a_pool_does_not_travel(make: Make) -> None:
    """A method of what holds a pool cannot be called in it, and that is said."""
    with make(1) as pool, pytest.raises(NotImplementedError, match=r"[Pp]ool"):
        multiprocessing.reduction.ForkingPickler.dumps(pool)


def test_initializer_and_replacement(make: Make) -> None:
    """Each worker is initialised, also those that replace others after so many chunks."""
    with make(2, called.prepare, ("key", [1]), maxtasksperchild=2) as pool:
        assert [[1]] * 12 == pool.map(called.get_prepared, ["key"] * 12, chunksize=1)
        assert len(set(pool.map(called.pid, range(12), chunksize=3))) >= 2
    with make(1, maxtasksperchild=1) as pool:
        assert 6 == len(set(pool.map(called.pid, range(6), chunksize=1)))
        assert 2 == len(set(pool.map(called.pid, range(6), chunksize=3)))
