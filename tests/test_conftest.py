import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

LEFT = """
import subprocess

def test_leaves_a_process(tmp_path):
    with subprocess.Popen(["sh", "-c", "sleep 600 & echo $!"], stdout=subprocess.PIPE, text=True) as shell:
        open(PID, "w").write(shell.stdout.readline())
        {close}
"""
FORKED = """
import os, time

def test_leaves_a_fork():
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
        os._exit(0)
    open(PID, "w").write(str(pid))
"""
GOOD = """
import os, subprocess

def test_leaves_nothing(mark):
    with subprocess.Popen(["sh", "-c", "read line"], stdin=subprocess.PIPE) as shell:
        assert [shell.pid] == mark.living()
    assert [] == mark.living()
    assert "SLURM_JOB_ID" not in os.environ
"""
WAITING = """
def test_hopeless(wait_until):
    wait_until(lambda: False, state=lambda: "green", hopeless=lambda: True)
"""
REQUIRING = """
def test_requires(require):
    require("no-such-program")
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Return a function that runs a test file below the conftest of this folder, and returns what pytest said."""
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)

    def run(source: str, **environment: str) -> str:
        (tmp_path / "test_it.py").write_text(f"PID = {str(tmp_path / 'pid')!r}\n{source}")
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "--rootdir=."],
            cwd=tmp_path,
            env={**{name: value for name, value in os.environ.items() if name != "CI"}, **environment},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        ).stdout

    return run


@pytest.mark.parametrize("source", [LEFT.format(close="shell.stdout.close()"), FORKED])
def test_a_process_left_behind_fails_its_test_and_is_killed(
    run: Callable[..., str], tmp_path: Path, source: str, wait_until: Callable[..., None]
) -> None:
    """What a test leaves alive, even forked without exec, is an error of that test, and is dead afterwards."""
    said = run(source)
    pid = (tmp_path / "pid").read_text().strip()
    assert f"left alive: {pid} " in said
    assert "1 error" in said
    wait_until(lambda: not Path(f"/proc/{pid}/exe").exists())


def test_living_processes_are_seen_by_their_mark(run: Callable[..., str]) -> None:
    """The mark finds exactly the test's processes, and the allocation around the tests is hidden from them."""
    assert "1 passed" in run(GOOD, SLURM_JOB_ID="1")


def test_waiting_for_what_cannot_happen_fails_at_once(run: Callable[..., str]) -> None:
    """`wait_until` gives up when its goal is out of reach, and tells the last state."""
    assert "the last state was green" in run(WAITING)


@pytest.mark.parametrize(("environment", "said"), [({}, "1 skipped"), ({"CI": "true"}, "1 failed")])
def test_a_missing_program_is_a_failure_in_ci(run: Callable[..., str], environment: dict[str, str], said: str) -> None:
    """Where a program is missing a test is skipped, except in CI, where it fails."""
    assert said in run(REQUIRING, **environment)
