"""How evenly a farm's work fell on its workers."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev


@dataclass(frozen=True, slots=True)
class Turn:
    """One task as its worker saw it: `worker` is a process id, `work` its length in milliseconds."""

    worker: int
    work: float


def greedy(works: Iterable[float], workers: int) -> float:
    """Return when the last task ends if whoever is free takes the next one, and nothing else takes time."""
    free_at = [0.0] * workers
    for work in works:
        heapq.heapreplace(free_at, free_at[0] + work)
    return max(free_at)


def table(turns: Sequence[Turn]) -> str:
    """Return a line for each worker, and what they have in common below."""
    tasks: defaultdict[int, list[float]] = defaultdict(list)
    for turn in turns:
        tasks[turn.worker].append(turn.work)
    rows = [(len(works), sum(works)) for _, works in sorted(tasks.items())]
    lines = ["worker    tasks   work [ms]"]
    lines += [f"{number:6}{count:9}{work:12.0f}" for number, (count, work) in enumerate(rows, start=1)]
    lines += ["", "              minimum    maximum       mean     spread"]
    lines += [_spread("tasks", [count for count, _ in rows]), _spread("work [ms]", [work for _, work in rows])]
    lines += [_spread("task [ms]", [turn.work for turn in turns])]
    return "\n".join(lines)


def _spread(name: str, values: Sequence[float]) -> str:
    return f"{name:10}" + "".join(
        f"{value:11.1f}" for value in (min(values), max(values), fmean(values), pstdev(values))
    )


def summary(turns: Sequence[Turn], workers: int, elapsed: float) -> str:
    """Return one line on the run that took `elapsed` seconds."""
    works = [turn.work for turn in turns]
    busy = sum(works) / (1000 * workers * elapsed)
    return (
        f"{_count(len(works), 'task')} on {_count(workers, 'worker')} in {elapsed:.2f} s, busy {busy:.0%} of the time; "
        f"a task took {min(works):.1f} to {max(works):.1f} ms, {fmean(works):.1f} ms on average"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
