"""`Command.finish`: what runs after a task, before its slot is free."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from farm_driver import Farm

RUNNER = """
import os
from pytaskfarmer.plugins.contracts import Command

class Tidy:
    def __init__(self, after: str = "echo tidied after $STATUS"):
        self.after = after
    def command(self, task, context):
        def finish(status):
            if self.after == "nothing":
                return None
            if self.after == "raises":
                raise ValueError("no broom")
            return Command(("sh", "-c", self.after), environment={"STATUS": str(status)})
        argv = ("/no/such/program",) if task.text == "missing" else ("sh", "-c", task.text)
        return Command(argv, finish=finish)
"""
WaitUntil = Callable[..., None]


@pytest.fixture
def tidy(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Farm:
    (farm.directory / "tidy.py").write_text(RUNNER)
    monkeypatch.setenv("PYTHONPATH", str(farm.directory), prepend=os.pathsep)
    define(farm)
    return farm


def define(farm: Farm, *after: str) -> None:
    lines = "".join(f"after = {text}\n" for text in after)
    (farm.directory / "tidy.ini").write_text(f"[tidy]\nRunner = tidy.Tidy\n{lines}")


def log(farm: Farm, task_id: int) -> str:
    return Path(farm.layout.log(task_id)).read_text()


@pytest.mark.parametrize("logs", ["files", "pack"])
def test_happens_however_a_task_ends(tidy: Farm, logs: str) -> None:
    """It runs after success, failure, signal, timeout and a failed start, with the status, and prints to the log."""
    tidy.write(["echo well", "exit 3", "kill -SEGV $$", "sleep 60", "missing"])
    assert 1 == tidy.run("-n", "2", "-r", "tidy", "--logs", logs, "--task-timeout", "0.5s"), tidy.started[-1].output
    assert [0] == tidy.ids("finished")
    tidy.balance(5, "finished", "failed")
    expected = ["well\ntidied after 0\n", "tidied after 3\n", "tidied after -11\n", "tidied after -15\n"]
    if logs == "files":
        assert expected == [log(tidy, i) for i in range(4)]
        assert log(tidy, 4).endswith("tidied after 127\n")


@pytest.mark.parametrize(("after", "status"), [("echo no; exit 7", 7), ("kill -SEGV $$", "SIGSEGV"), ("raises", 1)])
def test_a_failure_spoils_a_success(tidy: Farm, after: str, status: object) -> None:
    """A task that succeeded has failed if tidying up after it fails; one that failed keeps its own status."""
    define(tidy, after)
    tidy.write(["true", "exit 3"])
    assert 1 == tidy.run("-n", "1", "-r", "tidy"), tidy.started[-1].output
    args = [bar["args"] for bar in tidy.timeline() if bar["ph"] == "X"]
    bars = {each["id"]: each.get("status") or each.get("signal") for each in args}
    assert ({0: status, 1: 3}, [0, 1]) == (bars, sorted(tidy.ids("failed")))


def test_a_retry_comes_after_it(tidy: Farm) -> None:
    """The second attempt at a task starts when the first is tidied up."""
    define(tidy, "sleep 0.2; rm mess")
    tidy.write(["[ ! -e mess ] || exit 9; touch mess; [ $PYTASKFARMER_ATTEMPT = 2 ]"])
    assert 0 == tidy.run("-n", "1", "-r", "tidy", "--retries", "1"), tidy.started[-1].output
    assert not (tidy.directory / "mess").exists()


def test_a_stop_lets_it_end(tidy: Farm, wait_until: WaitUntil) -> None:
    """Tidying up after a task that a stop has ended runs to its end, and the task goes back."""
    define(tidy, "sleep 0.3; touch tidied")
    tidy.write(["touch runs; sleep 60"])
    started = tidy.start("-n", "1", "-r", "tidy")
    wait_until((tidy.directory / "runs").exists, hopeless=started.over)
    started.signal(signal.SIGTERM)
    assert 3 == started.wait(), started.output
    assert (tidy.directory / "tidied").exists()
    tidy.balance(1, "toprocess")


def test_a_stop_does_not_wait_for_ever(tidy: Farm, wait_until: WaitUntil) -> None:
    """What tidies up after a success and does not end is killed after the grace; the task goes back."""
    define(tidy, "touch tidying; sleep 60")
    tidy.write(["true"])
    started = tidy.start("-n", "1", "-r", "tidy", "--grace", "0.3s")
    wait_until((tidy.directory / "tidying").exists, hopeless=started.over)
    started.signal(signal.SIGTERM)
    assert 3 == started.wait(), started.output
    tidy.balance(1, "toprocess")
