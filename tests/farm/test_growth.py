"""Farmers of a list to which others append: real ones, killed, on a full disk, and with half a line at its end."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from farm_driver import Farm, Started

FARM = """
import os, sys
from pytaskfarmer.farm.feeding import Feed
from pytaskfarmer.farm.guard import under_guard
from pytaskfarmer.farm.rules import Rules
from pytaskfarmer.farm.working import Work, work
from pytaskfarmer.handlers.lines import Lines
from pytaskfarmer.plugins.contracts import Command, Tasklist
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.opening import Wish
from pytaskfarmer.workdir.source import Source

class Shell:
    def command(self, task, context):
        return Command(("sh", "-c", task.text))

class Host:
    begin = tick = ended = lambda self, *facts: None
    def say(self, line):
        print(line, flush=True)
    warn = say

lifeline, linger = sys.argv[1:]
root, tasks = os.path.abspath("tasks.txt_workdir"), os.path.abspath("tasks.txt")
feed = Feed(tasks, os.open(lifeline, os.O_RDONLY) if lifeline else None, float(linger))
source = Source(Tasklist(tasks, root, growing=True), Lines(), "lines")
wanted = Work(Layout(root), source, Shell(), Rules(slots=2, grace=0.5), Wish(slots=2), "pack", feed)
sys.exit(under_guard(lambda guard: work(wanted, Host(), dict(os.environ), guard).exit_status))
"""
WaitUntil = Callable[..., None]


def start(farm: Farm, lifeline: str = "", linger: float = 1.0) -> Started:
    """Start a farmer that is told of new lines over a FIFO, or looks by itself and lingers for so many seconds."""
    words = [sys.executable, "-c", FARM, lifeline, str(linger)]
    farm.started.append(Started(words, farm.directory, farm.directory / f"farmer-{len(farm.started)}.out"))
    return farm.started[-1]


def append(farm: Farm, *lines: str, end: str = "\n") -> None:
    with farm.list.open("a") as file:
        file.write("\n".join(lines) + end)


def runs(farm: Farm) -> list[int]:
    """Return which tasks have run, once for each time."""
    return sorted(map(int, (farm.directory / "ran").read_text().split()))


RAN = "echo $PROC_NUMBER >> ran"


def test_several_farmers_share_what_comes(farm: Farm, wait_until: WaitUntil) -> None:
    """Three farmers take up 9,000 lines that come in pieces small and large, while one dies: each is recorded once."""
    farm.write([RAN] * 10)
    farmers = [start(farm, linger=5.0) for _ in range(3)]
    wait_until(lambda: len(farm.farmers()) == 3, hopeless=farmers[0].over, state=lambda: farmers[0].output)
    for number in range(20):
        append(farm, *[":"] * 20)
        append(farm, "true", end="")
        if number == 10:
            farmer = farmers[1].farmer
            assert farmer is not None
            os.kill(farmer, signal.SIGKILL)
        append(farm, "", *[":"] * 10)
    append(farm, *[":"] * 5_000)
    assert [0, 0] == [farmers[i].wait(60) for i in (0, 2)], [each.output for each in farmers]
    farm.balance(10 + 20 * 31 + 5_000, "finished")
    assert set(range(10)) == set(runs(farm))


def test_half_a_line_keeps_nobody(farm: Farm) -> None:
    """A farmer whose list ends in half a line, since its writer was killed, leaves after a while."""
    farm.write([RAN] * 3)
    append(farm, "touch wro", end="")
    assert 0 == start(farm, linger=0.5).wait(10), farm.started[-1].output
    farm.balance(3, "finished")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
class TestFullDisk:
    """A work directory on a disk that is full when new lines come."""

    @pytest.fixture
    def small(self, farm: Farm) -> Iterator[Farm]:
        """Mount it."""
        farm.workdir.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "small", str(farm.workdir)]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("cannot mount")
        yield farm
        farm.end()
        subprocess.run(["umount", "-l", str(farm.workdir)], check=True)

    @pytest.mark.parametrize("left", [0, 8192])
    def test_only_delays_what_comes(self, small: Farm, wait_until: WaitUntil, left: int) -> None:
        """Lines of which the farmer was told once are taken up when there is room for them, and run once each."""
        os.mkfifo(small.directory / "lifeline")
        small.write([RAN])
        started = start(small, "lifeline")
        tells = os.open(small.directory / "lifeline", os.O_WRONLY)
        wait_until(lambda: small.ids("finished") == [0], hopeless=started.over, state=lambda: started.output)
        ballast = small.workdir / "ballast"
        fill(ballast, left)
        append(small, *[f"{RAN} {'#' * 200}"] * 100)
        os.write(tells, b"+")
        wait_until(lambda: "no more tasks are taken" in started.output, hopeless=started.over)
        ballast.unlink()
        wait_until(lambda: len(small.ids("finished")) == 101, hopeless=started.over, state=lambda: started.output)
        os.write(tells, b".")
        os.close(tells)
        assert 0 == started.wait(), started.output
        assert list(range(101)) == runs(small)
        small.balance(101, "finished")


def fill(path: Path, left: int) -> None:
    """Let a file take all room of its disk but for so many bytes."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            file.truncate(max(0, file.tell() - left))
