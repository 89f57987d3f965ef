"""What `submit` asks of Slurm: scripts as values, and a batch system that refuses, babbles or hangs."""

import os
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import stand_ins
from stand_ins import Fake

from pytaskfarmer.cli import handing_on
from pytaskfarmer.cli.main import main
from pytaskfarmer.cluster import batch, contract, notes, program
from pytaskfarmer.cluster.contract import BatchError, Plan, Sight, State
from pytaskfarmer.cluster.gridengine import GridEngine
from pytaskfarmer.cluster.slurm import Slurm, parse
from pytaskfarmer.errors import UsageError
from pytaskfarmer.workdir.layout import Layout

PLAN = Plan(argv=("/venv/bin/python", "farm", "it's"), directory="/data", output="/data/w/jobs/{job}.out")


def directives(script: str) -> dict[str, str | None]:
    """Return the options in a script's `#SBATCH` lines, unquoted; None for flags."""
    found: dict[str, str | None] = {}
    for line in script.splitlines():
        if line.startswith("#SBATCH --"):
            key, equals, value = line.removeprefix("#SBATCH --").partition("=")
            found[key] = "".join(shlex.split(value)) if equals else None
    return found


# -- scripts


def test_a_plain_script() -> None:
    """One whole node, one farmer in one step, and the shell gives way to it by `exec`."""
    expected = """#!/bin/bash
#SBATCH --job-name=pytaskfarmer
#SBATCH --chdir=/data
#SBATCH --output=/data/w/jobs/%j.out
#SBATCH --open-mode=append
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive

exec srun --kill-on-bad-exit=0 --wait=0 --no-kill --overlap --cpu-bind=none --export=ALL --mpi=none \
--nodes=1 --ntasks-per-node=1 /venv/bin/python farm 'it'"'"'s'
"""
    assert expected == Slurm().render(PLAN)


def test_every_wish_becomes_an_option() -> None:
    """Each field of a plan is an option of `sbatch`; what the user gives himself comes later, and so counts."""
    plan = replace(
        PLAN, name="a b", nodes=4, farmers_per_node=2, seconds=5400.0, cpus=16, account="m1", qos="debug",
        constraint="cpu&gpu", partition="p", requeue=True, after=("5", "6"), follows=("7",),
        options=(("mem", "4G"), ("contiguous", None), ("time", "10")),
    )  # fmt: skip
    found = directives(Slurm().render(plan))
    expected = {
        "job-name": "a b", "nodes": "4", "ntasks-per-node": "2", "cpus-per-task": "16", "time": "10", "account": "m1",
        "qos": "debug", "constraint": "cpu&gpu", "partition": "p", "requeue": None, "no-kill": None, "mem": "4G",
        "contiguous": None, "dependency": "afterok:5,afterok:6,afterany:7",
    }  # fmt: skip
    assert expected == {key: found[key] for key in expected}
    assert "exclusive" not in found
    assert "01:30:00" == directives(Slurm().render(replace(plan, options=())))["time"]
    assert "--nodes=4 --ntasks-per-node=2 --cpus-per-task=16 /venv" in Slurm().render(plan)


def test_options_of_one_letter() -> None:
    """They are written as `sbatch` takes them, and still come after those that a plan makes."""
    plan = replace(PLAN, partition="slow", options=(("p", "fast 'n' new"), ("H", None), ("mem", "1G")))
    lines = Slurm().render(plan).splitlines()
    assert ["""#SBATCH -p 'fast '"'"'n'"'"' new'""", "#SBATCH -H", "#SBATCH --mem=1G"] == lines[-5:-2]


def test_only_the_last_mark_is_the_job() -> None:
    """A list may be called `{job}.txt`."""
    plan = replace(PLAN, output="/w/{job}.txt_workdir/jobs/{job}.out")
    assert "#SBATCH --output='/w/{job}.txt_workdir/jobs/%j.out'\n" in Slurm().render(plan)
    assert '#$ -o ":/w/{job}.txt_workdir/jobs/$JOB_ID.out"\n' in GridEngine().render(plan)


def test_a_percent_sign_is_no_pattern() -> None:
    """A directory with a `%` in its name stays that directory."""
    assert "/a%%j/%j.out" == directives(Slurm().render(replace(PLAN, output="/a%j/{job}.out")))["output"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"name": "two\nlines"}, "line end"),
        ({"options": (("comment", "a\n#SBATCH --x"),)}, "line end"),
        ({"options": (("p", "a\n#SBATCH --x"),)}, "-p 'a.*line end"),
        ({"after": ("5",), "options": (("dependency", "singleton"),)}, "one of them"),
        ({"after": ("5",), "options": (("d", "singleton"),)}, "one of them"),
        ({"output": "/w/back\\slash/{job}.out"}, "/w/back.slash: Slurm cannot write .* backslash"),
    ],
)
def test_what_no_script_can_say_is_refused(changes: dict[str, object], word: str) -> None:
    """A line end would begin another line of the script; two dependencies would silently be one.

    Behind a backslash in the path of the output Slurm would not replace the job's number, and fail to open it.
    """
    with pytest.raises(UsageError, match=word):
        Slurm().render(replace(PLAN, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.2, "00:00:01"), (90, "00:01:30"), (7200, "02:00:00"), (360_000, "100:00:00")]
)
def test_time_limits_as_clocks(seconds: float, expected: str) -> None:
    """Hours may be more than a day's."""
    assert expected == contract.as_clock(seconds)


# -- states


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("7|7|PENDING|Priority", Sight(State.PENDING, "Priority")),
        ("7|7|PENDING|None", Sight(State.PENDING)),
        (
            "7|7|PENDING|ReqNodeNotAvail, UnavailableNodes:n[1-4]",
            Sight(State.PENDING, "ReqNodeNotAvail, UnavailableNodes:n[1-4]"),
        ),
        ("7|7|PENDING|QOSMaxJobsPerUserLimit", Sight(State.PENDING, "QOSMaxJobsPerUserLimit")),
        ("7|7|PENDING|QOSMaxNodePerJobLimit", Sight(State.HELD, "QOSMaxNodePerJobLimit")),
        ("7|7|PENDING|JobHeldUser", Sight(State.HELD, "JobHeldUser")),
        ("7|7|PENDING|JobHeldAdmin", Sight(State.HELD, "JobHeldAdmin")),
        ("7|7|PENDING|PartitionDown", Sight(State.HELD, "PartitionDown")),
        ("7|7|PENDING|PartitionConfig", Sight(State.HELD, "PartitionConfig")),
        ("7|7|PENDING|launch failed requeued held", Sight(State.HELD, "launch failed requeued held")),
        ("7|7|PENDING|DependencyNeverSatisfied", Sight(State.HELD, "DependencyNeverSatisfied")),
        ("7|7|REQUEUE_HOLD|None", Sight(State.HELD, "REQUEUE_HOLD")),
        ("7|7|CONFIGURING|None", Sight(State.RUNNING)),
        ("7|7|COMPLETING|None", Sight(State.RUNNING, ending=True)),
        ("7_1|7|COMPLETING|None\n7_2|7|RUNNING|None", Sight(State.RUNNING)),
        ("7|7|SUSPENDED|None", Sight(State.RUNNING)),
        ("7|7|OUT_OF_MEMORY|OutOfMemory", Sight(State.ENDED, "OUT_OF_MEMORY, OutOfMemory")),
        ("7|7|COMPLETED|None", Sight(State.ENDED)),
        ("7|7|CANCELLED|None", Sight(State.CANCELLED)),
        ("7_1|7|COMPLETED|None\n7_2|7|RUNNING|None\n7_[3-9]|7|PENDING|Resources", Sight(State.RUNNING)),
        ("7_1|7|COMPLETED|None\n7_[3-9]|7|PENDING|Resources", Sight(State.PENDING, "Resources")),
        ("7_1|7|COMPLETED|None\n7_2|7|CANCELLED|None", Sight(State.CANCELLED)),
        ("8|8|RUNNING|None", Sight(State.ENDED)),
        ("garbage", Sight(State.ENDED)),
        ("", Sight(State.ENDED)),
    ],
)
def test_where_jobs_are(line: str, expected: Sight) -> None:
    """Each word of Slurm's means one of ours; an array is what its most living element is; unlisted means ended.

    What no empty machine would start is held; limits that others use up, and nodes that may come back, are not.
    """
    assert {"7": expected} == parse(line + "\n", ["7"])


# -- the command line


def test_our_own_options_are_not_passed_on() -> None:
    """What is left of the command line is for the farmers, in its order; values go with their options."""
    spellings = {"--nodes": True, "-N": True, "--requeue": True, "--proc": True, "-q": False, "-w": True}
    typed = ["--nodes", "4", "t.txt", "-q", "-N=3", "-w", "--nodes", "--requeue=2", "--proc=auto", "--", "--nodes", "x"]
    kept = ["t.txt", "-q", "-w", "--nodes", "--proc=auto", "--", "--nodes", "x"]
    words = handing_on.split(typed, spellings)
    assert kept == [word for name, each in words if name not in {"--nodes", "-N", "--requeue"} for word in each]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Return `fake(NAME=SCRIPT...)`: see `stand_ins`."""
    return stand_ins.prepare(tmp_path, monkeypatch)


def submit(*words: str) -> int:
    """Run the command."""
    return main(["submit", "tasks.txt", "--engine=slurm", *words])


def test_a_dry_run_touches_nothing(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    """With --dry-run the script is printed, nothing is submitted, and no directory appears."""
    programs = fake(sbatch="touch asked; echo 1")
    assert 0 == submit("--dry-run", "-N2", "--time=2h", "-n", "8", "--sbatch", "mem=4G", "-q", "--allow-local")
    out, err = capfd.readouterr()
    found = directives(out)
    assert ("2", "02:00:00", "4G") == (found["nodes"], found["time"], found["mem"])
    assert out.rstrip().endswith("run tasks.txt --proc=8 -q --allow-local")
    assert "" == err
    assert ["tasks.txt"] == os.listdir()
    assert not (programs / "asked").exists()


@pytest.mark.parametrize("engine", ["slurm", "gridengine"])
def test_a_dry_run_shows_what_would_be_submitted(fake: Fake, capfd: pytest.CaptureFixture[str], engine: str) -> None:
    """The script is that of the first job, also where each farmer is a chain of jobs, and so no element of an array."""
    keep = "test -e script || cat > script; echo 1"
    programs = fake(sbatch=keep, qsub=keep)
    words = ["submit", "tasks.txt", f"--engine={engine}", "--chain=2", "--farmers=2"]
    assert 0 == main([*words, "--dry-run"])
    shown = capfd.readouterr().out
    assert 0 == main(words)
    assert (programs / "script").read_text() == shown


def test_without_slots_a_farmer_uses_every_cpu(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    """Where nothing says how many slots there are to be, they are as many as the CPUs of the job on the node."""
    fake(sbatch="echo 1")
    assert 0 == submit("--dry-run")
    assert "run --proc=auto tasks.txt" in capfd.readouterr().out


def test_jobs_are_noted_as_they_are_submitted(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    """The ids are printed, one a line, and stand in the work directory, each with the one that it follows."""
    counter = (
        'n=$(($(cat n 2>/dev/null || echo 0) + 1)); echo $n > n; cat > script$n; echo "$*" > words; echo "$n;mini"'
    )
    programs = fake(sbatch=counter)
    assert 0 == submit("--farmers=2", "--chain=2", "--after=99")
    out, err = capfd.readouterr()
    assert "1\n2\n3\n4\n" == out
    assert "2 tasks; 4 jobs of 1 node" in err
    known = notes.read(Layout(os.path.abspath("tasks.txt_workdir")))
    assert [(), ("1",), (), ("3",)] == [job.follows for job in known.jobs.values()]
    found = [directives((programs / f"script{n}").read_text())["dependency"] for n in (1, 2, 3, 4)]
    assert ["afterok:99", "afterany:1", "afterok:99", "afterany:3"] == found
    assert (programs / "words").read_text().startswith("--parsable --job-name=tasks.txt --chdir=")


def test_a_refusal_takes_back_what_was_submitted(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    """Half a chain is none: what `sbatch` took before it refused is cancelled."""
    refuse = "test -e n && { echo 'sbatch: error: QOSMaxSubmitJob\n  limit' >&2; exit 1; }; touch n; echo 7"
    programs = fake(sbatch=refuse, scancel='echo "$*" > cancelled')
    assert 2 == submit("--chain=3")
    expected = "pytaskfarmer: error: sbatch refused the job: sbatch: error: QOSMaxSubmitJob limit\n"
    assert ("", expected) == capfd.readouterr()
    assert "7\n" == (programs / "cancelled").read_text()


@pytest.mark.parametrize(("farmers", "chain"), [(2, 1), (1, 2)])
def test_an_interrupt_takes_back_what_was_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, farmers: int, chain: int
) -> None:
    """After Ctrl-C no job is left of which nobody was told."""
    asked: list[str] = []

    def ask(words: Sequence[str], *_: object, **__: object) -> program.Answer:
        asked.append(" ".join(words[:2]))
        if 2 == asked.count("sbatch --parsable"):
            raise KeyboardInterrupt
        return program.Answer(0, "7\n", "")

    monkeypatch.setattr(program, "ask", ask)
    with pytest.raises(KeyboardInterrupt):
        batch.submit(Slurm(), replace(PLAN, farmers=farmers), Layout(str(tmp_path)), chain)
    assert ["sbatch --parsable"] * 2 + ["scancel 7"] == asked


@pytest.mark.parametrize("words", ["Submitted batch job 7", "", "7 8", "-1"])
def test_garbage_is_no_job(fake: Fake, capfd: pytest.CaptureFixture[str], words: str) -> None:
    """An answer that is no job id is an error that says where to look."""
    fake(sbatch=f"echo '{words}'")
    assert 2 == submit()
    assert f"printed {words!r}, which is no job id; `squeue --me`" in capfd.readouterr().err


def test_what_a_site_says_is_passed_on(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    """A notice of the site's on stderr reaches the user; the id is the last line, whatever greeting stands before."""
    fake(sbatch="echo 'sbatch: your quota ends soon' >&2; echo; echo Welcome to Site 3; echo 7")
    assert 0 == submit()
    out, err = capfd.readouterr()
    assert "7\n" == out
    assert err.startswith("sbatch: your quota ends soon\n")


def test_a_program_that_hangs_is_given_up(fake: Fake) -> None:
    """A controller that does not answer costs no more than the patience with it."""
    fake(sbatch="exec sleep 60")
    begin = time.monotonic()
    with pytest.raises(BatchError, match=r"sbatch did not answer within 0 s"):
        program.ask(["sbatch"], patience=0.3)
    assert time.monotonic() - begin < 20


def test_no_batch_system(fake: Fake, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any batch system, the programs that were looked for are named."""
    monkeypatch.setenv("PATH", str(fake()))
    assert 2 == main(["submit", "tasks.txt"])
    assert "none of these programs is on PATH: sbatch (slurm), " in capfd.readouterr().err


def test_a_job_inherits_nothing_of_the_job_around_it(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """From within a job, or a task of a farm, the new one is as from outside; the place of the controller remains."""
    programs = fake(sbatch="env > seen; echo 7")
    monkeypatch.setenv("SLURM_JOB_ID", "3")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    monkeypatch.setenv("SRUN_CPUS_PER_TASK", "2")
    monkeypatch.setenv("PYTASKFARMER_FARMER", "somebody")
    monkeypatch.setenv("PROC_NUMBER", "5")
    assert ("7",) == Slurm().submit("", PLAN)
    seen = dict(line.split("=", 1) for line in (programs / "seen").read_text().splitlines() if "=" in line)
    assert "/nonexistent" == seen["SLURM_CONF"]
    around = {"SLURM_JOB_ID", "SLURM_MEM_PER_NODE", "SRUN_CPUS_PER_TASK", "PYTASKFARMER_FARMER", "PROC_NUMBER"}
    assert set() == seen.keys() & around


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--chain=2", "--requeue=2"], "--chain and --requeue: use one of them"),
        (["--chain=2", "--retry-failed"], "--retry-failed: each job of a chain would do that again"),
        (["--requeue=2", "--update"], "--update: each job of a chain"),
        (["--sbatch", "=x"], "write KEY=VALUE"),
        (["--sbatch", "a b=x"], "write KEY=VALUE"),
        (["--runner", "nowhere"], "there is no runner named 'nowhere'"),
        (["--handler", "nowhere"], "there is no handler named 'nowhere'"),
        (["--proc=0"], "0 slots cannot run anything"),
        (["--nodes=0"], "--nodes"),
        (["--time=0"], "--time 0: a job needs some time"),
        (["--after=5,6"], "--after '5,6': give each job its own --after"),
    ],
)
def test_what_cannot_be_obeyed_is_not_submitted(
    fake: Fake, capfd: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    """Mistakes are found now, and not when the job has waited its time; nothing is submitted or written."""
    programs = fake(sbatch="touch asked; echo 7")
    assert 2 == submit(*words)
    err = capfd.readouterr().err
    assert complaint in err
    assert 1 == err.count("\n")
    assert ["tasks.txt"] == os.listdir()
    assert not (programs / "asked").exists()


@pytest.mark.parametrize(("text", "complaint"), [("", "has no tasks"), ("a\0b\n", "NUL"), (None, "cannot read")])
def test_a_bad_list_is_not_submitted(
    fake: Fake, capfd: pytest.CaptureFixture[str], text: str | None, complaint: str
) -> None:
    """The list is read before anything is submitted."""
    fake(sbatch="echo 7")
    Path("tasks.txt").unlink()
    if text is not None:
        Path("tasks.txt").write_text(text)
    assert 2 == submit()
    assert complaint in capfd.readouterr().err


# -- cancel


def test_cancel_leaves_out_what_has_ended(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    """Only jobs that wait or run are cancelled, the last one first."""
    layout = Layout(os.path.abspath("tasks.txt_workdir"))
    notes.prepare(layout)
    notes.submitted(layout, "slurm", ["5", "6", "7"])
    squeue = "printf '5|5|COMPLETED|None\\n6|6|RUNNING|None\\n7|7|PENDING|Dependency\\n'"
    programs = fake(squeue=squeue, scancel='echo "$*" > cancelled')
    assert 0 == main(["cancel", "tasks.txt"])
    assert "pytaskfarmer: 2 jobs cancelled: 6 7\n" == capfd.readouterr().out
    assert "7 6\n" == (programs / "cancelled").read_text()


def test_filters_of_the_user_hide_no_job(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that narrow what `squeue` lists, or let `scancel` ask back, are not for us."""
    monkeypatch.setenv("SQUEUE_PARTITION", "another")
    monkeypatch.setenv("SCANCEL_INTERACTIVE", "true")
    layout = Layout(os.path.abspath("tasks.txt_workdir"))
    notes.prepare(layout)
    notes.submitted(layout, "slurm", ["5"])
    squeue = "env | grep -q ^SQUEUE_ || echo '5|5|RUNNING|None'"
    programs = fake(squeue=squeue, scancel='env | grep -q ^SCANCEL_ || echo "$*" > cancelled')
    assert ["5"] == batch.cancel(layout)
    assert "5\n" == (programs / "cancelled").read_text()


@pytest.mark.parametrize("squeue", ["exit 1", "echo 'connect failure' >&2; exit 1"])
def test_cancel_does_not_rely_on_an_answer(fake: Fake, capfd: pytest.CaptureFixture[str], squeue: str) -> None:
    """If it is not known which jobs have ended, all of them are cancelled; what `scancel` says is passed on."""
    layout = Layout(os.path.abspath("tasks.txt_workdir"))
    notes.prepare(layout)
    notes.submitted(layout, "slurm", ["5"])
    fake(squeue=squeue, scancel="echo 'scancel: error: Access denied' >&2; exit 1")
    assert {"5": State.UNKNOWN} == Slurm().states(["5"])
    assert 2 == main(["cancel", "tasks.txt"])
    assert "Access denied" in capfd.readouterr().err
    fake(scancel="echo 'scancel: error: Kill job error on job id 5: Invalid job id specified' >&2")
    assert ["5"] == batch.cancel(layout)


def test_cancel_without_jobs(fake: Fake, capfd: pytest.CaptureFixture[str]) -> None:
    """Where nothing was ever run or submitted, the error is that of every command."""
    fake()
    assert 2 == main(["cancel", "tasks.txt"])
    assert "tasks.txt: has not been run" in capfd.readouterr().err
