"""A farmer whose claims are gone, since others took it for dead: here, they lie there under a dead farmer's name."""

import os

import pytest
from farm_driver import Farm, alive

SERVANT = """
import os, subprocess
from pytaskfarmer.worker import command

class Lines:
    concurrency, max_tasks = 1, None
    def worker(self, context):
        return command("warm:Servant", {})
    def request(self, task, context):
        return task.text.encode()
    def close(self):
        with open("closed", "a") as file:
            file.write("x")

class Servant:
    def perform(self, request, task):
        if status := subprocess.call(["sh", "-c", request.decode()]):
            raise RuntimeError(status)
"""
FARMER = """$(cut -d' ' -f4 /proc/$PPID/stat)"""


@pytest.mark.parametrize("warm", [False, True], ids=["processes", "workers"])
def test_stops_what_it_runs_and_begins_anew(farm: Farm, monkeypatch: pytest.MonkeyPatch, warm: bool) -> None:
    """It kills its tasks, registers under a new name and goes on; each task is recorded once, no descriptor is left."""
    (farm.directory / "warm.py").write_text(SERVANT)
    (farm.directory / "warm.ini").write_text("[warm]\nRunner = warm.Lines\n")
    monkeypatch.setenv("PYTHONPATH", str(farm.directory), prepend=os.pathsep)
    claim = farm.layout.claim("${PYTASKFARMER_FARMER}")
    parent = FARMER if warm else "$PPID"
    watched = f"ls -l /proc/{parent}/fd | grep -c pidfd"
    farm.write(
        [
            "if mkdir first; then echo $$ > pid; exec sleep 100; fi",
            f"until test -s pid; do sleep 0.01; done; if mkdir second; then rm {claim}.lock; mv {claim} {claim}9; fi",
            *["true"] * 4,
            f"n=0; until test $({watched}) -le 2; do n=$((n+1)); test $n -lt 500; sleep 0.01; done",
        ]
    )
    assert 0 == farm.run("-n", "2", *(["-r", "warm"] if warm else [])), farm.started[-1].output
    assert "Starting again." in farm.started[-1].output
    assert not alive(int((farm.directory / "pid").read_text()))
    farm.balance(7, "finished")
    if warm:
        assert "x" == (farm.directory / "closed").read_text(), "the runner is closed once, at the very end"


def test_leaves_no_ghost(farm: Farm) -> None:
    """What an evicted farmer held is free for others, and for itself, although its guard keeps a copy of its lock."""
    claim = farm.layout.claim("${PYTASKFARMER_FARMER}")
    farm.write([f"if mkdir first; then cp {claim} copy; mv copy {claim}; fi", *["true"] * 3])
    assert 0 == farm.run("-n", "1", "--wait"), farm.started[-1].output
    assert "Starting again." in farm.started[-1].output
    farm.balance(4, "finished")


def test_does_not_make_failures_forgotten(farm: Farm) -> None:
    """A farmer with `--max-fails 2` that begins anew after a failure starts no more after the next one."""
    claim = farm.layout.claim("${PYTASKFARMER_FARMER}")
    evict = f"if mkdir first; then rm {claim}.lock; mv {claim} {claim}9; fi"
    farm.write(["false", evict, "false", "true", "true"])
    assert 3 == farm.run("-n", "1", "--max-fails", "2")
    assert "Starting again." in farm.started[-1].output
    assert "stopped by --max-fails 2" in farm.started[-1].output
    farm.balance(5)
    assert ([0, 2], [3, 4]) == (sorted(farm.ids("failed")), sorted(farm.ids("toprocess")))


def test_does_not_retry_what_failed_since_it_began(farm: Farm) -> None:
    """`--retry-failed` is about failures of earlier runs: a farmer that begins anew does not repeat its own."""
    claim = farm.layout.claim("${PYTASKFARMER_FARMER}")
    fails = "echo >> tried; false"
    farm.write([fails])
    assert 1 == farm.run()
    farm.write([fails, f"if mkdir first; then rm {claim}.lock; mv {claim} {claim}9; fi"])
    assert 1 == farm.run("-n", "1", "--retry-failed")
    assert "Starting again." in farm.started[-1].output
    assert 2 == len((farm.directory / "tried").read_text())
    farm.balance(2, "finished", "failed")
