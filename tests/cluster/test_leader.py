"""What leads a job: it starts the farmers, passes signals on, and says how the list stands."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from farm_driver import Farm

from pytaskfarmer.allocation import Allocation
from pytaskfarmer.cluster import notes
from pytaskfarmer.cluster.contract import PATIENCE, BatchError, Plan, Sight, State
from pytaskfarmer.cluster.leader import Leader, Standing, standing
from pytaskfarmer.workdir.layout import Layout

RUN = (
    "import sys; from pytaskfarmer.cluster.leader import run; "
    "code, told = run(sys.argv[1:]); sys.exit(code + 50 * told)"
)


class Scripted:
    """A batch system in which each job is where it is said to be; notes what it is asked for."""

    name = "scripted"

    def __init__(self, states: Mapping[str, State] | None = None, requeue: int | BatchError | None = None) -> None:
        self._states = states or {}
        self._requeue = requeue
        self.asked: list[str] = []

    def allocation(self, environ: Mapping[str, str]) -> Allocation:
        """Not asked."""
        raise NotImplementedError

    def end_time(self, allocation: Allocation) -> float | None:
        """Not asked."""
        raise NotImplementedError

    def render(self, plan: Plan) -> str:
        """Not asked."""
        raise NotImplementedError

    def submit(self, script: str, plan: Plan) -> tuple[str, ...]:
        """Not asked."""
        raise NotImplementedError

    def states(self, jobs: Sequence[str], patience: float = 60.0) -> dict[str, State]:
        """As they were said to be, or ended."""
        return {job: self._states.get(job, State.ENDED) for job in jobs}

    def look(self, jobs: Sequence[str], patience: float = PATIENCE) -> dict[str, Sight]:
        """Not asked."""
        raise NotImplementedError

    def shorten(self, job: str) -> None:
        """Note it."""
        self.asked.append(f"shorten {job}")

    def cancel(self, jobs: Sequence[str]) -> None:
        """Note it."""
        self.asked += [f"cancel {job}" for job in jobs]

    def requeue(self, job: str) -> int | None:
        """Note it, and answer as was said."""
        self.asked.append(f"requeue {job}")
        if isinstance(self._requeue, BatchError):
            raise self._requeue
        return self._requeue


@pytest.mark.parametrize(
    ("now", "status", "expected"),
    [
        (Standing(5, 5, 0), 137, 0),
        (Standing(5, 5, 0), 3, 0),
        (Standing(5, 4, 1), 0, 1),
        (Standing(5, 3, 1, noted=1), 137, 3),
        (Standing(5, 3, 0), 0, 0),
        (Standing(5, 3, 1), 1, 1),
        (Standing(5, 3, 0), 3, 3),
        (Standing(5, 3, 0), 143, 3),
        (Standing(5, 3, 0), 2, 2),
        (Standing(None, 0, 0), 2, 2),
        (Standing(None, 0, 0), 1, 1),
    ],
)
def test_the_books_have_the_last_word(now: Standing, status: int, expected: int) -> None:
    """A job has succeeded if the list is done, whatever became of single farmers; work that is left is 3."""
    assert expected == now.judge(status)


@pytest.fixture
def begun(farm: Farm) -> Farm:
    """Books of three tasks of which the first has finished, the second has failed, and the third is left."""
    farm.write(["true", "false", "echo third"])
    assert 1 == farm.run("--proc=1", "--logs=none")
    Path(farm.layout.finished).write_text("0 true\n")
    assert Standing(3, 1, 1) == standing(farm.layout)
    return farm


def lead(farm: Farm, engine: Scripted, script: str, job: str = "2", **rules: int) -> int:
    """Lead a job whose farmers are a shell script; `TERM` in it means that one has come."""

    def start(argv: Sequence[str]) -> tuple[int, bool]:
        return subprocess.run(argv, check=False).returncode, "TERM" in script

    return Leader(engine, farm.layout, job, **rules, start=start).run(["/bin/sh", "-c", script])


def chain(farm: Farm) -> None:
    """Note that jobs 1 to 4 follow each other, and that the first one began with nothing ended."""
    notes.prepare(farm.layout)
    for job in range(1, 5):
        notes.submitted(farm.layout, "scripted", [str(job)], [str(job - 1)] if job > 1 else [])
    notes.began(farm.layout, "1", 0)


def test_a_chain_goes_on_after_progress(begun: Farm) -> None:
    """If tasks have ended in a job and work is left, the jobs after it stay."""
    chain(begun)
    os.truncate(begun.layout.failed, 0)
    engine = Scripted({"3": State.PENDING, "4": State.PENDING})
    assert 3 == lead(begun, engine, f"echo '1 false' >> {begun.layout.failed}; exit 3")
    assert [] == engine.asked


def test_a_chain_ends_without_progress(begun: Farm) -> None:
    """If no task has ended in a job, the jobs after it are cancelled, but for those that have ended already."""
    chain(begun)
    engine = Scripted({"3": State.PENDING})
    assert 3 == lead(begun, engine, "exit 3")
    assert ["cancel 3"] == engine.asked


def test_a_job_that_is_told_to_end_leaves_the_chain(begun: Farm) -> None:
    """Slurm may be about to run it again, as after a preemption; if not, the next job sees that nothing has ended."""
    chain(begun)
    engine = Scripted({"3": State.PENDING, "4": State.PENDING})
    assert 3 == lead(begun, engine, "exit 3 # TERM")
    assert [] == engine.asked
    assert 3 == lead(begun, engine, f"touch {begun.directory}/started", job="3")
    assert ["cancel 4"] == engine.asked
    assert not (begun.directory / "started").exists()


def test_of_a_chain_whose_list_is_done_the_last_job_stays(begun: Farm) -> None:
    """A job that finds nothing left starts no farmer and says how the list has ended; so does the last of the chain."""
    chain(begun)
    with open(begun.layout.finished, "a") as file:
        file.write("2 echo third\n")
    engine = Scripted({"3": State.PENDING, "4": State.PENDING})
    assert 1 == lead(begun, engine, f"touch {begun.directory}/started")
    assert ["shorten 4", "cancel 3"] == engine.asked
    engine = Scripted()
    assert 1 == lead(begun, engine, f"touch {begun.directory}/started", job="4")
    assert [] == engine.asked
    assert not (begun.directory / "started").exists()


def test_the_job_that_ends_the_list_leaves_the_last_one(begun: Farm) -> None:
    """Also whoever ends the list cancels the jobs after it, but for the last one."""
    chain(begun)
    engine = Scripted({"3": State.PENDING, "4": State.PENDING})
    assert 1 == lead(begun, engine, f"echo '2 echo third' >> {begun.layout.finished}")
    assert ["shorten 4", "cancel 3"] == engine.asked


def test_no_progress_before_means_no_start(begun: Farm, tmp_path: Path) -> None:
    """A job after one in which nothing has ended starts no farmer, even if that one could not say so."""
    chain(begun)
    notes.began(begun.layout, "1", 2)
    engine = Scripted({"3": State.PENDING})
    assert 3 == lead(begun, engine, f"touch {tmp_path}/started")
    assert ["cancel 3"] == engine.asked
    assert not (tmp_path / "started").exists()


def test_wrong_use_ends_a_chain(begun: Farm) -> None:
    """What the first job cannot do, the others cannot either."""
    chain(begun)
    engine = Scripted({"3": State.PENDING})
    assert 2 == lead(begun, engine, "exit 2")
    assert ["cancel 3"] == engine.asked


@pytest.mark.parametrize(
    ("answer", "rules", "script", "asked", "expected"),
    [
        (None, {"allocations": 3}, "exit 3", True, 3),
        (99, {"allocations": 3}, "exit 3", True, 99),
        (BatchError("no"), {"allocations": 3}, "exit 3", True, 3),
        (None, {"allocations": 3, "begun": 1}, "exit 3", True, 3),
        (99, {"allocations": 3, "begun": 2}, "exit 3", False, 3),
        (None, {}, "exit 3", False, 3),
        (None, {"allocations": 3}, "exit 0", False, 0),
        (None, {"allocations": 3}, "exit 3 # TERM", False, 3),
    ],
)
def test_a_job_asks_to_run_again(
    begun: Farm, answer: int | BatchError | None, rules: dict[str, int], script: str, asked: bool, expected: int
) -> None:
    """It does so after progress, with work left, as often as it may, and never after a TERM: that has its reasons.

    The notes tell how often it has begun, since not every batch system counts that.
    """
    rules = dict(rules)
    notes.prepare(begun.layout)
    for _ in range(rules.pop("begun", 0)):
        notes.began(begun.layout, "2", 0)
    os.truncate(begun.layout.failed, 0)
    progress = f"echo '1 false' >> {begun.layout.failed}; {script}"
    engine = Scripted(requeue=answer)
    assert expected == lead(begun, engine, progress, **rules)
    assert (["requeue 2"] if asked else []) == engine.asked


@pytest.mark.parametrize(
    ("send", "arrives", "told"),
    [
        (signal.SIGTERM, "TERM", True),
        (signal.SIGINT, "TERM", True),
        (signal.SIGHUP, "TERM", True),
        (signal.SIGUSR1, "USR1", False),
        (signal.SIGUSR2, "USR2", False),
    ],
)
def test_signals_are_passed_on(
    tmp_path: Path, wait_until: Callable[..., None], send: signal.Signals, arrives: str, told: bool
) -> None:
    """What the batch system sends to the script reaches the farmers, whose exit status is waited for."""
    traps = " ".join(f"trap 'echo {name} >> got; exit 7' {name};" for name in ("TERM", "INT", "HUP", "USR1", "USR2"))
    script = f"{traps} touch ready; while :; do sleep 0.05; done"
    leader = subprocess.Popen([sys.executable, "-c", RUN, "/bin/sh", "-c", script], cwd=tmp_path)
    wait_until((tmp_path / "ready").exists)
    leader.send_signal(send)
    assert 7 + 50 * told == leader.wait(20)
    assert f"{arrives}\n" == (tmp_path / "got").read_text()


@pytest.mark.parametrize(("script", "expected"), [("exit 0", 0), ("exit 5", 5), ("kill -9 $$", 137)])
def test_the_exit_status_is_handed_on(script: str, expected: int) -> None:
    """A signal that ended the command counts as the shell counts it."""
    assert expected == subprocess.run([sys.executable, "-c", RUN, "/bin/sh", "-c", script], check=False).returncode


def test_a_missing_program_is_wrong_use() -> None:
    """What cannot be started says so, and is no work left."""
    ended = subprocess.run([sys.executable, "-c", RUN, "nowhere"], check=False, capture_output=True, text=True)
    assert (2, "pytaskfarmer: nowhere: No such file or directory\n") == (ended.returncode, ended.stderr)


def test_notes_survive_what_a_crash_tears(tmp_path: Path) -> None:
    """Torn and strange lines count for nothing; followers of followers are followers."""
    layout = Layout(str(tmp_path))
    notes.prepare(layout)
    notes.submitted(layout, "slurm", ["1"])
    notes.submitted(layout, "slurm", ["2"], ["1"])
    with open(layout.job_notes, "a") as file:
        file.write('{"submitted": 5}\n[]\n{"began": "1", "en\n')
    notes.submitted(layout, "slurm", ["3"], ["2"])
    notes.submitted(layout, "slurm", ["--me"])  # an option of scancel
    notes.began(layout, "1", 4)
    known = notes.read(layout)
    assert (["1", "2", "3"], {"1": 4}, {"1": 1}, ["2", "3"], []) == (
        list(known.jobs), known.ended_before, known.begun, known.followers("1"), known.followers("3")
    )  # fmt: skip


def test_outside_of_a_job_there_is_nothing_to_lead(tmp_path: Path) -> None:
    """Run by hand, the script's last line says what it is."""
    words = [sys.executable, "-m", "pytaskfarmer.cluster", "--engine=slurm", f"--workdir={tmp_path}", "--", "true"]
    ended = subprocess.run(words, check=False, capture_output=True, text=True)
    assert (2, "pytaskfarmer: error: this is no job of slurm; submit the script.\n") == (ended.returncode, ended.stderr)
