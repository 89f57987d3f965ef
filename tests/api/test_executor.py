"""`Executor`: what a user of `concurrent.futures` relies on, and what becomes of calls when something dies."""

import asyncio
import concurrent.futures
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, as_completed, wait
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytaskfarmer import BrokenPool, CannotTravel, Executor, WorkerDied


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return where work directories are made, and see that none is left."""
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    assert [] == os.listdir(place)


@pytest.fixture
def one() -> Iterator[Executor]:
    """Return an executor with one worker."""
    with Executor(1) as executor:
        yield executor


@pytest.fixture
def two() -> Iterator[Executor]:
    """Return an executor with two workers."""
    with Executor(2) as executor:
        yield executor


class Gate:
    """Holds back calls until it is opened, and tells when the first has come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._end = os.open(path, os.O_RDWR)

    def open(self, calls: int = 1) -> None:
        """Let so many calls pass."""
        os.write(self._end, b"." * calls)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._end)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.close()


def pass_through(gate: Path, log: Path | None = None, word: object = "") -> object:
    with open(gate, "rb", buffering=0) as held:
        held.read(1)
    return note(log, word) if log else word


def note(log: Path, word: object) -> object:
    with open(log, "a") as lines:
        lines.write(f"{word}\n")
    return word


def same(x: Any) -> Any:
    return x


def inverse(x: float) -> float:
    return 1 / x


def die(how: str) -> None:
    if how == "exit":
        os._exit(7)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "segfault":
        ctypes.string_at(0)


def die_if(x: int, fatal: int) -> int:
    if x == fatal:
        die("exit")
    return x


def farms_of_this_process() -> list[psutil.Process]:
    """Return the processes that farm for us: the guard and the farmer, but no worker."""
    return [each for each in psutil.Process().children(recursive=True) if "pytaskfarmer.api.host" in words_of(each)]


def words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended
        return []


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)


class TestCalls:
    def test_it_is_an_executor(self, two: Executor) -> None:
        """It is a `concurrent.futures.Executor`, whose futures are those of concurrent.futures."""
        assert isinstance(two, concurrent.futures.Executor)
        assert isinstance(two.submit(same, 1), Future)

    def test_values(self, two: Executor) -> None:
        """Functions by reference and by value, classes, bound methods and keywords all arrive, and values return."""
        offset = 3
        futures = [
            two.submit(pow, 2, 8, mod=100),
            two.submit(lambda x: x + offset, 1),
            two.submit(complex, real=1, imag=2),
            two.submit("a,b".split, ","),
        ]
        assert [56, 4, 1 + 2j, ["a", "b"]] == [future.result() for future in futures]

    def test_map(self, two: Executor) -> None:
        """`map` equals the builtin at any chunk size, for iterables of different lengths and generators."""
        for size in (1, 3, 100):
            assert [*map(pow, range(10), range(8))] == [*two.map(pow, range(10), (n for n in range(8)), chunksize=size)]

    def test_no_call_finds_what_another_left(self, one: Executor) -> None:
        """A callable with a state of its own arrives as it was submitted, however often."""

        class Counter:
            def __init__(self) -> None:
                self.calls = 0

            def __call__(self) -> int:
                self.calls += 1
                return self.calls

        counter = Counter()
        first, second = one.submit(counter), one.submit(counter)
        counter.calls = 10
        third = one.submit(counter)
        assert [1, 1, 11] == [first.result(), second.result(), third.result()]

    def test_functions_that_change(self) -> None:
        """A function of a script travels as it is at each `submit`: its code, its defaults, and its variables."""
        ended = run_script("""
import math, types
from pytaskfarmer import Executor

def area(radius):
    return math.floor(math.pi * radius**2) + extra()

def told(function, *args):
    try:
        return executor.submit(function, *args).result()
    except NameError as error:
        return type(error).__name__

with Executor(1) as executor:
    print(told(area, 1), told(area, 1))
    def extra():
        return 100
    print(told(area, 1), told(area, 1))
    extra = lambda: 200
    print(told(area, 1))
    math = types.SimpleNamespace(floor=int, pi=4)
    print(told(area, 1))
    area.__code__ = (lambda radius: -1).__code__
    print(told(area, 1), told(area, 1))
    area.__code__ = (lambda radius: sum(x for x in range(limit))).__code__
    print(told(area, 1))
    limit = 3
    print(told(area, 1))
    area.__defaults__ = (5,)
    area.__code__ = (lambda radius: radius).__code__
    print(told(area))
""")
        assert "" == ended.stderr
        first, *rest = ended.stdout.splitlines()
        assert "NameError NameError" == first
        assert ["103 103", "203", "204", "-1 -1", "NameError", "3", "5"] == rest

    def test_first_come_first_served(self, one: Executor, gate: Gate, tmp_path: Path) -> None:
        """Calls begin in the order in which they were submitted, also of several functions."""
        log = tmp_path / "log"
        futures = [one.submit(pass_through, gate.path)]
        futures += [one.submit(note if n % 3 else pass_it_on, log, n) for n in range(40)]
        gate.open()
        wait(futures)
        assert [*range(40)] == [*map(int, log.read_text().split())]

    def test_exceptions_have_their_traceback(self, one: Executor) -> None:
        """An exception is that of the call, and its cause is the worker's traceback as text."""
        error = one.submit(inverse, 0).exception()
        assert isinstance(error, ZeroDivisionError)
        assert "return 1 / x" in str(error.__cause__)

    def test_exception_inside_a_chunk(self, one: Executor) -> None:
        """`map` yields the values that come before an exception in the same chunk, too."""
        values = one.map(inverse, [1, 2, 0, 4], chunksize=4)
        assert [1.0, 0.5] == [next(values), next(values)]
        with pytest.raises(ZeroDivisionError):
            next(values)

    def test_map_timeout(self, one: Executor, gate: Gate) -> None:
        """`map` raises TimeoutError in time, and cancels what has not begun."""
        values = one.map(pass_through, [gate.path] * 5, timeout=0.3)
        with pytest.raises(TimeoutError):
            next(values)
        gate.open(2)  # one worker, and one call ahead of it
        assert 1 == one.submit(same, 1).result()

    def test_what_cannot_travel(self, one: Executor) -> None:
        """Its future says which argument it is, and the executor goes on."""
        error = one.submit(pow, 2, mod=threading.Lock()).exception()
        assert isinstance(error, CannotTravel)
        assert "argument 'mod' of builtins.pow" in str(error)
        lock = threading.Lock()
        assert "test_what_cannot_travel" in str(one.submit(lambda: lock).exception())
        with pytest.raises(CannotTravel):
            next(one.map(same, [lock]))
        assert 1 == one.submit(same, 1).result()

    def test_managers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A queue of a `multiprocessing.Manager` can be used in a call, as in a child of the caller."""
        monkeypatch.delenv("TMPDIR")  # the path of a socket must be short
        ended = run_script("""
import multiprocessing
from pytaskfarmer import Executor
with multiprocessing.Manager() as manager, Executor(1) as executor:
    queue = manager.Queue()
    executor.submit(queue.put, 5).result()
    print(queue.get(timeout=5))
""")
        assert ("5\n", "") == (ended.stdout, ended.stderr)

    def test_nested(self, one: Executor) -> None:
        """A call may have an executor of its own."""

        def outer() -> list[int]:
            with Executor(1) as inner:
                return list(inner.map(abs, [-1, -2]))

        assert [1, 2] == one.submit(outer).result()

    def test_replaced_workers(self) -> None:
        """After `max_tasks_per_child` calls a worker is replaced."""
        with Executor(1, max_tasks_per_child=2) as executor:
            pids = [executor.submit(os.getpid).result() for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"max_workers": 0}, ValueError),
            ({"max_tasks_per_child": 0}, ValueError),
            ({"initializer": 1}, TypeError),
        ],
    )
    def test_senseless_options(self, options: dict[str, Any], error: type[Exception]) -> None:
        """Options that make no sense are refused as `ProcessPoolExecutor` refuses them."""
        with pytest.raises(error):
            Executor(**options)


def pass_it_on(log: Path, word: object) -> object:
    return note(log, word)


class TestCompany:
    def test_asyncio(self, two: Executor) -> None:
        """`loop.run_in_executor` awaits calls."""

        async def main() -> list[int]:
            loop = asyncio.get_running_loop()
            return await asyncio.gather(*(loop.run_in_executor(two, pow, 2, n) for n in range(5)))

        assert [1, 2, 4, 8, 16] == asyncio.run(main())

    def test_many_threads(self, two: Executor) -> None:
        """Any thread may submit; each call has its own value."""
        found: list[list[int]] = []

        def submit(start: int) -> None:
            futures = [two.submit(same, start + n) for n in range(50)]
            found.append([future.result() for future in futures])

        threads = [threading.Thread(target=submit, args=(1000 * n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [[1000 * n + k for k in range(50)] for n in range(8)] == sorted(found)

    def test_many_executors(self) -> None:
        """Executors do not know of each other; what one returns another takes."""
        executors = [Executor(1) for _ in range(3)]
        value = 1
        for executor in executors * 2:
            value = executor.submit(pow, value + 1, 2).result()
        for executor in executors:
            executor.shutdown()
        assert ((((2**2 + 1) ** 2 + 1) ** 2 + 1) ** 2 + 1) ** 2 + 1 == value**0.5

    def test_callbacks(self, one: Executor) -> None:
        """A callback may submit, and shut down without waiting for itself; one that raises harms nobody."""
        later: list[Future[int]] = []
        done = threading.Event()

        def go_on(_: Future[int]) -> None:
            later.append(one.submit(same, 2))
            one.shutdown()
            done.set()

        logged = concurrent.futures._base.LOGGER
        logged.disabled = True
        first = one.submit(same, 1)
        first.add_done_callback(lambda _: 1 / 0)
        first.add_done_callback(go_on)
        assert done.wait(10)
        logged.disabled = False
        assert 2 == later[0].result(10)

    def test_a_callback_that_exits(self, one: Executor, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
        """Is told as any exception of a thread, and ends neither the calls beside it, nor later ones."""
        told: list[type[BaseException]] = []
        monkeypatch.setattr(threading, "excepthook", lambda about: told.append(about.exc_type))
        first, second = (one.submit(pass_through, gate.path, word=word) for word in ("first", "second"))
        first.add_done_callback(lambda _: sys.exit(1))
        gate.open(2)
        assert ["first", "second", "third"] == [first.result(10), second.result(10), one.submit(same, "third").result()]
        assert [SystemExit] == told


class TestTurns:
    def test_cancelled_calls_never_run(self, one: Executor, gate: Gate, tmp_path: Path) -> None:
        """A call that waits for its turn can be cancelled; the one that runs, and the one after it, cannot."""
        log = tmp_path / "log"
        futures = [one.submit(pass_through, gate.path, log, n) for n in range(6)]
        assert [False, False, True, True, True, True] == [future.cancel() for future in futures]
        gate.open(2)
        assert [0, 1] == [future.result() for future in futures[:2]]
        one.submit(same, 1).result()
        assert ["0", "1"] == log.read_text().split()

    def test_shutdown_cancels(self, gate: Gate) -> None:
        """`shutdown(cancel_futures=True)` lets end what runs, and wakes up who waits for the others."""
        executor = Executor(1)
        futures = [executor.submit(pass_through, gate.path) for _ in range(6)]
        executor.shutdown(wait=False, cancel_futures=True)
        done, _ = wait(futures[3:], timeout=10)
        assert 3 == len(done)
        with pytest.raises(CancelledError):
            futures[5].result()
        gate.open(2)
        executor.shutdown()
        assert futures[0].done()

    def test_nothing_before_the_first_call(self) -> None:
        """No process is started before the first call, so an executor that is never used costs nothing."""
        with Executor(2):
            assert [] == farms_of_this_process()

    def test_not_after_shutdown(self, one: Executor) -> None:
        """After `shutdown` nothing can be submitted, whether it was ever used or not."""
        unused = Executor(1)
        one.submit(same, 1)
        for executor in (one, unused):
            executor.shutdown()
            executor.shutdown()
            with pytest.raises(RuntimeError, match="after shutdown"):
                executor.submit(same, 1)

    def test_forgotten(self, scratch: Path, wait_until: Callable[..., None]) -> None:
        """An executor that nobody refers to any more ends when its calls have."""
        executor = Executor(1)
        future = executor.submit(same, 1)
        del executor
        assert 1 == future.result()
        wait_until(lambda: not os.listdir(scratch), state=farms_of_this_process)


class TestDeaths:
    @pytest.mark.parametrize(("how", "words"), [("exit", "status 7"), ("kill", "SIGKILL"), ("segfault", "SIGSEGV")])
    def test_a_death_costs_one_call(self, two: Executor, how: str, words: str) -> None:
        """A worker that dies costs the call that killed it, which says how; the executor goes on."""
        futures = [two.submit(same, n) for n in range(10)]
        fatal = two.submit(die, how)
        futures += [two.submit(same, n) for n in range(10, 20)]
        with pytest.raises(WorkerDied, match=words):
            fatal.result()
        assert [*range(20)] == [future.result() for future in futures]

    def test_a_death_inside_a_chunk(self, one: Executor) -> None:
        """The calls beside it in its chunk return."""
        values = one.map(die_if, range(6), [3] * 6, chunksize=6)
        assert [0, 1, 2] == [next(values) for _ in range(3)]
        with pytest.raises(WorkerDied):
            next(values)

    def test_no_worker_can_be_had(self) -> None:
        """Where the initializer fails, all futures and all that is submitted later say why, by `BrokenPool`."""
        with Executor(2, initializer=inverse, initargs=(0,)) as executor:
            futures = [executor.submit(same, n) for n in range(20)]
            for future in futures:
                with pytest.raises(BrokenPool, match="ZeroDivisionError"):
                    future.result(timeout=20)
            with pytest.raises(BrokenPool, match="ZeroDivisionError"):
                executor.submit(same, 1)

    def test_killed_farm(self, two: Executor, gate: Gate) -> None:
        """When the whole farm is killed, what runs and what waits raises `BrokenPool`."""
        futures = [two.submit(pass_through, gate.path) for _ in range(9)]
        wait(futures, timeout=0.3, return_when=FIRST_COMPLETED)
        farms = farms_of_this_process()
        workers = [each for farm in farms for each in farm.children(recursive=True) if each not in farms]
        for process in (*farms, *workers):
            with contextlib.suppress(psutil.Error):  # the guard was faster
                process.kill()
        for future in as_completed(futures, timeout=20):
            assert isinstance(future.exception(), BrokenPool)


WITH_CALLS = """
import sys, time
from pytaskfarmer import Executor

def slow(x):
    time.sleep(0.3)
    print(x, flush=True)

executor = Executor(1)
for n in range(3):
    executor.submit(slow, n)
"""


class TestExit:
    @pytest.mark.parametrize("end", ["", "executor.shutdown(wait=False)", "del executor", "1 / 0"])
    def test_the_interpreter_waits(self, end: str) -> None:
        """However a program ends, its calls are made first, and what they print is printed."""
        ended = run_script(f"{WITH_CALLS}{end}")
        assert "0\n1\n2\n" == ended.stdout
        assert bool(ended.stderr) == (end == "1 / 0")

    def test_fork(self) -> None:
        """A child of the caller cannot use the executor, and harms nothing when it ends."""
        script = f"""{WITH_CALLS}
import os, warnings
warnings.simplefilter("ignore")
pid = os.fork()
if pid == 0:
    try:
        executor.submit(slow, 9)
    except Exception as error:
        print(type(error).__name__, flush=True)
    executor.shutdown()
    sys.exit(5)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
assert executor.submit(pow, 2, 3).result() == 8
"""
        ended = run_script(script)
        assert "" == ended.stderr
        assert ["0", "1", "2", "BrokenPool"] == sorted(ended.stdout.split())

    def test_interrupt(self, gate: Gate) -> None:
        """Ctrl-C in a `with` block stops everything at once."""
        script = """
import sys
from pytaskfarmer import Executor
def hold(path):
    open(path).read()
with Executor(2) as executor:
    futures = [executor.submit(hold, sys.argv[1]) for _ in range(20)]
    executor.submit(abs, 1)
    print(flush=True)
    futures[0].result()
"""
        process = subprocess.Popen([sys.executable, "-c", script, str(gate.path)], stdout=-1, stderr=-1, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
        assert "KeyboardInterrupt" in told
        assert time.monotonic() - begin < 10
