"""What does not end a farm: errors that pass, directories that are away for a moment, plug-ins that err."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from farm_driver import Farm, Started

WaitUntil = Callable[..., None]


def stays(started: Started, seconds: float) -> bool:
    """Return whether a farmer goes on for so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if started.over():
            return False
        time.sleep(0.02)
    return True


def in_trouble(started: Started) -> Callable[[], bool]:
    return lambda: "no more tasks are taken" in started.output


def come_back(farm: Farm) -> None:
    """Undo what the task of `TestLogs` did."""
    (farm.workdir / "logs").unlink()
    (farm.directory / "away").rename(farm.workdir / "logs")


class TestLogs:
    """`logs` is gone: nothing can be started, but the books can be written."""

    TASK = "mv tasks.txt_workdir/logs away; touch tasks.txt_workdir/logs"

    def test_for_a_moment_while_a_retry_waits(self, farm: Farm, wait_until: WaitUntil) -> None:
        """The second attempt runs as soon as its log can be opened, and the farm ends well."""
        farm.write([f"[ $PYTASKFARMER_ATTEMPT = 2 ] || {{ {self.TASK}; exit 1; }}"])
        started = farm.start("-n", "1", "--retries", "1")
        wait_until(in_trouble(started), hopeless=started.over)
        assert stays(started, 1.7), started.output
        come_back(farm)
        assert 0 == started.wait(), started.output
        farm.balance(1, "finished")

    def test_for_a_moment_while_tasks_wait(self, farm: Farm, wait_until: WaitUntil) -> None:
        """The tasks that follow run as soon as their logs can be opened."""
        farm.write([self.TASK, "echo two", "echo three"])
        started = farm.start("-n", "1")
        wait_until(in_trouble(started), hopeless=started.over)
        come_back(farm)
        assert 0 == started.wait(), started.output
        farm.balance(3, "finished")
        assert 1 == started.output.count("no more tasks are taken")

    def test_for_ever(self, farm: Farm) -> None:
        """A farmer that can start nothing gives up and says why, and no task is lost."""
        farm.write([self.TASK, "true"])
        assert 3 == farm.run("-n", "1", seconds=15), farm.started[-1].output
        assert os.strerror(20) in farm.started[-1].output
        come_back(farm)
        assert 0 == farm.run("-n", "1"), farm.started[-1].output
        farm.balance(2, "finished")

    def test_for_ever_is_over_with_a_stop(self, farm: Farm, wait_until: WaitUntil) -> None:
        """Whoever waits for the logs to come back can be stopped, and gives back what it holds."""
        farm.write([self.TASK, "true"])
        started = farm.start("-n", "1")
        wait_until(in_trouble(started), hopeless=started.over)
        began = time.monotonic()
        started.signal(signal.SIGTERM)
        assert 3 == started.wait()
        assert time.monotonic() - began < 1.5
        assert [1] == farm.ids("toprocess")
        farm.balance(2)


class TestNoMoreDescriptors:
    """The farmer may not open anything, for a moment: EMFILE at whatever it does."""

    def test_costs_no_running_task(self, farm: Farm, wait_until: WaitUntil) -> None:
        """What runs goes on, what waits runs afterwards, and the farm ends well."""
        farm.write(["echo >> runs; until [ -e go ]; do sleep 0.02; done", *["sleep 0.02"] * 60])
        started = farm.start("-n", "3")
        wait_until(lambda: len(farm.ids("finished")) >= 10, hopeless=started.over)
        farmer = started.farmer
        assert farmer is not None
        before = resource.prlimit(farmer, resource.RLIMIT_NOFILE)
        resource.prlimit(farmer, resource.RLIMIT_NOFILE, (3, before[1]))
        assert stays(started, 0.8), started.output
        resource.prlimit(farmer, resource.RLIMIT_NOFILE, before)
        wait_until(lambda: len(farm.ids("finished")) == 60, hopeless=started.over)
        (farm.directory / "go").touch()
        assert 0 == started.wait(), started.output
        farm.balance(61, "finished")
        assert "\n" == (farm.directory / "runs").read_text()

    def test_does_not_delay_a_stop(self, farm: Farm, wait_until: WaitUntil) -> None:
        """A stop is obeyed meanwhile, and nothing is lost."""
        farm.write(["touch up; exec sleep 60", "true"])
        started = farm.start("-n", "1")
        wait_until((farm.directory / "up").exists, hopeless=started.over)
        farmer = started.farmer
        assert farmer is not None
        before = resource.prlimit(farmer, resource.RLIMIT_NOFILE)
        resource.prlimit(farmer, resource.RLIMIT_NOFILE, (3, before[1]))
        started.signal(signal.SIGTERM)
        assert stays(started, 0.3), started.output
        resource.prlimit(farmer, resource.RLIMIT_NOFILE, before)
        assert 3 == started.wait()
        assert [0, 1] == sorted(farm.ids("toprocess"))
        farm.balance(2)


RUNNER = """
from pytaskfarmer.plugins.contracts import Command

SLEEPS = ("sleep", "0.2")
RETURNS = {
    "none": None,
    "a string": "true",
    "a list": ["true"],
    "no argv": Command(()),
    "argv none": Command(None),
    "a number in argv": Command(("sleep", 1)),
    "NUL in argv": Command(("echo", "a\\0b")),
    "NUL in program": Command(("true",), program="tr\\0ue"),
    "NUL in cwd": Command(("true",), cwd="/t\\0mp"),
    "a number as cwd": Command(("true",), cwd=4000),
    "NUL in environment": Command(("true",), environment={"A": "a\\0b"}),
    "= in a name": Command(("true",), environment={"A=B": "a"}),
    "a number in environment": Command(("true",), environment={"A": 1}),
    "a number as a name": Command(("true",), environment={1: "A"}),
    "no directory": Command(("true",), cwd="/nowhere"),
    "a fallback that is no command": Command(("true",), program="/nowhere", fallback=0),
}

class Erring:
    def command(self, task, context):
        if task.text == "raises":
            raise KeyError("no such thing")
        if task.text == "exits":
            raise SystemExit(0)
        return RETURNS[task.text] if task.text in RETURNS else Command(("bash", "-c", task.text))
"""


class TestFullDisk:
    """The work directory has a disk of its own, of a megabyte."""

    def test_ends_a_farmer_that_can_do_nothing(self, farm: Farm) -> None:
        """Where not even a note fits, the farmer gives up with status 3; with more room the next run loses nothing."""
        farm.workdir.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "small", str(farm.workdir)]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("cannot mount")
        try:
            farm.write([f"sleep 0.0{n % 3}; head -c 60000 /dev/zero | tr '\\0' x; echo" for n in range(30)])
            assert 3 == farm.run("-n", "4", seconds=30), farm.started[-1].output
            assert "the work directory cannot be written: nothing is lost" in farm.started[-1].output
            assert "to go" not in farm.started[-1].output.rpartition("no more tasks are taken")[2]
            subprocess.run(["mount", "-o", "remount,size=8m", str(farm.workdir)], check=True)
            assert 0 == farm.run("--retry-failed"), farm.started[-1].output
            farm.balance(30, "finished")
        finally:
            farm.end()
            subprocess.run(["umount", "-l", str(farm.workdir)], check=True)


def test_a_runner_that_errs_fails_its_task(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a runner returns or raises, that task has failed to start, its log says why, and the others run."""
    (farm.directory / "erring.py").write_text(RUNNER)
    (farm.directory / "erring.ini").write_text("[erring]\nRunner = erring.Erring\n")
    monkeypatch.setenv("PYTHONPATH", str(farm.directory), prepend=os.pathsep)
    returned = [line.split('"')[1] for line in RUNNER.splitlines() if line.startswith('    "')]
    wrong = ["raises", "exits", *returned]
    tasks = ["sleep 0.3", *(task for text in wrong for task in (text, "true"))]
    farm.write(tasks)
    assert 1 == farm.run("-n", "2", "--runner", "erring"), farm.started[-1].output
    assert "Traceback" not in farm.started[-1].output
    failed = sorted(farm.ids("failed"))
    assert wrong == [tasks[i] for i in failed]
    farm.balance(len(tasks), "finished", "failed")
    ends = {bar["args"]["id"]: bar["args"] for bar in farm.timeline() if bar["ph"] == "X"}
    assert [("failed_to_start", 127)] * len(wrong) == [(ends[i]["outcome"], ends[i]["status"]) for i in failed]
    logs = [Path(farm.layout.log(i)).read_text() for i in failed]
    for text, log in zip(wrong, logs, strict=True):
        assert log.startswith("pytaskfarmer: cannot start the task: "), text
        assert 1 == log.count("\n"), text
