"""`pytaskfarmer status` and the jobs of a work directory: those that wait, those that never will, and no answer."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import stand_ins
from stand_ins import Fake

from pytaskfarmer.cli import status
from pytaskfarmer.cli.main import main
from pytaskfarmer.cluster import notes
from pytaskfarmer.workdir.layout import Layout


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Return `fake(NAME=SCRIPT...)`: see `stand_ins`."""
    return stand_ins.prepare(tmp_path, monkeypatch)


def noted(*jobs: str, engine: str = "slurm") -> None:
    """Note that these jobs were submitted for the list."""
    layout = Layout(os.path.abspath("tasks.txt_workdir"))
    notes.prepare(layout)
    notes.submitted(layout, engine, jobs)


def test_before_the_first_farmer(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    """After `submit`, until a farmer begins, it says which job waits and why, and where it will print."""
    fake(sbatch="echo 7", squeue="echo '7|7|PENDING|Priority'")
    assert 0 == main(["submit", "tasks.txt"])
    capfd.readouterr()
    assert 0 == main(["status", "tasks.txt"])
    expected = "tasks.txt_workdir: no farmer has begun yet\njobs:\n  7  waits: Priority  tasks.txt_workdir/jobs/7.out\n"
    assert (expected, "") == capfd.readouterr()


@pytest.mark.parametrize("words", [["logs", "tasks.txt", "1"], ["retry", "tasks.txt"], ["results", "tasks.txt"]])
def test_other_commands_before_the_first_farmer(
    fake: Fake, capfd: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """What needs a run says that there was none yet, and who knows more."""
    fake()
    noted("7")
    assert 2 == main(words)
    expected = "tasks.txt: no farmer has begun yet; `pytaskfarmer status` tells where its jobs are.\n"
    assert capfd.readouterr().err.endswith(expected)


def test_jobs_of_every_kind(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    """Those that may still do something come first, then what has ended, the latest first; each with its output."""
    lines = ["5|5|FAILED|NonZeroExitCode", "6|6|RUNNING|None", "7|7|PENDING|JobHeldAdmin", "8|8|CANCELLED|None"]
    fake(squeue="; ".join(f"echo '{line}'" for line in lines))
    assert 0 == stand_ins.farm()
    noted("4", "5", "6", "7", "8")
    assert 0 == main(["status", "tasks.txt"])
    out = capfd.readouterr().out
    assert out.startswith("tasks.txt_workdir: 2 tasks\n  2 finished, 0 failed")
    assert [
        "jobs:",
        "  6  runs  tasks.txt_workdir/jobs/6.out",
        "  7  does not start by itself: JobHeldAdmin  tasks.txt_workdir/jobs/7.out",
        "  8  was cancelled  tasks.txt_workdir/jobs/8.out",
        "  5  has ended: FAILED, NonZeroExitCode  tasks.txt_workdir/jobs/5.out",
        "  4  has ended  tasks.txt_workdir/jobs/4.out",
    ] == out.splitlines()[-6:]


def test_a_job_that_is_ending_does_not_run(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    """Right after `cancel`, a job that the batch system is about to end is called that."""
    entry = "<job_list><JB_job_number>8</JB_job_number><state>dr</state></job_list>"
    fake(squeue="echo '7|7|COMPLETING|None'", qstat=f"echo '<job_info>{entry}</job_info>'")
    noted("7")
    noted("8", engine="gridengine")
    assert 0 == main(["status", "tasks.txt"])
    place = "tasks.txt_workdir/jobs"
    out = capfd.readouterr().out.splitlines()
    assert [f"  7  is ending  {place}/7.out", f"  8  is ending  {place}/8.out"] == out[-2:]


def test_as_json(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    """`--json` has the jobs in order of submission, with fields for programs."""
    fake(squeue="echo '7|7|PENDING|PartitionDown'")
    noted("6", "7")
    assert 0 == main(["status", "tasks.txt", "--json"])
    jobs = json.loads(capfd.readouterr().out)["jobs"]
    place = os.path.abspath("tasks.txt_workdir/jobs")
    assert [
        {"id": "6", "engine": "slurm", "state": "ended", "reason": "", "output": f"{place}/6.out"},
        {"id": "7", "engine": "slurm", "state": "held", "reason": "PartitionDown", "output": f"{place}/7.out"},
    ] == [{key: job[key] for key in job if key != "words"} for job in jobs]


@pytest.mark.parametrize("squeue", ["exec sleep 60", "echo 'Unable to contact slurm controller' >&2; exit 1"])
def test_no_answer_is_said_in_a_line(
    fake: Fake, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, squeue: str
) -> None:
    """A batch system that hangs or fails costs a moment and a line; the rest of the status is there."""
    monkeypatch.setattr(status, "_PATIENCE", 0.2)
    fake(squeue=squeue)
    assert 0 == stand_ins.farm()
    noted("7")
    begin = time.monotonic()
    assert 0 == main(["status", "tasks.txt"])
    assert time.monotonic() - begin < 20
    out = capfd.readouterr().out
    assert "2 finished" in out
    assert out.endswith(
        "jobs:\n  7  is not known  tasks.txt_workdir/jobs/7.out\n"
        "  slurm does not answer, so where its jobs are is not known\n"
    )


def test_without_jobs_nothing_is_asked(fake: Fake) -> None:
    """Where no job is noted, the batch system's modules are not even imported, nor is it asked."""
    programs = fake(squeue="touch asked", qstat="touch asked")
    assert 0 == stand_ins.farm()
    code = (
        "import sys; from pytaskfarmer.cli.main import main; assert main(['status', 'tasks.txt']) == 0; "
        "assert not [name for name in sys.modules if name.startswith('pytaskfarmer.cluster.')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    assert not (programs / "asked").exists()


def test_jobs_of_a_batch_system_that_is_not_known(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    """A note of another release of ours, perhaps, hides nothing of the rest."""
    fake(squeue="echo '7|7|PENDING|Priority'")
    noted("7")
    noted("8", engine="pbs")
    assert 0 == main(["status", "tasks.txt"])
    assert "  7  waits: Priority" in capfd.readouterr().out
