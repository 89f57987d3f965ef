import shutil
import signal
from collections.abc import Callable

import pytest
from desk import FARM, Desk

from pytaskfarmer.workdir import filesystem
from pytaskfarmer.workdir.filesystem import Mount


def would_run(desk: Desk, *words: str) -> list[str]:
    before = desk.tree()
    ended = desk.look("run", "tasks.txt", "--dry-run", *words)
    assert (0, "", before) == (ended.status, ended.err, desk.tree())
    return ended.lines


def test_a_fresh_list(desk: Desk) -> None:
    """`--dry-run` prints every task with its id, in order, and creates nothing."""
    desk.write("tasks.txt", "# first", "echo one", "", "  echo two")
    assert ["0 echo one", "1   echo two"] == would_run(desk)


def test_a_run_that_has_failures(desk: Desk) -> None:
    """Of a run that is done nothing would run; with `--retry-failed` what has failed."""
    desk.write("tasks.txt", "echo one", "false", "exit 3")
    desk.farm("tasks.txt", status=1)
    assert [] == would_run(desk)
    assert ["1 false", "2 exit 3"] == would_run(desk, "--retry-failed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_ended_halfway(desk: Desk, number: int, wait_until: Callable[..., None]) -> None:
    """After a stop or a kill, what had not finished would run, the interrupted tasks too."""
    desk.write("tasks.txt", "echo zero", "echo >> begun; sleep 100", "echo two")
    farmer = desk.start(FARM, "tasks.txt", "-n", "1")
    wait_until(lambda: desk.lines("begun"))
    desk.end(farmer, number)
    assert ["1 echo >> begun; sleep 100", "2 echo two"] == would_run(desk)


def test_what_others_run_now(desk: Desk, wait_until: Callable[..., None]) -> None:
    """What a living farmer runs would not run again."""
    desk.write("tasks.txt", "echo >> begun; sleep 100", "echo one")
    farmer = desk.start(FARM, "tasks.txt", "-n", "1")
    wait_until(lambda: desk.lines("begun"))
    assert ["1 echo one"] == desk.farm("tasks.txt", "--dry-run").lines
    assert 3 == desk.end(farmer, signal.SIGTERM).status


def test_an_edited_list(desk: Desk) -> None:
    """An edited list is refused as a run would refuse it; with `--update` the corrected task would run."""
    desk.write("tasks.txt", "echo one", "ecko two")
    desk.farm("tasks.txt", status=1)
    desk.write("tasks.txt", "echo one", "echo two")
    assert "line 2: not the list of " in desk.complaint(lambda: desk.look("run", "tasks.txt", "--dry-run"))
    assert ["1 echo two"] == would_run(desk, "--update")
    desk.write("tasks.txt", "echo", "ecko two")
    assert "line 1: not the list of " in desk.complaint(lambda: desk.look("run", "tasks.txt", "--dry-run", "--update"))


def test_appended_lines(desk: Desk) -> None:
    """Appended lines would run."""
    desk.write("tasks.txt", "echo one")
    desk.farm("tasks.txt")
    desk.write("tasks.txt", "echo one", "echo two")
    assert ["1 echo two"] == would_run(desk)


def test_errors_are_found(desk: Desk) -> None:
    """What a run would refuse for its runner or its list, a dry run refuses too."""
    desk.write("tasks.txt", "echo one", "echo \0")
    assert "there is no runner named 'x'" in desk.look("run", "tasks.txt", "--dry-run", "-r", "x").err
    ended = desk.look("run", "tasks.txt", "--dry-run")
    assert 2 == ended.status
    assert "tasks.txt, line 2: this task has a NUL byte" in ended.err


@pytest.mark.parametrize(("words", "shared"), [(["-N2"], True), (["-N2", "--allow-local"], False), (["-N1"], False)])
def test_a_job_that_would_be_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, words: list[str], shared: bool
) -> None:
    """A batch script is printed also where nodes could not share the work directory; that is said below it."""
    monkeypatch.setattr(filesystem, "mount_of", lambda path: Mount("/local", "ext4", frozenset(), "disk"))
    desk.write("tasks.txt", "echo one")
    ended = desk.look("submit", "tasks.txt", "--engine=slurm", "--dry-run", *words)
    assert (0, "#!/bin/bash") == (ended.status, ended.lines[0])
    why = f"{desk.place}/tasks.txt_workdir: lies on /local (ext4), a disk of this node alone, so every node would run "
    assert shared == ended.err.startswith(f"pytaskfarmer: this would be refused: {why}")
    assert shared == bool(ended.err)


def test_without_a_work_directory_left(desk: Desk) -> None:
    """Where the work directory was removed, everything would run."""
    desk.write("tasks.txt", "echo one")
    desk.farm("tasks.txt")
    shutil.rmtree(desk / "tasks.txt_workdir")
    assert ["0 echo one"] == would_run(desk)
