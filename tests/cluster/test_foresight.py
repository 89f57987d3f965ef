"""What `submit` finds out before a job waits: what its farmers would refuse, or find done."""

import os
from pathlib import Path

import pytest
import stand_ins
from stand_ins import Fake

from pytaskfarmer.cli.main import main
from pytaskfarmer.workdir import filesystem
from pytaskfarmer.workdir.filesystem import Mount
from pytaskfarmer.workdir.layout import Layout
from pytaskfarmer.workdir.opening import refuse_local_disk


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Return `fake(NAME=SCRIPT...)`: see `stand_ins`."""
    return stand_ins.prepare(tmp_path, monkeypatch)


@pytest.fixture
def programs(fake: Fake) -> Path:
    """Return the directory of an `sbatch` that takes everything, and leaves `asked` there."""
    return fake(sbatch="touch asked; echo 7")


def submit(*words: str) -> int:
    """Run the command; all nodes share the local disk, unless `words` speak of nodes."""
    local = [] if "--nodes=2" in words else ["--allow-local"]
    return main(["submit", "tasks.txt", "--engine=slurm", *local, *words])


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "tmpfs", "overlay"])
def test_a_disk_of_one_node_is_not_for_several(
    programs: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fstype: str
) -> None:
    """With several nodes, a work directory that only this one sees is refused, with the remedy."""
    monkeypatch.setattr(filesystem, "mount_of", lambda path: Mount("/local", fstype, frozenset(), "disk"))
    assert 2 == submit("--nodes=2")
    expected = (
        f"pytaskfarmer: error: {os.getcwd()}/tasks.txt_workdir: lies on /local ({fstype}), a disk of this node alone, "
        "so every node would run the whole list. Use a --workdir on a shared file system, or --allow-local.\n"
    )
    assert ("", expected) == capfd.readouterr()
    assert ["tasks.txt"] == os.listdir()
    assert not (programs / "asked").exists()
    assert 0 == submit("--nodes=2", "--allow-local")
    assert (programs / "asked").exists()


def test_a_shared_disk_is_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that other nodes see is not refused."""
    for fstype in ("lustre", "nfs4"):
        monkeypatch.setattr(filesystem, "mount_of", lambda path, t=fstype: Mount("/x", t, frozenset(), ""))
        refuse_local_disk(Layout("/somewhere/w"))


def test_to_wait_for_what_another_submit_printed(programs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`--after "$id"` waits for that job, for nothing where nothing was submitted; several ids may be of a chain."""
    for after, lines in (("", []), ("7", ["#SBATCH --dependency=afterok:7"])):
        assert 0 == submit("--dry-run", "--after", after)
        assert lines == [each for each in capfd.readouterr().out.splitlines() if "dependency" in each]
    assert 2 == submit("--dry-run", "--after", "7\n8")
    assert "of a chain, name the last job only" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("change", "words", "complaint"),
    [
        ("echo other\ntrue\n", (), "task 0 was 'true' and is now 'echo other'. It has finished"),
        ("true\n", (), "task 1 was 'false' and is missing now"),
        ("true\necho mended\n", (), "take the change over with --update"),
        ("echo other\nfalse\n", ("--update",), "It has finished, so it cannot change"),
        ("true\nfalse\n", ("--lock=lease",), "uses flock"),
        ("true\nfalse\n", ("-t", "template", "-T", "command=echo {line}"), "task 0 was 'true'"),
    ],
)
def test_a_wrong_list_is_refused(
    programs: Path, capfd: pytest.CaptureFixture[str], change: str, words: tuple[str, ...], complaint: str
) -> None:
    """A list, handler or lock that does not go with the work directory is refused now, as farmers would."""
    Path("tasks.txt").write_text("true\nfalse\n")
    assert 1 == stand_ins.farm()
    Path("tasks.txt").write_text(change)
    assert 2 == submit(*words)
    out, err = capfd.readouterr()
    assert ("", 1) == (out, err.count("\n"))
    assert complaint in err
    assert not (programs / "asked").exists()


def test_a_list_that_is_done_is_not_submitted(programs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where all tasks have finished it says so, and the exit status is that of the list."""
    assert 0 == stand_ins.farm()
    assert 0 == submit()
    said = "pytaskfarmer: tasks.txt: nothing was submitted, since all 2 tasks have finished\n"
    assert ("", said) == capfd.readouterr()
    assert not (programs / "asked").exists()


def test_a_list_with_failures_is_not_submitted_again(programs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Failed tasks do not run again by themselves, which is said, and the status is that of the list."""
    Path("tasks.txt").write_text("true\nfalse\n")
    assert 1 == stand_ins.farm()
    assert 1 == submit()
    out, err = capfd.readouterr()
    assert ("", 1) == (out, err.count("\n"))
    assert "nothing is left to do; 1 task has failed, and --retry-failed runs" in err
    assert not (programs / "asked").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("true\nfalse\n", ("--retry-failed",)),
        ("true\nfalse\ntrue\n", ()),
        ("true\necho mended\n", ("--update",)),
    ],
)
def test_what_is_left_is_submitted(
    programs: Path, capfd: pytest.CaptureFixture[str], change: str, words: tuple[str, ...]
) -> None:
    """Failed tasks that are wished for, appended lines and mended ones are work."""
    Path("tasks.txt").write_text("true\nfalse\n")
    assert 1 == stand_ins.farm()
    Path("tasks.txt").write_text(change)
    assert 0 == submit(*words)
    assert "7\n" == capfd.readouterr().out


def test_what_is_left_of_a_stopped_run_is_submitted(programs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A list of which a run has done nothing yet goes into a job."""
    assert 3 == stand_ins.farm("--timeout=0s")
    assert 0 == submit()
    assert "7\n" == capfd.readouterr().out


def test_tasks_that_no_node_can_hold(programs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """More CPUs a task than the job has on a node are refused."""
    assert 2 == submit("--cpus-per-node=4", "--cpus-per-task=3", "--proc=2")
    assert "--cpus-per-node 4: the tasks that are to run at a time on a node need 6 CPUs" in capfd.readouterr().err
    assert 0 == submit("--cpus-per-node=4", "--cpus-per-task=2", "--proc=2")


@pytest.mark.parametrize(("text", "warned"), [("30", True), ("59s", True), ("60", False), ("30m", False)])
def test_a_time_that_was_meant_in_minutes(
    programs: Path, capfd: pytest.CaptureFixture[str], text: str, warned: bool
) -> None:
    """Less than a minute is submitted with a warning: for `sbatch`, a number is minutes."""
    assert 0 == submit(f"--time={text}")
    warning = f"pytaskfarmer: --time: that is {text.rstrip('s')} s; minutes are written with an m, as 30m\n"
    assert warned == (warning in capfd.readouterr().err)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), ""),
        (("--farmers=3",), "pytaskfarmer: 2 tasks; this would be 3 jobs of 1 node\n"),
        (("--chain=3", "--time=2h"), "pytaskfarmer: 2 tasks; this would be 3 jobs of 1 node, 2 h each\n"),
        (("--chain=3", "--farmers=2"), "pytaskfarmer: 2 tasks; this would be 6 jobs of 1 node, 2 chains of 3\n"),
    ],
)
def test_a_dry_run_counts_the_jobs(
    programs: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    """One script may become several jobs: how many is told beside it."""
    assert 0 == submit("--dry-run", *words)
    out, err = capfd.readouterr()
    assert (1, said) == (out.count("#!/bin/bash"), err)
    assert not (programs / "asked").exists()


def test_what_to_wait_for_is_told(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    """Of chains, the last jobs are named, since only these always tell how the list has ended."""
    fake(sbatch="n=$(($(cat n 2>/dev/null || echo 0) + 1)); echo $n | tee n")
    assert 0 == submit("--chain=3", "--farmers=2")
    assert "waits for the last jobs: --after 3 --after 6\n" in capfd.readouterr().err
