"""Write made-up runs of a telescope into a directory: the same seed gives the same files."""

import argparse
from pathlib import Path

import observations


def main() -> None:
    """Write what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--runs", type=int, default=96, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="an integer (default: %(default)s)")
    options = parser.parse_args()
    observations.observe(options.directory, options.runs, options.seed)


if __name__ == "__main__":
    main()
