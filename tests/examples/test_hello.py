"""The first five minutes: the demo, run as its README says, shows what the README tells."""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hello"
COMMAND = "sh examples/hello/demo.sh"

pytestmark = pytest.mark.xdist_group("hello")  # its demo runs once


def typed(directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Type the command in a directory that has a copy of the example."""
    shutil.copytree(EXAMPLE, directory / "examples" / "hello")
    (directory / "tmp").mkdir()
    path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "TMPDIR": str(directory / "tmp"), **environment}
    return subprocess.run(
        COMMAND.split(), cwd=directory, env=env, capture_output=True, text=True, timeout=50, check=False
    )


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the command prints."""
    done = typed(tmp_path_factory.mktemp("hello"))
    assert (0, "") == (done.returncode, done.stderr), done.stdout
    return done.stdout


def after(said: str, command: str) -> list[str]:
    """Return what came back on each time that a command was typed."""
    return [part.partition("\n\n")[0] for part in said.split(f"$ {command}\n")[1:]]


def test_the_readme_names_the_command() -> None:
    """What is run here is what the README says."""
    assert f"\n    {COMMAND}\n" in (EXAMPLE / "README.md").read_text()


def test_every_command_of_the_readme_is_typed(said: str) -> None:
    """The table of the README lists the commands in the order in which they are typed."""
    rows = re.findall(r"^\| `([^`]*)`", (EXAMPLE / "README.md").read_text(), re.MULTILINE)
    assert 9 == len(rows)
    place = 0
    for row in rows:
        place = said.index(f"$ {row.replace(chr(92), '').removesuffix(' ...')}", place) + 1


def test_the_kill_comes_in_the_midst(said: str) -> None:
    """Before it two tasks run, after it they are lost, and the next run takes up what is left."""
    running, lost, failed = after(said, "pytaskfarmer status tasks.txt")
    assert "\n  5 finished, 0 failed, 2 running, " in running
    assert re.search(r"\n  5 finished, 0 failed, 0 running, .* [2-7] lost\n", lost)
    assert "dead" in lost
    assert "\n  11 finished, 1 failed, 0 running, 0 held, 0 waiting\nfailed:\n  8  exit 2 " in failed
    resumed = after(said, "pytaskfarmer.py --proc 2 tasks.txt")[0]
    assert "12 tasks; 5 done before; 2 slots" in resumed
    assert resumed.endswith("(exit status 1)")


def test_the_failed_task_is_found_and_retried(said: str) -> None:
    """Its log names the file that is missing; with it, that task alone runs once more."""
    assert "numbers/08" in after(said, "pytaskfarmer logs tasks.txt 8")[0]
    (retried,) = after(said, "pytaskfarmer.py --proc 2 tasks.txt --retry-failed")
    assert "12 of 12 finished, 0 failed" in retried
    assert "exit status" not in retried


def test_the_answer(said: str) -> None:
    """Every file was added once, and the books say so."""
    assert ["720600"] == after(said, "cat sums/* | awk '{ sum += $1 } END { print sum }'")
    (counted,) = after(said, "cd tasks.txt_workdir && wc -l toprocess failed finished; cd ..")
    assert ["0", "toprocess", "0", "failed", "12", "finished"] == counted.split()[:6]


def test_the_timeline_has_every_attempt(said: str) -> None:
    """Twelve tasks and one attempt that failed; what the killed farmer ran has no bar."""
    _, *bars = said.partition("$ python3 bars.py")[2].partition("\n\n")[0].splitlines()[1:]
    found = sorted((int(bar.split()[-2]), bar.split()[-1]) for bar in bars)
    assert sorted([*((task, "success") for task in range(12)), (8, "nonzero_exit")]) == found


def test_it_stays_in_its_directory(tmp_path: Path) -> None:
    """All files are in the directory that the last line names, and nothing is written beside the demo."""
    done = typed(tmp_path)
    (made,) = (tmp_path / "tmp").iterdir()
    assert f"All this is in {made}: look around, then remove it." == done.stdout.splitlines()[-1]
    here = sorted(path.name for path in (tmp_path / "examples" / "hello").iterdir())
    assert sorted(path.name for path in EXAMPLE.iterdir()) == here


def test_a_demo_that_fails_names_its_directory(tmp_path: Path) -> None:
    """What is left of a demo that ends early can be found, and removed."""
    stand_in = tmp_path / "bin" / "pytaskfarmer.py"
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\necho out of order\nexit 5\n")
    stand_in.chmod(0o755)
    done = typed(tmp_path, PATH=f"{stand_in.parent}:/usr/bin:/bin")
    (made,) = (tmp_path / "tmp").iterdir()
    complaint = f"demo.sh: the farm ended early: out of order; see {made}\n"
    assert (1, complaint) == (done.returncode, done.stderr)


def test_without_the_program(tmp_path: Path) -> None:
    """Where it is not installed, one line says so."""
    done = typed(tmp_path, PATH="/usr/bin:/bin")
    complaint = "demo.sh: pytaskfarmer.py is not on PATH; activate the environment it is installed in\n"
    assert (2, "", complaint) == (done.returncode, done.stdout, done.stderr)
