"""A farm of tasks that sleep for 0 to 30 ms, handed out to the next free worker; with --input, of the cut scan."""

import argparse
import json
import sys
import time

import task_farm_HEP
from balance import Turn, greedy, summary, table
from commands import farm_options, positive, run, scan_options
from results import publish
from sleeps import lengths
from warm import nap

from pytaskfarmer import Pool


def sleep(works: list[int], workers: int, chunk: int) -> tuple[list[Turn], float]:
    """Sleep each of these milliseconds in one of the workers, and return what they did, and in how many seconds."""
    with Pool(workers) as pool:
        pool.map(nap, [0] * workers, chunksize=1)  # so that none of them is still starting
        begin = time.perf_counter()
        turns = list(pool.imap_unordered(nap, works, chunksize=chunk))
        return turns, time.perf_counter() - begin


def report(options: argparse.Namespace) -> int:
    """Sleep as the command line says, and print how the tasks fell on the workers."""
    seed = 1234 if options.seed is None else options.seed
    works = lengths(options.tasks, seed)
    total, expected = sum(works), greedy(works, options.workers)
    turns, elapsed = sleep(works, options.workers, options.chunk or 1)
    print(table(turns))
    print(f"\nRun time on {options.workers} worker{'' if options.workers == 1 else 's'}, of {total} ms of work")
    print(f"perfect balance   :{total / options.workers:9.0f} ms")
    print(f"next free worker  :{expected:9.0f} ms, if handing out took no time")
    print(f"measured          :{1000 * elapsed:9.0f} ms", flush=True)
    if options.output:
        facts = {
            "tasks": len(works),
            "seed": seed,
            "workers": options.workers,
            "work_ms": total,
            "next_free_worker_ms": expected,
            "elapsed_ms": round(1000 * elapsed, 1),
        }
        publish(options.output, json.dumps(facts, indent=1).encode() + b"\n")
    if options.profile:
        print(summary(turns, options.workers, elapsed), file=sys.stderr)
    return 0


def main() -> int:
    """Sleep or, given events, scan."""
    parser = scan_options(
        "Farm tasks that sleep for 0 to 30 ms and print how they fell on the workers. "
        "With --input, find the best rectangular cut in these events, as task_farm_HEP.py does.",
        input_required=False,
    )
    farm_options(
        parser,
        chunk="Sleeps handed out together (default: 1), or with --input settings (default: 243).",
        seed="Other lengths (default: 1234), or with --input another order of the chunks; the answer is the same.",
    )
    parser.add_argument("--tasks", type=positive, default=5000, metavar="N", help="How many sleep (default: 5000).")
    options = parser.parse_args()
    return task_farm_HEP.report(options) if options.input else report(options)


if __name__ == "__main__":
    run(main)
