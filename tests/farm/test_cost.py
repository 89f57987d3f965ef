"""What a farmer costs a task does not depend on the length of the list.

A long list is compared with short ones that are farmed just before and after it, of a program that is started directly
and prints nothing. What a list of a single task costs is taken off each. Bytes, operations and memory are counted and
hardly vary; CPU seconds do, on a machine that others share: by a third within a minute. So the short lists take as long
together as the long one where that is to be told exactly, and of several rounds the one with the least growth counts.

The short form has wider bounds: between 1,000 and 10,000 tasks ids grow by a digit, and claims begin to be compacted.
"""

import json
import statistics
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


@pytest.fixture
def farms(tmp_path: Path) -> Farms:
    return Farms(tmp_path)


@dataclass(frozen=True)
class Bounds:
    """By which factor a cost per task may grow from lists of `short` tasks to one of `long`.

    In each of the `rounds`, `beside` short lists are farmed before the long one, and as many after it.
    """

    short: int
    long: int
    rounds: int
    beside: int
    cpu: float
    counted: float


@pytest.mark.parametrize(
    "bounds",
    [
        pytest.param(Bounds(1_000, 10_000, rounds=1, beside=1, cpu=1.3, counted=1.15), id="short"),
        pytest.param(
            Bounds(10_000, 100_000, rounds=3, beside=5, cpu=1.1, counted=1.1),
            marks=[pytest.mark.proof, pytest.mark.timeout(1800)],
            id="long",
        ),
    ],
)
def test_cost_of_a_task_does_not_grow_with_the_list(farms: Farms, bounds: Bounds) -> None:
    """In a list ten times as long, a task costs as much CPU time, and as many bytes and operations on shared files.

    And the farmer's peak memory is at most 1.5 times that with 1,000 tasks.
    """
    single, thousand = farms.run([TASK]), farms.run([TASK] * 1_000)

    def of_a_task(what: str, costs: list[Cost], tasks: int) -> float:
        return statistics.mean((getattr(cost, what) - getattr(single, what)) / (tasks - 1) for cost in costs)

    growths: dict[str, list[float]] = {"written": [], "operations": [], "cpu": []}
    for _ in range(bounds.rounds):
        before = [farms.run([TASK] * bounds.short) for _ in range(bounds.beside)]
        long = farms.run([TASK] * bounds.long)
        after = [farms.run([TASK] * bounds.short) for _ in range(bounds.beside)]
        for what, growth in growths.items():
            growth.append(of_a_task(what, [long], bounds.long) / of_a_task(what, [*before, *after], bounds.short))
        assert long.peak <= 1.5 * thousand.peak
    assert max(growths["written"]) < bounds.counted
    assert max(growths["operations"]) < bounds.counted
    assert min(growths["cpu"]) < bounds.cpu


def test_sections_have_a_ceiling(farms: Farms) -> None:
    """A farmer to which ends and free slots come 30 times a second enters at most 20 locked sections a second."""
    lines = [f"sleep {1 + number % 10 / 10}" for number in range(90)]  # too long to be claimed ahead
    sections = farms.run(lines, slots=45).sections
    in_a_second = [sum(1 for other in sections if moment <= other < moment + 1) for moment in sections]
    assert max(in_a_second) <= 20
    assert max(in_a_second) > 10
