"""What travels between a caller and its workers, and what is said of what does not."""

import os
import pickle
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import called
import pytest
from called import Shop

from pytaskfarmer import CannotTravel, Pool, RemoteError
from pytaskfarmer.errors import UsageError

pytestmark = pytest.mark.usefixtures("no_leftovers")

Run = Callable[..., str]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Give a pool for all tests here: none of them may spoil it."""
    with Pool(1, echo=False) as pool:
        yield pool


# -- what travels


def test_callables(pool: Pool) -> None:
    """Partial functions, methods of every kind, instances, classes and builtins."""
    shop = Shop(3)
    assert [8, 27] == pool.map(called.cube, [2, 3])
    assert [8, 27] == pool.map(partial(lambda n, x: x**n, 3), [2, 3])
    assert [6] == pool.map(shop.sell, [2])
    assert [6] == pool.map(shop, [2])
    assert ["Shop of lost shoes"] == pool.map(Shop.named, ["of lost shoes"])
    assert [True, False] == pool.map(Shop.closed, ["sunday", "monday"])
    assert [7] == [shop.price for shop in pool.map(Shop, [7])]
    assert [3, 2] == pool.map(len, ["abc", "de"])
    assert ["ABC"] == pool.map(str.upper, ["abc"])
    assert [2] == pool.map([1, 1].count, [1])


def test_lambdas_as_arguments_and_results(pool: Pool) -> None:
    """Functions may be what is sent and what comes back."""
    offset = 4
    assert [9] == pool.map(lambda function: function(5), [lambda x: x + offset])
    assert 12 == pool.apply(lambda x: lambda y: x * y, (3,))(4)


def test_classes_with_slots(pool: Pool) -> None:
    """Have them in a worker, too, where they are made anew; and their instances come back."""

    class Point:
        __slots__ = ("__secret", "x")

        def __init__(self, x: int) -> None:
            self.x, self.__secret = x, -x

        def all(self) -> tuple[int, int, bool]:
            return self.x, self.__secret, hasattr(self, "__dict__")

    @dataclass(slots=True)
    class Named(Point):
        x: int
        name: str = "a"

    class Pair(NamedTuple):
        x: Point
        y: Point

    def moved(point: Any) -> tuple[Any, Any]:
        point.x += 1
        return point, point.all()

    point, told = pool.apply(moved, (Point(1),))
    assert (2, -1, False) == point.all() == told
    assert 3 == pool.apply(lambda pair: pair._replace(x=pair.y), (Pair(Point(2), Point(3)),)).x.x
    assert (Named(2), Named(3)) == pool.apply(lambda named: (named, type(named)(3)), (Named(2),))


def test_calls_do_not_share_objects(pool: Pool) -> None:
    """What a call does to its arguments, nobody else sees."""
    items: list[int] = [1]
    assert [[1, 0]] == pool.map(lambda things: [*things, things.pop() * 0], [items])
    assert [1] == items


@pytest.mark.parametrize("size", [0, 1 << 20, 100 << 20])
def test_large_arguments_and_results(size: int) -> None:
    """Megabytes go and come, among small ones, in one chunk or several."""
    data = os.urandom(1 << 20) * (size >> 20)
    with Pool(1) as pool:
        there, back, small = pool.map(lambda item: item, [data, data, b"small"], chunksize=2)
        assert data == there == back
        assert b"small" == small


def test_what_calls_print(pool: Pool, capfd: pytest.CaptureFixture[str], no_leftovers: Path) -> None:
    """Is printed here, too, unless that is not wanted."""
    with Pool(1) as echoing:
        echoing.map(print, ["eins", "zwei"])
        echoing.close()
        echoing.join()
    pool.map(print, ["drei"])
    assert "eins\nzwei\n" == capfd.readouterr().out


# -- what does not travel

LOCK, HERMIT = threading.Lock(), called.Unsendable()


def has_a_socket() -> Callable[[int], int]:
    plug = socket.socket()
    plug.close()
    return lambda x: plug.fileno() + x


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("argument of call 1 of called.square .*lock", lambda pool: pool.map(called.square, [1, LOCK], 2)),
        ("argument of call 2 of called.square .*generator", lambda pool: pool.map(called.square, [1, 2, iter_of(3)])),
        ("argument of call 0 of called.power .*at home", lambda pool: pool.starmap(called.power, [(HERMIT, 2)])),
        ("argument of call 0 of called.words .*lock", lambda pool: pool.apply(called.words, (1,), {"a": LOCK})),
        ("argument of call 0 of called.words .*lock", lambda pool: pool.apply_async(called.words, (LOCK,))),
        ("argument of call 1 of called.square .*lock", lambda pool: list(pool.imap(called.square, [1, LOCK]))),
        ("function .*has_a_socket.*lambda.* .*socket", lambda pool: pool.map(has_a_socket(), [1])),
        ("function .*has_a_socket.*lambda.* .*socket", lambda pool: pool.imap(has_a_socket(), [1])),
        ("function .*write.* .*pickle", lambda pool: pool.map(sys.__stdout__.write, ["a"])),
    ],
    ids=["map", "generator", "starmap", "apply", "apply_async", "imap", "function", "function of imap", "write"],
)  # fmt: skip
def test_an_error_at_the_call(pool: Pool, words: str, call: Callable[[Pool], Any]) -> None:
    """The call itself raises, and names what cannot travel; the pool goes on."""
    with pytest.raises(CannotTravel, match=words) as caught:
        call(pool)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, pickle.PicklingError)
    assert [4] == pool.map(called.square, [2])


@pytest.mark.parametrize("mode", ["r", "w", "rb", "ab"])
def test_open_files(pool: Pool, tmp_path: Path, mode: str) -> None:
    """Are refused, be it as an argument or in a function: never is their content sent in their place."""
    (tmp_path / "data").touch()
    with open(tmp_path / "data", mode) as file:
        for call in (lambda: pool.map(called.echo, [1, file]), lambda: pool.map(lambda x: file.name, [2])):
            with pytest.raises(CannotTravel, match=r"(call 1|function .*lambda).* cannot pickle the open file .*data"):
                call()
    assert [True] == pool.map(lambda x: sys.stdout.write("") is not None, [1])


def iter_of(limit: int) -> Iterator[int]:
    yield from range(limit)


def test_a_pool_in_what_is_sent(pool: Pool) -> None:
    """A method of an object that holds its pool is refused in words that say so."""
    holder = SimpleNamespace(pool=pool)
    with pytest.raises(CannotTravel, match=r"argument of call 0 of called.square .*a pool cannot be sent"):
        pool.map(called.square, [holder])


def test_an_initializer_that_does_not_travel() -> None:
    """Is refused when the pool is made."""
    with pytest.raises(CannotTravel, match=r"the initializer, or one of its arguments, .*lock"):
        Pool(1, called.prepare, ("key", threading.Lock()))


@pytest.mark.parametrize("chunksize", [1, 3])
def test_results_that_do_not_pickle(pool: Pool, chunksize: int) -> None:
    """Only that call fails, and it is named; never is a result silently None."""
    stream = pool.imap(called.unsendable, [0, 1, 2], chunksize)
    assert 0 == next(stream)
    with pytest.raises(CannotTravel, match=r"result of call 1 \(called.Unsendable\) .*I stay at home"):
        next(stream)
    assert [2] == list(stream)


@pytest.mark.parametrize("chunksize", [1, 3])
def test_results_that_do_not_unpickle(pool: Pool, chunksize: int) -> None:
    """What cannot be read here fails; nobody waits for ever, and other chunks are not touched."""
    result = pool.map_async(called.unreadable, range(6), chunksize)
    with pytest.raises(CannotTravel, match=r"unpacked in the caller: .*not a good place"):
        result.get(20)
    with Pool(1, on_error="return") as patient:
        values = patient.map(called.unreadable, range(6), chunksize)
    assert [3, 4, 5] == values[3:]
    assert isinstance(values[1], CannotTravel)


def test_arguments_that_do_not_unpickle(pool: Pool) -> None:
    """Fail in the worker in plain words, for the calls that came with them; the worker goes on."""
    with pytest.raises(
        CannotTravel, match=r"arguments of the calls 0 to 1 cannot be unpacked in a worker: .*good place"
    ):
        pool.map(called.square, [called.Unreadable(os.getpid()), 2], 2)
    assert [4] == pool.map(called.square, [2])


def test_a_function_that_workers_cannot_import(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is named, as is the reason."""
    module = type(sys)("only_here")
    exec("def near(x): return x", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(CannotTravel, match=r"unpacked in a worker: ModuleNotFoundError: .*only_here"):
        pool.map(module.near, [1])


def test_modules_by_value(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cloudpickle was told to send by value travels although nobody can import it there."""
    import cloudpickle

    module = type(sys)("by_value")
    exec("def near(x): return x + 1", module.__dict__)
    monkeypatch.setitem(sys.modules, "by_value", module)
    cloudpickle.register_pickle_by_value(module)
    try:
        assert [2] == pool.map(module.near, [1])
    finally:
        cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("closed", "called.Closed: the shop is closed"), ("locked", "called.Locked: the door is locked"),
     ("speechless", "called.Speechless: its text cannot be had")],
)  # fmt: skip
def test_exceptions_that_do_not_travel(pool: Pool, kind: str, words: str) -> None:
    """Arrive as RemoteError with type, text and traceback; the pool goes on."""
    with pytest.raises(RemoteError, match=words) as caught:
        pool.map(called.refuse, [kind])
    assert "in refuse" in str(caught.value.__cause__)
    assert [4] == pool.map(called.square, [2])


def test_exit_in_a_call(pool: Pool) -> None:
    """`sys.exit` in a call, or what else is no `Exception`, is that call's, and ends neither worker nor caller."""
    worker = pool.apply(called.pid)
    for thing, words in ((3, "SystemExit: 3"), ("no data", "SystemExit: no data"), (None, "SystemExit")):
        with pytest.raises(RemoteError, match=rf"^{words}$"):
            pool.map(sys.exit, [thing])
    with pytest.raises(RemoteError, match="KeyboardInterrupt"):
        pool.apply(called.interrupt)
    for leaver in (called.Leaver(), [called.Leaver(), 1]):
        with pytest.raises(RemoteError, match="SystemExit: while it is packed"):
            pool.apply(called.echo, (leaver,))
    assert worker == pool.apply(called.pid)


def test_names_that_only_the_caller_has(pool: Pool) -> None:
    """A NameError in a worker says that workers inherit nothing, and what to do; others say what they always say."""
    with pytest.raises(NameError, match="set_by_the_caller") as caught:
        pool.map(called.missing_name.__call__, []) or pool.apply(called.missing_name)
    told = "".join(traceback.format_exception(caught.value))
    assert 1 == told.count("do not inherit")
    assert "initializer" in told
    with pytest.raises(ValueError, match="even") as other:
        pool.apply(called.odd, (2,))
    assert not hasattr(other.value, "__notes__")


def test_a_directory_with_other_things_in_it(tmp_path: Path) -> None:
    """Is no work directory."""
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="is not empty, and holds no calls"):
        Pool(1, workdir=tmp_path)
    assert ["thesis.tex"] == os.listdir(tmp_path) or {"thesis.tex", "passing"} == {*os.listdir(tmp_path)}


def test_no_chunk_finds_what_another_left(pool: Pool) -> None:
    """A callable with a state of its own arrives in each chunk as it was sent."""

    class Counter:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, _: object) -> int:
            self.calls += 1
            return self.calls

    counter = Counter()
    assert [1, 1, 1] == pool.map(counter, range(3), chunksize=1) == list(pool.imap(counter, range(3)))
    assert [1, 2, 1] == pool.map(counter.__call__, range(3), chunksize=2)
    assert [[1], [2], [3]] == pool.map(partial(called.added, []), [1, 2, 3], chunksize=1)


def test_variables_stay_from_chunk_to_chunk(run: Callable[..., str]) -> None:
    """What a call leaves in a variable of the script, later chunks find, also where the callable arrives anew."""
    source = """
import functools
from pytaskfarmer import Pool
table, loads = None, []

def look(offset, x):
    global table
    if table is None:
        loads.append(x)
        table = list(range(10))
    return table[x] + offset, len(loads)

with Pool(1) as pool:
    print(pool.map(functools.partial(look, 3), range(3), chunksize=1))
    print(table, loads)
"""
    assert "[(3, 1), (4, 1), (5, 1)]\nNone []\n" == run(source)
