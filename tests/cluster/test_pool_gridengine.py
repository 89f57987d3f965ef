"""`Pool` whose workers are in jobs of Grid Engine, called by a user without privileges in a virtual environment."""

import json
import os
import pwd
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import gridengine_cluster
import pytest
from farm_driver import Mark
from gridengine_cluster import Cell

pytestmark = pytest.mark.xdist_group("gridengine")

CALLER = """
import json, os, sys, time
from pytaskfarmer import GridEngine, Pool, WorkerDied

def where(number):
    return number, os.environ["JOB_ID"], sys.prefix, os.getuid()

def wait(number):
    open(f"began-{number}", "x").close()
    while not os.path.exists("first" if number < 2 else "second"):
        time.sleep(0.01)
    open(f"done-{number}", "x").close()
    return number

def die(number):
    if number == 2:
        os._exit(9)
    return number

if __name__ == "__main__":
    with Pool(cluster=GridEngine(workers=2, linger=0.3), on_error="return") as pool:
        values = pool.map(globals()[sys.argv[1]], range(int(sys.argv[2])), chunksize=1)
    print(json.dumps([str(value) if isinstance(value, WorkerDied) else value for value in values]))
"""


class Caller:
    """A script with a pool, in a directory and a virtual environment of the user's."""

    def __init__(self, cell: Cell) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=cell.place))
        self.prefix = self.directory / "venv"
        self._cell = cell
        self._started: list[subprocess.Popen[str]] = []
        (self.directory / "caller.py").write_text(CALLER)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.prefix], check=True)
        (packages,) = self.prefix.glob("lib/python*/site-packages")
        ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (packages / "ours.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in ours))
        if os.geteuid() == 0:
            user = pwd.getpwnam(cell.user)
            os.chown(self.directory, user.pw_uid, user.pw_gid)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start the script."""
        environ = {**os.environ, "PATH": f"{self._cell.clients}:/usr/bin:/bin", "HOME": str(self.directory)}
        self._started.append(
            subprocess.Popen(
                self._cell.as_user(self.directory, str(self.prefix / "bin/python"), "caller.py", *words),
                env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        return self._started[-1]

    def answer(self, started: "subprocess.Popen[str]") -> object:
        """Return what it prints at its end."""
        out, err = started.communicate(timeout=50)
        assert 0 == started.returncode, err
        return json.loads(out)

    def has(self, *names: str) -> bool:
        """Whether there are such files."""
        return all((self.directory / name).exists() for name in names)

    def end(self) -> None:
        """Kill what still runs."""
        for started in self._started:
            started.kill()
            started.communicate()


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with gridengine_cluster.running() as cell:
        yield cell


@pytest.fixture
def caller(require: Callable[[str], str], request: pytest.FixtureRequest, mark: Mark) -> Iterator[Caller]:
    for program in gridengine_cluster.PROGRAMS:
        require(program)
    cell: Cell = request.getfixturevalue("cell")
    caller = Caller(cell)
    yield caller
    caller.end()
    cell.end_jobs()


def test_calls_run_in_jobs_of_the_user(caller: Caller, cell: Cell, wait_until: Callable[..., None]) -> None:
    """Values come in order, from one job, whose Python is that of the caller's virtual environment; nothing is left."""
    values = caller.answer(caller.start("where", "12"))
    assert isinstance(values, list)
    numbers, jobs, prefixes, users = zip(*values, strict=True)
    assert tuple(range(12)) == numbers
    assert 1 == len(set(jobs))
    assert {str(caller.prefix)} == set(prefixes)
    assert {pwd.getpwnam(cell.user).pw_uid} == set(users)
    wait_until(lambda: not cell.jobs(), state=cell.jobs)
    assert ["caller.py", "venv"] == sorted(path.name for path in caller.directory.iterdir())


def test_a_death_costs_one_call(caller: Caller) -> None:
    """A call whose worker dies is `WorkerDied`; the others have their values."""
    values = caller.answer(caller.start("die", "5"))
    assert isinstance(values, list)
    assert [0, 1, 3, 4] == [value for value in values if not isinstance(value, str)]
    assert "exit status 9" in values[2]


def test_qmaster_gone_and_back(caller: Caller, cell: Cell, mark: Mark, wait_until: Callable[..., None]) -> None:
    """While no qmaster answers, values come as before; when it is back, the map goes on to its end."""
    started = caller.start("wait", "4")

    def wait_for(*names: str) -> None:
        wait_until(lambda: caller.has(*names), hopeless=lambda: started.poll() is not None)

    wait_for("began-0", "began-1")
    cell.kill_master()
    (caller.directory / "first").touch()
    wait_for("done-0", "done-1", "began-2", "began-3")
    cell.start_master()
    (caller.directory / "second").touch()
    assert [0, 1, 2, 3] == caller.answer(started)
    wait_until(lambda: not mark.living())
    cell.restart_execution()
    wait_until(lambda: not cell.jobs(), state=cell.jobs)
