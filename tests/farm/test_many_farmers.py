"""Several farmers on one list: every task once, whoever comes late, leaves early, dies or freezes."""

import fcntl
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from farm_driver import Farm, Started, alive, until


def noting(number: int, seconds: float) -> str:
    return f"sh -c 'echo {number} >> runs; sleep {seconds:.3f}'"


def runs(farm: Farm) -> Counter[int]:
    path = farm.directory / "runs"
    return Counter(map(int, path.read_text().split())) if path.exists() else Counter()


def ended(farm: Farm, *expected: int) -> None:
    """Wait for all farmers; each exit status must be among the expected ones."""
    statuses = [started.wait(40) for started in farm.started]
    assert set(statuses) <= set(expected), [started.output for started in farm.started]


@pytest.mark.parametrize(("farmers", "late"), [(2, False), (5, True), (8, False)])
def test_every_task_runs_once(farm: Farm, farmers: int, late: bool) -> None:
    """Farmers that start together, or one after the other while others are at work, share a list without a double."""
    tasks = 60 * farmers
    farm.write([noting(i, random.uniform(0, 0.05)) for i in range(tasks)])
    for number in range(farmers):
        farm.start("-n", "2")
        if late:
            until(lambda: runs(farm).total() > 20 * number, 10)  # noqa: B023
    ended(farm, 0)
    farm.balance(tasks, "finished")
    assert dict.fromkeys(range(tasks), 1) == runs(farm)


@pytest.mark.parametrize("farmers", [2, 6])
def test_deaths_and_stops_among_many(farm: Farm, farmers: int) -> None:
    """While others go on, one farmer is stopped and one is killed: nothing is lost, and little runs twice."""
    tasks = 50 * farmers
    farm.write([noting(i, random.uniform(0.01, 0.06)) for i in range(tasks)])
    first, second, *_ = [farm.start("-n", "2") for _ in range(farmers)]
    assert until(lambda: runs(farm).total() > tasks // 5 and farm.name_of(first) and farm.name_of(second), 20)
    first.signal(signal.SIGTERM)
    farmer = second.farmer
    assert farmer is not None
    os.kill(farmer, signal.SIGKILL)
    if farmers == 2:
        first.wait()
        farm.start("-n", "2")
    ended(farm, 0, 3, 137)
    assert (3, 137) == (first.wait(), second.wait())
    farm.balance(tasks, "finished")
    assert runs(farm).total() - tasks <= 4


@pytest.mark.parametrize("options", [("--wait",), ()], ids=["wait", "leave"])
def test_a_line_removed_by_hand_runs_all_the_same(farm: Farm, options: tuple[str, ...]) -> None:
    """A task whose line somebody deleted from `toprocess` still runs before any farmer reports success."""
    tasks, lost = 80, 25
    farm.write([noting(i, 0.6 if i == lost else 0.02) for i in range(tasks)])
    for _ in range(3):
        farm.start("-n", "2", *options)
    assert until(lambda: runs(farm).total() >= 6, 20)
    assert remove_by_hand(farm, lost)
    waiting = list(farm.started)
    while waiting:
        for started in [started for started in waiting if started.over()]:
            assert 0 == started.wait(), started.output
            holders = [lost for name in farm.farmers() if lost in farm.claims(name).ids and not options]
            assert lost in [*farm.ids("finished"), *holders], started.output
            waiting.remove(started)
        until(lambda: False, 0.005)
    farm.balance(tasks, "finished")
    assert dict.fromkeys(range(tasks), 1) == runs(farm)


def remove_by_hand(farm: Farm, task_id: int) -> bool:
    """Delete a line as a careful person would: under the lock. Return whether it was there."""
    path = Path(farm.layout.toprocess)
    with open(farm.layout.lock, "rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(b"%d " % task_id)]
        edited = farm.directory / "edited"
        edited.write_bytes(b"".join(kept))
        edited.rename(path)
    return len(lines) - len(kept) == 1


# Freezing


def test_a_frozen_farmer_loses_nothing(farm: Farm) -> None:
    """A farmer that is frozen for a while, wherever that hits it, keeps what it holds and goes on afterwards."""
    tasks = 400
    farm.write([noting(i, 0.02) for i in range(tasks)])
    first = farm.start("-n", "4")
    assert until(lambda: runs(farm).total() >= 8, 20)
    second = farm.start("-n", "4")
    frozen = 0
    while not (first.over() or second.over()):
        for started in (first, second):
            frozen += freeze(started, "guard", "farmer")
            until(lambda: False, random.uniform(0, 0.1))
            thaw(started, "farmer", "guard")
            until(lambda: False, random.uniform(0, 0.1))
    ended(farm, 0)
    assert frozen > 2
    farm.balance(tasks, "finished")
    assert dict.fromkeys(range(tasks), 1) == runs(farm)


@pytest.mark.parametrize("order", [("guard", "farmer"), ("farmer", "guard"), ("farmer",)], ids="-".join)
def test_a_guard_wakes_with_its_farmer(farm: Farm, order: tuple[str, ...]) -> None:
    """In whatever order somebody freezes and wakes the two processes, the command ends when its farmer ends."""
    farm.write([noting(i, 0.3) for i in range(2)])
    started = farm.start("-n", "1")
    assert until(lambda: runs(farm).total() == 1, 20)
    assert freeze(started, *order)
    thaw(started, *order)
    assert 0 == started.wait(5)
    farm.balance(2, "finished")


def freeze(started: Started, *whom: str) -> bool:
    """Return once the farmer stands still; False if it has ended before that."""
    farmer = started.farmer
    signal_to(started, signal.SIGSTOP, *whom)
    return farmer is not None and until(lambda: not alive(farmer) or is_frozen(farmer), 5) and alive(farmer)


def thaw(started: Started, *whom: str) -> None:
    for process in whom:
        signal_to(started, signal.SIGCONT, process)
        until(lambda: False, 0.03)


def signal_to(started: Started, number: int, *whom: str) -> None:
    for process in whom:
        pid = started.farmer if process == "farmer" else started.guard.pid
        if pid is not None and not started.over():
            os.kill(pid, number)


def is_frozen(pid: int) -> bool:
    return "T" == Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# Beginning

RACER = """
import sys
from pytaskfarmer.handlers.lines import Lines
from pytaskfarmer.plugins.contracts import Tasklist
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.opening import Opening, Wish
from pytaskfarmer.workdir.source import Source

tasklist = sys.argv[1]
for workdir in map(str.strip, sys.stdin):
    source = Source(Tasklist(tasklist, workdir), Lines(), "default")
    opening = Opening(Layout(workdir), source, Wish(2), lambda line: None, lambda: False, lambda farmer: None)
    books = opening.run().books
    while not books.try_lock():
        pass
    with books.section():
        taken = books.claim(3)
    print(books.own.farmer.run, *(task.id for task in taken), flush=True)
"""


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A directory that costs no time to sync, where there is one: what races elsewhere waits for the disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as directory:
        yield Path(directory)


def test_creators_race(in_memory: Path) -> None:
    """Of two farmers that create a work directory within milliseconds, both find the same tasks in the same run."""
    tasklist = in_memory / "tasks.txt"
    tasklist.write_text("true\n" * 3000)
    command = [sys.executable, "-P", "-c", RACER, str(tasklist)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, **pipes) as first, subprocess.Popen(command, **pipes) as second:
        for number in range(40):
            for racer in (first, second):
                racer.stdin.write(f"{in_memory}/{number}\n")  # type: ignore[union-attr]
                until(lambda: False, random.uniform(0, 0.004), pause=0.0002)
            answers = [racer.stdout.readline().split() for racer in (first, second)]  # type: ignore[union-attr]
            assert 1 == len({answer[0] for answer in answers})
            assert list("012345") == sorted(answers[0][1:] + answers[1][1:])


def test_two_begin_at_the_same_instant(tmp_path: Path) -> None:
    """Two commands that find no work directory make one, and run each task of it once."""
    for number, delay in enumerate([0, 0.003, 0.03]):
        (directory := tmp_path / str(number)).mkdir()
        farm = Farm(directory)
        farm.write([noting(i, 0) for i in range(12)])
        farm.start("-n", "2")
        until(lambda: False, delay)
        farm.start("-n", "2")
        ended(farm, 0)
        farm.balance(12, "finished")
        assert dict.fromkeys(range(12), 1) == runs(farm)


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(1, id="once"),
        pytest.param(30, id="30 times", marks=[pytest.mark.proof, pytest.mark.timeout(900)]),
    ],
)
@pytest.mark.parametrize("state", ["creating", "expanding", "complete"])
def test_a_creator_that_dies_is_replaced(tmp_path: Path, state: str, rounds: int) -> None:
    """However far the first farmer came in setting up 200,000 tasks, the next one finds each of them exactly once."""
    tasks = 200_000
    for number in range(rounds):
        (directory := tmp_path / str(number)).mkdir()
        farm = Farm(directory)
        farm.write(["true"] * tasks)
        creator = farm.start("-n", "1")
        assert until(lambda: f'"state": "{state}"' in text_of(farm.layout.register), 10, pause=0.0002)  # noqa: B023
        farmer = creator.farmer
        assert farmer is not None
        until(creator.over, random.uniform(0, 0.05) * (state == "expanding"), pause=0.001)
        os.kill(farmer, signal.SIGKILL)
        assert 128 + signal.SIGKILL == creator.wait()
        done = len(farm.ids("finished"))
        successor = farm.start("-n", "2")
        assert until(lambda: len(farm.ids("finished")) > done or successor.over(), 20)  # noqa: B023
        successor.signal(signal.SIGTERM)
        assert 3 == successor.wait(), successor.output
        farm.balance(tasks)
        assert [] == list(farm.workdir.glob("toprocess.*"))


def text_of(path: str) -> str:
    try:
        return Path(path).read_text()
    except FileNotFoundError:
        return ""
