"""Print the best cut from what the tasks of the `hep` runner returned, once merged."""

import argparse
import json
import sys
from pathlib import Path

from commands import run
from results import Result, as_text

from pytaskfarmer.runners.cut_scan import count_settings
from pytaskfarmer.runners.tables import DatasetError


def parse(text: str, source: str) -> Result:
    """Return the result of a whole scan. Raises DatasetError if it is none, or not of every setting."""
    try:
        values = json.loads(text)
        settings, n_cuts = values.pop("settings"), values["n_cuts"]
        seconds = {"prepare": 0.0, "count": values.pop("microseconds") / 1e6}  # both are in the one number
        result = Result(**values, first=0, count=count_settings(n_cuts), seconds=seconds)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DatasetError(source, None, "not a merged result of the hep runner's cut scan") from None
    if settings != [[0, result.count]]:
        scanned = ", ".join(f"{first} to {end - 1}" for first, end in settings)
        missing = f"only settings {scanned} of 0 to {result.count - 1} were scanned"
        raise DatasetError(source, None, f"{missing}; run the other tasks, then merge again")
    return result


def main() -> int:
    """Print the report on a merged result."""
    parser = argparse.ArgumentParser(description="Print the best cut from a merged result.")
    parser.add_argument("result", type=Path, nargs="?", metavar="JSON", help="The result (default: standard input).")
    options = parser.parse_args()
    if options.result is None:
        result = parse(sys.stdin.read(), "standard input")
    else:
        result = parse(options.result.read_text(), str(options.result))
    print(as_text(result))
    return 0


if __name__ == "__main__":
    run(main)
