"""What the tests call in workers, which import it: so it must be quick to import."""

import ctypes
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NoReturn


def square(number: int) -> int:
    return number * number


def power(base: int, exponent: int = 2) -> int:
    return int(base**exponent)


def words(*args: object, **kwds: object) -> tuple[tuple[object, ...], dict[str, object]]:
    return args, kwds


def odd(number: int) -> int:
    """Raise for even numbers."""
    if number % 2 == 0:
        raise ValueError(f"{number} is even")
    return number


def wait(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def wait_for(path: Path) -> str:
    """Return once a file is there."""
    while not path.exists():
        time.sleep(0.005)
    return path.name


def touch_and_wait(path: Path) -> NoReturn:
    path.touch()
    time.sleep(600)
    raise AssertionError


def pid(_: object = None) -> int:
    return os.getpid()


def note(directory: Path, call: object, seconds: float = 0.0) -> object:
    """Leave a line for each time that a call is made, then take some time."""
    descriptor = os.open(directory / str(call), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"x\n")
    os.close(descriptor)
    time.sleep(seconds)
    return call


def note_and_die(directory: Path, guilty: int, call: int) -> object:
    """Like `note` with calls of 3 ms, of which one dies at its end."""
    note(directory, call, 0.003)
    if call == guilty:
        print("these were my last words", flush=True)
        os._exit(7)
    return call


def note_and_die_once(directory: Path, guilty: int, call: int) -> object:
    note(directory, call, 0.003)
    if call == guilty and (directory / str(call)).read_text() == "x\n":
        os._exit(7)
    return call


def normalised(row: list[int]) -> list[float]:
    """Min-max normalisation; a constant row becomes zeros."""
    low, high = min(row), max(row)
    return [(value - low) / (high - low) if high > low else 0.0 for value in row]


def added(things: list[int], thing: int) -> list[int]:
    things.append(thing)
    return things


def common(one: list[int], other: list[int]) -> list[int]:
    return [value for value in one if value in other]


def drawn(_: object) -> float:
    return random.random()


# -- deaths


def leave(status: int) -> NoReturn:
    os._exit(status)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    ctypes.string_at(0)


def hoard() -> NoReturn:
    """Need more memory than there may be, in C, which has no exception for that."""
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.memset(ctypes.CDLL(None).malloc(1 << 30), 1, 1 << 30)  # malloc returns NULL
    raise AssertionError


def hoard_objects() -> NoReturn:
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20),) * 2)
    hoard = []
    while True:
        hoard.append(bytearray(1 << 20))


def thread_that_dies() -> None:
    thread = threading.Thread(target=leave, args=(9,))
    thread.start()
    thread.join()


def deaf_to_term(path: Path) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    touch_and_wait(path)


# -- what does not travel


class Unsendable:
    """Does not pickle."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("I stay at home")


class Unreadable:
    """Pickles, and does not unpickle in any process but that of `home`."""

    def __init__(self, home: int) -> None:
        self.home = home

    def __reduce__(self) -> tuple[object, ...]:
        return _only_at, (self.home,)


def _only_at(home: int) -> Unreadable:
    if os.getpid() != home:
        raise TypeError("not a good place")
    return Unreadable(home)


class Deadly:
    """Kills who unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (5,)


class Closed(Exception):
    """An exception that does not unpickle: it needs two arguments, and remembers one."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what)
        self.why = why


class Locked(Exception):
    """An exception that does not pickle."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.lock = threading.Lock()


class Speechless(Exception):
    """An exception that is of no help at all."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __reduce__(self) -> NoReturn:
        raise RuntimeError("no pickle")


def refuse(kind: str) -> NoReturn:
    if kind == "closed":
        raise Closed("the shop is closed", "holiday")
    if kind == "locked":
        raise Locked("the door is locked")
    raise Speechless


def unsendable(number: int) -> object:
    return Unsendable() if number == 1 else number


def unreadable(number: int) -> object:
    return Unreadable(os.getpid()) if number == 1 else number


def counted(limit: int) -> Iterator[int]:
    yield from range(limit)


class Shop:
    """Has methods of every kind."""

    def __init__(self, price: int) -> None:
        self.price = price

    def __call__(self, count: int) -> int:
        """Be a method of an instance without a name."""
        return self.price * count

    def sell(self, count: int) -> int:
        """Be a method of an instance."""
        return self.price * count

    @classmethod
    def named(cls, name: str) -> str:
        """Be a method of a class."""
        return f"{cls.__name__} {name}"

    @staticmethod
    def closed(day: str) -> bool:
        """Be a method of nobody."""
        return day == "sunday"


cube = partial(power, exponent=3)


def peak() -> int:
    """Return how many bytes this process has had in memory at most."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


prepared: dict[str, object] = {}


def prepare(key: str, value: object) -> None:
    """Initialise a worker."""
    prepared[key] = value


def get_prepared(key: str) -> object:
    return prepared[key]


def break_down(how: str) -> None:
    """Initialise a worker, and fail."""
    if how == "raises":
        raise LookupError("there is no data set")
    if how == "exits":
        sys.exit(4)
    os._exit(4)


def missing_name() -> object:
    return set_by_the_caller  # type: ignore[name-defined]  # noqa: F821


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


class Leaver:
    """Wants to leave when a worker packs it."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def __getstate__(self) -> dict[str, int]:
        if os.getpid() != self.home:
            sys.exit("while it is packed")
        return vars(self)


def echo(thing: object) -> object:
    return thing
