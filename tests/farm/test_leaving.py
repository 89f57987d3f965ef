"""When a farmer leaves: not while tasks may be lost, not later than asked, and with the right numbers."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from farm_driver import Farm, Started

WaitUntil = Callable[..., None]


def until_told(name: str) -> str:
    """Return a task, or a part of one, that runs until the file of that name is there."""
    return f"until [ -e {name} ]; do sleep 0.02; done"


def tell(farm: Farm, name: str) -> None:
    (farm.directory / name).touch()


def told(farm: Farm, name: str) -> Callable[[], bool]:
    return (farm.directory / name).exists


def stays(started: Started, seconds: float) -> bool:
    """Return whether a farmer goes on for so many seconds."""
    try:
        started.guard.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


class TestFarmersOfWhomNobodyCanTell:
    """The claims of a farmer of another node whose lock is free: that node crashed, or locks do not reach it."""

    @pytest.fixture
    def lock(self, farm: Farm, wait_until: WaitUntil) -> Path:
        """The claims lock, free, of a farmer that has just written from another node; it holds task 0 of two."""
        farm.write([f"touch up; echo >> runs; {until_told('go')}", "true"])
        started = farm.start("-n", "1")
        wait_until(told(farm, "up"), hopeless=started.over)
        farmer = started.farmer
        assert farmer is not None
        os.kill(farmer, signal.SIGKILL)
        assert 128 + signal.SIGKILL == started.wait()
        (name,) = farm.farmers()
        path = Path(farm.layout.claim(name))
        header, _, notes = path.read_bytes().partition(b"\n")
        facts = {**json.loads(header.removeprefix(b"farmer ")), "host": "elsewhere", "boot": "another"}
        path.write_bytes(b"farmer %b\n%b" % (json.dumps(facts).encode(), notes))
        tell(farm, "go")
        lock = Path(farm.layout.claim_lock(name))
        lock.touch()
        return lock

    def test_keep_the_others_until_they_are_dead(self, farm: Farm, lock: Path, wait_until: WaitUntil) -> None:
        """Nobody leaves before it is clear whether they live; once they are dead, their tasks run, and all is done."""
        company = [farm.start("-n", "1") for _ in range(2)]
        wait_until(lambda: farm.ids("finished") == [1])
        assert [True, True] == [stays(started, 1.5) for started in company], [s.output for s in company]
        os.utime(lock, (0, 0))
        assert [0, 0] == [started.wait() for started in company], [s.output for s in company]
        farm.balance(2, "finished")
        assert "\n" * 2 == (farm.directory / "runs").read_text()

    def test_end_the_run_if_their_hearts_beat(self, farm: Farm, lock: Path) -> None:
        """Where a heartbeat goes on although its lock is free, no other node may farm: stop, and say what to do."""
        started = farm.start("-n", "1")
        end = time.monotonic() + 15
        while stays(started, 0.1) and time.monotonic() < end:
            lock.touch()
        assert 2 == started.wait(0.1)
        assert "--lock lease" in started.output
        assert ["\n", [1]] == [(farm.directory / "runs").read_text(), farm.ids("finished")]

    def test_do_not_delay_a_stop(self, farm: Farm, lock: Path, wait_until: WaitUntil) -> None:
        """Who stays because of them can be stopped."""
        started = farm.start("-n", "1")
        wait_until(lambda: farm.ids("finished") == [1])
        assert stays(started, 1.2), started.output
        assert_stops(started)
        assert [lock.name.removesuffix(".lock")] == farm.farmers()


def assert_stops(started: Started) -> None:
    """Stop a farmer that runs nothing, and assert that it takes less than a second."""
    began = time.monotonic()
    started.signal(signal.SIGTERM)
    assert 3 == started.wait()
    assert time.monotonic() - began < 1


class TestTheLast:
    """Several farmers of which one has the last task."""

    @pytest.fixture
    def busy(self, farm: Farm, wait_until: WaitUntil) -> Callable[[str], Started]:
        """Return `busy(task)`: a farmer that runs the only task, which goes on when `go` is there."""

        def busy(task: str) -> Started:
            farm.write([f"touch up; {until_told('go')}; {task}"])
            started = farm.start("-n", "1")
            wait_until(told(farm, "up"), state=lambda: started.output, hopeless=started.over)
            return started

        return busy

    @staticmethod
    def staying(farm: Farm, wait_until: WaitUntil) -> Started:
        """Return a farmer that stays for the others' tasks, and has looked for work in vain."""
        started = farm.start("-n", "1", "--wait")
        wait_until(lambda: farm.name_of(started), hopeless=started.over)
        assert stays(started, 0.4), started.output
        return started

    def test_failure_is_everybodys(self, farm: Farm, busy: Callable[[str], Started], wait_until: WaitUntil) -> None:
        """Whoever has stayed to the end tells of the failures of the whole list, also those after its own audit."""
        started = [busy("false"), *(self.staying(farm, wait_until) for _ in range(2))]
        tell(farm, "go")
        assert [1, 1, 1] == [one.wait() for one in started], [one.output for one in started]
        for one in started:
            before, _, after = one.output.partition("0 of 1 finished, 1 failed")
            assert before != one.output
            assert not re.search(r"\d left|rest is held", after), one.output

    def test_wait_ends_with_a_stop(self, farm: Farm, busy: Callable[[str], Started], wait_until: WaitUntil) -> None:
        """A farmer that only stays for the others leaves as soon as it is stopped."""
        first = busy("true")
        second = self.staying(farm, wait_until)
        assert stays(second, 1.4)
        assert_stops(second)
        tell(farm, "go")
        assert 0 == first.wait()
        farm.balance(1, "finished")

    def test_a_clock_that_is_ahead_keeps_nobody(
        self, farm: Farm, busy: Callable[[str], Started], wait_until: WaitUntil
    ) -> None:
        """A farmer leaves although the file server dates the last audit ten minutes after now."""
        first = busy("true")
        sweep = Path(farm.layout.sweep)
        sweep.write_text("1\n")
        os.utime(sweep, (time.time() + 600,) * 2)
        assert 0 == farm.run("-n", "1", seconds=5)
        assert "the rest is held by 1 other farmer" in farm.started[-1].output
        tell(farm, "go")
        assert 0 == first.wait()
        farm.balance(1, "finished")


def test_counts_what_others_did_who_have_left(farm: Farm, wait_until: WaitUntil) -> None:
    """The summary of a farmer that began alone counts what one finished that came and went."""
    farm.write([f"touch up; {until_told('go')}", *["true"] * 40])
    first = farm.start("-n", "1")
    wait_until(told(farm, "up"), hopeless=first.over)
    assert 0 == farm.run("-n", "2"), farm.started[-1].output
    first.signal(signal.SIGTERM)
    assert 3 == first.wait()
    assert "40 of 41 finished" in first.output
    assert "1 left" in first.output
    farm.balance(41)


class TestWorkThatComesBack:
    """A farmer has found the list empty; one of its slots is free, the other has a long task."""

    def test_from_retry(self, farm: Farm, wait_until: WaitUntil) -> None:
        """A failed task that somebody puts back is taken at once, and the command leaves nothing behind."""
        farm.write([until_told("go"), "[ -e mended ]"])
        started = farm.start("-n", "2")
        wait_until(lambda: farm.ids("failed") == [1], hopeless=started.over)
        tell(farm, "mended")
        retry = [sys.executable, "-m", "pytaskfarmer", "retry", farm.list.name]
        subprocess.run(retry, cwd=farm.directory, check=True, capture_output=True, timeout=20)
        assert [farm.name_of(started)] == farm.farmers()
        wait_until(lambda: farm.ids("finished") == [1], hopeless=started.over, seconds=5)
        tell(farm, "go")
        assert 0 == started.wait(), started.output
        farm.balance(2, "finished")

    def test_from_one_that_stopped(self, farm: Farm, wait_until: WaitUntil) -> None:
        """What a stopped farmer gives back is taken at once by another one."""
        farm.write([until_told("go"), until_told("first"), "touch up; [ -e again ] || exec sleep 60"])
        started = farm.start("-n", "2")
        wait_until(lambda: farm.ids("toprocess") == [2], hopeless=started.over)
        stopped = farm.start("-n", "1")
        wait_until(told(farm, "up"), hopeless=stopped.over)
        tell(farm, "first")
        wait_until(lambda: farm.ids("finished") == [1], hopeless=started.over)
        tell(farm, "again")
        stopped.signal(signal.SIGTERM)
        assert 3 == stopped.wait()
        wait_until(lambda: farm.ids("finished") == [1, 2], hopeless=started.over, seconds=5)
        tell(farm, "go")
        assert 0 == started.wait(), started.output
        farm.balance(3, "finished")
