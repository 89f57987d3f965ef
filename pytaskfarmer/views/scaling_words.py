"""A scaling study as lines for a person: pure functions."""

from collections.abc import Iterable, Iterator, Sequence

from pytaskfarmer.views.scaling import Fit, Point, Timing, Undetermined, amdahl
from pytaskfarmer.views.scaling_table import Study
from pytaskfarmer.views.words import count

_SUPERLINEAR = 1.05
_BAR = 40
_PARTS = " ▏▎▍▌▋▊▉"


def notes(workers: Iterable[int], study: Study) -> Iterator[str]:
    """Yield what is to be known before the runs."""
    above = [n for n in workers if n > study.cores]
    if above:
        which = "with more workers than that, tasks share them"
        yield f"{_list(above)} workers are more than the {count(study.cores, 'CPU')} here; {which}"
    idle = [n for n in workers if n > study.tasks]
    if idle:
        yield f"{_list(idle)} workers are more than the {count(study.tasks, 'task')} of the list; the others stay idle"


def fitted(timings: Iterable[Timing], cores: int) -> Fit | str:
    """Return the fit to the runs with no more workers than CPUs, or why there is none."""
    try:
        return amdahl([(timing.workers, timing.seconds) for timing in timings if timing.workers <= cores])
    except Undetermined as why:
        return str(why)


def report(points: Sequence[Point], fit: Fit | str) -> Iterator[str]:
    """Yield the table, and what the fit says."""
    yield f"workers  runs  seconds  {'range':^15}  speed-up  efficiency  busy  slowdown"
    for point in points:
        span = f"{_seconds(point.fastest)} to {_seconds(point.slowest)}" if point.runs > 1 else ""
        yield (
            f"{point.workers:>7}  {point.runs:>4}  {_seconds(point.seconds):>7}  {span:^15}  {point.speedup:>8.2f}  "
            f"{point.efficiency:>10.0%}  {point.busy:>4.0%}  {point.slowdown:>8.2f}"
        )
    if points and points[0].workers > 1:
        yield f"speed-up is relative to {points[0].workers} workers, taken to be fully efficient"
    if any(point.efficiency > _SUPERLINEAR for point in points):
        yield "efficiency above 100% mostly means that runs with few workers were slow ones: try --warm-up, or --repeat"
    yield _law(fit)


def _law(fit: Fit | str) -> str:
    """Return the line about Amdahl's law."""
    if isinstance(fit, str):
        return f"Amdahl's law: the serial fraction is not determined: {fit}"
    interval = f"{fit.low:.1%} to {fit.high:.1%}"
    least = f"{1 / fit.high:.3g}" if fit.high else ""
    if fit.fraction == 0:
        bound = f", so {least} times as fast or more with many workers" if least else ""
        return f"Amdahl's law: no serial part seen ({interval}){bound}"
    if fit.parallel == 0:
        return f"Amdahl's law: serial fraction 100% ({interval}): more workers do not make it faster"
    most = f"{least} to {1 / fit.low:.3g}" if fit.low else f"{least} or more"
    return (
        f"Amdahl's law: serial fraction {fit.fraction:.1%} ({interval}), so at most {1 / fit.fraction:.3g} times as "
        f"fast with many workers ({most})"
    )


def chart(points: Sequence[Point]) -> Iterator[str]:
    """Yield a picture of the speed-ups, for where nothing better can be drawn."""
    scale = _BAR / max([point.workers for point in points], default=1)
    yield "speed-up, and where it would be with full efficiency (|)"
    for point in points:
        ideal = min(_BAR, round(point.workers * scale))
        bar = _bar(min(_BAR, point.speedup * scale))
        line = f"{bar:<{_BAR}}"
        if len(bar) < ideal:
            line = f"{line[: ideal - 1]}|{line[ideal:]}"
        yield f"{point.workers:>7}  {line.rstrip():<{_BAR}}  {point.speedup:.2f}"


def _bar(cells: float) -> str:
    whole, eighths = divmod(round(cells * 8), 8)
    return "█" * whole + (_PARTS[eighths] if eighths else "")


def _seconds(seconds: float) -> str:
    return f"{seconds:#.3g}" if seconds < 100 else f"{seconds:.0f}"


def _list(numbers: Sequence[int]) -> str:
    first, last = [str(number) for number in numbers[:-1]], str(numbers[-1])
    return f"{', '.join(first)} and {last}" if first else last
