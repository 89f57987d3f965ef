#!/usr/bin/env python3
"""What a call costs in `Pool`, beside the pools of the standard library: `pool.py [--rounds R]`.

A map of a million trivial calls at the default chunk size against `multiprocessing.Pool`, and maps of single-call
chunks, each of which is a task in the books, against `ProcessPoolExecutor`. All pools are warm. They take turns, round
after round, so that whatever else the machine does meets all; of ratios the median of each round's.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from pytaskfarmer import Pool

MANY, FEW = 1_000_000, 10_000
WORKERS = 2


def same(x: int) -> int:
    """Return x."""
    return x


def timed(act: Callable[[], object]) -> float:
    """Return the seconds that `act` takes."""
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def main() -> None:
    """Measure, and print a line for each pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5, metavar="R", help="rounds (default: 5)")
    rounds = parser.parse_args().rounds
    chunked: list[tuple[float, float]] = []
    single: list[tuple[float, float]] = []
    with Pool(WORKERS) as ours, multiprocessing.Pool(WORKERS) as theirs, ProcessPoolExecutor(WORKERS) as executor:
        assert ours.map(same, range(9)) == theirs.map(same, range(9)) == list(executor.map(same, range(9)))
        for _ in range(rounds):
            chunked.append((
                timed(lambda: ours.map(same, range(MANY))),
                timed(lambda: theirs.map(same, range(MANY))),
            ))  # fmt: skip
            single.append((
                timed(lambda: ours.map(same, range(FEW), chunksize=1)),
                timed(lambda: list(executor.map(same, range(FEW)))),
            ))  # fmt: skip
    told = statistics.median(mine / other for mine, other in chunked)
    seconds = statistics.median(mine for mine, _ in chunked)
    print(f"{MANY:,} calls in chunks: {seconds:.3f} s, {told:.2f} of multiprocessing.Pool's time (wanted: at most 1.5)")
    told = statistics.median(other / mine for mine, other in single)
    rate = statistics.median(FEW / mine for mine, _ in single)
    print(f"single calls: {rate:,.0f}/s, {told:.2f} of ProcessPoolExecutor's rate (wanted: at least 0.5)")


if __name__ == "__main__":
    main()
