"""Merge the parts that the tasks left, check that none is missing, and print the best cut."""

import argparse
import sys
from pathlib import Path

from commands import run
from results import Result, as_profile, as_text, merge, read_result, write_result

from pytaskfarmer.runners.tables import DatasetError


def find_parts(places: list[Path]) -> list[Path]:
    """Return the parts, a directory standing for its `chunk_*.json`. Raises DatasetError if it has none."""
    parts = []
    for place in places:
        found = sorted(place.glob("chunk_*.json")) if place.is_dir() else [place]
        if not found:
            raise DatasetError(place, None, "holds no chunk_*.json; run the tasks first")
        parts += found
    return parts


def main() -> int:
    """Merge the parts named on the command line."""
    parser = argparse.ArgumentParser(description="Merge the parts of a scan and print the best cut.")
    parser.add_argument("parts", type=Path, nargs="+", metavar="PART", help="Parts, or directories that hold them.")
    parser.add_argument("--output", type=Path, metavar="JSON", help="Also write the merged result to this file.")
    parser.add_argument(
        "--expect",
        type=Path,
        metavar="JSON",
        help="Exit with 1 unless this result has the same best setting and as many correct events.",
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="Report the seconds of each phase, summed over the parts, on standard error.",
    )
    options = parser.parse_args()
    result = merge({path: read_result(path) for path in find_parts(options.parts)})
    if options.output:
        write_result(options.output, result)
    print(as_text(result))
    if options.profile:
        print(as_profile(result), file=sys.stderr)
    if options.expect and (expected := read_result(options.expect)).best != result.best:
        print(f"merge.py: {outcome(result)}, but {options.expect} has {outcome(expected)}", file=sys.stderr)
        return 1
    return 0


def outcome(result: Result) -> str:
    """Return the two numbers that a comparison is about, in words."""
    return f"setting {result.k} with {result.correct} of {result.n_events} events"


if __name__ == "__main__":
    run(main)
