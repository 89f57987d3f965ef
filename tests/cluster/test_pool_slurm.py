"""`Pool` and `Executor` whose workers are in Slurm jobs."""

import os
import time
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stand_ins
from slurm_cluster import Cluster

from pytaskfarmer import BrokenPool, Executor, Pool, Slurm, WorkerDied
from pytaskfarmer.api import jobs

TABLE = [[3, 4, 56, 7], [22, 5, 4, 5, 7], [11, 2, 545, 235, 6, 3], [22, 45, 6, 4]]
"""Rows of numbers, as in a well-known tutorial of pools on clusters."""


def node(number: int) -> tuple[int, str]:
    time.sleep(0.05)
    return number, os.environ["SLURMD_NODENAME"]


def die_of_three(number: int) -> int:
    if number == 3:
        os._exit(9)
    return number


@pytest.fixture(autouse=True)
def here(slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a directory of one's own, on this Slurm."""
    monkeypatch.chdir(tmp_path)


def test_equals_the_builtin_map(slurm: Cluster, tmp_path: Path) -> None:
    """The values are those of `map`, in order; the jobs are gone when the pool is, and so is its directory."""
    with Pool(cluster=Slurm(nodes=2, workers=2, allow_local=True)) as pool:
        assert list(map(np.std, TABLE)) == pool.map(np.std, TABLE)
        pool.close()
        pool.join()
    assert "" == slurm.ask("squeue", "--noheader", "--states=PENDING,RUNNING").strip()
    assert [] == list(tmp_path.iterdir())


def test_works_on_all_nodes(slurm: Cluster) -> None:
    """Calls run on each of the nodes that were asked for."""
    with Pool(cluster=Slurm(nodes=3, workers=1, allow_local=True)) as pool:
        values = pool.map(node, range(60), chunksize=1)
    assert list(range(60)) == [number for number, _ in values]
    assert 3 == len({name for _, name in values})


def test_a_death_costs_one_call(slurm: Cluster) -> None:
    """A call whose worker dies raises; the others have their values."""
    with Pool(cluster=Slurm(workers=2, allow_local=True), on_error="return") as pool:
        values = pool.map(die_of_three, range(6))
    assert isinstance(values[3], WorkerDied)
    assert [0, 1, 2, 4, 5] == [value for value in values if not isinstance(value, WorkerDied)]


def test_a_cancelled_job_is_replaced(slurm: Cluster, tmp_path: Path) -> None:
    """Somebody cancels the job in the middle of a map: another one goes on, and every call is answered once."""
    with Pool(cluster=Slurm(workers=1, allow_local=True), workdir=tmp_path / "w") as pool:
        result = pool.map_async(node, range(40), chunksize=1)
        finished = tmp_path / "w" / "finished"
        while not (finished.exists() and finished.read_text().count("\n") >= 5):
            time.sleep(0.05)
        slurm.ask("scancel", "--state=RUNNING", "--me")
        assert list(range(40)) == [number for number, _ in result.get(50)]


def test_nodes_are_held_only_while_there_is_work(slurm: Cluster) -> None:
    """A job ends when no calls come for a while; calls that come later get a new one."""
    with Pool(cluster=Slurm(workers=1, linger=0.3, allow_local=True)) as pool:
        assert [1] == pool.map(abs, [-1])
        while slurm.ask("squeue", "--noheader", "--states=PENDING,RUNNING,COMPLETING").strip():
            time.sleep(0.05)
        assert [2] == pool.map(abs, [-2])


def test_executor(slurm: Cluster, tmp_path: Path) -> None:
    """`Executor` takes the same cluster: its futures complete, and so does `map`; its jobs and files are gone then."""
    with Executor(cluster=Slurm(workers=2, allow_local=True)) as executor:
        futures = [executor.submit(np.std, row) for row in TABLE]
        assert {*map(np.std, TABLE)} == {future.result() for future in as_completed(futures, timeout=50)}
        assert list(map(np.std, TABLE)) == list(executor.map(np.std, TABLE))
        assert isinstance(executor.submit(die_of_three, 3).exception(timeout=50), WorkerDied)
    assert "" == slurm.ask("squeue", "--noheader", "--states=PENDING,RUNNING").strip()
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "initializer", "words"),
    [
        ({"nodes": 2}, (), "a disk of this node alone, .* allow_local=True"),
        ({"allow_local": True}, (int, ["many"]), "no worker can be had: the initializer failed: ValueError: .*'many'"),
    ],
    ids=["local disk", "initializer"],
)
def test_farmers_that_cannot_work(
    slurm: Cluster, tmp_path: Path, options: dict[str, Any], initializer: tuple[Any, ...], words: str
) -> None:
    """One job is enough to learn it: the exception has the reason, and names a log that is still there."""
    with (
        Pool(None, *initializer, cluster=Slurm(workers=1, **options)) as pool,
        pytest.raises(BrokenPool, match=words) as caught,
    ):
        pool.map(abs, [-1])
    log = Path(str(caught.value).rpartition("(")[2].rstrip(")"))
    assert log.read_text().strip()
    assert [log] == list(log.parent.glob(f"{log.name.rpartition('-')[0]}-*"))
    assert [log.parent] == list(tmp_path.iterdir())


def test_a_held_job(slurm: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """A job that waits for a person is told of, once, and not submitted again; when it is released, the calls go on."""
    before = jobs_so_far(slurm)
    with Pool(cluster=Slurm(workers=1, options={"hold": None}, allow_local=True)) as pool:
        result = pool.map_async(abs, [-1, -2])
        while not caplog.messages:
            time.sleep(0.05)
        (job,) = jobs_so_far(slurm) - before
        assert [f"pytaskfarmer: job {job} does not start by itself: JobHeldUser"] == caplog.messages
        assert not result.ready()
        slurm.ask("scontrol", "release", job)
        assert [1, 2] == result.get(50)
    assert {job} == jobs_so_far(slurm) - before


def test_a_batch_system_that_does_not_answer(slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results come all the same: no more than a few seconds are lost, and the pool ends."""
    (tmp_path / "bin").mkdir()
    squeue = tmp_path / "bin" / "squeue"
    squeue.write_text("#!/bin/sh\nexec sleep 300\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setattr(jobs, "_ANSWER", 0.5)
    with Pool(cluster=Slurm(workers=1, options={"mem": 100}, allow_local=True)) as pool:
        assert list(range(8)) == [number for number, _ in pool.map_async(node, range(8), chunksize=1).get(30)]


@pytest.mark.parametrize(
    ("scripts", "words"),
    [
        ({"sbatch": "echo no such partition >&2; exit 1"}, "sbatch refused the job: no such partition"),
        ({}, "sbatch is not on PATH. Where jobs can be submitted, such as on a login node, it is"),
    ],
    ids=["refused", "not there"],
)
def test_jobs_that_cannot_be_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripts: dict[str, str], words: str
) -> None:
    """The calls raise, with the reason, and nothing is left: there is no log to be read."""
    with monkeypatch.context() as patch:
        programs = stand_ins.prepare(tmp_path, patch)(**scripts)
        patch.setenv("PATH", f"{programs}:/bin0")
        with Pool(cluster=Slurm(allow_local=True)) as pool, pytest.raises(BrokenPool, match=words):
            pool.map(abs, [-1])
        assert ["tasks.txt"] == os.listdir()


def jobs_so_far(slurm: Cluster) -> set[str]:
    """Return the ids of the jobs that this Slurm remembers."""
    return {*slurm.ask("squeue", "--noheader", "--states=all", "--format=%i").split()}
