"""Analyse the runs in a directory, each in a call of its own: in a pool on this computer, or in jobs of Slurm."""

import argparse
import hashlib
import json
import time
from collections import Counter
from pathlib import Path
from statistics import fmean

import observations
import pools


def main() -> int:
    """Analyse what the command line names, and print what is found; 1 if nothing was left of some run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="what observe.py has written; the results are written there, too")
    parser.add_argument(
        "--pool", choices=pools.NAMES, default="local", help="where the calls run (default: %(default)s)"
    )
    parser.add_argument(
        "--threshold", type=int, default=10, metavar="N", help="skip events with fewer numbers (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="chooses what is broken (default: %(default)s)"
    )
    pools.add_options(parser)
    options = parser.parse_args()

    jobs = observations.make_jobs(options.directory, options.seed, options.threshold)
    if not jobs:
        parser.error(f"there are no runs in {options.directory}; write some: observe.py {options.directory}")
    start = time.perf_counter()
    with pools.opened(options.pool, options) as pool:
        codes = Counter(pool.map(observations.run_job, jobs))
    seconds = time.perf_counter() - start
    print(f"{options.pool}: {len(jobs)} jobs in {seconds:.2f} s, {codes[observations.DONE]} of them with code 0")
    report(options.directory)
    return 0 if codes.keys() == {observations.DONE} else 1


def report(directory: Path) -> None:
    """Print what has been found in all runs together."""
    found = list(observations.found(directory))
    print(f"events    {len(found)}, of {sum(event['size'] for event in found)} numbers")
    if found:
        print(f"mean      {fmean(event['mean'] for event in found)}")
        print(f"spread    {fmean(event['spread'] for event in found)}")
    print("checksum ", hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16])


if __name__ == "__main__":
    pools.run(main)
