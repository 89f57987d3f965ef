"""A directory that PyTaskFarmer 0.1.0 left: the demo resumes it, run as its README says."""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "migrate"
LEFT = EXAMPLE / "left"
COMMAND = "sh examples/migrate/demo.sh"
RESUME = "pytaskfarmer.py --proc 2 --workdir wd_sim --runner mcd-runner --tasklist plain sim.txt"

pytestmark = pytest.mark.xdist_group("migrate")  # its demo runs once


def ids(book: str, workdir: Path = LEFT / "wd_sim") -> list[int]:
    """Return the ids in one of the books, sorted."""
    return sorted(int(line.split()[0]) for line in (workdir / book).read_text().splitlines())


def journal(word: str, directory: Path = LEFT) -> list[int]:
    """Return the tasks that have begun or ended, each time that they did, sorted."""
    return sorted(map(int, re.findall(rf"^{word} out/(\d+).txt$", (directory / "journal").read_text(), re.MULTILINE)))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the command prints in a directory that has a copy of the example, and the directory that it made."""
    here = tmp_path_factory.mktemp("migrate")
    shutil.copytree(EXAMPLE, here / "examples" / "migrate")
    (here / "tmp").mkdir()
    path = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "TMPDIR": str(here / "tmp")}
    # The mask of many desktops: files of a clone can be written to by a group.
    ended = subprocess.run(
        COMMAND.split(), cwd=here, env=env, capture_output=True, text=True, timeout=50, check=False, umask=0o002
    )
    assert (0, "") == (ended.returncode, ended.stderr), ended.stdout
    (made,) = (here / "tmp").iterdir()
    return ended.stdout, made


@pytest.mark.parametrize("options", ["--module=cvmfs --module=gpu", "-m cvmfs -m gpu", "-m cvmfs --module=gpu"])
def test_the_stand_in_refuses_what_shifter_would_lose(options: str) -> None:
    """Of two `--module` shifter would load one; the stand-in complains, and runs with one."""
    stand_in = (LEFT / "bin" / "shifter", "--image=image")
    done = subprocess.run(
        [*stand_in, *options.split(), "--", "echo", "ran"], capture_output=True, text=True, check=False
    )
    assert (2, "") == (done.returncode, done.stdout)
    assert done.stderr.endswith(": only the last would count\n")
    done = subprocess.run([*stand_in, "-m", "cvmfs", "--", "echo", "ran"], capture_output=True, text=True, check=False)
    assert (0, "ran\n") == (done.returncode, done.stdout)


def after(said: str, command: str) -> str:
    """Return what came back on a command."""
    return said.partition(f"$ {command}\n")[2].partition("\n\n")[0]


def test_the_readme_names_the_command() -> None:
    """What is run here is what the README says, and the command of 0.1.0 is in it too."""
    text = (EXAMPLE / "README.md").read_text()
    assert f"\n    {COMMAND}\n" in text
    assert f"\n    {RESUME}\n" in text


def test_what_was_left_is_of_0_1_0() -> None:
    """It has the files of 0.1.0 and no others; what ran when it was killed is in none of them."""
    assert ["failed", "finished", "lock", "logs", "timeline.json", "toprocess"] == sorted(os.listdir(LEFT / "wd_sim"))
    assert ([0, 1, 2, 4], [3], [7, 8, 9, 10, 11]) == (ids("finished"), ids("failed"), ids("toprocess"))
    assert ([0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 4]) == (journal("begun"), journal("ended"))


def test_the_same_command_resumes(done: tuple[str, Path]) -> None:
    """The lost tasks run, the failed one stays failed until it is asked for, and the exit status says so."""
    said, _ = done
    resumed = after(said, RESUME)
    assert "12 tasks; 5 done before, 1 of them failed;" in resumed
    assert "11 of 12 finished, 1 failed;" in resumed
    assert resumed.endswith("(exit status 1)")
    assert "12 of 12 finished, 0 failed;" in after(said, RESUME.replace(" sim.txt", " --retry-failed sim.txt"))


def test_nothing_runs_twice(done: tuple[str, Path]) -> None:
    """What had finished does not begin again; each task ends once, and is recorded once."""
    _, made = done
    assert sorted([*range(12), 3, 5, 6]) == journal("begun", made)
    assert list(range(12)) == journal("ended", made)
    assert (list(range(12)), [], []) == tuple(
        ids(book, made / "wd_sim") for book in ("finished", "failed", "toprocess")
    )


def test_the_answer(done: tuple[str, Path]) -> None:
    """All events are there, with the energy that the inputs say."""
    said, made = done
    inputs = [*LEFT.glob("in/*.hepmc"), LEFT / "in/03.hepmc.part"]
    energies = [int(line.split()[2]) // 2 for path in inputs for line in path.read_text().splitlines()]
    assert f"{len(energies)} {sum(energies)}" == after(
        said, "cat out/*.txt | awk '{ sum += $3 } END { print NR, sum }'"
    )
    assert 60 == len(energies)
    assert [] == list(made.glob("out/*.part"))


def test_the_old_log_can_be_read(done: tuple[str, Path]) -> None:
    """`logs` prints what a task had printed under 0.1.0."""
    assert after(done[0], "pytaskfarmer logs wd_sim 3") == (LEFT / "wd_sim/logs/log_3").read_text().strip()
