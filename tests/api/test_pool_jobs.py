"""How many jobs a pool has, and how many calls it lists for them; the batch system is a stand-in."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import called
import pytest
from feigned import Batch, Slow

from pytaskfarmer import Executor, GridEngine, Pool, Slurm
from pytaskfarmer.api.fleet import Fleet
from pytaskfarmer.api.jobs import JobFarm
from pytaskfarmer.cluster.contract import Plan, State

PLAN = Plan(("true",), "/", "/log-{job}", farmers=3)


@pytest.fixture
def batch() -> Batch:
    """Return a batch system that does not hold up anything."""
    batch = Batch()
    batch.gate.set()
    return batch


def test_a_job_that_is_being_submitted_at_the_end_is_cancelled() -> None:
    """The end waits until the batch system has told its number; after it, none is submitted."""
    batch = Batch()
    fleet = Fleet(batch, PLAN)
    submitter = threading.Thread(target=fleet.submit)
    submitter.start()
    assert batch.submitting.wait(10)
    ender = threading.Thread(target=fleet.end, args=(list,))
    ender.start()
    ender.join(0.05)
    assert ender.is_alive()
    batch.gate.set()
    submitter.join(10)
    ender.join(10)
    assert ["0", "1", "2"] == batch.cancelled
    fleet.submit()
    assert 3 == len(batch.jobs)


def test_jobs_that_have_ended_are_replaced(batch: Batch) -> None:
    """As many as there is work for, while others live; and more and more rarely, where they end at once."""
    fleet = Fleet(batch, PLAN)
    fleet.submit()
    batch.jobs.update({"0": State.ENDED, "1": State.ENDED})
    assert 1 == fleet.ask(0)
    fleet.fill_up(1, now=10.0)
    assert 3 == len(batch.jobs)
    fleet.fill_up(2, now=10.0)
    assert 4 == len(batch.jobs)
    submitted = []
    for now in range(20, 60):
        batch.jobs.update(dict.fromkeys(list(batch.jobs)[3:], State.ENDED))
        fleet.ask(0)
        before = len(batch.jobs)
        fleet.fill_up(9, now=now)
        submitted += [now] * (len(batch.jobs) - before)
    assert [20, 20, 22, 22, 26, 26, 34, 34, 50, 50] == submitted


def test_the_pause_is_short_again_once_all_live(batch: Batch) -> None:
    """Jobs that leave after a burst of calls, and come again with the next one, are no failures."""
    fleet = Fleet(batch, PLAN)
    fleet.submit()
    for now in range(0, 50, 10):
        batch.jobs[list(batch.jobs)[-1]] = State.ENDED
        assert 2 == fleet.ask(0)
        fleet.fill_up(3, now=now)
        assert 3 == fleet.ask(0)
        fleet.fill_up(3, now=now + 5)
    assert 3 + 5 == len(batch.jobs)


def test_a_job_with_notice_is_waited_for(batch: Batch) -> None:
    """It counts as cancelled while its farmers still end their calls."""
    fleet = Fleet(batch, PLAN)
    fleet.submit()
    there = iter([["a farmer"], ["a farmer"], []])
    fleet.end(lambda: next(there))
    assert [] == [*there]


@pytest.fixture
def farm(batch: Batch, tmp_path: Path) -> Iterator[JobFarm]:
    """Give a farm of three jobs, of whose nodes nothing is known, with ten slices outstanding."""
    farm = JobFarm(batch, PLAN, str(tmp_path), None)
    farm.outstanding = lambda: 10
    yield farm
    farm.stop()


def test_more_is_listed_ahead_for_farmers_that_have_come(farm: JobFarm, tmp_path: Path) -> None:
    """Their slots are what counts, not the CPUs of the caller's node."""
    before = farm.ahead
    (tmp_path / "claims").mkdir()
    for name in ("nid1-7-s500-0123abcd", "nid2-7-s200-0123abcd"):
        (tmp_path / "claims" / name).touch()
        (tmp_path / "claims" / f"{name}.lock").touch()
    assert farm.wait()
    assert before < 4 * 700 == farm.ahead
    for path in (tmp_path / "claims").iterdir():
        path.unlink()


def test_a_refusal_while_others_live_is_a_warning(
    farm: JobFarm, batch: Batch, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls go on in the jobs that are left."""
    assert farm.wait()
    batch.jobs["0"], batch.refuses = State.ENDED, True
    monkeypatch.setattr(farm, "_ask_at", 0.0)
    with caplog.at_level(logging.WARNING):
        assert farm.wait()
    assert ["pytaskfarmer: sbatch refused the job: no more"] == caplog.messages


@pytest.mark.parametrize(
    ("cluster", "wished", "expected"),
    [
        (Slurm(workers=24), None, 24),
        (Slurm(jobs=2, nodes=3), 48, 48),
        (Slurm(jobs=2, nodes=2, cpus=8), None, 32),
        (Slurm(nodes=2, workers=6), 48, 12),
        (GridEngine(jobs=3), 7, 9),
    ],
)
def test_how_many_calls_run_at_a_time(cluster: Slurm, wished: int | None, expected: int) -> None:
    """What the pool and its cluster ask for counts, whatever this node has."""
    assert expected == cluster.expected(wished)


def test_whole_nodes_are_taken_to_be_large() -> None:
    """Nobody here knows how many CPUs they have: a map makes chunks enough for many."""
    assert 4 * 128 <= Slurm(nodes=4).expected(None)


def test_a_pool_lists_more_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    """Although no call has ended."""
    monkeypatch.chdir(tmp_path)
    slow = Slow()
    with Pool(cluster=slow) as pool:
        for number in range(50):
            pool.apply_async(called.square, (number,))
        assert 3 == slow.listed()
        slow.grow(20)
        wait_until(lambda: slow.listed() == 3 + 21)


def test_an_executor_hands_in_more_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    """Although no call has ended; the others can still be cancelled."""
    monkeypatch.chdir(tmp_path)
    slow = Slow()
    executor = Executor(cluster=slow)
    futures = [executor.submit(called.square, number) for number in range(50)]
    assert 3 == slow.listed()
    slow.grow(20)
    wait_until(lambda: slow.listed() == 3 + 21)
    assert 26 == sum(future.cancel() for future in futures)
    slow.stop()
    executor.shutdown()


@pytest.mark.parametrize(
    ("options", "line"), [({}, "-pe smp 8"), ({"pe": "mpi"}, "-pe mpi 8"), ({"pe": "mpi 4"}, "-pe mpi 4")]
)
def test_slots_are_asked_for_where_there_is_one_otherwise(
    options: dict[str, str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    """A Grid Engine job has a slot for each of the workers of a pool, unless the caller says otherwise."""
    for name, script in {
        "qsub": "cat > script.part; mv script.part script; echo 7",
        "qdel": "",
        "qstat": "echo '<a/>'",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    with Pool(8, cluster=GridEngine(options=options)) as pool:
        pool.apply_async(abs, (-1,))
        wait_until((tmp_path / "script").exists)
    script = (tmp_path / "script").read_text()
    assert f"#$ {line}\n" in script
    assert '"slots": 8' in script


def test_what_grid_engine_does_not_have_is_refused_in_the_words_of_python() -> None:
    """With what can be had instead."""
    with pytest.raises(ValueError, match=r"^nodes=2: .*jobs=2 submits as many jobs"):
        GridEngine(nodes=2)
    with pytest.raises(ValueError, match=r"^qos='long': .*partition names a queue"):
        GridEngine(qos="long")


@pytest.mark.parametrize("kind", [Slurm, GridEngine])
def test_a_wrong_argument(kind: Callable[..., object]) -> None:
    """The error names what the caller has written."""
    with pytest.raises(TypeError, match=rf"^{kind.__name__}\.__init__\(\) got an unexpected keyword argument 'node'"):
        kind(node=2)
