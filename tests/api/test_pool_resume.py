"""What was called in a named work directory is not called again, whatever has ended the caller."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import called
import pytest

from pytaskfarmer import Pool, WorkerDied
from pytaskfarmer.api import travel
from pytaskfarmer.api.desk import Desk
from pytaskfarmer.api.earlier import Earlier
from pytaskfarmer.api.request import JobLine, Place, Slice
from pytaskfarmer.errors import UsageError
from pytaskfarmer.task import Attempt, Outcome, Task
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.results import Results

pytestmark = pytest.mark.usefixtures("no_leftovers")

Start = Callable[..., "subprocess.Popen[str]"]

SCRIPT = """\
import dataclasses, functools, os, pathlib, signal, sys
import called
from pytaskfarmer import Pool

@dataclasses.dataclass
class Job:
    number: int

def work(job):
    return called.note(pathlib.Path("notes"), job.number, 0.05)

how, options = sys.argv[1], dict(pair.split("=") for pair in sys.argv[2:])
pathlib.Path("notes").mkdir(exist_ok=True)
with Pool(2, **options) as pool:
    print("farm", pool._caller.session._farm._process.pid, flush=True)
    jobs = map(Job, range(40))
    print("result", list(getattr(pool, how)(work, jobs)), flush=True)
"""

RESULT = f"result {list(range(40))}"


def times(directory: Path) -> Counter[int]:
    """Return how often each call was made, as `called.note` has it."""
    return Counter({int(path.name): path.read_text().count("x") for path in directory.iterdir()})


def some_were_made(directory: Path) -> bool:
    return directory.exists() and len(os.listdir(directory)) >= 13


def made_once(directory: Path, calls: int = 40, interrupted: int = 2) -> None:
    """Assert that every call was made, and none of them again but for those that were interrupted."""
    found = times(directory)
    assert set(range(calls)) == found.keys()
    assert sum(found.values()) <= calls + interrupted, found
    assert max(found.values()) <= 2


@pytest.fixture
def finish(start: Start) -> Callable[..., str]:
    """Return what runs the script to its end and returns what it printed."""

    def run(*arguments: str) -> str:
        printed, _ = (process := start(SCRIPT, *arguments)).communicate(timeout=30)
        assert process.returncode == 0, printed
        return printed.splitlines()[-1]

    return run


@pytest.mark.parametrize("how", ["map", "imap"])
def test_after_ctrl_c(
    how: str, start: Start, finish: Callable[..., str], tmp_path: Path, wait_until: Callable[..., None], mark: Any
) -> None:
    """The caller ends at once, and nothing of it is left but the work directory; the same calls then go on."""
    process = start(SCRIPT, how, "workdir=work")
    wait_until(lambda: some_were_made(tmp_path / "notes"))
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=20)
    assert time.monotonic() - began < 3
    assert "KeyboardInterrupt" in printed
    assert [] == mark.living()
    before = times(tmp_path / "notes")
    assert sum(before.values()) < 40
    assert RESULT == finish(how, "workdir=work")
    made_once(tmp_path / "notes")
    assert RESULT == finish(how, "workdir=work")
    made_once(tmp_path / "notes")


def test_ctrl_c_at_a_terminal(
    start: Start,
    finish: Callable[..., str],
    tmp_path: Path,
    wait_until: Callable[..., None],
    mark: Any,
    environment: dict[str, str],
) -> None:
    """The terminal's signal reaches the caller alone: workers end by its word, and the calls go on later."""
    ours, theirs = pty.openpty()
    (tmp_path / "work.py").write_text(SCRIPT)
    take_it = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "os.execv(sys.executable, [sys.executable, 'work.py', 'map', 'workdir=work'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", take_it],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        start_new_session=True,
        env=environment,
    )
    os.close(theirs)
    wait_until(lambda: some_were_made(tmp_path / "notes"))
    os.write(ours, b"\x03")
    assert process.wait(10) != 0
    printed = b""
    try:
        while block := os.read(ours, 65536):
            printed += block
    except OSError:  # so the end of a terminal looks
        pass
    os.close(ours)
    assert b"KeyboardInterrupt" in printed
    assert [] == mark.living()
    assert RESULT == finish("map", "workdir=work")
    made_once(tmp_path / "notes")


@pytest.mark.parametrize(
    "options", [("workdir=work",), ("workdir=work", "keep_workdir="), ()], ids=["named", "to go", "passing"]
)
def test_after_a_kill_of_the_caller(
    options: tuple[str, ...],
    start: Start,
    finish: Callable[..., str],
    tmp_path: Path,
    no_leftovers: Path,
    wait_until: Callable[..., None],
    mark: Any,
) -> None:
    """The farm ends by itself. A named work directory resumes, any other is removed."""
    process = start(SCRIPT, "map", *options)
    wait_until(lambda: some_were_made(tmp_path / "notes"))
    process.kill()
    process.communicate()
    wait_until(lambda: not mark.living())
    assert [] == os.listdir(no_leftovers)
    if options:
        assert RESULT == finish("map", *options)
        made_once(tmp_path / "notes")


def test_after_a_kill_of_everything(
    start: Start, finish: Callable[..., str], tmp_path: Path, wait_until: Callable[..., None], mark: Any
) -> None:
    """Caller, guard, farmer and workers killed at once: whole chunks that had ended are not made again."""
    start(SCRIPT, "imap", "workdir=work")
    wait_until(lambda: some_were_made(tmp_path / "notes"))
    for pid in mark.living():
        with suppress(ProcessLookupError):  # the kernel, or the guard, was faster
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not mark.living())
    assert RESULT == finish("imap", "workdir=work")
    made_once(tmp_path / "notes", interrupted=4)


def test_again_and_again(
    start: Start, finish: Callable[..., str], tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """Interrupted in each of several runs, it still comes to the end, and makes no call more than it must."""
    for least in (8, 16, 24):
        process = start(SCRIPT, "map", "workdir=work")
        wait_until(lambda least=least: (tmp_path / "notes").exists() and len(os.listdir(tmp_path / "notes")) >= least)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert RESULT == finish("map", "workdir=work")
    found = times(tmp_path / "notes")
    assert set(range(40)) == found.keys()
    assert sum(found.values()) <= 40 + 3 * 2, found


@pytest.mark.parametrize("order", [1, -1])
def test_a_chunk_that_was_stopped_twice(order: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had handed over each time comes in the order of its calls, whatever that of the files is."""
    desk = Desk(str(tmp_path))
    Path(desk.jobs).write_text(JobLine(0, Place(0, 0)).line())
    Path(desk.list).write_text(Slice(0, Place(0, 0), 0, 0, 6).line() + "\n")
    for first, farmer in ((0, "first"), (2, "second")):
        results = Results(desk.layout, farmer)
        stopped = Attempt(Task(0, ""), 1, 0, Outcome.STOPPED, -15, start=float(first), duration=1.0)
        results.keep(stopped, b"".join(travel.values_pieces(["a", "b"], first, first)))
        results.close()
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", lambda _: ["first", "second"][::order])
        assert [0, 2] == [piece.first for piece in Earlier(desk).pieces(0)]


def test_results_that_are_there(tmp_path: Path) -> None:
    """Several maps, of several kinds, are read from the directory in the order in which they were made."""
    notes = tmp_path / "notes"
    notes.mkdir()
    for workers in (2, 1, 3):
        with Pool(workers, workdir=tmp_path / "work") as pool:
            assert list(range(10)) == pool.map(partial(called.note, notes), range(10))
            assert [0, 1, 8] == pool.starmap(called.power, [(0, 3), (1, 3), (2, 3)])
            assert list(range(10, 30)) == list(pool.imap(partial(called.note, notes), range(10, 30), 3))
            assert 30 == pool.apply(called.note, (notes, 30))
            with pytest.raises(ValueError, match="2 is even"):
                pool.map(called.odd, [1, 2, 3])
            assert [9] == pool.map(called.square, {3})
    assert Counter(range(31)) == times(notes)


def test_more_calls_than_before(tmp_path: Path) -> None:
    """A stream may go on where it had ended, and other calls may follow those that were made."""
    notes = tmp_path / "notes"
    notes.mkdir()
    work = partial(called.note, notes)
    with Pool(1, workdir=tmp_path / "work") as pool:
        assert list(range(5)) == list(pool.imap(work, range(5)))
    with Pool(1, workdir=tmp_path / "work") as pool:
        assert list(range(8)) == list(pool.imap(work, range(8)))
        assert list(range(8, 10)) == pool.map(work, range(8, 10))
    assert Counter(range(10)) == times(notes)


@pytest.mark.parametrize(
    ("others", "told"),
    [
        (lambda pool: pool.map(called.square, [1, 2, 4]), "had other arguments than now in call 2"),
        (
            lambda pool: pool.map(called.square, [1, 2]),
            "was 3 calls of called.square, and is now 2 calls of called.square",
        ),
        (
            lambda pool: pool.map(called.square, [1, 2, 3, 4]),
            "was 3 calls of called.square, and is now 4 calls of called.square",
        ),
        (
            lambda pool: pool.map(called.pid, [1, 2, 3]),
            "was 3 calls of called.square, and is now 3 calls of called.pid",
        ),
        (
            lambda pool: list(pool.imap(called.square, [1, 2, 3])),
            "was 3 calls of called.square by map, and is now calls of called.square by imap",
        ),
        (
            lambda pool: pool.starmap(called.square, [(1,), (2,), (3,)]),
            "was 3 calls of called.square by map, and is now 3 calls of called.square by starmap",
        ),
        (
            lambda pool: pool.apply(called.square, (1,)),
            "was 3 calls of called.square by map, and is now 1 call of called.square by apply",
        ),
    ],
    ids=["argument", "fewer", "more", "function", "method", "starmap", "apply"],
)
def test_other_calls(tmp_path: Path, others: Callable[[Pool], object], told: str) -> None:
    """Calls that are not those of before are refused in plain words, and nothing is called; the right ones still go."""
    work = tmp_path / "work"
    words = (
        f"{work}: map 1 of this directory {told}. Make the same calls in the same order as before, name another "
        "workdir, or remove this one."
    )
    with Pool(1, workdir=tmp_path / "work") as pool:
        assert [1, 4, 9] == pool.map(called.square, [1, 2, 3])
    with (
        Pool(1, workdir=tmp_path / "work") as pool,
        pytest.raises(UsageError, match=f"^{re.escape(words)}$"),
    ):
        others(pool)
    with Pool(1, workdir=tmp_path / "work") as pool:
        assert [1, 4, 9] == pool.map(called.square, [1, 2, 3])


def test_two_callers(tmp_path: Path) -> None:
    """A directory that is in use is refused, and who uses it is not disturbed; afterwards it is free."""
    with Pool(1, workdir=tmp_path / "work") as pool:
        slow = pool.map_async(called.wait, [0.3])
        with pytest.raises(UsageError, match="another process works with this directory"):
            Pool(1, workdir=tmp_path / "work")
        assert [0.3] == slow.get(20)
    with Pool(1, workdir=tmp_path / "work") as pool:
        assert [0.3] == pool.map(called.wait, [0.3])


@pytest.mark.parametrize("chunksize", [1, 5])
def test_after_a_worker_s_death(tmp_path: Path, chunksize: int) -> None:
    """The guilty call is tried once more in each run, its neighbours are not, however often that happens."""
    notes = tmp_path / "notes"
    notes.mkdir()
    work = partial(called.note_and_die, notes, 2)
    for run in range(1, 5):
        with Pool(1, workdir=tmp_path / "work", echo=False) as pool, pytest.raises(WorkerDied, match="status 7"):
            pool.map(work, range(5), chunksize)
        assert {**dict.fromkeys(range(5), 1), 2: run} == times(notes)
    with Pool(1, workdir=tmp_path / "work") as pool:
        assert [*range(5)] == pool.map(partial(called.note_and_die, notes, 9), range(5), chunksize)
    assert {**dict.fromkeys(range(5), 1), 2: 5} == times(notes)


def test_a_directory_that_is_kept_or_not(tmp_path: Path, no_leftovers: Path) -> None:
    """`keep_workdir` overrides what the name of a directory implies."""
    with Pool(1, workdir=tmp_path / "work", keep_workdir=False) as pool:
        pool.map(called.square, [1])
    assert not (tmp_path / "work").exists()
    with Pool(1, keep_workdir=True) as pool:
        pool.map(called.square, [1])
    (kept,) = no_leftovers.iterdir()
    with Pool(1, workdir=kept) as pool:
        assert [1] == pool.map(called.square, [1])
    shutil.rmtree(kept)


def test_a_directory_that_is_to_go_and_must_not(tmp_path: Path) -> None:
    """An error leaves it, and so does who has not asked for all that is in it; who has, and has its results, does not.

    However it is named, what was interrupted may be resumed.
    """
    work = tmp_path / "work"
    with Pool(1, workdir=work) as pool:
        assert [1, 4] == pool.map(called.square, [1, 2])
        assert [9] == pool.map(called.square, [3])

    def passing() -> Pool:
        return Pool(1, workdir=work, keep_workdir=False)

    with passing() as pool, pytest.raises(UsageError, match=r"was 2 calls .* and is now 1 call of"):
        pool.map(called.square, [5])
    with pytest.raises(UsageError, match=r"was 2 calls .* and is now 1 call of"), passing() as pool:
        pool.map(called.square, [5])
    with passing() as pool:
        assert [1, 4] == pool.map(called.square, [1, 2])
    with pytest.raises(ZeroDivisionError), passing() as pool:
        assert 1 // (pool.map(called.square, [1, 2])[0] - pool.map(called.square, [3])[0] + 8)
    assert work.exists()
    with Pool(1, workdir=work) as pool:
        assert [[1, 4], [9]] == [pool.map(called.square, [1, 2]), pool.map(called.square, [3])]
    with passing() as pool:
        assert [[1, 4], [9]] == [pool.map(called.square, [1, 2]), pool.map(called.square, [3])]
    assert not work.exists()


def test_results_that_were_lost(tmp_path: Path) -> None:
    """Where the books know calls as made and their results are gone, as a power cut leaves it, they are made again."""
    with Pool(1, workdir=tmp_path / "work") as pool:
        assert [0, 1, 4, 9] == pool.map(called.square, range(4), 2)
    (path,) = (Path(file) for file in _results(tmp_path / "work"))
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2 + 3, 0):
        path.write_bytes(whole[:size])
        with Pool(1, workdir=tmp_path / "work") as pool:
            assert [0, 1, 4, 9] == pool.map_async(called.square, range(4), 2).get(20)


def _results(work: Path) -> list[str]:
    return [entry.path for entry in os.scandir(Layout(str(work)).results)]


def test_lines_that_were_torn(tmp_path: Path) -> None:
    """What a crash has left of a line is not one."""
    with Pool(1, workdir=tmp_path / "work") as pool:
        assert [0, 1] == pool.map(called.square, range(2), 1)
    for name in ("calls.list", "calls.jobs"):
        with (tmp_path / "work" / name).open("a") as file:
            file.write('{"job": 1')
    with Pool(1, workdir=tmp_path / "work") as pool:
        assert [0, 1] == pool.map(called.square, range(2), 1)
        assert [4, 9] == pool.map(called.square, range(2, 4), 1)


def test_what_cannot_be_read_any_more(tmp_path: Path) -> None:
    """A directory that something else has written to is refused in plain words."""
    with Pool(1, workdir=tmp_path / "work") as pool:
        assert [0, 1] == pool.map(called.square, range(2), 1)
    for name in ("calls.list", "calls.jobs"):
        (tmp_path / "work" / name).write_bytes(b"\0\0\xff\n")
        with pytest.raises(
            UsageError, match=r"work: what it holds of earlier calls is damaged; name another workdir\."
        ):
            Pool(1, workdir=tmp_path / "work")


@pytest.mark.parametrize("thing", ["list(range(4))", "range(4)", "tuple(range(4))"])
def test_the_same_items_in_another_container(tmp_path: Path, thing: str) -> None:
    """Are the same calls."""
    for items in (range(4), eval(thing)):
        with Pool(1, workdir=tmp_path / "work") as pool:
            assert [0, 1, 4, 9] == pool.map(called.square, items)


def test_sets_are_the_same_in_each_process(start: Start) -> None:
    """Although the order of their elements is not."""
    source = """
import dataclasses, os, sys
from pytaskfarmer import Pool

@dataclasses.dataclass
class Cut:
    names: set

def count(cut):
    open("calls", "a").write("x")
    return len(cut.names) if isinstance(cut, Cut) else len(cut)

words = [f"word {n}" for n in range(50)]
with Pool(1, workdir="work") as pool:
    print(pool.map(count, [set(words), frozenset(words), Cut({frozenset(words[:3]), frozenset(words)})]))
    print(os.path.getsize("calls"))
"""
    for seed in "123":
        process = start(source, env={**os.environ, "PYTHONHASHSEED": seed})
        assert ("[50, 50, 2]\n3\n", None) == process.communicate(timeout=30)


CHANGING = """\
import dataclasses, functools
from pytaskfarmer import Pool
import called

FACTOR = 2
NAMES = ["a", "b"]

@dataclasses.dataclass
class Cut:
    least: int

    def passes(self, number):
        return number > self.least and str(number) not in {"u", "v", "w"}

@functools.cache
def scaled(number):
    return number * FACTOR

def work(number):
    \"\"\"Scale it.\"\"\"
    return [scaled(n) for n in [number] if Cut(0).passes(n)], NAMES

if __name__ == "__main__":
    with Pool(1, workdir="work") as pool:
        print(pool.map(work, [1]), pool.map(lambda number: number, [1]), pool.map(called.square, [1]))
"""


def test_a_function_that_has_changed(run: Callable[..., str], tmp_path: Path) -> None:
    """Is told in each run, by name, also if the change is in what it uses; results of before are returned."""
    results = "[([2], ['a', 'b'])] [1] [1]\n"
    warning = (
        f"pytaskfarmer: the function {{}}, or what it uses, has changed since its calls in {tmp_path}/work were made; "
        "results of before are used. Remove the directory to make them anew.\n"
    )
    assert results == run(CHANGING)
    changes = {
        "number * FACTOR": "number + FACTOR",
        "FACTOR = 2": "FACTOR = 3",
        'NAMES = ["a", "b"]': 'NAMES = ["a"]',
        "number > self": "number >= self",
        "Cut(0)": "Cut(1)",
    }
    for old, new in changes.items():
        assert 1 == CHANGING.count(old)
        for _ in range(2):
            assert warning.format("work") + results == run(CHANGING.replace(old, new))
    changed = CHANGING.replace("number: number,", "number: 2 * number,")
    assert warning.format("<lambda>") + results == run(changed)


def test_a_function_that_has_not_changed(run: Callable[..., str], tmp_path: Path) -> None:
    """Is not told of: other lines above it, another docstring, another order of sets, results that are to come."""
    same = f"# A line.\n{CHANGING}".replace("Scale it.", "Scale this.")
    printed = {run(source) for source in (CHANGING, CHANGING, same)}
    assert {"[([2], ['a', 'b'])] [1] [1]\n"} == printed
