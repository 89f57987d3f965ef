"""The 2-D Gaussian by `concurrent.futures` with the workers of a farm, and its run time against their number."""

import os
import resource
import sys
import time
from array import array
from concurrent.futures import as_completed

import psutil
from gaussian import INTEGRAL, check, cut, parser, side, strip
from picture import draw, draw_times

from pytaskfarmer import Executor

STRIPS_A_WORKER = 4
MEGABYTES_A_WORKER = 32
CPUS = len(os.sched_getaffinity(0))


def compute(step: float, workers: int) -> "array[float]":
    """Return all values, computed in strips by so many workers."""
    points = side(step)
    values = array("d", bytes(8 * points * points))
    with Executor(max_workers=workers) as executor:
        strips = cut(points, min(points, STRIPS_A_WORKER * workers))
        firsts = {executor.submit(strip, step, first, count): first for first, count in strips}
        for future in as_completed(firsts):  # in any order, so each goes to its own place
            start = firsts.pop(future) * points
            found = future.result()
            values[start : start + len(found)] = found
    return values


def numbers(text: str, points: int) -> list[int]:
    """Return the numbers of workers to try. Raises ValueError where there is no work, memory or leave for so many."""
    memory = psutil.virtual_memory().available // (MEGABYTES_A_WORKER * 2**20)
    limits = [(points, f"the grid has {points} rows, and a worker needs one"), (memory, "no more fit into free memory")]
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if processes != resource.RLIM_INFINITY:
        limits.append((processes // 2, "`ulimit -u` allows no more"))
    most, why = min(limits)
    if not all(word.isdecimal() and int(word) for word in text.split(",")):
        raise ValueError("expected numbers of workers from 1 on, such as 2 or 1,2,4")
    counts = [int(word) for word in text.split(",")]
    if max(counts) > most:
        help_until = f"beyond the CPUs, {CPUS} here, more do not help"
        raise ValueError(f"{max(counts)} workers are too many: at most {most}, since {why}; {help_until}")
    return counts


def main() -> int:
    """Compute it once, or with several numbers of workers."""
    options = parser("Compute a 2-D Gaussian with concurrent.futures.")
    options.add_argument(
        "--max-workers",
        default=str(CPUS),
        metavar="N[,N...]",
        help="Several are timed and drawn (default: the CPUs).",
    )
    words = options.parse_args()
    points = side(words.step)
    try:
        counts = numbers(words.max_workers, points)
    except ValueError as error:
        options.error(f"--max-workers {words.max_workers}: {error}")
    times = []
    for workers in counts:
        begin = time.perf_counter()
        values = compute(words.step, workers)
        times.append(time.perf_counter() - begin)
        total = check(values, words.step)
    if len(counts) > 1:
        draw_times("scaling.png", counts, times, CPUS)
        return 0
    who = f"{counts[0]} worker{'' if counts[0] == 1 else 's'}"
    print(f"{who}: {times[0]:.2f} s; sum {total:.6f}, expected {INTEGRAL:.6f}")
    with open("concurrent.f64", "wb") as file:
        values.tofile(file)
    draw("concurrent.png", values, points)
    return 0


if __name__ == "__main__":
    sys.exit(main())
