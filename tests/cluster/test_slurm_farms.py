"""Whole farms on a real Slurm: through every fault, the books balance."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from farm_driver import Farm, until
from slurm_cluster import CPUS_A_NODE, Cluster, submit

from pytaskfarmer.cluster import contract
from pytaskfarmer.cluster.contract import Sight, State
from pytaskfarmer.cluster.slurm import Slurm
from pytaskfarmer.workdir import roster

NOTE = "echo $PROC_NUMBER $SLURMD_NODENAME $SLURM_JOB_ID >> notes"
HELD_UP = f"{NOTE}; until test -e go; do sleep 0.02; done"
LONG = "echo $PROC_NUMBER >> begun; sleep 100"


def together(count: int, word: int) -> str:
    """Return a task that notes itself, and ends when so many nodes (`word` 2) or jobs (3) have done so."""
    return f"{NOTE}; until test $(cut -d' ' -f{word} notes | sort -u | wc -l) = {count}; do sleep 0.02; done"


def notes(farm: Farm) -> list[list[str]]:
    """Return the words of the lines that tasks have written: task id, node, job."""
    path = farm.directory / "notes"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def begun(farm: Farm) -> int:
    """Return how many long tasks have begun."""
    path = farm.directory / "begun"
    return len(path.read_text().splitlines()) if path.exists() else 0


def said(farm: Farm, job: str) -> str:
    """Return what a job has printed."""
    return Path(farm.layout.job_output(job)).read_text()


def farmer_pids(farm: Farm) -> list[int]:
    """Return the pids of the farmers that are registered."""
    claims = [farm.claims(name).farmer for name in roster.names(farm.layout)]
    return [farmer.pid for farmer in claims if farmer is not None]


def test_four_nodes_lose_a_farmer(slurm: Cluster, farm: Farm, wait_until: Callable[..., None]) -> None:
    """Of four farmers, one a node, one is killed: the others run its tasks, too, and the job has succeeded."""
    _lose_a_farmer(slurm, farm, wait_until)


@pytest.mark.proof
def test_four_nodes_lose_a_farmer_by_groups(
    slurm_by_groups: Cluster, farm: Farm, wait_until: Callable[..., None]
) -> None:
    """The same where Slurm signals process groups."""
    _lose_a_farmer(slurm_by_groups, farm, wait_until)


def _lose_a_farmer(slurm: Cluster, farm: Farm, wait_until: Callable[..., None]) -> None:
    farm.write([HELD_UP] * 40)
    (job,) = submit(farm, "--nodes=4", "--proc=2", "--time=1h")
    wait_until(lambda: {node for _, node, _ in notes(farm)} == set(slurm.nodes), state=lambda: notes(farm))
    os.kill(farmer_pids(farm)[0], signal.SIGKILL)
    (farm.directory / "go").touch()
    assert ("COMPLETED", 0) == slurm.end(job), said(farm, job)
    assert "the farmer was killed (SIGKILL)" in said(farm, job)
    farm.balance(40, "finished")


def test_four_nodes_lose_a_node(slurm_to_break: Cluster, farm: Farm, wait_until: Callable[..., None]) -> None:
    """A node that is set DOWN takes its farmer with it; the job goes on without, and succeeds."""
    slurm = slurm_to_break
    farm.write([HELD_UP] * 40)
    (job,) = submit(farm, "--nodes=4", "--proc=2")
    wait_until(lambda: {node for _, node, _ in notes(farm)} == set(slurm.nodes), state=lambda: notes(farm))
    lost = next(node for node in slurm.nodes if node != slurm.job(job)["BatchHost"])
    slurm.ask("scontrol", "update", f"nodename={lost}", "state=down", "reason=test")
    wait_until(lambda: f"Node failure on {lost}" in said(farm, job), state=lambda: said(farm, job))
    (farm.directory / "go").touch()
    assert ("COMPLETED", 0) == slurm.end(job), said(farm, job)
    farm.balance(40, "finished")


def test_a_cancelled_job(slurm: Cluster, farm: Farm, wait_until: Callable[..., None]) -> None:
    """What a cancelled job ran goes back to the list; none has failed for that."""
    _cancel(slurm, farm, wait_until)


def test_a_cancelled_job_by_groups(slurm_by_groups: Cluster, farm: Farm, wait_until: Callable[..., None]) -> None:
    """The same where Slurm signals process groups, and knows nothing of tasks in sessions of their own."""
    _cancel(slurm_by_groups, farm, wait_until)


def _cancel(slurm: Cluster, farm: Farm, wait_until: Callable[..., None]) -> None:
    farm.write([*["true"] * 4, *[LONG] * 8])
    (job,) = submit(farm, "--nodes=2", "--proc=2")
    wait_until(lambda: begun(farm) == 4)
    slurm.ask("scancel", job)
    assert "CANCELLED" == slurm.end(job)[0]
    farm.balance(12)
    assert (4, []) == (len(farm.ids("finished")), farm.ids("failed"))


def test_jobs_that_run_again(slurm: Cluster, tmp_path: Path, wait_until: Callable[..., None]) -> None:
    """A job that is requeued, or asks for it with --requeue since work is left, puts back what ran and goes on."""
    _run_again(slurm, tmp_path, wait_until)


@pytest.mark.proof
def test_jobs_that_run_again_by_groups(
    slurm_by_groups: Cluster, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    """The same where Slurm signals process groups."""
    _run_again(slurm_by_groups, tmp_path, wait_until)


def _run_again(slurm: Cluster, tmp_path: Path, wait_until: Callable[..., None]) -> None:
    requeued, asking = farms = [Farm(tmp_path / name) for name in ("requeued", "asking")]
    for farm in farms:
        farm.directory.mkdir()
        farm.write([*["true"] * 4, "test ${SLURM_RESTART_COUNT:-0} = 1 || { echo >> begun; sleep 100; }"])
    jobs = [*submit(requeued, "--proc=2"), *submit(asking, "--requeue=5", "--proc=2", "--timeout=1s")]
    wait_until(lambda: begun(requeued) == 1)
    slurm.ask("scontrol", "requeue", jobs[0])
    assert [("COMPLETED", 0)] * 2 == [slurm.end(job) for job in jobs]
    assert ["1", "1"] == [slurm.job(job)["Restarts"] for job in jobs]
    for farm in farms:
        assert 1 == begun(farm)
        farm.balance(5, "finished")


def test_two_jobs_share_a_list(slurm: Cluster, farm: Farm, wait_until: Callable[..., None]) -> None:
    """A job that comes later takes its share of a list on which another one is at work."""
    farm.write([together(2, 3)] * 20)
    (first,) = submit(farm, "--proc=2")
    wait_until(lambda: notes(farm))
    (second,) = submit(farm, "--proc=2")
    assert [("COMPLETED", 0)] * 2 == [slurm.end(job) for job in (first, second)]
    assert {first, second} == {job for _, _, job in notes(farm)}
    farm.balance(20, "finished")


def test_several_farmers_are_several_jobs(slurm: Cluster, farm: Farm) -> None:
    """With --farmers, independent jobs share the list; small ones fit on one node together."""
    farm.write([together(3, 3)] * 20)
    jobs = submit(farm, "--farmers=3", "--cpus-per-node=2")
    assert [("COMPLETED", 0)] * 3 == [slurm.end(job) for job in jobs]
    assert set(jobs) == {job for _, _, job in notes(farm)}
    farm.balance(20, "finished")


def test_cancel_ends_all_jobs_of_a_list(slurm: Cluster, farm: Farm, wait_until: Callable[..., None]) -> None:
    """`pytaskfarmer cancel` ends what runs and what waits, in any chain, and what ran goes back to the list."""
    farm.write([LONG] * 3)
    jobs = submit(farm, "--chain=2", "--farmers=2", "--proc=1")
    wait_until(lambda: begun(farm) == 2)
    words = ["pytaskfarmer", "status", farm.list.name]
    seen = subprocess.run(words, cwd=farm.directory, capture_output=True, text=True, check=True)
    assert f" job {jobs[0]}  alive  " in seen.stdout
    assert f"  {jobs[1]}  waits: Dependency  " in seen.stdout
    words = ["pytaskfarmer", "cancel", farm.list.name]
    printed = subprocess.run(words, cwd=farm.directory, capture_output=True, text=True, check=True).stdout
    assert {"4", "jobs", "cancelled:", *jobs} <= set(printed.split())
    assert ["CANCELLED"] * 4 == [slurm.end(job)[0] for job in jobs]
    farm.balance(3, "toprocess")
    again = subprocess.run(words, cwd=farm.directory, capture_output=True, text=True, check=True).stdout
    assert "waits or runs" in again


def test_jobs_that_cannot_start(slurm: Cluster, farm: Farm, wait_until: Callable[..., None]) -> None:
    """What no empty machine would start is told from what waits for others, with Slurm's reason, by `status`, too."""
    farm.write(["true"])
    (held,) = submit(farm, "--sbatch=hold")
    (large,) = submit(farm, "--nodes=40")
    (long,) = submit(farm, "--time=30h")
    (later,) = submit(farm, "--sbatch=begin=now+1hour")
    expected = {
        held: Sight(State.HELD, "JobHeldUser"),
        large: Sight(State.HELD, "PartitionConfig"),
        long: Sight(State.HELD, "PartitionTimeLimit"),
        later: Sight(State.PENDING, "BeginTime"),
    }
    wait_until(lambda: Slurm().look(list(expected)) == expected, state=lambda: Slurm().look(list(expected)))
    slurm.ask("scontrol", "update", "partitionname=debug", "state=down")
    try:
        (down,) = submit(farm)
        slurm.ask("scontrol", "hold", down)
        (closed,) = submit(farm)
        expected = {down: Sight(State.HELD, "JobHeldAdmin"), closed: Sight(State.HELD, "PartitionDown")}
        wait_until(lambda: Slurm().look(list(expected)) == expected, state=lambda: Slurm().look(list(expected)))
    finally:
        slurm.ask("scontrol", "update", "partitionname=debug", "state=up")
    assert [f"job {held} does not start by itself: JobHeldUser"] == contract.stuck(Slurm(), [held, later], 30)
    words = ["pytaskfarmer", "status", farm.list.name]
    printed = subprocess.run(words, cwd=farm.directory, capture_output=True, text=True, check=True).stdout
    assert f"  {held}  does not start by itself: JobHeldUser  tasks.txt_workdir/jobs/{held}.out\n" in printed
    assert f"  {later}  waits: BeginTime  " in printed


def test_out_of_memory_in_one_task(slurm: Cluster, farm: Farm) -> None:
    """A task above the job's memory limit is ended by it; its farmer and the other tasks live on."""
    if not slurm.cgroups:
        pytest.skip("without cgroups, Slurm does not limit memory")
    eat = "python3 -c 'x = bytearray(10**9)'"
    farm.write(["true", eat, "sleep 0.1"])
    (job,) = submit(farm, "--proc=1")
    assert ("FAILED", 1) == slurm.end(job), said(farm, job)
    farm.balance(3, "finished", "failed")
    assert [1] == farm.ids("failed")


def test_a_script_by_hand(slurm: Cluster, farm: Farm) -> None:
    """One `srun` line is all that several nodes need."""
    farm.write([together(4, 2)] * 20)
    script = "srun --ntasks-per-node=1 pytaskfarmer.py --proc 2 --allow-local tasks.txt"
    job = slurm.submit(script, farm.directory, "--nodes=4", "--ntasks-per-node=1")
    assert ("COMPLETED", 0) == slurm.end(job), (farm.directory / f"{job}.out").read_text()
    assert set(slurm.nodes) == {node for _, node, _ in notes(farm)}
    farm.balance(20, "finished")


def test_too_many_farmers_on_a_node_are_refused(slurm: Cluster, farm: Farm) -> None:
    """Farmers of one step on one node that have more than two slots a CPU together say which `srun` line is right."""
    farm.write(["true"])
    script = "srun --ntasks=4 pytaskfarmer.py --proc 4 --allow-local tasks.txt"
    job = slurm.submit(script, farm.directory, "--nodes=1", "--ntasks=4")
    assert ("FAILED", 2) == slurm.end(job)
    advice = f"srun --nodes=1 --ntasks-per-node=1 --cpus-per-task={CPUS_A_NODE} pytaskfarmer.py --proc {CPUS_A_NODE}"
    assert advice in (farm.directory / f"{job}.out").read_text()
    assert not farm.workdir.exists()


def test_an_array_of_lists(slurm: Cluster, farm: Farm) -> None:
    """Element N of an array takes tasklistN and workdirN, with three digits."""
    for number in (1, 2):
        (farm.directory / f"tasklist00{number}").write_text(f"echo {number} >> out{number}\n" * 3)
    script = "exec pytaskfarmer.py --array --proc 2 --workdir workdir tasklist"
    job = slurm.submit(script, farm.directory, "--array=1-2")
    assert [("COMPLETED", 0)] * 2 == [slurm.end(f"{job}_{number}") for number in (1, 2)]
    for number in (1, 2):
        assert f"{number}\n" * 3 == (farm.directory / f"out{number}").read_text()
        assert 3 == len((farm.directory / f"workdir00{number}" / "finished").read_text().splitlines())


def test_odd_names_survive_the_script(slurm: Cluster, farm: Farm, tmp_path: Path) -> None:
    """Blanks, quotes, `#` and `%` in directory and list arrive as they are."""
    odd = Farm(tmp_path / "a b'c\"d #e %j $HOME")
    odd.directory.mkdir()
    odd.list = odd.list.with_name("t's #1.txt")
    odd.workdir = odd.list.with_name("t's #1.txt_workdir")
    odd.layout = type(odd.layout)(str(odd.workdir))
    odd.write([NOTE])
    (job,) = submit(odd, "--proc=1")
    assert ("COMPLETED", 0) == slurm.end(job)
    assert "1 of 1 finished" in said(odd, job)
    odd.balance(1, "finished")


def test_what_is_asked_stands_above_the_defaults_of_the_user(
    slurm: Cluster, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable such as SBATCH_TIMELIMIT, which beats the lines of a script, counts only where nothing is asked."""
    for name, value in {"ACCOUNT": "usual", "TIMELIMIT": "5", "OUTPUT": "/nowhere", "NO_REQUEUE": "1"}.items():
        monkeypatch.setenv(f"SBATCH_{name}", value)
    farm.write(["true"])
    (job,) = submit(farm, "--time=2h", "--requeue=2", "--job-name=it's $5 #1", "--sbatch=hold")
    facts = slurm.job(job)
    expected = {"Account": "usual", "TimeLimit": "02:00:00", "StdOut": farm.layout.job_output(job), "Requeue": "1"}
    assert expected == {key: facts[key] for key in expected}
    assert "it's $5 #1\n" == slurm.ask("squeue", "--noheader", f"--jobs={job}", "--format=%j")


@pytest.mark.timeout(120)
def test_time_limits(slurm: Cluster, tmp_path: Path, wait_until: Callable[..., None]) -> None:
    """Tasks go back to the list at the time limit, announced to script or step, or by nothing but its TERM."""
    _time_limits(slurm, tmp_path, wait_until)


@pytest.mark.proof
@pytest.mark.timeout(120)
def test_time_limits_by_groups(slurm_by_groups: Cluster, tmp_path: Path, wait_until: Callable[..., None]) -> None:
    """The same where Slurm signals process groups."""
    _time_limits(slurm_by_groups, tmp_path, wait_until)


def _time_limits(slurm: Cluster, tmp_path: Path, wait_until: Callable[..., None]) -> None:
    signals = {"no": (), "step": ("--sbatch=signal=USR1@50",), "script": ("--sbatch=signal=B:USR1@50",)}
    farms = {form: Farm(tmp_path / form) for form in signals}
    jobs = {}
    for form, farm in farms.items():
        farm.directory.mkdir()
        farm.write(["true", f"trap 'echo ended >> ended; exit 1' TERM; {LONG} & wait", LONG])
        (jobs[form],) = submit(farm, *signals[form], "--proc=2", "--time=5m")
    wait_until(
        lambda: all(begun(farm) == 2 for farm in farms.values()),
        state=lambda: {form: said(farm, jobs[form]) for form, farm in farms.items()},
    )
    # The farmers believe in the end that they asked for; the controller looks every 30 s.
    for form, job in jobs.items():
        slurm.ask("scontrol", "update", f"job={job}", f"EndTime=now+{1 if form == 'no' else 45}")
    ends = {form: slurm.end(job, 80) for form, job in jobs.items()}
    assert {"no": "TIMEOUT", "step": "FAILED", "script": "FAILED"} == {form: end[0] for form, end in ends.items()}
    assert [3, 3] == [ends[form][1] for form in ("step", "script")]
    for form, farm in farms.items():
        assert until(lambda: not farm.farmers(), 5), form  # noqa: B023
        farm.balance(3)
        assert ([0], []) == (farm.ids("finished"), farm.ids("failed"))
        assert "ended\n" == (farm.directory / "ended").read_text(), f"{form}: had no grace"
        word = "SIGTERM" if form == "no" else "SIGUSR1"
        assert f"stopping ({word})" in said(farm, jobs[form])
