"""Problem 3: each row of a table is stretched to the range from 0 to 1, which is very little work per row."""

import multiprocessing
import random
from functools import partial

from stopwatch import CPUS, clocked, started

from pytaskfarmer import Pool

Row = list[int]

SMALL = [[2, 3, 4, 5], [6, 9, 10, 12], [11, 12, 13, 14], [21, 24, 25, 26], [7, 7, 7, 7]]
SIZES = ((100, 50), (1_000, 50), (10_000, 100), (100_000, 100))
CHUNKS = (1, 100, None)


def normalise(row: Row) -> list[float]:
    """Return `(x - min) / (max - min)` of each x in the row; zeros if all are equal."""
    low, high = min(row), max(row)
    if low == high:
        return [0.0] * len(row)
    return [(x - low) / (high - low) for x in row]


def table(rows: int, columns: int, seed: int = 1) -> list[Row]:
    """Return integers from 0 to 99, the same ones for the same arguments."""
    draw = random.Random(seed).random
    return [[int(100 * draw()) for _ in range(columns)] for _ in range(rows)]


def solve(largest: int) -> list[list[float]]:
    """Print the times for tables of up to so many rows, and return a small table normalised."""
    print("\nProblem 3: rows normalised; milliseconds with so many rows at a time")
    print("                     no   multiprocessing.Pool        pytaskfarmer.Pool")
    print("  table            pool       1     100 default       1     100 default")
    for rows, columns in SIZES:
        if rows <= largest:
            print(f"  {rows:>6} x {columns:<3}{''.join(f'{1000 * s:8.1f}' for s in _times(table(rows, columns)))}")
    with Pool(2) as pool:
        return pool.map(normalise, SMALL)


def _times(rows: list[Row]) -> list[float]:
    """Return the seconds of no pool and of each pool with each size of chunks, which all return the same."""
    seconds, expected = clocked(lambda: list(map(normalise, rows)))
    times = [seconds]
    for kind in (multiprocessing.Pool, Pool):
        with started(kind(CPUS), CPUS, normalise, rows[0]) as pool:
            for chunk in CHUNKS:
                seconds, values = clocked(partial(pool.map, normalise, rows, chunk))
                assert expected == values
                times.append(seconds)
    return times
