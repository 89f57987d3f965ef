"""Calls of different length on two workers: dealt out in halves beforehand, or one by one to whoever is free.

`chunksize` of `map` makes the difference: so many calls go to one worker together. Draws what has happened as letters
and, with --picture, by matplotlib.
"""

import argparse
import heapq
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pytaskfarmer import Pool

LENGTHS = (8, 6, 5, 3, 2, 2, 1, 1)
WORKERS = 2
NAMES = {4: "static halves (chunksize=4)", 1: "dynamic hand-out (chunksize=1)"}


@dataclass(frozen=True, slots=True)
class Bar:
    """When which worker made a call. Times are in units of the lengths."""

    worker: int
    call: int
    start: float
    end: float


def schedule(lengths: Sequence[float], workers: int, chunksize: int) -> list[Bar]:
    """Return how it should go: whoever is free first takes the next chunk."""
    free = [(0.0, worker) for worker in range(workers)]
    bars = []
    for first in range(0, len(lengths), chunksize):
        now, worker = heapq.heappop(free)
        for call, length in enumerate(lengths[first : first + chunksize], start=first):
            bars.append(Bar(worker, call, now, now + length))
            now += length
        heapq.heappush(free, (now, worker))
    return bars


def makespan(bars: Sequence[Bar]) -> float:
    """Return when the last call ends."""
    return max(bar.end for bar in bars)


def busy(bars: Sequence[Bar], workers: int) -> float:
    """Return the part of the workers' time in which they work, from 0 to 1."""
    return sum(bar.end - bar.start for bar in bars) / (workers * makespan(bars))


def wait(seconds: float) -> tuple[int, float, float]:
    """Stand for a call of so many seconds. Returns who made it, and from when to when."""
    start = time.time()
    time.sleep(seconds)
    return os.getpid(), start, time.time()


def measured(lengths: Sequence[float], workers: int, chunksize: int, unit: float) -> list[Bar]:
    """Return how it goes in a pool; a call of length 1 takes `unit` seconds."""
    with Pool(workers) as pool:
        pool.map(wait, [0.05] * workers, 1)  # start them
        begin = time.time()
        calls = pool.map(wait, [unit * length for length in lengths], chunksize)
    numbers = {process: number for number, process in enumerate(dict.fromkeys(process for process, _, _ in calls))}
    return [
        Bar(numbers[process], call, (start - begin) / unit, (end - begin) / unit)
        for call, (process, start, end) in enumerate(calls)
    ]


def letters(bars: Sequence[Bar], worker: int) -> str:
    """Return what a worker did, a letter for each unit: AAAB is call A of three units, then B of one."""
    return "".join(chr(ord("A") + bar.call) * LENGTHS[bar.call] for bar in bars if bar.worker == worker)


def draw(drawn: dict[str, list[Bar]], path: Path) -> None:
    """Save a picture of all of them, below each other on one axis of time."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots(len(drawn), sharex=True)
    for panel, (name, bars) in zip(axes, drawn.items(), strict=True):
        for bar in bars:
            width = bar.end - bar.start
            panel.barh(bar.worker, width, left=bar.start, color=colormaps["Set2"](bar.call), edgecolor="white")
            panel.text(bar.start + width / 2, bar.worker, chr(ord("A") + bar.call), ha="center", va="center")
        panel.axvline(makespan(bars), color="black", linestyle=":")
        panel.set_title(f"{name}: {makespan(bars):.1f} units", loc="left", fontsize="medium")
        panel.set_xlim(left=0)
        panel.set_yticks(range(WORKERS), [f"worker {worker + 1}" for worker in range(WORKERS)])
        panel.invert_yaxis()
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    axes[-1].set_xlabel("time in units")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run the calls both ways, and show what was expected and what has happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--unit", type=float, default=0.1, metavar="SECONDS", help="the unit of time (default: %(default)s)"
    )
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw a picture: .png, .svg or .pdf")
    options = parser.parse_args()
    if options.picture and find_spec("matplotlib") is None:
        parser.error("--picture needs matplotlib: pip install 'pytaskfarmer[plot]'")
    drawn = {}
    for chunksize, name in NAMES.items():
        expected = schedule(LENGTHS, WORKERS, chunksize)
        drawn[name] = bars = measured(LENGTHS, WORKERS, chunksize, options.unit)
        print(f"{name}: {makespan(bars):.1f} units, expected {makespan(expected):g}; {busy(bars, WORKERS):.0%} busy")
        for worker in range(WORKERS):
            print(f"  worker {worker + 1}  {letters(bars, worker)}")
    if options.picture:
        draw(drawn, options.picture)


if __name__ == "__main__":
    main()
