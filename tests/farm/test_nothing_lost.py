"""Farmers killed at any moment, again and again: no task is lost, and no noted result is made twice."""

import os
import random
import signal
from collections import Counter

import pytest
from farm_driver import Farm, Mark, Started, alive, until

from pytaskfarmer.workdir import claims
from pytaskfarmer.workdir.claims import Claims

SLOTS = 8
VICTIMS = ("farmer", "group", "both", "farmer", "guard", "both", "farmer", "guards group", "group", "newcomer")
PROPORTIONS = [
    pytest.param(20, id="20 kills"),
    pytest.param(200, id="200 kills", marks=[pytest.mark.proof, pytest.mark.timeout(900)]),
]


class Driver:
    """Kills farmers one after the other, and keeps account of what each of them had noted when it died."""

    def __init__(self, farm: Farm, mark: Mark) -> None:
        self.farm = farm
        self.mark = mark
        self.held = self.unrecorded = 0
        self.runs_when_noted: dict[int, int] = {}

    def runs(self) -> Counter[int]:
        """Return how often each task was started: each of them adds its number to a file, and only then works."""
        path = self.farm.directory / "runs"
        return Counter(map(int, path.read_text().split())) if path.exists() else Counter()

    def kill_one(self, victim: str) -> bool:
        """Start a farmer and kill it at a moment of its progress; False if it came to its end before that."""
        started = self.farm.start("-n", str(SLOTS), "--quiet")
        if not self._wait_for_the_moment(started, victim):
            return False
        farmer, name = started.farmer, self.farm.name_of(started)
        if victim == "farmer" and name is not None:
            # Chance alone hits a noted end too seldom: an end lives in a claim for some milliseconds only.
            until(lambda: started.over() or self.farm.claims(name).ended, 20, pause=0)
        if victim in ("both", "guard"):
            os.kill(started.guard.pid, signal.SIGKILL)
        if victim in ("both", "farmer") and farmer is not None:
            os.kill(farmer, signal.SIGKILL)
        if victim == "group" and farmer is not None:
            os.killpg(farmer, signal.SIGKILL)
        if victim in ("guards group", "newcomer"):
            os.killpg(started.guard.pid, signal.SIGKILL)
        if victim in ("farmer", "group", "both") and farmer is not None and name is not None:
            assert until(lambda: not alive(farmer), 5)
            self._account(claims.read(self.farm.layout.claim(name)))
        if random.random() < 0.5:
            started.guard.wait(5)
            assert until(lambda: victim == "both" or not self.mark.living(), 5)
        return True

    def _wait_for_the_moment(self, started: Started, victim: str) -> bool:
        if victim == "newcomer":
            until(started.over, random.uniform(0, 0.2))
            return not started.over()
        goal = self.runs().total() + random.randint(1, 24)
        until(lambda: started.over() or self.runs().total() >= goal, 20)
        until(started.over, random.uniform(0, 0.03))
        return not started.over()

    def _account(self, left: Claims) -> None:
        self.held += bool(left.texts)
        self.unrecorded += bool(left.ended)
        runs = self.runs()
        for task_id in left.ended:
            self.runs_when_noted[task_id] = runs[task_id]

    def wait_for_all(self) -> None:
        """Return when every farmer that was killed is gone, and those that stop for want of a guard have stopped."""
        for started in self.farm.started:
            started.wait()
        farmers = [claims.farmer.pid for name in self.farm.farmers() if (claims := self.farm.claims(name)).farmer]
        assert until(lambda: not any(map(alive, farmers)), 10)


@pytest.mark.parametrize("kills", PROPORTIONS)
def test_nothing_is_lost(farm: Farm, mark: Mark, kills: int) -> None:
    """After any number of SIGKILLs, each task is recorded once, and none runs again whose end had been noted."""
    tasks = 11 * kills
    farm.write([f"sh -c 'echo {i} >> runs; sleep {random.uniform(0.02, 0.2):.3f}'" for i in range(tasks)])
    driver = Driver(farm, mark)
    for number in range(kills):
        assert driver.kill_one(VICTIMS[number % len(VICTIMS)]), farm.started[-1].output
    assert kills // 2 <= driver.held
    assert kills // 10 <= driver.unrecorded

    driver.wait_for_all()
    ended = farm.run("-n", str(SLOTS), seconds=120)
    farm.balance(tasks, "finished", "failed")
    failed, interruptions = farm.ids("failed"), Counter(farm.ids("interrupted"))
    assert (1 if failed else 0) == ended
    # Three deaths fail a task; the note of one of them is missing if the auditor itself was killed just then.
    assert {2, 3} >= {interruptions[i] for i in failed}

    assert 0 == farm.run("-n", str(SLOTS), "--retry-failed", seconds=60)
    farm.balance(tasks, "finished")
    assert sorted(range(tasks)) == sorted(farm.ids("finished"))
    runs = driver.runs()
    assert driver.runs_when_noted == {i: runs[i] for i in driver.runs_when_noted}
    assert runs.total() - tasks <= kills * SLOTS
