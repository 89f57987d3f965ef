"""Problem 2: tasks of different length, one after another and on several workers."""

import heapq
import time
from collections.abc import Callable, Sequence

from stopwatch import CPUS, clocked, started

from pytaskfarmer import Pool

WORK = (1, 2, 4, 6)


def wait(seconds: float) -> None:
    """Take so many seconds on any machine, as a task does that has a core to itself."""
    time.sleep(seconds)


def compute(seconds: float) -> None:
    """Use so many seconds of a core. That takes longer where there are more workers than cores."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def longest_first(work: Sequence[float]) -> Sequence[float]:
    """Return the same work in the order that leaves little to wait for at the end."""
    return sorted(work, reverse=True)


def makespan(work: Sequence[float], workers: int) -> float:
    """Return when the last task ends, in the unit of `work`, if whoever is free takes the next one."""
    free_at = [0.0] * workers
    for length in work:
        heapq.heapreplace(free_at, free_at[0] + length)
    return max(free_at)


def solve(unit: float, task: Callable[[float], None]) -> dict[str, float]:
    """Print how long the work takes, and return the measured seconds of the three parts of the problem.

    `unit` is how many seconds a task of length 1 takes.
    """
    print(f"\nProblem 2: tasks of {', '.join(map(str, WORK))} units of {unit:g} s; times in units")
    print(f"  {'':28}expected  measured")
    serial = _measured("one after another", WORK, 1, unit, lambda work: [task(seconds) for seconds in work])
    per_cpu = _pooled(f"a worker for each CPU ({CPUS})", WORK, CPUS, unit, task)
    per_task = _pooled(f"a worker for each task ({len(WORK)})", WORK, len(WORK), unit, task)
    _pooled("2 workers, longest first", longest_first(WORK), 2, unit, task)
    _print_makespans()
    return {"part1": serial, "part2": per_cpu, "part3": per_task}


def _pooled(name: str, work: Sequence[float], workers: int, unit: float, task: Callable[[float], None]) -> float:
    with started(Pool(workers), workers, task, 0.05) as pool:
        return _measured(name, work, workers, unit, lambda seconds: pool.map(task, seconds, 1))


def _measured(
    name: str, work: Sequence[float], workers: int, unit: float, run: Callable[[list[float]], object]
) -> float:
    """Run the work, print what it took beside what was expected, and return the seconds."""
    seconds, _ = clocked(lambda: run([unit * length for length in work]))
    print(f"  {name:28}{makespan(work, workers):8g}{seconds / unit:10.1f}")
    return seconds


def _print_makespans() -> None:
    counts = range(1, len(WORK) + 1)
    print(f"  {'workers':24}", *(f"{count:4}" for count in counts))
    for name, order in (("expected, first come", WORK), ("expected, longest first", longest_first(WORK))):
        print(f"  {name:24}", *(f"{makespan(order, count):4g}" for count in counts))
