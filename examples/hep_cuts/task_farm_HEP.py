"""Find the best rectangular cut with a farm: chunks of settings are handed to whichever worker is free."""

import argparse
import random
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from balance import Turn, summary, table
from commands import farm_options, run, scan_options
from make_tasks import chunks
from results import Result, as_profile, as_text, merge, write_result
from warm import scan_part

from pytaskfarmer import Pool


def scan(path: Path, n_cuts: int, workers: int, chunk: int, seed: int | None) -> tuple[Result, list[Turn]]:
    """Try all settings in chunks, and tell what the workers did. Raises DatasetError, OSError."""
    begin = time.perf_counter()
    parts = list(chunks(n_cuts, chunk))
    if seed is not None:
        random.Random(seed).shuffle(parts)
    with Pool(workers) as pool:
        ended = list(pool.imap_unordered(partial(scan_part, path.absolute(), n_cuts), parts))
    found = {Path(f"the chunk from {result.first} on"): result for result, _ in ended}
    best = merge(found)
    elapsed = time.perf_counter() - begin
    return replace(best, seconds={**best.seconds, "elapsed": elapsed}), [turn for _, turn in ended]


def report(options: argparse.Namespace) -> int:
    """Scan as the command line says; print the best cut, and on standard error what the farm did."""
    result, turns = scan(options.input, options.n_cuts, options.workers, options.chunk or 243, options.seed)
    if options.output:
        write_result(options.output, result)
    print(as_text(result), flush=True)
    print(summary(turns, options.workers, result.elapsed), file=sys.stderr)
    if options.profile:
        print(f"{as_profile(result)}\n\n{table(turns)}", file=sys.stderr)
    return 0


def main() -> int:
    """Scan all settings."""
    parser = scan_options("Find the best rectangular cut with a farm that hands out chunks of settings.")
    farm_options(
        parser,
        chunk="Settings in a task (default: 243, which is 27 tasks for 3 cuts).",
        seed="Hand the chunks out in an order shuffled with this seed; the answer is the same.",
    )
    return report(parser.parse_args())


if __name__ == "__main__":
    run(main)
