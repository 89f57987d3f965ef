"""Whatever ends a pool, or the process that has it, leaves no process, no file and no open descriptor behind."""

import gc
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import called
import psutil
import pytest

from pytaskfarmer import BrokenPool, Pool
from pytaskfarmer.api.local import LocalFarm
from pytaskfarmer.errors import UsageError

pytestmark = pytest.mark.usefixtures("no_leftovers")

Start = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., str]


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_many_pools_in_one_process() -> None:
    """Twenty pools, ended in every way, cost no descriptor, no thread, no child and no file."""
    gc.collect()
    with Pool(1) as pool:  # so that what is loaded once is loaded
        pool.map(called.square, [1])
    before, threads, children = descriptors(), threading.active_count(), psutil.Process().children()
    for number in range(20):
        pool = Pool(2)
        if number % 2:
            assert [0, 1] == pool.map(called.square, range(2))
        if number % 5 == 0:
            with pool:
                pool.map_async(called.wait, [60])
        elif number % 5 == 1:
            pool.close()
            pool.join()
        elif number % 5 == 2:
            pool.terminate()
        elif number % 5 == 3:
            stream = pool.imap(called.square, iter(int, 1))
            next(stream)
            pool.terminate()
            del stream
        del pool
    gc.collect()
    assert children == psutil.Process().children()
    for feeder in [each for each in threading.enumerate() if each.name == "pytaskfarmer feeder"]:
        feeder.join(5)
    assert threads == threading.active_count()
    assert before == descriptors()


def test_the_farm_is_told_something_while_another_thread_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipe is not closed below whoever writes to it: its number could be another file's by then."""
    with Pool(1) as pool:
        pool.apply(called.square, (1,))
        farm = pool._caller.session._farm
        assert isinstance(farm, LocalFarm)
        pipe, ending, closed = farm._process.stdin, threading.Thread(target=pool.terminate), []
        assert pipe is not None

        def write(word: bytes) -> int:
            ending.start()
            ending.join(0.2)
            closed.append(pipe.closed)
            return os.write(pipe.fileno(), word)

        monkeypatch.setattr(farm._process, "stdin", SimpleNamespace(write=write, close=pipe.close))
        farm.poke()
        ending.join(30)
        assert ([False], True) == (closed, pipe.closed)


class Doing:
    """A function or an argument that does something while it is packed."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def __call__(self) -> None:
        """Be a function, which is never called."""

    def __reduce__(self) -> tuple[type, tuple[int]]:
        self._act()
        return type, (0,)


@pytest.mark.parametrize(
    "call",
    [
        lambda pool, doing: pool.map_async(called.square, [doing]),
        lambda pool, doing: list(pool.imap(doing, [1])),
    ],
)
def test_calls_that_are_packed_while_another_thread_ends_the_pool(call: Callable[[Pool, Doing], object]) -> None:
    """Raise `BrokenPool`, as those do that are listed."""
    pool = Pool(1)

    def end() -> None:
        ending = threading.Thread(target=pool.terminate)
        ending.start()
        ending.join(30)

    with pytest.raises(BrokenPool):
        call(pool, Doing(end))


class Growing(WeakSet[Any]):
    """A set into which another thread is about to put something while it is read."""

    def __init__(self, elements: Iterable[object], meanwhile: Callable[[], object]) -> None:
        super().__init__(elements)
        self._meanwhile = meanwhile

    def __iter__(self) -> Iterator[Any]:
        for element in super().__iter__():
            self._meanwhile()
            yield element


def test_a_stream_begins_while_another_thread_ends_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is ended nevertheless, and the stream raises that it was."""
    pool = Pool(1)
    first = pool.imap(called.square, iter(int, 1))
    packing, ending, told = threading.Event(), threading.Event(), []

    def begin() -> None:
        try:
            next(pool.imap(Doing(lambda: (packing.set(), ending.wait(30))), [1]))
        except (BrokenPool, ValueError) as error:
            told.append(str(error))

    def meanwhile() -> None:
        ending.set()
        beginning.join(0.2)

    monkeypatch.setattr(pool, "_streams", Growing([first], meanwhile))
    beginning = threading.Thread(target=begin)
    beginning.start()
    assert packing.wait(30)
    pool.terminate()
    beginning.join(30)
    assert ["Pool not running"] == told


def test_a_pool_that_cannot_be_made(tmp_path: Path) -> None:
    """Costs nothing either."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(UsageError):
        Pool(1, workdir=tmp_path / "full")
    before, children = descriptors(), psutil.Process().children()
    for _ in range(3):
        with pytest.raises(UsageError):
            Pool(1, workdir=tmp_path / "full")
        with pytest.raises(TypeError):
            Pool(1, called.prepare, ("key", threading.Lock()))
        with pytest.raises(UsageError, match="at most 10,000"):
            Pool(20_000)
    assert before == descriptors()
    assert children == psutil.Process().children()


@pytest.mark.parametrize(
    "end",
    [
        "",
        "pool.close()",
        "del pool; print('well'); sys.exit()",
        "later = pool.map_async(time.sleep, [60])",
        "later = pool.imap(time.sleep, iter(int, 1)); next(later)",
        "pool.map_async(time.sleep, [60]); sys.modules['keep'] = pool; pool.itself = pool",
        "import atexit; atexit.register(lambda: print(pool.map(abs, [-1]) == [1]))",
        "threading.Thread(target=lambda: (time.sleep(0.2), print(pool.map(abs, [-1]) == [1]))).start()",
    ],
    ids=["open", "closed", "deleted", "calls", "stream", "cycle", "used at exit", "used by a thread"],
)
def test_the_interpreter_exits(end: str, start: Start, mark: object) -> None:
    """With an open pool at any stage, and says nothing about it."""
    source = f"""
import sys, threading, time
from pytaskfarmer import Pool
pool = Pool(2)
assert [1, 2] == pool.map(abs, [-1, 2])
{end}
"""
    process = start(source)
    printed, _ = process.communicate(timeout=15)
    assert 0 == process.returncode, printed
    assert printed in {"", "well\n", "True\n"}


def test_an_exception_in_the_caller(start: Start) -> None:
    """Ends the pool as it would end any other: with its traceback, and status 1."""
    process = start("from pytaskfarmer import Pool\npool = Pool(1)\npool.map(abs, [1])\nraise RuntimeError('mine')")
    printed, _ = process.communicate(timeout=15)
    assert 1 == process.returncode
    assert printed.endswith("RuntimeError: mine\n")
    assert "ignored" not in printed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGQUIT])
def test_signals_that_end_the_caller(
    number: int, start: Start, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """The workers end with it; so does its work directory. The fixtures see to that."""
    process = start(
        """
import pathlib, called
from pytaskfarmer import Pool
pool = Pool(2)
pool.map_async(called.touch_and_wait, [pathlib.Path("began")])
pool.map(called.touch_and_wait, [pathlib.Path("began too")])
"""
    )
    wait_until(lambda: {"began", "began too"} <= {*os.listdir(tmp_path)})
    process.send_signal(number)
    assert -number == process.wait(10)


def test_ctrl_c_twice(start: Start, tmp_path: Path, wait_until: Callable[..., None], no_leftovers: Path) -> None:
    """An impatient user leaves no more behind than a patient one, although a worker does not obey."""
    process = start(
        """
import pathlib, called
from pytaskfarmer import Pool
with Pool(1) as pool:
    pool.map(called.deaf_to_term, [pathlib.Path("began")])
"""
    )
    wait_until((tmp_path / "began").exists)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: b"stopping" in b"".join(log.read_bytes() for log in no_leftovers.glob("*/farm.log")))
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in printed
    wait_until(lambda: not os.listdir(no_leftovers))


FORKS = """
import os, signal, sys, threading, warnings
import called
from pytaskfarmer import BrokenPool, Pool
from pytaskfarmer.api.local import LocalFarm
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads

def forked(child):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    signal.alarm(10)
    child()
    sys.exit(0)
"""


def test_a_forked_child_of_the_caller(run: Run) -> None:
    """Its end, however it comes, is not the pool's; to use the pool there is an error, and to make another is not."""
    source = f"""{FORKS}
pool = Pool(1)
stream = pool.imap(called.square, iter(int, 1))
next(stream)

def use():
    for call in (
        lambda: pool.map(called.square, [2]), lambda: pool.imap(called.square, [2]), lambda: pool.apply(len, "a"),
        lambda: (pool.close(), pool.join()),
    ):
        try:
            call()
        except BrokenPool as error:
            assert "fork" in str(error), error
        else:
            os._exit(2)

def make():
    with Pool(1) as own:
        assert [9] == own.map(called.square, [3])

def drop():
    global pool
    del pool

def hold():
    with stream._changed:
        held.set()
        over.wait(30)

leave = lambda: pool.__exit__(None, None, None)
for child in (lambda: None, use, make, drop, lambda: pool.terminate(), lambda: os._exit(0), leave):
    held, over = threading.Event(), threading.Event()
    threading.Thread(target=hold).start()
    held.wait()
    assert 0 == forked(child)
    over.set()
    assert [4] == pool.map(called.square, [2])
pool.terminate()
print("well")
"""
    assert "well\n" == run(source)


def test_a_child_that_outlives_the_caller(start: Start, tmp_path: Path, wait_until: Callable[..., None]) -> None:
    """It holds neither the farm, when the caller is killed, nor the work directory, when the pool is closed."""
    source = f"""{FORKS}
import pathlib
with Pool(1, workdir="work") as pool:
    pool.map(called.square, [1])
    child = os.fork()
    if not child:
        signal.pause()
with Pool(1, workdir="work") as pool:
    assert [1] == pool.map(called.square, [1])
    other = os.fork()
    if not other:
        signal.pause()
    pathlib.Path("children").write_text(f"{{child}} {{other}}")
    pool.map(called.touch_and_wait, [pathlib.Path("began")])
"""
    process = start(source)
    wait_until((tmp_path / "began").exists, hopeless=lambda: process.poll() is not None)
    family = list(psutil.Process(process.pid).children(recursive=True))
    farm = [each for each in family if each.is_running() and "pytaskfarmer" in " ".join(each.cmdline())]
    assert len(farm) >= 3
    children = [int(pid) for pid in (tmp_path / "children").read_text().split()]
    process.kill()
    process.wait()
    try:
        _, alive = psutil.wait_procs(farm, 5)
        assert [] == alive
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)


def test_multiprocessing_beside_a_pool(run: Run) -> None:
    """Processes that the standard library forks while a pool is open do it no harm."""
    source = f"""{FORKS}
import multiprocessing
with Pool(1) as pool:
    stream = pool.imap(called.square, range(3000))
    with multiprocessing.get_context("fork").Pool(2) as theirs:
        assert [1, 4] == theirs.map(called.square, [1, 2])
        assert [0, 1, 4] == [next(stream) for _ in range(3)]
    assert 2997 == sum(1 for _ in stream)
print("well")
"""
    assert "well\n" == run(source)


@pytest.mark.parametrize("closed", ["0", "1", "2", "012"])
def test_closed_standard_files(closed: str, tmp_path: Path, environment: dict[str, str]) -> None:
    """A caller without standard input, output or error has a pool like any other, as a daemon may want one."""
    source = """
import os, pathlib, sys
import called
from pytaskfarmer import Pool
with Pool(2) as pool:
    values = pool.map(called.square, range(4))
    pool.map(print, "ab")
    dead = pool.apply_async(called.leave, (3,))
    dead.wait(20)
pathlib.Path("values").write_text(f"{values} {type(dead._fault()).__name__}")
"""
    (tmp_path / "script.py").write_text(source)
    closing = " ".join(f"{number}{'<' if number == '0' else '>'}&-" for number in closed)
    subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" script.py {closing}', sys.executable],
        cwd=tmp_path,
        env=environment,
        check=True,
        timeout=30,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert "[0, 1, 4, 9] WorkerDied" == (tmp_path / "values").read_text()


def test_a_strange_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands in for `sys.stdout`, what calls print does no harm."""

    class Broken:
        def write(self, text: str) -> None:
            raise RuntimeError("not today")

    with Pool(1) as pool, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Broken())
        assert [None] == pool.map(print, ["a"])
        patch.setattr(sys, "stdout", None)
        assert [None] == pool.map(print, ["a"])


def test_ctrl_c_while_calls_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks the pool, which cannot know which are listed: no call waits for ever, or gets the value of another."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with Pool(1) as pool:
        before = pool.apply_async(called.wait, (60,))
        with monkeypatch.context() as patch:
            patch.setattr(pool._caller.session.outbox, "list", interrupted)
            with pytest.raises(KeyboardInterrupt):
                pool.apply_async(called.square, (2,))
        for call in (lambda: before, lambda: pool.apply_async(called.square, (3,))):
            with pytest.raises(BrokenPool, match="interrupted"):
                call().get(5)


def test_the_pool_s_directory_vanishes(tmp_path: Path, no_leftovers: Path) -> None:
    """A pool whose directory is removed under it raises, or goes on, and does not hang."""
    with Pool(1) as pool:
        pool.map(called.square, [1])
        (directory,) = no_leftovers.iterdir()
        os.rename(directory, tmp_path / "elsewhere")
        result = pool.map_async(called.square, [1, 2])
        result.wait(5)
        pool.terminate()
        result.wait(5)
        assert result.ready()


def test_a_farm_that_has_ended_says_why(tmp_path: Path) -> None:
    """The last line of its log is in the exception."""
    with Pool(1, workdir=tmp_path / "work") as pool:
        pool.map(called.square, [1])
        (farm,) = (child for child in psutil.Process().children() if "pytaskfarmer.api.host" in child.cmdline())
        with (tmp_path / "work" / "farm.log").open("a") as log:
            log.write("no more tasks are taken until this is over: No space left on device\n")
        farm.kill()
        words = r"the farm has ended \(exit status -9\): no more tasks are .*: No space left on device"
        with pytest.raises(BrokenPool, match=words):
            pool.apply(called.wait, (60,))


def test_a_farm_that_cannot_begin_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its process cannot import what it needs, the exception names the module."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pytaskfarmer.handlers'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Pool(1) as pool, pytest.raises(BrokenPool, match=r"\(exit status 1\): .*'?pytaskfarmer\.handlers"):
        pool.map(called.square, [1])


@pytest.mark.parametrize("word", ["", "stopping (SIGTERM): running tasks go back to the list"])
def test_a_farm_that_ended_almost_silently(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is always something behind the exit status: what little was said, or that nothing was."""
    (tmp_path / "sitecustomize.py").write_text(f"import os\nos.write(2, {word.encode()!r})\nos._exit(1)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    why = re.escape(f"the farm has ended (exit status 1): {word or 'its log says nothing'}")
    with Pool(1) as pool, pytest.raises(BrokenPool, match=f"^{why}$"):
        pool.map(called.square, [1])


def test_calls_that_cannot_be_written(run: Run) -> None:
    """The exception names the file."""
    source = """
import resource
from pytaskfarmer import Executor, Pool
for make, call in (
    (Pool, lambda pool: pool.map(len, [b"x" * 100_000])), (Executor, lambda pool: pool.submit(len, b"x" * 100_000)),
):
    with make(1) as pool:
        call(pool)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
        try:
            call(pool)
        except OSError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
"""
    told = run(source).splitlines()
    assert 2 == len(told)
    assert all(re.fullmatch(r"\[Errno 27\] File too large: '.*/pytaskfarmer-\w+/calls'", line) for line in told), told
