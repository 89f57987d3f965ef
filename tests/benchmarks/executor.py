#!/usr/bin/env python3
"""What a call costs in `Executor`, beside `ProcessPoolExecutor`: `executor.py [--rounds R] [--profile]`.

A map of 5,000 trivial calls, one a task, and 2,000 submitted ones that are read as they complete. Both executors are
warm and have two workers. They take turns, round after round, so that whatever else the machine does meets both; of
ratios the median of each round's. `--profile` shows where our calling thread and the one that reads results spend
their time, instead.
"""

import argparse
import cProfile
import pstats
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor as AnyExecutor
from concurrent.futures import ProcessPoolExecutor, as_completed

from pytaskfarmer import Executor

MAPPED, SUBMITTED = 5000, 2000
WORKERS = 2
WANTED = 0.5


def same(x: int) -> int:
    """Return x."""
    return x


def mapped(executor: AnyExecutor) -> int:
    """Map, and return the number of calls."""
    assert list(executor.map(same, range(MAPPED))) == list(range(MAPPED))
    return MAPPED


def submitted(executor: AnyExecutor) -> int:
    """Submit, read as they complete, and return the number of calls."""
    futures = [executor.submit(same, number) for number in range(SUBMITTED)]
    assert {future.result() for future in as_completed(futures)} == {*range(SUBMITTED)}
    return SUBMITTED


def rate(act: Callable[[AnyExecutor], int], executor: AnyExecutor) -> float:
    """Return the calls per second."""
    begin = time.perf_counter()
    return act(executor) / (time.perf_counter() - begin)


def compare(rounds: int) -> None:
    """Measure, and print a line for each way to call."""
    with Executor(WORKERS) as ours, ProcessPoolExecutor(WORKERS) as theirs:
        assert ours.submit(same, 1).result() == theirs.submit(same, 1).result() == 1
        for act, name in ((mapped, f"map of {MAPPED:,}"), (submitted, f"submit of {SUBMITTED:,}")):
            rates = [(rate(act, ours), rate(act, theirs)) for _ in range(rounds)]
            mine, other = map(statistics.median, zip(*rates, strict=True))
            ratio = statistics.median(one / two for one, two in rates)
            verdict = "reached" if ratio >= WANTED else "MISSED"
            print(f"{name}: {mine:,.0f} calls/s, ProcessPoolExecutor {other:,.0f}")
            print(f"    ratio {ratio:.2f}, wanted {WANTED}: {verdict}")


def profile() -> None:
    """Print where the time of the caller's two threads goes, with the profiler's own cost in it."""
    readers: list[cProfile.Profile] = []

    def begin(*_: object) -> None:
        if not readers and threading.current_thread().name == "pytaskfarmer results":
            readers.append(cProfile.Profile(time.thread_time))
            readers[0].enable()

    threading.setprofile(begin)
    with Executor(WORKERS) as ours:
        ours.submit(same, 1).result()
        caller = cProfile.Profile(time.thread_time)
        caller.runcall(mapped, ours)
        caller.runcall(submitted, ours)
    for name, profiled in (("caller", caller), ("reader", readers[0])):
        print(f"== {name}")
        pstats.Stats(profiled).sort_stats("tottime").print_stats(18)


def main() -> None:
    """Compare, or profile."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, metavar="R", help="rounds (default: 7)")
    parser.add_argument("--profile", action="store_true", help="show where the time goes instead")
    words = parser.parse_args()
    if words.profile:
        profile()
    else:
        compare(words.rounds)


if __name__ == "__main__":
    main()
