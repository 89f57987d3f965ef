"""Jobs that follow each other on a real Slurm: chains, what ends them, and what waits for them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from farm_driver import Farm, Mark
from slurm_cluster import Cluster, submit

NOTE = "echo $PROC_NUMBER >> notes"
LONG = "echo $PROC_NUMBER >> begun; sleep 100"


def lines(farm: Farm, name: str) -> list[str]:
    """Return the lines of a file that tasks have written."""
    path = farm.directory / name
    return path.read_text().splitlines() if path.exists() else []


def said(farm: Farm, job: str) -> str:
    """Return what a job has printed."""
    return Path(farm.layout.job_output(job)).read_text()


def test_a_chain_goes_on_until_the_list_is_done(slurm: Cluster, farm: Farm) -> None:
    """Short allocations follow each other until nothing is left; of those after that only the last one starts.

    It does nothing but end as the list has ended: what was to come after the chain begins.
    """
    farm.write([f"sleep 0.25; {NOTE}"] * 8)
    jobs = submit(farm, "--chain=7", "--proc=1", "--timeout=1.2s")
    assert 7 == len(jobs)
    after = slurm.submit("true", farm.directory, f"--dependency=afterok:{jobs[-1]}")
    ends = [slurm.end(job) for job in jobs]
    done = ends.index(("COMPLETED", 0))
    assert ends == [("FAILED", 3)] * done + [("COMPLETED", 0)] + [("CANCELLED", 0)] * (5 - done) + [("COMPLETED", 0)]
    assert 1 <= done <= 4
    assert not Path(farm.layout.job_output(jobs[-1])).read_text()
    assert "00:01:00" == slurm.job(jobs[-1])["TimeLimit"]
    assert ("COMPLETED", 0) == slurm.end(after)
    farm.balance(8, "finished")


@pytest.mark.proof
@pytest.mark.timeout(300)
def test_a_chain_over_short_allocations(slurm: Cluster, farm: Farm) -> None:
    """Allocations of a minute, which farmers leave before their end, follow each other until the list is done."""
    farm.write([f"sleep 20; {NOTE}"] * 4)
    jobs = submit(farm, "--chain=4", "--proc=1", "--time=1m", "--grace=1s")
    ends = [slurm.end(job, 90) for job in jobs]
    assert [("FAILED", 3), ("COMPLETED", 0), ("CANCELLED", 0), ("COMPLETED", 0)] == ends
    assert "stopping (the end of the allocation)" in said(farm, jobs[0])
    assert ["0", "1", "2", "3"] == sorted(lines(farm, "notes"))
    farm.balance(4, "finished")


def test_what_follows_a_failed_chain_never_starts(slurm: Cluster, farm: Farm) -> None:
    """Of a chain that is done but for failures, the last job says so, and what waits for success goes away."""
    farm.write(["true", "false"])
    last = submit(farm, "--chain=3")[-1]
    other = Farm(farm.directory / "other")
    other.directory.mkdir()
    other.write([NOTE])
    (after,) = submit(other, f"--after={last}")
    assert ("FAILED", 1) == slurm.end(last)
    assert "CANCELLED" == slurm.end(after)[0]
    assert not lines(other, "notes")


def test_a_chain_ends_where_nothing_ends(slurm: Cluster, farm: Farm) -> None:
    """A job in whose time no task has ended is the last of its chain."""
    farm.write(["sleep 100"])
    jobs = submit(farm, "--chain=3", "--proc=1", "--timeout=0.5s", "--grace=1")
    assert [("FAILED", 3), ("CANCELLED", 0), ("CANCELLED", 0)] == [slurm.end(job) for job in jobs]
    assert f"no task has ended in this job: jobs after this one are cancelled: {jobs[1]} {jobs[2]}" in said(
        farm, jobs[0]
    )
    farm.balance(1, "toprocess")


def test_a_chain_survives_its_killed_jobs(
    slurm: Cluster, farm: Farm, mark: Mark, wait_until: Callable[..., None]
) -> None:
    """A job killed without a word is followed by the next one; after one in which nothing ended, none begins."""
    farm.write(["true", LONG, LONG])
    jobs = submit(farm, "--chain=4", "--proc=1")
    for number in (1, 2):
        wait_until(lambda: len(lines(farm, "begun")) == number)  # noqa: B023
        mark.kill_all()
        assert "FAILED" == slurm.end(jobs[number - 1])[0]
    ends = [slurm.end(job) for job in jobs[2:]]
    assert [("FAILED", 3), ("CANCELLED", 0)] == ends
    assert f"no task has ended in job {jobs[1]}" in said(farm, jobs[2])
    assert 2 == len(lines(farm, "begun"))
    assert 3 == farm.run("--timeout=0s", "--proc=1")
    farm.balance(3)


def test_a_chain_ends_with_a_cancelled_job(slurm: Cluster, farm: Farm, wait_until: Callable[..., None]) -> None:
    """Whoever cancels a job of a chain does not get the next one instead."""
    farm.write(["true", LONG])
    jobs = submit(farm, "--chain=3", "--proc=1")
    wait_until(lambda: len(lines(farm, "begun")) == 1)
    slurm.ask("scancel", jobs[0])
    assert ["CANCELLED", "FAILED", "CANCELLED"] == [slurm.end(job)[0] for job in jobs]
    assert f"job {jobs[0]} was cancelled" in said(farm, jobs[1])
    assert 1 == len(lines(farm, "begun"))
    farm.balance(2)


def test_the_exit_status_tells_of_the_list(slurm: Cluster, farm: Farm) -> None:
    """A job in which tasks have failed exits with 1, and what was to come after its success does not start."""
    farm.write(["true", "exit 5"])
    (job,) = submit(farm, "--nodes=2")
    after = slurm.submit("true", farm.directory, f"--dependency=afterok:{job}", "--kill-on-invalid-dep=yes")
    assert ("FAILED", 1) == slurm.end(job)
    assert "CANCELLED" == slurm.end(after)[0]
    farm.balance(2)


def test_after_waits_for_success(slurm: Cluster, farm: Farm) -> None:
    """A job submitted with --after starts when the other one has succeeded."""
    farm.write([NOTE])
    first = slurm.submit("until test -e go; do sleep 0.02; done; echo first >> notes", farm.directory)
    (second,) = submit(farm, f"--after={first}")
    assert "PENDING" == slurm.state(second)
    (farm.directory / "go").touch()
    assert ("COMPLETED", 0) == slurm.end(second)
    assert ["first", "0"] == lines(farm, "notes")
