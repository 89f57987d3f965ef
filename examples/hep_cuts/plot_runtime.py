"""Show the last times that bench.sh has measured: a table with bars and, where matplotlib is installed, a picture."""

import argparse
import math
import re
from importlib import import_module
from pathlib import Path
from statistics import median

from commands import run

from pytaskfarmer.runners.tables import DatasetError
from pytaskfarmer.views.scaling import Fit, Undetermined, amdahl

BAR = 40

Times = list[tuple[int, float]]


def read_last(path: Path) -> tuple[str, Times]:
    """Return the heading of the last measurement, and its pairs of workers and seconds. Raises DatasetError."""
    heading, times = "", Times()
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if line.startswith("#"):
            heading, times = line.removeprefix("#").strip(), Times()
            continue
        try:
            workers, seconds = line.split()
            times.append((int(workers), float(seconds)))
        except ValueError:
            raise DatasetError(path, number, f"expected a number of workers and seconds, not {line!r}") from None
    if not times:
        raise DatasetError(path, None, "has no times; run bench.sh")
    return heading, times


def cpus(heading: str) -> float:
    """Return how many CPUs the heading names; infinitely many if it names none."""
    found = re.search(r"(\d+) CPUs", heading)
    return int(found[1]) if found else math.inf


def fit(heading: str, times: Times) -> Fit | str:
    """Return Amdahl's law as it fits the runs that had a CPU for each worker, or why it does not."""
    try:
        return amdahl([(workers, seconds) for workers, seconds in times if workers <= cpus(heading)])
    except Undetermined as why:
        return str(why)


def medians(times: Times) -> Times:
    """Return one pair for each number of workers, from the fewest up."""
    return [(n, median(seconds for m, seconds in times if m == n)) for n in sorted({n for n, _ in times})]


def table(times: Times) -> str:
    """Return a line for each number of workers, with a bar as long as its time."""
    (fewest, base), longest = times[0], max(seconds for _, seconds in times)
    lines = ["workers   seconds  speed-up"]
    for workers, seconds in times:
        bar = "#" * max(1, round(BAR * seconds / longest))
        lines.append(f"{workers:7}{seconds:10.2f}{fewest * base / seconds:10.2f}  {bar}")
    return "\n".join(lines)


def draw(path: Path, heading: str, times: Times, law: Fit | str) -> None:
    """Write the picture. Raises ImportError without matplotlib."""
    figure = import_module("matplotlib.figure").Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    workers, (fewest, base) = sorted({n for n, _ in times}), medians(times)[0]
    axes.plot([n for n, _ in times], [seconds for _, seconds in times], "o", color="#0072b2", label="measured")
    axes.plot(workers, [fewest * base / n for n in workers], "--", color="0.6", label="perfect speed-up")
    if isinstance(law, Fit):
        label = f"Amdahl, serial fraction {law.fraction:.1%}"
        axes.plot(workers, [law.seconds(n) for n in workers], color="#d55e00", label=label)
    axes.set(xscale="log", yscale="log", xlabel="workers", ylabel="run time [s]")
    axes.set_title(heading, fontsize=8)
    axes.set_xticks(workers, [str(n) for n in workers])
    axes.yaxis.set_major_locator(import_module("matplotlib.ticker").LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    if cpus(heading) < workers[-1]:
        low, high = axes.get_xlim()
        axes.axvspan(max(low, cpus(heading)), high, color="0.94", zorder=-1, label="more workers than CPUs")
        axes.set_xlim(low, high)
    axes.legend(frameon=False)
    figure.savefig(path)


def main() -> int:
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(description="Plot the last times in a file that bench.sh has written.")
    parser.add_argument("times", type=Path, metavar="FILE", help="Such as results/python_runtime.txt.")
    path = parser.parse_args().times
    heading, times = read_last(path)
    law = fit(heading, times)
    print(f"{heading}\n{table(medians(times))}")
    print(f"serial fraction by Amdahl's law: {law if isinstance(law, str) else format(law.fraction, '.1%')}")
    picture = path.with_suffix(".png")
    try:
        draw(picture, heading, times, law)
    except ImportError:
        print(f"no matplotlib, so no {picture}; pip install 'pytaskfarmer[plot]'")
    else:
        print(picture)
    return 0


if __name__ == "__main__":
    run(main)
