"""When a farmer is gone, whatever killed it, so is everything that its tasks started."""

import contextlib
import os
import random
import signal
from pathlib import Path

import pytest
from farm_driver import Farm, Mark, Started, alive, until

TASKS = {
    "programs": "sleep 30",
    "background children": "sleep 30 & sleep 31 & echo",
    "daemons": "setsid sleep 30 & echo",
    "double forks": "(setsid sh -c 'sleep 30 & sleep 31' &) & echo",
    "closed files": "exec 0<&- 1>&- 2>&-; (setsid sleep 30 &)",
}
VICTIMS = ("farmer", "farmers group", "guard", "guards group")
KILLS = [
    pytest.param(25, id="25 kills"),
    pytest.param(500, id="500 kills", marks=[pytest.mark.proof, pytest.mark.timeout(1200)]),
]


def commands(mark: Mark) -> list[str]:
    paths = [Path(f"/proc/{pid}/cmdline") for pid in mark.living()]
    return [path.read_bytes().replace(b"\0", b" ").decode() for path in paths if path.exists()]


def kill(farm: Farm, victim: str) -> None:
    started = farm.started[-1]
    farmer, guard = started.farmer, started.guard.pid
    assert farmer is not None, started.output
    if victim == "farmer":
        os.kill(farmer, signal.SIGKILL)
    elif victim == "farmers group":
        os.killpg(farmer, signal.SIGKILL)
    elif victim == "guard":
        os.kill(guard, signal.SIGKILL)
    else:
        os.killpg(guard, signal.SIGKILL)


@pytest.mark.parametrize("kills", KILLS)
def test_nothing_outlives_a_farmer(farm: Farm, mark: Mark, kills: int) -> None:
    """A second after a farmer or its guard was killed while it started tasks, no process of the test is alive."""
    farm.write([random.choice(list(TASKS.values())) for _ in range(400 * kills)])
    found = []
    for number in range(kills):
        started = farm.start("-n", str(random.choice([2, 8, 100])), "--logs", "none", "--quiet")
        assert until(lambda: len(mark.living()) > 2, 20), started.output
        until(started.over, random.uniform(0, 0.15))
        found.append(len(mark.living()) - 2)
        kill(farm, VICTIMS[number % len(VICTIMS)])
        assert until(lambda: not mark.living(), 1), f"kill {number}: {commands(mark)} of {found[-1]} tasks' are alive"
    assert 0.8 * kills < sum(number > 0 for number in found), found


@pytest.mark.parametrize("victim", ["farmer", "guard"])
@pytest.mark.parametrize("kind", ["background children", "daemons", "double forks", "closed files"])
def test_every_kind_of_process_is_found(farm: Farm, mark: Mark, kind: str, victim: str) -> None:
    """Background children, daemons and double forks go with the farmer, whether or not their task has ended before."""
    farm.write([f"{TASKS[kind]}; sleep 0.1", f"{TASKS[kind]}; sleep 30"])
    started = farm.start("-n", "2", "--logs", "none")
    assert until(lambda: [0] == farm.ids("finished") and len(mark.living()) > 3, 20), started.output
    kill(farm, victim)
    assert until(lambda: not mark.living(), 1), mark.living()


OVERLAPPING = "sh -c 'mkdir running || echo twice >> overlaps; sleep 0.7; rmdir running'"


def test_the_next_farmer_kills_what_guard_and_farmer_left(farm: Farm, mark: Mark) -> None:
    """After farmer and guard died at once, a new farmer first kills their tasks, so that none runs twice at a time."""
    farm.write([OVERLAPPING])
    first = farm.start("-n", "1")
    assert until((farm.directory / "running").is_dir, 20), first.output
    both_at_once(first)
    (farm.directory / "running").rename(farm.directory / "was running")
    assert 0 == farm.run("-n", "1")
    assert not (farm.directory / "overlaps").exists()
    assert 1 == sum(bar.get("cat") == "task" for bar in farm.timeline())


def test_a_farmer_that_stays_kills_what_another_left(farm: Farm, mark: Mark) -> None:
    """After a farmer and its guard died at once, the one that takes over their task at the end first kills it."""
    farm.write([OVERLAPPING.replace("0.7", "9"), "sleep 0.3"])
    first = farm.start("-n", "1")
    assert until((farm.directory / "running").is_dir, 20), first.output
    survivor = farm.start("-n", "1")
    assert until(lambda: len(farm.farmers()) == 2 and 1 in farm.claims(str(farm.name_of(survivor))).running, 20)
    orphans = sessions_of_task_zero(mark)
    both_at_once(first)
    assert 1 == len(orphans)
    assert orphans == sessions_of_task_zero(mark)
    assert until(lambda: sessions_of_task_zero(mark) - orphans, 20), survivor.output
    assert set() == sessions_of_task_zero(mark) & orphans


def test_claims_live_until_the_tasks_are_gone(farm: Farm, mark: Mark) -> None:
    """While the guard has yet to clean up after its farmer, others take the farmer for alive."""
    farm.write([OVERLAPPING.replace("0.7", "9")])
    first = farm.start("-n", "1")
    assert until((farm.directory / "running").is_dir, 20), first.output
    farmer = first.farmer
    assert farmer is not None
    first.signal(signal.SIGSTOP)
    os.kill(farmer, signal.SIGKILL)
    assert until(lambda: not alive(farmer), 5)
    second = farm.start("-n", "1")
    assert 0 == second.wait()
    assert "held by 1 other farmer" in second.output
    first.signal(signal.SIGCONT)
    assert 128 + signal.SIGKILL == first.wait()
    assert [] == mark.living()


def sessions_of_task_zero(mark: Mark) -> set[int]:
    found = set()
    for pid in mark.living():
        with contextlib.suppress(OSError):
            if b"PYTASKFARMER_TASK_ID=0\0" in Path(f"/proc/{pid}/environ").read_bytes():
                found.add(os.getsid(pid))
    return found


def both_at_once(started: Started) -> None:
    farmer = started.farmer
    assert farmer is not None
    started.guard.send_signal(signal.SIGSTOP)
    os.kill(farmer, signal.SIGKILL)
    started.guard.kill()
    started.guard.wait()
