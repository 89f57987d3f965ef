"""Three problems, each solved by one process and by pools; prints what it took, and writes soln.json."""

import argparse
import json
import socket
from pathlib import Path

import busy_work
import common_items
import normalise


def main() -> None:
    """Solve what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--unit", type=float, default=0.1, metavar="SECONDS",
        help="how long a task of length 1 of problem 2 takes (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--compute", action="store_true", help="let the tasks of problem 2 compute, not wait")
    parser.add_argument(
        "--rows", type=int, default=10_000, metavar="N", help="the largest table of problem 3 (default: %(default)s)"
    )
    options = parser.parse_args()
    solution = {
        "prob1": common_items.solve(),
        "prob2": busy_work.solve(options.unit, busy_work.compute if options.compute else busy_work.wait),
        "prob3": normalise.solve(options.rows),
        "host": socket.gethostname(),
    }
    Path("soln.json").write_text(json.dumps(solution) + "\n")


if __name__ == "__main__":
    main()
