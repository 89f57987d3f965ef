"""Farmers in the jobs of a real Grid Engine, and what it answers."""

import contextlib
import io
import os
import pwd
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import gridengine_cluster
import pytest
from farm_driver import Farm, Mark
from gridengine_cluster import Cell

from pytaskfarmer.cli.main import main
from pytaskfarmer.cluster import contract
from pytaskfarmer.cluster.contract import BatchError, Plan, Sight, State
from pytaskfarmer.cluster.gridengine import engine

pytestmark = pytest.mark.xdist_group("gridengine")

FARMER = (sys.executable, "-m", "pytaskfarmer", "run", "tasks.txt")
TOGETHER = "echo $JOB_ID.$SGE_TASK_ID >> ran; until test $(sort -u ran | wc -l) = 3; do sleep 0.02; done"
SLEEPING = "echo >> began; sleep 100"


class Site:
    """A farm in a directory of the user whose jobs run, and the jobs of one test."""

    def __init__(self, directory: Path, user: str, wait_until: Callable[..., None]) -> None:
        directory.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(directory, pwd.getpwnam(user).pw_uid, -1)
        self.farm = Farm(directory)
        self._wait_until = wait_until

    def plan(self, *words: str, **wishes: object) -> Plan:
        """Return the plan of a job that runs a farmer with these options."""
        directory = self.farm.directory
        return Plan((*FARMER, *words), str(directory), f"{directory}/job-{{job}}.out", **wishes)  # type: ignore[arg-type]

    def submit(self, *words: str, **wishes: object) -> list[str]:
        """Submit a job that runs a farmer."""
        return self.hand_over(self.plan(*words, **wishes))

    def hand_over(self, plan: Plan, change: Callable[[str], str] = lambda script: script) -> list[str]:
        """Submit the script for a plan, after a change."""
        return list(engine.submit(change(engine.render(plan)), plan))

    def command(self, *words: str) -> list[str]:
        """Give a command of ours, whose files the user whose jobs run may change; return the lines that it prints."""
        out, mask = io.StringIO(), os.umask(0)
        try:
            with contextlib.chdir(self.farm.directory), contextlib.redirect_stdout(out):
                assert 0 == main(words)
        finally:
            os.umask(mask)
        return out.getvalue().splitlines()

    def state(self, jobs: list[str]) -> set[State]:
        """Return what the engine says of the jobs."""
        return set(engine.states(jobs).values())

    def wait(self, condition: Callable[[], object], jobs: list[str]) -> None:
        """Wait for something that jobs bring about; fail at once when all have ended without it."""
        over = {State.ENDED, State.CANCELLED, State.HELD}
        self._wait_until(condition, state=self.said, hopeless=lambda: self.state(jobs) <= over)

    def wait_for(self, state: State, jobs: list[str]) -> None:
        """Wait until all jobs are in this state."""
        self._wait_until(lambda: self.state(jobs) == {state}, state=lambda: (engine.states(jobs), self.said()))

    def finish(self, tasks: int) -> None:
        """Let one more job bring the list to its end; every task must be finished exactly once."""
        self.wait_for(State.ENDED, self.submit())
        self.farm.balance(tasks)
        assert list(range(tasks)) == sorted(self.farm.ids("finished")), self.said()

    def said(self) -> str:
        """Return all that the jobs have printed."""
        return "\n".join(path.read_text() for path in sorted(self.farm.directory.glob("**/*.out")))

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file that tasks have written."""
        path = self.farm.directory / name
        return path.read_text().split("\n")[:-1] if path.exists() else []


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with gridengine_cluster.running() as cell:
        yield cell


@pytest.fixture
def site(
    require: Callable[[str], str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch,
    wait_until: Callable[..., None], mark: Mark,
) -> Iterator[Site]:  # fmt: skip
    for program in gridengine_cluster.PROGRAMS:
        require(program)
    cell: Cell = request.getfixturevalue("cell")
    monkeypatch.setenv("PATH", f"{cell.clients}:{os.environ['PATH']}")
    yield Site(Path(tempfile.mkdtemp(dir=cell.place)), cell.user, wait_until)
    cell.end_jobs()


# Many jobs, one list


def test_independent_jobs_share_a_list(site: Site) -> None:
    """Three jobs that know nothing of each other run every task once, and all of them take part."""
    site.farm.write([TOGETHER] * 20)
    jobs = [job for _ in range(3) for job in site.submit("--proc=1")]
    site.wait_for(State.ENDED, jobs)
    site.farm.balance(20, "finished")
    assert (20, {f"{job}.undefined" for job in jobs}) == (len(site.lines("ran")), set(site.lines("ran")))


def test_farmers_are_the_elements_of_an_array(site: Site) -> None:
    """Several farmers are one array; its elements are jobs to us, share the list, and print to files of their own."""
    site.farm.write([TOGETHER] * 20)
    jobs = site.submit("--proc=1", farmers=3)
    array = jobs[0].partition(".")[0]
    assert [f"{array}.1", f"{array}.2", f"{array}.3"] == jobs
    site.wait_for(State.ENDED, jobs)
    site.farm.balance(20, "finished")
    assert (20, set(jobs)) == (len(site.lines("ran")), set(site.lines("ran")))
    assert [f"job-{job}.out" for job in jobs] == sorted(path.name for path in site.farm.directory.glob("job-*"))


def test_a_job_gets_its_slots_and_the_submitters_environment(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A farmer with `--proc auto` has as many slots as the job, and tasks the PATH from which it was submitted."""
    monkeypatch.setenv("GREETING", "two words")
    monkeypatch.setenv("PATH", f"{site.farm.directory}/bin:{os.environ['PATH']}")
    begin = "echo > began-$PROC_NUMBER; while ! test -e began-0 -a -e began-1; do sleep 0.01; done"
    site.farm.write([f'{begin}; echo "$GREETING" "$PATH" "$NSLOTS" > seen-$PROC_NUMBER'] * 2)
    site.wait_for(State.ENDED, site.submit("--proc=auto", "--task-timeout=9", cpus=2))
    assert [0, 1] == sorted(site.farm.ids("finished")), site.said()
    slots = {path.read_text() for path in site.farm.directory.glob("seen-*")}
    assert {f"two words {os.environ['PATH']} 2\n"} == slots


def test_a_job_waits_for_another(site: Site) -> None:
    """A job that follows another one is pending while that runs, and runs after it."""
    site.farm.write(["while ! test -e go; do sleep 0.01; done"])
    first = site.submit("--proc=1", farmers=2)
    second = site.submit("--proc=1", follows=tuple(first))
    site.wait_for(State.PENDING, second)
    site.wait(lambda: State.RUNNING in site.state(first), first)
    (site.farm.directory / "go").touch()
    site.wait_for(State.ENDED, [*first, *second])
    assert (site.farm.directory / f"job-{second[0]}.out").exists()
    site.farm.balance(1)


# Jobs that end early


def test_qdel_with_notice(site: Site) -> None:
    """USR2 announces the kill, to the farmer and to its tasks: they go back to the list, and no audit is needed."""
    site.farm.write([SLEEPING, f"trap 'exit 5' TERM; {SLEEPING} & wait", f"trap : USR2; {SLEEPING} & wait; wait"] * 2)
    jobs = site.submit("--proc=3", "--grace=2")
    site.wait(lambda: len(site.lines("began")) == 3, jobs)
    engine.cancel(jobs)
    site.wait_for(State.ENDED, jobs)
    assert [*range(6)] == sorted(site.farm.ids("toprocess")), site.said()
    assert "stopping (SIGUSR2)" in site.said()
    site.farm.balance(6)


def test_qdel_without_notice(site: Site, mark: Mark) -> None:
    """A job without `-notify` is killed at once with all that it runs; the next one takes its tasks up."""
    site.farm.write([f"test -e go || {{ {SLEEPING}; }}"] * 4)
    jobs = site.hand_over(site.plan("--proc=2"), lambda script: script.replace("#$ -notify\n", ""))
    site.wait(lambda: len(site.lines("began")) == 2, jobs)
    engine.cancel(jobs)
    site.wait_for(State.ENDED, jobs)
    assert 1 == len(site.farm.farmers())
    (site.farm.directory / "go").touch()
    site.finish(4)


def test_the_hard_limit(site: Site) -> None:
    """A job of somebody's own script that `h_rt` kills loses nothing."""
    site.farm.write([f"test -e go || {{ {SLEEPING}; }}"] * 3)
    limit = "#$ -l h_rt=1\n"
    jobs = site.hand_over(site.plan("--proc=2"), lambda script: script.replace("#$ -notify\n", limit))
    site.wait(lambda: len(site.lines("began")) == 2, jobs)
    site.wait_for(State.ENDED, jobs)
    assert 1 == len(site.farm.farmers())
    (site.farm.directory / "go").touch()
    site.finish(3)


def test_a_job_runs_again(site: Site) -> None:
    """The script says when `h_rt` strikes: the farmer puts its tasks back before, and the job asks for another run."""
    site.farm.write([f'echo $RESTARTED >> ran; test "$RESTARTED" = 1 || {{ {SLEEPING}; }}'] * 2 + ["true"])
    wishes = ("--engine=gridengine", "--time=7", "--requeue=2", "--proc=3", "--grace=0.5", "--no-fit")
    jobs = site.command("submit", "tasks.txt", *wishes)
    site.wait(lambda: site.lines("ran").count("1") == 2, jobs)
    site.wait_for(State.ENDED, jobs)
    assert ["0", "0", "1", "1"] == site.lines("ran")
    assert "stopping (the end of the allocation)" in site.said()
    site.farm.balance(3)
    assert [0, 1, 2] == sorted(site.farm.ids("finished"))


@pytest.mark.proof
def test_runs_are_counted(site: Site) -> None:
    """Grid Engine does not count how often a job ran, we do: with --requeue=3 it runs three times, and no more."""
    tries = "echo >> tries-$PROC_NUMBER; test $(wc -l < tries-$PROC_NUMBER) -gt $PROC_NUMBER || sleep 100"
    site.farm.write([tries] * 4)
    wishes = ("--engine=gridengine", "--requeue=3", "--proc=4", "--grace=0.5", "--timeout=0.8s")
    jobs = site.command("submit", "tasks.txt", *wishes)
    site.wait(lambda: len(site.lines("tries-3")) == 3, jobs)
    site.wait_for(State.ENDED, jobs)
    assert [1, 2, 3, 3] == [len(site.lines(f"tries-{task}")) for task in range(4)], site.said()
    site.farm.balance(4)
    assert [3] == site.farm.ids("toprocess")


def test_a_chain_can_be_waited_for(site: Site) -> None:
    """The list is done in the first of three jobs: the second is deleted, the last ends at once, others begin."""
    site.farm.write(["while ! test -e go; do sleep 0.01; done"])
    chain = site.command("submit", "tasks.txt", "--engine=gridengine", "--proc=1", "--chain=3")
    (site.farm.directory / "more.txt").write_text("ls tasks.txt_workdir/jobs > seen\n")
    after = site.command("submit", "more.txt", "--engine=gridengine", "--proc=1", "--after", chain[-1])
    site.wait(site.farm.farmers, chain)
    assert {State.PENDING} == site.state([*chain[1:], *after])
    (site.farm.directory / "go").touch()
    site.wait_for(State.ENDED, [*chain, *after])
    assert sorted([f"{chain[0]}.out", f"{chain[2]}.out", "notes"]) == sorted(site.lines("seen")), site.said()
    assert f"the list is done: jobs after this one are cancelled: {chain[1]}\n" in site.said()
    site.farm.balance(1, "finished")


def test_cancel(site: Site) -> None:
    """`pytaskfarmer cancel` ends every job of a list: the array of its farmers, and what was submitted later."""
    site.farm.write([SLEEPING] * 4)
    jobs = site.command("submit", "tasks.txt", "--engine=gridengine", "--farmers=2", "--proc=1")
    jobs += site.command("submit", "tasks.txt", "--engine=gridengine", "--after", jobs[0], "--proc=1")
    site.wait(lambda: len(site.lines("began")) == 2, jobs)
    site.command("cancel", "tasks.txt")
    site.wait_for(State.ENDED, jobs)
    site.farm.balance(4)
    assert [0, 1, 2, 3] == sorted(site.farm.ids("toprocess")), site.said()


# Grid Engine in trouble


def test_qmaster_gone_and_back(site: Site, cell: Cell) -> None:
    """While no qmaster answers, a farm goes on, states are unknown and wishes are errors; afterwards all is known."""
    site.farm.write(["while ! test -e go; do sleep 0.01; done"] * 4)
    jobs = site.submit("--proc=2")
    site.wait(site.farm.farmers, jobs)
    cell.kill_master()
    assert {State.UNKNOWN} == site.state(jobs)
    with pytest.raises(BatchError, match=r"^qsub refused the job: .*unable to send message to qmaster"):
        site.submit()
    with pytest.raises(BatchError, match=r"^qdel: .*unable to send message to qmaster"):
        engine.cancel(jobs)
    (site.farm.directory / "go").touch()
    site._wait_until(lambda: len(site.farm.ids("finished")) == 4 and not site.farm.farmers(), state=site.said)
    cell.restart()
    site.wait_for(State.ENDED, jobs)
    site.finish(4)


def test_an_unwritable_output(site: Site) -> None:
    """A job that cannot print to where it should waits for a person, who is told why; it can be cancelled."""
    site.farm.write(["true"])
    plan = Plan(FARMER, str(site.farm.directory), "/nowhere/job-{job}.out")
    jobs = site.hand_over(plan)
    site.wait_for(State.HELD, jobs)
    (line,) = contract.stuck(engine, jobs, 30)
    assert line.startswith(f"job {jobs[0]} does not start by itself: can't ")
    assert "/nowhere" in line
    engine.cancel(jobs)
    site.wait_for(State.ENDED, jobs)
    engine.cancel([*jobs, "99999", "99999.3"])


@pytest.mark.parametrize(
    ("wishes", "complaint"),
    [
        ({"partition": "nowhere"}, r'Job was rejected because job requests unknown queue "nowhere"'),
        ({"constraint": "colour=red"}, r'unknown resource "colour"'),
        (
            {"cpus": 2, "options": (("pe", "mpi"),)},
            r'job rejected: the requested parallel environment "mpi" does not exist. Known: smp; .*: --qsub pe=NAME\.',
        ),
    ],
)
def test_a_refusal_is_one_line(site: Site, wishes: dict[str, object], complaint: str) -> None:
    """What `qsub` refuses is an error with its reason, and nothing was submitted."""
    with pytest.raises(BatchError, match=rf"^qsub refused the job: {complaint}$"):
        site.submit(**wishes)


def test_states_of_what_waits(site: Site) -> None:
    """A job with a hold of its user's waits for a person; one too large for any queue, too, to whom looks closer."""
    site.farm.write(["true"])
    large = site.submit(cpus=99, farmers=3)
    held = site.submit(options=(("h", None),))
    site.wait_for(State.PENDING, large)
    assert {State.HELD} == site.state(held)
    misfit = Sight(State.HELD, 'cannot run in PE "smp" because it only offers 0 slots')
    assert {**dict.fromkeys(large, misfit), held[0]: Sight(State.HELD, "it is held")} == engine.look([*large, *held])
    waits = site.submit(follows=tuple(held))
    assert {waits[0]: Sight(State.PENDING)} == engine.look(waits)
    engine.cancel([large[1]])
    assert [State.PENDING, State.ENDED, State.PENDING] == list(engine.states(large).values())


def test_odd_directories(site: Site) -> None:
    """Jobs run in, and print to, directories with names that a line of a script makes difficult."""
    site.farm.write(["true"])
    directories = [
        site.farm.directory / name for name in ("with space", "co:lon", "at@sign", "ümlaut", "per%cent", "*")
    ]
    jobs: list[str] = []
    for directory in directories:
        directory.mkdir()
        directory.chmod(0o777)
        argv = (*FARMER[:-1], "../tasks.txt", "--workdir=workdir", "--logs=none")
        jobs += site.hand_over(Plan(argv, str(directory), f"{directory}/out"))
    site.wait_for(State.ENDED, jobs)
    assert ["1 of 1 finished" in (directory / "out").read_text() for directory in directories] == [True] * 6
