"""The spread of some arrays, by the builtin map and by pools. All say the same, to the last bit."""

import argparse
import math
import time
from collections.abc import Sequence

import pools

ARRAYS = [[3, 4, 56, 7], [22, 5, 4, 5, 7], [11, 2, 545, 235, 6, 3], [22, 45, 6, 4]]


def std(values: Sequence[float]) -> float:
    """Return the standard deviation, as numpy.std does."""
    mean = sum(values) / len(values)
    squares = 0.0
    for value in values:
        squares += (value - mean) ** 2
    return math.sqrt(squares / len(values))


def main() -> int:
    """Compare the pools that the command line names; 1 if one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pool", dest="names", action="append", choices=pools.NAMES, metavar="|".join(pools.NAMES),
        help="a pool to compare, more than once for several; default: those of this computer",
    )  # fmt: skip
    pools.add_options(parser)
    options = parser.parse_args()
    expected = list(map(std, ARRAYS))
    print("map              ", *expected)
    differ = 0
    for name in options.names or pools.NAMES[:2]:
        start = time.perf_counter()
        with pools.opened(name, options) as pool:
            values = pool.map(std, ARRAYS)
        seconds = time.perf_counter() - start
        print(f"{name:17}", "the same" if values == expected else f"differs: {values}", f"({seconds:.2f} s)")
        differ |= values != expected
    return differ


if __name__ == "__main__":
    pools.run(main)
