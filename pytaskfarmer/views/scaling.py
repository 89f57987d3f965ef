"""What a scaling study has measured, and what follows from it: pure functions on numbers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

_T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
"""Student's t for 95 %, by degrees of freedom from 1 on."""

_VAGUE = 0.5
"""An interval of the serial fraction that is wider than this determines nothing."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One run of the whole list: `seconds` from the start of its command to its end.

    `task_seconds` is the sum over all tasks of the time that each has taken, `cpu_seconds` that of their CPU time.
    """

    workers: int
    repeat: int
    seconds: float
    task_seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Point:
    """The runs with one number of workers. `seconds` is their median, from `fastest` to `slowest`.

    `efficiency` is the speed-up over the workers: about `busy`, the part of the workers' time in which they had a
    task, divided by `slowdown`, how much longer the tasks themselves have taken than with the fewest workers.
    """

    workers: int
    runs: int
    seconds: float
    fastest: float
    slowest: float
    speedup: float
    efficiency: float
    busy: float
    slowdown: float


@dataclass(frozen=True, slots=True)
class Fit:
    """Amdahl's law with these seconds; `fraction` is the serial part of the whole, in [0, 1].

    The true fraction lies between `low` and `high` with 95 %, if the run times scatter about the law.
    """

    serial: float
    parallel: float
    low: float
    high: float

    @property
    def fraction(self) -> float:
        """The serial fraction."""
        return self.serial / (self.serial + self.parallel)

    def seconds(self, workers: float) -> float:
        """Return how long the law says that the list takes."""
        return self.serial + self.parallel / workers


class Undetermined(ValueError):
    """The runs do not tell the serial fraction; the text says why."""


def points(timings: Iterable[Timing]) -> tuple[Point, ...]:
    """Return a point for each number of workers, from the fewest up.

    Speed-up is relative to the fewest workers, taken to be fully efficient: S(n) = m T(m) / T(n) for m the fewest,
    which for m = 1 is the usual T(1) / T(n). T are medians.
    """
    groups: dict[int, list[Timing]] = {}
    for timing in timings:
        groups.setdefault(timing.workers, []).append(timing)
    found: list[Point] = []
    base, base_of_tasks = 0.0, 0.0
    for workers, group in sorted(groups.items()):
        seconds = median(timing.seconds for timing in group)
        tasks = median(timing.task_seconds for timing in group)
        if not found:
            base, base_of_tasks = workers * seconds, tasks
        busy = median(timing.task_seconds / (workers * timing.seconds) for timing in group)
        found.append(
            Point(
                workers, len(group), seconds, min(timing.seconds for timing in group),
                max(timing.seconds for timing in group), base / seconds, base / seconds / workers, min(1.0, busy),
                tasks / base_of_tasks if base_of_tasks > 0 else 1.0,
            )
        )  # fmt: skip
    return tuple(found)


def amdahl(times: Sequence[tuple[int, float]]) -> Fit:
    """Fit Amdahl's law to pairs of workers and seconds, one of each run. Raises `Undetermined`.

    The law: of the work, a part a is done by one worker while the others wait, and the rest b is shared by all, so

        T(n) = a + b / n,    serial fraction s = a / (a + b),    speed-up S(n) = T(1) / T(n) <= 1 / s

    (G. M. Amdahl, Validity of the single processor approach to achieving large scale computing capabilities, AFIPS
    Spring Joint Computer Conference 1967, pages 483 to 485). T is linear in 1/n, which speed-up and efficiency are
    not, so a and b are found by linear least squares there. Run times scatter in proportion to themselves, so each
    residual is taken relative to its own T. Where a or b would be negative it is 0, and the other is the least-squares
    value of what is left; so s is in [0, 1]. The interval of s is linear propagation of the scatter of the residuals.

    The law knows nothing of workers that share a CPU: give it no runs with more workers than CPUs.
    """
    if len({workers for workers, _ in times}) < 2:
        raise Undetermined("it takes runs with two different numbers of workers, none above the CPUs")
    freedom = len(times) - 2
    if freedom < 1:
        raise Undetermined("two runs cannot tell it from noise; repeat them")
    x, t, xx, xt, total = _moments(times)
    b = xt / xx
    a = t - b * x
    if a + b <= 0:
        raise Undetermined("the times scatter too much")
    scatter = sum(((a + b / n) / seconds - 1) ** 2 for n, seconds in times) / freedom
    variance = scatter * (b**2 / total + t**2 / xx) / (a + b) ** 4  # the mean t and the slope b err independently
    half = _t95(freedom) * math.sqrt(variance)
    low, high = (min(1.0, max(0.0, a / (a + b) + way * half)) for way in (-1, 1))
    if high - low > _VAGUE:
        raise Undetermined(f"the times scatter too much: anything from {low:.0%} to {high:.0%} would fit")
    if a < 0:
        a, b = 0.0, sum(1 / (n * seconds) for n, seconds in times) / sum(1 / (n * seconds) ** 2 for n, seconds in times)
    elif b < 0:
        a, b = t, 0.0
    return Fit(a, b, low, high)


def _moments(times: Sequence[tuple[int, float]]) -> tuple[float, float, float, float, float]:
    """Return the means of x = 1/n and of T, the sums of squares of x and of products, and the sum of the weights."""
    weights = [1 / seconds**2 for _, seconds in times]
    total = sum(weights)
    x = sum(w / n for w, (n, _) in zip(weights, times, strict=True)) / total
    t = sum(w * seconds for w, (_, seconds) in zip(weights, times, strict=True)) / total
    xx = sum(w * (1 / n - x) ** 2 for w, (n, _) in zip(weights, times, strict=True))
    xt = sum(w * (1 / n - x) * (seconds - t) for w, (n, seconds) in zip(weights, times, strict=True))
    return x, t, xx, xt, total


def _t95(freedom: int) -> float:
    return _T95[freedom - 1] if freedom <= len(_T95) else 1.96 + 2.4 / freedom
