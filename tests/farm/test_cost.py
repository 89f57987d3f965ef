"""What a farmer costs a task does not depend on the length of the list.

A short and a long list are compared, of a program that is started directly and prints nothing. What a list of a single
task costs is taken off both. Bytes, operations and memory are counted and hardly vary; CPU seconds do, on a machine
that others share, so they are the smallest of several runs.

The short form has wider bounds: between 1,000 and 10,000 tasks ids grow by a digit, and claims begin to be compacted.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("costed_farmer.py")
TASK = "/bin/true"


@dataclass(frozen=True)
class Cost:
    """What guard and farmer cost together: CPU seconds, and operations on shared files.

    Of the farmer alone: bytes `written`, bytes of memory at its `peak`, and the moments of its locked `sections`.
    """

    cpu: float
    operations: int
    written: int
    peak: int
    sections: tuple[float, ...]


class Farms:
    """Runs lists, each in a directory of its own."""

    def __init__(self, root: Path) -> None:
        self._directories: Iterator[Path] = (root / str(number) for number in count())

    def run(self, lines: Iterable[str], slots: int = 8) -> Cost:
        """Farm a new list, and return what that cost."""
        directory = next(self._directories)
        directory.mkdir()
        (directory / "tasks.txt").write_text("".join(f"{line}\n" for line in lines))
        options = ["--workdir", "work", "--proc", str(slots), "--logs", "pack", "--quiet"]
        subprocess.run([sys.executable, SCRIPT, "report", "run", "tasks.txt", *options], cwd=directory, check=True)
        both = [json.loads(line) for line in (directory / "report").read_text().splitlines()]
        (farmer,) = (facts for facts in both if facts["sections"])
        return Cost(
            cpu=sum(facts["cpu"] for facts in both),
            operations=sum(sum(facts["operations"].values()) for facts in both),
            written=farmer["written"],
            peak=farmer["peak"],
            sections=tuple(farmer["sections"]),
        )

    def cheapest(self, tasks: int, runs: int) -> Cost:
        """Return the smallest of each cost, of several runs of a list of that many tasks."""
        costs = [self.run([TASK] * tasks) for _ in range(runs)]
        return Cost(
            cpu=min(cost.cpu for cost in costs),
            operations=min(cost.operations for cost in costs),
            written=min(cost.written for cost in costs),
            peak=min(cost.peak for cost in costs),
            sections=costs[0].sections,
        )


@pytest.fixture
def farms(tmp_path: Path) -> Farms:
    return Farms(tmp_path)


@dataclass(frozen=True)
class Bounds:
    """By which factor a cost per task may grow from a list of `short` tasks to one of `long`."""

    short: int
    long: int
    runs: int
    cpu: float
    counted: float


@pytest.mark.parametrize(
    "bounds",
    [
        pytest.param(Bounds(1_000, 10_000, runs=1, cpu=1.3, counted=1.15), id="short"),
        pytest.param(
            Bounds(10_000, 100_000, runs=3, cpu=1.1, counted=1.1),
            marks=[pytest.mark.proof, pytest.mark.timeout(1800)],
            id="long",
        ),
    ],
)
def test_cost_of_a_task_does_not_grow_with_the_list(farms: Farms, bounds: Bounds) -> None:
    """In a list ten times as long, a task costs as much CPU time, and as many bytes and operations on shared files.

    And the farmer's peak memory is at most 1.5 times that with 1,000 tasks.
    """
    costs = {tasks: farms.cheapest(tasks, bounds.runs) for tasks in sorted({1, 1_000, bounds.short, bounds.long})}

    def of_a_task(what: str, tasks: int) -> float:
        all_of_them, first = getattr(costs[tasks], what), getattr(costs[1], what)
        return float(all_of_them - first) / (tasks - 1)

    def growth(what: str) -> float:
        return of_a_task(what, bounds.long) / of_a_task(what, bounds.short)

    assert growth("written") < bounds.counted
    assert growth("operations") < bounds.counted
    assert growth("cpu") < bounds.cpu
    assert costs[bounds.long].peak <= 1.5 * costs[1_000].peak


def test_sections_have_a_ceiling(farms: Farms) -> None:
    """A farmer to which ends and free slots come 30 times a second enters at most 20 locked sections a second."""
    lines = [f"sleep {1 + number % 10 / 10}" for number in range(90)]  # too long to be claimed ahead
    sections = farms.run(lines, slots=45).sections
    in_a_second = [sum(1 for other in sections if moment <= other < moment + 1) for moment in sections]
    assert max(in_a_second) <= 20
    assert max(in_a_second) > 10
